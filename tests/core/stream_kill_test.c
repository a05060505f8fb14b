/*
 * Streams and kill -9: before every system call of a stream's life and of its
 * recovery, and, sampled, before any instruction of an append.  Always: every
 * byte whose append returned is there, nothing is there that was not appended,
 * the file is cut to its exact size by the next to open it, and goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/place.h"
#include "tests/core/stream_kit.h"
#include "tests/core/trace.h"

#define MIB ((size_t)1 << 20)

/* What the child tells in memory, which survives it: the stream has `low` to `high` bytes. */
static struct {
    _Atomic uint64_t low, high;
    _Atomic uint64_t seed;
} * shared;

static void restart(void)
{
    scratch_empty(&scratch);
    atomic_store(&shared->low, 0);
    atomic_store(&shared->high, 0);
}

static void step_begins(uint64_t to)
{
    const uint64_t now = atomic_load(&shared->low);

    atomic_store(&shared->low, now < to ? now : to);
    atomic_store(&shared->high, now < to ? to : now);
}

static void step_ends(uint64_t to)
{
    atomic_store(&shared->low, to);
    atomic_store(&shared->high, to);
}

static void append(struct nvmmio_stream *stream, const uint8_t *data, size_t bytes)
{
    const uint64_t to = atomic_load(&shared->low) + bytes;

    step_begins(to);
    check_eq(nvmmio_stream_append(stream, data + to - bytes, bytes), bytes);
    step_ends(to);
}

static void truncate_to(struct nvmmio_stream *stream, uint64_t bytes)
{
    step_begins(bytes);
    check_ok(nvmmio_stream_truncate(stream, bytes));
    step_ends(bytes);
}

static uint8_t *content(void)
{
    uint8_t *data = malloc(8 * MIB);

    check(data != NULL);
    kit_fill(data, 8 * MIB, 0, atomic_load(&shared->seed));
    return data;
}

/* ---- after a death ------------------------------------------------------------------------- */

/* By read(2), before anybody has recovered it. */
static void check_prefix(void)
{
    const uint64_t low = atomic_load(&shared->low);
    void *data;
    const int64_t bytes = file_read(scratch.path, &data);

    check(bytes >= (int64_t)low || (bytes == -ENOENT && low == 0));
    if (bytes < 0)
        return;
    check(kit_same(data, (size_t)low, 0, atomic_load(&shared->seed)));
    free(data);
}

static uint64_t check_size(int64_t bytes)
{
    check_ok(bytes);
    if ((uint64_t)bytes < atomic_load(&shared->low) || (uint64_t)bytes > atomic_load(&shared->high))
        check_fail("the stream has %lld bytes, not %llu to %llu", (long long)bytes,
                   (unsigned long long)atomic_load(&shared->low),
                   (unsigned long long)atomic_load(&shared->high));
    return (uint64_t)bytes;
}

static void verify(void)
{
    const uint64_t seed = atomic_load(&shared->seed);
    struct nvmmio_stream *reader, *writer;
    uint64_t bytes = 0;

    check_prefix();
    if (!file_exists(scratch.path))
        return;
    check_ok(nvmmio_stream_stat(scratch.path, &bytes));
    (void)check_size((int64_t)bytes);
    reader = kit_open(scratch.path, kit_size, NVMMIO_READ_ONLY);
    check_eq(nvmmio_stream_size(reader), bytes);
    kit_check(reader, bytes, seed);
    check_eq(file_bytes(scratch.path), bytes); /* the reader has cut it */
    writer = kit_open(scratch.path, kit_size, 0);
    kit_append(writer, 1000, seed);
    check_ok(nvmmio_stream_sync(writer));
    kit_check(reader, bytes + 1000, seed);
    kit_close(writer);
    kit_close(reader);
    kit_check_plain(scratch.path, bytes + 1000, seed);
    check_text(scratch_list(&scratch), "db ");
}

/* ---- the child ----------------------------------------------------------------------------- */

static void live(void *argument)
{
    uint8_t *data = content();
    struct nvmmio_stream *stream;

    (void)argument;
    trace_begin();
    stream = kit_open(scratch.path, kit_size, 0);
    append(stream, data, 100);
    append(stream, data, 5000);
    check_ok(nvmmio_stream_sync(stream));
    append(stream, data, 2 * MIB); /* grows */
    append(stream, data, 1);
    truncate_to(stream, MIB + 7);
    append(stream, data, 3000);
    check_ok(nvmmio_stream_allocate(stream, 5 * MIB));
    append(stream, data, 2 * MIB);
    check_ok(nvmmio_stream_sync(stream));
    append(stream, data, 64);
    check_ok(nvmmio_stream_close(stream));
    stream = kit_open(scratch.path, kit_size, 0);
    append(stream, data, 333);
    check_ok(nvmmio_stream_close(stream));
    trace_end();
    free(data);
}

static void killed_before_every_system_call(void)
{
    atomic_store(&shared->seed, place_seed(__func__));
    for (uint64_t n = 1, steps = 0;; n += place_stride()) {
        bool killed;

        restart();
        check_note("size %s, seed %llu, killed before call %llu", kit_size_name(kit_size),
                   (unsigned long long)atomic_load(&shared->seed), (unsigned long long)n);
        killed = trace_kill(live, NULL, TRACE_CALL, n, &steps);
        verify();
        if (!killed) {
            printf("%llu system calls\n", (unsigned long long)steps);
            check(n > 5);
            break;
        }
    }
}

static void append_closely(void *argument)
{
    uint8_t *data = content();
    struct nvmmio_stream *stream = kit_open(scratch.path, kit_size, 0);

    (void)argument;
    append(stream, data, 100);
    append(stream, data, 2 * MIB - 4096 - 400);
    trace_begin();
    append(stream, data, 77);
    append(stream, data, 223); /* to the last byte before the size block */
    append(stream, data, 300); /* grows */
    check_ok(nvmmio_stream_sync(stream));
    append(stream, data, 5000);
    trace_end();
    free(data); /* and ends without a close */
}

static void killed_before_any_instruction_of_an_append(void)
{
    uint64_t steps, random = place_seed(__func__);

    restart();
    atomic_store(&shared->seed, random);
    check(!trace_kill(append_closely, NULL, TRACE_INSTRUCTION, 0, &steps));
    check(steps > 100);
    verify();
    for (uint64_t i = 0; i < place_times(100); i++) {
        const uint64_t n = 1 + random_below(&random, steps);

        restart();
        check_note("size %s, seed %llu, killed before instruction %llu of %llu",
                   kit_size_name(kit_size), (unsigned long long)atomic_load(&shared->seed),
                   (unsigned long long)n, (unsigned long long)steps);
        (void)trace_kill(append_closely, NULL, TRACE_INSTRUCTION, n, NULL);
        verify();
    }
}

static void recover(void *argument)
{
    (void)argument;
    trace_begin();
    check_ok(nvmmio_stream_recover(scratch.path));
    trace_end();
}

static void killed_before_every_system_call_of_a_recovery(void)
{
    uint64_t steps;

    atomic_store(&shared->seed, place_seed(__func__));
    check(!trace_kill(live, NULL, TRACE_CALL, 0, &steps));
    for (uint64_t percent = 30; percent < 100; percent += 13) {
        const uint64_t at = steps * percent / 100;

        for (uint64_t n = 1;; n++) {
            restart();
            check_note("size %s, seed %llu, killed before call %llu, recovery before call %llu",
                       kit_size_name(kit_size), (unsigned long long)atomic_load(&shared->seed),
                       (unsigned long long)at, (unsigned long long)n);
            (void)trace_kill(live, NULL, TRACE_CALL, at, NULL);
            if (!trace_kill(recover, NULL, TRACE_CALL, n, NULL))
                break;
            verify();
        }
        verify();
    }
}

/* ---- an old file --------------------------------------------------------------------------- */

#define OLD_SEED 77

static void live_again(void *argument)
{
    uint8_t *data = content();
    struct nvmmio_stream *stream;

    (void)argument;
    trace_begin();
    stream = kit_open(scratch.path, kit_size, NVMMIO_STREAM_REUSE);
    append(stream, data, 5000);
    check_ok(nvmmio_stream_sync(stream));
    append(stream, data, 2 * MIB);
    append(stream, data, 10);
    append(stream, data, 3 * MIB);
    check_ok(nvmmio_stream_close(stream));
    trace_end();
    free(data);
}

/* How long the stream in an old file is can only be told if its size was ahead. */
static void killed_in_an_old_file(void)
{
    atomic_store(&shared->seed, place_seed(__func__));
    for (uint64_t n = 1;; n += place_stride()) {
        struct nvmmio_stream *stream;
        bool killed;
        uint64_t bytes = 0;

        restart();
        check_note("size %s, seed %llu, killed before call %llu", kit_size_name(kit_size),
                   (unsigned long long)atomic_load(&shared->seed), (unsigned long long)n);
        stream = kit_open(scratch.path, kit_size, 0);
        kit_append(stream, 3 * MIB + 5, OLD_SEED);
        kit_close(stream);
        killed = trace_kill(live_again, NULL, TRACE_CALL, n, NULL);
        check_prefix();
        check_ok(nvmmio_stream_stat(scratch.path, &bytes));
        check(bytes >= atomic_load(&shared->low));
        check(bytes <= atomic_load(&shared->high) || bytes == 3 * MIB + 5);
        if (kit_size == NVMMIO_SIZE_AHEAD && atomic_load(&shared->low))
            verify();
        if (!killed)
            break;
    }
}

/* ---- among others -------------------------------------------------------------------------- */

static void append_and_wait(void *argument)
{
    uint8_t *data = content();
    struct nvmmio_stream *stream = kit_open(scratch.path, kit_size, 0);

    (void)argument;
    append(stream, data, 5000);
    append(stream, data, 60);
    parent_send('a');
    (void)parent_receive();
    append(stream, data, 3 * MIB);
    parent_send('b');
    (void)parent_receive();
    check_ok(nvmmio_stream_close(stream));
    parent_send('c');
    (void)parent_receive();
}

static void who_writes_in_another_process_is_seen_and_left_alone(void)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    struct nvmmio_stream *reader, *writer;
    struct child child;
    uint64_t bytes;

    restart();
    atomic_store(&shared->seed, 5);
    kit_close(kit_open(scratch.path, kit_size, 0));
    reader = kit_open(scratch.path, kit_size, NVMMIO_READ_ONLY);
    child_start(&child, append_and_wait, NULL);
    child_expect(&child, 'a');
    kit_check(reader, 5060, 5);
    check_error(nvmmio_stream_open(scratch.path, &options, &writer), -EBUSY);
    check_error(nvmmio_stream_recover(scratch.path), -EBUSY);
    kit_close(reader);
    reader = kit_open(scratch.path, kit_size, NVMMIO_READ_ONLY);
    kit_check(reader, 5060, 5);
    child_send(&child, 'a');
    child_expect(&child, 'b');
    kit_check(reader, 5060 + 3 * MIB, 5);
    check_ok(nvmmio_stream_stat(scratch.path, &bytes));
    check_eq(bytes, 5060 + 3 * MIB);
    child_send(&child, 'b');
    child_expect(&child, 'c');
    kit_check(reader, 5060 + 3 * MIB, 5);
    check_eq(file_bytes(scratch.path), 5060 + 3 * MIB);
    writer = kit_open(scratch.path, kit_size, 0);
    kit_append(writer, 9, 5);
    kit_check(reader, 5069 + 3 * MIB, 5);
    kit_close(writer);
    kit_close(reader);
    child_send(&child, 'c');
    child_join(&child);
}

static void who_died_keeps_nobody_out(void)
{
    struct nvmmio_stream *writer;
    struct child child;

    restart();
    atomic_store(&shared->seed, 6);
    child_start(&child, append_and_wait, NULL);
    child_expect(&child, 'a');
    child_kill(&child);
    check_prefix();
    writer = kit_open(scratch.path, kit_size, 0);
    kit_check(writer, 5060, 6);
    kit_append(writer, 100, 6);
    kit_close(writer);
    kit_check_plain(scratch.path, 5160, 6);
}

/* ---- forks --------------------------------------------------------------------------------- */

static void use_what_is_inherited(void *argument)
{
    struct nvmmio_stream *stream = argument;
    struct nvmmio_stream_info info;
    struct nvmmio_stream_stats stats;
    const void *view;
    char byte;

    check_error(nvmmio_stream_append(stream, "x", 1), -ECHILD);
    check_error(nvmmio_stream_sync(stream), -ECHILD);
    check_error(nvmmio_stream_flush(stream, 0, 1), -ECHILD);
    check_error(nvmmio_stream_pread(stream, &byte, 1, 0), -ECHILD);
    check_error(nvmmio_stream_view(stream, 0, 1, &view), -ECHILD);
    check_error(nvmmio_stream_size(stream), -ECHILD);
    check_error(nvmmio_stream_truncate(stream, 0), -ECHILD);
    check_error(nvmmio_stream_allocate(stream, 1), -ECHILD);
    check_error(nvmmio_stream_info(stream, &info), -ECHILD);
    check_error(nvmmio_stream_stats(stream, &stats), -ECHILD);
    check_error(nvmmio_stream_close(stream), -ECHILD);
    stream = kit_open(scratch.path, kit_size, NVMMIO_READ_ONLY);
    kit_check(stream, 1000, 1);
    kit_close(stream);
    parent_send('r');
    (void)parent_receive();
    stream = kit_open(scratch.path, kit_size, 0); /* the parent has closed it by now */
    kit_check(stream, 1500, 1);
    kit_append(stream, 10, 1);
    kit_close(stream);
}

static void a_child_leaves_the_stream_to_its_parent(void)
{
    struct nvmmio_stream *stream = kit_open(scratch.path, kit_size, NVMMIO_STREAM_EMPTY);
    struct child child;

    kit_append(stream, 1000, 1);
    child_start(&child, use_what_is_inherited, stream);
    child_expect(&child, 'r');
    kit_append(stream, 500, 1);
    kit_close(stream);
    child_send(&child, 'g');
    child_join(&child);
    kit_check_plain(scratch.path, 1510, 1);
}

/* ---- the list ------------------------------------------------------------------------------ */

static int run(void)
{
    static const struct kit_test tests[] = {
        KIT_TEST(killed_before_every_system_call),
        KIT_TEST(killed_before_any_instruction_of_an_append),
        KIT_TEST(killed_before_every_system_call_of_a_recovery),
        KIT_TEST(killed_in_an_old_file),
        KIT_TEST(who_writes_in_another_process_is_seen_and_left_alone),
        KIT_TEST(who_died_keeps_nobody_out),
        KIT_TEST(a_child_leaves_the_stream_to_its_parent),
    };

    shared = child_memory(sizeof(*shared));
    return kit_run(restart, tests, sizeof(tests) / sizeof(tests[0]));
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
