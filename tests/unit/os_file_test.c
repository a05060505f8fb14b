/* os: transfers, space and mappings, on the real system; full disks, limits, signals. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

static const struct nv_os *const os = &nv_os_posix;
static struct unit_dir dir;

static int setup_disk(void **state)
{
    (void)state;
    unit_dir_disk(&dir);
    return 0;
}

static int setup_memory(void **state)
{
    (void)state;
    unit_dir_medium(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unit_dir_remove(&dir);
    return 0;
}

static void open_new(struct nv_file *file, const char *name)
{
    unit_open(file, unit_path(&dir, name), NV_OPEN_WRITE | NV_OPEN_CREATE);
}

static int write_bytes(struct nv_file *file, const void *data, size_t bytes, uint64_t offset)
{
    const struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    return os->pwritev(file, &part, 1, offset);
}

/* ---- transfers ----------------------------------------------------------------------------- */

static void test_pread(void **state)
{
    (void)state;
    struct nv_file file;
    uint8_t buffer[20000];
    unit_make_file(unit_path(&dir, "a"), 10000);
    unit_open(&file, unit_path(&dir, "a"), 0);
    expect_eq(os->pread(&file, buffer, 300, 4000), 300);
    expect(unit_is_pattern(buffer, 300, 4000));
    expect_eq(os->pread(&file, buffer, sizeof(buffer), 9000), 1000);
    expect(unit_is_pattern(buffer, 1000, 9000));
    expect_eq(os->pread(&file, buffer, 1, 10000), 0);
    expect_eq(os->pread(&file, buffer, 1, (uint64_t)1 << 40), 0);
    expect_eq(os->pread(&file, buffer, 1, UINT64_MAX), -EINVAL);
    expect_eq(os->pread(&file, buffer, 0, 0), 0);
    os->close(&file);
    expect_eq(os->pread(&file, buffer, 1, 0), -EBADF);
}

/* More parts than one system call takes, empty ones among them. */
static void test_pwritev_parts(void **state)
{
    (void)state;
    enum { PARTS = 3 * IOV_MAX + 7 };
    static struct iovec parts[PARTS];
    static uint8_t data[PARTS * 8], back[PARTS * 8 + 1];
    struct nv_file file;
    size_t bytes = 0;
    unit_pattern(data, sizeof(data), 77);
    for (int i = 0; i < PARTS; i++) {
        parts[i].iov_base = data + bytes;
        parts[i].iov_len = i % 5 == 0 || i > PARTS - 3 ? 0 : (size_t)(i % 8 + 1);
        bytes += parts[i].iov_len;
    }
    open_new(&file, "a");
    expect_eq(os->pwritev(&file, parts, PARTS, 77), 0);
    expect_eq(unit_size(&file), 77 + (int64_t)bytes);
    expect_eq(os->pread(&file, back, sizeof(back), 77), bytes);
    expect(unit_is_pattern(back, bytes, 77));
    expect_eq(os->pwritev(&file, parts, 1, 5), 0); /* nothing */
    expect_eq(os->pwritev(&file, parts, 0, 5), 0);
    expect_eq(unit_size(&file), 77 + (int64_t)bytes);
    expect_eq(os->sync_data(&file), 0);
    os->close(&file);
}

static void test_pwritev_errors(void **state)
{
    (void)state;
    struct nv_file file;
    uint8_t byte = 1;
    unit_make_file(unit_path(&dir, "a"), 10);
    unit_open(&file, unit_path(&dir, "a"), 0);
    expect_eq(write_bytes(&file, &byte, 1, 0), -EBADF); /* opened to read */
    os->close(&file);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE);
    expect_eq(write_bytes(&file, &byte, 1, UINT64_MAX), -EFBIG);
    expect_eq(write_bytes(&file, &byte, 1, INT64_MAX), -EFBIG);
    const struct iovec huge[2] = {{&byte, SIZE_MAX}, {&byte, 2}};
    expect_eq(os->pwritev(&file, huge, 2, 0), -EINVAL);
    expect_eq(unit_size(&file), 10);
    os->close(&file);
    expect_eq(os->sync_data(&file), -EBADF);
}

/* The disk fills up in the middle of a write: what went in before the end stays readable. */
static void test_write_full(void **state)
{
    (void)state;
    struct unit_dir small;
    if (!unit_dir_small(&small, MIB)) {
        skip();
        return;
    }
    struct nv_file file;
    static uint8_t data[2 * MIB];
    const struct iovec parts[3] = {{data, 4096}, {data, sizeof(data)}, {data, 10}};
    unit_open(&file, unit_path(&small, "a"), NV_OPEN_WRITE | NV_OPEN_CREATE);
    expect_eq(write_bytes(&file, "x", 1, 0), 0);
    expect_eq(os->pwritev(&file, parts, 3, 1), -ENOSPC);
    expect_eq(os->pread(&file, data, 1, 0), 1);
    expect_eq(data[0], 'x');
    expect_eq(os->truncate(&file, 0), 0);
    expect_eq(write_bytes(&file, data, MIB / 2, 0), 0); /* space came back */
    os->close(&file);
    unit_dir_remove(&small);
}

static void failing_fdatasync(void *argument)
{
    unit_break_call(SYS_fdatasync, EIO);
    expect_eq(os->sync_data(argument), -EIO);
}

static void test_sync_fails(void **state)
{
    (void)state;
    struct nv_file file;
    open_new(&file, "a");
    unit_in_child(failing_fdatasync, &file);
    expect_eq(os->sync_data(&file), 0);
    os->close(&file);
}

/* ---- space --------------------------------------------------------------------------------- */

static void test_truncate(void **state)
{
    (void)state;
    struct nv_file file;
    uint8_t buffer[100];
    unit_make_file(unit_path(&dir, "a"), 1000);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE);
    expect_eq(os->truncate(&file, 500), 0);
    expect_eq(os->truncate(&file, 600), 0);
    expect_eq(os->pread(&file, buffer, 100, 450), 100);
    expect(unit_is_pattern(buffer, 50, 450));
    expect(unit_is_zero(buffer + 50, 50));
    expect_eq(os->truncate(&file, UINT64_MAX), -EFBIG);
    expect_eq(unit_size(&file), 600);
    os->close(&file);
    unit_open(&file, unit_path(&dir, "a"), 0);
    expect_eq(os->truncate(&file, 1), -EINVAL); /* opened to read, as ftruncate(2) */
    os->close(&file);
}

static void test_allocate(void **state)
{
    (void)state;
    struct nv_file file;
    struct nv_file_stat stat;
    static uint8_t buffer[MIB];
    unit_make_file(unit_path(&dir, "a"), 1000);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE);
    expect_eq(os->allocate(&file, 0, MIB, false), 0);
    expect_eq(os->stat(&file, &stat), 0);
    expect_eq(stat.bytes, 1000);
    expect(stat.space_bytes >= MIB);
    expect_eq(os->allocate(&file, 1000, 3 * MIB - 1001, true), 0);
    expect_eq(os->stat(&file, &stat), 0);
    expect_eq(stat.bytes, 3 * MIB - 1);
    expect(stat.space_bytes >= 3 * MIB);
    expect_eq(os->allocate(&file, 0, MIB, true), 0); /* it never gets smaller */
    expect_eq(unit_size(&file), 3 * MIB - 1);
    expect_eq(os->pread(&file, buffer, MIB, 0), MIB);
    expect(unit_is_pattern(buffer, 1000, 0));
    expect(unit_is_zero(buffer + 1000, MIB - 1000));
    expect_eq(os->allocate(&file, 0, 0, true), 0);
    expect_eq(os->allocate(&file, UINT64_MAX, 1, true), -EFBIG);
    expect_eq(os->allocate(&file, 1, INT64_MAX, true), -EFBIG);
    os->close(&file);
}

static void test_write_zeros(void **state)
{
    (void)state;
    struct nv_file file;
    static uint8_t buffer[6 * MIB];
    unit_make_file(unit_path(&dir, "a"), sizeof(buffer));
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE);
    expect_eq(os->write_zeros(&file, 1001, 0), 0);
    expect_eq(os->write_zeros(&file, 1001, 5 * MIB + 7), 0);
    expect_eq(unit_size(&file), sizeof(buffer));
    expect_eq(os->pread(&file, buffer, sizeof(buffer), 0), sizeof(buffer));
    expect(unit_is_pattern(buffer, 1001, 0));
    expect(unit_is_zero(buffer + 1001, 5 * MIB + 7));
    expect(unit_is_pattern(buffer + 1008 + 5 * MIB, MIB - 1008, 1008 + 5 * MIB));
    os->close(&file);
}

static void test_allocate_full(void **state)
{
    (void)state;
    struct unit_dir small;
    if (!unit_dir_small(&small, 4 * MIB)) {
        skip();
        return;
    }
    struct nv_file file;
    struct nv_file_stat before, after;
    unit_make_file(unit_path(&small, "a"), 100000);
    unit_open(&file, unit_path(&small, "a"), NV_OPEN_WRITE);
    expect_eq(os->stat(&file, &before), 0);
    for (int extend = 0; extend < 2; extend++) {
        expect_eq(os->allocate(&file, 0, 8 * MIB, extend), -ENOSPC);
        expect_eq(os->stat(&file, &after), 0);
        expect_eq(after.bytes, before.bytes);
        expect_eq(after.space_bytes, before.space_bytes);
    }
    expect_eq(os->allocate(&file, 0, 3 * MIB, true), 0);
    os->close(&file);
    unit_dir_remove(&small);
}

/* ext4 extends the file as far as it gets before it finds the disk full. */
static void test_allocate_full_ext4(void **state)
{
    (void)state;
    char command[1200];
    snprintf(command, sizeof(command),
             "cd '%s' && mkdir m && truncate -s 24M image && mkfs.ext4 -q -m 0 image && "
             "mount -o loop image m",
             dir.path);
    if (system(command) != 0) {
        print_message("skipped: no ext4 image can be mounted here\n");
        skip();
        return;
    }
    struct unit_dir mounted;
    struct nv_file file;
    struct nv_file_stat before, after;
    snprintf(mounted.path, sizeof(mounted.path), "%.240s/m", dir.path);
    unit_make_file(unit_path(&mounted, "a"), 100000);
    unit_open(&file, unit_path(&mounted, "a"), NV_OPEN_WRITE);
    expect_eq(os->sync_data(&file), 0);
    expect_eq(os->stat(&file, &before), 0);
    expect_eq(os->allocate(&file, before.bytes, 64 * MIB, true), -ENOSPC);
    expect_eq(os->stat(&file, &after), 0);
    expect_eq(after.bytes, before.bytes);
    expect(after.space_bytes < before.space_bytes + 65536); /* a block of its own tree may stay */
    expect_eq(os->allocate(&file, before.bytes, 8 * MIB, true), 0);
    os->close(&file);
    unit_dir_remove(&mounted);
}

static void allocate_without_kernel(void *argument)
{
    struct nv_file *file = argument;
    uint8_t buffer[200];
    unit_break_call(SYS_fallocate, EOPNOTSUPP);
    expect_eq(os->allocate(file, 0, MIB, false), 0); /* a hint that cannot be followed */
    expect_eq(unit_size(file), 5000);
    expect_eq(os->allocate(file, 4000, 9 * MIB, true), 0);
    expect_eq(unit_size(file), 9 * MIB + 4000);
    expect_eq(os->pread(file, buffer, 200, 4900), 200);
    expect(unit_is_pattern(buffer, 100, 4900));
    expect(unit_is_zero(buffer + 100, 100));
    struct nv_file_stat stat;
    expect_eq(os->stat(file, &stat), 0);
    expect(stat.space_bytes >= 9 * MIB); /* written, not a hole */

    /* A hole among what others may be writing cannot be filled. */
    expect_eq(os->truncate(file, 20 * MIB), 0);
    expect_eq(os->allocate(file, 15 * MIB, MIB, true), -EOPNOTSUPP);
    expect_eq(os->allocate(file, 0, MIB, true), 0);
}

static void test_allocate_fallback(void **state)
{
    (void)state;
    struct nv_file file;
    unit_make_file(unit_path(&dir, "a"), 5000);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE);
    unit_in_child(allocate_without_kernel, &file);
    os->close(&file);
}

static void allocate_without_kernel_full(void *argument)
{
    unit_break_call(SYS_fallocate, EOPNOTSUPP);
    expect_eq(os->allocate(argument, 0, 8 * MIB, true), -ENOSPC);
    expect_eq(unit_size(argument), 5000);
    expect_eq(os->allocate(argument, 0, 3 * MIB, true), 0);
}

static void test_allocate_fallback_full(void **state)
{
    (void)state;
    struct unit_dir small;
    if (!unit_dir_small(&small, 4 * MIB)) {
        skip();
        return;
    }
    struct nv_file file;
    unit_make_file(unit_path(&small, "a"), 5000);
    unit_open(&file, unit_path(&small, "a"), NV_OPEN_WRITE);
    unit_in_child(allocate_without_kernel_full, &file);
    os->close(&file);
    unit_dir_remove(&small);
}

static void on_alarm(int signal)
{
    (void)signal;
}

/* tmpfs gives up a whole allocation when a signal comes, and has to get there nevertheless. */
static void test_allocate_interrupted(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_alarm}, before;
    const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    struct nv_file file;
    open_new(&file, "a");
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    const int status = os->allocate(&file, 0, 128 * MIB, true);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    expect_eq(status, 0);
    expect_eq(unit_size(&file), 128 * MIB);
    os->close(&file);
}

/* ---- RLIMIT_FSIZE -------------------------------------------------------------------------- */

static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;
    expect_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    expect_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* SIGXFSZ stays at its default, by which it kills. */
static void write_over_limit(void *argument)
{
    const char *path = argument;
    struct nv_file file;
    uint8_t block[4096] = {0};
    signal(SIGXFSZ, SIG_DFL);
    set_file_limit(MIB);
    unit_open(&file, path, NV_OPEN_WRITE);
    expect_eq(write_bytes(&file, block, sizeof(block), MIB - 4096), 0);
    expect_eq(write_bytes(&file, block, sizeof(block), MIB - 4095), -EFBIG);
    expect_eq(write_bytes(&file, block, 1, 2 * MIB - 1), -EFBIG); /* inside the file, too */
    expect_eq(unit_size(&file), 2 * MIB);
    expect_eq(os->allocate(&file, 0, 3 * MIB, true), -EFBIG);
    expect_eq(os->allocate(&file, 0, 3 * MIB, false), -EFBIG);
    expect_eq(os->truncate(&file, 3 * MIB), -EFBIG);
    expect_eq(os->truncate(&file, 2 * MIB - 1), 0);
    expect_eq(unit_size(&file), 2 * MIB - 1);
    /* Raised again, the limit is noticed at once; lowered, at the next growth. */
    set_file_limit(8 * MIB);
    expect_eq(write_bytes(&file, block, sizeof(block), 4 * MIB), 0);
    expect_eq(os->allocate(&file, 0, 5 * MIB, true), 0);
    set_file_limit(MIB);
    expect_eq(os->truncate(&file, 4 * MIB), 0);
    expect_eq(write_bytes(&file, block, sizeof(block), 2 * MIB), -EFBIG);
    set_file_limit(RLIM_INFINITY);
    expect_eq(write_bytes(&file, block, sizeof(block), 2 * MIB), 0);
}

/* Lowered behind our back: the signal is the program's own choice then; ignored, it is an error. */
static void write_over_lowered_limit(void *argument)
{
    struct nv_file file;
    uint8_t block[4096] = {0};
    signal(SIGXFSZ, SIG_IGN);
    unit_open(&file, argument, NV_OPEN_WRITE);
    set_file_limit(MIB);
    expect_eq(write_bytes(&file, block, sizeof(block), MIB), -EFBIG);
    set_file_limit(RLIM_INFINITY);
}

static void test_file_limit(void **state)
{
    (void)state;
    const char *path = unit_path(&dir, "a");
    unit_make_file(path, 2 * MIB);
    unit_in_child(write_over_limit, (void *)(uintptr_t)path);
    unit_in_child(write_over_lowered_limit, (void *)(uintptr_t)path);
}

/* ---- mappings ------------------------------------------------------------------------------ */

static void test_map(void **state)
{
    (void)state;
    struct nv_file file;
    void *address;
    uint8_t buffer[10];
    unit_make_file(unit_path(&dir, "a"), 8192);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE);
    expect_eq(os->map(&file, 0, true, false, &address), -EINVAL);
    expect_eq(os->map(&file, 1 << 30, true, false, &address), 0); /* past the end of the file */
    uint8_t *base = address;
    expect(unit_is_pattern(base, 8192, 0));
    base[5000] = 99;
    expect_eq(os->pread(&file, buffer, 1, 5000), 1);
    expect_eq(buffer[0], 99);
    expect_eq(os->allocate(&file, 8192, 4096, true), 0);
    expect_eq(write_bytes(&file, "grown", 5, 9000), 0);
    expect(memcmp(base + 9000, "grown", 5) == 0); /* the same mapping shows what was added */
    expect_eq(os->unmap(&file, address, 1 << 30), 0);

    /* Neither a disk nor memory is persistent memory. */
    const int status = os->map(&file, 4096, true, true, &address);
    if (status) /* but this may run on a DAX mount */
        expect_eq(status, -EOPNOTSUPP);
    else
        os->unmap(&file, address, 4096);
    os->close(&file);

    unit_open(&file, unit_path(&dir, "a"), 0);
    expect_eq(os->map(&file, 4096, true, false, &address), -EACCES);
    expect_eq(os->map(&file, 4096, false, false, &address), 0);
    os->unmap(&file, address, 4096);
    os->close(&file);
}

/* That there is nothing at an address is asked of the kernel: a touch would kill. */
static void look_for_mapping(void *address)
{
    unsigned char resident;
    expect(mincore(address, 4096, &resident) < 0 && errno == ENOMEM);
}

static void test_map_not_inherited(void **state)
{
    (void)state;
    struct nv_file file;
    void *address;
    unsigned char resident;
    unit_make_file(unit_path(&dir, "a"), 4096);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE);
    expect_eq(os->map(&file, 4096, true, false, &address), 0);
    expect_eq(mincore(address, 4096, &resident), 0);
    unit_in_child(look_for_mapping, address);
    os->unmap(&file, address, 4096);
    os->close(&file);
}

static void map_over_limit(void *file)
{
    const struct rlimit limit = {.rlim_cur = (rlim_t)256 << 20, .rlim_max = (rlim_t)256 << 20};
    void *address;
    expect_eq(setrlimit(RLIMIT_AS, &limit), 0);
    expect_eq(os->map(file, 1 << 30, true, false, &address), -ENOMEM);
    expect_eq(os->map(file, 1 << 20, true, false, &address), 0);
}

static void test_map_limit(void **state)
{
    (void)state;
    struct nv_file file;
    if (UNIT_SANITIZED) {
        skip();
        return;
    }
    open_new(&file, "a");
    unit_in_child(map_over_limit, &file);
    os->close(&file);
}

#define on_disk(name) cmocka_unit_test_setup_teardown(name, setup_disk, teardown)
#define on_memory(name)                                                                            \
    {                                                                                              \
#name " on memory", name, setup_memory, teardown, NULL                                     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_disk(test_pread),
        on_memory(test_pread),
        on_disk(test_pwritev_parts),
        on_memory(test_pwritev_parts),
        on_disk(test_pwritev_errors),
        on_disk(test_write_full),
        on_disk(test_sync_fails),
        on_disk(test_truncate),
        on_memory(test_truncate),
        on_disk(test_allocate),
        on_disk(test_write_zeros),
        on_memory(test_allocate),
        on_disk(test_allocate_full),
        on_disk(test_allocate_full_ext4),
        on_disk(test_allocate_fallback),
        on_memory(test_allocate_fallback),
        on_disk(test_allocate_fallback_full),
        on_memory(test_allocate_interrupted),
        on_disk(test_file_limit),
        on_memory(test_file_limit),
        on_disk(test_map),
        on_memory(test_map),
        on_memory(test_map_not_inherited),
        on_memory(test_map_limit),
    };
    unit_begin();
    return cmocka_run_group_tests_name("os, files", tests, NULL, NULL);
}
