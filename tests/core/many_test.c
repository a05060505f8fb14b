/*
 * Commits over several files: nvmmio_sync_many, and prepare and resolve as an
 * adapter uses them, with a death before every system call.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/core/trace.h"

#define FILES 3

static _Atomic uint64_t *acknowledged;

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    acknowledged = child_memory(sizeof(*acknowledged));
    return 0;
}

static const char *file_path(size_t i)
{
    static const char *const names[FILES] = {"a", "b", "c"};

    return scratch_file(&scratch, names[i]);
}

static void restart(void)
{
    scratch_empty(&scratch);
    atomic_store(acknowledged, 0);
    for (size_t i = 0; i < FILES; i++) {
        struct nvmmio *handle = engine_open(file_path(i));

        engine_fill(handle, 0, 6000, 0);
        check_ok(nvmmio_sync(handle));
        engine_close(handle);
    }
}

static void stage_all(struct nvmmio *handles[], uint8_t value)
{
    for (size_t i = 0; i < FILES; i++)
        engine_fill(handles[i], i * 100, 5000, value);
}

static void commit_many(void *argument)
{
    struct nvmmio *handles[FILES];

    (void)argument;
    trace_begin();
    for (size_t i = 0; i < FILES; i++)
        handles[i] = engine_open(file_path(i));
    for (uint8_t value = 1; value <= 3; value++) {
        stage_all(handles, value);
        check_ok(nvmmio_sync_many(handles, FILES));
        atomic_store(acknowledged, value);
    }
    for (size_t i = 0; i < FILES; i++)
        engine_close(handles[i]);
    trace_end();
}

/* All files hold the same commit, acknowledged or begun; nothing that counts lies about. */
static void verify_all(void)
{
    uint8_t first = 0, last = (uint8_t)atomic_load(acknowledged);

    for (size_t i = 0; i < FILES; i++) {
        struct nvmmio *handle = engine_open(file_path(i));
        uint8_t value = engine_byte(handle, i * 100);

        engine_check_fill(handle, i * 100, 5000, value);
        engine_check_fill(handle, i * 100 + 5000, 1000 - i * 100, 0);
        if (i == 0)
            first = value;
        check_eq(value, first);
        engine_fill(handle, 5999, 1, 0);
        check_ok(nvmmio_sync(handle));
        engine_close(handle);
    }
    check(first >= last && first <= last + 1);
    /* The file that decided goes with the last of those that it was for. */
    for (const char *name = scratch_list(&scratch); *name; name += strcspn(name, " ") + 1)
        if (name[1] != ' ' || name[0] < 'a' || name[0] > 'c')
            check_fail("there is %s", name);
}

static void many_commit_as_one(void **state)
{
    (void)state;
    restart();
    child_run(commit_many, NULL);
    check_eq(atomic_load(acknowledged), 3);
    verify_all();
}

static void many_commit_as_one_whenever_one_dies(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n += place_stride()) {
        bool killed;

        restart();
        check_note("killed before call %llu", (unsigned long long)n);
        killed = trace_kill(commit_many, NULL, TRACE_CALL, n, NULL);
        verify_all();
        if (!killed)
            break;
    }
    check_note("%s", "");
}

static void many_of_none_and_of_one(void **state)
{
    struct nvmmio *handle;

    (void)state;
    check_ok(nvmmio_sync_many(NULL, 0));
    handle = engine_open(scratch.path);
    check_ok(nvmmio_sync_many(&handle, 1));
    engine_fill(handle, 0, 10, 1);
    check_ok(nvmmio_sync_many(&handle, 1));
    engine_close(handle);
    check_eq(file_bytes(scratch.path), 10);
    check_text(scratch_list(&scratch), "db ");
}

/* One of them cannot: none of them does, and all are as they were. */
static void many_fail_as_one(void **state)
{
    struct nvmmio *handles[FILES], *reader;
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    (void)state;
    restart();
    options.timeout_ms = 0;
    for (size_t i = 0; i < FILES; i++)
        handles[i] = engine_open_with(file_path(i), &options);
    reader = engine_open(file_path(2));
    check_ok(nvmmio_lock(reader, NVMMIO_SHARED, 0));
    stage_all(handles, 7);
    check_error(nvmmio_sync_many(handles, FILES), -EBUSY);
    check_eq(engine_byte(reader, 200), 0);
    for (size_t i = 0; i < FILES; i++)
        check_eq(nvmmio_stage(handles[i]) != NVMMIO_CLEAN, 1);
    engine_close(reader);
    check_ok(nvmmio_sync_many(handles, FILES));
    for (size_t i = 0; i < FILES; i++) {
        engine_check_fill(handles[i], i * 100, 5000, 7);
        engine_close(handles[i]);
    }
    check_text(scratch_list(&scratch), "a b c ");
}

static void touch(const char *path)
{
    file_write(path, "", 0);
}

/* Prepares one file on `super` (and a child file, if told), then ends. */
struct prepared {
    char super[700], child[700];
    bool with_child;
};
static struct prepared prepared;

static void prepare_and_die(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)argument;
    engine_fill(handle, 0, 100, 1);
    check_ok(nvmmio_sync(handle));
    engine_fill(handle, 0, 100, 2);
    check_ok(nvmmio_prepare(handle, prepared.super, prepared.with_child ? prepared.child : NULL));
    check_eq(nvmmio_stage(handle), NVMMIO_PREPARED);
    parent_send('k');
    (void)parent_receive();
}

static void prepare_and_kill(bool with_child)
{
    struct child child;

    scratch_empty(&scratch);
    (void)snprintf(prepared.super, sizeof(prepared.super), "%s", scratch_file(&scratch, "super"));
    (void)snprintf(prepared.child, sizeof(prepared.child), "%s", scratch_file(&scratch, "child"));
    prepared.with_child = with_child;
    touch(prepared.super);
    if (with_child) /* as a journal's trailer does, it names the super */
        file_write(prepared.child, prepared.super, strlen(prepared.super) + 1);
    child_start(&child, prepare_and_die, NULL);
    child_expect(&child, 'k');
    child_kill(&child);
}

static void a_super_that_exists_rolls_back(void **state)
{
    (void)state;
    for (int with_child = 0; with_child < 2; with_child++) {
        struct nvmmio_report report = {.struct_bytes = sizeof(report)};
        struct nvmmio *handle;

        prepare_and_kill(with_child != 0);
        check_ok(nvmmio_check(scratch.path, NULL, &report));
        check(report.prepared);
        handle = engine_open(scratch.path);
        engine_check_fill(handle, 0, 100, 1);
        engine_close(handle);
        check(!file_exists(prepared.child));
        engine_check_plain(scratch.path);
        /* Decided once: what becomes of the super later changes nothing. */
        (void)unlink(prepared.super);
        handle = engine_open(scratch.path);
        engine_check_fill(handle, 0, 100, 1);
        engine_close(handle);
    }
}

static void a_super_that_is_gone_commits(void **state)
{
    (void)state;
    for (int with_child = 0; with_child < 2; with_child++) {
        struct nvmmio *handle;

        prepare_and_kill(with_child != 0);
        check_eq(unlink(prepared.super), 0);
        handle = engine_open(scratch.path);
        engine_check_fill(handle, 0, 100, 2);
        engine_close(handle);
        check(!file_exists(prepared.child));
        engine_check_plain(scratch.path);
    }
}

static void both_gone_is_refused(void **state)
{
    struct nvmmio *handle = NULL;

    (void)state;
    prepare_and_kill(true);
    check_eq(unlink(prepared.super), 0);
    check_eq(unlink(prepared.child), 0);
    check_error(nvmmio_open(scratch.path, NULL, &handle), -EUCLEAN);
    check(strstr(nvmmio_last_error(), prepared.super) != NULL);
    touch(prepared.super); /* the decision comes back: it can be opened again */
    handle = engine_open(scratch.path);
    engine_check_fill(handle, 0, 100, 1);
    engine_close(handle);
}

static void a_prepared_transaction_is_resolved(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path), *reader = engine_open(scratch.path);
    const char *super = scratch_file(&scratch, "super");
    char long_path[4000];

    (void)state;
    touch(super);
    engine_fill(handle, 0, 10, 1);
    check_ok(nvmmio_prepare(handle, super, NULL));
    check_error(nvmmio_lock(reader, NVMMIO_SHARED, 0), -EBUSY);
    check_ok(nvmmio_resolve(handle, true));
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    engine_check_fill(reader, 0, 10, 1);
    engine_fill(handle, 0, 10, 2);
    check_ok(nvmmio_prepare(handle, super, NULL));
    check_ok(nvmmio_resolve(handle, false));
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    engine_check_fill(reader, 0, 10, 1);
    engine_fill(handle, 0, 10, 3);
    check_ok(nvmmio_prepare(handle, super, NULL));
    check_ok(nvmmio_rollback(handle));
    check_eq(nvmmio_stage(handle), NVMMIO_CLEAN);
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    engine_check_fill(reader, 0, 10, 1);
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';
    engine_fill(handle, 0, 10, 4);
    check(nvmmio_prepare(handle, long_path, NULL) < 0);
    check(nvmmio_prepare(handle, "relative", NULL) < 0);
    check_ok(nvmmio_rollback(handle));
    engine_close(handle);
    engine_close(reader);
    engine_check_plain(scratch.path);
}

/* An unlock and a close go by the super file, as a recovery would; they do not roll back what the
 * other files have committed. */
static void a_prepared_transaction_that_is_left(void **state)
{
    const char *super = scratch_file(&scratch, "super");
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    engine_fill(handle, 0, 10, 1);
    check_ok(nvmmio_sync(handle));
    for (int i = 0; i < 4; i++) {
        bool gone = i % 2 == 0, closes = i / 2 == 0;
        uint8_t byte = (uint8_t)(i + 2);

        touch(super);
        engine_fill(handle, 0, 10, byte);
        check_ok(nvmmio_prepare(handle, super, NULL));
        if (gone)
            check_eq(unlink(super), 0);
        if (closes) {
            engine_close(handle);
            engine_check_plain(scratch.path);
            handle = engine_open(scratch.path);
        } else {
            check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
        }
        engine_check_fill(handle, 0, 10, gone ? byte : (uint8_t)(byte - 1));
    }
    engine_close(handle);
    engine_check_plain(scratch.path);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(many_commit_as_one),
        T(many_commit_as_one_whenever_one_dies),
        T(many_of_none_and_of_one),
        T(many_fail_as_one),
        T(a_super_that_exists_rolls_back),
        T(a_super_that_is_gone_commits),
        T(both_gone_is_refused),
        T(a_prepared_transaction_is_resolved),
        T(a_prepared_transaction_that_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
