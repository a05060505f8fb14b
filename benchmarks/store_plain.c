/*
 * The plain store: what durable writes and reads of a mapping cost with nothing
 * on top of them.  A write that a crash cuts off is half there.
 */
#include <errno.h>
#include <libpmem.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/store.h"

struct plain {
    struct nv_store_map home;
    size_t piece_bytes;
};

static int plain_open(const struct nv_store_options *options, struct nv_store **store)
{
    struct plain *plain = calloc(1, sizeof(*plain));
    if (!plain)
        return -ENOMEM;
    plain->piece_bytes = options->piece_bytes;
    int error = nv_store_map_open(&plain->home, options->path, 0);
    if (error)
        free(plain);
    else
        *store = (struct nv_store *)plain;
    return error;
}

static int plain_read(struct nv_store *store, void *buffer, uint64_t offset)
{
    const struct plain *plain = (const struct plain *)store;
    memcpy(buffer, plain->home.base + offset, plain->piece_bytes);
    return 0;
}

static int plain_write(struct nv_store *store, const void *data, uint64_t offset)
{
    const struct plain *plain = (const struct plain *)store;
    pmem_memcpy_persist(plain->home.base + offset, data, plain->piece_bytes);
    return 0;
}

static void plain_close(struct nv_store *store)
{
    struct plain *plain = (struct plain *)store;
    nv_store_map_close(&plain->home);
    free(plain);
}

const struct nv_store_ops nv_store_plain = {
    .name = "pmem_memcpy_persist",
    .open = plain_open,
    .read = plain_read,
    .write = plain_write,
    .close = plain_close,
};
