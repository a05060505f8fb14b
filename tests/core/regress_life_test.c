/*
 * Faults that the engine once had in opening, closing, deaths and failures: one
 * test for the schedule that showed each.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/handle.h"
#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/core/rig.h"

static bool armed; /* in a child: what is tampered with goes wrong from now on */

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    armed = false;
    return 0;
}

/* Home is written by calls that a test can stand in the way of, wherever it lies. */
static struct nvmmio_options page_options(void)
{
    struct nvmmio_options options = rig_options();

    options.medium = NVMMIO_MEDIUM_PAGE;
    return options;
}

static int write_once_and_die(struct nv_file *file, const struct iovec *parts, int count,
                              uint64_t offset)
{
    if (!armed || !rig_is(file, "/db"))
        return nv_os_posix.pwritev(file, parts, count, offset);
    check_eq(nv_os_posix.pwritev(file, parts, 1, offset), 0);
    rig_die();
}

static void die_while_applying(void *argument)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = page_options();

    (void)argument;
    os.pwritev = write_once_and_die;
    struct nvmmio *handle = rig_open(rig_process(&os), scratch.path, &options);
    for (uint8_t i = 0; i < 2; i++) {
        engine_fill(handle, 0, 4096, (uint8_t)('A' + i));
        engine_fill(handle, 40960, 4096, (uint8_t)('A' + i));
        armed = i > 0;
        check_ok(nvmmio_sync(handle));
    }
}

/* Half a commit stayed in home for good: a close threw the log away without a look at the writer.
 */
static void a_clean_close_after_the_writers_death(void **state)
{
    struct nvmmio_options options = page_options();
    struct nvmmio *handle = engine_open_with(scratch.path, &options);
    struct child child;

    (void)state;
    check_eq(nvmmio_size(handle), 0); /* it has joined */
    child_start(&child, die_while_applying, NULL);
    check_eq(child_wait(&child), -SIGKILL);
    engine_close(handle);
    engine_check_plain(scratch.path);
    check_eq(file_bytes(scratch.path), 40960 + 4096);
    check_eq(rig_plain_byte(scratch.path, 0), 'B');
    check_eq(rig_plain_byte(scratch.path, 40960), 'B');
    check_eq(rig_plain_byte(scratch.path, 40960 + 4095), 'B');
}

static void die_while_marking(void *argument)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = page_options();

    (void)argument;
    os.pwritev = write_once_and_die;
    options.mark = rig_mark();
    struct nvmmio *handle = rig_open(rig_process(&os), scratch.path, &options);
    armed = true;
    engine_write(handle, "x", 1, 0);
}

/* The mark and the log stayed behind a clean close: no record, so nobody felt responsible. */
static void a_clean_close_after_a_death_before_the_first_record(void **state)
{
    static uint8_t content[4096];
    struct nvmmio_options options = page_options();
    struct nvmmio *handle;
    struct child child;
    void *after;

    (void)state;
    memset(content, 'A', sizeof(content));
    file_write(scratch.path, content, sizeof(content));
    options.mark = rig_mark();
    handle = engine_open_with(scratch.path, &options);
    check_eq(engine_byte(handle, 0), 'A');
    child_start(&child, die_while_marking, NULL);
    check_eq(child_wait(&child), -SIGKILL);
    check(rig_plain_byte(scratch.path, 0) != 'A');
    check_eq(engine_byte(handle, 0), 'A');
    engine_close(handle);
    engine_check_plain(scratch.path);
    check_eq(file_read(scratch.path, &after), sizeof(content));
    check(memcmp(after, content, sizeof(content)) == 0);
    free(after);
}

static void open_between_the_steps_of_a_close(void *argument)
{
    struct nvmmio_options options = rig_options();
    struct nv_process *process = rig_process(&nv_os_posix);
    struct nv_home *one, *two;

    (void)argument;
    rig_faults_kill();
    /* What nvmmio_close does in one thread, and nvmmio_open in another between its steps. */
    check_ok(nv_home_acquire(process, scratch.path, &options, &one));
    check_ok(nv_home_join(one, options.timeout_ms, false));
    check_ok(nv_home_leave(one, options.timeout_ms));
    check_ok(nv_home_acquire(process, scratch.path, &options, &two));
    check_ok(nv_home_join(two, options.timeout_ms, false));
    nv_home_release(one);
    struct nvmmio *third = rig_open(process, scratch.path, &options);
    engine_fill(third, 0, 100, 7);
    check_ok(nvmmio_sync(third));
    check_ok(nv_home_leave(two, options.timeout_ms));
    nv_home_release(two);
    engine_check_fill(third, 0, 100, 7);
    engine_close(third);
    nv_process_destroy(process);
}

/* -EBADF: a file whose descriptor the last close had given up was found in the table. */
static void an_open_between_the_steps_of_the_last_close(void **state)
{
    (void)state;
    child_run(open_between_the_steps_of_a_close, NULL);
    engine_check_plain(scratch.path);
    check_eq(file_bytes(scratch.path), 100);
}

static void prepare_both_and_die(void *argument)
{
    struct nvmmio *a = engine_open(scratch_file(&scratch, "a"));
    struct nvmmio *b = engine_open(scratch_file(&scratch, "b"));
    struct nvmmio *both[] = {a, b};

    for (int i = 0; i < 2; i++) {
        engine_fill(both[i], 0, 1, '0');
        check_ok(nvmmio_sync(both[i]));
        engine_fill(both[i], 0, 1, '1');
        check_ok(nvmmio_prepare(both[i], argument, NULL));
    }
    rig_die();
}

/* Recovery of the first file removed the super file of somebody else, and so committed the second.
 */
static void a_super_file_that_is_not_ours_is_not_removed(void **state)
{
    char super[700];
    struct nvmmio *a, *b;
    struct child child;

    (void)state;
    (void)snprintf(super, sizeof(super), "%s/super", scratch.directory);
    file_write(super, "decision", 8);
    child_start(&child, prepare_both_and_die, super);
    check_eq(child_wait(&child), -SIGKILL);
    a = engine_open(scratch_file(&scratch, "a"));
    check_eq(engine_byte(a, 0), '0');
    check_eq(file_bytes(super), 8);
    b = engine_open(scratch_file(&scratch, "b"));
    check_eq(engine_byte(b, 0), '0');
    engine_close(a);
    engine_close(b);
    check_eq(file_bytes(super), 8);
    check_text(scratch_list(&scratch), "a b super ");
}

static enum { KILL_NEVER, KILL_AFTER, KILL_BEFORE } kill_when;

static int unlink_and_die(const struct nv_os *os, const char *path)
{
    bool super = strstr(path, "-nvmmio-multi") != NULL;

    if (super && kill_when == KILL_BEFORE)
        rig_die();
    int error = nv_os_posix.unlink(os, path);
    if (super && kill_when == KILL_AFTER)
        rig_die();
    return error;
}

static void die_in_a_commit_of_two(const char *first, const char *second, char value, int when)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();

    os.unlink = unlink_and_die;
    struct nv_process *process = rig_process(&os);
    struct nvmmio *both[] = {rig_open(process, scratch_file(&scratch, first), &options),
                             rig_open(process, scratch_file(&scratch, second), &options)};
    for (int i = 0; i < 2; i++) {
        if (nvmmio_size(both[i]) == 0) {
            engine_fill(both[i], 0, 1, '0');
            check_ok(nvmmio_sync(both[i]));
        }
        engine_fill(both[i], 0, 1, (uint8_t)value);
    }
    kill_when = (unsigned)when;
    check_ok(nvmmio_sync_many(both, 2));
}

static void decide_a_and_b(void *argument)
{
    (void)argument;
    die_in_a_commit_of_two("a", "b", '1', KILL_AFTER);
}

static void begin_a_and_c(void *argument)
{
    (void)argument;
    die_in_a_commit_of_two("a", "c", '2', KILL_BEFORE);
}

/* The second decision had the name of the first, which was thus taken back in one file of two. */
static void two_commits_over_files_of_which_one_is_the_same(void **state)
{
    static const struct {
        const char *name;
        uint8_t value;
    } files[] = {{"b", '1'}, {"a", '1'}, {"c", '0'}};
    struct nvmmio *handles[3];
    struct child child;

    (void)state;
    child_start(&child, decide_a_and_b, NULL);
    check_eq(child_wait(&child), -SIGKILL);
    child_start(&child, begin_a_and_c, NULL);
    check_eq(child_wait(&child), -SIGKILL);
    for (int i = 0; i < 3; i++) {
        handles[i] = engine_open(scratch_file(&scratch, files[i].name));
        check_eq(engine_byte(handles[i], 0), files[i].value);
    }
    for (int i = 0; i < 3; i++)
        engine_close(handles[i]);
    check_text(scratch_list(&scratch), "a b c ");
}

/* A second flush of home, by another thread. */
static struct {
    struct nv_home *home;
    uint64_t seq;
    pthread_t thread;
    int result;
    _Atomic int number; /* of the thread; 0: not yet known */
    _Atomic int syncs;  /* of home, begun */
} second;

static void *flush_too(void *argument)
{
    atomic_store(&second.number, (int)syscall(SYS_gettid));
    second.result = nv_flush_home(second.home, second.seq);
    return argument;
}

/* A thread sleeps: in this test, on the mutex that the first flush holds. */
static bool thread_sleeps(int number)
{
    char path[64], line[256] = "";
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", number);
    file = fopen(path, "r");
    if (!file)
        return true; /* it has ended */
    (void)!fgets(line, sizeof(line), file);
    (void)fclose(file);
    const char *state = strrchr(line, ')');
    return state && state[1] && state[2] == 'S';
}

/* As the kernel does it: a failed write is told once, to one of those who wait for it.  Whether the
 * second comes while the first is here decides nothing; that it can, is what finds the fault. */
static int fail_once(struct nv_file *file)
{
    if (!armed || !rig_is(file, "/db"))
        return nv_os_posix.sync_data(file);
    if (atomic_fetch_add(&second.syncs, 1) > 0)
        return 0;
    check_eq(pthread_create(&second.thread, NULL, flush_too, NULL), 0);
    while (atomic_load(&second.number) == 0 ||
           (atomic_load(&second.syncs) == 1 && !thread_sleeps(atomic_load(&second.number))))
        sched_yield();
    return -EIO;
}

/* Who was not told of the failure took home for durable, and the log's space was used again. */
static void a_failed_flush_is_told_to_one_only(void **state)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = page_options();

    (void)state;
    os.sync_data = fail_once;
    struct nv_process *process = rig_process(&os);
    struct nvmmio *handle = rig_open(process, scratch.path, &options);
    struct nv_shared *page = handle->home->share.shared;
    engine_fill(handle, 0, 8192, 5);
    check_ok(nvmmio_sync(handle));
    memset(&second, 0, sizeof(second));
    second.home = handle->home;
    second.seq = atomic_load(&page->applied);
    check(atomic_load(&page->home_durable) < second.seq);
    armed = true;
    check_error(nv_flush_home(handle->home, second.seq), -EIO);
    check_eq(pthread_join(second.thread, NULL), 0);
    check_error(second.result, -EIO);
    check(atomic_load(&page->home_durable) < second.seq);
    check_error(nvmmio_pwrite(handle, "x", 1, 0), -EIO);
    engine_check_fill(handle, 0, 8192, 5);
    armed = false;
    (void)nvmmio_close(handle);
    nv_process_destroy(process);
    check(
        file_exists(scratch_file(&scratch, "db-nvmmio"))); /* only it is known to have the commit */
    handle = engine_open(scratch.path);
    engine_check_fill(handle, 0, 8192, 5);
    engine_close(handle);
    engine_check_plain(scratch.path);
}

/* The first run of neighbours gets there, nothing after it. */
static int write_the_first_only(struct nv_file *file, const struct iovec *parts, int count,
                                uint64_t offset)
{
    if (armed && rig_is(file, "/db") && offset > 0)
        return -EIO;
    return nv_os_posix.pwritev(file, parts, count, offset);
}

/* Who held a lock over the sync read on, and found half of the commit. */
static void a_half_applied_commit_is_not_read(void **state)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = page_options();
    uint8_t byte;

    (void)state;
    os.pwritev = write_the_first_only;
    struct nv_process *process = rig_process(&os);
    struct nvmmio *handle = rig_open(process, scratch.path, &options);
    for (uint8_t i = 0; i < 2; i++) {
        check_ok(nvmmio_lock(handle, NVMMIO_EXCLUSIVE, 0));
        engine_fill(handle, 0, 4096, (uint8_t)('A' + i));
        engine_fill(handle, 40960, 4096, (uint8_t)('A' + i));
        armed = i > 0;
        check_error(nvmmio_sync(handle), i > 0 ? -EIO : 0);
    }
    check_eq(nvmmio_pread(handle, &byte, 1, 0), -EIO);
    check_ok(nvmmio_unlock(handle, NVMMIO_SHARED));
    check_eq(nvmmio_pread(handle, &byte, 1, 40960), -EIO);
    armed = false;
    (void)nvmmio_close(handle);
    nv_process_destroy(process);
    handle = engine_open(scratch.path); /* the log has it */
    engine_check_fill(handle, 0, 4096, 'B');
    engine_check_fill(handle, 40960, 4096, 'B');
    engine_close(handle);
    engine_check_plain(scratch.path);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(a_clean_close_after_the_writers_death),
        T(a_clean_close_after_a_death_before_the_first_record),
        T(an_open_between_the_steps_of_the_last_close),
        T(a_super_file_that_is_not_ours_is_not_removed),
        T(two_commits_over_files_of_which_one_is_the_same),
        T(a_failed_flush_is_told_to_one_only),
        T(a_half_applied_commit_is_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
