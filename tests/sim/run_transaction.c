/* run_transaction: changes, the ends of a transaction, and its locks. */
#include <errno.h>

#include "tests/sim/run.h"

#define MODEL_BYTES_MAX 1000000u

/* ---- staging ------------------------------------------------------------------------- */

/* The first change of a transaction goes on from what is committed; a later one takes a seal back.
 */
static void begin_change(struct run *run, struct run_handle *handle)
{
    if (handle->stage == NVMMIO_CLEAN)
        content_copy(&handle->staged, run_seen(run, handle));
    if (handle->stage == NVMMIO_SEALED)
        handle->waiting = true;
    handle->stage = NVMMIO_STAGED;
}

void run_follow_stage(struct run_handle *handle)
{
    enum nvmmio_stage stage = nvmmio_stage(handle->handle);
    if (handle->stage == NVMMIO_SEALED && stage == NVMMIO_STAGED)
        handle->waiting = true;
    if (stage == NVMMIO_CLEAN && handle->stage != NVMMIO_CLEAN)
        run_end_transaction(handle);
    handle->stage = stage;
}

static bool change_refused(struct run *run, struct run_handle *handle, const char *what,
                           ssize_t error)
{
    struct model_file *file = run_file(run, handle);
    if (handle->read_only) {
        if (error != -EROFS && !run_fired(run) && !file->suspect)
            run_fail(run, "%s by a read-only handle answers %zd", what, error);
        return true;
    }
    if (error >= 0) {
        if (handle->stage == NVMMIO_CLEAN && run_others(run, handle, HAS_WRITER_SURELY))
            run_fail(run, "%s succeeds beside another transaction", what);
        if (file->poisoned)
            run_fail(run, "%s succeeds after a commit that is in doubt", what);
        return false;
    }
    bool busy = (handle->stage == NVMMIO_CLEAN && run_others(run, handle, HAS_WRITER)) ||
                handle->stage == NVMMIO_PREPARED;
    /* Nothing of it is staged; but a transaction may have begun. */
    if (handle->stage == NVMMIO_CLEAN)
        content_copy(&handle->staged, run_seen(run, handle));
    if (run_excused(run, handle, what, error, busy))
        run_follow_stage(handle);
    return true;
}

void run_write(struct run *run, struct run_handle *handle, const struct op *op)
{
    if (op->offset + op->bytes > MODEL_BYTES_MAX)
        return;
    uint8_t *data = run_buffer(run, op->bytes + 1);
    content_fill(data, op->bytes, op->seed, run_seen(run, handle), op->offset);
    ssize_t got = nvmmio_pwrite(handle->handle, data, op->bytes, op->offset);
    if (change_refused(run, handle, "pwrite", got))
        return;
    if (got != (ssize_t)op->bytes)
        run_fail(run, "pwrite of %u bytes answers %zd", op->bytes, got);
    if (op->bytes == 0 && handle->stage == NVMMIO_CLEAN) {
        run_follow_stage(handle);
        return;
    }
    begin_change(run, handle);
    content_write(&handle->staged, data, op->bytes, op->offset);
}

void run_truncate(struct run *run, struct run_handle *handle, uint32_t bytes)
{
    int error = nvmmio_truncate(handle->handle, bytes);
    if (change_refused(run, handle, "truncate", error))
        return;
    if (handle->stage == NVMMIO_CLEAN && run_seen(run, handle)->bytes == bytes) {
        run_follow_stage(handle);
        return;
    }
    begin_change(run, handle);
    content_truncate(&handle->staged, bytes);
}

void run_allocate(struct run *run, struct run_handle *handle, uint32_t bytes)
{
    int error = nvmmio_allocate(handle->handle, bytes);
    if (!change_refused(run, handle, "allocate", error))
        run_follow_stage(handle);
}

/* ---- the end of a transaction -------------------------------------------------------- */

bool run_announce(struct run *run, struct run_handle *handle)
{
    uint32_t state = model_state(run->model, handle->file, &handle->staged);
    if (state == MODEL_STATES)
        return false;
    handle->sealed = state;
    return true;
}

static void committing(struct run *run, const struct run_handle *handle, bool waits)
{
    run->committing[handle->file] = handle->sealed;
    run->commit_waits[handle->file] = waits;
    run->model->now.files[handle->file].states |= UINT64_C(1) << handle->sealed;
    run_note(run);
}

void run_committed(struct run *run, struct run_handle *handle, bool waited)
{
    struct allowed_file *allowed = &run->model->now.files[handle->file];
    uint64_t state = UINT64_C(1) << handle->sealed;
    run_file(run, handle)->visible = state;
    if (waited)
        *allowed = (struct allowed_file){.states = state};
    allowed->states |= state;
    handle->waiting |=
        handle->asked == NVMMIO_RESERVED; /* EXCLUSIVE stays with what was asked for */
    run_end_transaction(handle);
}

/* It was not, and can't come back. */
static void not_committed(struct run *run, const struct run_handle *handle)
{
    struct allowed_file *allowed = &run->model->now.files[handle->file];
    allowed->states &= ~(UINT64_C(1) << handle->sealed);
}

void run_failed_commit(struct run *run, struct run_handle *handle, const char *what, int error,
                       bool busy)
{
    struct model_file *file = run_file(run, handle);
    if (!run_excused(run, handle, what, error, busy))
        return;
    if (error == -EBUSY || (error == -ENOSPC && !run_fired(run))) {
        not_committed(run, handle);
        handle->waiting |= handle->stage != NVMMIO_CLEAN;
    } else {
        handle->broken = true;
        file->suspect = true;
        run->model->now.files[handle->file].torn |= handle->stage == NVMMIO_SEALED;
    }
}

void run_sync(struct run *run, struct run_handle *handle)
{
    bool sealed = handle->stage == NVMMIO_SEALED;
    bool staged = handle->stage == NVMMIO_STAGED;
    if (handle->stage == NVMMIO_PREPARED || (staged && !run_announce(run, handle)))
        return;
    if (sealed || staged)
        committing(run, handle, true);
    int error = nvmmio_sync(handle->handle);
    if (!sealed && !staged && error)
        (void)run_excused(run, handle, "sync of nothing", error, false);
    else if (error)
        run_failed_commit(run, handle, "sync", error, run_others(run, handle, HAS_READER));
    else if (sealed || staged)
        run_committed(run, handle, true);
}

void run_seal(struct run *run, struct run_handle *handle)
{
    if (handle->stage != NVMMIO_STAGED || !run_announce(run, handle))
        return;
    committing(run, handle, false);
    int error = nvmmio_seal(handle->handle);
    if (error) {
        run_failed_commit(run, handle, "seal", error, run_others(run, handle, HAS_READER));
        return;
    }
    handle->stage = NVMMIO_SEALED;
}

void run_commit(struct run *run, struct run_handle *handle, bool waits)
{
    if (handle->stage != NVMMIO_SEALED)
        return;
    if (!waits)
        run->model->now.files[handle->file].torn = true;
    committing(run, handle, waits);
    int error = waits ? nvmmio_commit(handle->handle) : nvmmio_apply(handle->handle);
    if (error)
        run_failed_commit(run, handle, waits ? "commit" : "apply", error, false);
    else
        run_committed(run, handle, waits);
    if (!error && handle->asked < NVMMIO_EXCLUSIVE)
        handle->waiting = true; /* locks stay */
}

void run_rollback(struct run *run, struct run_handle *handle)
{
    if (handle->stage == NVMMIO_PREPARED)
        return;
    bool sealed = handle->stage == NVMMIO_SEALED;
    int error = nvmmio_rollback(handle->handle);
    if (error) {
        (void)run_excused(run, handle, "rollback", error, false);
        return;
    }
    if (sealed && !handle->broken)
        not_committed(run, handle);
    if (!handle->broken)
        run_end_transaction(handle);
}

/* Home holds durably what is visible, also what nobody waited for. */
static void flushed(struct run *run, uint32_t at)
{
    const struct model_file *file = &run->model->files[at];
    struct allowed_file *allowed = &run->model->now.files[at];
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++)
        if (run->handles[i].open && run->handles[i].file == at &&
            run->handles[i].stage >= NVMMIO_SEALED)
            return; /* what is sealed may come with it */
    if (file->poisoned || file->suspect)
        return;
    bool absent = allowed->absent;
    *allowed = (struct allowed_file){
        .states = file->visible, .states_super = file->visible, .absent = absent};
}

void run_flush(struct run *run, struct run_handle *handle)
{
    int error = nvmmio_flush(handle->handle);
    if (error == -EROFS && handle->read_only)
        return;
    if (error) {
        (void)run_excused(run, handle, "flush", error,
                          run_others(run, handle, HAS_WRITER) || handle->stage != NVMMIO_CLEAN);
        return;
    }
    flushed(run, handle->file);
}

/* How often each file of a process was flushed off the commit path. */
static void flushes(const struct run *run, uint32_t process, uint64_t count[PROGRAM_FILES])
{
    for (uint32_t i = process; i < PROGRAM_HANDLES; i += run->program->processes) {
        struct nvmmio_stats stats;
        if (run->handles[i].open && nvmmio_stats(run->handles[i].handle, &stats) == 0)
            count[run->handles[i].file] = stats.flushes;
    }
}

void run_step(struct run *run, uint32_t process)
{
    uint64_t before[PROGRAM_FILES] = {0};
    uint64_t after[PROGRAM_FILES] = {0};
    flushes(run, process, before);
    int error = nv_process_step(run->processes[process].engine);
    flushes(run, process, after);
    if (error < 0 && !run_fired(run) && !run->faulty)
        run_fail(run, "a step answers %d: %s", error, nvmmio_last_error());
    for (uint32_t f = 0; f < run->program->files; f++)
        if (run_fired(run))
            run->model->files[f].suspect = true;
        else if (before[f] != after[f])
            flushed(run, f);
}

void run_lock(struct run *run, struct run_handle *handle, enum nvmmio_lock level)
{
    if (handle->read_only && level > NVMMIO_SHARED)
        return;
    bool busy = level == NVMMIO_SHARED ? run_others(run, handle, HAS_EXCLUSIVE)
                                       : run_others(run, handle, HAS_WRITER);
    busy = busy || (level == NVMMIO_EXCLUSIVE && run_others(run, handle, HAS_READER));
    int error = nvmmio_lock(handle->handle, level, 0);
    if (error && !run_excused(run, handle, "lock", error, busy))
        return;
    if (!error && level == NVMMIO_EXCLUSIVE && run_others(run, handle, HAS_READER_SURELY))
        run_fail(run, "EXCLUSIVE is given beside a reader");
    if (!error && level >= NVMMIO_RESERVED && run_others(run, handle, HAS_WRITER_SURELY))
        run_fail(run, "RESERVED is given twice");
    if (error && level == NVMMIO_EXCLUSIVE && !run_others(run, handle, HAS_WRITER)) {
        handle->waiting = true;
        level = NVMMIO_RESERVED;
        error = 0;
    }
    if (error)
        return;
    handle->unsure = false;
    if (level > handle->asked)
        handle->asked = level;
}

void run_unlock(struct run *run, struct run_handle *handle, enum nvmmio_lock level)
{
    if (handle->stage == NVMMIO_PREPARED)
        return;
    bool sealed = handle->stage == NVMMIO_SEALED;
    bool surely = (handle->asked && !handle->unsure) || handle->stage != NVMMIO_CLEAN;
    bool held = surely || handle->asked || handle->waiting;
    if (sealed) {
        run->model->now.files[handle->file].torn = true;
        committing(run, handle, false);
    }
    int error = nvmmio_unlock(handle->handle, level);
    if (error) {
        run_failed_commit(run, handle, "unlock", error, false);
        return;
    }
    if (handle->broken)
        return;
    if (sealed)
        run_committed(run, handle, false);
    handle->stage = NVMMIO_CLEAN;
    handle->waiting = false;
    handle->asked = held ? level : NVMMIO_UNLOCKED;
    /* Locks stay with a commit until another call ends, which may have given them back. */
    handle->unsure = handle->asked && !surely;
}
