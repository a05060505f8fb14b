/*
 * Faults that the engine once had in its table of open files: one test for the
 * schedule that showed each.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/process.h"
#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/core/rig.h"

#define CHILDREN 100

static pthread_barrier_t barrier;

static void *ask_for_process(void *out)
{
    (void)pthread_barrier_wait(&barrier);
    check_eq(nv_process_default(out), 0);
    return NULL;
}

static void ask_twice(void *argument)
{
    struct nv_process *processes[2] = {NULL, NULL};
    pthread_t thread;

    (void)argument;
    check_eq(pthread_barrier_init(&barrier, NULL, 2), 0);
    check_eq(pthread_create(&thread, NULL, ask_for_process, &processes[0]), 0);
    (void)ask_for_process(&processes[1]);
    check_eq(pthread_join(thread, NULL), 0);
    check(processes[0] == processes[1]);
}

/* Two threads of a child that came at once each had a table of their own. */
static void a_child_is_one_process(void **state)
{
    struct nv_process *parent;

    (void)state;
    check_eq(nv_process_default(&parent), 0);
    for (int i = 0; i < CHILDREN; i++)
        child_run(ask_twice, NULL);
}

static bool denied;

static int open_if_allowed(const struct nv_os *os, const char *path, int flags, uint32_t mode,
                           struct nv_file *file)
{
    return denied && (flags & NV_OPEN_WRITE) ? -EACCES
                                             : nv_os_posix.open(os, path, flags, mode, file);
}

/* A file that was opened once without the right to write could not be written by that process
 * again. */
static void a_right_to_write_that_comes_later(void **state)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();
    struct nvmmio_options read_only = rig_options();
    struct nv_process *process;
    struct nvmmio *handle;

    (void)state;
    file_write(scratch.path, "content", 7);
    os.open = open_if_allowed;
    process = rig_process(&os);
    read_only.flags = NVMMIO_READ_ONLY | NVMMIO_DEFER;
    denied = true;
    check_ok(nvmmio_close(rig_open(process, scratch.path, &read_only)));
    check_error(nv_open(process, scratch.path, &options, &handle), -EACCES);
    denied = false;
    handle = rig_open(process, scratch.path, &options);
    engine_fill(handle, 0, 1, 'x');
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
    nv_process_destroy(process);
    engine_check_plain(scratch.path);
    check_eq(rig_plain_byte(scratch.path, 0), 'x');
}

static int gate[2]; /* a pipe: a byte lets one sync of the file go on */
static _Atomic bool closing;

static int wait_in_sync(struct nv_file *file)
{
    char byte;

    if (atomic_load(&closing) && rig_is(file, "/db"))
        check_eq(read(gate[0], &byte, 1), 1);
    return nv_os_posix.sync_data(file);
}

static void *close_it(void *handle)
{
    atomic_store(&closing, true);
    engine_close(handle);
    return NULL;
}

static void close_slowly(void *argument)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();
    pthread_t thread;

    (void)argument;
    (void)alarm(60); /* to end in, where the second open waits for the first close */
    check_eq(pipe(gate), 0);
    os.sync_data = wait_in_sync;
    struct nv_process *process = rig_process(&os);
    struct nvmmio *handle = rig_open(process, scratch.path, &options);
    engine_fill(handle, 0, 4096, 'x');
    check_ok(nvmmio_sync(handle));
    check_eq(pthread_create(&thread, NULL, close_it, handle), 0);
    while (!atomic_load(&closing))
        ;
    struct nvmmio *other = rig_open(process, scratch_file(&scratch, "other"), &options);
    engine_fill(other, 0, 4096, 'y');
    check_ok(nvmmio_sync(other));
    engine_close(other);
    atomic_store(&closing, false);
    for (int i = 0; i < 8; i++)
        check_eq(write(gate[1], "g", 1), 1);
    check_eq(pthread_join(thread, NULL), 0);
    handle = rig_open(process, scratch.path, &options); /* and it opens again */
    check_eq(engine_byte(handle, 0), 'x');
    engine_close(handle);
    nv_process_destroy(process);
}

/* The last close of a file held up everybody in the process who opened another one. */
static void a_close_holds_up_nobody_else(void **state)
{
    (void)state;
    child_run(close_slowly, NULL);
    engine_check_plain(scratch.path);
}

/* Threads of this process but the first, and those of them that take SIGTERM. */
static void count_threads(unsigned *threads, unsigned *open)
{
    DIR *list = opendir("/proc/self/task");
    unsigned long long blocked;

    check(list != NULL);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        char path[300], line[256];
        FILE *file;

        if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int)getpid())
            continue;
        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        file = fopen(path, "r");
        while (file && fgets(line, sizeof(line), file))
            if (sscanf(line, "SigBlk: %llx", &blocked) == 1) {
                ++*threads;
                *open += !(blocked >> (SIGTERM - 1) & 1);
            }
        if (file)
            (void)fclose(file);
    }
    (void)closedir(list);
}

static void flush_in_a_thread(void *argument)
{
    struct nvmmio_options options = rig_options();
    unsigned threads = 0, open = 0;

    (void)argument;
    options.medium = NVMMIO_MEDIUM_PAGE;
    struct nvmmio *handle = engine_open_with(scratch.path, &options);
    for (uint8_t i = 0; i < 8; i++) { /* more than half a log */
        engine_fill(handle, 0, 65536, i);
        check_ok(nvmmio_sync(handle));
    }
    count_threads(&threads, &open);
    check(threads > 0);
    check_eq(open, 0);
    engine_close(handle);
}

/* A signal to the process could be delivered to the engine's thread. */
static void the_flusher_takes_no_signals(void **state)
{
    (void)state;
    child_run(flush_in_a_thread, NULL);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(a_child_is_one_process),
        T(a_right_to_write_that_comes_later),
        T(a_close_holds_up_nobody_else),
        T(the_flusher_takes_no_signals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
