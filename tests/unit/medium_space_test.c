/*
 * medium: no space on the disk or in the address space, holes, errors from
 * below, and that none of them is a signal.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/medium.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

static const struct nv_medium_ops *ops;
static struct unit_dir dir;
static struct nv_file file;
static struct nv_medium medium;
static struct nv_os os;
static bool mounted; /* a tmpfs of 4 MiB; else the tests that need it are skipped */

static int setup(void **state)
{
    ops = *state;
    os = nv_os_posix;
    mounted = unit_dir_small(&dir, 4 * MIB);
    if (!mounted)
        unit_dir_medium(&dir);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE | NV_OPEN_CREATE);
    file.os = &os;
    medium.ops = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nv_medium_close(&medium);
    nv_os_posix.close(&file);
    unit_dir_remove(&dir);
    return 0;
}

/* Not allocated: some tests leave no address space. */
static uint8_t pattern[8 * MIB];

static void expect_pattern(uint64_t offset, size_t bytes)
{
    expect(bytes <= sizeof pattern);
    expect_eq(nv_medium_load(&medium, offset, pattern, bytes), 0);
    expect(unit_is_pattern(pattern, bytes, offset));
}

static int store_pattern(uint64_t offset, size_t bytes)
{
    expect(bytes <= sizeof pattern);
    unit_pattern(pattern, bytes, offset);
    return nv_medium_store(&medium, offset, pattern, bytes);
}

/* ---- full ---------------------------------------------------------------------------------- */

static void test_full(void **state)
{
    (void)state;
    if (!mounted) {
        skip();
        return;
    }
    expect_eq(nv_medium_open(&medium, ops, &file, true, 2 * MIB), 0);
    expect_eq(nv_medium_reserve(&medium, MIB), 0);
    expect_eq(unit_size(&file), 2 * MIB);
    expect_eq(store_pattern(0, 2 * MIB), 0);
    expect_eq(nv_medium_reserve(&medium, 5 * MIB), -ENOSPC);
    expect_eq(unit_size(&file), 2 * MIB);
    expect_eq(medium.file_bytes, 2 * MIB);
    expect_pattern(0, 2 * MIB);
    unit_make_file(unit_path(&dir, "other"), MIB);
    /* No two MiB are left, but what is asked for. */
    expect_eq(nv_medium_reserve(&medium, 2 * MIB + 5000), 0);
    expect_eq(unit_size(&file), 2 * MIB + 8192);
    expect_eq(store_pattern(2 * MIB, 8192), 0);
    unit_fill_disk(unit_path(&dir, "rest"));
    expect_eq(nv_medium_reserve(&medium, 2 * MIB + 8193), -ENOSPC);
    expect_eq(nv_medium_reserve(&medium, 2 * MIB + 8192), 0);
    expect_eq(store_pattern(0, 2 * MIB + 8192), 0); /* needs no more space */
    expect_eq(unlink(unit_path(&dir, "rest")), 0);
    expect_eq(nv_medium_reserve(&medium, 2 * MIB + 8193), 0);
    expect_pattern(0, 2 * MIB + 8192);
}

/*
 * A sparse file on a full disk.  A load from a hole of tmpfs needs a page, as a store does: either
 * would be a SIGBUS.
 */
static void test_holes(void **state)
{
    (void)state;
    if (!mounted) {
        skip();
        return;
    }
    uint8_t data[4096];
    unit_make_file(unit_path(&dir, "a"), 8192);
    expect_eq(nv_os_posix.truncate(&file, MIB), 0);
    unit_fill_disk(unit_path(&dir, "rest"));
    expect_eq(nv_medium_open(&medium, ops, &file, true, 64 * KIB), 0);
    expect(nv_medium_view(&medium, 0, 1) == NULL);
    expect_pattern(0, 8192);
    expect_eq(nv_medium_load(&medium, 512 * KIB, data, sizeof(data)), 0);
    expect(unit_is_zero(data, sizeof(data)));
    if (ops->mapped) {
        expect_eq(nv_medium_reserve(&medium, 1), -ENOSPC);
        expect_eq(nv_medium_reserve(&medium, MIB), -ENOSPC);
        expect_eq(store_pattern(512 * KIB, 4096), -EINVAL);
    } else {
        expect_eq(store_pattern(512 * KIB, 4096), -ENOSPC);
    }
    expect_eq(unit_size(&file), MIB);
    expect_eq(unlink(unit_path(&dir, "rest")), 0);
    expect_eq(nv_medium_reserve(&medium, MIB), 0);
    if (ops->mapped)
        unit_fill_disk(unit_path(&dir, "rest"));
    for (uint64_t at = 8192; at < MIB; at += 4096) /* space for all of it is there now */
        expect_eq(store_pattern(at, 4096), 0);
    expect_pattern(0, MIB);
}

static void test_holes_read_only(void **state)
{
    (void)state;
    if (!mounted) {
        skip();
        return;
    }
    uint8_t data[4096];
    struct nv_file reader;
    unit_make_file(unit_path(&dir, "a"), 8192);
    expect_eq(nv_os_posix.truncate(&file, MIB), 0);
    unit_open(&reader, unit_path(&dir, "a"), 0);
    unit_fill_disk(unit_path(&dir, "rest"));
    expect_eq(nv_medium_open(&medium, ops, &reader, false, 64 * KIB), 0);
    expect_eq(nv_medium_reserve(&medium, MIB), ops->mapped ? -EOPNOTSUPP : 0);
    expect(nv_medium_view(&medium, 0, 1) == NULL);
    expect_pattern(0, 8192);
    expect_eq(nv_medium_load(&medium, 512 * KIB, data, sizeof(data)), 0);
    expect(unit_is_zero(data, sizeof(data)));
    nv_medium_close(&medium);
    nv_os_posix.close(&reader);
}

/* ---- bounded ------------------------------------------------------------------------------- */

static uint64_t address_space_bytes(void)
{
    unsigned long pages = 0;
    char text[64] = "";
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    expect(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    pages = strtoul(text, NULL, 10);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A stack that cannot grow any more ends the process. */
static void grow_stack(void)
{
    volatile uint8_t stack[512 * KIB];
    for (size_t at = 0; at < sizeof stack; at += KIB)
        stack[at] = 0;
}

static void grow_in_little_space(void *unused)
{
    (void)unused;
    struct rlimit limit;
    grow_stack();
    expect_eq(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = address_space_bytes() + 40 * MIB;
    expect_eq(setrlimit(RLIMIT_AS, &limit), 0);
    expect_eq(nv_medium_open(&medium, ops, &file, true, 64 * KIB), 0);
    expect_eq(nv_medium_reserve(&medium, MIB), 0);
    expect_eq(store_pattern(0, MIB), 0);
    if (ops->mapped) {
        const struct nv_map *map = medium.map;
        expect_eq(map->bytes, 32 * MIB); /* 1 GiB, halved until there was room */
    }
    /* The exact need, where the next multiple of 2 MiB is too much. */
    expect_eq(ops->shrink(&medium, 3 * MIB - 8192), 0);
    nv_medium_close(&medium);
    limit.rlim_cur = address_space_bytes() + 3 * MIB + 128 * KIB;
    expect_eq(setrlimit(RLIMIT_AS, &limit), 0);
    expect_eq(nv_medium_open(&medium, ops, &file, true, 0), 0);
    expect_eq(nv_medium_store(&medium, 3 * MIB - 8193, "x", 1), 0);
    expect_eq(nv_medium_reserve(&medium, 3 * MIB + 128 * KIB), ops->mapped ? -ENOMEM : 0);
    expect_pattern(0, MIB - 1);
}

static void test_address_space(void **state)
{
    (void)state;
    if (UNIT_SANITIZED) {
        skip();
        return;
    }
    unit_in_child(grow_in_little_space, NULL);
}

static int no_map(struct nv_file *of, size_t bytes, bool writable, bool sync, void **address)
{
    (void)of;
    (void)bytes;
    (void)writable;
    (void)sync;
    (void)address;
    return -ENOMEM;
}

static void test_no_address_space(void **state)
{
    (void)state;
    if (ops->mapped) {
        os.map = no_map;
        expect_eq(nv_medium_open(&medium, ops, &file, true, 0), -ENOMEM);
        expect(medium.ops == NULL);
        nv_medium_close(&medium); /* harmless */
        os.map = nv_os_posix.map;
    }
    expect_eq(nv_medium_open(&medium, ops, &file, true, 0), 0);
    expect_eq(nv_medium_reserve(&medium, 4096), 0);
}

/* The maps of a medium are too small, and there can't be another one: it stays what it was. */
static int only_small_maps(struct nv_file *of, size_t bytes, bool writable, bool sync,
                           void **address)
{
    return bytes > 64 * KIB ? -ENOMEM : nv_os_posix.map(of, bytes, writable, sync, address);
}

static void test_growth_past_address_space(void **state)
{
    (void)state;
    os.map = only_small_maps;
    expect_eq(nv_medium_open(&medium, ops, &file, true, 0), 0);
    expect_eq(nv_medium_reserve(&medium, 64 * KIB), 0);
    expect_eq(store_pattern(0, 64 * KIB), 0);
    expect_eq(nv_medium_reserve(&medium, 65 * KIB), ops->mapped ? -ENOMEM : 0);
    expect_pattern(0, 64 * KIB);
    expect_eq(store_pattern(0, 64 * KIB), 0);
    os.map = nv_os_posix.map;
    expect_eq(nv_medium_reserve(&medium, 65 * KIB), 0);
    expect_eq(store_pattern(64 * KIB, KIB), 0);
    expect_pattern(0, 65 * KIB);
}

static void grow_over_file_limit(void *unused)
{
    (void)unused;
    struct rlimit limit;
    signal(SIGXFSZ, SIG_DFL);
    expect_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = MIB;
    expect_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_eq(nv_medium_open(&medium, ops, &file, true, 256 * KIB), 0);
    expect_eq(nv_medium_reserve(&medium, 800 * KIB), 0);
    expect_eq(nv_medium_reserve(&medium, MIB), 0);
    expect_eq(nv_medium_reserve(&medium, MIB + 1), -EFBIG);
    expect_eq(store_pattern(0, MIB), 0);
    expect_eq(nv_medium_fence(&medium), 0);
    expect_eq(unit_size(&file), MIB);
    /* A limit that is no multiple of a step, and one that is passed already. */
    expect_eq(ops->shrink(&medium, 0), 0);
    limit.rlim_cur = MIB - 100 * KIB;
    expect_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_eq(nv_medium_reserve(&medium, 800 * KIB), 0);
    expect_eq(unit_size(&file), 800 * KIB);
    expect_eq(nv_medium_reserve(&medium, 925 * KIB), -EFBIG);
}

static void test_file_limit(void **state)
{
    (void)state;
    unit_in_child(grow_over_file_limit, NULL);
}

/* ---- errors from below --------------------------------------------------------------------- */

static int bad_stat(struct nv_file *of, struct nv_file_stat *stat)
{
    (void)of;
    (void)stat;
    return -EIO;
}

static int bad_allocate(struct nv_file *of, uint64_t offset, uint64_t bytes, bool extend)
{
    (void)of;
    (void)offset;
    (void)bytes;
    (void)extend;
    return -EIO;
}

static ssize_t bad_pread(struct nv_file *of, void *buffer, size_t bytes, uint64_t offset)
{
    (void)of;
    (void)buffer;
    (void)bytes;
    (void)offset;
    return -EIO;
}

static int bad_pwritev(struct nv_file *of, const struct iovec *parts, int count, uint64_t offset)
{
    (void)of;
    (void)parts;
    (void)count;
    (void)offset;
    return -EIO;
}

static int bad_sync(struct nv_file *of)
{
    (void)of;
    return -EIO;
}

static int bad_truncate(struct nv_file *of, uint64_t bytes)
{
    (void)of;
    (void)bytes;
    return -EIO;
}

static void test_errors(void **state)
{
    (void)state;
    uint8_t byte = 1;
    os.stat = bad_stat;
    expect_eq(nv_medium_open(&medium, ops, &file, true, 0), -EIO);
    os.stat = nv_os_posix.stat;
    expect_eq(nv_medium_open(&medium, ops, &file, true, 0), 0);
    os.stat = bad_stat;
    expect_eq(nv_medium_reserve(&medium, 1), -EIO);
    os.stat = nv_os_posix.stat;
    os.allocate = bad_allocate;
    expect_eq(nv_medium_reserve(&medium, 1), -EIO);
    os.allocate = nv_os_posix.allocate;
    expect_eq(nv_medium_reserve(&medium, 4096), 0);
    os.truncate = bad_truncate;
    expect_eq(ops->shrink(&medium, 1), -EIO);
    expect_eq(medium.file_bytes, 4096);
    os.pread = bad_pread;
    expect_eq(nv_medium_load(&medium, 4095, &byte, 1), ops->mapped ? 0 : -EIO);
    expect_eq(nv_medium_load(&medium, 4096, &byte, 1), -EIO);
    os.pwritev = bad_pwritev;
    expect_eq(nv_medium_store(&medium, 0, &byte, 1), ops->mapped ? 0 : -EIO);
    os.sync_data = bad_sync; /* `page` alone depends on it */
    expect_eq(nv_medium_fence(&medium), ops == &nv_medium_page ? -EIO : 0);
}

/* Persistent memory is not made of a disk by demanding it. */
static void test_dax_on_disk(void **state)
{
    (void)state;
    struct unit_dir disk;
    struct nv_file on_disk;
    void *address;
    unit_dir_disk(&disk);
    unit_open(&on_disk, unit_path(&disk, "a"), NV_OPEN_WRITE | NV_OPEN_CREATE);
    char name[64];
    const bool is_dax = nv_os_posix.map(&on_disk, 4096, true, true, &address) == 0;
    if (is_dax)
        nv_os_posix.unmap(&on_disk, address, 4096);
    if (!is_dax && nv_os_posix.fs_kind(&on_disk, name, sizeof(name)) != NV_FS_MEMORY) {
        expect_eq(nv_medium_open(&medium, &nv_medium_dax, &on_disk, true, 0), -EOPNOTSUPP);
        expect(medium.ops == NULL);
    }
    nv_os_posix.close(&on_disk);
    unit_dir_remove(&disk);
}

#define on(name, which)                                                                            \
    {                                                                                              \
#name " " #which, name, setup, teardown, (void *)(uintptr_t)&nv_medium_##which             \
    }
#define each(name) on(name, dax), on(name, ram), on(name, page), on(name, ram_unmapped)

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(test_full),
        each(test_holes),
        each(test_holes_read_only),
        each(test_address_space),
        each(test_no_address_space),
        each(test_growth_past_address_space),
        each(test_file_limit),
        each(test_errors),
        on(test_dax_on_disk, dax),
    };
    unit_begin();
    return cmocka_run_group_tests_name("medium, space", tests, NULL, NULL);
}
