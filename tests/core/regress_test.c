/*
 * What goes wrong in Libnvmmio (USENIX ATC 2020), one test for each: this engine
 * follows its method and must not follow its mistakes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

#define MIB ((uint64_t)1 << 20)

/* Let `main` run in a child up to its parent_send('k'), then kill it. */
static void run_and_kill(child_main *main, void *argument)
{
    struct child child;

    child_start(&child, main, argument);
    child_expect(&child, 'k');
    child_kill(&child);
}

static void end_of_life(void)
{
    parent_send('k');
    (void)parent_receive();
}

static void rewrite_blocks(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)argument;
    for (uint8_t round = 1; round <= 20; round++) {
        for (uint8_t i = 0; i < 10; i++) {
            engine_fill(handle, 0, 4096, (uint8_t)(round + i));
            engine_fill(handle, 100, 3000, (uint8_t)(round + i + 1));
            engine_fill(handle, 4000, 200, (uint8_t)(round + i + 2));
        }
        engine_fill(handle, 0, 8192, 0xaa);
        engine_fill(handle, 64, 64, round);
        check_ok(nvmmio_sync(handle));
        engine_check_fill(handle, 0, 64, 0xaa);
        engine_check_fill(handle, 64, 64, round);
        engine_check_fill(handle, 128, 8064, 0xaa);
    }
    end_of_life();
}

static void a_block_rewritten_within_one_transaction(void **state)
{
    struct nvmmio *handle;

    (void)state;
    run_and_kill(rewrite_blocks, NULL);
    handle = engine_open(scratch.path);
    check_eq(nvmmio_size(handle), 8192);
    engine_check_fill(handle, 0, 64, 0xaa);
    engine_check_fill(handle, 64, 64, 20);
    engine_check_fill(handle, 128, 8064, 0xaa);
    engine_close(handle);
}

static void writes_that_cross_blocks_return_what_was_asked(void **state)
{
    static const uint64_t edges[] = {64, 512, 4096, 65536, 2 * MIB};
    static uint8_t data[140000], back[140000];
    struct nvmmio *handle = engine_open(scratch.path);
    uint64_t seed = 88172645463325252u;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)random_next(&seed);
    for (size_t edge = 0; edge < sizeof(edges) / sizeof(edges[0]); edge++) {
        for (int before = 0; before < 3; before++) {
            static const size_t lengths[] = {1, 2, 3, 65, 4095, 4096, 4097, 8193, 131073};

            for (size_t length = 0; length < sizeof(lengths) / sizeof(lengths[0]); length++) {
                uint64_t offset = edges[edge] - (uint64_t)before;
                size_t bytes = lengths[length];

                check_eq(nvmmio_pwrite(handle, data + length, bytes, offset), bytes);
                check_eq(nvmmio_pread(handle, back, bytes, offset), bytes);
                check(memcmp(back, data + length, bytes) == 0);
                if (length % 2)
                    check_ok(nvmmio_sync(handle));
                check_eq(nvmmio_pread(handle, back, bytes, offset), bytes);
                check(memcmp(back, data + length, bytes) == 0);
            }
        }
    }
    engine_close(handle);
}

static void grow_from_nothing(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)argument;
    check_eq(nvmmio_size(handle), 0);
    for (uint64_t i = 0; i < 160; i++) {
        engine_fill(handle, i * 40000, 40000, (uint8_t)i);
        check_ok(nvmmio_sync(handle));
    }
    engine_fill(handle, 20 * MIB, 5 * MIB, 0x5a);
    check_ok(nvmmio_sync(handle));
    end_of_life();
}

static void a_file_that_starts_empty_and_grows_past_2_mib(void **state)
{
    struct nvmmio *handle;

    (void)state;
    run_and_kill(grow_from_nothing, NULL);
    handle = engine_open(scratch.path);
    check_eq(nvmmio_size(handle), 25 * MIB);
    for (uint64_t i = 0; i < 160; i++)
        engine_check_fill(handle, i * 40000, 40000, (uint8_t)i);
    engine_check_fill(handle, 6400000, 20 * MIB - 6400000, 0);
    engine_check_fill(handle, 20 * MIB, 5 * MIB, 0x5a);
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 25 * MIB);
}

static struct nvmmio *open_small_log(void)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    options.flags = NVMMIO_CREATE;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    options.stage_bytes = 128 << 10;
    return engine_open_with(scratch.path, &options);
}

static void outgrow_the_log(void *argument)
{
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};
    struct nvmmio_stats stats = {.struct_bytes = sizeof(stats)};
    struct nvmmio *handle = open_small_log(), *other = open_small_log();

    (void)argument;
    engine_fill(handle, 0, 8 * MIB, 1);
    check_ok(nvmmio_sync(handle));
    /* One transaction many times the log: not a byte of it before its sync. */
    engine_fill(handle, 0, 8 * MIB, 2);
    for (uint64_t at = 0; at < 8 * MIB; at += MIB)
        check_eq(engine_byte(other, at + 77), 1);
    check_ok(nvmmio_rollback(handle));
    engine_check_fill(handle, 0, 8 * MIB, 1);
    engine_fill(handle, 0, 8 * MIB, 3);
    check_ok(nvmmio_sync(handle));
    engine_check_fill(other, 0, 8 * MIB, 3);
    check_ok(nvmmio_stats(handle, &stats));
    check(stats.spills > 0);
    check(stats.log_grows > 0);
    /* The log turns over many times, and is as small as before when it has. */
    for (uint64_t i = 0; i < 200; i++) {
        engine_fill(handle, i % 60 * 131072, 65536, (uint8_t)i);
        check_ok(nvmmio_sync(handle));
    }
    check_ok(nvmmio_flush(handle));
    engine_fill(handle, 0, 10, 0xcc);
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_info(handle, &info));
    check_eq(info.log_bytes, NVMMIO_LOG_BYTES_MIN);
    check(info.log_file_bytes <= 2 * NVMMIO_LOG_BYTES_MIN);
    /* Uncommitted, spilled, and dead. */
    engine_fill(handle, 0, 8 * MIB, 9);
    end_of_life();
}

static void more_data_than_the_log(void **state)
{
    struct nvmmio *handle;

    (void)state;
    run_and_kill(outgrow_the_log, NULL);
    handle = open_small_log();
    check_eq(nvmmio_size(handle), 8 * MIB);
    engine_check_fill(handle, 0, 10, 0xcc);
    for (uint64_t i = 140; i < 200; i++)
        engine_check_fill(handle, i % 60 * 131072 + 10, 65526, (uint8_t)i);
    engine_check_fill(handle, 65536, 65536, 3);
    engine_check_fill(handle, 60 * 131072, 8 * MIB - 60 * 131072, 3);
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 8 * MIB);
}

#define COMMITS ((UINT64_C(1) << 20) + 1000)

/* A counter in a 20-bit field would wrap.  Without waiting for the disk, on a disk. */
static void commit_very_often(void *argument)
{
    /* On a disk a small log would be flushed every few commits. */
    struct nvmmio *handle =
        place_kind() == PLACE_PAGE ? engine_open(scratch.path) : open_small_log();

    (void)argument;
    check_ok(nvmmio_lock(handle, NVMMIO_EXCLUSIVE, 0));
    for (uint64_t i = 1; i <= COMMITS; i++) {
        engine_write(handle, &i, sizeof(i), 0);
        engine_write(handle, &i, sizeof(i), 4096 + i % 1000 * 8);
        if (place_kind() == PLACE_PAGE) {
            check_ok(nvmmio_seal(handle));
            check_ok(nvmmio_apply(handle));
        } else {
            check_ok(nvmmio_sync(handle));
        }
    }
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    end_of_life();
}

static void more_than_2_to_the_20_commits(void **state)
{
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};
    struct nvmmio *handle;
    uint64_t number;

    (void)state;
    run_and_kill(commit_very_often, NULL);
    handle = open_small_log();
    check_ok(nvmmio_info(handle, &info));
    check_eq(nvmmio_pread(handle, &number, sizeof(number), 0), sizeof(number));
    check_eq(number, COMMITS);
    for (uint64_t i = 0; i < 1000; i++) {
        check_eq(nvmmio_pread(handle, &number, sizeof(number), 4096 + i * 8), sizeof(number));
        check_eq(number % 1000, i);
        check(number + 1000 > COMMITS);
    }
    engine_close(handle);
}

static void grow_for_another(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)argument;
    for (uint64_t i = 1; parent_receive() == 'g'; i++) {
        engine_fill(handle, i * 3 * MIB, 3 * MIB, (uint8_t)i);
        check_ok(nvmmio_sync(handle));
        parent_send('d');
    }
    engine_close(handle);
}

static void sync_after_growth_by_another_process(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);
    struct child child;

    (void)state;
    engine_fill(handle, 0, 100, 0xff);
    check_ok(nvmmio_sync(handle));
    child_start(&child, grow_for_another, NULL);
    for (uint64_t i = 1; i <= 20; i++) {
        child_send(&child, 'g');
        child_expect(&child, 'd');
        check_eq(nvmmio_size(handle), (i + 1) * 3 * MIB);
        check_eq(engine_byte(handle, (i + 1) * 3 * MIB - 1), i);
        engine_fill(handle, i * 3 * MIB + 5, 70000, (uint8_t)(0x80 + i));
        check_ok(nvmmio_sync(handle));
        engine_check_fill(handle, i * 3 * MIB + 5, 70000, (uint8_t)(0x80 + i));
        engine_check_fill(handle, i * 3 * MIB, 5, (uint8_t)i);
    }
    child_send(&child, 'q');
    child_join(&child);
    engine_close(handle);
    handle = engine_open(scratch.path);
    for (uint64_t i = 1; i <= 20; i++)
        engine_check_fill(handle, i * 3 * MIB + 5, 70000, (uint8_t)(0x80 + i));
    engine_close(handle);
}

static void close_without_sync_drops_what_is_staged(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    engine_fill(handle, 0, 10000, 1);
    check_ok(nvmmio_sync(handle));
    engine_fill(handle, 0, 20000, 2);
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 10000);
    handle = engine_open(scratch.path);
    engine_check_fill(handle, 0, 10000, 1);
    engine_close(handle);
}

static void a_read_past_the_end_is_short(void **state)
{
    static uint8_t buffer[3 * MIB];
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    engine_fill(handle, 0, 2 * MIB + 1, 7);
    check_ok(nvmmio_sync(handle));
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 0), 2 * MIB + 1);
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 2 * MIB), 1);
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 2 * MIB + 1), 0);
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 4 * MIB), 0);
    check_ok(nvmmio_truncate(handle, 10));
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 0), 10);
    check_ok(nvmmio_sync(handle));
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 0), 10);
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 4095), 0);
    engine_close(handle);
}

static void with_many_descriptors(void *argument)
{
    struct rlimit limit;
    struct nvmmio *handle;
    int fd;

    (void)argument;
    check_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2200) {
        limit.rlim_cur = 2200;
        check_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd < 2100);
    check(fd >= 2100);
    handle = engine_open(scratch.path);
    engine_fill(handle, 0, 100000, 3);
    check_ok(nvmmio_sync(handle));
    engine_check_fill(handle, 0, 100000, 3);
    end_of_life();
}

static void a_descriptor_above_1024(void **state)
{
    struct nvmmio *handle;

    (void)state;
    run_and_kill(with_many_descriptors, NULL);
    handle = engine_open(scratch.path);
    engine_check_fill(handle, 0, 100000, 3);
    engine_close(handle);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(a_block_rewritten_within_one_transaction),
        T(writes_that_cross_blocks_return_what_was_asked),
        T(a_file_that_starts_empty_and_grows_past_2_mib),
        T(more_data_than_the_log),
        T(more_than_2_to_the_20_commits),
        T(sync_after_growth_by_another_process),
        T(close_without_sync_drops_what_is_staged),
        T(a_read_past_the_end_is_short),
        T(a_descriptor_above_1024),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
