/*
 * Logs that come back: the removal of a name is durable some time later than it
 * is seen, and a log may meet a home that is not the one that it was for.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/core/rig.h"

static void commit_fill(struct nvmmio *handle, uint64_t offset, uint64_t bytes, uint8_t value)
{
    engine_fill(handle, offset, bytes, value);
    check_ok(nvmmio_sync(handle));
}

/* The log is removed, and kept under another name. */
static int unlink_and_keep(const struct nv_os *os, const char *path)
{
    size_t length = strlen(path);

    if (length > 7 && strcmp(path + length - 7, "-nvmmio") == 0)
        check_eq(link(path, scratch_file(&scratch, "kept")), 0);
    return nv_os_posix.unlink(os, path);
}

static void close_and_keep(void *argument)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();
    struct nv_process *process;
    struct nvmmio *handle;

    options.mark = argument;
    os.unlink = unlink_and_keep;
    process = rig_process(&os);
    handle = rig_open(process, scratch.path, &options);
    commit_fill(handle, 0, 5000, 7);
    engine_close(handle);
    nv_process_destroy(process);
}

static void expect_state(const char *path, enum nvmmio_state state)
{
    struct nvmmio_report report = {.struct_bytes = sizeof(report)};

    check_ok(nvmmio_check(path, NULL, &report));
    check_eq(report.state, state);
}

static void put_log(const char *home)
{
    char path[700];

    (void)snprintf(path, sizeof(path), "%s-nvmmio", home);
    check_eq(rename(scratch_file(&scratch, "kept"), path), 0);
}

static void an_emptied_log_comes_back(void **state)
{
    const struct nvmmio_mark *const marks[] = {NULL, rig_mark()};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct nvmmio_options options = rig_options();
        struct nvmmio *handle;

        scratch_empty(&scratch);
        options.mark = marks[i];
        child_run(close_and_keep, (void *)(uintptr_t)marks[i]);
        /* Meanwhile another program has made the file longer. */
        check_eq(truncate(scratch.path, 9000), 0);
        put_log(scratch.path);
        expect_state(scratch.path, NVMMIO_STATE_CRASHED);
        handle = engine_open_with(scratch.path, &options);
        check_eq(nvmmio_size(handle), 9000);
        engine_check_fill(handle, 0, 5000, 7);
        engine_check_fill(handle, 5000, 4000, 0);
        engine_close(handle);
        engine_check_plain(scratch.path);
    }
}

/* The kept log is gone for good. */
static int sync_and_forget(const struct nv_os *os, const char *path)
{
    int error = nv_os_posix.sync_directory(os, path);

    if (!error)
        (void)unlink(scratch_file(&scratch, "kept"));
    return error;
}

static void stage_and_die(void *argument)
{
    struct nvmmio_options options = rig_options();
    struct nvmmio *handle;

    options.mark = argument;
    handle = engine_open_with(scratch.path, &options);
    engine_fill(handle, 0, 5000, 7);
    rig_die();
}

/* With a commit, in a log that has a directory of its own. */
static void commit_apart_and_die(void *argument)
{
    struct nvmmio_options options = rig_options();

    options.log_dir = argument;
    commit_fill(engine_open_with(scratch.path, &options), 0, 5000, 7);
    rig_die();
}

static void recover_and_keep(void *argument)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();
    struct nv_process *process;

    options.log_dir = argument;
    os.unlink = unlink_and_keep;
    os.sync_directory = sync_and_forget;
    process = rig_process(&os);
    engine_close(rig_open(process, scratch.path, &options));
    nv_process_destroy(process);
}

/* Such logs must not come back: one of a home that it would cut, one that nobody may look for. */
static void what_may_not_come_back(void **state)
{
    const char *apart = scratch_file(&scratch, "apart");
    struct child child;

    (void)state;
    child_start(&child, stage_and_die, NULL);
    check_eq(child_wait(&child), -SIGKILL);
    child_run(recover_and_keep, NULL);
    check(!file_exists(scratch_file(&scratch, "kept")));
    engine_check_plain(scratch.path);

    scratch_empty(&scratch);
    check_eq(mkdir(apart, 0755), 0);
    child_start(&child, commit_apart_and_die, (void *)(uintptr_t)apart);
    check_eq(child_wait(&child), -SIGKILL);
    child_run(recover_and_keep, (void *)(uintptr_t)apart);
    check(!file_exists(scratch_file(&scratch, "kept")));
    engine_check_plain(scratch.path);
}

static void an_emptied_log_comes_back_to_another_file(void **state)
{
    const struct nvmmio_mark *const marks[] = {NULL, rig_mark()};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *other = scratch_file(&scratch, "other");
        struct nvmmio_options options = rig_options();
        struct nvmmio *handle;

        scratch_empty(&scratch);
        options.mark = marks[i];
        child_run(close_and_keep, (void *)(uintptr_t)marks[i]);
        file_write(other, "another", 7);
        put_log(other);
        expect_state(other, NVMMIO_STATE_CRASHED);
        handle = engine_open_with(other, &options);
        check_eq(nvmmio_size(handle), 7);
        engine_close(handle);
        engine_check_plain(other);
    }
}

/* A log that outlived a home which never had a durable name.  But a copy of a home that is in use
 * needs what its log knows. */
static void a_log_without_records_under_another_file(void **state)
{
    const struct nvmmio_mark *const marks[] = {NULL, rig_mark()};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const struct nvmmio_mark *mark = marks[i % 2];
        struct nvmmio_options options = rig_options();
        struct nvmmio *handle = NULL;
        struct child child;
        bool copy = i >= 2;
        char log_path[700];
        void *content;
        int64_t bytes;

        scratch_empty(&scratch);
        options.mark = mark;
        child_start(&child, stage_and_die, (void *)(uintptr_t)mark);
        check_eq(child_wait(&child), -SIGKILL);
        bytes = file_read(scratch.path, &content);
        check_eq(rename(scratch.path, scratch_file(&scratch, "gone")), 0);
        file_write(scratch.path, content, copy ? (size_t)bytes : 0);
        free(content);
        (void)snprintf(log_path, sizeof(log_path), "%s-nvmmio", scratch.path);
        check(file_exists(log_path));
        if (copy) {
            expect_state(scratch.path, NVMMIO_STATE_DAMAGED);
            check_error(nvmmio_open(scratch.path, &options, &handle), -EUCLEAN);
            check(file_exists(log_path));
            check_eq(file_bytes(scratch.path), bytes);
            continue;
        }
        expect_state(scratch.path, NVMMIO_STATE_CRASHED);
        handle = engine_open_with(scratch.path, &options);
        check_eq(nvmmio_size(handle), 0);
        commit_fill(handle, 0, 100, 3);
        engine_close(handle);
        check_eq(rig_plain_byte(scratch.path, 99), 3);
        engine_check_plain(scratch.path);
    }
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(an_emptied_log_comes_back),
        T(an_emptied_log_comes_back_to_another_file),
        T(what_may_not_come_back),
        T(a_log_without_records_under_another_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
