/*
 * medium_page: a file through the page cache: pread, pwritev, one fdatasync a
 * fence.  Not mapped: a copy-on-write file system needs space even to overwrite,
 * and that, or a bad sector, would be a SIGBUS instead of an error.
 *
 * A fence that failed cannot be repeated: the kernel may have marked the pages
 * clean.  Whoever calls it has to treat what was stored since as lost.
 */
#include <errno.h>

#include "core/medium.h"

static int page_open(struct nv_medium *medium)
{
    struct nv_file_stat stat;
    const int status = medium->file->os->stat(medium->file, &stat);
    if (!status)
        atomic_store(&medium->file_bytes, stat.bytes);
    return status;
}

static void page_close(struct nv_medium *medium)
{
    (void)medium;
}

static int page_reserve(struct nv_medium *medium, uint64_t bytes)
{
    if (bytes <= atomic_load_explicit(&medium->file_bytes, memory_order_relaxed))
        return 0;
    return nv_medium_grow(medium, bytes);
}

static int page_shrink(struct nv_medium *medium, uint64_t bytes)
{
    const int status = medium->file->os->truncate(medium->file, bytes);
    if (!status)
        atomic_store(&medium->file_bytes, bytes);
    return status;
}

static int page_load(struct nv_medium *medium, uint64_t offset, void *buffer, size_t bytes)
{
    const ssize_t got = medium->file->os->pread(medium->file, buffer, bytes, offset);
    if (got < 0)
        return (int)got;
    memset((uint8_t *)buffer + got, 0, bytes - (size_t)got);
    return 0;
}

static int page_storev(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                       int count)
{
    if (!medium->writable)
        return -EINVAL;
    return medium->file->os->pwritev(medium->file, parts, count, offset);
}

static int page_store(struct nv_medium *medium, uint64_t offset, const void *data, size_t bytes)
{
    const struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    return page_storev(medium, offset, &part, 1);
}

static int page_fence(struct nv_medium *medium)
{
    return medium->file->os->sync_data(medium->file);
}

static void page_release(struct nv_medium *medium)
{
    (void)medium;
}

const struct nv_medium_ops nv_medium_page = {
    .kind = NVMMIO_MEDIUM_PAGE,
    .mapped = false,
    .instant = false,
    .open = page_open,
    .close = page_close,
    .reserve = page_reserve,
    .shrink = page_shrink,
    .load = page_load,
    .store = page_store,
    .storev = page_storev,
    .fence = page_fence,
    .release = page_release,
};

/* What was written is in the kernel, and outlives the process. */
static int unmapped_fence(struct nv_medium *medium)
{
    (void)medium;
    return 0;
}

const struct nv_medium_ops nv_medium_ram_unmapped = {
    .kind = NVMMIO_MEDIUM_RAM,
    .mapped = false,
    .instant = true,
    .open = page_open,
    .close = page_close,
    .reserve = page_reserve,
    .shrink = page_shrink,
    .load = page_load,
    .store = page_store,
    .storev = page_storev,
    .fence = unmapped_fence,
    .release = page_release,
};
