/*
 * store: one file of fixed size in which pieces of one size are read, and
 * overwritten durably.  The engine, a bare pmem_memcpy_persist and two classic
 * logs stand behind the same table, so that the same loop measures all of them.
 *
 * Threads: a store that was opened with `locks` may be used by several; the
 * plain one by several that do not write the same piece.
 */
#ifndef NV_BENCH_STORE_H
#define NV_BENCH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nv_store;

struct nv_store_options {
    const char *path; /* a file of `bytes` bytes, which is there already */
    uint64_t bytes;
    uint64_t log_bytes; /* bound of the log; 0: the store's own choice */
    size_t piece_bytes; /* every read and write is of this many, at a multiple of it */
    bool locks;         /* readers and writers exclude each other */
};

struct nv_store_ops {
    const char *name;
    int (*open)(const struct nv_store_options *options, struct nv_store **store);
    int (*read)(struct nv_store *store, void *buffer, uint64_t offset);
    /* All or nothing, and durable on return. */
    int (*write)(struct nv_store *store, const void *data, uint64_t offset);
    void (*close)(struct nv_store *store);
};

extern const struct nv_store_ops nv_store_engine;
extern const struct nv_store_ops nv_store_plain; /* pmem_memcpy_persist, memcpy; not atomic */
extern const struct nv_store_ops nv_store_undo;
extern const struct nv_store_ops nv_store_redo;

/* A shared mapping of a whole file, every page of it present and writable. */
struct nv_store_map {
    uint8_t *base;
    size_t bytes;
};
/* bytes 0: the file as it is; else it is made or changed to be that large. */
int nv_store_map_open(struct nv_store_map *map, const char *path, uint64_t bytes);
void nv_store_map_close(struct nv_store_map *map);

#endif
