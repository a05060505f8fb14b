/*
 * os_posix_file: the bytes of a file in the real system: transfers, space,
 * mappings.
 *
 * RLIMIT_FSIZE: the kernel answers a write past it not only with EFBIG but with
 * SIGXFSZ, which by default kills.  A library must not change the disposition of
 * a signal, and two more system calls around each write are dear; so the limit
 * is read when a file is opened, grown or cut, and what would pass it is refused
 * with -EFBIG before the kernel sees it.  Only a program that lowers its own
 * limit in between, and leaves SIGXFSZ at its default, is still killed.
 */
#include "core/os_posix.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTS_MAX 64                        /* of one system call; well below IOV_MAX */
#define CHUNK_BYTES_MIN ((uint64_t)1 << 16) /* of an allocation that signals interrupt */
#define ZERO_BYTES 65536

static _Atomic uint64_t limit_bytes = UINT64_MAX;

void nv_posix_read_limits(void)
{
    struct rlimit limit;
    if (!getrlimit(RLIMIT_FSIZE, &limit))
        atomic_store_explicit(&limit_bytes,
                              limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur,
                              memory_order_relaxed);
}

/* Whether a write that ends at `end` is within the limit, which may have been raised meanwhile. */
static bool within_limit(uint64_t end)
{
    if (end <= atomic_load_explicit(&limit_bytes, memory_order_relaxed))
        return true;
    nv_posix_read_limits();
    return end <= atomic_load_explicit(&limit_bytes, memory_order_relaxed);
}

/* A quota is a disk that is full for this user. */
static int space_error(int error)
{
    return error == EDQUOT ? -ENOSPC : -error;
}

ssize_t nv_posix_pread(struct nv_file *file, void *buffer, size_t bytes, uint64_t offset)
{
    if (offset > INT64_MAX || bytes > SSIZE_MAX || bytes > INT64_MAX - offset)
        return -EINVAL;
    size_t done = 0;
    while (done < bytes) {
        const ssize_t got =
            pread(file->fd, (uint8_t *)buffer + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (!got)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* One system call from byte `skip` of the first part on: what it wrote, or -errno. */
static ssize_t write_some(int fd, const struct iovec *parts, int count, size_t skip, uint64_t at)
{
    struct iovec now[PARTS_MAX];
    const int used = count < PARTS_MAX ? count : PARTS_MAX;
    memcpy(now, parts, (size_t)used * sizeof(now[0]));
    now[0].iov_base = (uint8_t *)now[0].iov_base + skip;
    now[0].iov_len -= skip;
    ssize_t put;
    do
        put = used == 1 ? pwrite(fd, now[0].iov_base, now[0].iov_len, (off_t)at)
                        : pwritev(fd, now, used, (off_t)at);
    while (put < 0 && errno == EINTR);
    return put < 0 ? space_error(errno) : put;
}

int nv_posix_pwritev(struct nv_file *file, const struct iovec *parts, int count, uint64_t offset)
{
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        if (__builtin_add_overflow(bytes, parts[i].iov_len, &bytes))
            return -EINVAL;
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return -EFBIG;
    if (bytes && !within_limit(offset + bytes))
        return -EFBIG;

    size_t skip = 0; /* of parts[0], written already */
    while (bytes) {
        for (; count && parts->iov_len == skip; parts++, count--)
            skip = 0;
        assert(count > 0); /* `bytes` is theirs */
        const ssize_t put = write_some(file->fd, parts, count, skip, offset);
        if (put <= 0)
            return put ? (int)put : -EIO;
        bytes -= (uint64_t)put;
        offset += (uint64_t)put;
        size_t left = (size_t)put;
        while (count && left && left >= parts->iov_len - skip) {
            left -= parts->iov_len - skip;
            skip = 0;
            parts++;
            count--;
        }
        skip += left;
    }
    return 0;
}

int nv_posix_sync_data(struct nv_file *file)
{
    int status;
    do /* interrupted is not failed: the pages' error state was not consumed */
        status = fdatasync(file->fd) < 0 ? -errno : 0;
    while (status == -EINTR);
    return status;
}

int nv_posix_write_back(struct nv_file *file, uint64_t offset, uint64_t bytes)
{
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return -EINVAL;
    if (bytes && /* 0 would be all that there are */
        sync_file_range(file->fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE) < 0)
        return errno == ENOSYS || errno == EINVAL ? 0 : space_error(errno);
    return 0;
}

static int file_size(int fd, uint64_t *bytes)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *bytes = (uint64_t)st.st_size;
    return 0;
}

static int cut(int fd, uint64_t bytes)
{
    int status;
    do
        status = ftruncate(fd, (off_t)bytes) < 0 ? space_error(errno) : 0;
    while (status == -EINTR);
    return status;
}

int nv_posix_truncate(struct nv_file *file, uint64_t bytes)
{
    if (bytes > INT64_MAX)
        return -EFBIG;
    nv_posix_read_limits();
    if (!within_limit(bytes)) {
        uint64_t size = 0;
        const int status = file_size(file->fd, &size);
        if (status)
            return status;
        if (bytes > size)
            return -EFBIG;
    }
    return cut(file->fd, bytes);
}

/* fallocate(2) of [offset, end) in as few calls as signals let through. */
static int allocate_kernel(int fd, int mode, uint64_t offset, uint64_t end)
{
    uint64_t chunk = end - offset;
    while (offset < end) {
        if (chunk > end - offset)
            chunk = end - offset;
        if (!fallocate(fd, mode, (off_t)offset, (off_t)chunk)) {
            offset += chunk;
        } else if (errno != EINTR) {
            return space_error(errno);
        } else if (chunk > CHUNK_BYTES_MIN) {
            /* tmpfs gives everything back when it is interrupted: under an interval timer the
             * whole would never get done. */
            chunk /= 2;
        }
    }
    return 0;
}

/* It is known that [offset, end) has no hole.  Space allocated but never written may look like one.
 */
static bool is_solid(int fd, uint64_t offset, uint64_t end)
{
    const off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);
    return hole >= 0 && (uint64_t)hole >= end;
}

int nv_posix_write_zeros(struct nv_file *file, uint64_t offset, uint64_t bytes)
{
    static const uint8_t zeros[ZERO_BYTES];

    while (bytes) {
        struct iovec parts[PARTS_MAX];
        int count = 0;
        uint64_t some = 0;
        for (; count < PARTS_MAX && some < bytes; count++) {
            const uint64_t left = bytes - some;
            parts[count].iov_base = (void *)(uintptr_t)zeros;
            parts[count].iov_len = left < ZERO_BYTES ? (size_t)left : ZERO_BYTES;
            some += parts[count].iov_len;
        }
        const int status = nv_posix_pwritev(file, parts, count, offset);
        if (status)
            return status;
        offset += some;
        bytes -= some;
    }
    return 0;
}

/*
 * Where there is no fallocate: zeros beyond the present end.  Holes before it cannot be filled
 * without racing with those who write there, so they are refused.
 */
static int allocate_by_writing(struct nv_file *file, uint64_t offset, uint64_t end, uint64_t size)
{
    if (offset < size && !is_solid(file->fd, offset, end < size ? end : size))
        return -EOPNOTSUPP;
    return end > size ? nv_posix_write_zeros(file, size, end - size) : 0;
}

int nv_posix_allocate(struct nv_file *file, uint64_t offset, uint64_t bytes, bool extend)
{
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return -EFBIG;
    if (!bytes)
        return 0;
    const uint64_t end = offset + bytes;
    uint64_t size = 0;
    int status = file_size(file->fd, &size);
    if (status)
        return status;
    nv_posix_read_limits();
    if (end > size && !within_limit(end))
        return -EFBIG;
    /* The kernel would dirty the inode, and a DAX mapping pays for that with its next fault. */
    if (end <= size && is_solid(file->fd, offset, end))
        return 0;

    status = allocate_kernel(file->fd, extend ? 0 : FALLOC_FL_KEEP_SIZE, offset, end);
    if (status == -EOPNOTSUPP)
        status = extend ? allocate_by_writing(file, offset, end, size) : 0;
    if (status && extend && end > size) {
        /* Part of it may be there: ext4 moves the end of the file as it goes.  Cutting at the old
         * end also gives back what lies beyond it; whether that works changes nothing. */
        const int ignored = cut(file->fd, size);
        (void)ignored;
    }
    return status;
}

int nv_posix_next_data(struct nv_file *file, uint64_t offset, uint64_t *where)
{
    if (offset > INT64_MAX)
        return -EINVAL;
    const off_t data = lseek(file->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return -errno;
    *where = data < 0 ? offset : (uint64_t)data;
    return data < 0 ? file_size(file->fd, where) : 0; /* ENXIO: a hole to the end */
}

int nv_posix_map(struct nv_file *file, size_t bytes, bool writable, bool sync, void **address)
{
    if (!bytes)
        return -EINVAL;
    const int flags = sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
    void *base =
        mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, flags, file->fd, 0);
    if (base == MAP_FAILED) /* EINVAL: a kernel from before MAP_SHARED_VALIDATE */
        return sync && errno == EINVAL ? -EOPNOTSUPP : -errno;
    if (madvise(base, bytes, MADV_DONTFORK) < 0) {
        const int status = -errno;
        munmap(base, bytes);
        return status;
    }
    *address = base;
    return 0;
}

int nv_posix_unmap(struct nv_file *file, void *address, size_t bytes)
{
    (void)file;
    return munmap(address, bytes) < 0 ? -errno : 0;
}
