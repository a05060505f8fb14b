/* run_ops: one operation of a program, and what the contract says that it must answer. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base.h"
#include "tests/sim/run.h"

/* ---- who is in whose way ------------------------------------------------------------- */

bool run_others(const struct run *run, const struct run_handle *handle, enum presence what)
{
    for (uint32_t i = 0; i < PROGRAM_HANDLES; i++) {
        const struct run_handle *other = &run->handles[i];
        if (!other->open || other == handle || other->file != handle->file)
            continue;
        bool surely =
            !other->broken && (other->asked >= NVMMIO_RESERVED || other->stage >= NVMMIO_STAGED);
        bool exclusive = other->waiting || other->asked == NVMMIO_EXCLUSIVE ||
                         other->stage >= NVMMIO_SEALED || other->broken;
        bool writer = exclusive || other->asked == NVMMIO_RESERVED || other->stage >= NVMMIO_STAGED;
        bool reader = other->asked >= NVMMIO_SHARED;
        const bool answers[] = {[HAS_READER] = reader,
                                [HAS_WRITER] = writer,
                                [HAS_EXCLUSIVE] = exclusive,
                                [HAS_READER_SURELY] = reader && !other->unsure,
                                [HAS_WRITER_SURELY] = surely};
        if (answers[what])
            return true;
    }
    return false;
}

const struct content *run_seen(struct run *run, const struct run_handle *handle)
{
    const struct model_file *file = run_file(run, handle);
    return handle->stage != NVMMIO_CLEAN ? &handle->staged : &file->states[model_visible(file)];
}

bool run_excused(struct run *run, const struct run_handle *handle, const char *what, ssize_t error,
                 bool busy)
{
    struct model_file *file = run_file(run, handle);
    bool fired = run_fired(run);
    if (fired)
        file->suspect = true;
    if (fired || handle->broken || file->suspect)
        return true;
    if (error == -EBUSY && busy)
        return true;
    if (error == -EIO && file->poisoned)
        return true;
    if (error == -ENOSPC && run->sim->space_bytes != UINT64_MAX)
        return true;
    run_fail(run, "%s answers %zd: %s", what, error, nvmmio_last_error());
    return false;
}

/* ---- opening and closing ------------------------------------------------------------- */

/* What a new handle sees is one of the states that the file may be in. */
static void check_opened(struct run *run, struct run_handle *handle, uint64_t states, bool first)
{
    struct model_file *file = run_file(run, handle);
    struct allowed_file *allowed = &run->model->now.files[handle->file];
    ssize_t got = run_read_all(run, handle->handle);
    if (got < 0) {
        (void)run_excused(run, handle, "the first read", got,
                          run_others(run, handle, HAS_EXCLUSIVE));
        return;
    }
    if (file->unknown)
        return;
    if (!run_resolve(run, handle->file, states, (size_t)got)) {
        char text[512];
        model_explain(file, states, run->buffer, (size_t)got, text, sizeof text);
        run_fail(run, "after open: %s", text);
        return;
    }
    if (!first)
        return;
    bool absent = allowed->absent;
    *allowed = (struct allowed_file){
        .states = file->visible, .states_super = file->visible, .absent = absent};
}

static void do_open(struct run *run, uint32_t index, const struct op *op)
{
    struct run_handle *handle = &run->handles[index];
    if (handle->open || op->other >= run->program->files)
        return;
    struct model *model = run->model;
    struct model_file *file = &model->files[op->other];
    struct nvmmio_options options;
    model_options(model, op->other, &options);
    options.flags |= NVMMIO_CREATE;
    handle->read_only = op->number == 0;
    if (handle->read_only)
        options.flags |= NVMMIO_READ_ONLY;
    bool first = file->members == 0;
    bool deferred = op->number == 1;
    if (deferred)
        options.flags |= NVMMIO_DEFER;
    uint64_t states = file->visible;
    if (first && (file->suspect || file->poisoned))
        states = model->now.files[op->other].states;
    struct run_process *process = run_process(run, index % run->program->processes);
    struct content staged = handle->staged;
    struct nvmmio *opened = NULL;
    *handle =
        (struct run_handle){.file = op->other, .read_only = handle->read_only, .staged = staged};
    int error = nv_open(process->engine, file->path, &options, &opened);
    if (error) {
        (void)run_excused(run, handle, "open", error, false);
        return;
    }
    handle->open = true;
    handle->handle = opened;
    file->members++;
    if (first && !run_fired(run))
        file->suspect = file->poisoned = file->unknown = false;
    check_opened(run, handle, states, first);
}

void run_close(struct run *run, uint32_t index)
{
    struct run_handle *handle = &run->handles[index];
    struct model_file *file = run_file(run, handle);
    struct allowed_file *allowed = &run->model->now.files[handle->file];
    bool sealed = handle->stage == NVMMIO_SEALED && !handle->broken;
    if (sealed) {
        run->committing[handle->file] = handle->sealed;
        allowed->states |= UINT64_C(1) << handle->sealed;
        allowed->torn = true;
        run_note(run);
    }
    int error = nvmmio_close(handle->handle);
    handle->open = false;
    file->members--;
    if (error && !run_excused(run, handle, "close", error, false))
        return;
    if (sealed && !error)
        file->visible = UINT64_C(1) << handle->sealed;
    file->unknown |= sealed && error;
    if (error) {
        file->suspect = true;
        return;
    }
    if (file->members || file->poisoned || file->suspect)
        return;
    /* An ordinary file is left, durable as it is. */
    bool absent = allowed->absent;
    *allowed = (struct allowed_file){
        .states = file->visible, .states_super = file->visible, .absent = absent};
}

/* ---- reading ------------------------------------------------------------------------- */

static void do_read(struct run *run, struct run_handle *handle, uint32_t offset, uint32_t bytes)
{
    uint8_t *buffer = run_buffer(run, bytes + 1);
    buffer[bytes] = 0x5a;
    ssize_t got = nvmmio_pread(handle->handle, buffer, bytes, offset);
    if (got < 0) {
        (void)run_excused(run, handle, "pread", got,
                          handle->stage == NVMMIO_CLEAN && run_others(run, handle, HAS_EXCLUSIVE));
        return;
    }
    if (handle->broken || run_file(run, handle)->unknown)
        return;
    const struct content *content = run_seen(run, handle);
    size_t want = offset < content->bytes ? nv_min(bytes, content->bytes - offset) : 0;
    if ((size_t)got != want)
        run_fail(run, "pread of [%u, +%u) answers %zd, not %zu", offset, bytes, got, want);
    else if (want && memcmp(buffer, content->data + offset, want) != 0)
        run_fail(run, "pread of [%u, +%u) has other bytes", offset, bytes);
    else if (buffer[bytes] != 0x5a)
        run_fail(run, "pread writes past its buffer");
}

static void do_read_all(struct run *run, struct run_handle *handle)
{
    ssize_t got = run_read_all(run, handle->handle);
    if (got < 0) {
        (void)run_excused(run, handle, "pread", got,
                          handle->stage == NVMMIO_CLEAN && run_others(run, handle, HAS_EXCLUSIVE));
        return;
    }
    if (handle->broken || run_file(run, handle)->unknown ||
        content_equal(run_seen(run, handle), run->buffer, (size_t)got))
        return;
    char text[512];
    struct model_file *file = run_file(run, handle);
    model_explain(file, file->visible, run->buffer, (size_t)got, text, sizeof text);
    run_fail(run, "the whole file reads otherwise: %s", text);
}

static void do_view(struct run *run, struct run_handle *handle, uint32_t offset, uint32_t bytes)
{
    const void *address = NULL;
    if (handle->asked < NVMMIO_SHARED || handle->unsure)
        return;
    int error = nvmmio_view(handle->handle, offset, bytes, &address);
    if (error == -EOPNOTSUPP || handle->broken || run_file(run, handle)->unknown)
        return;
    if (error) {
        (void)run_excused(run, handle, "view", error, false);
        return;
    }
    const struct content *content = run_seen(run, handle);
    if (offset > content->bytes || bytes > content->bytes - offset ||
        (bytes && memcmp(address, content->data + offset, bytes) != 0))
        run_fail(run, "view of [%u, +%u) shows other bytes", offset, bytes);
}

/* ---- trouble ------------------------------------------------------------------------- */

static void do_fault(struct run *run, const struct op *op)
{
    static const struct {
        uint32_t calls;
        int error;
    } faults[] = {
        {1u << SIM_CALL_SYNC_DATA | 1u << SIM_CALL_FENCE, -EIO},
        {1u << SIM_CALL_SYNC_DATA | 1u << SIM_CALL_FENCE, -EIO},
        {1u << SIM_CALL_PWRITEV, -EIO},
        {1u << SIM_CALL_PWRITEV, -ENOSPC},
        {1u << SIM_CALL_ALLOCATE, -ENOSPC},
        {1u << SIM_CALL_PREAD, -EIO},
        {1u << SIM_CALL_TRUNCATE, -EIO},
        {1u << SIM_CALL_SYNC_DIRECTORY, -EIO},
        {1u << SIM_CALL_OPEN, -EMFILE},
        {1u << SIM_CALL_UNLINK, -EIO},
        {1u << SIM_CALL_STAT, -EIO},
        {1u << SIM_CALL_MAP, -ENOMEM},
    };
    uint32_t which = op->number % (sizeof faults / sizeof faults[0]);
    run->sim->fault = (struct sim_fault){
        .calls = faults[which].calls, .after = 1 + op->bytes, .error = faults[which].error};
    run->armed = false;
}

static void do_space(struct run *run, const struct op *op)
{
    uint64_t taken = 0;
    for (uint32_t i = 0; i < run->sim->files_made; i++)
        if (run->sim->files[i].used && run->sim->files[i].links)
            taken += run->sim->files[i].bytes;
    run->sim->space_bytes = op->number % 2 ? taken + op->bytes * 20000 : UINT64_MAX;
}

/* One case for each kind of operation. NOLINTNEXTLINE(readability-function-size) */
void run_op(struct run *run, const struct op *op)
{
    struct run_handle *handle = &run->handles[op->handle];
    struct run_process *process = run_process(run, op->handle % run->program->processes);
    if (op->kind == OP_OPEN) {
        do_open(run, op->handle, op);
        return;
    }
    if (op->kind == OP_FAULT || op->kind == OP_SPACE) {
        (op->kind == OP_FAULT ? do_fault : do_space)(run, op);
        return;
    }
    if (op->kind == OP_STEP) {
        run_step(run, op->handle % run->program->processes);
        return;
    }
    if (op->kind == OP_STREAM) {
        run_stream(run, op);
        return;
    }
    if (op->kind == OP_FOREIGN) {
        run_foreign(run, process->sim, op);
        return;
    }
    if (!handle->open)
        return;
    if (op->kind == OP_CLOSE) {
        if (handle->stage != NVMMIO_PREPARED)
            run_close(run, op->handle);
        return;
    }
    if (handle->broken && op->kind != OP_ROLLBACK && op->kind != OP_READ)
        return;
    bool ends = op->kind == OP_SYNC || op->kind == OP_PREPARE || op->kind == OP_SYNC_MANY;
    bool changes = op->kind == OP_WRITE || op->kind == OP_TRUNCATE || op->kind == OP_ALLOCATE;
    if ((handle->read_only && ends) || (run_file(run, handle)->unknown && (ends || changes)))
        return;
    switch (op->kind) {
    case OP_READ:
        do_read(run, handle, op->offset, op->bytes);
        break;
    case OP_READ_ALL:
        do_read_all(run, handle);
        break;
    case OP_VIEW:
        do_view(run, handle, op->offset, op->bytes);
        break;
    case OP_WRITE:
        run_write(run, handle, op);
        break;
    case OP_TRUNCATE:
        run_truncate(run, handle, op->bytes);
        break;
    case OP_ALLOCATE:
        run_allocate(run, handle, op->bytes);
        break;
    case OP_SYNC:
        run_sync(run, handle);
        break;
    case OP_ROLLBACK:
        run_rollback(run, handle);
        break;
    case OP_SEAL:
        run_seal(run, handle);
        break;
    case OP_COMMIT:
        run_commit(run, handle, true);
        break;
    case OP_APPLY:
        run_commit(run, handle, false);
        break;
    case OP_FLUSH:
        run_flush(run, handle);
        break;
    case OP_LOCK:
        run_lock(run, handle, (enum nvmmio_lock)op->number);
        break;
    case OP_UNLOCK:
        run_unlock(run, handle, (enum nvmmio_lock)op->number);
        break;
    case OP_PREPARE:
        run_prepare(run, process->sim, op);
        break;
    case OP_RESOLVE:
        if (handle->stage == NVMMIO_PREPARED)
            run_resolve_all(run, process->sim, op->number);
        break;
    case OP_SYNC_MANY:
        run_sync_many(run, op);
        break;
    default:
        break;
    }
}
