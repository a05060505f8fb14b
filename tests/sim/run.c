/* run: processes, deaths, and what a file turns out to hold after them. */
#include "tests/sim/run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"

#define HARNESS (SIM_PROCESSES_MAX - 1)

void run_fail(struct run *run, const char *format, ...)
{
    va_list arguments;
    if (run->failure[0])
        return;
    va_start(arguments, format);
    vsnprintf(run->failure, sizeof run->failure, format, arguments);
    va_end(arguments);
}

uint8_t *run_buffer(struct run *run, size_t bytes)
{
    if (run->buffer_bytes < bytes) {
        run->buffer_bytes = bytes + bytes / 4 + 4096;
        free(run->buffer);
        run->buffer = malloc(run->buffer_bytes);
        if (!run->buffer) {
            fputs("sim: out of memory\n", stderr);
            abort();
        }
    }
    return run->buffer;
}

/* Only what was prepared depends on the file that decides. */
static bool is_prepared(const struct run *run, uint32_t file)
{
    bool prepared = run->deciding[file];
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++)
        prepared |= run->handles[i].open && run->handles[i].file == file &&
                    run->handles[i].stage == NVMMIO_PREPARED;
    return prepared;
}

void run_note(struct run *run)
{
    for (uint32_t i = 0; i < run->program->files; i++)
        if (!is_prepared(run, i))
            run->model->now.files[i].states_super = run->model->now.files[i].states;
    model_note(run->model, run->sim);
}

struct run_process *run_process(struct run *run, uint32_t index)
{
    struct run_process *process = &run->processes[index];
    if (process->sim)
        return process;
    process->sim = sim_spawn(run->sim);
    if (!process->sim || nv_process_create(&process->sim->os, &process->engine) != 0) {
        fputs("sim: no process\n", stderr);
        abort();
    }
    return process;
}

void run_end_transaction(struct run_handle *handle)
{
    handle->stage = NVMMIO_CLEAN;
    if (handle->asked < NVMMIO_RESERVED)
        handle->waiting = false;
}

ssize_t run_read_all(struct run *run, struct nvmmio *handle)
{
    for (size_t bytes = 4096;; bytes *= 2) {
        ssize_t got = nvmmio_pread(handle, run_buffer(run, bytes), bytes, 0);
        if (got < (ssize_t)bytes)
            return got;
    }
}

bool run_resolve(struct run *run, uint32_t file, uint64_t states, size_t bytes)
{
    struct model_file *at = &run->model->files[file];
    uint64_t matches = model_match(at, states, run->buffer, bytes);
    if (!matches)
        return false;
    /* Of equal ones the last: what is staged next goes on from there. */
    at->visible = UINT64_C(1) << (63 - __builtin_clzll(matches));
    return true;
}

/* ---- files of the harness ------------------------------------------------------------ */

void run_make_file(struct run *run, struct sim_process *process, const char *path, const char *text,
                   size_t bytes)
{
    const struct nv_os *os = &process->os;
    struct nv_file file;
    struct iovec part = {(void *)(uintptr_t)text, bytes};
    run->sim->harness = true;
    int error = os->open(os, path, NV_OPEN_WRITE | NV_OPEN_CREATE, 0600, &file);
    if (error) {
        run_fail(run, "the harness cannot make %s: %d", path, error);
        return;
    }
    (void)os->pwritev(&file, &part, 1, 0);
    (void)os->sync_data(&file);
    (void)os->close(&file);
    (void)os->sync_directory(os, path);
    run->sim->harness = false;
}

void run_write_file(struct run *run, struct sim_process *process, const char *path,
                    const struct content *content)
{
    const struct nv_os *os = &process->os;
    struct nv_file file;
    struct iovec part = {content->data, content->bytes};
    const uint64_t space_bytes = run->sim->space_bytes;
    run->sim->harness = true;
    run->sim->space_bytes = UINT64_MAX; /* a disk that is full is for nvmmio alone */
    if (os->open(os, path, NV_OPEN_WRITE, 0600, &file) == 0) {
        if (os->truncate(&file, content->bytes) == 0 && content->bytes)
            (void)os->pwritev(&file, &part, 1, 0);
        (void)os->sync_data(&file);
        (void)os->close(&file);
    }
    run->sim->space_bytes = space_bytes;
    run->sim->harness = false;
}

void run_remove_file(struct run *run, struct sim_process *process, const char *path)
{
    const struct nv_os *os = &process->os;
    if (sim_find(run->sim, path) == SIM_NONE)
        return;
    run->sim->harness = true;
    (void)os->unlink(os, path);
    (void)os->sync_directory(os, path);
    run->sim->harness = false;
}

/* ---- after a death ------------------------------------------------------------------- */

static uint32_t survivor(const struct run *run, uint32_t file)
{
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++)
        if (run->handles[i].open && !run->handles[i].broken && run->handles[i].file == file)
            return i;
    return PROGRAM_HANDLES;
}

/* Whether a living handle keeps `handle` from reading: then nobody who died was the writer. */
static bool kept_out(const struct run *run, uint32_t handle)
{
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++) {
        const struct run_handle *other = &run->handles[i];
        if (i != handle && other->open && other->file == run->handles[handle].file &&
            (other->waiting || other->asked == NVMMIO_EXCLUSIVE || other->stage >= NVMMIO_SEALED))
            return true;
    }
    return false;
}

/* What the file holds, as a living handle or a new process sees it. */
static ssize_t look(struct run *run, uint32_t file)
{
    uint32_t i = survivor(run, file);
    struct nvmmio_options options;
    struct nvmmio *handle = NULL;
    if (i < PROGRAM_HANDLES) {
        struct run_handle *at = &run->handles[i];
        bool quiet = at->stage == NVMMIO_CLEAN && at->asked == NVMMIO_UNLOCKED && !at->waiting;
        /* The writer's lock may be what meets the dead one first. */
        if (quiet && !at->read_only && run->at % 2) {
            int error = nvmmio_lock(at->handle, NVMMIO_RESERVED, 0);
            if (!error)
                error = nvmmio_unlock(at->handle, NVMMIO_UNLOCKED);
            if (error && error != -EBUSY)
                return error;
        }
        if (at->stage != NVMMIO_CLEAN)
            return -EAGAIN; /* the writer itself: the dead one was none */
        return run_read_all(run, at->handle);
    }
    model_options(run->model, file, &options);
    struct run_process *process = run_process(run, HARNESS);
    int error = nv_open(process->engine, run->model->files[file].path, &options, &handle);
    if (error)
        return error;
    ssize_t got = run_read_all(run, handle);
    error = nvmmio_close(handle);
    return error ? error : got;
}

/* Which states a file may be in after its writer died, or his process; `super`: the file that
 * decides was there then. */
static uint64_t doubt(const struct run *run, uint32_t file, bool super)
{
    const struct model_file *at = &run->model->files[file];
    uint64_t states = at->visible;
    uint32_t next = run->committing[file];
    if (next == SIM_NONE)
        return states;
    if (run->deciding[file])
        return super ? states : UINT64_C(1) << next;
    return states | UINT64_C(1) << next;
}

/* One of `matches`, which are equal, is what readers see from now on; what was in doubt beside them
 * can't come back. */
static void decide(struct run *run, uint32_t file, uint64_t states, uint64_t matches,
                   bool recovered)
{
    struct allowed_file *allowed = &run->model->now.files[file];
    uint32_t next = run->committing[file];
    bool new_one = next != SIM_NONE && matches == UINT64_C(1) << next;
    if (recovered || (new_one && run->commit_waits[file]))
        *allowed = (struct allowed_file){.absent = allowed->absent && !new_one};
    else
        allowed->states &= ~states;
    allowed->states |= matches;
    run->deciding[file] = false;
}

/* The file that decides will not be touched any more but by recovery: what was prepared is rolled
 * back if it is there.  If it is gone, a power loss may still bring it back, until recovery has
 * seen to it. */
static void decide_prepared(struct run *run, bool super)
{
    for (uint32_t f = 0; f < run->program->files; f++) {
        struct allowed_file *allowed = &run->model->now.files[f];
        if (!run->deciding[f] || run->committing[f] == SIM_NONE)
            continue;
        uint64_t new_one = UINT64_C(1) << run->committing[f];
        if (super)
            allowed->states = allowed->states_super = run->model->files[f].visible;
        else
            allowed->states_super = run->model->files[f].visible | new_one;
    }
    run_note(run);
}

/* A process died: look at what it left, before anything else happens. */
static void settle(struct run *run)
{
    struct model *model = run->model;
    uint64_t matches[PROGRAM_FILES] = {0};
    /* The recovery of one file may remove it. */
    const bool super = sim_find(run->sim, MODEL_SUPER) != SIM_NONE;
    decide_prepared(run, super);
    for (uint32_t f = 0; f < run->program->files; f++) {
        uint64_t states = doubt(run, f, super);
        uint32_t by = survivor(run, f);
        bool recovered = model->files[f].members == 0;
        if (recovered && (model->files[f].suspect || model->files[f].poisoned))
            states |= model->now.files[f].states; /* a commit that failed may be in the log */
        matches[f] = states;
        if (recovered && sim_find(run->sim, model->files[f].path) == SIM_NONE)
            continue;
        if (by < PROGRAM_HANDLES && kept_out(run, by))
            continue;
        if (!recovered && by == PROGRAM_HANDLES)
            continue; /* broken handles only */
        ssize_t got = look(run, f);
        if (got == -EAGAIN || (got == -EIO && model->files[f].suspect))
            continue;
        /* A living handle that failed to commit has not given up its lock. */
        if (got == -EBUSY && by < PROGRAM_HANDLES &&
            run_others(run, &run->handles[by], HAS_EXCLUSIVE))
            continue;
        if (got < 0) {
            run_fail(run, "after a death %s cannot be read: %zd (%s)", model->files[f].path, got,
                     nvmmio_last_error());
            return;
        }
        matches[f] = model_match(&model->files[f], states, run->buffer, (size_t)got);
        if (!run_resolve(run, f, states, (size_t)got)) {
            char text[512];
            model_explain(&model->files[f], states, run->buffer, (size_t)got, text, sizeof text);
            run_fail(run, "after a death: %s", text);
            return;
        }
        decide(run, f, states, matches[f], recovered);
        run_note(run);
        if (recovered)
            model->files[f].poisoned = model->files[f].suspect = false;
    }
    if (model->joint_count && !model_joint(model, &model->now, matches))
        run_fail(run, "after a death: a commit over two files is in one of them only");
    model->now.joints = 0;
}

static void forget_process(struct run *run, uint32_t index)
{
    struct run_process *process = &run->processes[index];
    for (uint32_t i = index; index < HARNESS && i < PROGRAM_HANDLES; i += run->program->processes) {
        struct run_handle *handle = &run->handles[i];
        if (!handle->open)
            continue;
        if (handle->stage >= NVMMIO_SEALED) {
            run->committing[handle->file] = handle->sealed;
            run->commit_waits[handle->file] = handle->stage == NVMMIO_PREPARED;
            run->deciding[handle->file] = handle->stage == NVMMIO_PREPARED;
        }
        run->model->files[handle->file].members--;
        handle->open = false;
    }
    nv_process_destroy(process->engine);
    *process = (struct run_process){.sim = NULL};
}

/* Bury a process of the program, look at what it left, and tidy up. */
static void after_death(struct run *run, uint32_t index)
{
    run->sim->fault.after = 0;
    run->sim->space_bytes = UINT64_MAX;
    run->sim->harness = false;
    forget_process(run, index);
    run_note(run);
    settle(run);
    run_stream_death(run, index, run_process(run, HARNESS));
    run_note(run);
    if (!run->prepared)
        return;
    struct sim_process *mine = run_process(run, HARNESS)->sim;
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++)
        if (run->handles[i].open && run->handles[i].stage == NVMMIO_PREPARED)
            return; /* the outcome of another file is still open, in a process that lives */
    run_remove_file(run, mine, MODEL_SUPER);
    for (uint32_t f = 0; f < run->program->files; f++)
        run_remove_file(run, mine, f ? "/d/b-child" : "/d/a-child");
    run->prepared = false;
}

/* ---- the program --------------------------------------------------------------------- */

static void step(struct run *run, const struct op *op)
{
    uint32_t index = op->handle % run->program->processes;
    struct run_process *process = run_process(run, index);
    jmp_buf death;
    process->sim->death = &death;
    process->sim->die_at = op->die_at;
    process->sim->die_at_sync = op->die_at_sync;
    process->sim->die_part = op->die_part;
    run->armed = run->sim->fault.after != 0;
    for (uint32_t f = 0; f < PROGRAM_FILES; f++) {
        run->committing[f] = SIM_NONE;
        run->deciding[f] = false;
    }
    if (op->kind == OP_KILL) {
        sim_kill(process->sim);
        after_death(run, index);
    } else if (setjmp(death) == 0) {
        run_op(run, op);
        process->sim->die_at = 0;
    } else {
        /* It died before it could say that a call had failed. */
        for (uint32_t f = 0; f < run->program->files && run_fired(run); f++)
            run->model->files[f].suspect = true;
        after_death(run, index);
    }
    run->faulty |= run_fired(run);
    run_note(run);
}

static bool is_home(const struct run *run, const char *path)
{
    for (uint32_t i = 0; i < run->program->files; i++)
        if (strcmp(path, run->model->files[i].path) == 0)
            return true;
    return strcmp(path, run->model->stream.path) == 0;
}

/* What is left when the last handle was closed. */
static void check_end(struct run *run)
{
    for (uint32_t f = 0; f < run->program->files; f++) {
        const struct model_file *at = &run->model->files[f];
        uint32_t file = sim_find(run->sim, at->path);
        if (at->suspect || at->poisoned || file == SIM_NONE)
            continue;
        const struct content *content = &at->states[model_visible(at)];
        if (!content_equal(content, sim_bytes(run->sim, file), run->sim->files[file].bytes))
            run_fail(run, "after the last close %s is not its content", at->path);
    }
    for (uint32_t i = 0; i < SIM_ENTRIES_MAX && !run->faulty; i++) {
        const char *path = run->sim->entries[i].path;
        if (run->sim->entries[i].used && !is_home(run, path))
            run_fail(run, "after the last close there is %s", path);
    }
}

static void finish(struct run *run)
{
    if (run->prepared) {
        for (uint32_t i = 0; i < PROGRAM_HANDLES && run->prepared; i++)
            if (run->handles[i].open && run->handles[i].stage == NVMMIO_PREPARED) {
                struct op op = {.kind = OP_RESOLVE, .handle = i, .number = 1};
                step(run, &op);
            }
    }
    for (uint32_t i = 0; i < PROGRAM_HANDLES && !run->failure[0]; i++) {
        struct op op = {.kind = OP_CLOSE, .handle = i};
        if (run->handles[i].open)
            step(run, &op);
    }
    struct op close = {.kind = OP_STREAM, .handle = run->stream.process, .number = STREAM_CLOSE};
    if (run->stream.handle && !run->failure[0])
        step(run, &close);
    if (!run->failure[0])
        check_end(run);
}

const char *run_program(struct run *run, const struct program *program, struct model *model,
                        struct sim *sim)
{
    struct run_handle handles[PROGRAM_HANDLES];
    memcpy(handles, run->handles, sizeof handles);
    *run = (struct run){
        .program = program,
        .model = model,
        .sim = sim,
        .buffer = run->buffer,
        .buffer_bytes = run->buffer_bytes,
    };
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++)
        run->handles[i].staged = handles[i].staged; /* memory to use again */
    run_note(run);
    for (uint32_t i = 0; i < program->op_count && !run->failure[0]; i++) {
        run->at = i;
        step(run, &program->ops[i]);
    }
    if (!run->failure[0])
        finish(run);
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++)
        if (run->processes[i].sim)
            nv_process_destroy(run->processes[i].engine);
    sim_cut(sim);
    return run->failure[0] ? run->failure : NULL;
}

void run_free(struct run *run)
{
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++)
        content_free(&run->handles[i].staged);
    free(run->buffer);
}
