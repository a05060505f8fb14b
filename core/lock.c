/*
 * lock: how a handle gets its locks, waiting and burying the dead on the way.
 */
#include <errno.h>

#include "core/base.h"
#include "core/error.h"
#include "core/handle.h"

#define SPINS 200u    /* about as long as a commit takes on memory */
#define WAIT_US 1000u /* one sleep; then the rival is looked at again */

int nv_handle_join(struct nvmmio *handle, int timeout_ms)
{
    if (handle->joined)
        return 0;
    int error = nv_home_join(handle->home, timeout_ms, handle->read_only);
    if (error)
        return error;
    error = nv_share_slot_claim(&handle->home->share, &handle->slot);
    if (error) {
        (void)nv_home_leave(handle->home, 0);
        return error;
    }
    handle->joined = true;
    return 0;
}

enum nv_level nv_lock_level(const struct nvmmio *handle)
{
    if (handle->writing != NV_LEVEL_NONE)
        return handle->writing;
    return handle->reading ? NV_LEVEL_SHARED : NV_LEVEL_NONE;
}

/* The writer's lock was free: its last holder gave it up with a locked instruction, and with that
 * everything that he stored is durable, where a fence is all it takes. */
static void writer_began(struct nvmmio *handle)
{
    struct nv_home *home = handle->home;
    struct nv_shared *shared = home->share.shared;
    if (home->medium.ops->instant)
        atomic_store_explicit(&shared->home_durable,
                              atomic_load_explicit(&shared->applied, memory_order_relaxed),
                              memory_order_relaxed);
}

static int try_level(struct nvmmio *handle, enum nv_level level, uint32_t *rival)
{
    struct nv_share *share = &handle->home->share;
    bool began = handle->writing == NV_LEVEL_NONE;
    int error = 0;
    if (level == NV_LEVEL_SHARED) {
        error = nv_share_shared(share, handle->slot, rival);
        handle->reading = !error;
        return error;
    }
    if (level == NV_LEVEL_RESERVED) {
        error = nv_share_reserved(share, handle->slot, rival);
        if (!error)
            handle->writing = NV_LEVEL_RESERVED;
    } else {
        error = nv_share_exclusive(share, handle->slot, rival);
        if (!error)
            handle->writing = NV_LEVEL_EXCLUSIVE;
        else if (nv_share_is_writer(share, handle->slot))
            handle->writing = NV_LEVEL_PENDING;
    }
    if (began && handle->writing != NV_LEVEL_NONE)
        writer_began(handle);
    return error;
}

/* The locked instruction by which the writer's word is given up or lowered comes next: it is the
 * fence for what this thread stored to home.  Whatever counts in the log has been fenced. */
static void release_stores(struct nv_home *home)
{
    home->medium.ops->release(&home->medium);
}

/* Is the rival dead?  True: something changed, try again. */
static bool bury(struct nvmmio *handle, uint32_t rival, int *error)
{
    struct nv_home *home = handle->home;
    pthread_mutex_lock(&home->mutex);
    enum nv_burial burial = nv_share_bury(&home->share, rival, handle->slot);
    if (burial == NV_BURIAL_INHERITED) {
        *error = nv_take_over(home);
        release_stores(home);
        nv_share_writer_release(&home->share);
    }
    pthread_mutex_unlock(&home->mutex);
    return burial != NV_BURIAL_ALIVE;
}

static int check_health(const struct nvmmio *handle, enum nv_level level)
{
    uint32_t health =
        atomic_load_explicit(&handle->home->share.shared->health, memory_order_relaxed);
    if (health == NV_HEALTH_GOOD || (health == NV_HEALTH_NO_WRITES && level == NV_LEVEL_SHARED))
        return 0;
    return nv_fail(-EIO,
                   "%s refuses %s after a failed write to its medium; close it in every process "
                   "and open it again to recover",
                   handle->home->path, health == NV_HEALTH_NO_WRITES ? "writes" : "any access");
}

static int contend(struct nvmmio *handle, enum nv_level level, int timeout_ms)
{
    struct nv_share *share = &handle->home->share;
    uint64_t budget_us = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000;
    uint32_t rival = UINT32_MAX;
    int error = -EBUSY;
    if (share->alone && level > NV_LEVEL_SHARED)
        return nv_fail(-EROFS, "%s is open without the right to write", handle->home->path);
    for (unsigned i = 0; i < SPINS && timeout_ms != 0; i++) {
        error = try_level(handle, level, &rival);
        if (!error)
            return 0;
        __builtin_ia32_pause();
    }
    for (;;) {
        error = try_level(handle, level, &rival);
        if (!error)
            return 0;
        int failed = 0;
        if (bury(handle, rival, &failed)) {
            if (failed)
                return failed;
            continue;
        }
        if (budget_us == 0)
            break;
        uint64_t sleep_us = nv_min(budget_us, WAIT_US);
        nv_share_wait(share, sleep_us);
        budget_us -= sleep_us;
    }
    struct nv_slot *slot = &share->shared->slots[handle->slot];
    nv_count(&slot->busy, 1);
    return nv_fail(-EBUSY, "%s is locked by another handle", handle->home->path);
}

int nv_lock_raise(struct nvmmio *handle, enum nv_level level, int timeout_ms)
{
    uint32_t rival;
    if (!handle->joined) {
        int error = nv_handle_join(handle, timeout_ms);
        if (error)
            return error;
    }
    if (nv_lock_level(handle) >= level)
        return check_health(handle, level);
    if (handle->home->share.alone && level > NV_LEVEL_SHARED)
        return nv_fail(-EROFS, "%s is open without the right to write", handle->home->path);
    enum nv_level before = nv_lock_level(handle);
    int error = try_level(handle, level, &rival);
    if (error == -EBUSY)
        error = contend(handle, level, timeout_ms);
    if (error)
        return error;
    error = check_health(handle, level);
    if (error && before <= NV_LEVEL_SHARED)
        nv_lock_lower(handle, before);
    return error;
}

void nv_lock_lower(struct nvmmio *handle, enum nv_level level)
{
    struct nv_home *home = handle->home;
    if (!handle->joined)
        return;
    if (level == NV_LEVEL_RESERVED && handle->writing > NV_LEVEL_RESERVED) {
        handle->writing = NV_LEVEL_RESERVED;
        release_stores(home);
        nv_share_writer_lower(&home->share, handle->slot);
    }
    if (level == NV_LEVEL_SHARED && !handle->reading && handle->writing != NV_LEVEL_NONE) {
        /* Nobody can apply while the writer word is ours: SHARED is had without asking. */
        atomic_exchange(&home->share.shared->slots[handle->slot].state, NV_LEVEL_SHARED);
        handle->reading = true;
    }
    if (handle->writing != NV_LEVEL_NONE && level < NV_LEVEL_RESERVED) {
        release_stores(home);
        handle->writing = NV_LEVEL_NONE;
        nv_share_writer_release(&home->share);
    }
    if (handle->reading && level < NV_LEVEL_SHARED) {
        handle->reading = false;
        nv_share_reader_release(&home->share, handle->slot);
    }
    if (level == NV_LEVEL_NONE)
        handle->barred = false;
}
