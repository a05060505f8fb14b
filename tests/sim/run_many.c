/* run_many: commits over several files, by nvmmio_sync_many, and by prepare and resolve with a file
 * of the harness that decides. */
#include <errno.h>
#include <string.h>

#include "tests/sim/run.h"

static const char *child_path(uint32_t file)
{
    return file ? "/d/b-child" : "/d/a-child";
}

/* The handles of a commit over several files: one or two. */
static uint32_t participants(struct run *run, const struct op *op, struct run_handle *two[2])
{
    struct run_handle *first = &run->handles[op->handle];
    struct run_handle *second = &run->handles[op->other];
    two[0] = first;
    two[1] = NULL;
    if (second->open && second->file != first->file && !second->broken && !second->read_only &&
        op->other % run->program->processes == op->handle % run->program->processes &&
        second->stage != NVMMIO_PREPARED)
        two[1] = second;
    return two[1] ? 2 : 1;
}

static void make_decision(struct run *run, struct sim_process *process,
                          struct run_handle *const two[2], uint32_t count, bool children)
{
    char list[64] = "";
    size_t bytes = 0;
    for (uint32_t i = 0; i < count && children; i++) {
        strcpy(list + bytes, child_path(two[i]->file));
        bytes += strlen(list + bytes) + 1;
    }
    run_make_file(run, process, MODEL_SUPER, list, bytes);
    for (uint32_t i = 0; i < count && children; i++)
        run_make_file(run, process, child_path(two[i]->file), MODEL_SUPER, sizeof MODEL_SUPER);
}

static void remove_decision(struct run *run, struct sim_process *process)
{
    run_remove_file(run, process, MODEL_SUPER);
    for (uint32_t f = 0; f < run->program->files; f++)
        run_remove_file(run, process, child_path(f));
    run->prepared = false;
    run->model->now.joints = 0;
}

/* The outcome is what the file that decides says; with the handles' own calls. */
void run_resolve_all(struct run *run, struct sim_process *process, bool commit)
{
    struct model *model = run->model;
    bool known = true; /* every file has the outcome, whatever becomes of what decided it */
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++) {
        struct run_handle *handle = &run->handles[i];
        if (!handle->open || handle->stage != NVMMIO_PREPARED)
            continue;
        run->committing[handle->file] = handle->sealed;
        run->commit_waits[handle->file] = run->deciding[handle->file] = true;
        if (commit)
            model->now.files[handle->file].states = UINT64_C(1) << handle->sealed;
    }
    run_note(run);
    if (commit)
        run_remove_file(run, process, MODEL_SUPER);
    for (uint32_t i = 0; i < PROGRAM_HANDLES && !run->failure[0]; i++) {
        struct run_handle *handle = &run->handles[i];
        if (!handle->open || handle->stage != NVMMIO_PREPARED)
            continue;
        int error = nvmmio_resolve(handle->handle, commit);
        if (error) {
            (void)run_excused(run, handle, "resolve", error, false);
            handle->broken = true;
            known = false;
            run_end_transaction(handle);
        } else if (commit) {
            run_committed(run, handle, true);
        } else {
            run_end_transaction(handle);
        }
        run->committing[handle->file] = SIM_NONE;
        run->deciding[handle->file] = false;
        run_note(run);
    }
    if (known)
        model->now.joints = 0;
    if (!run_fired(run))
        remove_decision(run, process);
}

void run_prepare(struct run *run, struct sim_process *process, const struct op *op)
{
    struct run_handle *two[2];
    if (run->prepared || run->handles[op->handle].stage == NVMMIO_PREPARED)
        return;
    uint32_t count = participants(run, op, two);
    bool children = op->number % 2 || count > 1;
    for (uint32_t i = 0; i < count; i++) {
        if (two[i]->stage == NVMMIO_SEALED || run_others(run, two[i], HAS_WRITER))
            return;
        if (two[i]->stage == NVMMIO_CLEAN)
            content_copy(&two[i]->staged, run_seen(run, two[i]));
        if (!run_announce(run, two[i]))
            return;
    }
    if (count == 2 && run->model->joint_count == MODEL_JOINTS)
        return;
    for (uint32_t i = 0; i < count && count == 2; i++)
        run->model->joints[run->model->joint_count].states[two[i]->file] = two[i]->sealed;
    if (count == 2)
        run->model->now.joints = 1u << run->model->joint_count++;
    run->prepared = true;
    make_decision(run, process, two, count, children);
    int error = 0;
    uint32_t done = 0;
    for (; done < count && !error; done++) {
        run->committing[two[done]->file] = two[done]->sealed;
        run->deciding[two[done]->file] = true;
        error = nvmmio_prepare(two[done]->handle, MODEL_SUPER,
                               children ? child_path(two[done]->file) : NULL);
        if (!error)
            two[done]->stage = NVMMIO_PREPARED;
    }
    if (!error)
        return;
    struct run_handle *failed = two[done - 1];
    if (!run_excused(run, failed, "prepare", error, run_others(run, failed, HAS_READER)))
        return;
    bool broken = error != -EBUSY && (error != -ENOSPC || run_fired(run));
    failed->broken |= broken;
    if (broken) { /* in doubt, whatever becomes of the others */
        run->model->now.files[failed->file].states |= UINT64_C(1) << failed->sealed;
        run->model->now.joints = 0;
    }
    failed->waiting |= failed->stage != NVMMIO_CLEAN;
    if (!broken)
        run_follow_stage(failed);
    run_resolve_all(run, process, false);
}

void run_sync_many(struct run *run, const struct op *op)
{
    struct run_handle *two[2];
    struct model *model = run->model;
    struct nvmmio *handles[2];
    uint32_t joint = model->joint_count;
    if (participants(run, op, two) != 2 || joint == MODEL_JOINTS)
        return;
    bool busy = false;
    for (uint32_t i = 0; i < 2; i++) {
        if (two[i]->stage != NVMMIO_STAGED || !run_announce(run, two[i]))
            return;
        handles[i] = two[i]->handle;
        model->joints[joint].states[two[i]->file] = two[i]->sealed;
        busy |= run_others(run, two[i], HAS_READER) || run_others(run, two[i], HAS_WRITER);
    }
    model->joint_count++;
    model->now.joints = 1u << joint;
    for (uint32_t i = 0; i < 2; i++) {
        run->committing[two[i]->file] = two[i]->sealed;
        run->commit_waits[two[i]->file] = true;
        model->now.files[two[i]->file].states |= UINT64_C(1) << two[i]->sealed;
    }
    run_note(run);
    int error = nvmmio_sync_many(handles, 2);
    for (uint32_t i = 0; i < 2; i++) {
        if (!error) {
            run_committed(run, two[i], true);
        } else {
            run_failed_commit(run, two[i], "sync_many", error, busy);
            if (!two[i]->broken)
                run_follow_stage(two[i]);
            else /* it may have failed behind the decision */
                model->files[two[i]->file].unknown = true;
        }
    }
    if (!run_fired(run))
        model->now.joints = 0;
}
