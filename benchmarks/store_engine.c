/* The engine as a store: pwrite and sync for each write, pread for each read. */
#include <errno.h>
#include <stdlib.h>

#include "benchmarks/store.h"
#include "core/nvmmio.h"

/* Another thread's transaction may be in the way for longer than a time-out; not for ever. */
#define RETRIES_MAX 1000

struct engine {
    struct nvmmio *handle;
    size_t piece_bytes;
};

static int engine_open(const struct nv_store_options *options, struct nv_store **store)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return -ENOMEM;
    struct nvmmio_options open_options = NVMMIO_OPTIONS_INIT;
    open_options.log_bytes = options->log_bytes;
    engine->piece_bytes = options->piece_bytes;
    int error = nvmmio_open(options->path, &open_options, &engine->handle);
    if (error)
        free(engine);
    else
        *store = (struct nv_store *)engine;
    return error;
}

static int engine_read(struct nv_store *store, void *buffer, uint64_t offset)
{
    struct engine *engine = (struct engine *)store;
    for (int i = 0; i < RETRIES_MAX; i++) {
        ssize_t got = nvmmio_pread(engine->handle, buffer, engine->piece_bytes, offset);
        if (got == (ssize_t)engine->piece_bytes)
            return 0;
        if (got != -EBUSY)
            return got < 0 ? (int)got : -EIO;
    }
    return -EBUSY;
}

static int engine_write(struct nv_store *store, const void *data, uint64_t offset)
{
    struct engine *engine = (struct engine *)store;
    ssize_t put = -EBUSY;
    for (int i = 0; i < RETRIES_MAX && put == -EBUSY; i++)
        put = nvmmio_pwrite(engine->handle, data, engine->piece_bytes, offset);
    if (put < 0)
        return (int)put;
    int error = -EBUSY;
    for (int i = 0; i < RETRIES_MAX && error == -EBUSY; i++)
        error = nvmmio_sync(engine->handle);
    return error;
}

static void engine_close(struct nv_store *store)
{
    struct engine *engine = (struct engine *)store;
    (void)nvmmio_close(engine->handle);
    free(engine);
}

const struct nv_store_ops nv_store_engine = {
    .name = "nvmmio",
    .open = engine_open,
    .read = engine_read,
    .write = engine_write,
    .close = engine_close,
};
