/*
 * medium: the bytes of one file and how they become durable.  The only layer
 * that stores to home or to a log; nothing above it knows libpmem, mappings,
 * pwrite or fdatasync.  A place in a medium is an offset, never a pointer, so
 * that `sim` sees every store.
 *
 * Durability: what was stored before a fence is durable when the fence returned
 * 0.  On `dax` a fence covers the stores of the calling thread alone (a locked
 * instruction by which that thread gives up a lock covers them too); on `page`
 * it covers the whole file.  Before its fence any part of a store may or may not
 * be durable: on `dax` any 8 aligned bytes by themselves, on `page` any sector.
 *
 * Threads: load and view by any number of threads beside one that stores to
 * other bytes; reserve by one thread at a time, beside them; open, shrink and
 * close by nobody beside them.
 */
#ifndef NV_MEDIUM_H
#define NV_MEDIUM_H

#include <stdatomic.h>
#include <string.h>

#include "core/nvmmio.h"
#include "core/os.h"

#define NV_LINE_BYTES 64u
#define NV_BLOCK_BYTES 4096u

struct nv_medium;

struct nv_medium_ops {
    enum nvmmio_medium kind;
    bool mapped;  /* loads and stores go to a mapping: small differences are cheap to store */
    bool instant; /* the fence is cheap: commit by lines, make home durable with the next fence */
    uint32_t
        unit; /* what is written once, as a log is, best begins and ends at multiples of this */

    int (*open)(struct nv_medium *medium);
    void (*direct)(struct nv_medium *medium); /* nv_medium_direct; NULL: nothing to gain */
    void (*close)(struct nv_medium *medium);
    /* Space for [0, bytes) exists and, where mapped, can be loaded and stored.  Never shrinks.
     * New bytes read as zeros.  -ENOSPC leaves everything as it was.  To be called before every
     * store; cheap when there is nothing to do.  A reader whose view ends too early calls it too,
     * with no more than the file has: it then only maps.  -EINVAL: not writable, and too short. */
    int (*reserve)(struct nv_medium *medium, uint64_t bytes);
    /* The file's size becomes `bytes` exactly.  Nobody else may use the file. */
    int (*shrink)(struct nv_medium *medium, uint64_t bytes);
    /* Past the end of the file: zeros.  Needs no reserve. */
    int (*load)(struct nv_medium *medium, uint64_t offset, void *buffer, size_t bytes);
    /* Visible to all processes on return; durable after the next fence.  Where mapped, -EINVAL for
     * bytes that were not reserved: they could fault. */
    int (*store)(struct nv_medium *medium, uint64_t offset, const void *data, size_t bytes);
    /* The same for parts that lie one behind the other from `offset` on. */
    int (*storev)(struct nv_medium *medium, uint64_t offset, const struct iovec *parts, int count);
    /* The same by a caller who fences next; NULL: nothing to gain from that. */
    int (*storev_fenced)(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                         int count);
    /* Make it cheap to store to [offset, offset + bytes), which is reserved, and which nobody has
     * stored to; best effort.  NULL: it is as cheap as it can be. */
    void (*warm)(struct nv_medium *medium, uint64_t offset, uint64_t bytes);
    int (*fence)(struct nv_medium *medium);
    /* The caller gives up a lock with a locked instruction right after this, and that counts as
     * the fence for what it stored: nothing to do in hardware, an event in a simulation. */
    void (*release)(struct nv_medium *medium);
};

/* One mapping; those that a larger one replaced stay readable until the medium closes. */
struct nv_map {
    uint8_t *base;
    size_t bytes;
    struct nv_map *older;
};

struct nv_medium {
    const struct nv_medium_ops *ops;
    struct nv_file *file; /* not owned */
    bool writable;
    bool sparse;                  /* it had holes: those are filled as far as is reserved */
    _Atomic(struct nv_map *) map; /* NULL where not mapped */
    _Atomic uint64_t ready_bytes; /* [0, this) can be viewed and stored to without a fault */
    _Atomic uint64_t file_bytes;  /* physical size as this process last knew it */
    uint64_t step_bytes;          /* grow in multiples of this; 0: exactly */
    struct nv_direct *direct;     /* see nv_medium_direct; NULL: not wanted, or not to be had */
};

extern const struct nv_medium_ops nv_medium_dax;  /* flushes and fences */
extern const struct nv_medium_ops nv_medium_ram;  /* neither */
extern const struct nv_medium_ops nv_medium_page; /* pread, pwritev, fdatasync */
/* `ram` where a store to a mapping could fault for want of space: page without its fence. */
extern const struct nv_medium_ops nv_medium_ram_unmapped;

/*
 * Which medium `file` gets: `wanted`, or for AUTO what its file system can do.
 * `why` says it in words.  -EOPNOTSUPP when it cannot be had.
 */
struct nv_probe {
    const struct nv_medium_ops *ops;
    bool forced; /* PMEM_IS_PMEM_FORCE=1 on a memory file system */
    bool survives_power;
    char why[192];
};
int nv_medium_probe(struct nv_file *file, enum nvmmio_medium wanted, struct nv_probe *probe);

int nv_medium_open(struct nv_medium *medium, const struct nv_medium_ops *ops, struct nv_file *file,
                   bool writable, uint64_t step_bytes);
void nv_medium_close(struct nv_medium *medium);
/* The file is read after a crash only: storev_fenced of whole units need not go through the
 * kernel's cache.  Best effort. */
void nv_medium_direct(struct nv_medium *medium);
/* For the media themselves: the file covers `bytes`, grown in steps while there is space. */
int nv_medium_grow(struct nv_medium *medium, uint64_t bytes);

/*
 * The mapped bytes [offset, offset + bytes), for reading; NULL where the medium
 * is not mapped or, in this process, not that far (reserve maps more).  A map
 * reaches past the end of the file, where a load would be a SIGBUS: the bound is
 * ready_bytes, which is stored after the map that covers it.
 */
static inline const uint8_t *nv_medium_view(struct nv_medium *medium, uint64_t offset, size_t bytes)
{
    const uint64_t ready = atomic_load_explicit(&medium->ready_bytes, memory_order_acquire);
    if (offset > ready || bytes > ready - offset)
        return NULL;
    const struct nv_map *map = atomic_load_explicit(&medium->map, memory_order_relaxed);
    return map ? map->base + offset : NULL;
}

static inline int nv_medium_reserve(struct nv_medium *medium, uint64_t bytes)
{
    return medium->ops->reserve(medium, bytes);
}

static inline void nv_medium_warm(struct nv_medium *medium, uint64_t offset, uint64_t bytes)
{
    if (medium->ops->warm)
        medium->ops->warm(medium, offset, bytes);
}

static inline int nv_medium_load(struct nv_medium *medium, uint64_t offset, void *buffer,
                                 size_t bytes)
{
    return medium->ops->load(medium, offset, buffer, bytes);
}

static inline int nv_medium_store(struct nv_medium *medium, uint64_t offset, const void *data,
                                  size_t bytes)
{
    return medium->ops->store(medium, offset, data, bytes);
}

static inline int nv_medium_fence(struct nv_medium *medium)
{
    return medium->ops->fence(medium);
}

#endif
