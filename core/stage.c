/*
 * stage: reading and writing through the overlay.  Nothing here stores to a
 * medium; a transaction that grows too large goes to the log by nv_commit_spill.
 */
#include <errno.h>

#include "core/base.h"
#include "core/error.h"
#include "core/handle.h"

#define PIECE_BYTES ((size_t)1 << 20) /* a write up to this long is staged whole or not at all */

uint64_t nv_stage_size(const struct nvmmio *handle)
{
    if (handle->overlay.active)
        return handle->overlay.size;
    return atomic_load_explicit(&handle->home->share.shared->content_bytes, memory_order_acquire);
}

/* Committed bytes as this transaction is to see them: zeros from where it truncated. */
static int read_base(struct nvmmio *handle, uint64_t offset, uint8_t *to, size_t bytes)
{
    struct nv_home *home = handle->home;
    uint64_t end =
        nv_min(atomic_load(&home->share.shared->content_bytes), handle->overlay.zero_from);
    size_t have = offset < end ? (size_t)nv_min(bytes, end - offset) : 0;
    memset(to + have, 0, bytes - have);
    return have ? nv_home_read(home, offset, to, have) : 0;
}

int nv_stage_fill(struct nvmmio *handle, struct nv_staged *staged, uint64_t lines)
{
    uint64_t missing = lines & ~staged->dirty;
    int error = 0;
    while (missing && !error) {
        unsigned first = (unsigned)__builtin_ctzll(missing);
        uint64_t rest = missing >> first;
        unsigned count = rest == NV_ALL_LINES ? 64 : (unsigned)__builtin_ctzll(~rest);
        error = read_base(handle, staged->block * NV_BLOCK_BYTES + first * NV_LINE_BYTES,
                          staged->data + first * NV_LINE_BYTES, count * (size_t)NV_LINE_BYTES);
        missing = first + count == 64 ? 0 : missing >> (first + count) << (first + count);
    }
    return error;
}

/* A block of the overlay with its bytes in memory; spilled ones come back from the log. */
static int staged_block(struct nvmmio *handle, uint64_t block, struct nv_staged **out)
{
    struct nv_overlay *overlay = &handle->overlay;
    struct nv_staged *staged = nv_overlay_add(overlay, block);
    if (!staged)
        return nv_fail(-ENOMEM, "out of memory for a transaction of %zu blocks", overlay->count);
    *out = staged;
    if (staged->data)
        return 0;
    uint64_t at = staged->spilled_at;
    if (!nv_overlay_unspill(overlay, staged))
        return nv_fail(-ENOMEM, "out of memory for a transaction of %zu blocks", overlay->count);
    int error = nv_medium_load(&handle->home->log.medium, at, staged->data, NV_BLOCK_BYTES);
    if (error)
        nv_overlay_spill(overlay, staged, at);
    return error;
}

/* Mask of the lines that [from, to) of a block touches. */
static uint64_t lines_of(uint32_t from, uint32_t to)
{
    uint32_t first = from / NV_LINE_BYTES;
    uint32_t last = (to - 1) / NV_LINE_BYTES;
    uint64_t upto = last == 63 ? NV_ALL_LINES : (UINT64_C(1) << (last + 1)) - 1;
    return upto & ~((UINT64_C(1) << first) - 1);
}

/* All of a write that can fail, for one block. */
static int write_prepare(struct nvmmio *handle, uint64_t block, uint32_t from, uint32_t bytes)
{
    struct nv_staged *staged = NULL;
    uint32_t to = from + bytes;
    uint64_t partial = 0;
    int error = staged_block(handle, block, &staged);
    if (error)
        return error;
    if (!handle->home->medium.ops->mapped) {
        /* Whole blocks: the fdatasync is what costs, and a torn sector of home is mended too. */
        partial = bytes < NV_BLOCK_BYTES ? NV_ALL_LINES : 0;
    } else {
        if (from % NV_LINE_BYTES)
            partial |= UINT64_C(1) << (from / NV_LINE_BYTES);
        if (to % NV_LINE_BYTES)
            partial |= UINT64_C(1) << (to / NV_LINE_BYTES);
    }
    return partial ? nv_stage_fill(handle, staged, partial) : 0;
}

static void write_copy(struct nvmmio *handle, uint64_t block, uint32_t from, const uint8_t *data,
                       uint32_t bytes)
{
    struct nv_staged *staged = nv_overlay_find(&handle->overlay, block);
    bool whole = !handle->home->medium.ops->mapped;
    staged->dirty |= whole ? NV_ALL_LINES : lines_of(from, from + bytes);
    memcpy(staged->data + from, data, bytes);
}

/* The first change of a transaction fixes what it starts from. */
static void activate(struct nvmmio *handle)
{
    struct nv_overlay *overlay = &handle->overlay;
    if (overlay->active)
        return;
    overlay->size = nv_stage_size(handle);
    overlay->active = true;
    overlay->zero_from = NV_NO_ZERO;
    handle->zero_pending = NV_NO_ZERO;
    handle->stage = NVMMIO_STAGED;
}

/* One piece of a write: all of it, or nothing. */
static int write_piece(struct nvmmio *handle, uint64_t offset, const uint8_t *data, size_t bytes)
{
    uint64_t end = offset + bytes;
    int error = 0;
    for (uint64_t at = offset; at < end && !error;) {
        uint32_t within = (uint32_t)(at % NV_BLOCK_BYTES);
        uint32_t part = (uint32_t)nv_min(NV_BLOCK_BYTES - within, end - at);
        error = write_prepare(handle, at / NV_BLOCK_BYTES, within, part);
        at += part;
    }
    for (uint64_t at = offset; at < end && !error;) {
        uint32_t within = (uint32_t)(at % NV_BLOCK_BYTES);
        uint32_t part = (uint32_t)nv_min(NV_BLOCK_BYTES - within, end - at);
        write_copy(handle, at / NV_BLOCK_BYTES, within, data + (at - offset), part);
        at += part;
    }
    if (!error)
        handle->overlay.size = nv_max(handle->overlay.size, end);
    return error;
}

int nv_stage_write(struct nvmmio *handle, uint64_t offset, const void *data, size_t bytes)
{
    const struct nv_shared *shared = handle->home->share.shared;
    uint64_t reach = nv_max(nv_max(offset + bytes, nv_stage_size(handle)), shared->mark_bytes);
    int error = nv_home_reserve(handle->home, reach);
    if (error)
        return error;
    activate(handle);
    for (size_t done = 0; done < bytes && !error;) {
        size_t part = (size_t)nv_min(bytes - done, PIECE_BYTES);
        uint64_t then = handle->overlay.in_memory * (uint64_t)NV_BLOCK_BYTES + part;
        /* Before, not after: a spill that fails must leave this write out. */
        if (handle->overlay.in_memory && then > handle->stage_bytes)
            error = nv_commit_spill(handle);
        if (!error)
            error = write_piece(handle, offset + done, (const uint8_t *)data + done, part);
        done += part;
    }
    return error;
}

/* Zero what is staged of the block that the new end cuts. */
static int cut_block(struct nvmmio *handle, uint64_t bytes)
{
    uint32_t within = (uint32_t)(bytes % NV_BLOCK_BYTES);
    struct nv_staged *staged = nv_overlay_find(&handle->overlay, bytes / NV_BLOCK_BYTES);
    if (!within || !staged)
        return 0;
    int error = staged_block(handle, bytes / NV_BLOCK_BYTES, &staged);
    if (error)
        return error;
    /* The line that the end cuts, when it is not staged, is zeroed in home by zero_from. */
    memset(staged->data + within, 0, NV_BLOCK_BYTES - within);
    return 0;
}

int nv_stage_truncate(struct nvmmio *handle, uint64_t bytes)
{
    struct nv_overlay *overlay = &handle->overlay;
    const struct nv_shared *shared = handle->home->share.shared;
    /* What is cut off is stored to as well, with zeros, and another process may have made it. */
    uint64_t reach = nv_max(nv_max(bytes, atomic_load(&shared->content_bytes)), shared->mark_bytes);
    int error = nv_home_reserve(handle->home, reach);
    if (error)
        return error;
    if (bytes > nv_stage_size(handle)) {
        activate(handle);
        overlay->size = bytes;
        return 0;
    }
    activate(handle);
    if (bytes < overlay->size) {
        error = cut_block(handle, bytes);
        if (error)
            return error;
        nv_overlay_cut(overlay, nv_align_up(bytes, NV_BLOCK_BYTES) / NV_BLOCK_BYTES);
        uint64_t base = atomic_load(&shared->content_bytes);
        if (bytes < base || handle->cursor.spills)
            handle->zero_pending = nv_min(handle->zero_pending, bytes);
        if (bytes < base)
            overlay->zero_from = nv_min(overlay->zero_from, bytes);
        overlay->size = bytes;
    }
    return 0;
}

static int read_block(struct nvmmio *handle, uint64_t block, uint32_t from, uint8_t *to,
                      uint32_t bytes)
{
    uint64_t offset = block * NV_BLOCK_BYTES + from;
    struct nv_staged *staged = nv_overlay_find(&handle->overlay, block);
    if (!staged)
        return read_base(handle, offset, to, bytes);
    if (!staged->data)
        return nv_medium_load(&handle->home->log.medium, staged->spilled_at + from, to, bytes);
    uint64_t wanted = lines_of(from, from + bytes);
    if ((staged->dirty & wanted) != wanted) {
        int error = read_base(handle, offset, to, bytes);
        if (error)
            return error;
    }
    for (uint64_t left = staged->dirty & wanted; left; left &= left - 1) {
        uint32_t line = (uint32_t)__builtin_ctzll(left) * NV_LINE_BYTES;
        uint32_t begin = line > from ? line : from;
        uint32_t end = (uint32_t)nv_min(line + NV_LINE_BYTES, from + bytes);
        memcpy(to + (begin - from), staged->data + begin, end - begin);
    }
    return 0;
}

int nv_stage_read(struct nvmmio *handle, uint64_t offset, void *buffer, size_t bytes)
{
    uint8_t *to = buffer;
    int error = 0;
    if (!handle->overlay.active)
        return nv_home_read(handle->home, offset, to, bytes);
    if (handle->overlay.count == 0)
        return read_base(handle, offset, to, bytes);
    for (uint64_t at = offset, end = offset + bytes; at < end && !error;) {
        uint32_t within = (uint32_t)(at % NV_BLOCK_BYTES);
        uint32_t part = (uint32_t)nv_min(NV_BLOCK_BYTES - within, end - at);
        error = read_block(handle, at / NV_BLOCK_BYTES, within, to, part);
        at += part;
        to += part;
    }
    return error;
}
