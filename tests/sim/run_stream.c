/*
 * run_stream: one operation on the program's stream.  Its writer is the process
 * that opened it; others read it meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "tests/sim/run.h"

static struct model_stream *stream_of(struct run *run)
{
    return &run->model->stream;
}

/* `low` bytes are durable, and at most `high` may be there. */
static void allow(struct run *run, uint32_t low, uint32_t high, bool cut)
{
    struct model_stream *stream = stream_of(run);
    run->model->now.stream = (struct allowed_stream){
        .content = &stream->versions[stream->version], .low = low, .high = high, .cut = cut};
    run_note(run);
}

static uint32_t bytes_now(struct run *run)
{
    return stream_of(run)->versions[stream_of(run)->version].bytes;
}

/* A call did not do what it should: it must have had a reason. */
static void failed(struct run *run, const char *what, int64_t error)
{
    bool space = error == -ENOSPC && run->sim->space_bytes != UINT64_MAX;
    if (!run_fired(run) && !run->stream.broken && !space)
        run_fail(run, "stream: %s answers %lld: %s", what, (long long)error, nvmmio_last_error());
    run->stream.broken |= !space;
}

/* All of it into the buffer; the first `same` bytes must be those that were appended, and there
 * must be `low` to `high` of them.  The count, or -errno. */
static int64_t look(struct run *run, struct nvmmio_stream *handle, uint32_t low, uint32_t high,
                    uint32_t same)
{
    const struct model_stream *stream = &run->model->stream;
    int64_t bytes = nvmmio_stream_size(handle);
    if (bytes < 0)
        return bytes;
    uint8_t *buffer = run_buffer(run, (size_t)bytes + 1);
    ssize_t got = nvmmio_stream_pread(handle, buffer, (size_t)bytes + 1, 0);
    if (got < 0)
        return got;
    size_t compared = (size_t)nv_min((uint64_t)bytes, same);
    if (got != bytes || bytes < low || bytes > high)
        run_fail(run, "the stream has %lld bytes, of %u to %u", (long long)bytes, low, high);
    else if (compared && memcmp(buffer, stream->versions[stream->version].data, compared) != 0)
        run_fail(run, "the stream has other bytes than were appended");
    return bytes;
}

static int open_by(struct run_process *process, const struct run *run, uint32_t flags,
                   struct nvmmio_stream **handle)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    options.flags = flags;
    options.size = run->program->stream_size;
    return nv_process_stream_open(process->engine, run->model->stream.path, &options, handle);
}

/* The stream goes on with `bytes` of `data`, and what was told of the one before stays.  False:
 * there were too many; nobody writes it any more. */
static bool new_version(struct run *run, const uint8_t *data, uint32_t bytes)
{
    struct model_stream *stream = stream_of(run);
    if (stream->version + 1 == MODEL_VERSIONS) {
        run->stream.over = true;
        return false;
    }
    stream->version++;
    content_truncate(&stream->versions[stream->version], 0);
    content_write(&stream->versions[stream->version], data, bytes, 0);
    return true;
}

/* ---- what the writer does ------------------------------------------------------------ */

static void do_append(struct run *run, const struct op *op)
{
    struct model_stream *stream = stream_of(run);
    struct content *content = &stream->versions[stream->version];
    struct allowed_stream before = run->model->now.stream;
    uint32_t at = content->bytes;
    uint8_t *data = run_buffer(run, op->bytes + 1);
    content_fill(data, op->bytes, op->seed, content, at);
    content_write(content, data, op->bytes, at);
    stream->under_way = op->bytes;
    allow(run, before.low, content->bytes, before.cut);
    ssize_t got = nvmmio_stream_append(run->stream.handle, data, op->bytes);
    stream->under_way = 0;
    if (got == (ssize_t)op->bytes) {
        struct nvmmio_stream_info info = {.struct_bytes = sizeof info};
        if (!before.cut && nvmmio_stream_info(run->stream.handle, &info) == 0 &&
            info.size == NVMMIO_SIZE_AHEAD && info.mapped)
            allow(run, content->bytes, content->bytes, false); /* through a map: as it returns */
        return;
    }
    if (got >= 0)
        run_fail(run, "stream: append of %u answers %zd", op->bytes, got);
    failed(run, "append", got);
    if (new_version(run, content->data, at)) /* of this one, a power loss may leave a part */
        allow(run, (uint32_t)nv_min(before.low, at), at, true);
}

static void do_sync(struct run *run)
{
    int error = nvmmio_stream_sync(run->stream.handle);
    if (error) {
        failed(run, "sync", error);
        return;
    }
    allow(run, bytes_now(run), bytes_now(run), false);
    run->stream.synced = true;
    stream_of(run)->synced = bytes_now(run);
}

static void do_cut(struct run *run, const struct op *op)
{
    struct model_stream *stream = stream_of(run);
    struct allowed_stream before = run->model->now.stream;
    uint32_t bytes = op->offset % (bytes_now(run) + 1);
    uint32_t low = (uint32_t)nv_min(before.low, bytes);
    stream->under_way = bytes_now(run) - bytes; /* so much may be there, or not */
    allow(run, low, before.high, true);
    int error = nvmmio_stream_truncate(run->stream.handle, bytes);
    stream->under_way = 0;
    if (error) {
        failed(run, "truncate", error);
        run->stream.broken = true;
    } else if (new_version(run, stream->versions[stream->version].data, bytes)) {
        allow(run, low, bytes, true);
    }
}

static void do_close(struct run *run)
{
    /* The size that the close gives the file is durable where a sync was. */
    struct allowed_stream before = run->model->now.stream;
    uint32_t synced = (uint32_t)nv_min(before.low, stream_of(run)->synced);
    if (!run->stream.synced)
        allow(run, synced, before.high, before.cut);
    int error = nvmmio_stream_close(run->stream.handle);
    if (error)
        failed(run, "close", error);
    run->stream.handle = NULL;
    run->stream.unsure |= run->stream.broken;
    run->stream.broken = false;
}

/* A writer found this, after something that left it open what there is. */
static void go_on_with(struct run *run, int64_t bytes, uint32_t low, bool cut)
{
    if (new_version(run, run->buffer, (uint32_t)bytes))
        allow(run, low, (uint32_t)bytes, cut);
}

static void do_open(struct run *run, struct run_process *process, uint32_t index)
{
    struct allowed_stream before = run->model->now.stream;
    run->stream.process = index;
    run->stream.synced = false;
    int error = open_by(process, run, 0, &run->stream.handle);
    if (error) {
        run->stream.handle = NULL;
        failed(run, "open", error);
        run->stream.broken = false;
        return;
    }
    bool unsure = run->stream.unsure;
    uint32_t bytes = bytes_now(run);
    int64_t got = unsure ? look(run, run->stream.handle, before.low, UINT32_MAX, before.low)
                         : look(run, run->stream.handle, bytes, bytes, bytes);
    if (got < 0) {
        failed(run, "read", got);
        do_close(run);
    } else if (unsure) {
        run->stream.unsure = false;
        go_on_with(run, got, before.low, true);
    }
}

static void do_read(struct run *run, struct run_process *process)
{
    struct nvmmio_stream *handle = NULL;
    bool unsure = run->stream.broken || run->stream.unsure || run->stream.over;
    uint32_t bytes = bytes_now(run);
    if (open_by(process, run, NVMMIO_READ_ONLY, &handle) != 0) {
        if (!run_fired(run) && !unsure)
            run_fail(run, "stream: it cannot be read: %s", nvmmio_last_error());
        return;
    }
    if (!unsure && look(run, handle, bytes, bytes, bytes) < 0 && !run_fired(run))
        run_fail(run, "stream: it cannot be read: %s", nvmmio_last_error());
    (void)nvmmio_stream_close(handle);
}

void run_stream(struct run *run, const struct op *op)
{
    uint32_t index = op->handle % run->program->processes;
    struct run_process *process = run_process(run, index);
    if (run->stream.over && !run->stream.handle)
        return;
    if (op->number == STREAM_READ)
        do_read(run, process);
    else if (!run->stream.handle)
        do_open(run, process, index);
    else if (run->stream.process != index)
        return;
    else if (op->number == STREAM_CLOSE || run->stream.broken || run->stream.over)
        do_close(run);
    else if (op->number == STREAM_SYNC)
        do_sync(run);
    else if (op->number == STREAM_CUT)
        do_cut(run, op);
    else
        do_append(run, op);
}

/* ---- after its writer's death -------------------------------------------------------- */

void run_stream_death(struct run *run, uint32_t index, struct run_process *heir)
{
    struct model_stream *stream = stream_of(run);
    struct allowed_stream before = run->model->now.stream;
    struct nvmmio_stream *handle = NULL;
    if (!run->stream.handle || run->stream.process != index)
        return;
    free(run->stream.handle); /* all else is gone with its process */
    run->stream.handle = NULL;
    bool unsure = run->stream.broken || run->stream.unsure || run->stream.over;
    uint32_t high = bytes_now(run);
    uint32_t low = high - stream->under_way;
    /* What a failed sync has left of it only its writer could have written again. */
    run->stream.over |= run->stream.broken;
    run->stream.broken = run->stream.unsure = false;
    stream->under_way = 0;
    if (!run->stream.synced)
        before.low = (uint32_t)nv_min(before.low, stream->synced);
    int64_t bytes = open_by(heir, run, 0, &handle);
    if (bytes == 0) {
        bytes = unsure ? look(run, handle, before.low, UINT32_MAX, before.low)
                       : look(run, handle, low, high, high);
        (void)nvmmio_stream_close(handle);
    }
    if (bytes < 0)
        run_fail(run, "stream: after a death it cannot be opened: %lld (%s)", (long long)bytes,
                 nvmmio_last_error());
    else
        go_on_with(run, bytes, before.low, unsure || before.cut || bytes < high);
}
