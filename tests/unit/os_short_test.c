/*
 * os: system calls that do less than they were asked for.  This program defines
 * the four calls itself, and has them stop early, be interrupted, or make no
 * progress, as the kernel may.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const struct nv_os *const os = &nv_os_posix;

static struct {
    size_t bytes;       /* of one transfer at most; 0: any */
    unsigned interrupt; /* every so many calls are interrupted; 0: none */
    bool stuck;         /* writes make no progress */
    uint64_t space;     /* larger allocations are interrupted and take nothing; 0: none */
    unsigned calls;
} kernel;

static bool interrupted(void)
{
    kernel.calls++;
    if (!kernel.interrupt || kernel.calls % kernel.interrupt)
        return false;
    errno = EINTR;
    return true;
}

static size_t shorter(size_t bytes)
{
    return kernel.bytes && bytes > kernel.bytes ? kernel.bytes : bytes;
}

ssize_t pread(int fd, void *buf, size_t nbytes, off_t offset)
{
    return interrupted() ? -1 : syscall(SYS_pread64, fd, buf, shorter(nbytes), offset);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    if (interrupted())
        return -1;
    return kernel.stuck ? 0 : syscall(SYS_pwrite64, fd, buf, shorter(n), offset);
}

ssize_t pwritev(int fd, const struct iovec *iovec, int count, off_t offset)
{
    if (interrupted())
        return -1;
    if (kernel.stuck)
        return 0;
    if (!kernel.bytes)
        return syscall(SYS_pwritev, fd, iovec, count, offset, 0);
    size_t done = 0;
    for (int i = 0; i < count && done < kernel.bytes; i++) {
        size_t bytes = iovec[i].iov_len;
        if (bytes > kernel.bytes - done)
            bytes = kernel.bytes - done;
        if (syscall(SYS_pwrite64, fd, iovec[i].iov_base, bytes, offset + (off_t)done) < 0)
            return -1;
        done += bytes;
    }
    return (ssize_t)done;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (interrupted())
        return -1;
    if (kernel.space && (uint64_t)len > kernel.space) {
        errno = EINTR;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

static struct unit_dir dir;
static struct nv_file file;

static int setup(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    unit_dir_memory(&dir);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE | NV_OPEN_CREATE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    os->close(&file);
    unit_dir_remove(&dir);
    return 0;
}

/* Parts of all lengths from 0 on, behind one another. */
static size_t make_parts(struct iovec *parts, int count, uint8_t *data, size_t offset)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        parts[i].iov_base = data + bytes;
        parts[i].iov_len = (size_t)(i % 12);
        bytes += parts[i].iov_len;
    }
    unit_pattern(data, bytes, offset);
    return bytes;
}

static void test_short_transfers(void **state)
{
    (void)state;
    enum { PARTS = 200 };
    struct iovec parts[PARTS];
    static uint8_t data[PARTS * 12], back[PARTS * 12];
    for (size_t most = 1; most < 40; most++) {
        const size_t offset = most * 10000;
        const size_t bytes = make_parts(parts, PARTS, data, offset);
        kernel.bytes = most;
        kernel.interrupt = most % 4 + 2;
        kernel.calls = 0;
        expect_eq(os->pwritev(&file, parts, PARTS, offset), 0);
        expect(kernel.calls >= bytes / most);
        memset(back, 0, sizeof(back));
        expect_eq(os->pread(&file, back, sizeof(back), offset), bytes);
        expect(unit_is_pattern(back, bytes, offset));
        expect_eq(unit_size(&file), offset + bytes);
    }
}

static void test_no_progress(void **state)
{
    (void)state;
    char byte = 1;
    const struct iovec parts[2] = {{&byte, 1}, {&byte, 1}};
    kernel.stuck = true;
    expect_eq(os->pwritev(&file, parts, 1, 0), -EIO);
    expect_eq(os->pwritev(&file, parts, 2, 0), -EIO);
}

/* tmpfs, when interrupted, gives back all that it had allocated: the whole would never be done. */
static void test_allocation_interrupted(void **state)
{
    (void)state;
    struct nv_file_stat stat;
    kernel.space = 1 << 20;
    kernel.interrupt = 3;
    expect_eq(os->allocate(&file, 5, (16 << 20) + 1, true), 0);
    expect_eq(os->stat(&file, &stat), 0);
    expect_eq(stat.bytes, (16 << 20) + 6);
    expect(stat.space_bytes >= stat.bytes);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_short_transfers),
        test(test_no_progress),
        test(test_allocation_interrupted),
    };
    return cmocka_run_group_tests_name("os, short", tests, NULL, NULL);
}
