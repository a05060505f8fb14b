/*
 * nvmmio: the public functions.  Arguments are checked here, locks that the
 * caller did not take are taken and given back here; the work is done below.
 */
#include "core/nvmmio.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"
#include "core/handle.h"

static int check_here(const struct nvmmio *handle)
{
    if (nv_process_here(handle->process))
        return 0;
    return nv_fail(-ECHILD, "this handle belongs to the parent process; open the file again here");
}

/* ---- open and close ---- */

static int check_options(const struct nvmmio_options *options)
{
    if (options->struct_bytes != sizeof *options)
        return nv_fail(-EINVAL,
                       "nvmmio_options has %zu bytes here and %zu in the library; use "
                       "NVMMIO_OPTIONS_INIT, and the header that goes with the library",
                       options->struct_bytes, sizeof *options);
    if (options->medium < NVMMIO_MEDIUM_AUTO || options->medium > NVMMIO_MEDIUM_RAM)
        return nv_fail(-EINVAL, "medium %d is unknown; use auto, dax, page or ram",
                       (int)options->medium);
    if (options->log_bytes &&
        (options->log_bytes < NVMMIO_LOG_BYTES_MIN || options->log_bytes > NVMMIO_LOG_BYTES_MAX))
        return nv_fail(-EINVAL, "log_bytes %llu is out of range; use %llu to %llu, or 0",
                       (unsigned long long)options->log_bytes,
                       (unsigned long long)NVMMIO_LOG_BYTES_MIN,
                       (unsigned long long)NVMMIO_LOG_BYTES_MAX);
    const struct nvmmio_mark *mark = options->mark;
    if (mark && mark->bytes &&
        (mark->bytes > NVMMIO_MARK_BYTES || mark->nonce_at > mark->bytes ||
         mark->bytes - mark->nonce_at < NVMMIO_NONCE_BYTES))
        return nv_fail(-EINVAL, "the mark's nonce does not lie in its %u bytes", mark->bytes);
    if (options->flags &
        ~(uint32_t)(NVMMIO_READ_ONLY | NVMMIO_CREATE | NVMMIO_CREATE_NEW | NVMMIO_DEFER))
        return nv_fail(-EINVAL, "flags 0x%x are unknown", options->flags);
    if (options->timeout_ms < -1)
        return nv_fail(-EINVAL, "timeout_ms %d is out of range; use -1 for no limit",
                       (int)options->timeout_ms);
    if ((options->flags & NVMMIO_CREATE_NEW) && !(options->flags & NVMMIO_CREATE))
        return nv_fail(-EINVAL, "NVMMIO_CREATE_NEW needs NVMMIO_CREATE");
    return 0;
}

int nv_open(struct nv_process *process, const char *path, const struct nvmmio_options *options,
            struct nvmmio **out)
{
    static const struct nvmmio_options defaults = NVMMIO_OPTIONS_INIT;
    *out = NULL;
    if (!options)
        options = &defaults;
    int error = check_options(options);
    if (error)
        return error;
    struct nvmmio *handle = calloc(1, sizeof *handle);
    if (!handle)
        return nv_fail(-ENOMEM, "out of memory");
    handle->process = process;
    handle->read_only = options->flags & NVMMIO_READ_ONLY;
    handle->timeout_ms = options->timeout_ms;
    handle->stage_bytes = options->stage_bytes ? options->stage_bytes : NV_STAGE_BYTES_DEFAULT;
    handle->zero_pending = NV_NO_ZERO;
    nv_overlay_init(&handle->overlay);
    error = nv_home_acquire(process, path, options, &handle->home);
    if (!error && !(options->flags & NVMMIO_DEFER)) {
        error = nv_handle_join(handle, options->timeout_ms);
        if (error)
            nv_home_release(handle->home);
    }
    if (error) {
        nv_overlay_free(&handle->overlay);
        free(handle);
        return error;
    }
    *out = handle;
    return 0;
}

int nvmmio_open(const char *path, const struct nvmmio_options *options, struct nvmmio **handle)
{
    struct nv_process *process = NULL;
    int error = nv_process_default(&process);
    return error ? error : nv_open(process, path, options, handle);
}

static void handle_free(struct nvmmio *handle)
{
    nv_overlay_free(&handle->overlay);
    free(handle->scratch);
    free(handle->parts);
    free(handle->super);
    free(handle->child);
    free(handle);
}

int nvmmio_close(struct nvmmio *handle)
{
    if (!handle)
        return 0;
    int error = check_here(handle);
    if (error) { /* the home is the parent's: its memory is all that can be given up */
        handle_free(handle);
        return error;
    }
    if (handle->joined) {
        if (handle->stage == NVMMIO_SEALED)
            error = nvmmio_commit(handle);
        else if (handle->stage != NVMMIO_CLEAN)
            error = nv_commit_abandon(handle);
        nv_lock_lower(handle, NV_LEVEL_NONE);
        nv_share_slot_free(&handle->home->share, handle->slot);
        int left = nv_home_leave(handle->home, handle->timeout_ms);
        error = error ? error : left;
    }
    nv_home_release(handle->home);
    handle_free(handle);
    return error;
}

/* ---- locks ---- */

static enum nv_level level_of(enum nvmmio_lock lock)
{
    static const enum nv_level levels[] = {NV_LEVEL_NONE, NV_LEVEL_SHARED, NV_LEVEL_RESERVED,
                                           NV_LEVEL_EXCLUSIVE};
    return levels[lock];
}

int nvmmio_lock(struct nvmmio *handle, enum nvmmio_lock lock, int timeout_ms)
{
    int error = check_here(handle);
    if (error)
        return error;
    if (lock < NVMMIO_UNLOCKED || lock > NVMMIO_EXCLUSIVE)
        return nv_fail(-EINVAL, "lock %d is unknown", (int)lock);
    if (lock == NVMMIO_UNLOCKED)
        return 0;
    if (handle->read_only && lock > NVMMIO_SHARED)
        return nv_fail(-EROFS, "%s is open read-only", handle->home->path);
    error = nv_lock_raise(handle, level_of(lock), timeout_ms);
    /* A PENDING that is left behind is the caller's too, until he lowers it. */
    if (!error || handle->writing == NV_LEVEL_PENDING)
        handle->asked = error                            ? NV_LEVEL_PENDING
                        : level_of(lock) > handle->asked ? level_of(lock)
                                                         : handle->asked;
    return error;
}

int nvmmio_unlock(struct nvmmio *handle, enum nvmmio_lock lock)
{
    int error = check_here(handle);
    if (error)
        return error;
    if (lock != NVMMIO_UNLOCKED && lock != NVMMIO_SHARED)
        return nv_fail(-EINVAL, "a lock can be lowered to SHARED or UNLOCKED only");
    if (handle->stage == NVMMIO_SEALED)
        error = nvmmio_apply(handle);
    else if (handle->stage != NVMMIO_CLEAN)
        error = nv_commit_abandon(handle);
    if (handle->stage == NVMMIO_STAGED) /* its seal was taken back: the lock goes, and so does it */
        (void)nv_commit_drop(handle);
    enum nv_level level = level_of(lock);
    if (nv_lock_level(handle) > level)
        nv_lock_lower(handle, level);
    handle->asked = nv_lock_level(handle);
    return error;
}

int nvmmio_lock_reserved(struct nvmmio *handle, bool *reserved)
{
    int error = check_here(handle);
    if (!error)
        error = nv_handle_join(handle, handle->timeout_ms);
    *reserved = !error && nv_share_writer_level(&handle->home->share) != NV_LEVEL_NONE;
    return error;
}

/* What a call took for itself goes back to what the caller holds. */
static void settle_locks(struct nvmmio *handle)
{
    if (handle->stage == NVMMIO_CLEAN && nv_lock_level(handle) > handle->asked &&
        handle->asked <= NV_LEVEL_RESERVED)
        nv_lock_lower(handle, handle->asked);
}

/* ---- reading and writing ---- */

static int begin_read(struct nvmmio *handle)
{
    int error = check_here(handle);
    if (error || (nv_lock_level(handle) >= NV_LEVEL_SHARED && !handle->barred))
        return error;
    return nv_lock_raise(handle, NV_LEVEL_SHARED, handle->timeout_ms);
}

ssize_t nvmmio_pread(struct nvmmio *handle, void *buffer, size_t bytes, uint64_t offset)
{
    int error = begin_read(handle);
    if (error)
        return error;
    uint64_t size = nv_stage_size(handle);
    size_t have = offset < size ? (size_t)nv_min(bytes, size - offset) : 0;
    if (have)
        error = nv_stage_read(handle, offset, buffer, have);
    nv_count(&handle->home->share.shared->slots[handle->slot].read_bytes, have);
    settle_locks(handle);
    return error ? error : (ssize_t)have;
}

/* Everything that a first change needs: the writer's lock, and a log to put it in. */
static int begin_write(struct nvmmio *handle)
{
    int error = check_here(handle);
    if (error)
        return error;
    if (handle->read_only)
        return nv_fail(-EROFS, "%s is open read-only", handle->home->path);
    if (handle->stage == NVMMIO_PREPARED)
        return nv_fail(-EBUSY, "%s has a prepared transaction; resolve it first",
                       handle->home->path);
    error = nv_lock_raise(handle, NV_LEVEL_RESERVED, handle->timeout_ms);
    if (!error)
        error = nv_home_log(handle->home, handle->timeout_ms);
    if (!error && handle->stage == NVMMIO_SEALED)
        error = nv_commit_unseal(handle);
    return error;
}

ssize_t nvmmio_pwrite(struct nvmmio *handle, const void *buffer, size_t bytes, uint64_t offset)
{
    if (offset > (uint64_t)INT64_MAX - NV_BLOCK_BYTES ||
        bytes > (uint64_t)INT64_MAX - NV_BLOCK_BYTES - offset)
        return nv_fail(-EFBIG, "offset %llu is past the largest file", (unsigned long long)offset);
    int error = begin_write(handle);
    if (!error && bytes)
        error = nv_stage_write(handle, offset, buffer, bytes);
    if (!error)
        nv_count(&handle->home->share.shared->slots[handle->slot].written_bytes, bytes);
    settle_locks(handle);
    return error ? error : (ssize_t)bytes;
}

int nvmmio_truncate(struct nvmmio *handle, uint64_t bytes)
{
    if (bytes > (uint64_t)INT64_MAX - NV_BLOCK_BYTES)
        return nv_fail(-EFBIG, "%llu bytes is past the largest file", (unsigned long long)bytes);
    int error = begin_write(handle);
    if (!error && bytes != nv_stage_size(handle))
        error = nv_stage_truncate(handle, bytes);
    settle_locks(handle);
    return error;
}

int64_t nvmmio_size(struct nvmmio *handle)
{
    int error = check_here(handle);
    if (!error)
        error = nv_handle_join(handle, handle->timeout_ms);
    return error ? error : (int64_t)nv_stage_size(handle);
}

int nvmmio_allocate(struct nvmmio *handle, uint64_t bytes)
{
    if (bytes > (uint64_t)INT64_MAX - NV_BLOCK_BYTES)
        return nv_fail(-EFBIG, "%llu bytes is past the largest file", (unsigned long long)bytes);
    enum nvmmio_stage stage = handle->stage;
    int error = begin_write(handle);
    if (!error)
        error =
            nv_home_reserve(handle->home, nv_max(bytes, handle->home->share.shared->mark_bytes));
    if (stage == NVMMIO_CLEAN)
        settle_locks(handle);
    return error;
}

int nvmmio_view(struct nvmmio *handle, uint64_t offset, size_t bytes, const void **address)
{
    int error = check_here(handle);
    *address = NULL;
    if (error)
        return error;
    if (nv_lock_level(handle) < NV_LEVEL_SHARED)
        return nv_fail(-EINVAL, "nvmmio_view needs a shared lock");
    struct nv_home *home = handle->home;
    uint64_t size = nv_stage_size(handle);
    if (handle->barred || !home->medium.ops->mapped || offset > size || bytes > size - offset ||
        offset < home->share.shared->mark_bytes)
        return -EOPNOTSUPP;
    const struct nv_overlay *overlay = &handle->overlay;
    if (overlay->active && bytes) {
        if (offset + bytes > overlay->zero_from)
            return -EOPNOTSUPP;
        for (uint64_t b = offset / NV_BLOCK_BYTES; b <= (offset + bytes - 1) / NV_BLOCK_BYTES; b++)
            if (nv_overlay_find(overlay, b))
                return -EOPNOTSUPP;
    }
    *address = nv_home_view(home, offset, bytes);
    return *address ? 0 : -EOPNOTSUPP;
}

/* ---- transactions ---- */

int nvmmio_seal(struct nvmmio *handle)
{
    int error = check_here(handle);
    if (error || handle->stage != NVMMIO_STAGED)
        return error;
    error = nv_lock_raise(handle, NV_LEVEL_EXCLUSIVE, handle->timeout_ms);
    return error ? error : nv_commit_seal(handle, NV_RECORD_COMMIT);
}

int nvmmio_commit(struct nvmmio *handle)
{
    int error = check_here(handle);
    if (error || handle->stage != NVMMIO_SEALED)
        return error;
    error = nv_commit_harden(handle);
    return error ? error : nv_commit_apply(handle);
}

int nvmmio_apply(struct nvmmio *handle)
{
    int error = check_here(handle);
    if (error || handle->stage != NVMMIO_SEALED)
        return error;
    const struct nv_home *home = handle->home;
    const struct nv_shared *shared = home->share.shared;
    /* Where a fence is cheap it is not left out: then a power loss leaves no half of it either. And
     * without a mark only a record tells recovery that it was us who stored behind home's end. */
    if (home->log.medium.ops->instant || (!shared->mark_bytes && shared->log_durable == 0))
        error = nv_commit_harden(handle);
    return error ? error : nv_commit_apply(handle);
}

enum nvmmio_stage nvmmio_stage(const struct nvmmio *handle)
{
    return handle->stage;
}

int nvmmio_sync(struct nvmmio *handle)
{
    int error = nvmmio_seal(handle);
    if (!error)
        error = nvmmio_commit(handle);
    settle_locks(handle);
    return error;
}

int nvmmio_rollback(struct nvmmio *handle)
{
    int error = check_here(handle);
    if (error)
        return error;
    if (handle->stage != NVMMIO_CLEAN)
        error = nv_commit_drop(handle);
    settle_locks(handle);
    return error;
}

int nvmmio_flush(struct nvmmio *handle)
{
    int error = check_here(handle);
    if (error)
        return error;
    if (handle->stage != NVMMIO_CLEAN)
        return nv_fail(-EBUSY, "%s has a transaction that has not ended", handle->home->path);
    /* Under the writer's lock: on memory, what earlier writers stored is durable once it is ours.
     */
    error = nv_lock_raise(handle, NV_LEVEL_RESERVED, handle->timeout_ms);
    struct nv_shared *shared = error ? NULL : handle->home->share.shared;
    bool live = !error && atomic_load(&shared->log_live);
    /* Commits that nobody waited for: the log goes before home, and is perhaps another's so far. */
    if (live && atomic_load(&shared->applied) > shared->log_durable)
        error = nv_home_log(handle->home, handle->timeout_ms);
    if (live && !error)
        error = nv_flush_log(handle->home);
    if (live && !error)
        error = nv_flush_home(handle->home, atomic_load(&shared->applied));
    settle_locks(handle);
    return error;
}

#define NAME_BYTES_MAX 2048

int nvmmio_prepare(struct nvmmio *handle, const char *super, const char *child)
{
    int error = check_here(handle);
    if (error)
        return error;
    if (!child)
        child = "";
    if (super[0] != '/' || (*child && *child != '/') || strlen(super) >= NAME_BYTES_MAX ||
        strlen(child) >= NAME_BYTES_MAX)
        return nv_fail(-EINVAL,
                       "the files that decide must be absolute paths shorter than %d bytes",
                       NAME_BYTES_MAX);
    bool was_clean = handle->stage == NVMMIO_CLEAN;
    error = begin_write(handle); /* takes an earlier seal back */
    if (!error)
        error = nv_lock_raise(handle, NV_LEVEL_EXCLUSIVE, handle->timeout_ms);
    if (error) {
        settle_locks(handle);
        return error;
    }
    if (was_clean)
        error = nv_stage_truncate(handle, nv_stage_size(handle));
    handle->super = strdup(super);
    handle->child = strdup(child);
    if (!error && (!handle->super || !handle->child))
        error = nv_fail(-ENOMEM, "out of memory");
    if (!error)
        error = nv_commit_seal(handle, NV_RECORD_PREPARE);
    if (!error)
        error = nv_commit_harden(handle);
    if (!error) {
        nv_count(&handle->home->share.shared->counters.prepares, 1);
        return 0;
    }
    free(handle->super);
    free(handle->child);
    handle->super = handle->child = NULL;
    if (was_clean && handle->stage == NVMMIO_STAGED)
        (void)nv_commit_drop(handle);
    settle_locks(handle);
    return error;
}

int nvmmio_resolve(struct nvmmio *handle, bool commit)
{
    int error = check_here(handle);
    if (error)
        return error;
    if (handle->stage != NVMMIO_PREPARED)
        return nv_fail(-EINVAL, "%s has no prepared transaction", handle->home->path);
    error = nv_commit_resolve(handle, commit);
    settle_locks(handle);
    return error;
}
