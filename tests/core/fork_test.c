/*
 * What a fork does: the child may not use what it inherited, it may open the
 * file again, and nothing that it inherited keeps anybody waiting.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

static int setup(void **state)
{
    struct nvmmio *handle;

    (void)state;
    scratch_make(&scratch);
    handle = engine_open(scratch.path);
    engine_fill(handle, 0, 10000, 'a');
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    return 0;
}

static void use_what_is_inherited(void *argument)
{
    struct nvmmio *handle = argument;
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};
    struct nvmmio_stats stats = {.struct_bytes = sizeof(stats)};
    const void *address;
    bool reserved;
    char byte;

    check_error(nvmmio_pread(handle, &byte, 1, 0), -ECHILD);
    check_error(nvmmio_pwrite(handle, "x", 1, 0), -ECHILD);
    check_error(nvmmio_truncate(handle, 0), -ECHILD);
    check_error(nvmmio_size(handle), -ECHILD);
    check_error(nvmmio_allocate(handle, 1), -ECHILD);
    check_error(nvmmio_sync(handle), -ECHILD);
    check_error(nvmmio_rollback(handle), -ECHILD);
    check_error(nvmmio_flush(handle), -ECHILD);
    check_error(nvmmio_sync_many(&handle, 1), -ECHILD);
    check_error(nvmmio_view(handle, 0, 1, &address), -ECHILD);
    check_error(nvmmio_lock(handle, NVMMIO_SHARED, 0), -ECHILD);
    check_error(nvmmio_unlock(handle, NVMMIO_UNLOCKED), -ECHILD);
    check_error(nvmmio_lock_reserved(handle, &reserved), -ECHILD);
    check_error(nvmmio_seal(handle), -ECHILD);
    check_error(nvmmio_commit(handle), -ECHILD);
    check_error(nvmmio_apply(handle), -ECHILD);
    check_error(nvmmio_prepare(handle, "/tmp/super", NULL), -ECHILD);
    check_error(nvmmio_resolve(handle, true), -ECHILD);
    check_error(nvmmio_info(handle, &info), -ECHILD);
    check_error(nvmmio_stats(handle, &stats), -ECHILD);
    check(nvmmio_last_error()[0] != '\0');
    check_error(nvmmio_close(handle), -ECHILD);
}

static void a_child_is_refused(void **state)
{
    static const enum nvmmio_lock levels[] = {NVMMIO_UNLOCKED, NVMMIO_SHARED, NVMMIO_RESERVED,
                                              NVMMIO_EXCLUSIVE};

    (void)state;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        struct nvmmio *handle = engine_open(scratch.path);

        if (levels[i] != NVMMIO_UNLOCKED)
            check_ok(nvmmio_lock(handle, levels[i], 0));
        if (levels[i] != NVMMIO_SHARED)
            engine_fill(handle, 0, 10, (uint8_t)i);
        child_run(use_what_is_inherited, handle);
        if (levels[i] != NVMMIO_SHARED) {
            engine_check_fill(handle, 0, 10, (uint8_t)i);
            check_ok(nvmmio_sync(handle));
        }
        check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
        engine_close(handle);
    }
    check_eq(file_bytes(scratch.path), 10000);
}

static void open_again(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle;

    options.timeout_ms = 0;
    handle = engine_open_with(scratch.path, &options);
    if (argument) {
        check_error(nvmmio_pwrite(handle, "x", 1, 0), -EBUSY);
    } else {
        check_eq(engine_byte(handle, 1), 'p');
        engine_fill(handle, 0, 1, 'c');
        check_ok(nvmmio_sync(handle));
    }
    engine_close(handle);
}

static void a_child_opens_the_file_again(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    engine_fill(handle, 1, 1, 'p');
    child_run(open_again, handle); /* the parent's reserved lock holds against its child */
    check_ok(nvmmio_sync(handle));
    child_run(open_again, NULL);
    check_eq(engine_byte(handle, 0), 'c');
    engine_fill(handle, 0, 1, 'q');
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    engine_check_plain(scratch.path);
}

static void exit_normally(void *argument)
{
    (void)argument;
    exit(0); /* with everything that the library may do on the way out */
}

static void a_child_that_ends_takes_no_lock_along(void **state)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)state;
    engine_fill(handle, 0, 1, 'z');
    child_run(exit_normally, NULL);
    child_run(open_again, handle);
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    handle = engine_open(scratch.path);
    check_eq(engine_byte(handle, 0), 'z');
    engine_close(handle);
}

/* A writer in the middle of its transaction that leaves a child behind as it is killed. */
static void fork_and_wait(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);
    bool raw = argument != NULL;
    pid_t pid;

    check_ok(nvmmio_lock(handle, NVMMIO_EXCLUSIVE, 0));
    engine_fill(handle, 0, 1, 'x');
    /* Raw: without the handlers that fork(3) runs, as some sandboxes and runtimes do it. */
    pid = raw ? (pid_t)syscall(SYS_fork) : fork();
    check(pid >= 0);
    if (pid == 0) {
        parent_send('h');
        (void)parent_receive(); /* until the test is through with it */
        _exit(0);
    }
    (void)pause();
}

static void heir_of_a_killed_writer(bool raw, bool opened_before)
{
    struct nvmmio *handle = opened_before ? engine_open(scratch.path) : NULL;
    struct child child;
    int status;

    if (handle)
        check_eq(engine_byte(handle, 0), 'a');

    /* The heir becomes ours when its parent dies, so that we can see its end. */
    check_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    child_start(&child, fork_and_wait, raw ? &scratch : NULL);
    child_expect(&child, 'h');
    check_eq(kill(child.pid, SIGKILL), 0);
    check_eq(waitpid(child.pid, NULL, 0), child.pid);
    if (!handle)
        handle = engine_open(scratch.path);
    check_eq(engine_byte(handle, 0), 'a');
    engine_fill(handle, 0, 1, 'n');
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_lock(handle, NVMMIO_EXCLUSIVE, -1));
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    engine_close(handle);
    close(child.socket); /* ends the heir */
    check(wait(&status) > 0);
    check_eq(status, 0);
    handle = engine_open(scratch.path);
    check_eq(engine_byte(handle, 0), 'n');
    engine_fill(handle, 0, 1, 'a');
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    engine_check_plain(scratch.path);
}

static void a_forked_heir_blocks_nobody(void **state)
{
    (void)state;
    heir_of_a_killed_writer(false, false);
    heir_of_a_killed_writer(false, true);
}

static void an_heir_without_fork_handlers_blocks_nobody(void **state)
{
    (void)state;
    heir_of_a_killed_writer(true, false);
    heir_of_a_killed_writer(true, true);
}

static atomic_bool committing;
static void *commit_on(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)argument;
    for (uint64_t i = 1; atomic_load(&committing); i++) {
        engine_write(handle, &i, sizeof(i), 100);
        check_ok(nvmmio_sync(handle));
    }
    engine_close(handle);
    return NULL;
}

static void read_in_child(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)argument;
    check_eq(engine_byte(handle, 0), 'a');
    engine_close(handle);
}

/* The library's own mutexes may be held by another thread at the moment of the fork. */
static void a_fork_in_the_midst_of_commits(void **state)
{
    pthread_t threads[2];

    (void)state;
    atomic_store(&committing, true);
    for (size_t i = 0; i < 2; i++)
        check_eq(pthread_create(&threads[i], NULL, commit_on, NULL), 0);
    for (int i = 0; i < 50; i++)
        child_run(read_in_child, NULL);
    atomic_store(&committing, false);
    for (size_t i = 0; i < 2; i++)
        check_eq(pthread_join(threads[i], NULL), 0);
    engine_check_plain(scratch.path);
}

static void exec_away(void *argument)
{
    struct nvmmio *handle = engine_open(scratch.path);

    (void)argument;
    engine_fill(handle, 0, 1, 'e');
    check_ok(nvmmio_sync(handle));
    engine_fill(handle, 0, 1, 'f');
    execl("/bin/true", "true", (char *)NULL);
}

static void an_exec_is_a_death(void **state)
{
    struct nvmmio *handle;

    (void)state;
    child_run(exec_away, NULL);
    handle = engine_open(scratch.path);
    check_eq(engine_byte(handle, 0), 'e');
    engine_fill(handle, 0, 1, 'g');
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    engine_check_plain(scratch.path);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(a_child_is_refused),
        T(a_child_opens_the_file_again),
        T(a_child_that_ends_takes_no_lock_along),
        T(a_forked_heir_blocks_nobody),
        T(an_heir_without_fork_handlers_blocks_nobody),
        T(a_fork_in_the_midst_of_commits),
        T(an_exec_is_a_death),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
