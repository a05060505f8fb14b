#include "tests/sim/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "core/process_private.h"

void check_init(struct check *check)
{
    memset(check, 0, sizeof *check);
    trace_init(&check->trace);
}

static void drop_process(struct check *check)
{
    if (check->process)
        nv_process_destroy(check->process);
    check->process = NULL;
}

void check_free(struct check *check)
{
    drop_process(check);
    trace_free(&check->trace);
    for (uint32_t i = 0; i < PROGRAM_FILES; i++)
        content_free(&check->exact[i]);
    free(check->buffer);
}

__attribute__((format(printf, 2, 3))) static bool wrong(struct check *check, const char *format,
                                                        ...)
{
    va_list arguments;
    if (!check->failure[0]) {
        va_start(arguments, format);
        vsnprintf(check->failure, sizeof check->failure, format, arguments);
        va_end(arguments);
    }
    return false;
}

static struct allowed *now(struct check *check)
{
    return &check->notes[check->note_count - 1];
}

/* From here on something else is allowed: what was read can't change any more. */
static struct allowed *next_note(struct check *check, struct sim *sim)
{
    if (check->note_count < CHECK_NOTES) {
        check->notes[check->note_count] = *now(check);
        check->note_count++;
    }
    sim_record_note(sim, check->note_count - 1);
    return now(check);
}

static void make_room(struct check *check, size_t bytes)
{
    if (check->buffer_bytes >= bytes)
        return;
    check->buffer_bytes = bytes + bytes / 4 + 4096;
    free(check->buffer);
    check->buffer = calloc(1, check->buffer_bytes);
    if (!check->buffer)
        abort();
}

/* Is this content allowed, and what does it say about later? */
static bool judge(struct check *check, const struct model *model, struct sim *sim, uint32_t file,
                  size_t bytes)
{
    const struct model_file *at = &model->files[file];
    const struct allowed_file *allowed = &now(check)->files[file];
    const uint8_t *data = check->buffer;
    if (allowed->exact) {
        if (content_equal(allowed->exact, data, bytes))
            return true;
        return wrong(check, "%s: a second recovery shows other content than the first", at->path);
    }
    uint64_t matches = model_match(at, allowed->states, data, bytes);
    bool torn = !matches && allowed->torn && model_match_torn(at, allowed->states, data, bytes);
    if (!matches && !torn) {
        char text[768];
        model_explain(at, allowed->states, data, bytes, text, sizeof text);
        return wrong(check, "%s", text);
    }
    struct allowed_file *later = &next_note(check, sim)->files[file];
    *later =
        (struct allowed_file){.states = matches, .states_super = matches, .absent = later->absent};
    if (torn) {
        content_truncate(&check->exact[file], 0);
        content_write(&check->exact[file], data, (uint32_t)bytes, 0);
        later->exact = &check->exact[file];
    }
    return true;
}

static bool read_and_judge(struct check *check, const struct model *model, struct sim *sim,
                           uint32_t file, struct nvmmio *handle)
{
    const char *path = model->files[file].path;
    int64_t size = nvmmio_size(handle);
    if (size < 0)
        return wrong(check, "size of %s after recovery: %lld", path, (long long)size);
    size_t bytes = (size_t)size;
    make_room(check, bytes + 64);
    ssize_t got = nvmmio_pread(handle, check->buffer, bytes + 64, 0);
    if (got != size)
        return wrong(check, "reading %s after recovery: %zd of %lld bytes (%s)", path, got,
                     (long long)size, nvmmio_last_error());
    return judge(check, model, sim, file, bytes);
}

/* Open one file, which recovers it.  A home that may be missing is made. */
static bool open_file(struct check *check, const struct model *model, struct sim *sim,
                      struct nv_process *process, uint32_t file, struct nvmmio **handle)
{
    struct nvmmio_options options;
    const char *path = model->files[file].path;
    model_options(model, file, &options);
    if (sim_find(sim, path) == SIM_NONE) {
        if (!now(check)->files[file].absent)
            return wrong(check, "%s is gone", path);
        options.flags |= NVMMIO_CREATE;
        /* What was in it is gone with its name; state 0 of such a home is empty. */
        now(check)->files[file].states |= 1;
    }
    int error = nv_open(process, path, &options, handle);
    if (error)
        return wrong(check, "%s cannot be opened after the crash: %d (%s)", path, error,
                     nvmmio_last_error());
    return read_and_judge(check, model, sim, file, *handle);
}

static bool close_file(struct check *check, const struct model *model, uint32_t file,
                       struct nvmmio *handle)
{
    int error = nvmmio_close(handle);
    if (error)
        return wrong(check, "%s cannot be closed after recovery: %d (%s)", model->files[file].path,
                     error, nvmmio_last_error());
    return true;
}

/* ---- the stream ---------------------------------------------------------------------- */

/* What was synced is there; what is there beyond it is the beginning of what was appended. */
static bool judge_stream(struct check *check, struct sim *sim, enum nvmmio_size size,
                         uint64_t bytes)
{
    const struct allowed_stream allowed = now(check)->stream;
    const uint8_t *data = check->buffer;
    if (bytes < allowed.low ||
        (allowed.low && memcmp(data, allowed.content->data, allowed.low) != 0))
        return wrong(check, "of the stream, %u bytes were durable: there are %llu, or other ones",
                     allowed.low, (unsigned long long)bytes);
    if (allowed.cut)
        return true;
    uint32_t same = allowed.low;
    while (same < bytes && same < allowed.high && data[same] == allowed.content->data[same])
        same++;
    /* A size that came before its data, in a stream whose file is as long as it, is the file
     * system's; one that is ahead may show zeros as it begins to be, whole blocks of them. */
    bool ahead = size == NVMMIO_SIZE_AHEAD;
    if (same < bytes && ahead &&
        (bytes % NV_BLOCK_BYTES || !sim_all_zero(data + same, (size_t)(bytes - same))))
        return wrong(check, "the stream has %llu bytes, of %u to %u, and from %u on other ones",
                     (unsigned long long)bytes, allowed.low, allowed.high, same);
    next_note(check, sim)->stream.low = same;
    return true;
}

/* Recovers it, as writer or as reader. */
static bool check_stream(struct check *check, const struct model *model, struct sim *sim,
                         struct nv_process *process, uint64_t way)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    struct nvmmio_stream *stream = NULL;
    struct nvmmio_stream_info info = {.struct_bytes = sizeof info};
    options.size = model->program->stream_size;
    if (way & 1)
        options.flags = NVMMIO_READ_ONLY;
    if (nv_process_stream_open(process, model->stream.path, &options, &stream) != 0)
        return wrong(check, "the stream cannot be opened after the crash: %s", nvmmio_last_error());
    int error = nvmmio_stream_info(stream, &info);
    make_room(check, info.bytes + 64);
    ssize_t got =
        error ? error : nvmmio_stream_pread(stream, check->buffer, (size_t)info.bytes + 64, 0);
    bool ahead =
        options.size == NVMMIO_SIZE_AHEAD ||
        (options.size == NVMMIO_SIZE_AUTO && sim->files[sim_find(sim, model->stream.path)].dax);
    bool fine =
        got == (ssize_t)info.bytes
            ? judge_stream(check, sim, ahead ? NVMMIO_SIZE_AHEAD : NVMMIO_SIZE_EXACT, info.bytes)
            : wrong(check, "the stream has %llu bytes, and %zd can be read",
                    (unsigned long long)info.bytes, got);
    check->stream_bytes = info.bytes;
    error = nvmmio_stream_close(stream);
    return error ? wrong(check, "the stream cannot be closed: %d", error) : fine;
}

/* ---- all of it ----------------------------------------------------------------------- */

/* One pass over all files: each by itself, or all open at once. */
static bool pass(struct check *check, const struct model *model, struct sim *sim,
                 struct nv_process *process, uint64_t way)
{
    struct nvmmio *handles[PROGRAM_FILES] = {NULL};
    uint32_t count = model->program->files;
    bool together = way & 2;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t file = way & 1 ? count - 1 - i : i;
        if (!open_file(check, model, sim, process, file, &handles[file]))
            return false;
        if (!together && !close_file(check, model, file, handles[file]))
            return false;
    }
    if (model->program->stream && !check_stream(check, model, sim, process, way >> 5))
        return false;
    for (uint32_t file = 0; file < count && together; file++)
        if (!close_file(check, model, file, handles[file]))
            return false;
    return true;
}

static bool is_home(const struct model *model, const char *path)
{
    for (uint32_t i = 0; i < model->program->files; i++)
        if (strcmp(path, model->files[i].path) == 0)
            return true;
    return strcmp(path, model->stream.path) == 0;
}

/* Files of the harness, which decide a prepared transaction. */
static bool is_decision(const char *path)
{
    return strcmp(path, MODEL_SUPER) == 0 || strcmp(path, "/d/a-child") == 0 ||
           strcmp(path, "/d/b-child") == 0;
}

/* Nothing of ours is left, and home is its content. */
static bool look_plain(struct check *check, const struct model *model, const struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_ENTRIES_MAX; i++) {
        const struct sim_entry *entry = &sim->entries[i];
        if (entry->used && !is_home(model, entry->path) && !is_decision(entry->path))
            return wrong(check, "%s is left after recovery and close", entry->path);
    }
    for (uint32_t i = 0; i < model->program->files; i++) {
        const struct model_file *at = &model->files[i];
        const struct allowed_file *allowed = &now(check)->files[i];
        uint32_t file = sim_find(sim, at->path);
        if (file == SIM_NONE)
            return wrong(check, "%s is gone after recovery", at->path);
        const uint8_t *data = sim_bytes(sim, file);
        size_t bytes = sim->files[file].bytes;
        bool same = allowed->exact ? content_equal(allowed->exact, data, bytes)
                                   : model_match(at, allowed->states, data, bytes) != 0;
        if (!same)
            return wrong(check, "%s, as a file of %zu bytes, is not what was read through nvmmio",
                         at->path, bytes);
    }
    uint32_t stream = model->program->stream ? sim_find(sim, model->stream.path) : SIM_NONE;
    if (stream != SIM_NONE && sim->files[stream].bytes != check->stream_bytes)
        return wrong(check, "the stream is a file of %llu bytes, and has %llu",
                     (unsigned long long)sim->files[stream].bytes,
                     (unsigned long long)check->stream_bytes);
    return true;
}

static bool check_joints(struct check *check, const struct model *model)
{
    const struct allowed *allowed = now(check);
    uint64_t states[PROGRAM_FILES];
    if (model->program->files < 2 || !allowed->joints || allowed->files[0].exact ||
        allowed->files[1].exact)
        return true;
    for (uint32_t i = 0; i < PROGRAM_FILES; i++)
        states[i] = allowed->files[i].states;
    if (model_joint(model, allowed, states))
        return true;
    return wrong(check, "a commit over two files is in one of them only");
}

static void begin(struct check *check, struct sim *sim, const struct allowed *allowed)
{
    check->failure[0] = 0;
    check->notes[0] = *allowed;
    check->note_count = 1;
    bool super = sim_find(sim, MODEL_SUPER) != SIM_NONE;
    for (uint32_t i = 0; i < PROGRAM_FILES; i++) {
        struct allowed_file *file = &check->notes[0].files[i];
        if (super)
            file->states = file->states_super;
        file->states_super = file->states;
    }
    sim->note = 0;
}

/* The engine's process that recovers; making one for each image is what would take the time. */
static struct nv_process *begin_process(struct check *check, struct sim *sim)
{
    struct sim_process *machine = sim_spawn(sim);
    if (machine && check->process && check->process_os == &machine->os)
        return check->process;
    drop_process(check);
    if (!machine || nv_process_create(&machine->os, &check->process) != 0)
        abort();
    check->process_os = &machine->os;
    return check->process;
}

const char *check_image(struct check *check, const struct model *model, struct sim *sim,
                        const struct allowed *allowed, uint64_t way, bool record)
{
    begin(check, sim, allowed);
    trace_clear(&check->trace);
    sim->trace = record ? &check->trace : NULL;
    sim->random = way;
    struct nv_process *process = begin_process(check, sim);
    bool fine = pass(check, model, sim, process, way);
    fine = fine && check_joints(check, model) && look_plain(check, model, sim);
    if (fine && (way & 28) == 0) /* again, now and then */
        fine = pass(check, model, sim, process, way) && look_plain(check, model, sim);
    if (fine && process->homes)
        fine = wrong(check, "%s is closed, and its process still has it", process->homes->path);
    if (!fine)
        drop_process(check);
    sim_cut(sim);
    sim->trace = NULL;
    return fine ? NULL : check->failure;
}
