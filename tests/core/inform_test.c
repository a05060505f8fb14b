/* What nvmmio.h tells about files, and what it does with them by name. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

/* Leave a crashed file: `commits` commits of one byte each, at offset 0, then death. */
static void write_and_die(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    for (uintptr_t i = 1; i <= (uintptr_t)argument; i++) {
        engine_fill(handle, 0, 5000, (uint8_t)i);
        check_ok(nvmmio_sync(handle));
    }
    engine_fill(handle, 0, 5000, 0xee);
    parent_send('k');
    (void)parent_receive();
}

static void leave_crashed(uintptr_t commits)
{
    struct child child;

    child_start(&child, write_and_die, (void *)commits);
    child_expect(&child, 'k');
    child_kill(&child);
}

/* A program that makes one commit pays for no more. */
static void the_log_grows_with_what_is_in_it(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};

    (void)state;
    engine_fill(handle, 0, 4000, 1);
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_info(handle, &info));
    check_eq(info.log_file_bytes, 64 << 10);
    for (unsigned i = 0; i < 1500; i++) {
        engine_fill(handle, 0, 4000, (uint8_t)i);
        check_ok(nvmmio_sync(handle));
    }
    check_ok(nvmmio_info(handle, &info));
    check(info.log_file_bytes > 1 << 20);
    check(info.log_file_bytes <= info.log_bytes);
    check_ok(nvmmio_close(handle));
}

static void info_says_what_survives(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path), *again;
    struct nvmmio_info info = {.struct_bytes = sizeof(info)},
                       probe = {.struct_bytes = sizeof(probe)};

    (void)state;
    engine_fill(handle, 0, 12345, 1);
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_info(handle, &info));
    check_ok(nvmmio_probe(scratch.directory, &probe));
    check_eq(info.home_bytes, 12345);
    check(info.home_file_bytes >= 12345);
    check(info.log_file_bytes > 0);
    check(info.log_file_bytes <= info.log_bytes || info.log_bytes == 0);
    check_eq(info.commits, 1);
    check_eq(info.processes, 1);
    check(info.survives_process && !info.poisoned && !info.read_only && !info.marked);
    check(info.why[0] != '\0');
    check(file_exists(info.log_path));
    check_eq(info.home_medium, probe.home_medium);
    check_eq(info.survives_power, probe.survives_power);
    if (place_kind() == PLACE_RAM)
        check(info.home_medium == NVMMIO_MEDIUM_RAM && !info.survives_power && !info.forced);
    if (place_kind() == PLACE_DAX)
        check(info.home_medium == NVMMIO_MEDIUM_DAX && info.forced && !info.survives_power);
    if (place_kind() == PLACE_PAGE)
        check(info.home_medium == NVMMIO_MEDIUM_PAGE && info.survives_power);
    again = engine_open(scratch.path);
    check_ok(nvmmio_info(again, &info));
    check_eq(info.processes, 1);
    engine_close(again);
    engine_close(handle);
    check_error(nvmmio_probe(scratch_file(&scratch, "none"), &probe), -ENOENT);
}

static void a_medium_that_cannot_be_is_refused(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};
    struct nvmmio *handle = NULL;

    (void)state;
    options.flags = NVMMIO_CREATE;
    options.medium = NVMMIO_MEDIUM_DAX;
    if (place_kind() == PLACE_RAM || place_kind() == PLACE_PAGE) {
        check_error(nvmmio_open(scratch.path, &options, &handle), -EOPNOTSUPP);
        check(strstr(nvmmio_last_error(), "db") || strstr(nvmmio_last_error(), "MAP_SYNC"));
        check(!file_exists(scratch_file(&scratch, "db-nvmmio")));
    }
    options.medium = NVMMIO_MEDIUM_RAM;
    handle = engine_open_with(scratch.path, &options);
    engine_fill(handle, 0, 100, 1);
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_info(handle, &info));
    check_eq(info.home_medium, NVMMIO_MEDIUM_RAM);
    check(!info.survives_power);
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 100);
}

static void statistics_count(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);
    struct nvmmio_stats before = {.struct_bytes = sizeof(before)};
    struct nvmmio_stats after = {.struct_bytes = sizeof(after)},
                        live = {.struct_bytes = sizeof(live)};

    (void)state;
    check_ok(nvmmio_stats(handle, &before));
    for (int i = 0; i < 3; i++) {
        engine_fill(handle, (uint64_t)i * 8192, 8192, 7);
        check_ok(nvmmio_sync(handle));
    }
    engine_fill(handle, 0, 1, 8);
    check_ok(nvmmio_rollback(handle));
    engine_check_fill(handle, 0, 8192, 7);
    check_ok(nvmmio_stats(handle, &after));
    check_eq(after.commits - before.commits, 3);
    check_eq(after.rollbacks - before.rollbacks, 1);
    check_eq(after.fences - before.fences, 3);
    check(after.blocks - before.blocks >= 6);
    check(after.home_bytes - before.home_bytes >= 3 * 8192);
    check_eq(after.written_bytes - before.written_bytes, 3 * 8192 + 1);
    check_eq(after.read_bytes - before.read_bytes, 8192);
    check_ok(nvmmio_stats_live(scratch.path, &live));
    check_eq(live.commits, after.commits);
    engine_close(handle);
    check(nvmmio_stats_live(scratch.path, &live) < 0);
    check(nvmmio_stats_live(scratch_file(&scratch, "none"), &live) < 0);
    check_text(scratch_list(&scratch), "db ");
}

static void check_looks_and_changes_nothing(void **state)
{
    struct nvmmio_report report = {.struct_bytes = sizeof(report)};
    void *before, *after;
    struct nvmmio *handle;
    int64_t bytes;

    (void)state;
    check_error(nvmmio_check(scratch.path, NULL, &report), -ENOENT);
    file_write(scratch.path, "plain", 5);
    check_ok(nvmmio_check(scratch.path, NULL, &report));
    check_eq(report.state, NVMMIO_STATE_PLAIN);
    check_eq(report.home_bytes, 5);
    handle = engine_open(scratch.path);
    engine_fill(handle, 0, 5000, 1);
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_check(scratch.path, NULL, &report));
    check_eq(report.state, NVMMIO_STATE_LIVE);
    engine_close(handle);
    leave_crashed(4);
    bytes = file_read(scratch_file(&scratch, "db-nvmmio"), &before);
    check_ok(nvmmio_check(scratch.path, NULL, &report));
    check_eq(report.state, NVMMIO_STATE_CRASHED);
    check_eq(report.home_bytes, 5000);
    check(!report.prepared);
    check(report.detail[0] != '\0');
    check(strstr(report.log_path, "db-nvmmio") != NULL);
    check_eq(file_read(scratch_file(&scratch, "db-nvmmio"), &after), bytes);
    check(memcmp(before, after, (size_t)bytes) == 0);
    free(before);
    free(after);
}

static uint64_t progress_last;
static void progress_seen(void *context, uint64_t done, uint64_t total)
{
    check(done <= total);
    check(done >= progress_last);
    progress_last = done;
    *(int *)context += 1;
}

static void recover_leaves_an_ordinary_file(void **state)
{
    struct nvmmio_report report = {.struct_bytes = sizeof(report)};
    void *content;
    int calls = 0;

    (void)state;
    leave_crashed(7);
    progress_last = 0;
    check_ok(nvmmio_recover(scratch.path, NULL, progress_seen, &calls, &report));
    check_eq(report.home_bytes, 5000);
    engine_check_plain(scratch.path);
    check_eq(file_read(scratch.path, &content), 5000);
    for (int i = 0; i < 5000; i++)
        check_eq(((uint8_t *)content)[i], 7);
    free(content);
    check_ok(nvmmio_recover(scratch.path, NULL, NULL, NULL, &report)); /* idempotent */
    check_eq(report.records, 0);
    check_eq(file_bytes(scratch.path), 5000);
    check_error(nvmmio_recover(scratch_file(&scratch, "none"), NULL, NULL, NULL, &report), -ENOENT);
}

static void a_reader_refuses_what_needs_recovery(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;

    (void)state;
    leave_crashed(3);
    options.flags = NVMMIO_READ_ONLY;
    check(nvmmio_open(scratch.path, &options, &handle) < 0);
    check(nvmmio_last_error()[0] != '\0');
    engine_close(engine_open(scratch.path));
    handle = engine_open_with(scratch.path, &options);
    engine_check_fill(handle, 0, 5000, 3);
    engine_close(handle);
}

static void rename_takes_the_commits_along(void **state)
{
    const char *to = scratch_file(&scratch, "new");
    struct nvmmio *handle;

    (void)state;
    leave_crashed(5);
    check_ok(nvmmio_rename(scratch.path, to));
    check_text(scratch_list(&scratch), "new ");
    handle = engine_open(to);
    engine_check_fill(handle, 0, 5000, 5);
    check_error(nvmmio_rename(to, scratch.path), -EBUSY);
    check_error(nvmmio_unlink(to), -EBUSY);
    engine_close(handle);
    check_error(nvmmio_rename(scratch.path, to), -ENOENT);
    check_error(nvmmio_unlink(scratch.path), -ENOENT);
    check_ok(nvmmio_unlink(to));
    check_text(scratch_list(&scratch), "");
}

/* A target that is in use is not replaced under its users, and its old log is not inherited. */
static void rename_onto_another_file(void **state)
{
    const char *from = scratch_file(&scratch, "from");
    struct nvmmio *handle;

    (void)state;
    leave_crashed(6);
    file_write(from, "other", 5);
    handle = engine_open(scratch.path);
    check_error(nvmmio_rename(from, scratch.path), -EBUSY);
    engine_check_fill(handle, 0, 5000, 6);
    engine_close(handle);
    leave_crashed(6);
    check_ok(nvmmio_rename(from, scratch.path));
    check_text(scratch_list(&scratch), "db ");
    handle = engine_open(scratch.path);
    check_eq(nvmmio_size(handle), 5);
    check_eq(engine_byte(handle, 0), 'o');
    engine_close(handle);
}

static void unlink_removes_a_crashed_file_with_its_log(void **state)
{
    struct nvmmio *handle;

    (void)state;
    leave_crashed(2);
    check_ok(nvmmio_unlink(scratch.path));
    check_text(scratch_list(&scratch), "");
    handle = engine_open(scratch.path);
    check_eq(nvmmio_size(handle), 0);
    engine_close(handle);
}

static void a_log_can_live_elsewhere(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};
    const char *logs = scratch_file(&scratch, "logs");
    struct nvmmio *handle;

    (void)state;
    check_eq(mkdir(logs, 0755), 0);
    options.flags = NVMMIO_CREATE;
    options.log_dir = logs;
    handle = engine_open_with(scratch.path, &options);
    engine_fill(handle, 0, 100, 1);
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_info(handle, &info));
    check(strncmp(info.log_path, logs, strlen(logs)) == 0);
    check(!file_exists(scratch_file(&scratch, "db-nvmmio")));
    engine_close(handle);
    check(!file_exists(info.log_path));
    options.log_dir = scratch_file(&scratch, "missing");
    /* There is no log before the first commit: it is then that the place must be there. */
    if (nvmmio_open(scratch.path, &options, &handle) == 0) {
        ssize_t written = nvmmio_pwrite(handle, "x", 1, 0);

        check_error(written < 0 ? (int)written : nvmmio_sync(handle), -ENOENT);
        check(strstr(nvmmio_last_error(), "missing") != NULL);
        engine_check_fill(handle, 0, 100, 1);
        engine_close(handle);
    } else {
        check(strstr(nvmmio_last_error(), "missing") != NULL);
    }
}

static const struct nvmmio_mark mark = {
    .bytes = 48,
    .nonce_at = 32,
    .mask = {[5] = 0xff, [40] = 0x11},
    .empty = {'E', [5] = 'm' ^ 0xff},
    .sign = {[5] = 1},
};

/* Ends with home marked and its only log in another place. */
static void write_marked_and_die(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle;

    options.flags = NVMMIO_CREATE;
    options.mark = &mark;
    options.log_dir = argument;
    handle = engine_open_with(scratch.path, &options);
    engine_fill(handle, 0, 10000, 'm');
    check_ok(nvmmio_sync(handle));
    engine_fill(handle, 0, 1, 'n');
    check_ok(nvmmio_sync(handle));
    parent_send('k');
    (void)parent_receive();
}

static void a_marked_home_waits_for_its_log(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio_report report = {.struct_bytes = sizeof(report)};
    const char *logs = scratch_file(&scratch, "logs");
    struct nvmmio *handle = NULL;
    struct child child;
    void *content;

    (void)state;
    check_eq(mkdir(logs, 0755), 0);
    child_start(&child, write_marked_and_die, (void *)(uintptr_t)logs);
    child_expect(&child, 'k');
    child_kill(&child);
    check(file_read(scratch.path, &content) >= 10000);
    check(((uint8_t *)content)[5] != 'm'); /* other programs see the mark */
    check_eq(((uint8_t *)content)[5], 'm' ^ 0xff);
    free(content);
    content = NULL;
    options.mark = &mark;
    check_ok(nvmmio_check(scratch.path, &options, &report));
    check_eq(report.state, NVMMIO_STATE_LOG_MISSING);
    check_error(nvmmio_open(scratch.path, &options, &handle), -EUCLEAN);
    check(strstr(nvmmio_last_error(), "log_dir") != NULL);
    options.log_dir = logs;
    handle = engine_open_with(scratch.path, &options);
    check_eq(engine_byte(handle, 0), 'n');
    engine_check_fill(handle, 1, 9999, 'm');
    engine_close(handle);
    check_eq(file_read(scratch.path, &content), 10000);
    check_eq(((uint8_t *)content)[5], 'm');
    check_eq(((uint8_t *)content)[40], 'm');
    free(content);
}

static void every_error_has_words(void **state)
{
    (void)state;
    for (int error = 1; error < 134; error++) {
        check(nvmmio_strerror(-error) && nvmmio_strerror(-error)[0] != '\0');
        check_text(nvmmio_strerror(-error), nvmmio_strerror(error));
    }
    check(nvmmio_strerror(INT32_MIN) && nvmmio_strerror(INT32_MAX) && nvmmio_strerror(0));
    check_text(nvmmio_version(), NVMMIO_VERSION);
    check_text(nvmmio_medium_name(NVMMIO_MEDIUM_DAX), "dax");
    check_text(nvmmio_medium_name(NVMMIO_MEDIUM_PAGE), "page");
    check_text(nvmmio_medium_name(NVMMIO_MEDIUM_RAM), "ram");
    check_text(nvmmio_medium_name(NVMMIO_MEDIUM_AUTO), "auto");
    check(nvmmio_medium_name((enum nvmmio_medium)77) != NULL);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(the_log_grows_with_what_is_in_it),
        T(info_says_what_survives),
        T(a_medium_that_cannot_be_is_refused),
        T(statistics_count),
        T(check_looks_and_changes_nothing),
        T(recover_leaves_an_ordinary_file),
        T(a_reader_refuses_what_needs_recovery),
        T(rename_takes_the_commits_along),
        T(rename_onto_another_file),
        T(unlink_removes_a_crashed_file_with_its_log),
        T(a_log_can_live_elsewhere),
        T(a_marked_home_waits_for_its_log),
        T(every_error_has_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
