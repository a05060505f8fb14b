/*
 * Death by kill -9: before every system call and, sampled, before any instruction
 * of a writer, of a close and of a recovery; and at random among several
 * processes.  Always: every acknowledged commit is there, none is half there,
 * and who is left goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/core/trace.h"

/* What the children tell in memory, which survives them. */
static struct {
    _Atomic uint64_t acknowledged;
    _Atomic bool stop;
    int progress[2]; /* a pipe: a byte for each commit */
    uint64_t seed;
    uint64_t commits;
    uint64_t write_bytes_max;
} * shared;

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    shared = child_memory(sizeof(*shared));
    shared->commits = 6;
    shared->write_bytes_max = 5000;
    return 0;
}

static struct model *shared_model(void)
{
    struct model *model = model_make(shared->seed);

    model->write_bytes_max = shared->write_bytes_max;
    return model;
}

static void acknowledge(uint64_t number)
{
    uint64_t before = atomic_load(&shared->acknowledged);

    while (before < number && !atomic_compare_exchange_weak(&shared->acknowledged, &before, number))
        ;
}

static struct nvmmio *open_for_kill(void)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    options.flags = NVMMIO_CREATE;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    options.timeout_ms = -1;
    return engine_open_with(scratch.path, &options);
}

/* The file holds an acknowledged state or the one that was under way; it works; it ends plain. */
static void verify(uint64_t in_flight_max)
{
    struct nvmmio *handle = open_for_kill();
    struct model *model = shared_model();
    uint64_t acknowledged = atomic_load(&shared->acknowledged);
    int64_t number = model_number(handle);

    check_ok(number);
    if ((uint64_t)number < acknowledged)
        check_fail("commit %llu was acknowledged, the file holds %lld",
                   (unsigned long long)acknowledged, (long long)number);
    if ((uint64_t)number > acknowledged + in_flight_max)
        check_fail("the file holds commit %lld, only %llu was begun", (long long)number,
                   (unsigned long long)(acknowledged + in_flight_max));
    model_advance(model, (uint64_t)number);
    model_check(model, handle);
    check_ok(model_step(model, handle));
    check_ok(nvmmio_sync(handle));
    model_check(model, handle);
    engine_close(handle);
    engine_check_plain(scratch.path);
    model_check_plain(model, scratch.path);
    free(model);
}

static void restart(void)
{
    scratch_empty(&scratch);
    atomic_store(&shared->acknowledged, 0);
}

/* A whole life: open, commits with a rollback and a flush among them, close. */
static void live(void *argument)
{
    struct model *model = shared_model();
    struct nvmmio *handle;

    (void)argument;
    trace_begin();
    handle = open_for_kill();
    for (uint64_t i = 1; i <= shared->commits; i++) {
        check_ok(model_step(model, handle));
        check_ok(nvmmio_sync(handle));
        acknowledge(i);
        if (i == 3)
            check_ok(nvmmio_flush(handle));
        if (i == 4) {
            engine_fill(handle, 0, 9000, 0xee);
            check_ok(nvmmio_rollback(handle));
        }
    }
    engine_close(handle);
    trace_end();
}

static void killed_before_every_system_call(void **state)
{
    (void)state;
    shared->seed = place_seed(__func__);
    for (uint64_t n = 1, steps = 0;; n += place_stride()) {
        bool killed;

        restart();
        check_note("seed %llu, killed before call %llu", (unsigned long long)shared->seed,
                   (unsigned long long)n);
        killed = trace_kill(live, NULL, TRACE_CALL, n, &steps);
        if (!killed)
            check_eq(atomic_load(&shared->acknowledged), shared->commits);
        verify(1);
        if (!killed) {
            printf("%llu system calls\n", (unsigned long long)steps);
            check(n > 5);
            break;
        }
    }
}

/* Two commits, the second under the microscope. */
static void commit_closely(void *argument)
{
    struct model *model = shared_model();
    struct nvmmio *handle = open_for_kill();

    (void)argument;
    for (uint64_t i = 1; i <= 3; i++) {
        check_ok(model_step(model, handle));
        if (i == 3)
            trace_begin();
        check_ok(nvmmio_sync(handle));
        if (i == 3)
            trace_end();
        acknowledge(i);
    }
    engine_close(handle);
}

static void killed_before_any_instruction_of_a_commit(void **state)
{
    uint64_t steps, random;

    (void)state;
    shared->seed = random = place_seed(__func__);
    shared->write_bytes_max = 700;
    check(!trace_kill(commit_closely, NULL, TRACE_INSTRUCTION, 0, &steps));
    check(steps > 100);
    verify(0);
    for (uint64_t i = 0; i < place_times(60); i++) {
        uint64_t n = 1 + random_below(&random, steps);

        restart();
        check_note("seed %llu, killed before instruction %llu of %llu",
                   (unsigned long long)shared->seed, (unsigned long long)n,
                   (unsigned long long)steps);
        (void)trace_kill(commit_closely, NULL, TRACE_INSTRUCTION, n, NULL);
        verify(1);
    }
}

static void recover_and_close(void *argument)
{
    struct nvmmio *handle;

    (void)argument;
    trace_begin();
    handle = open_for_kill();
    check_ok(model_number(handle));
    engine_close(handle);
    trace_end();
}

/* The same crash again and again, each time with a recovery that dies one call later. */
static void killed_before_every_system_call_of_a_recovery(void **state)
{
    static const uint64_t percents[] = {35, 55, 75, 95};
    uint64_t steps;

    (void)state;
    shared->seed = place_seed(__func__);
    check(!trace_kill(live, NULL, TRACE_CALL, 0, &steps));
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        for (uint64_t n = 1;; n += place_stride()) {
            bool killed;

            restart();
            check_note("seed %llu, killed before call %llu, recovery before call %llu",
                       (unsigned long long)shared->seed,
                       (unsigned long long)(steps * percents[i] / 100), (unsigned long long)n);
            (void)trace_kill(live, NULL, TRACE_CALL, steps * percents[i] / 100, NULL);
            killed = trace_kill(recover_and_close, NULL, TRACE_CALL, n, NULL);
            if (killed) /* and once more, elsewhere */
                (void)trace_kill(recover_and_close, NULL, TRACE_CALL, 1 + n * 7 % 23, NULL);
            verify(1);
            if (!killed)
                break;
        }
    }
}

static void killed_before_any_instruction_of_a_recovery(void **state)
{
    uint64_t calls, steps, random;

    (void)state;
    shared->seed = random = place_seed(__func__);
    shared->write_bytes_max = 700;
    check(!trace_kill(live, NULL, TRACE_CALL, 0, &calls));
    restart();
    (void)trace_kill(live, NULL, TRACE_CALL, calls * 7 / 10, NULL);
    check(!trace_kill(recover_and_close, NULL, TRACE_INSTRUCTION, 0, &steps));
    for (uint64_t i = 0; i < place_times(25); i++) {
        uint64_t n = 1 + random_below(&random, steps);

        restart();
        check_note("seed %llu, recovery killed before instruction %llu of %llu",
                   (unsigned long long)shared->seed, (unsigned long long)n,
                   (unsigned long long)steps);
        (void)trace_kill(live, NULL, TRACE_CALL, calls * 7 / 10, NULL);
        (void)trace_kill(recover_and_close, NULL, TRACE_INSTRUCTION, n, NULL);
        verify(1);
    }
}

/* One transaction after whatever is in the file. */
static void commit_next(struct nvmmio *handle, struct model *model)
{
    int64_t number;

    check_ok(nvmmio_lock(handle, NVMMIO_RESERVED, -1));
    number = model_number(handle);
    check_ok(number);
    model_advance(model, (uint64_t)number);
    check_ok(model_step(model, handle));
    check_ok(nvmmio_sync(handle));
    acknowledge(model->number);
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
}

static void write_among_others(void *argument)
{
    struct model *model = shared_model();
    uint64_t random = shared->seed ^ ((uintptr_t)argument << 32);

    while (!atomic_load(&shared->stop)) {
        struct nvmmio *handle = open_for_kill();

        for (uint64_t i = random_below(&random, 8); i + 1 && !atomic_load(&shared->stop); i--) {
            commit_next(handle, model);
            (void)!write(shared->progress[1], "c", 1); /* a full pipe tells as much */
        }
        engine_close(handle);
    }
}

static void read_among_others(void *argument)
{
    struct model *model = shared_model();
    struct nvmmio *handle = open_for_kill();

    (void)argument;
    while (!atomic_load(&shared->stop)) {
        uint64_t acknowledged = atomic_load(&shared->acknowledged);
        int64_t number;

        check_ok(nvmmio_lock(handle, NVMMIO_SHARED, -1));
        number = model_number(handle);
        check_ok(number);
        check((uint64_t)number >= acknowledged);
        model_advance(model, (uint64_t)number);
        model_check(model, handle);
        check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    }
    engine_close(handle);
}

/* Wait for `commits` of anybody.  Nobody waits for time here but who waits for ever. */
static void await_progress(uint64_t commits)
{
    struct pollfd poll_for = {.fd = shared->progress[0], .events = POLLIN};
    char byte;

    while (commits--) {
        if (poll(&poll_for, 1, 60000) != 1)
            check_fail("nobody has committed anything for a minute");
        check_eq(read(shared->progress[0], &byte, 1), 1);
    }
}

/* Those who are left commit something that was not yet committed when they were left. */
static void await_survivors(void)
{
    uint64_t target = atomic_load(&shared->acknowledged) + 2;

    while (atomic_load(&shared->acknowledged) < target)
        await_progress(1);
}

static void open_progress(void)
{
    check_eq(pipe2(shared->progress, O_CLOEXEC), 0);
    check_eq(fcntl(shared->progress[1], F_SETFL, O_NONBLOCK), 0);
}

static void close_progress(void)
{
    close(shared->progress[0]);
    close(shared->progress[1]);
}

#define WRITERS 3
static void killed_at_random_among_others(void **state)
{
    struct child writers[WRITERS], reader;
    uint64_t random, kills = place_times(60);

    (void)state;
    shared->seed = random = place_seed(__func__);
    open_progress();
    for (uintptr_t i = 0; i < WRITERS; i++)
        child_start(&writers[i], write_among_others, (void *)(i + 1));
    child_start(&reader, read_among_others, NULL);
    for (uint64_t kill = 0; kill < kills; kill++) {
        uint64_t victim = random_below(&random, WRITERS + 1);

        await_progress(1 + random_below(&random, 30));
        for (volatile uint64_t spin = random_below(&random, 30000); spin; spin--)
            ;
        if (victim < WRITERS) {
            child_kill(&writers[victim]);
            await_survivors();
            child_start(&writers[victim], write_among_others,
                        (void *)(uintptr_t)(kill * WRITERS + 10));
        } else {
            child_kill(&reader);
            child_start(&reader, read_among_others, NULL);
        }
    }
    atomic_store(&shared->stop, true);
    for (size_t i = 0; i < WRITERS; i++)
        child_join(&writers[i]);
    child_join(&reader);
    printf("%llu kills, %llu commits\n", (unsigned long long)kills,
           (unsigned long long)atomic_load(&shared->acknowledged));
    /* A victim may have committed without living to say so: with WRITERS, one at a time. */
    verify(1);
    close(shared->progress[0]);
    close(shared->progress[1]);
}

/* Nobody is left to go on: every writer dies, at once, again and again. */
static void all_killed_at_once(void **state)
{
    uint64_t random;

    (void)state;
    shared->seed = random = place_seed(__func__);
    open_progress();
    for (uint64_t round = 0; round < place_times(30); round++) {
        struct child writers[WRITERS];

        for (uintptr_t i = 0; i < WRITERS; i++)
            child_start(&writers[i], write_among_others, (void *)(round * WRITERS + i + 1));
        await_progress(1 + random_below(&random, 20));
        for (volatile uint64_t spin = random_below(&random, 30000); spin; spin--)
            ;
        for (size_t i = 0; i < WRITERS; i++)
            check_eq(kill(writers[i].pid, SIGKILL), 0);
        for (size_t i = 0; i < WRITERS; i++)
            check_eq(child_wait(&writers[i]), -SIGKILL);
        verify(WRITERS); /* each may have followed one that died before it could tell */
        acknowledge(atomic_load(&shared->acknowledged) + 1); /* verify's own, at least */
    }
    close_progress();
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(killed_before_every_system_call),
        T(killed_before_any_instruction_of_a_commit),
        T(killed_before_every_system_call_of_a_recovery),
        T(killed_before_any_instruction_of_a_recovery),
        T(killed_at_random_among_others),
        T(all_killed_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
