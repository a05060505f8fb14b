/*
 * A redo log with merge on read, for comparison only: what it leaves could be
 * recovered, but the recovery is not written.
 *
 * A write appends a header with a checksum, and the piece, and fences once.  An
 * index in memory, one word for each piece of home (nothing finds faster), says
 * where the newest version is; reads consult it.  When the log is full, what is
 * newest in it goes to home, a fence makes that durable, and one line durably
 * empties the log.
 */
#include <errno.h>
#include <libpmem.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "benchmarks/store.h"

#define LINE_BYTES 64u
#define LOG_BYTES_DEFAULT ((uint64_t)4 << 20)

struct entry {
    uint64_t sequence;
    uint64_t offset;
    uint64_t bytes;
    uint64_t checksum; /* of the three above and the piece */
    uint8_t unused[LINE_BYTES - 4 * sizeof(uint64_t)];
    uint8_t piece[];
};

struct redo {
    struct nv_store_map home, log; /* the log's first line: sequence of its oldest entry */
    size_t piece_bytes, entry_bytes;
    uint32_t *index; /* piece of home -> number of its entry, from 1; 0: it is in home */
    uint32_t entries, used;
    uint64_t sequence;
    bool locks;
    pthread_rwlock_t lock;
};

static int redo_open(const struct nv_store_options *options, struct nv_store **store)
{
    char path[4096];
    struct redo *redo = calloc(1, sizeof(*redo));
    if (!redo)
        return -ENOMEM;
    redo->piece_bytes = options->piece_bytes;
    redo->entry_bytes = sizeof(struct entry) + redo->piece_bytes;
    redo->locks = options->locks;
    redo->sequence = 1;
    uint64_t log_bytes = options->log_bytes ? options->log_bytes : LOG_BYTES_DEFAULT;
    redo->entries = (uint32_t)((log_bytes - LINE_BYTES) / redo->entry_bytes);
    pthread_rwlock_init(&redo->lock, NULL);

    int error = -ENAMETOOLONG;
    size_t length = strlen(options->path);
    if (length + sizeof("-redo") <= sizeof(path)) {
        memcpy(path, options->path, length);
        memcpy(path + length, "-redo", sizeof("-redo"));
        error = nv_store_map_open(&redo->home, options->path, 0);
    }
    if (!error)
        error = nv_store_map_open(&redo->log, path, log_bytes);
    if (!error) {
        /* Written, not only reserved: no page fault is left for the measured part. */
        size_t pieces = redo->home.bytes / redo->piece_bytes;
        redo->index = malloc(pieces * sizeof(*redo->index));
        if (redo->index)
            memset(redo->index, 0, pieces * sizeof(*redo->index));
        else
            error = -ENOMEM;
    }
    if (error) {
        nv_store_map_close(&redo->home);
        nv_store_map_close(&redo->log);
        free(redo);
        return error;
    }
    *store = (struct nv_store *)redo;
    return 0;
}

static struct entry *entry_at(const struct redo *redo, uint32_t number)
{
    return (struct entry *)(redo->log.base + LINE_BYTES +
                            (uint64_t)(number - 1) * redo->entry_bytes);
}

static int redo_read(struct nv_store *store, void *buffer, uint64_t offset)
{
    struct redo *redo = (struct redo *)store;
    if (redo->locks)
        pthread_rwlock_rdlock(&redo->lock);
    uint32_t number = redo->index[offset / redo->piece_bytes];
    const uint8_t *piece = number ? entry_at(redo, number)->piece : redo->home.base + offset;
    memcpy(buffer, piece, redo->piece_bytes);
    if (redo->locks)
        pthread_rwlock_unlock(&redo->lock);
    return 0;
}

static void reclaim(struct redo *redo)
{
    for (uint32_t number = 1; number <= redo->used; number++) {
        const struct entry *entry = entry_at(redo, number);
        uint32_t *newest = &redo->index[entry->offset / redo->piece_bytes];
        if (*newest != number)
            continue;
        pmem_memcpy(redo->home.base + entry->offset, entry->piece, redo->piece_bytes,
                    PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
        *newest = 0;
    }
    pmem_drain(); /* home has it all before the log gives it up */
    redo->used = 0;
    *(uint64_t *)redo->log.base = redo->sequence;
    pmem_persist(redo->log.base, sizeof(uint64_t)); /* the log is empty before it is written anew */
}

static int redo_write(struct nv_store *store, const void *data, uint64_t offset)
{
    struct redo *redo = (struct redo *)store;
    if (redo->locks)
        pthread_rwlock_wrlock(&redo->lock);
    if (redo->used == redo->entries)
        reclaim(redo);
    uint32_t number = ++redo->used;
    struct entry *entry = entry_at(redo, number);
    struct entry head = {
        .sequence = redo->sequence++, .offset = offset, .bytes = redo->piece_bytes};
    head.checksum = XXH3_64bits_withSeed(data, redo->piece_bytes,
                                         head.sequence ^ head.offset << 20 ^ head.bytes);
    pmem_memcpy(entry->piece, data, redo->piece_bytes, PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
    pmem_memcpy(entry, &head, sizeof(head), PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
    pmem_drain(); /* the commit: a torn entry does not verify */
    redo->index[offset / redo->piece_bytes] = number;
    if (redo->locks)
        pthread_rwlock_unlock(&redo->lock);
    return 0;
}

static void redo_close(struct nv_store *store)
{
    struct redo *redo = (struct redo *)store;
    reclaim(redo);
    nv_store_map_close(&redo->home);
    nv_store_map_close(&redo->log);
    pthread_rwlock_destroy(&redo->lock);
    free(redo->index);
    free(redo);
}

const struct nv_store_ops nv_store_redo = {
    .name = "redo log",
    .open = redo_open,
    .read = redo_read,
    .write = redo_write,
    .close = redo_close,
};
