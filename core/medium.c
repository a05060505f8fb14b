/* medium: what all media share.  See core/medium.h. */
#include <errno.h>

#include "core/base.h"
#include "core/medium.h"

#define AHEAD_BYTES_MAX                                                                            \
    ((uint64_t)64 << 20) /* what one growth takes more than it was asked for                       \
                          */
#define AHEAD_PART 8     /* an eighth of what is there */

int nv_medium_open(struct nv_medium *medium, const struct nv_medium_ops *ops, struct nv_file *file,
                   bool writable, uint64_t step_bytes)
{
    medium->ops = ops;
    medium->file = file;
    medium->writable = writable;
    medium->sparse = false;
    medium->step_bytes = step_bytes;
    medium->direct = NULL;
    atomic_init(&medium->map, NULL);
    atomic_init(&medium->ready_bytes, 0);
    atomic_init(&medium->file_bytes, 0);
    const int status = ops->open(medium);
    if (status)
        medium->ops = NULL;
    return status;
}

void nv_medium_close(struct nv_medium *medium)
{
    if (medium->ops)
        medium->ops->close(medium);
    medium->ops = NULL;
}

void nv_medium_direct(struct nv_medium *medium)
{
    if (medium->ops->direct && medium->writable && !medium->direct)
        medium->ops->direct(medium);
}

int nv_medium_grow(struct nv_medium *medium, uint64_t bytes)
{
    struct nv_file *file = medium->file;
    struct nv_file_stat stat;
    int status = file->os->stat(file, &stat);
    if (status)
        return status;
    /* Somebody else may have grown it: then there is nothing to ask the file system for. */
    atomic_store_explicit(&medium->file_bytes, stat.bytes, memory_order_relaxed);
    if (bytes <= stat.bytes)
        return 0;
    if (!medium->writable)
        return -EINVAL;
    const uint64_t step = medium->step_bytes;
    if (bytes > INT64_MAX - AHEAD_BYTES_MAX || step > INT64_MAX - AHEAD_BYTES_MAX - bytes)
        return -EFBIG;

    uint64_t exact = bytes, ahead = bytes;
    if (step) {
        const uint64_t more = nv_min(stat.bytes / AHEAD_PART, AHEAD_BYTES_MAX);
        ahead = nv_align_up(nv_max(bytes, stat.bytes + more), step);
        exact = nv_min(nv_align_up(bytes, NV_BLOCK_BYTES), ahead);
    }
    status = file->os->allocate(file, stat.bytes, ahead - stat.bytes, true);
    if ((status == -ENOSPC || status == -EFBIG) && exact < ahead) {
        ahead = exact;
        status = file->os->allocate(file, stat.bytes, ahead - stat.bytes, true);
    }
    if (!status)
        atomic_store_explicit(&medium->file_bytes, ahead, memory_order_relaxed);
    return status;
}
