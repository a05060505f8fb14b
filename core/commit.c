/*
 * commit: stage -> seal (record in the log) -> harden (one fence) -> apply (to
 * home, published).
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"
#include "core/handle.h"

#define HEAD_BYTES NVMMIO_MARK_BYTES
#define HEAD_LINES ((UINT64_C(1) << (HEAD_BYTES / NV_LINE_BYTES)) - 1)

/* ---- making it durable ---- */

static int take_seal_back(struct nvmmio *handle)
{
    int error = nv_log_erase(&handle->home->log, handle->cursor.last);
    handle->cursor = handle->unsealed;
    handle->stage = NVMMIO_STAGED;
    return error;
}

int nv_commit_unseal(struct nvmmio *handle)
{
    /* Durably: what was rolled back must not come again with the next crash. */
    int error = take_seal_back(handle);
    if (!error)
        error = nv_medium_fence(&handle->home->log.medium);
    if (!error)
        return 0;
    atomic_store(&handle->home->share.shared->health, NV_HEALTH_NO_WRITES);
    return nv_fail(-EIO,
                   "a transaction on %s could not be taken back durably (%s): it is in doubt. "
                   "Close the file in every process and open it again to recover",
                   handle->home->path, nvmmio_strerror(error));
}

/* An earlier commit is durable: the header says that there are records, with the fence of this one,
 * and how long it is, which is what it was at the last one: its growth may come after the header.
 * The commits are safe without it: a failure is tried again by the next one. */
static void note_used(struct nv_home *home)
{
    const struct nv_shared *shared = home->share.shared;
    struct nv_log *log = &home->log;
    if (shared->log_durable == 0 ||
        (log->used_notes >= 2 && log->header.file_bytes == shared->log_fenced_bytes))
        return;
    if (nv_log_used(log, shared->log_fenced_bytes) != 0)
        log->header.file_bytes = 0;
}

int nv_commit_harden(struct nvmmio *handle)
{
    struct nv_home *home = handle->home;
    struct nv_shared *shared = home->share.shared;
    handle->hardens = true;
    note_used(home);
    int error = nv_log_fence(&home->log);
    nv_count(&shared->counters.fences, 1);
    if (error) {
        /* First of all the seal is taken back: a process that looks now must not find it. */
        (void)take_seal_back(handle);
        atomic_store(&shared->health, NV_HEALTH_NO_WRITES);
        return nv_fail(-EIO,
                       "a commit to %s could not be made durable (%s): it is in doubt. Close the "
                       "file in every process and open it again to recover",
                       home->path, nvmmio_strerror(error));
    }
    shared->log_durable = handle->sealed.seq;
    shared->log_fenced_bytes = shared->log_file_bytes;
    if (!error && home->medium.ops->instant) {
        /* The fence of a log on another kind of medium does not cover home. */
        if (home->log.medium.ops != home->medium.ops)
            error = nv_medium_fence(&home->medium);
        if (!error)
            atomic_store_explicit(&shared->home_durable, atomic_load(&shared->applied),
                                  memory_order_relaxed);
    }
    return 0;
}

/* ---- applying ---- */

static void copy_head(struct nvmmio *handle, uint8_t *head)
{
    struct nv_overlay *overlay = &handle->overlay;
    if (handle->zero_pending < HEAD_BYTES)
        memset(head + handle->zero_pending, 0, HEAD_BYTES - handle->zero_pending);
    const struct nv_staged *staged = nv_overlay_find(overlay, 0);
    for (unsigned i = 0; staged && staged->data && i < HEAD_BYTES / NV_LINE_BYTES; i++)
        if (staged->dirty >> i & 1)
            memcpy(head + i * NV_LINE_BYTES, staged->data + i * NV_LINE_BYTES, NV_LINE_BYTES);
}

/* Dirty lines of one block, run by run; a marked home's first lines are the head's business. */
static int store_block(struct nv_home *home, const struct nv_staged *staged, uint64_t lines)
{
    uint64_t offset = staged->block * NV_BLOCK_BYTES;
    int error = 0;
    if (lines == NV_ALL_LINES)
        return nv_medium_store(&home->medium, offset, staged->data, NV_BLOCK_BYTES);
    while (lines && !error) {
        unsigned first = (unsigned)__builtin_ctzll(lines);
        unsigned count = (unsigned)__builtin_ctzll(~(lines >> first));
        size_t at = (size_t)first * NV_LINE_BYTES;
        error = nv_medium_store(&home->medium, offset + at, staged->data + at,
                                (size_t)count * NV_LINE_BYTES);
        lines = first + count == 64 ? 0 : lines >> (first + count) << (first + count);
    }
    return error;
}

static int store_lines(struct nvmmio *handle)
{
    struct nv_home *home = handle->home;
    struct nv_overlay *overlay = &handle->overlay;
    bool marked = home->share.shared->mark_bytes != 0;
    int error = 0;
    for (size_t i = 0; i < overlay->count && !error; i++) {
        const struct nv_staged *staged = &overlay->blocks[i];
        uint64_t lines = staged->dirty;
        if (staged->block == 0 && marked)
            lines &= ~HEAD_LINES;
        error = store_block(home, staged, lines);
    }
    return error;
}

/* The content in whose place home carries the nonce is in the log's header, durably before a later
 * record can tell recovery to begin behind this one. */
static int cover(struct nvmmio *handle, const uint8_t *head)
{
    struct nv_home *home = handle->home;
    const struct nv_shared *shared = home->share.shared;
    uint32_t at = shared->mark.nonce_at;
    if (!shared->mark_bytes || memcmp(head + at, shared->head + at, NVMMIO_NONCE_BYTES) == 0)
        return 0;
    return nv_log_cover(&home->log, head + at);
}

/* Whole blocks, ascending: one write for each run of neighbours, home's marked first bytes in the
 * same one. */
static int store_runs(struct nvmmio *handle, const uint8_t *raw_head)
{
    struct nv_home *home = handle->home;
    struct nv_overlay *overlay = &handle->overlay;
    struct iovec *parts = handle->parts;
    int error = 0;
    for (size_t i = 0; i < overlay->count && !error;) {
        size_t first = i;
        int count = 0;
        if (!overlay->blocks[i].dirty) {
            i++;
            continue;
        }
        for (; i < overlay->count && overlay->blocks[i].dirty &&
               overlay->blocks[i].block == overlay->blocks[first].block + (i - first);
             i++) {
            uint8_t *data = overlay->blocks[i].data;
            size_t skip = overlay->blocks[i].block == 0 && raw_head ? HEAD_BYTES : 0;
            if (skip)
                parts[count++] = (struct iovec){(void *)(uintptr_t)raw_head, HEAD_BYTES};
            parts[count++] = (struct iovec){data + skip, NV_BLOCK_BYTES - skip};
        }
        error = home->medium.ops->storev(
            &home->medium, overlay->blocks[first].block * NV_BLOCK_BYTES, parts, count);
    }
    return error;
}

static int apply_staged(struct nvmmio *handle, uint8_t *head)
{
    struct nv_home *home = handle->home;
    const struct nv_shared *shared = home->share.shared;
    uint64_t old_bytes = atomic_load(&shared->content_bytes);
    uint8_t raw[HEAD_BYTES];
    int error = 0;
    copy_head(handle, head);
    error = cover(handle, head);
    if (!error && handle->zero_pending != NV_NO_ZERO)
        error = nv_home_zero(home, nv_max(handle->zero_pending, shared->mark_bytes),
                             nv_align_up(old_bytes, NV_LINE_BYTES));
    if (!home->medium.ops->mapped) {
        const struct nv_staged *staged = nv_overlay_find(&handle->overlay, 0);
        bool first_block = shared->mark_bytes && staged && staged->dirty;
        if (first_block)
            nv_home_raw_head(home, head, handle->overlay.size, raw);
        if (!error)
            error = store_runs(handle, first_block ? raw : NULL);
        if (first_block)
            return error;
    } else if (!error) {
        error = store_lines(handle);
    }
    bool head_changed = memcmp(head, shared->head, HEAD_BYTES) != 0 ||
                        (old_bytes == 0) != (handle->overlay.size == 0);
    if (!error && head_changed)
        error = nv_home_store_head(home, head, handle->overlay.size);
    return error;
}

static void publish(struct nvmmio *handle, const uint8_t *head)
{
    struct nv_shared *shared = handle->home->share.shared;
    const struct nv_cursor *cursor = &handle->cursor;
    uint64_t seq = handle->sealed.seq;
    bool switched = cursor->segment != shared->log_segment;
    struct nv_counters *counters = &shared->counters;
    memcpy(shared->head, head, HEAD_BYTES);
    shared->log_segment = cursor->segment;
    shared->log_epoch = cursor->epoch;
    if (shared->log_epoch_max < cursor->epoch)
        shared->log_epoch_max = cursor->epoch;
    shared->log_head = cursor->head;
    shared->log_last[cursor->segment] = seq;
    if (shared->log_durable >= seq) /* what a power loss takes away tells recovery nothing */
        shared->log_tail = seq - handle->sealed.tail_back;
    atomic_store_explicit(&shared->content_bytes, handle->overlay.size, memory_order_relaxed);
    atomic_store_explicit(&shared->applied, seq, memory_order_release);
    nv_count(&counters->commits, 1);
    nv_count(&counters->blocks, handle->overlay.count);
    nv_count(&counters->home_bytes, (uint64_t)handle->sealed.line_count * NV_LINE_BYTES);
    if (switched && !handle->home->medium.ops->instant)
        nv_flush_later(handle->home, seq);
}

static void finish(struct nvmmio *handle)
{
    nv_overlay_reset(&handle->overlay);
    handle->zero_pending = NV_NO_ZERO;
    handle->cursor.placed = false;
    handle->cursor.spills = 0;
    handle->cursor.chain = 0;
    handle->stage = NVMMIO_CLEAN;
    free(handle->super);
    free(handle->child);
    handle->super = handle->child = NULL;
}

int nv_commit_apply(struct nvmmio *handle)
{
    struct nv_home *home = handle->home;
    struct nv_shared *shared = home->share.shared;
    uint8_t head[HEAD_BYTES];
    memcpy(head, shared->head, sizeof head);
    handle->hardens = shared->log_durable >= handle->sealed.seq;
    int error = handle->cursor.spills
                    ? nv_replay_range(home, handle->cursor.first, handle->cursor.head, head)
                    : apply_staged(handle, head);
    if (!error && handle->cursor.spills)
        error = cover(handle, head);
    if (error) {
        /* Committed, but home holds a part of it only: the next open repeats it from the log. */
        atomic_store(&shared->health, NV_HEALTH_NO_ACCESS);
        handle->barred = true;
        finish(handle);
        return nv_fail(error,
                       "%s could not be written (%s). The commit is in its log: close the file in "
                       "every process and open it again to recover",
                       home->path, nvmmio_strerror(error));
    }
    publish(handle, head);
    finish(handle);
    return 0;
}

/* ---- taking it back, and the outcome of a prepared one ---- */

int nv_commit_drop(struct nvmmio *handle)
{
    int error = 0;
    if (handle->stage == NVMMIO_PREPARED)
        return nv_commit_resolve(handle, false);
    if (handle->stage == NVMMIO_SEALED)
        error = nv_commit_unseal(handle);
    if (handle->overlay.active)
        nv_count(&handle->home->share.shared->slots[handle->slot].rollbacks, 1);
    finish(handle);
    return error;
}

/* The other files may have gone, or may go, another way: only recovery can tell. */
static int leave_to_recovery(struct nvmmio *handle, const char *what, int error)
{
    atomic_store(&handle->home->share.shared->health, NV_HEALTH_NO_ACCESS);
    handle->barred = true;
    finish(handle);
    return nv_fail(-EIO,
                   "the outcome of a transaction over several files could not be %s %s (%s); close "
                   "it everywhere and open it again to recover",
                   what, handle->home->path, nvmmio_strerror(error));
}

int nv_commit_abandon(struct nvmmio *handle)
{
    if (handle->stage != NVMMIO_PREPARED)
        return nv_commit_drop(handle);
    int there = nv_os_exists(handle->home->file.os, handle->super);
    if (there < 0)
        return leave_to_recovery(handle, "found out for", there);
    return nv_commit_resolve(handle, there == 0);
}

static void remove_child(struct nvmmio *handle)
{
    const struct nv_os *os = handle->home->file.os;
    if (handle->child && *handle->child)
        (void)os->unlink(os, handle->child);
}

int nv_commit_resolve(struct nvmmio *handle, bool commit)
{
    struct nv_shared *shared = handle->home->share.shared;
    uint64_t size = handle->overlay.size;
    struct nv_record prepared = handle->sealed;
    if (!commit) {
        handle->overlay.size = atomic_load(&shared->content_bytes);
        nv_overlay_cut(&handle->overlay, 0);
    }
    uint64_t zero = handle->zero_pending;
    handle->zero_pending = NV_NO_ZERO;
    int error = nv_seal_bare(handle, commit ? NV_RECORD_RESOLVE_COMMIT : NV_RECORD_RESOLVE_ABORT);
    handle->zero_pending = commit ? zero : NV_NO_ZERO;
    handle->unsealed = handle->cursor;
    if (!error)
        error = nv_medium_fence(&handle->home->log.medium);
    if (error) {
        handle->overlay.size = size;
        return leave_to_recovery(handle, "written to the log of", error);
    }
    shared->log_durable = handle->sealed.seq;
    handle->sealed.line_count = prepared.line_count;
    remove_child(handle);
    if (!commit)
        handle->cursor.spills = 0;
    return nv_commit_apply(handle);
}
