/*
 * nvmmio_stream: the public functions of streams.  Arguments, and whose process
 * it is, are checked here; the work is done in stream.c and below.
 */
#include <errno.h>
#include <string.h>

#include "core/base.h"
#include "core/error.h"
#include "core/home.h"
#include "core/stream.h"

static int check_here(const struct nvmmio_stream *stream)
{
    if (nv_process_here(stream->process))
        return 0;
    return nv_fail(-ECHILD, "this stream belongs to the parent process; open the file again here");
}

static int check_writer(const struct nvmmio_stream *stream)
{
    const int error = check_here(stream);
    if (error)
        return error;
    return stream->read_only ? nv_fail(-EROFS, "this stream is open read-only") : 0;
}

/* ---- options ------------------------------------------------------------------------------- */

int nvmmio_stream_option_set(struct nvmmio_stream_options *options, const char *name,
                             const char *value)
{
    static const char *const sizes[] = {"auto", "exact", "ahead"};
    if (strcmp(name, "medium") == 0) {
        struct nvmmio_options file = NVMMIO_OPTIONS_INIT;
        const int error = nvmmio_option_set(&file, name, value);
        if (!error)
            options->medium = file.medium;
        return error;
    }
    if (strcmp(name, "size") != 0)
        return nv_fail(-ENOENT, "option %s is unknown; there are medium and size", name);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (strcmp(value, sizes[i]) == 0) {
            options->size = (enum nvmmio_size)i;
            return 0;
        }
    return nv_fail(-EINVAL, "size=%s is unknown; use auto, exact or ahead", value);
}

static int check_options(const struct nvmmio_stream_options *options)
{
    const uint32_t known = NVMMIO_READ_ONLY | NVMMIO_CREATE | NVMMIO_CREATE_NEW |
                           NVMMIO_STREAM_EMPTY | NVMMIO_STREAM_REUSE;
    const uint32_t flags = options->flags;
    if (options->struct_bytes != sizeof(*options))
        return nv_fail(-EINVAL,
                       "nvmmio_stream_options has %zu bytes here and %zu in the library; use "
                       "NVMMIO_STREAM_OPTIONS_INIT, and the header that goes with the library",
                       options->struct_bytes, sizeof(*options));
    if (options->medium < NVMMIO_MEDIUM_AUTO || options->medium > NVMMIO_MEDIUM_RAM)
        return nv_fail(-EINVAL, "medium %d is unknown; use auto, dax, page or ram",
                       (int)options->medium);
    if (options->size < NVMMIO_SIZE_AUTO || options->size > NVMMIO_SIZE_AHEAD)
        return nv_fail(-EINVAL, "size %d is unknown; use auto, exact or ahead", (int)options->size);
    if (flags & ~known)
        return nv_fail(-EINVAL, "flags 0x%x are unknown", flags);
    if ((flags & NVMMIO_READ_ONLY) && (flags & ~(uint32_t)NVMMIO_READ_ONLY))
        return nv_fail(-EINVAL, "NVMMIO_READ_ONLY goes with no other flag");
    if ((flags & NVMMIO_CREATE_NEW) && !(flags & NVMMIO_CREATE))
        return nv_fail(-EINVAL, "NVMMIO_CREATE_NEW needs NVMMIO_CREATE");
    if ((flags & NVMMIO_STREAM_EMPTY) && (flags & NVMMIO_STREAM_REUSE))
        return nv_fail(-EINVAL, "NVMMIO_STREAM_EMPTY and NVMMIO_STREAM_REUSE exclude each other");
    return 0;
}

/* ---- open and close ------------------------------------------------------------------------ */

int nv_process_stream_open(struct nv_process *process, const char *path,
                           const struct nvmmio_stream_options *options, struct nvmmio_stream **out)
{
    static const struct nvmmio_stream_options defaults = NVMMIO_STREAM_OPTIONS_INIT;
    *out = NULL;
    if (!options)
        options = &defaults;
    int error = check_options(options);
    if (!error)
        error = nv_stream_open(nv_process_streams(process), path, options, out);
    if (!error)
        (*out)->process = process;
    return error;
}

int nvmmio_stream_open(const char *path, const struct nvmmio_stream_options *options,
                       struct nvmmio_stream **stream)
{
    struct nv_process *process = NULL;
    const int error = nv_process_default(&process);
    return error ? error : nv_process_stream_open(process, path, options, stream);
}

int nvmmio_stream_close(struct nvmmio_stream *stream)
{
    if (!stream)
        return 0;
    const int error = check_here(stream);
    if (error) { /* the file is the parent's: the handle is all that can be given up */
        nv_stream_forget(stream);
        return error;
    }
    return nv_stream_close(stream);
}

int nvmmio_stream_recover(const char *path)
{
    struct nv_process *process = NULL;
    const int error = nv_process_default(&process);
    return error ? error : nv_stream_recover(nv_process_streams(process), path);
}

int nvmmio_stream_stat(const char *path, uint64_t *bytes)
{
    struct nv_process *process = NULL;
    *bytes = 0;
    const int error = nv_process_default(&process);
    return error ? error : nv_stream_stat(nv_process_streams(process), path, bytes);
}

int nvmmio_stream_check(const char *path, struct nvmmio_stream_report *report)
{
    struct nv_process *process = NULL;
    *report = (struct nvmmio_stream_report){.struct_bytes = sizeof(*report)};
    const int error = nv_process_default(&process);
    return error ? error : nv_stream_check(nv_process_streams(process), path, report);
}

/* ---- writing ------------------------------------------------------------------------------- */

ssize_t nvmmio_stream_append(struct nvmmio_stream *stream, const void *data, size_t bytes)
{
    int error = check_writer(stream);
    if (!error)
        error = nv_stream_append(stream->file, data, bytes);
    return error ? error : (ssize_t)bytes;
}

int nvmmio_stream_sync(struct nvmmio_stream *stream)
{
    const int error = check_writer(stream);
    return error ? error : nv_stream_sync(stream->file);
}

int nvmmio_stream_flush(struct nvmmio_stream *stream, uint64_t offset, uint64_t bytes)
{
    const int error = check_writer(stream);
    return error ? error : nv_stream_flush(stream->file, offset, bytes);
}

int nvmmio_stream_truncate(struct nvmmio_stream *stream, uint64_t bytes)
{
    const int error = check_writer(stream);
    return error ? error : nv_stream_truncate(stream->file, bytes);
}

int nvmmio_stream_allocate(struct nvmmio_stream *stream, uint64_t bytes)
{
    const int error = check_writer(stream);
    return error ? error : nv_stream_allocate(stream->file, bytes);
}

/* ---- reading ------------------------------------------------------------------------------- */

ssize_t nvmmio_stream_pread(struct nvmmio_stream *stream, void *buffer, size_t bytes,
                            uint64_t offset)
{
    const int error = check_here(stream);
    return error ? error : nv_stream_pread(stream, buffer, bytes, offset);
}

int nvmmio_stream_view(struct nvmmio_stream *stream, uint64_t offset, size_t bytes,
                       const void **address)
{
    *address = NULL;
    const int error = check_here(stream);
    return error ? error : nv_stream_view(stream, offset, bytes, address);
}

int64_t nvmmio_stream_size(struct nvmmio_stream *stream)
{
    const int error = check_here(stream);
    return error ? error : nv_stream_size(stream);
}

/* ---- what is going on ---------------------------------------------------------------------- */

int nvmmio_stream_info(struct nvmmio_stream *stream, struct nvmmio_stream_info *info)
{
    *info = (struct nvmmio_stream_info){.struct_bytes = sizeof(*info)};
    const int error = check_here(stream);
    return error ? error : nv_stream_info(stream, info);
}

int nvmmio_stream_stats(struct nvmmio_stream *stream, struct nvmmio_stream_stats *stats)
{
    *stats = (struct nvmmio_stream_stats){.struct_bytes = sizeof(*stats)};
    const int error = check_here(stream);
    if (!error)
        nv_stream_stats(stream, stats);
    return error;
}
