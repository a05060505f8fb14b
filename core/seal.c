/*
 * seal: the record of a transaction.  It is made of what differs from home where
 * the medium is mapped, and of whole blocks where it is not; a transaction that
 * is too large for memory leaves parts of itself in the log early.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"
#include "core/handle.h"

#define HEAD_BYTES NVMMIO_MARK_BYTES
#define HEAD_LINES ((UINT64_C(1) << (HEAD_BYTES / NV_LINE_BYTES)) - 1)
#define SPILL_BLOCKS 256u /* in one record */
#define DENSE_COMMITS 255u

/* The same of few lines: no cache miss for those that are not staged. */
static uint64_t lines_differing(const uint8_t *a, const uint8_t *b, uint64_t lines)
{
    uint64_t differing = 0;
    if (lines == NV_ALL_LINES)
        return nv_lines_differing(a, b);
    for (uint64_t left = lines; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        size_t at = (size_t)i * NV_LINE_BYTES;
        differing |= (uint64_t)(memcmp(a + at, b + at, NV_LINE_BYTES) != 0) << i;
    }
    return differing;
}

/* Leave out lines that home has already.  Only where home's bytes are the base of this
 * transaction: not behind a truncation, and not the first lines of a marked home. */
static uint64_t changed_lines(struct nvmmio *handle, const struct nv_staged *staged)
{
    struct nv_home *home = handle->home;
    const struct nv_shared *shared = home->share.shared;
    uint64_t offset = staged->block * NV_BLOCK_BYTES;
    uint64_t lines = staged->dirty;
    if (!home->medium.ops->mapped || handle->cursor.spills ||
        offset + NV_BLOCK_BYTES > handle->overlay.zero_from)
        return lines;
    const uint8_t *base = nv_home_view(home, offset, NV_BLOCK_BYTES);
    if (!base)
        return lines;
    uint64_t differing = lines_differing(base, staged->data, lines);
    if (offset == 0 && shared->mark_bytes) {
        bool empty = atomic_load(&shared->content_bytes) == 0;
        differing |= HEAD_LINES;
        for (unsigned i = 0; i < HEAD_BYTES / NV_LINE_BYTES && !empty; i++)
            if (memcmp(shared->head + i * NV_LINE_BYTES, staged->data + i * NV_LINE_BYTES,
                       NV_LINE_BYTES) == 0)
                differing &= ~(UINT64_C(1) << i);
    }
    return lines & differing;
}

static bool looks_for_changes(struct nvmmio *handle)
{
    if (!handle->home->medium.ops->mapped)
        return false;
    if (handle->dense) {
        handle->dense--;
        return false;
    }
    return true;
}

/* Home's first lines, when a record makes content out of none: replay must not see a placeholder.
 */
static int stage_head(struct nvmmio *handle)
{
    const struct nv_shared *shared = handle->home->share.shared;
    struct nv_overlay *overlay = &handle->overlay;
    bool fresh = atomic_load(&shared->content_bytes) == 0 || overlay->zero_from < HEAD_BYTES;
    if (!shared->mark_bytes || !fresh || overlay->size == 0)
        return 0;
    struct nv_staged *staged = nv_overlay_add(overlay, 0);
    if (!staged)
        return nv_fail(-ENOMEM, "out of memory");
    if (!staged->data)
        return 0; /* spilled, so whole */
    uint64_t lines = handle->home->medium.ops->mapped ? HEAD_LINES : NV_ALL_LINES;
    int error = nv_stage_fill(handle, staged, lines);
    staged->dirty |= lines;
    return error;
}

static int scratch(struct nvmmio *handle, size_t bytes, size_t parts)
{
    if (handle->scratch_bytes < bytes) {
        size_t capacity = (size_t)nv_align_up(bytes + bytes / 2, 4096);
        uint8_t *grown = aligned_alloc(NV_LINE_BYTES, (size_t)nv_align_up(capacity, NV_LINE_BYTES));
        if (!grown)
            return nv_fail(-ENOMEM, "out of memory");
        free(handle->scratch);
        handle->scratch = grown;
        handle->scratch_bytes = capacity;
    }
    if (handle->part_count < parts) {
        struct iovec *grown = realloc(handle->parts, 2 * parts * sizeof *grown);
        if (!grown)
            return nv_fail(-ENOMEM, "out of memory");
        handle->parts = grown;
        handle->part_count = 2 * parts;
    }
    return 0;
}

struct build {
    uint64_t names_bytes;
    struct nv_descriptor *descriptors;
    uint8_t *lines;
    uint32_t blocks;
    uint32_t line_count;
    int parts;
};

/* Whole blocks are written from where they are; single lines are gathered. */
static void add_block(struct nvmmio *handle, struct build *build, const struct nv_staged *staged,
                      uint64_t lines)
{
    struct iovec *part = &handle->parts[build->parts++];
    build->descriptors[build->blocks++] = (struct nv_descriptor){staged->block, lines};
    build->line_count += (uint32_t)__builtin_popcountll(lines);
    if (lines == NV_ALL_LINES) {
        *part = (struct iovec){staged->data, NV_BLOCK_BYTES};
        return;
    }
    uint8_t *to = build->lines;
    for (uint64_t left = lines; left; left &= left - 1) {
        memcpy(to, staged->data + (size_t)__builtin_ctzll(left) * NV_LINE_BYTES, NV_LINE_BYTES);
        to += NV_LINE_BYTES;
    }
    *part = (struct iovec){build->lines, (size_t)(to - build->lines)};
    build->lines = to;
}

/* Room for exactly so many blocks, and lines of those that are not whole. */
static int build_begin(struct nvmmio *handle, struct build *build, size_t blocks,
                       uint64_t gathered_lines, uint64_t names)
{
    uint64_t front_bytes = names + nv_descriptors_bytes(blocks);
    uint64_t bytes = NV_LINE_BYTES + front_bytes + gathered_lines * NV_LINE_BYTES;
    int error = scratch(handle, (size_t)bytes, blocks + 4); /* line, front, blocks, padding */
    if (error)
        return error;
    uint8_t *front = handle->scratch + NV_LINE_BYTES;
    *build = (struct build){
        .names_bytes = names,
        .descriptors = (struct nv_descriptor *)(void *)(front + names),
        .lines = front + front_bytes,
        .parts = 2,
    };
    memset(front, 0, (size_t)front_bytes);
    handle->parts[1] = (struct iovec){front, (size_t)front_bytes};
    return 0;
}

static void fill_line(struct nvmmio *handle, struct nv_record *record, enum nv_record_kind kind,
                      const struct build *build)
{
    const struct nv_shared *shared = handle->home->share.shared;
    uint64_t seq = atomic_load_explicit(&shared->applied, memory_order_relaxed) + 1;
    *record = (struct nv_record){
        .kind = (uint8_t)kind,
        .name_lines = (uint16_t)(build ? build->names_bytes / NV_LINE_BYTES : 0),
        .seq = seq,
        .size = handle->overlay.size,
        .zero_from = handle->zero_pending,
        .block_count = build ? build->blocks : 0,
        .line_count = build ? build->line_count : 0,
        .tail_back = (uint32_t)nv_min(seq - atomic_load(&shared->home_durable), UINT32_MAX),
        .durable_back = (uint32_t)nv_min(seq - shared->log_durable, UINT32_MAX),
    };
}

/* Where a file system that copies on write is full, neither the record nor the zeros over it find
 * space: then nothing of it has come. */
static bool never_came(const struct nvmmio *handle)
{
    struct nv_record there;
    return nv_medium_load(&handle->home->log.medium, handle->cursor.head, &there, sizeof there) ==
               0 &&
           memcmp(&there, handle->scratch, sizeof there) != 0;
}

/* A write that failed may have brought all of the record that counts, and left out its padding.  So
 * it is erased, durably, before anybody is told that it failed. */
static int unwrite(struct nvmmio *handle, enum nv_record_kind kind, int error)
{
    struct nv_home *home = handle->home;
    int left = 0;
    if (kind == NV_RECORD_COMMIT || kind == NV_RECORD_PREPARE) {
        left = nv_log_erase(&home->log, handle->cursor.head);
        if (!left)
            left = nv_medium_fence(&home->log.medium);
        else if (left == -ENOSPC && error == -ENOSPC && never_came(handle))
            left = 0;
    }
    if (!left)
        return nv_fail(error, "cannot write the log %s: %s", home->log_path,
                       nvmmio_strerror(error));
    atomic_store(&home->share.shared->health, NV_HEALTH_NO_WRITES);
    return nv_fail(-EIO,
                   "a commit to %s could not be written (%s) nor taken back (%s): it is in doubt. "
                   "Close the file in every process and open it again to recover",
                   home->path, nvmmio_strerror(error), nvmmio_strerror(left));
}

static int append(struct nvmmio *handle, enum nv_record_kind kind, struct build *build)
{
    struct nv_home *home = handle->home;
    struct nv_record *record = (struct nv_record *)(void *)handle->scratch;
    fill_line(handle, record, kind, build);
    handle->parts[0] = (struct iovec){record, sizeof *record};
    uint64_t unit = home->log.medium.ops->unit;
    uint64_t bytes = nv_record_bytes(record);
    /* A prepare takes the room for its outcome, which must not fail for want of space. */
    uint64_t room = nv_align_up(bytes, unit) + (kind == NV_RECORD_PREPARE ? unit : 0);
    int error = nv_place(handle, room, kind == NV_RECORD_SPILL);
    if (error)
        return error;
    uint64_t pad = -(handle->cursor.head + bytes) % unit;
    if (bytes + pad <= room) /* it is not where another medium's record does not end at a unit */
        record->pad_lines = (uint8_t)(pad / NV_LINE_BYTES);
    bytes = nv_record_bytes(record);
    error = nv_log_append(&home->log, &handle->cursor, record, handle->parts, build->parts,
                          handle->hardens && kind != NV_RECORD_SPILL);
    if (error)
        return unwrite(handle, kind, error);
    handle->sealed = *record;
    nv_count(&home->share.shared->counters.log_bytes, bytes);
    return 0;
}

/* Reduce what is staged to what changed; how many blocks are left, and how many lines of blocks
 * that are not whole. */
static size_t choose_lines(struct nvmmio *handle, uint64_t *gathered)
{
    struct nv_overlay *overlay = &handle->overlay;
    bool compare = looks_for_changes(handle);
    uint64_t staged_lines = 0;
    uint64_t kept_lines = 0;
    size_t blocks = 0;
    for (size_t i = 0; i < overlay->count; i++) {
        struct nv_staged *staged = &overlay->blocks[i];
        if (!staged->data || !staged->dirty)
            continue;
        staged_lines += (uint64_t)__builtin_popcountll(staged->dirty);
        if (compare)
            staged->dirty = changed_lines(handle, staged);
        uint64_t lines = (uint64_t)__builtin_popcountll(staged->dirty);
        blocks += lines != 0;
        kept_lines += lines;
        *gathered += lines == 64 ? 0 : lines;
    }
    if (compare && kept_lines * 4 > staged_lines * 3)
        handle->dense = DENSE_COMMITS;
    return blocks;
}

static uint64_t names_bytes(const struct nvmmio *handle)
{
    return nv_align_up(strlen(handle->super) + strlen(handle->child) + 2, NV_LINE_BYTES);
}

int nv_commit_seal(struct nvmmio *handle, enum nv_record_kind kind)
{
    struct nv_overlay *overlay = &handle->overlay;
    struct build build;
    int error = stage_head(handle);
    if (error)
        return error;
    bool prepare = kind == NV_RECORD_PREPARE;
    if (!handle->home->medium.ops->mapped)
        nv_overlay_sort(overlay); /* so that neighbours go to home in one write */
    uint64_t gathered = 0;
    size_t blocks = choose_lines(handle, &gathered);
    error = build_begin(handle, &build, blocks, gathered, prepare ? names_bytes(handle) : 0);
    if (error)
        return error;
    if (prepare) {
        char *names = handle->parts[1].iov_base;
        size_t super_bytes = strlen(handle->super) + 1;
        memcpy(names, handle->super, super_bytes);
        memcpy(names + super_bytes, handle->child, strlen(handle->child) + 1);
    }
    for (size_t i = 0; i < overlay->count; i++)
        if (overlay->blocks[i].data && overlay->blocks[i].dirty)
            add_block(handle, &build, &overlay->blocks[i], overlay->blocks[i].dirty);
    handle->unsealed = handle->cursor;
    error = append(handle, kind, &build);
    if (error) {
        handle->cursor = handle->unsealed;
        return error;
    }
    handle->stage = prepare ? NVMMIO_PREPARED : NVMMIO_SEALED;
    return 0;
}

/* Up to SPILL_BLOCKS blocks from position `next` on, in one record; *next moves behind them. */
static int spill_some(struct nvmmio *handle, size_t *next)
{
    struct nv_overlay *overlay = &handle->overlay;
    struct build build = {.blocks = 0};
    size_t begin = *next;
    size_t end = begin;
    int error = build_begin(handle, &build, SPILL_BLOCKS, 0, 0);
    for (; end < overlay->count && build.blocks < SPILL_BLOCKS && !error; end++) {
        struct nv_staged *staged = &overlay->blocks[end];
        if (!staged->data || !staged->dirty)
            continue;
        error = nv_stage_fill(handle, staged, NV_ALL_LINES);
        if (!error)
            add_block(handle, &build, staged, NV_ALL_LINES);
    }
    *next = end;
    if (error || build.blocks == 0)
        return error;
    handle->parts[1].iov_len = (size_t)nv_descriptors_bytes(build.blocks);
    error = append(handle, NV_RECORD_SPILL, &build);
    if (error)
        return error;
    uint64_t at = handle->cursor.last + NV_LINE_BYTES + nv_descriptors_bytes(build.blocks);
    for (size_t i = begin; i < end; i++) {
        if (!overlay->blocks[i].data || !overlay->blocks[i].dirty)
            continue;
        nv_overlay_spill(overlay, &overlay->blocks[i], at);
        at += NV_BLOCK_BYTES;
    }
    handle->cursor.spills += build.blocks;
    handle->zero_pending = NV_NO_ZERO;
    nv_count(&handle->home->share.shared->counters.spills, build.blocks);
    return 0;
}

int nv_commit_spill(struct nvmmio *handle)
{
    size_t next = 0;
    int error = stage_head(handle);
    nv_overlay_sort(&handle->overlay);
    while (next < handle->overlay.count && !error)
        error = spill_some(handle, &next);
    return error;
}

int nv_seal_bare(struct nvmmio *handle, enum nv_record_kind kind)
{
    struct build build = {.parts = 1};
    return append(handle, kind, &build);
}
