/*
 * medium_page: a file through the page cache: pread, pwritev, one fdatasync a
 * fence.  Not mapped: a copy-on-write file system needs space even to overwrite,
 * and that, or a bad sector, would be a SIGBUS instead of an error.
 *
 * A log is written past the cache (O_DIRECT), by way of a buffer that is aligned
 * as that asks for: its pages need not be looked for, copied into, and written
 * back when the fence comes, which is a tenth of the whole commit.  Both ways may
 * be mixed: the kernel keeps them coherent.
 *
 * A fence that failed cannot be repeated: the kernel may have marked the pages
 * clean.  Whoever calls it has to treat what was stored since as lost.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/medium.h"

#define DIRECT_BYTES ((size_t)256 << 10) /* of one write past the cache */

static int page_open(struct nv_medium *medium)
{
    struct nv_file_stat stat;
    const int status = medium->file->os->stat(medium->file, &stat);
    if (!status)
        atomic_store(&medium->file_bytes, stat.bytes);
    return status;
}

struct nv_direct {
    struct nv_file file;
    uint8_t *buffer;
};

static void direct_end(struct nv_medium *medium)
{
    struct nv_direct *direct = medium->direct;
    if (!direct)
        return;
    medium->direct = NULL;
    (void)direct->file.os->close(&direct->file);
    free(direct->buffer);
    free(direct);
}

static void direct_begin(struct nv_medium *medium)
{
    struct nv_direct *direct = calloc(1, sizeof(*direct));
    if (!direct)
        return;
    direct->buffer = aligned_alloc(NV_BLOCK_BYTES, DIRECT_BYTES);
    if (direct->buffer && medium->file->os->reopen_direct(medium->file, &direct->file) == 0) {
        medium->direct = direct;
        return;
    }
    free(direct->buffer);
    free(direct);
}

static void page_close(struct nv_medium *medium)
{
    direct_end(medium);
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

/* Blocks that were allocated and never written are told as written by the file system's journal,
 * with the fence that follows: each fence would be two writes to the disk. */
static void page_warm(struct nv_medium *medium, uint64_t offset, uint64_t bytes)
{
    if (medium->file->os->write_zeros)
        (void)medium->file->os->write_zeros(medium->file, offset, bytes);
}

static int page_load(struct nv_medium *medium, uint64_t offset, void *buffer, size_t bytes)
{
    const ssize_t got = medium->file->os->pread(medium->file, buffer, bytes, offset);
    if (got < 0)
        return (int)got;
    memset((uint8_t *)buffer + got, 0, bytes - (size_t)got);
    return 0;
}

/* The next `bytes` of the parts, from `*skip` in the first of them on. */
static void gather(uint8_t *to, size_t bytes, const struct iovec **parts, size_t *skip)
{
    while (bytes) {
        const size_t some = nv_min(bytes, (*parts)->iov_len - *skip);
        memcpy(to, (const uint8_t *)(*parts)->iov_base + *skip, some);
        to += some;
        bytes -= some;
        *skip += some;
        if (*skip == (*parts)->iov_len) {
            ++*parts;
            *skip = 0;
        }
    }
}

/* -EINVAL: the device wants something that is aligned otherwise. */
static int store_direct(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                        size_t bytes)
{
    struct nv_direct *direct = medium->direct;
    size_t skip = 0;
    int status = 0;
    while (bytes && !status) {
        const size_t some = nv_min(bytes, DIRECT_BYTES);
        const struct iovec part = {.iov_base = direct->buffer, .iov_len = some};
        gather(direct->buffer, some, &parts, &skip);
        status = direct->file.os->pwritev(&direct->file, &part, 1, offset);
        offset += some;
        bytes -= some;
    }
    return status;
}

static int page_storev(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                       int count)
{
    if (!medium->writable)
        return -EINVAL;
    return medium->file->os->pwritev(medium->file, parts, count, offset);
}

static int page_storev_fenced(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                              int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    if (medium->direct && (offset | bytes) % NV_BLOCK_BYTES == 0) {
        const int status = store_direct(medium, offset, parts, bytes);
        if (status != -EINVAL)
            return status;
        direct_end(medium);
    }
    return page_storev(medium, offset, parts, count);
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
    .unit = NV_BLOCK_BYTES,
    .open = page_open,
    .direct = direct_begin,
    .close = page_close,
    .reserve = page_reserve,
    .shrink = page_shrink,
    .warm = page_warm,
    .load = page_load,
    .store = page_store,
    .storev = page_storev,
    .storev_fenced = page_storev_fenced,
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
    .unit = NV_LINE_BYTES,
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
