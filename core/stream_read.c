/*
 * stream_read: reads, which take no lock as long as there is nothing to look up.
 */
#include <errno.h>

#include "core/base.h"
#include "core/stream.h"

/* The descriptor that this kind of handle came with. */
static struct nv_file *descriptor(struct nvmmio_stream *stream)
{
    return stream->read_only ? &stream->file->reader : &stream->file->writer;
}

/* Without a writer in this process, somebody else's may have appended. */
static int refresh(struct nvmmio_stream *stream)
{
    struct nv_stream_file *file = stream->file;
    struct nv_size_found found;
    int error = 0;
    pthread_mutex_lock(&file->mutex);
    if (!atomic_load(&file->written)) {
        error = nv_size_find(descriptor(stream), &found);
        if (!error)
            atomic_store(&file->bytes, found.bytes);
    }
    pthread_mutex_unlock(&file->mutex);
    return error;
}

/* The stream's size if it ends before `end`; else any size from there on. */
static int known(struct nvmmio_stream *stream, uint64_t end, uint64_t *bytes)
{
    struct nv_stream_file *file = stream->file;
    *bytes = atomic_load_explicit(&file->bytes, memory_order_acquire);
    if (end <= *bytes || atomic_load_explicit(&file->written, memory_order_acquire))
        return 0;
    const int error = refresh(stream);
    *bytes = atomic_load_explicit(&file->bytes, memory_order_acquire);
    return error;
}

int64_t nv_stream_size(struct nvmmio_stream *stream)
{
    uint64_t bytes = 0;
    const int error = known(stream, UINT64_MAX, &bytes);
    return error ? error : (int64_t)bytes;
}

/* [offset, offset + bytes) is within the stream: the map, made larger if it has to be. */
static const uint8_t *mapped(struct nv_stream_file *file, uint64_t offset, size_t bytes)
{
    struct nv_stream_end *end = atomic_load_explicit(&file->reads, memory_order_acquire);
    if (!end)
        return NULL;
    const uint8_t *from = nv_medium_view(&end->medium, offset, bytes);
    if (from || !end->medium.ops->mapped)
        return from;
    pthread_mutex_lock(&file->mutex);
    (void)nv_medium_reserve(&end->medium, offset + bytes);
    pthread_mutex_unlock(&file->mutex);
    return nv_medium_view(&end->medium, offset, bytes);
}

ssize_t nv_stream_pread(struct nvmmio_stream *stream, void *buffer, size_t bytes, uint64_t offset)
{
    struct nv_stream_file *file = stream->file;
    uint64_t size = 0;
    const uint64_t end = bytes > UINT64_MAX - offset ? UINT64_MAX : offset + bytes;
    const int error = known(stream, end, &size);
    if (error || offset >= size)
        return error;
    bytes = (size_t)nv_min(bytes, size - offset);
    const uint8_t *from = mapped(file, offset, bytes);
    if (from) {
        memcpy(buffer, from, bytes);
        return (ssize_t)bytes;
    }
    struct nv_file *on = descriptor(stream);
    return on->os->pread(on, buffer, bytes, offset);
}

/* A writer through the kernel has no map until it wants one. */
static void make_map(struct nv_stream_file *file)
{
    pthread_mutex_lock(&file->mutex);
    if (!atomic_load(&file->reads) && file->writers)
        nv_stream_map(file, &file->writer, &file->write_probe);
    pthread_mutex_unlock(&file->mutex);
}

int nv_stream_view(struct nvmmio_stream *stream, uint64_t offset, size_t bytes,
                   const void **address)
{
    struct nv_stream_file *file = stream->file;
    uint64_t size = 0;
    const uint64_t end = bytes > UINT64_MAX - offset ? UINT64_MAX : offset + bytes;
    const int error = known(stream, end, &size);
    *address = NULL;
    if (error)
        return error;
    if (end > size)
        return -EOPNOTSUPP;
    if (!atomic_load_explicit(&file->reads, memory_order_acquire))
        make_map(file);
    *address = mapped(file, offset, bytes);
    return *address ? 0 : -EOPNOTSUPP;
}
