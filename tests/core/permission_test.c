/*
 * What somebody without rights gets: the tests here run as root and do the
 * opening in children of another user id.  Run without that right they say so.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

#define NOBODY 65534

static void become_nobody(void)
{
    check_eq(setgroups(0, NULL), 0);
    check_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
    check_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* Leave a crashed file of root's. */
static void write_and_die(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)argument;
    engine_fill(handle, 0, 5000, 1);
    check_ok(nvmmio_sync(handle));
    parent_send('k');
    (void)parent_receive();
}

static void leave_crashed(void)
{
    struct child child;

    child_start(&child, write_and_die, NULL);
    child_expect(&child, 'k');
    child_kill(&child);
}

static void open_unreadable(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;

    (void)argument;
    become_nobody();
    check_error(nvmmio_open(scratch.path, &options, &handle), -EACCES);
    check(strstr(nvmmio_last_error(), "db") != NULL);
    options.flags = NVMMIO_READ_ONLY;
    check_error(nvmmio_open(scratch.path, &options, &handle), -EACCES);
    options.flags = NVMMIO_CREATE;
    check_error(nvmmio_open(scratch_file(&scratch, "new"), &options, &handle), -EACCES);
}

static void a_file_of_somebody_else(void **state)
{
    (void)state;
    need_root();
    file_write(scratch.path, "secret", 6);
    check_eq(chmod(scratch.path, 0600), 0);
    child_run(open_unreadable, NULL);
    check_text(scratch_list(&scratch), "db ");
}

static void open_readable(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;
    int want = *(int *)argument;

    become_nobody();
    check_error(nvmmio_open(scratch.path, &options, &handle), -EACCES);
    options.flags = NVMMIO_READ_ONLY;
    if (want == 0) {
        handle = engine_open_with(scratch.path, &options);
        check_eq(engine_byte(handle, 0), 1);
        check_eq(nvmmio_size(handle), 5000);
        check_error(nvmmio_pwrite(handle, "x", 1, 0), -EROFS);
        engine_close(handle);
    } else {
        check_error(nvmmio_open(scratch.path, &options, &handle), want);
        check(nvmmio_last_error()[0] != '\0');
    }
}

static void a_file_that_may_only_be_read(void **state)
{
    struct nvmmio *handle;
    int want = 0;

    (void)state;
    need_root();
    handle = engine_open(scratch.path);
    engine_fill(handle, 0, 5000, 1);
    check_ok(nvmmio_sync(handle));
    want = -EBUSY; /* a writer is in it, and taking part needs the right to write */
    child_run(open_readable, &want);
    engine_close(handle);
    want = 0;
    child_run(open_readable, &want);
    check_text(scratch_list(&scratch), "db ");
    leave_crashed();
    want = -EROFS;
    child_run(open_readable, &want);
    engine_close(engine_open(scratch.path));
    want = 0;
    child_run(open_readable, &want);
}

static void write_in_a_closed_directory(void *argument)
{
    struct nvmmio *handle = NULL;
    int result;

    (void)argument;
    become_nobody();
    result = nvmmio_open(scratch.path, NULL, &handle);
    if (result == 0) {
        ssize_t written = nvmmio_pwrite(handle, "x", 1, 0);

        result = written < 0 ? (int)written : nvmmio_sync(handle);
        engine_close(handle);
    }
    check_eq(result, -EACCES);
    check(strstr(nvmmio_last_error(), "nvmmio") != NULL);
}

/* Home may be written, but no sidecar can be made beside it. */
static void a_directory_that_may_not_be_written(void **state)
{
    (void)state;
    need_root();
    file_write(scratch.path, "home", 4);
    check_eq(chown(scratch.path, NOBODY, NOBODY), 0);
    child_run(write_in_a_closed_directory, NULL);
    check_text(scratch_list(&scratch), "db ");
    check_eq(file_bytes(scratch.path), 4);
}

/* Sidecars belong to whom home belongs: whoever may use home can use them after a crash. */
static void sidecars_take_homes_owner_and_mode(void **state)
{
    static const char *const names[] = {"db-nvmmio", "db-nvmmio-shm"};
    struct stat status;

    (void)state;
    need_root();
    file_write(scratch.path, "home", 4);
    check_eq(chown(scratch.path, NOBODY, NOBODY), 0);
    check_eq(chmod(scratch.path, 0640), 0);
    leave_crashed();
    for (size_t i = 0; i < 2; i++) {
        check_eq(stat(scratch_file(&scratch, names[i]), &status), 0);
        check_eq(status.st_uid, NOBODY);
        check_eq(status.st_gid, NOBODY);
        check_eq(status.st_mode & 0777, 0640);
    }
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(a_file_of_somebody_else),
        T(a_file_that_may_only_be_read),
        T(a_directory_that_may_not_be_written),
        T(sidecars_take_homes_owner_and_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
