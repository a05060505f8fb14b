/*
 * An undo log, for comparison only: what it leaves could be recovered, but the
 * recovery is not written.
 *
 * A write saves the old piece, fences; stores the new piece in place, fences;
 * and cancels the saved one, fences.  The checksum makes one fence enough for
 * the saved piece and its header; the second cannot be saved, for a cancelled
 * entry behind which the new piece is not yet whole would lose it; nor the third,
 * for a sync that returned must not be undone.  Reads go to home.  The log is a
 * ring of entries, each free again once it is cancelled.
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
    uint64_t sequence; /* 0: cancelled */
    uint64_t offset;
    uint64_t bytes;
    uint64_t checksum; /* of the three above and the piece */
    uint8_t unused[LINE_BYTES - 4 * sizeof(uint64_t)];
    uint8_t piece[];
};

struct undo {
    struct nv_store_map home, log;
    size_t piece_bytes, entry_bytes;
    uint64_t entries, next, sequence;
    bool locks;
    pthread_rwlock_t lock;
};

static int undo_open(const struct nv_store_options *options, struct nv_store **store)
{
    char path[4096];
    struct undo *undo = calloc(1, sizeof(*undo));
    if (!undo)
        return -ENOMEM;
    undo->piece_bytes = options->piece_bytes;
    undo->entry_bytes = sizeof(struct entry) + undo->piece_bytes;
    undo->locks = options->locks;
    uint64_t log_bytes = options->log_bytes ? options->log_bytes : LOG_BYTES_DEFAULT;
    undo->entries = log_bytes / undo->entry_bytes;
    pthread_rwlock_init(&undo->lock, NULL);

    int error = -ENAMETOOLONG;
    size_t length = strlen(options->path);
    if (length + sizeof("-undo") <= sizeof(path)) {
        memcpy(path, options->path, length);
        memcpy(path + length, "-undo", sizeof("-undo"));
        error = nv_store_map_open(&undo->home, options->path, 0);
    }
    if (!error)
        error = nv_store_map_open(&undo->log, path, log_bytes);
    if (error) {
        nv_store_map_close(&undo->home);
        free(undo);
        return error;
    }
    *store = (struct nv_store *)undo;
    return 0;
}

static int undo_read(struct nv_store *store, void *buffer, uint64_t offset)
{
    struct undo *undo = (struct undo *)store;
    if (undo->locks)
        pthread_rwlock_rdlock(&undo->lock);
    memcpy(buffer, undo->home.base + offset, undo->piece_bytes);
    if (undo->locks)
        pthread_rwlock_unlock(&undo->lock);
    return 0;
}

static int undo_write(struct nv_store *store, const void *data, uint64_t offset)
{
    struct undo *undo = (struct undo *)store;
    if (undo->locks)
        pthread_rwlock_wrlock(&undo->lock);
    uint8_t *home = undo->home.base + offset;
    struct entry *entry =
        (struct entry *)(undo->log.base + undo->next % undo->entries * undo->entry_bytes);
    undo->next++;
    struct entry head = {
        .sequence = ++undo->sequence, .offset = offset, .bytes = undo->piece_bytes};
    head.checksum = XXH3_64bits_withSeed(home, undo->piece_bytes,
                                         head.sequence ^ head.offset << 20 ^ head.bytes);

    pmem_memcpy(entry->piece, home, undo->piece_bytes, PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
    pmem_memcpy(entry, &head, sizeof(head), PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
    pmem_drain(); /* the old piece is saved before home changes */
    pmem_memcpy(home, data, undo->piece_bytes, PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
    pmem_drain(); /* home is whole before the saved piece is given up */
    entry->sequence = 0;
    pmem_persist(&entry->sequence, sizeof(entry->sequence)); /* the commit */
    if (undo->locks)
        pthread_rwlock_unlock(&undo->lock);
    return 0;
}

static void undo_close(struct nv_store *store)
{
    struct undo *undo = (struct undo *)store;
    nv_store_map_close(&undo->home);
    nv_store_map_close(&undo->log);
    pthread_rwlock_destroy(&undo->lock);
    free(undo);
}

const struct nv_store_ops nv_store_undo = {
    .name = "undo log",
    .open = undo_open,
    .read = undo_read,
    .write = undo_write,
    .close = undo_close,
};
