/*
 * place: where in the log a transaction goes.  Segments 0 and 1 take turns; one
 * is begun again only when home durably has everything in it.  A transaction
 * that fits neither goes to segment 2, which grows, and is cut off again.
 */
#include <errno.h>

#include "core/base.h"
#include "core/error.h"
#include "core/handle.h"

/* The log's file reaches to `bytes`, all of it written once, so that a commit's fdatasync does not
 * have to allocate. */
static int extend(struct nv_home *home, uint64_t bytes)
{
    struct nv_shared *shared = home->share.shared;
    struct nv_medium *medium = &home->log.medium;
    bool mapped = medium->ops->mapped;
    uint64_t have = shared->log_file_bytes;
    int error = 0;
    if (bytes <= have)
        goto map;
    const uint64_t want = nv_log_reach(&home->log, have, bytes);
    if (mapped) {
        /* Another process may have cut it since this one looked. */
        atomic_store(&medium->file_bytes, nv_min(atomic_load(&medium->file_bytes), have));
        atomic_store(&medium->ready_bytes, nv_min(atomic_load(&medium->ready_bytes), have));
        pthread_mutex_lock(&home->growth);
        error = nv_medium_reserve(medium, want);
        if (!error && home->log.probe.survives_power)
            error = home->log.file.os->sync_data(&home->log.file);
        pthread_mutex_unlock(&home->growth);
    }
    if (!error)
        error = nv_log_warm(&home->log, have, want);
    if (error)
        return nv_fail(error, "cannot grow the log %s: %s", home->log_path, nvmmio_strerror(error));
    shared->log_file_bytes = mapped ? atomic_load(&medium->file_bytes) : want;
    nv_count(&shared->counters.log_grows, 1);
map:
    if (mapped && !nv_medium_view(medium, 0, (size_t)bytes)) {
        pthread_mutex_lock(&home->growth);
        error = nv_medium_reserve(medium, bytes);
        pthread_mutex_unlock(&home->growth);
    }
    return error;
}

/* Begin `segment` again: what it holds must not be needed any more. */
static int begin(struct nvmmio *handle, uint32_t segment, uint64_t bytes)
{
    struct nv_home *home = handle->home;
    struct nv_shared *shared = home->share.shared;
    uint64_t needed = shared->log_last[segment];
    /* Commits that nobody waited for: were they lost, what is overwritten here would be the last
     * that a power loss leaves of the log. */
    int error = nv_flush_log(home);
    if (error)
        return error;
    if (atomic_load(&shared->home_durable) < needed) {
        /* On an instant medium only records of this very segment can still be needed. */
        nv_count(&shared->counters.flush_waits, 1);
        error = nv_flush_home(home, needed);
        if (error)
            return error;
    }
    /* Recovery must not look for what is overwritten here, even if the record that will say so
     * is torn. */
    if (shared->log_tail < needed) {
        error = nv_log_tail(&home->log, atomic_load(&shared->home_durable));
        if (error)
            return error;
        shared->log_tail = atomic_load(&shared->home_durable);
    }
    uint64_t start = nv_segment_start(&home->log, segment);
    error = extend(home, start + bytes);
    if (error)
        return error;
    handle->cursor = (struct nv_cursor){
        .placed = true,
        .segment = segment,
        .epoch = shared->log_epoch_max + 1,
        .first = start,
        .head = start,
    };
    return 0;
}

/* The overflow segment is not in use any more, and home has all of it: give the space back. */
static void cut_overflow(struct nv_home *home)
{
    struct nv_shared *shared = home->share.shared;
    uint64_t end = nv_segment_start(&home->log, NV_SEGMENT_OVERFLOW);
    uint64_t durable = atomic_load(&shared->home_durable);
    if (shared->log_file_bytes <= end || shared->log_segment == NV_SEGMENT_OVERFLOW ||
        durable < shared->log_last[NV_SEGMENT_OVERFLOW])
        return;
    /* First of all: should this process die in between, too small a size is the safe one. */
    shared->log_file_bytes = end;
    shared->log_fenced_bytes = nv_min(shared->log_fenced_bytes, end);
    /* Recovery must not look for what is cut off, either. */
    durable = nv_max(durable, shared->log_tail);
    if (nv_log_cut(&home->log, durable, end) != 0)
        atomic_store(&shared->health, NV_HEALTH_NO_WRITES);
    else
        shared->log_tail = durable;
}

int nv_place(struct nvmmio *handle, uint64_t bytes, bool overflow)
{
    struct nv_home *home = handle->home;
    const struct nv_shared *shared = home->share.shared;
    struct nv_cursor *cursor = &handle->cursor;
    uint32_t now = shared->log_segment;
    if (cursor->placed) /* a transaction that has spilled stays where it is */
        return extend(home, cursor->head + bytes);
    if (now != NV_SEGMENT_OVERFLOW && !overflow) {
        if (shared->log_head + bytes <= nv_segment_end(&home->log, now)) {
            *cursor = (struct nv_cursor){
                .placed = true,
                .segment = now,
                .epoch = shared->log_epoch,
                .first = shared->log_head,
                .head = shared->log_head,
            };
            return extend(home, cursor->head + bytes);
        }
    }
    if (!overflow && bytes <= home->log.header.segment_bytes) {
        int error = begin(handle, now == 0 ? 1 : 0, bytes);
        if (!error)
            cut_overflow(home);
        return error;
    }
    if (now != NV_SEGMENT_OVERFLOW)
        return begin(handle, NV_SEGMENT_OVERFLOW, bytes);
    *cursor = (struct nv_cursor){
        .placed = true,
        .segment = now,
        .epoch = shared->log_epoch,
        .first = shared->log_head,
        .head = shared->log_head,
    };
    return extend(home, cursor->head + bytes);
}
