/* Streams: what nvmmio.h promises of them, with the size exact and ahead, in one process. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/place.h"
#include "tests/core/stream_kit.h"

#define MIB ((size_t)1 << 20)

static void what_is_appended_is_read_at_once(void)
{
    struct nvmmio_stream *writer = kit_open(scratch.path, kit_size, 0);
    struct nvmmio_stream *reader = kit_open(scratch.path, 0, NVMMIO_READ_ONLY);
    static const size_t pieces[] = {1,    7,    8,    63,   64,   65,    100,     255, 256,
                                    1023, 4095, 4096, 4097, 8192, 65537, 3 * MIB, 1};
    uint64_t bytes = 0;

    kit_check(reader, 0, 1);
    for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        kit_append(writer, pieces[i], 1);
        bytes += pieces[i];
        kit_check(reader, bytes, 1);
        kit_check(writer, bytes, 1);
        if (i % 2)
            check_ok(nvmmio_stream_sync(writer));
    }
    check_eq(nvmmio_stream_append(writer, NULL, 0), 0);
    kit_close(writer);
    kit_check(reader, bytes, 1);
    kit_check_plain(scratch.path, bytes, 1);
    kit_close(reader);
    check_text(scratch_list(&scratch), "db ");
}

static void the_size_is_exact_after_close(void)
{
    static const uint64_t sizes[] = {0,       1,      4095, 4096, 2 * MIB - 4096, 2 * MIB - 4095,
                                     2 * MIB, 4 * MIB};
    uint64_t bytes = 0;

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct nvmmio_stream *writer = kit_open(scratch.path, kit_size, NVMMIO_STREAM_EMPTY);

        kit_append(writer, (size_t)sizes[i], i);
        check_ok(nvmmio_stream_stat(scratch.path, &bytes));
        check_eq(bytes, sizes[i]);
        if (i % 2)
            check_ok(nvmmio_stream_sync(writer));
        kit_close(writer);
        kit_check_plain(scratch.path, sizes[i], i);
        check_ok(nvmmio_stream_stat(scratch.path, &bytes));
        check_eq(bytes, sizes[i]);
        check_eq(nvmmio_stream_recover(scratch.path), 0);
        writer = kit_open(scratch.path, 0, NVMMIO_READ_ONLY);
        kit_check(writer, sizes[i], i);
        kit_close(writer);
    }
}

static void a_stream_goes_on_where_it_ended(void)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < 5; i++) {
        struct nvmmio_stream *writer =
            kit_open(scratch.path, i % 2 ? NVMMIO_SIZE_AHEAD : NVMMIO_SIZE_EXACT, 0);

        kit_check(writer, bytes, 9);
        kit_append(writer, 100000, 9);
        kit_append(writer, 33, 9);
        bytes += 100033;
        kit_close(writer);
        kit_check_plain(scratch.path, bytes, 9);
    }
}

static void an_old_file_is_used_again_from_its_start(void)
{
    struct nvmmio_stream *writer = kit_open(scratch.path, kit_size, 0);
    struct nvmmio_stream *reader;
    uint64_t bytes = 0;

    kit_append(writer, 3 * MIB + 5, 3);
    kit_close(writer);
    for (unsigned i = 0; i < 3; i++) {
        writer = kit_open(scratch.path, kit_size, NVMMIO_STREAM_REUSE);
        check(file_bytes(scratch.path) >= 1); /* not cut */
        kit_check(writer, 0, 4 + i);
        kit_append(writer, 1000, 4 + i);
        check_ok(nvmmio_stream_sync(writer));
        reader = kit_open(scratch.path, 0, NVMMIO_READ_ONLY);
        kit_check(reader, 1000, 4 + i);
        kit_append(writer, MIB, 4 + i);
        kit_check(reader, MIB + 1000, 4 + i);
        check_ok(nvmmio_stream_stat(scratch.path, &bytes));
        check_eq(bytes, MIB + 1000);
        kit_close(reader);
        kit_close(writer);
        kit_check_plain(scratch.path, MIB + 1000, 4 + i);
    }
}

static void truncation_and_extension(void)
{
    struct nvmmio_stream *writer = kit_open(scratch.path, kit_size, 0);
    uint8_t zeros[5000], got[5000];

    memset(zeros, 0, sizeof(zeros));
    kit_append(writer, 2 * MIB + 100, 5);
    check_ok(nvmmio_stream_truncate(writer, MIB + 3));
    kit_check(writer, MIB + 3, 5);
    kit_append(writer, 77, 5);
    kit_check(writer, MIB + 80, 5);
    check_ok(nvmmio_stream_sync(writer));
    check_ok(nvmmio_stream_truncate(writer, MIB + 80 + 5000));
    check_eq(nvmmio_stream_pread(writer, got, sizeof(got), MIB + 80), sizeof(got));
    check_eq(memcmp(got, zeros, sizeof(got)), 0);
    check_ok(nvmmio_stream_truncate(writer, MIB + 80));
    kit_append(writer, 3 * MIB, 5);
    kit_check(writer, 4 * MIB + 80, 5);
    kit_close(writer);
    kit_check_plain(scratch.path, 4 * MIB + 80, 5);
    writer = kit_open(scratch.path, kit_size, 0);
    check_ok(nvmmio_stream_truncate(writer, 10));
    kit_close(writer);
    kit_check_plain(scratch.path, 10, 5);
    writer = kit_open(scratch.path, kit_size, NVMMIO_STREAM_EMPTY);
    kit_check(writer, 0, 5);
    kit_close(writer);
    kit_check_plain(scratch.path, 0, 5);
}

static void allocation_does_not_change_the_size(void)
{
    struct nvmmio_stream *writer = kit_open(scratch.path, kit_size, 0);
    struct stat status;

    kit_append(writer, 100, 6);
    check_ok(nvmmio_stream_allocate(writer, 5 * MIB));
    check_eq(stat(scratch.path, &status), 0);
    check((uint64_t)status.st_blocks * 512 >= 5 * MIB);
    kit_check(writer, 100, 6);
    kit_append(writer, 5 * MIB, 6);
    check_ok(nvmmio_stream_allocate(writer, 1));
    kit_check(writer, 5 * MIB + 100, 6);
    check_ok(nvmmio_stream_allocate(writer, 20 * MIB));
    kit_close(writer);
    kit_check_plain(scratch.path, 5 * MIB + 100, 6);
    check_eq(stat(scratch.path, &status), 0);
    check((uint64_t)status.st_blocks * 512 < 8 * MIB); /* what was not used is given back */
}

static void handles_share_one_stream(void)
{
    struct nvmmio_stream *one = kit_open(scratch.path, kit_size, 0);
    struct nvmmio_stream *two;
    char other[600];

    snprintf(other, sizeof(other), "%s/link", scratch.directory);
    check_eq(link(scratch.path, other), 0);
    kit_append(one, 10, 7);
    two = kit_open(other, NVMMIO_SIZE_AUTO, 0);
    kit_append(two, 10, 7);
    kit_append(one, 10, 7);
    kit_close(one);
    kit_append(two, 10, 7);
    kit_check(two, 40, 7);
    kit_close(two);
    kit_check_plain(scratch.path, 40, 7);
}

static void a_view_outlives_the_writer(void)
{
    struct nvmmio_stream *writer = kit_open(scratch.path, kit_size, 0);
    struct nvmmio_stream *reader = kit_open(scratch.path, 0, NVMMIO_READ_ONLY);
    struct nvmmio_stream_info info;
    const void *view = NULL;
    int error;

    kit_append(writer, MIB, 8);
    error = nvmmio_stream_view(reader, 5, MIB - 5, &view);
    check_ok(nvmmio_stream_info(reader, &info));
    check_eq(error, info.mapped ? 0 : -EOPNOTSUPP);
    kit_append(writer, 10 * MIB, 8);
    kit_close(writer);
    if (!error)
        check(kit_same(view, MIB - 5, 5, 8));
    check_eq(unlink(scratch.path), 0);
    if (!error)
        check(kit_same(view, MIB - 5, 5, 8));
    kit_check(reader, 11 * MIB, 8);
    kit_close(reader);
}

static void wrong_use_is_refused(void)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    struct nvmmio_stream *stream = NULL;
    uint64_t bytes;

    check_error(nvmmio_stream_open(scratch.path, NULL, &stream), -ENOENT);
    check_error(nvmmio_stream_stat(scratch.path, &bytes), -ENOENT);
    check_error(nvmmio_stream_recover(scratch.path), -ENOENT);
    check_error(nvmmio_stream_open(scratch.directory, NULL, &stream), -EISDIR);
    options.flags = NVMMIO_CREATE_NEW;
    check_error(nvmmio_stream_open(scratch.path, &options, &stream), -EINVAL);
    options.flags = NVMMIO_READ_ONLY | NVMMIO_STREAM_EMPTY;
    check_error(nvmmio_stream_open(scratch.path, &options, &stream), -EINVAL);
    options.flags = NVMMIO_STREAM_EMPTY | NVMMIO_STREAM_REUSE;
    check_error(nvmmio_stream_open(scratch.path, &options, &stream), -EINVAL);
    options.flags = 1u << 30;
    check_error(nvmmio_stream_open(scratch.path, &options, &stream), -EINVAL);
    options.flags = NVMMIO_CREATE;
    options.size = (enum nvmmio_size)3;
    check_error(nvmmio_stream_open(scratch.path, &options, &stream), -EINVAL);
    options.size = kit_size;
    options.medium = NVMMIO_MEDIUM_SIM;
    check_error(nvmmio_stream_open(scratch.path, &options, &stream), -EINVAL);
    options.struct_bytes--;
    check_error(nvmmio_stream_open(scratch.path, &options, &stream), -EINVAL);
    check(stream == NULL);
    check_text(scratch_list(&scratch), "");

    kit_close(kit_open(scratch.path, kit_size, NVMMIO_CREATE_NEW));
    options = (struct nvmmio_stream_options)NVMMIO_STREAM_OPTIONS_INIT;
    options.flags = NVMMIO_CREATE | NVMMIO_CREATE_NEW;
    check_error(nvmmio_stream_open(scratch.path, &options, &stream), -EEXIST);
    stream = kit_open(scratch.path, kit_size, NVMMIO_READ_ONLY);
    check_error(nvmmio_stream_append(stream, "x", 1), -EROFS);
    check_error(nvmmio_stream_truncate(stream, 0), -EROFS);
    check_error(nvmmio_stream_allocate(stream, 1), -EROFS);
    check_error(nvmmio_stream_sync(stream), -EROFS);
    kit_close(stream);
    check_ok(nvmmio_stream_close(NULL));
}

static void options_are_set_from_text(void)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;

    check_ok(nvmmio_stream_option_set(&options, "size", "ahead"));
    check_eq(options.size, NVMMIO_SIZE_AHEAD);
    check_ok(nvmmio_stream_option_set(&options, "size", "exact"));
    check_eq(options.size, NVMMIO_SIZE_EXACT);
    check_ok(nvmmio_stream_option_set(&options, "medium", "page"));
    check_eq(options.medium, NVMMIO_MEDIUM_PAGE);
    check_error(nvmmio_stream_option_set(&options, "size", "large"), -EINVAL);
    check_error(nvmmio_stream_option_set(&options, "medium", "large"), -EINVAL);
    check_error(nvmmio_stream_option_set(&options, "log_bytes", "1M"), -ENOENT);
    check_eq(options.size, NVMMIO_SIZE_EXACT);
}

static void counters_tell_what_was_done(void)
{
    struct nvmmio_stream *writer = kit_open(scratch.path, kit_size, 0);
    struct nvmmio_stream_stats stats;
    struct nvmmio_stream_info info;

    kit_append(writer, 100, 1);
    kit_append(writer, 50, 1);
    check_ok(nvmmio_stream_sync(writer));
    check_ok(nvmmio_stream_flush(writer, 0, 150));
    check_ok(nvmmio_stream_flush(writer, 100, 0));
    check_ok(nvmmio_stream_flush(writer, 1000, 1000));
    check_ok(nvmmio_stream_stats(writer, &stats));
    check_eq(stats.struct_bytes, sizeof(stats));
    check_eq(stats.appends, 2);
    check_eq(stats.appended_bytes, 150);
    check_eq(stats.syncs, 1);
    check(stats.fences >= 1);
    check_eq(stats.grows, kit_size == NVMMIO_SIZE_AHEAD ? 1 : 0);
    check_ok(nvmmio_stream_info(writer, &info));
    check_eq(info.bytes, 150);
    check_eq(info.size, kit_size);
    check_eq(info.read_only, false);
    check_eq(info.poisoned, false);
    check_eq(info.file_bytes, kit_size == NVMMIO_SIZE_AHEAD ? 2 * MIB : 150);
    check(info.why[0] != '\0');
    kit_close(writer);
}

/* ---- threads ------------------------------------------------------------------------------- */

#define APPENDERS 4
#define RECORD_BYTES 24

struct crowd {
    struct nvmmio_stream *writer, *reader;
    _Atomic bool stop;
    _Atomic uint32_t next;
    uint32_t records; /* of each appender */
};

struct record {
    uint32_t who, number;
    uint64_t mixed[2];
};
_Static_assert(sizeof(struct record) == RECORD_BYTES, "no padding");

static struct record record_of(uint32_t who, uint32_t number)
{
    const uint64_t mixed = ((uint64_t)who << 32 | number) * UINT64_C(0x9e3779b97f4a7c15) + 1;

    return (struct record){.who = who, .number = number, .mixed = {mixed, ~mixed}};
}

static void *append_records(void *argument)
{
    struct crowd *crowd = argument;
    const uint32_t who = atomic_fetch_add(&crowd->next, 1);

    for (uint32_t i = 0; i < crowd->records; i++) {
        struct record record = record_of(who, i);

        check_eq(nvmmio_stream_append(crowd->writer, &record, sizeof(record)), sizeof(record));
    }
    return NULL;
}

static void *sync_all_the_time(void *argument)
{
    struct crowd *crowd = argument;

    while (!atomic_load(&crowd->stop))
        check_ok(nvmmio_stream_sync(crowd->writer));
    return NULL;
}

/* Every record that there is is whole, and those of one appender are in order. */
static void *follow(void *argument)
{
    struct crowd *crowd = argument;
    uint32_t next[APPENDERS] = {0};
    uint64_t at = 0;

    while (at < (uint64_t)APPENDERS * crowd->records * RECORD_BYTES) {
        const int64_t bytes = nvmmio_stream_size(crowd->reader);

        check_ok(bytes);
        check_eq(bytes % RECORD_BYTES, 0);
        for (; at < (uint64_t)bytes; at += RECORD_BYTES) {
            struct record got, want;

            check_eq(nvmmio_stream_pread(crowd->reader, &got, sizeof(got), at), sizeof(got));
            check(got.who < APPENDERS);
            want = record_of(got.who, next[got.who]++);
            check_eq(memcmp(&got, &want, sizeof(got)), 0);
        }
    }
    return NULL;
}

static void threads_append_sync_and_read_at_once(void)
{
    struct crowd crowd = {.records = (uint32_t)place_times(5000)};
    pthread_t threads[APPENDERS + 3];
    unsigned count = 0;
    uint64_t bytes = (uint64_t)APPENDERS * crowd.records * RECORD_BYTES;

    crowd.writer = kit_open(scratch.path, kit_size, 0);
    crowd.reader = kit_open(scratch.path, kit_size, NVMMIO_READ_ONLY);
    check_eq(pthread_create(&threads[count++], NULL, sync_all_the_time, &crowd), 0);
    check_eq(pthread_create(&threads[count++], NULL, follow, &crowd), 0);
    check_eq(pthread_create(&threads[count++], NULL, follow, &crowd), 0);
    for (unsigned i = 0; i < APPENDERS; i++)
        check_eq(pthread_create(&threads[count++], NULL, append_records, &crowd), 0);
    for (unsigned i = 1; i < count; i++)
        check_eq(pthread_join(threads[i], NULL), 0);
    atomic_store(&crowd.stop, true);
    check_eq(pthread_join(threads[0], NULL), 0);
    kit_close(crowd.writer);
    check_eq(file_bytes(scratch.path), bytes);
    kit_close(crowd.reader);
}

/* Handles come and go while others use the stream. */
static void *open_and_close(void *argument)
{
    struct crowd *crowd = argument;

    for (uint32_t i = 0; i < crowd->records; i++) {
        const uint32_t who = atomic_fetch_add(&crowd->next, 1);
        struct nvmmio_stream *stream =
            kit_open(scratch.path, kit_size, who % 2 ? NVMMIO_READ_ONLY : 0);
        struct record record = record_of(0, who);

        if (who % 2) {
            const int64_t bytes = nvmmio_stream_size(stream);

            check_ok(bytes);
            check_eq(bytes % RECORD_BYTES, 0);
        } else {
            check_eq(nvmmio_stream_append(stream, &record, sizeof(record)), sizeof(record));
        }
        kit_close(stream);
    }
    return NULL;
}

static void threads_open_and_close_at_once(void)
{
    struct crowd crowd = {.records = (uint32_t)place_times(100)};
    pthread_t threads[APPENDERS];

    kit_close(kit_open(scratch.path, kit_size, 0));
    for (unsigned i = 0; i < APPENDERS; i++)
        check_eq(pthread_create(&threads[i], NULL, open_and_close, &crowd), 0);
    for (unsigned i = 0; i < APPENDERS; i++)
        check_eq(pthread_join(threads[i], NULL), 0);
    check_eq(file_bytes(scratch.path), (uint64_t)APPENDERS / 2 * crowd.records * RECORD_BYTES);
}

/* ---- the list ------------------------------------------------------------------------------ */

static int run(void)
{
    static const struct kit_test tests[] = {
        KIT_TEST(what_is_appended_is_read_at_once),
        KIT_TEST(the_size_is_exact_after_close),
        KIT_TEST(a_stream_goes_on_where_it_ended),
        KIT_TEST(an_old_file_is_used_again_from_its_start),
        KIT_TEST(truncation_and_extension),
        KIT_TEST(allocation_does_not_change_the_size),
        KIT_TEST(handles_share_one_stream),
        KIT_TEST(a_view_outlives_the_writer),
        KIT_TEST(wrong_use_is_refused),
        KIT_TEST(counters_tell_what_was_done),
        KIT_TEST(threads_append_sync_and_read_at_once),
        KIT_TEST(threads_open_and_close_at_once),
        KIT_TEST(options_are_set_from_text),
    };

    return kit_run(NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
