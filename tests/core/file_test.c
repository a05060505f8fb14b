/* Files: what the reading, writing and committing calls of nvmmio.h promise, one handle at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

static void a_new_file_is_made_and_left_ordinary(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle;
    struct stat status;

    (void)state;
    options.flags = NVMMIO_CREATE | NVMMIO_CREATE_NEW;
    options.mode = 0600;
    handle = engine_open_with(scratch.path, &options);
    check_eq(nvmmio_size(handle), 0);
    engine_write(handle, "hello", 5, 0);
    check_eq(nvmmio_size(handle), 5);
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    check_eq(stat(scratch.path, &status), 0);
    check_eq(status.st_size, 5);
    check_eq(status.st_mode & 0777, 0600);
    check_text(scratch_list(&scratch), "db ");
    check_error(nvmmio_open(scratch.path, &options, &handle), -EEXIST);
    options.flags = NVMMIO_CREATE_NEW;
    check_error(nvmmio_open(scratch.path, &options, &handle), -EINVAL);
}

static void open_fails_as_open_does(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;

    (void)state;
    check_error(nvmmio_open(scratch.path, NULL, &handle), -ENOENT);
    check(strstr(nvmmio_last_error(), "db") != NULL);
    check_error(nvmmio_open(scratch.directory, NULL, &handle), -EISDIR);
    options.flags = NVMMIO_CREATE;
    check_error(nvmmio_open(scratch_file(&scratch, "no/db"), &options, &handle), -ENOENT);
    check_eq(symlink("loop", scratch_file(&scratch, "loop")), 0);
    check_error(nvmmio_open(scratch_file(&scratch, "loop"), &options, &handle), -ELOOP);
    file_write(scratch.path, "x", 1);
    check_error(nvmmio_open(scratch_file(&scratch, "db/x"), &options, &handle), -ENOTDIR);
    check(handle == NULL);
    check_text(scratch_list(&scratch), "db loop ");
}

static void options_out_of_range_are_refused(void **state)
{
    struct nvmmio_options good = NVMMIO_OPTIONS_INIT, bad;
    struct nvmmio *handle = NULL;

    (void)state;
    good.flags = NVMMIO_CREATE;
    bad = good;
    bad.struct_bytes = 0;
    check_error(nvmmio_open(scratch.path, &bad, &handle), -EINVAL);
    bad = good;
    bad.log_bytes = NVMMIO_LOG_BYTES_MIN - 1;
    check_error(nvmmio_open(scratch.path, &bad, &handle), -EINVAL);
    bad.log_bytes = NVMMIO_LOG_BYTES_MAX + 1;
    check_error(nvmmio_open(scratch.path, &bad, &handle), -EINVAL);
    bad = good;
    bad.medium = NVMMIO_MEDIUM_SIM;
    check_error(nvmmio_open(scratch.path, &bad, &handle), -EINVAL);
    bad = good;
    bad.flags |= 1u << 30;
    check_error(nvmmio_open(scratch.path, &bad, &handle), -EINVAL);
    bad = good;
    bad.timeout_ms = -2;
    check_error(nvmmio_open(scratch.path, &bad, &handle), -EINVAL);
    check(nvmmio_last_error()[0] != '\0');
    check_text(scratch_list(&scratch), "");
    bad = good;
    bad.log_bytes = NVMMIO_LOG_BYTES_MIN;
    engine_close(engine_open_with(scratch.path, &bad));
}

static void options_are_set_from_text(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    (void)state;
    check_ok(nvmmio_option_set(&options, "log_bytes", "262144"));
    check_eq(options.log_bytes, 262144);
    check_ok(nvmmio_option_set(&options, "log_bytes", "256K"));
    check_eq(options.log_bytes, 262144);
    check_ok(nvmmio_option_set(&options, "log_bytes", "3M"));
    check_eq(options.log_bytes, 3 << 20);
    check_ok(nvmmio_option_set(&options, "log_bytes", "64G"));
    check_eq(options.log_bytes, (int64_t)64 << 30);
    check_error(nvmmio_option_set(&options, "log_bytes", "65G"), -ERANGE);
    check_error(nvmmio_option_set(&options, "log_bytes", "1"), -ERANGE);
    check(nvmmio_option_set(&options, "log_bytes", "99999999999999999999") < 0);
    check_error(nvmmio_option_set(&options, "log_bytes", "12x"), -EINVAL);
    check_error(nvmmio_option_set(&options, "log_bytes", ""), -EINVAL);
    check_error(nvmmio_option_set(&options, "log_bytes", "-5"), -EINVAL);
    check_eq(options.log_bytes, (int64_t)64 << 30);
    check_ok(nvmmio_option_set(&options, "medium", "auto"));
    check_ok(nvmmio_option_set(&options, "medium", "dax"));
    check_eq(options.medium, NVMMIO_MEDIUM_DAX);
    check_ok(nvmmio_option_set(&options, "medium", "page"));
    check_eq(options.medium, NVMMIO_MEDIUM_PAGE);
    check_ok(nvmmio_option_set(&options, "medium", "ram"));
    check_eq(options.medium, NVMMIO_MEDIUM_RAM);
    check_error(nvmmio_option_set(&options, "medium", "sim"), -EINVAL);
    check_error(nvmmio_option_set(&options, "medium", "RAM "), -EINVAL);
    check_ok(nvmmio_option_set(&options, "log_dir", "/tmp"));
    check_text(options.log_dir, "/tmp");
    check_error(nvmmio_option_set(&options, "log_dirs", "/tmp"), -ENOENT);
    check(strstr(nvmmio_last_error(), "log_dirs") != NULL);
}

static void reads_end_where_the_file_does(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);
    char buffer[64];

    (void)state;
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 0), 0);
    check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 1u << 30), 0);
    engine_write(handle, "0123456789", 10, 0);
    for (int committed = 0; committed < 2; committed++) {
        check_eq(nvmmio_pread(handle, buffer, sizeof(buffer), 0), 10);
        check(memcmp(buffer, "0123456789", 10) == 0);
        check_eq(nvmmio_pread(handle, buffer, 4, 8), 2);
        check(memcmp(buffer, "89", 2) == 0);
        check_eq(nvmmio_pread(handle, buffer, 4, 10), 0);
        check_eq(nvmmio_pread(handle, buffer, 4, 11), 0);
        check_eq(nvmmio_pread(handle, buffer, 4, UINT64_MAX - 2), 0);
        check_eq(nvmmio_pread(handle, buffer, 0, 0), 0);
        check_ok(nvmmio_sync(handle));
    }
    engine_close(handle);
}

static void writes_that_cannot_be_are_refused_whole(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    engine_write(handle, "abc", 3, 0);
    check(nvmmio_pwrite(handle, "x", 1, UINT64_MAX) < 0);
    check(nvmmio_pwrite(handle, "xy", 2, (uint64_t)INT64_MAX) < 0);
    check(nvmmio_truncate(handle, UINT64_MAX) < 0);
    check_eq(nvmmio_size(handle), 3);
    check_eq(nvmmio_pwrite(handle, "", 0, 100), 0);
    check_eq(nvmmio_size(handle), 3);
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 3);
}

static void staged_bytes_are_seen_by_their_writer_alone(void **state)
{
    struct nvmmio *writer = engine_open(scratch.path), *reader;
    uint8_t byte;

    (void)state;
    engine_fill(writer, 0, 10000, 'a');
    check_ok(nvmmio_sync(writer));
    reader = engine_open(scratch.path);
    engine_fill(writer, 4000, 200, 'b');
    check_ok(nvmmio_truncate(writer, 9000));
    check_eq(nvmmio_stage(writer), NVMMIO_STAGED);
    engine_check_fill(writer, 0, 4000, 'a');
    engine_check_fill(writer, 4000, 200, 'b');
    engine_check_fill(writer, 4200, 4800, 'a');
    check_eq(nvmmio_pread(writer, &byte, 1, 9000), 0);
    engine_check_fill(reader, 0, 10000, 'a');
    check_eq(nvmmio_size(reader), 10000);
    check_ok(nvmmio_sync(writer));
    check_eq(nvmmio_stage(writer), NVMMIO_CLEAN);
    engine_check_fill(reader, 4000, 200, 'b');
    check_eq(nvmmio_size(reader), 9000);
    engine_close(writer);
    engine_close(reader);
}

static void rollback_drops_what_is_staged(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    check_ok(nvmmio_rollback(handle));
    engine_fill(handle, 0, 5000, 'a');
    check_ok(nvmmio_sync(handle));
    engine_fill(handle, 1, 9000, 'b');
    check_ok(nvmmio_truncate(handle, 3));
    engine_fill(handle, 100, 1, 'c');
    check_ok(nvmmio_rollback(handle));
    check_eq(nvmmio_stage(handle), NVMMIO_CLEAN);
    check_eq(nvmmio_size(handle), 5000);
    engine_check_fill(handle, 0, 5000, 'a');
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 5000);
}

static void truncation_leaves_zeros_behind(void **state)
{
    static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 70000, 65, 63, 64};
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int committed = 0; committed < 2; committed++) {
            engine_fill(handle, 0, 100000, 'x');
            if (committed)
                check_ok(nvmmio_sync(handle));
            check_ok(nvmmio_truncate(handle, sizes[i]));
            if (committed)
                check_ok(nvmmio_sync(handle));
            check_eq(nvmmio_size(handle), sizes[i]);
            check_ok(nvmmio_truncate(handle, 100000));
            engine_check_fill(handle, 0, sizes[i], 'x');
            engine_check_fill(handle, sizes[i], 100000 - sizes[i], 0);
            check_ok(nvmmio_sync(handle));
            engine_check_fill(handle, 0, sizes[i], 'x');
            engine_check_fill(handle, sizes[i], 100000 - sizes[i], 0);
        }
    }
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 100000);
}

static void a_gap_before_a_write_is_zeros(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    engine_fill(handle, 0, 10, 'a');
    engine_fill(handle, 3000000, 10, 'b');
    for (int committed = 0; committed < 2; committed++) {
        check_eq(nvmmio_size(handle), 3000010);
        engine_check_fill(handle, 10, 2999990, 0);
        engine_check_fill(handle, 3000000, 10, 'b');
        check_ok(nvmmio_sync(handle));
    }
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 3000010);
}

static void allocation_does_not_change_the_size(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    engine_fill(handle, 0, 10, 'a');
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_allocate(handle, 5 << 20));
    check_ok(nvmmio_allocate(handle, 1));
    check_eq(nvmmio_size(handle), 10);
    check_ok(nvmmio_truncate(handle, 4 << 20));
    engine_check_fill(handle, 10, (4 << 20) - 10, 0);
    check_ok(nvmmio_rollback(handle));
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 10);
}

static void a_flush_empties_the_log(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};

    (void)state;
    for (uint8_t i = 0; i < 10; i++) {
        engine_fill(handle, i * 5000u, 5000, i);
        check_ok(nvmmio_sync(handle));
    }
    check_ok(nvmmio_info(handle, &info));
    check_eq(info.commits, 10);
    check_ok(nvmmio_flush(handle));
    check_ok(nvmmio_info(handle, &info));
    check_eq(info.commits_durable, info.commits);
    for (uint8_t i = 0; i < 10; i++)
        engine_check_fill(handle, i * 5000u, 5000, i);
    engine_close(handle);
    engine_check_plain(scratch.path);
}

static void a_view_shows_home_without_a_copy(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path), *other;
    bool mapped = place_kind() == PLACE_RAM || place_kind() == PLACE_DAX;
    const void *address = NULL;

    (void)state;
    engine_fill(handle, 0, 100000, 'v');
    check_ok(nvmmio_sync(handle));
    other = engine_open(scratch.path);
    check_ok(nvmmio_lock(handle, NVMMIO_SHARED, 0));
    if (mapped) {
        check_ok(nvmmio_view(handle, 5000, 90000, &address));
        for (size_t i = 0; i < 90000; i++)
            check_eq(((const uint8_t *)address)[i], 'v');
        check_error(nvmmio_view(handle, 99999, 2, &address), -EOPNOTSUPP);
        check_ok(nvmmio_view(handle, 99999, 1, &address));
        check_ok(nvmmio_lock(handle, NVMMIO_RESERVED, 0));
        engine_fill(handle, 50000, 1, 'w');
        check_error(nvmmio_view(handle, 49000, 2000, &address), -EOPNOTSUPP);
        check_ok(nvmmio_rollback(handle));
        /* The address outlives the growth of home by somebody else. */
        check_ok(nvmmio_view(handle, 0, 100000, &address));
        check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
        engine_fill(other, 100000, 64 << 20, 'z');
        check_ok(nvmmio_sync(other));
        check_ok(nvmmio_lock(handle, NVMMIO_SHARED, 0));
        check_eq(((const uint8_t *)address)[99999], 'v');
        check_ok(nvmmio_view(handle, 60 << 20, 4096, &address));
        check_eq(((const uint8_t *)address)[4095], 'z');
    } else if (place_kind() == PLACE_PAGE) {
        check_error(nvmmio_view(handle, 0, 1, &address), -EOPNOTSUPP);
    }
    engine_close(other);
    engine_close(handle);
}

static void a_file_opened_for_reading_is_not_written(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle;
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};

    (void)state;
    file_write(scratch.path, "content", 7);
    options.flags = NVMMIO_READ_ONLY;
    handle = engine_open_with(scratch.path, &options);
    check_eq(engine_byte(handle, 6), 't');
    check_error(nvmmio_pwrite(handle, "x", 1, 0), -EROFS);
    check_error(nvmmio_truncate(handle, 0), -EROFS);
    check_ok(nvmmio_info(handle, &info));
    check(info.read_only);
    engine_close(handle);
    engine_check_plain(scratch.path);
    check_eq(file_bytes(scratch.path), 7);
}

static void a_link_leads_to_the_sidecars_of_its_target(void **state)
{
    struct nvmmio *handle, *other;

    (void)state;
    check_eq(mkdir(scratch_file(&scratch, "far"), 0755), 0);
    file_write(scratch_file(&scratch, "far/home"), "home", 4);
    check_eq(symlink("far/home", scratch.path), 0);
    handle = engine_open(scratch.path);
    engine_write(handle, "H", 1, 0);
    check_ok(nvmmio_sync(handle));
    check_text(scratch_list(&scratch), "db far ");
    other = engine_open(scratch_file(&scratch, "far/home"));
    check_eq(engine_byte(other, 0), 'H');
    engine_write(handle, "M", 1, 1);
    check_error(nvmmio_pwrite(other, "x", 1, 0), -EBUSY);
    check_ok(nvmmio_sync(handle));
    engine_close(other);
    engine_close(handle);
    check_eq(file_bytes(scratch_file(&scratch, "far/home")), 4);
    engine_check_plain(scratch_file(&scratch, "far/home"));
}

static void stage_tells_where_a_transaction_is(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path), *reader = engine_open(scratch.path);

    (void)state;
    check_eq(nvmmio_stage(handle), NVMMIO_CLEAN);
    check_ok(nvmmio_seal(handle));
    check_eq(nvmmio_stage(handle), NVMMIO_CLEAN);
    check_ok(nvmmio_commit(handle));
    engine_fill(handle, 0, 10, 'a');
    check_eq(nvmmio_stage(handle), NVMMIO_STAGED);
    check_ok(nvmmio_seal(handle));
    check_eq(nvmmio_stage(handle), NVMMIO_SEALED);
    engine_check_fill(handle, 0, 10, 'a');
    engine_fill(handle, 5, 10, 'b'); /* takes the seal back */
    check_eq(nvmmio_stage(handle), NVMMIO_STAGED);
    check_ok(nvmmio_seal(handle));
    check_ok(nvmmio_commit(handle));
    check_eq(nvmmio_stage(handle), NVMMIO_CLEAN);
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    engine_check_fill(reader, 0, 5, 'a');
    engine_check_fill(reader, 5, 10, 'b');
    /* Sealed and unlocked: applied.  Staged and unlocked: dropped. */
    engine_fill(handle, 0, 1, 'c');
    check_ok(nvmmio_seal(handle));
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    check_eq(engine_byte(reader, 0), 'c');
    check_ok(nvmmio_lock(handle, NVMMIO_SHARED, 0));
    engine_fill(handle, 0, 1, 'd');
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    check_eq(engine_byte(handle, 0), 'c');
    /* Sealed and rolled back; applied without a wait. */
    engine_fill(handle, 0, 1, 'e');
    check_ok(nvmmio_seal(handle));
    check_ok(nvmmio_rollback(handle));
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    check_eq(engine_byte(reader, 0), 'c');
    engine_fill(handle, 0, 1, 'f');
    check_ok(nvmmio_seal(handle));
    check_ok(nvmmio_apply(handle));
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    check_eq(engine_byte(reader, 0), 'f');
    engine_close(reader);
    engine_close(handle);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(a_new_file_is_made_and_left_ordinary),
        T(open_fails_as_open_does),
        T(options_out_of_range_are_refused),
        T(options_are_set_from_text),
        T(reads_end_where_the_file_does),
        T(writes_that_cannot_be_are_refused_whole),
        T(staged_bytes_are_seen_by_their_writer_alone),
        T(rollback_drops_what_is_staged),
        T(truncation_leaves_zeros_behind),
        T(a_gap_before_a_write_is_zeros),
        T(allocation_does_not_change_the_size),
        T(a_flush_empties_the_log),
        T(a_view_shows_home_without_a_copy),
        T(a_file_opened_for_reading_is_not_written),
        T(a_link_leads_to_the_sidecars_of_its_target),
        T(stage_tells_where_a_transaction_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
