/*
 * medium_dax: the mapped media.
 *
 * `dax` is persistent memory (MAP_SYNC), or a memory file system that
 * PMEM_IS_PMEM_FORCE=1 makes stand in for it: stores are non-temporal or written
 * back by cache line, a fence is one sfence.  `ram` is the same without either.
 *
 * A map is larger than its file, so that growth rarely needs another one.  Past
 * the end of the file, and in its holes, a store would need space and could be a
 * SIGBUS: [0, ready_bytes) is what reserve has mapped and given space.  Whatever
 * is not, load reads through the kernel.
 *
 * No fsync or msync here: on a DAX file it write-protects every dirty page.  The
 * file's new size is durable before a byte in the new part can be: that is what
 * MAP_SYNC means for the first store to a page.
 */
#include <errno.h>
#include <libpmem.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/medium.h"

#define HUGE_BYTES ((uint64_t)2 << 20)
#define MAP_BYTES_MIN ((uint64_t)1 << 30)
#define STREAM_BYTES_MIN 256 /* from here on a store goes past the cache */

static bool on_memory(struct nv_file *file)
{
    char name[64];
    return file->os->fs_kind(file, name, sizeof(name)) == NV_FS_MEMORY;
}

static int map_once(struct nv_medium *medium, uint64_t bytes, void **address)
{
    struct nv_file *file = medium->file;
    if (medium->ops == &nv_medium_dax) {
        const int status = file->os->map(file, bytes, medium->writable, true, address);
        if (status != -EOPNOTSUPP || !on_memory(file))
            return status;
    }
    return file->os->map(file, bytes, medium->writable, false, address);
}

/* A map that covers `bytes`, published.  The one that it replaces stays readable. */
static int map_more(struct nv_medium *medium, uint64_t bytes)
{
    struct nv_map *current = atomic_load_explicit(&medium->map, memory_order_relaxed);
    if (current && current->bytes >= bytes)
        return 0;
    if (bytes > SIZE_MAX / 4)
        return -EFBIG;
    struct nv_map *map = calloc(1, sizeof(*map));
    if (!map)
        return -ENOMEM;

    const uint64_t need = nv_align_up(nv_max(bytes, 1), NV_BLOCK_BYTES);
    uint64_t want = nv_align_up(nv_max(2 * bytes, MAP_BYTES_MIN), HUGE_BYTES);
    void *address;
    int status = map_once(medium, want, &address);
    /* RLIMIT_AS, or RLIMIT_MEMLOCK after mlockall: come down to what is needed. */
    while ((status == -ENOMEM || status == -EAGAIN) && want > need) {
        want = want > HUGE_BYTES ? nv_max(nv_align_up(want / 2, HUGE_BYTES), need) : need;
        status = map_once(medium, want, &address);
    }
    if (status) {
        free(map);
        return status == -EAGAIN ? -ENOMEM : status;
    }
    *map = (struct nv_map){.base = address, .bytes = want, .older = current};
    atomic_store_explicit(&medium->map, map, memory_order_release);
    return 0;
}

static bool is_sparse(const struct nv_file_stat *stat)
{
    return stat->space_bytes < stat->bytes;
}

/*
 * Loads and stores in [0, bytes), as far as the file reaches, need no space any
 * more; up to *end they do not.  Of a file without holes that is all of it.
 * Where it is sparse little more is filled than is asked for: a log that came
 * from anywhere may claim any size.
 */
static int fill_holes(struct nv_medium *medium, uint64_t ready, uint64_t bytes, uint64_t *end)
{
    struct nv_file *file = medium->file;
    struct nv_file_stat stat;
    *end = UINT64_MAX;
    /* Holes are from before: whoever has the file open as we do grows it without any. */
    if (ready && !medium->sparse)
        return 0;
    const int status = file->os->stat(file, &stat);
    if (status || stat.bytes <= ready)
        return status;
    /* A memory file system counts exactly, and takes long to allocate again what is there.  Others
     * count their own blocks in, but a load from a hole needs no space there. */
    const bool memory = on_memory(file);
    medium->sparse = ready || is_sparse(&stat);
    if (memory && !is_sparse(&stat))
        return 0;
    if (!medium->writable)
        return memory ? -EOPNOTSUPP : 0;
    if (medium->sparse)
        *end = nv_align_up(bytes, HUGE_BYTES);
    return file->os->allocate(file, ready, nv_min(*end, stat.bytes) - ready, true);
}

static int mapped_reserve(struct nv_medium *medium, uint64_t bytes)
{
    const uint64_t ready = atomic_load_explicit(&medium->ready_bytes, memory_order_relaxed);
    if (bytes <= ready)
        return 0;
    uint64_t filled = 0;
    int status = fill_holes(medium, ready, bytes, &filled);
    if (!status)
        status = nv_medium_grow(medium, bytes);
    if (status)
        return status;
    const uint64_t end =
        nv_min(filled, atomic_load_explicit(&medium->file_bytes, memory_order_relaxed));
    status = map_more(medium, end);
    if (!status)
        atomic_store_explicit(&medium->ready_bytes, end, memory_order_release);
    return status;
}

static void mapped_close(struct nv_medium *medium)
{
    struct nv_map *map = atomic_exchange(&medium->map, NULL);
    atomic_store(&medium->ready_bytes, 0);
    while (map) {
        struct nv_map *older = map->older;
        medium->file->os->unmap(medium->file, map->base, map->bytes);
        free(map);
        map = older;
    }
}

static int mapped_open(struct nv_medium *medium)
{
    struct nv_file_stat stat;
    int status = medium->file->os->stat(medium->file, &stat);
    if (status)
        return status;
    atomic_store(&medium->file_bytes, stat.bytes);
    status = map_more(medium, stat.bytes); /* of an empty file too: whether it can be mapped */
    if (status)
        return status;
    /* Holes are filled when somebody has to store there: until then the kernel reads them. */
    if (!is_sparse(&stat))
        status = mapped_reserve(medium, stat.bytes);
    if (status == -ENOSPC || status == -EFBIG || status == -EOPNOTSUPP)
        status = 0;
    if (status)
        mapped_close(medium);
    return status;
}

static int mapped_shrink(struct nv_medium *medium, uint64_t bytes)
{
    struct nv_file *file = medium->file;
    if (bytes > atomic_load_explicit(&medium->ready_bytes, memory_order_relaxed)) {
        const int status = mapped_reserve(medium, bytes);
        if (status)
            return status;
    }
    const int status = file->os->truncate(file, bytes);
    if (status)
        return status;
    atomic_store(&medium->file_bytes, bytes);
    atomic_store(&medium->ready_bytes, bytes);
    return 0;
}

/*
 * On a memory file system a page that was allocated but never written costs each store to it a
 * fault; pages that were written are mapped sixteen at a time by a load.  On DAX the blocks are the
 * device's own, and mapped by 2 MiB where they can be.
 */
static void mapped_warm(struct nv_medium *medium, uint64_t offset, uint64_t bytes)
{
    struct nv_file *file = medium->file;
    const volatile uint8_t *at = nv_medium_view(medium, offset, bytes);
    if (!at || !file->os->write_zeros || !on_memory(file) ||
        file->os->write_zeros(file, offset, bytes))
        return;
    for (uint64_t i = 0; i < bytes; i += NV_BLOCK_BYTES)
        (void)at[i];
}

static int mapped_load(struct nv_medium *medium, uint64_t offset, void *buffer, size_t bytes)
{
    const uint8_t *from = nv_medium_view(medium, offset, bytes);
    if (from) {
        memcpy(buffer, from, bytes);
        return 0;
    }
    const ssize_t got = medium->file->os->pread(medium->file, buffer, bytes, offset);
    if (got < 0)
        return (int)got;
    memset((uint8_t *)buffer + got, 0, bytes - (size_t)got);
    return 0;
}

/* Where to store; NULL for what was not reserved. */
static uint8_t *place(struct nv_medium *medium, uint64_t offset, size_t bytes)
{
    return medium->writable ? (uint8_t *)(uintptr_t)nv_medium_view(medium, offset, bytes) : NULL;
}

/* The place of parts that lie one behind the other. */
static uint8_t *place_parts(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                            int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        if (__builtin_add_overflow(bytes, parts[i].iov_len, &bytes))
            return NULL;
    return place(medium, offset, bytes);
}

/* ---- dax --------------------------------------------------------------------------------- */

/* On its way to memory, durable by the next dax_fence of this thread. */
static inline void dax_copy(uint8_t *to, const void *data, size_t bytes, bool stream)
{
    pmem_memcpy(to, data, bytes,
                PMEM_F_MEM_NODRAIN | (stream ? PMEM_F_MEM_NONTEMPORAL : PMEM_F_MEM_TEMPORAL));
}

/*
 * A non-temporal store leaves the cache without the line.  So a small one, as applied to home, is
 * written back instead: it is the next thing that will be read.
 */
static int dax_store(struct nv_medium *medium, uint64_t offset, const void *data, size_t bytes)
{
    uint8_t *to = place(medium, offset, bytes);
    if (!to)
        return -EINVAL;
    dax_copy(to, data, bytes, bytes >= STREAM_BYTES_MIN);
    return 0;
}

/*
 * Parts are a log's, which nobody reads before a crash: whole lines go past the cache however few
 * they are.  Line and fence take 0.1 microseconds so, and 0.16 with a write-back.
 */
static int dax_storev(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                      int count)
{
    uint8_t *to = place_parts(medium, offset, parts, count);
    if (!to)
        return -EINVAL;
    for (int i = 0; i < count; i++) {
        const size_t bytes = parts[i].iov_len;
        const bool lines = (((uintptr_t)to | bytes) & (NV_LINE_BYTES - 1)) == 0;
        dax_copy(to, parts[i].iov_base, bytes, lines || bytes >= STREAM_BYTES_MIN);
        to += bytes;
    }
    return 0;
}

static int dax_fence(struct nv_medium *medium)
{
    (void)medium;
    pmem_drain();
    return 0;
}

/* The locked instruction that follows drains non-temporal stores and write-backs on x86. */
static void mapped_release(struct nv_medium *medium)
{
    (void)medium;
}

const struct nv_medium_ops nv_medium_dax = {
    .kind = NVMMIO_MEDIUM_DAX,
    .mapped = true,
    .instant = true,
    .unit = NV_LINE_BYTES,
    .open = mapped_open,
    .close = mapped_close,
    .reserve = mapped_reserve,
    .shrink = mapped_shrink,
    .warm = mapped_warm,
    .load = mapped_load,
    .store = dax_store,
    .storev = dax_storev,
    .fence = dax_fence,
    .release = mapped_release,
};

/* ---- ram --------------------------------------------------------------------------------- */

static int ram_store(struct nv_medium *medium, uint64_t offset, const void *data, size_t bytes)
{
    uint8_t *to = place(medium, offset, bytes);
    if (!to)
        return -EINVAL;
    memcpy(to, data, bytes);
    return 0;
}

static int ram_storev(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                      int count)
{
    uint8_t *to = place_parts(medium, offset, parts, count);
    if (!to)
        return -EINVAL;
    for (int i = 0; i < count; i++) {
        memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
    return 0;
}

/* What a process that is killed has stored stays; only the order has to be kept. */
static int ram_fence(struct nv_medium *medium)
{
    (void)medium;
    atomic_thread_fence(memory_order_seq_cst);
    return 0;
}

const struct nv_medium_ops nv_medium_ram = {
    .kind = NVMMIO_MEDIUM_RAM,
    .mapped = true,
    .instant = true,
    .unit = NV_LINE_BYTES,
    .open = mapped_open,
    .close = mapped_close,
    .reserve = mapped_reserve,
    .shrink = mapped_shrink,
    .warm = mapped_warm,
    .load = mapped_load,
    .store = ram_store,
    .storev = ram_storev,
    .fence = ram_fence,
    .release = mapped_release,
};
