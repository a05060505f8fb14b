/*
 * medium: what every real medium promises, on each of them; growth, several
 * processes, threads.  Full disks and bounded mappings: medium_space_test.c.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/medium.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

/* The medium under test; the others of this file follow it. */
static const struct nv_medium_ops *ops;
static struct unit_dir dir;
static struct nv_file file;
static struct nv_medium medium;
static struct nv_os os;  /* the real system; tests put in calls of their own */
static unsigned growths; /* of the file, by this process */

static int counting_allocate(struct nv_file *to, uint64_t offset, uint64_t bytes, bool extend)
{
    growths += (int64_t)(offset + bytes) > unit_size(to);
    return nv_os_posix.allocate(to, offset, bytes, extend);
}

/* A map no larger than 4 MiB, as under RLIMIT_AS. */
static int small_map(struct nv_file *of, size_t bytes, bool writable, bool sync, void **address)
{
    return bytes > 4 * MIB ? -ENOMEM : nv_os_posix.map(of, bytes, writable, sync, address);
}

static int setup(void **state)
{
    ops = *state;
    os = nv_os_posix;
    os.allocate = counting_allocate;
    growths = 0;
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

static void open_medium(uint64_t step_bytes)
{
    expect_eq(nv_medium_open(&medium, ops, &file, true, step_bytes), 0);
}

static int store_pattern(struct nv_medium *to, uint64_t offset, size_t bytes)
{
    uint8_t *data = malloc(bytes + 1);
    unit_pattern(data, bytes, offset);
    const int status = nv_medium_store(to, offset, data, bytes);
    free(data);
    return status;
}

static void expect_pattern(struct nv_medium *from, uint64_t offset, size_t bytes)
{
    uint8_t *data = malloc(bytes + 1);
    expect_eq(nv_medium_load(from, offset, data, bytes), 0);
    expect(unit_is_pattern(data, bytes, offset));
    free(data);
    const uint8_t *view = nv_medium_view(from, offset, bytes);
    expect(!ops->mapped == !view);
    if (view)
        expect(unit_is_pattern(view, bytes, offset));
}

static void expect_zeros(uint64_t offset, size_t bytes)
{
    uint8_t *data = malloc(bytes);
    memset(data, 7, bytes);
    expect_eq(nv_medium_load(&medium, offset, data, bytes), 0);
    expect(unit_is_zero(data, bytes));
    free(data);
}

/* ---- what all of them promise --------------------------------------------------------------- */

static void test_empty(void **state)
{
    (void)state;
    open_medium(0);
    expect_eq(medium.file_bytes, 0);
    expect(nv_medium_view(&medium, 0, 1) == NULL);
    expect_zeros(0, 5000);
    expect_zeros(1ull << 40, 100);
    expect_eq(nv_medium_reserve(&medium, 0), 0);
    expect_eq(unit_size(&file), 0);
    expect_eq(nv_medium_fence(&medium), 0);
    ops->release(&medium);
}

/* All lengths and alignments around a line: head, whole lines and tail take different ways. */
static void test_store_load(void **state)
{
    (void)state;
    static uint8_t data[1200], back[1300];
    open_medium(0);
    expect_eq(nv_medium_reserve(&medium, 64 * KIB), 0);
    expect_zeros(0, 64 * KIB);
    for (size_t at = 0; at < 67; at++) {
        for (size_t bytes = 0; bytes < 1200; bytes += bytes < 140 ? 1 : 53) {
            const uint64_t offset = 4096 + at;
            const uint8_t ring[1300] = {0};
            expect_eq(nv_medium_store(&medium, 4096, ring, sizeof(ring)), 0);
            unit_pattern(data, bytes, at * 3 + bytes);
            expect_eq(nv_medium_store(&medium, offset, data, bytes), 0);
            expect_eq(nv_medium_fence(&medium), 0);
            expect_eq(nv_medium_load(&medium, 4096, back, sizeof(back)), 0);
            expect(unit_is_zero(back, at));
            expect(memcmp(back + at, data, bytes) == 0);
            expect(unit_is_zero(back + at + bytes, sizeof(back) - at - bytes));
        }
    }
}

static void test_storev(void **state)
{
    (void)state;
    static uint8_t data[20000];
    struct iovec parts[64];
    open_medium(0);
    expect_eq(nv_medium_reserve(&medium, 64 * KIB), 0);
    for (uint64_t offset = 0; offset < 300; offset += 37) {
        size_t bytes = 0;
        for (int i = 0; i < 64; i++) {
            parts[i].iov_base = data + bytes;
            parts[i].iov_len = (size_t)(i * i * 7 % 500) & (i % 3 ? ~(size_t)0 : ~(size_t)63);
            bytes += parts[i].iov_len;
        }
        unit_pattern(data, bytes, offset);
        expect_eq(ops->storev(&medium, offset, parts, 64), 0);
        expect_eq(nv_medium_fence(&medium), 0);
        expect_pattern(&medium, offset, bytes);
        expect_zeros(offset + bytes, 1000);
    }
    expect_eq(ops->storev(&medium, 0, parts, 0), 0);
    const struct iovec lines[2] = {{data, 64}, {data + 64, 192}}; /* whole lines, as a log's */
    unit_pattern(data, 256, 4096);
    expect_eq(ops->storev(&medium, 4096, lines, 2), 0);
    expect_pattern(&medium, 4096, 256);
}

/* A bigger store than is reserved changes nothing where it could fault. */
static void test_store_unreserved(void **state)
{
    (void)state;
    open_medium(0);
    expect_eq(nv_medium_reserve(&medium, 4096), 0);
    if (!ops->mapped)
        return;
    static uint8_t data[8192];
    const struct iovec parts[2] = {{data, 4096}, {data, 1}};
    const struct iovec huge[2] = {{data, SIZE_MAX}, {data, 2}};
    memset(data, 1, sizeof(data));
    expect_eq(nv_medium_store(&medium, 0, data, 4097), -EINVAL);
    expect_eq(nv_medium_store(&medium, 4096, data, 1), -EINVAL);
    expect_eq(nv_medium_store(&medium, UINT64_MAX, data, 2), -EINVAL);
    expect_eq(ops->storev(&medium, 0, parts, 2), -EINVAL);
    expect_eq(ops->storev(&medium, 0, huge, 2), -EINVAL);
    expect_zeros(0, 4096);
    expect(nv_medium_view(&medium, 0, 4096) != NULL);
    expect(nv_medium_view(&medium, 1, 4096) == NULL);
    expect(nv_medium_view(&medium, UINT64_MAX, 2) == NULL);
    expect(nv_medium_view(&medium, 4097, 0) == NULL);
}

static void test_steps(void **state)
{
    (void)state;
    open_medium(256 * KIB);
    expect_eq(nv_medium_reserve(&medium, 1), 0);
    expect_eq(unit_size(&file), 256 * KIB);
    expect_eq(medium.file_bytes, 256 * KIB);
    expect_eq(growths, 1);
    expect_eq(nv_medium_reserve(&medium, 256 * KIB), 0);
    expect_eq(growths, 1); /* nothing to do */
    expect_eq(nv_medium_reserve(&medium, 256 * KIB + 1), 0);
    expect_eq(unit_size(&file), 512 * KIB);
    /* In large files by an eighth. */
    expect_eq(nv_medium_reserve(&medium, 16 * MIB), 0);
    expect_eq(nv_medium_reserve(&medium, 16 * MIB + 1), 0);
    expect_eq(unit_size(&file), 18 * MIB);
    /* By no more than 64 MiB. */
    expect_eq(nv_os_posix.truncate(&file, 2048 * MIB), 0);
    nv_medium_close(&medium);
    ops = &nv_medium_page; /* the only one that leaves the hole alone */
    open_medium(256 * KIB);
    expect_eq(nv_medium_reserve(&medium, 2048 * MIB + 1), 0);
    expect_eq(unit_size(&file), 2112 * MIB);
    expect_eq(nv_medium_reserve(&medium, UINT64_MAX), -EFBIG);
    expect_eq(nv_medium_reserve(&medium, INT64_MAX), -EFBIG);
    expect_eq(unit_size(&file), 2112 * MIB);
}

static void test_exact(void **state)
{
    (void)state;
    open_medium(0);
    expect_eq(nv_medium_reserve(&medium, 1001), 0);
    expect_eq(unit_size(&file), 1001);
    expect_eq(store_pattern(&medium, 0, 1001), 0);
    expect_eq(nv_medium_reserve(&medium, 100000), 0);
    expect_eq(unit_size(&file), 100000);
    expect_pattern(&medium, 0, 1001);
    expect_zeros(1001, 100000 - 1001);
}

static void test_shrink(void **state)
{
    (void)state;
    open_medium(64 * KIB);
    expect_eq(nv_medium_reserve(&medium, 100 * KIB), 0);
    expect_eq(store_pattern(&medium, 0, 100 * KIB), 0);
    expect_eq(ops->shrink(&medium, 5001), 0);
    expect_eq(unit_size(&file), 5001);
    expect_eq(medium.file_bytes, 5001);
    expect_pattern(&medium, 0, 5001);
    expect(nv_medium_view(&medium, 5000, 2) == NULL);
    expect_zeros(5001, 10000); /* though the mapping goes on, nothing faults */
    if (ops->mapped)
        expect_eq(store_pattern(&medium, 5001, 1), -EINVAL);
    expect_eq(nv_medium_reserve(&medium, 100 * KIB), 0);
    expect_zeros(5001, 95 * KIB); /* what was cut is not back */
    /* The size is what is asked for, also when that is more. */
    expect_eq(ops->shrink(&medium, 200001), 0);
    expect_eq(unit_size(&file), 200001);
    expect_pattern(&medium, 0, 5001);
    expect_zeros(5001, 195000);
    expect_eq(ops->shrink(&medium, 0), 0);
    expect_eq(unit_size(&file), 0);
    expect_zeros(0, 5001);
}

/* What was there before is found, and the kernel's reads and writes and ours see each other. */
static void test_existing(void **state)
{
    (void)state;
    uint8_t buffer[3000];
    unit_make_file(unit_path(&dir, "a"), 10001);
    open_medium(64 * KIB);
    expect_eq(medium.file_bytes, 10001);
    expect_pattern(&medium, 0, 10001);
    expect_zeros(10001, 64 * KIB);
    expect_eq(store_pattern(&medium, 5000, 3000), 0); /* within what is there: needs no reserve */
    expect_eq(unit_size(&file), 10001);
    expect_eq(nv_os_posix.pread(&file, buffer, 3000, 5000), 3000);
    expect(unit_is_pattern(buffer, 3000, 5000));
    expect_eq(growths, 0);
}

static void test_read_only(void **state)
{
    (void)state;
    struct nv_file reader;
    uint8_t byte = 0;
    const struct iovec part = {&byte, 1};
    unit_make_file(unit_path(&dir, "a"), 10001);
    unit_open(&reader, unit_path(&dir, "a"), 0);
    reader.os = &os;
    expect_eq(nv_medium_open(&medium, ops, &reader, false, 64 * KIB), 0);
    expect_pattern(&medium, 0, 10001);
    expect_eq(nv_medium_store(&medium, 0, &byte, 1), -EINVAL);
    expect_eq(ops->storev(&medium, 0, &part, 1), -EINVAL);
    expect_eq(nv_medium_reserve(&medium, 10001), 0);
    expect_eq(nv_medium_reserve(&medium, 10002), -EINVAL);
    expect(ops->shrink(&medium, 1) < 0);
    expect_eq(unit_size(&reader), 10001);
    /* Somebody else makes it longer. */
    expect_eq(nv_os_posix.allocate(&file, 10001, 10000, true), 0);
    expect_eq(nv_medium_reserve(&medium, 20001), 0);
    expect_zeros(10001, 10000);
    expect(!ops->mapped == !nv_medium_view(&medium, 20000, 1));
    expect_eq(growths, 0);
    nv_medium_close(&medium);
    nv_os_posix.close(&reader);
}

/* ---- more than one map, more than one process, more than one thread ------------------------- */

static void test_older_maps(void **state)
{
    (void)state;
    os.map = small_map;
    open_medium(64 * KIB);
    expect_eq(nv_medium_reserve(&medium, 64 * KIB), 0);
    expect_eq(store_pattern(&medium, 0, 64 * KIB), 0);
    const uint8_t *old = nv_medium_view(&medium, 0, 64 * KIB);
    if (!ops->mapped)
        return;
    const struct nv_map *first = medium.map;
    expect_eq(first->bytes, 4 * MIB); /* halved from 1 GiB until it was had */
    os.map = nv_os_posix.map;
    expect_eq(nv_medium_reserve(&medium, 5 * MIB), 0);
    const struct nv_map *second = medium.map;
    expect(second != first && second->older == first);
    expect_eq(second->bytes, 1024 * MIB);
    expect(nv_medium_view(&medium, 0, 1) != old);
    expect(unit_is_pattern(old, 64 * KIB, 0));
    uint8_t byte = 200;
    expect_eq(nv_medium_store(&medium, 777, &byte, 1), 0);
    expect_eq(old[777], 200); /* the same bytes, not a copy */
    expect_eq(nv_medium_reserve(&medium, 6 * MIB), 0);
    expect(medium.map == second); /* it reaches far */
}

struct pipes {
    int to_child[2], to_parent[2];
};

static void turn(const int *mine, const int *theirs)
{
    char byte = 'x';
    expect_eq(write(theirs[1], &byte, 1), 1);
    expect_eq(read(mine[0], &byte, 1), 1);
}

/* The child has the file open by a descriptor, a medium and a counter of its own. */
static void grow_in_child(void *argument)
{
    const struct pipes *pipes = argument;
    char byte;
    struct nv_file own;
    struct nv_medium mine;
    unit_open(&own, unit_path(&dir, "a"), NV_OPEN_WRITE);
    own.os = &os;
    growths = 0;
    expect_eq(nv_medium_open(&mine, ops, &own, true, 64 * KIB), 0);
    expect_eq(read(pipes->to_child[0], &byte, 1), 1);
    expect_eq(nv_medium_reserve(&mine, 128 * KIB), 0);
    expect_eq(growths, 1);
    expect_eq(store_pattern(&mine, 64 * KIB, 64 * KIB), 0);
    turn(pipes->to_child, pipes->to_parent);
    /* The parent has grown it to 1 MiB: to reserve less is only to map. */
    expect_eq(nv_medium_reserve(&mine, 900 * KIB), 0);
    expect_eq(growths, 1);
    expect_pattern(&mine, 0, MIB);
    expect_eq(nv_medium_reserve(&mine, MIB + 1), 0);
    expect_eq(growths, 2);
    nv_medium_close(&mine);
}

static void test_two_processes(void **state)
{
    (void)state;
    struct pipes pipes;
    expect_eq(pipe(pipes.to_child), 0);
    expect_eq(pipe(pipes.to_parent), 0);
    const pid_t child = unit_fork(grow_in_child, &pipes);
    open_medium(64 * KIB);
    expect_eq(nv_medium_reserve(&medium, 64 * KIB), 0);
    expect_eq(store_pattern(&medium, 0, 64 * KIB), 0);
    turn(pipes.to_parent, pipes.to_child);
    expect(nv_medium_view(&medium, 64 * KIB, 1) == NULL); /* not before reserve */
    uint8_t byte, want;
    unit_pattern(&want, 1, 100 * KIB);
    expect_eq(nv_medium_load(&medium, 100 * KIB, &byte, 1), 0);
    expect_eq(byte, want); /* load knows nevertheless */
    expect_eq(nv_medium_reserve(&medium, 128 * KIB), 0);
    expect_eq(growths, 1);
    expect_pattern(&medium, 0, 128 * KIB);
    expect_eq(nv_medium_reserve(&medium, MIB), 0);
    expect_eq(store_pattern(&medium, 128 * KIB, 896 * KIB), 0);
    expect_eq(write(pipes.to_child[1], "x", 1), 1);
    unit_join(child);
    expect(unit_size(&file) > (int64_t)MIB);
}

struct reader {
    _Atomic bool stop;
    uint64_t looks;
};

/* Looks at the first block while the file grows under it. */
static void *read_all_the_time(void *argument)
{
    struct reader *reader = argument;
    uint8_t block[4096];
    do {
        const uint8_t *view = nv_medium_view(&medium, 0, sizeof(block));
        if ((view && !unit_is_pattern(view, sizeof(block), 0)) ||
            nv_medium_load(&medium, 0, block, sizeof(block)) ||
            !unit_is_pattern(block, sizeof(block), 0))
            abort();
        reader->looks++;
    } while (!atomic_load(&reader->stop));
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct reader readers[2] = {{.looks = 0}};
    pthread_t threads[2];
    os.map = small_map;
    open_medium(4096);
    expect_eq(nv_medium_reserve(&medium, 4096), 0);
    expect_eq(store_pattern(&medium, 0, 4096), 0);
    for (int i = 0; i < 2; i++)
        expect_eq(pthread_create(&threads[i], NULL, read_all_the_time, &readers[i]), 0);
    for (uint64_t bytes = 8192; bytes < 8 * MIB; bytes += 32 * KIB) {
        if (bytes > 3 * MIB)
            os.map = nv_os_posix.map;
        expect_eq(nv_medium_reserve(&medium, bytes), 0);
        expect_eq(store_pattern(&medium, bytes - 4096, 4096), 0);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&readers[i].stop, true);
        expect_eq(pthread_join(threads[i], NULL), 0);
        expect(readers[i].looks > 0);
    }
    expect_pattern(&medium, 0, 4096);
}

#define each(name)                                                                                 \
    {#name " dax", name, setup, teardown, (void *)(uintptr_t)&nv_medium_dax},                      \
        {#name " ram", name, setup, teardown, (void *)(uintptr_t)&nv_medium_ram},                  \
        {#name " page", name, setup, teardown, (void *)(uintptr_t)&nv_medium_page},                \
    {                                                                                              \
#name " ram, not mapped", name, setup, teardown,                                           \
            (void *)(uintptr_t)&nv_medium_ram_unmapped                                             \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        each(test_empty),         each(test_store_load),
        each(test_storev),        each(test_store_unreserved),
        each(test_steps),         each(test_exact),
        each(test_shrink),        each(test_existing),
        each(test_read_only),     each(test_older_maps),
        each(test_two_processes), each(test_threads),
    };
    unit_begin();
    return cmocka_run_group_tests_name("medium", tests, NULL, NULL);
}
