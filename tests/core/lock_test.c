/*
 * Locks between handles.  Every schedule runs twice: with all handles in this
 * process, and with each in a process of its own; the answers must not differ.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

#define ACTORS 4

/* One user of the file: a handle here, or a child that does what it is told. */
struct actor {
    bool remote;
    struct nvmmio *handle;
    struct child child;
};
static struct actor actors[ACTORS];

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

static char answer(int result)
{
    return result >= 0 ? '+' : result == -EBUSY ? 'b' : '!';
}

/*
 * N S R E: lock at once (N: UNLOCKED); W: EXCLUSIVE, waiting for ever; u s: unlock to none or
 * shared; w: stage 'b' at 0; c: sync; r: rollback; g: the byte at 0; ?: whether
 * anybody holds RESERVED.
 */
static char actor_do(struct nvmmio *handle, char what)
{
    bool reserved = false;
    uint8_t byte = 0;
    int result;

    switch (what) {
    case 'N':
        return answer(nvmmio_lock(handle, NVMMIO_UNLOCKED, 0));
    case 'S':
        return answer(nvmmio_lock(handle, NVMMIO_SHARED, 0));
    case 'R':
        return answer(nvmmio_lock(handle, NVMMIO_RESERVED, 0));
    case 'E':
        return answer(nvmmio_lock(handle, NVMMIO_EXCLUSIVE, 0));
    case 'W':
        return answer(nvmmio_lock(handle, NVMMIO_EXCLUSIVE, -1));
    case 'u':
        return answer(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    case 's':
        return answer(nvmmio_unlock(handle, NVMMIO_SHARED));
    case 'w':
        return answer((int)nvmmio_pwrite(handle, "b", 1, 0));
    case 'c':
        return answer(nvmmio_sync(handle));
    case 'r':
        return answer(nvmmio_rollback(handle));
    case 'g':
        result = (int)nvmmio_pread(handle, &byte, 1, 0);
        return result == 1 ? (char)byte : answer(result == 0 ? -EIO : result) == 'b' ? '-' : '!';
    case '?':
        result = nvmmio_lock_reserved(handle, &reserved);
        return result ? '!' : reserved ? 'y' : 'n';
    default:
        return '!';
    }
}

static struct nvmmio *actor_open(void)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    options.timeout_ms = 0;
    return engine_open_with(scratch.path, &options);
}

static void actor_main(void *argument)
{
    struct nvmmio *handle = actor_open();
    char what;

    (void)argument;
    parent_send('o');
    while ((what = parent_receive()) != '\0')
        parent_send(actor_do(handle, what));
    engine_close(handle);
}

static void actors_start(bool remote)
{
    for (size_t i = 0; i < ACTORS; i++) {
        actors[i].remote = remote;
        if (!remote) {
            actors[i].handle = actor_open();
            continue;
        }
        child_start(&actors[i].child, actor_main, NULL);
        child_expect(&actors[i].child, 'o');
    }
}

static void actors_end(void)
{
    for (size_t i = 0; i < ACTORS; i++) {
        if (actors[i].remote) {
            if (actors[i].child.pid > 0) {
                child_send(&actors[i].child, '\0');
                child_join(&actors[i].child);
            }
        } else {
            engine_close(actors[i].handle);
        }
    }
    engine_check_plain(scratch.path);
}

static char actor_tell(size_t i, char what)
{
    if (!actors[i].remote)
        return actor_do(actors[i].handle, what);
    child_send(&actors[i].child, what);
    return child_receive(&actors[i].child);
}

/* A schedule: "0S+" = actor 0 does S and must get +; blanks separate. */
static void play(const char *schedule)
{
    for (const char *at = schedule; *at; at++) {
        char got;

        if (*at == ' ')
            continue;
        got = actor_tell((size_t)(at[0] - '0'), at[1]);
        if (got != at[2])
            check_fail("%s actors, \"%s\" at %d (\"%.3s\"): got %c; last error: %s",
                       actors[0].remote ? "remote" : "local", schedule, (int)(at - schedule), at,
                       got ? got : '0', actors[0].remote ? "-" : nvmmio_last_error());
        at += 2;
    }
}

static void play_both(const char *schedule)
{
    for (int remote = 0; remote < 2; remote++) {
        struct nvmmio *handle = engine_open(scratch.path);

        engine_fill(handle, 0, 1, 'a');
        check_ok(nvmmio_sync(handle));
        engine_close(handle);
        actors_start(remote != 0);
        play(schedule);
        actors_end();
    }
}

static void shared_is_for_many(void **state)
{
    (void)state;
    play_both("0S+ 1S+ 2S+ 3S+ 0ga 3ga 0?n 0u+ 1u+ 2u+ 3u+");
}

static void reserved_is_for_one_beside_readers(void **state)
{
    (void)state;
    play_both("0S+ 1S+ 0R+ 1Rb 2?y 1?y 0?y 2S+ 2ga 2Rb 0s+ 2?n 1R+ 0Rb 1u+ 0R+ 0u+ 2u+");
}

static void exclusive_is_for_one_alone(void **state)
{
    (void)state;
    play_both("0S+ 1S+ 0R+ 0Eb 1u+ 0E+ 1Sb 2Sb 2Rb 2g- 0s+ 1S+ 2S+ 0u+");
}

static void a_failed_exclusive_keeps_new_readers_out(void **state)
{
    (void)state;
    play_both("0S+ 1S+ 0R+ 0Eb 2Sb 1ga 1S+ 0Eb 1u+ 1Sb 0E+ 0u+ 1S+ 2S+");
    play_both("0S+ 1S+ 0R+ 0Eb 2Sb 0s+ 2S+ 0R+ 0Eb 3Sb 0u+ 3S+");
}

static void two_that_want_exclusive_from_shared(void **state)
{
    (void)state;
    play_both("0S+ 1S+ 0Eb 1Eb 2Sb 1u+ 0E+ 1Sb 0u+ 1S+ 1E+ 0Sb 1u+");
}

static void a_level_that_is_held_is_a_success(void **state)
{
    (void)state;
    play_both("0S+ 0S+ 0R+ 0S+ 0R+ 0E+ 0R+ 0S+ 0E+ 1Sb 0s+ 0s+ 1S+ 0u+ 0u+ 0u+");
    play_both("0N+ 0S+ 0N+ 0R+ 0N+ 1Rb 0u+ 1R+");
}

static void a_write_takes_reserved_and_a_sync_gives_it_back(void **state)
{
    (void)state;
    play_both("0w+ 1wb 1?y 1ga 1wb 0c+ 1?n 1gb 1w+ 0wb 1r+ 0w+ 0c+");
    play_both("0S+ 0R+ 0w+ 0c+ 1?y 1wb 1Rb 0u+ 1w+ 1r+ 1?n");
    play_both("0S+ 0w+ 0u+ 1w+ 1r+ 1ga");
}

static void a_sync_waits_for_readers_and_stays_staged(void **state)
{
    (void)state;
    play_both("1S+ 0w+ 0cb 1ga 0gb 1u+ 0c+ 1gb");
}

static void a_holder_that_dies_blocks_nobody(void **state)
{
    static const char *const deaths[] = {
        "0S+",         "0S+ 0R+",     "0S+ 0E+",         "0S+ 1S+ 0R+ 0Eb", "0w+",
        "1S+ 0w+ 0cb", "0S+ 1S+ 0Eb", "0S+ 0R+ 0w+ 0E+", "0w+ 0c+ 0w+",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
        struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
        struct nvmmio *handle;
        bool committed = strstr(deaths[i], "0c+") != NULL;

        check_note("death %zu: %s", i, deaths[i]);
        actors_start(true);
        play(deaths[i]);
        if (strstr(deaths[i], "1S+"))
            play("1u+");
        child_kill(&actors[0].child);
        options.timeout_ms = -1;
        handle = engine_open_with(scratch.path, &options);
        check_ok(nvmmio_lock(handle, NVMMIO_EXCLUSIVE, -1));
        check_eq(engine_byte(handle, 0), committed ? 'b' : 'a');
        engine_fill(handle, 0, 1, 'a');
        check_ok(nvmmio_sync(handle));
        check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
        play("1S+ 1ga 1R+ 1E+ 1u+ 2w+ 2c+ 3gb");
        engine_fill(handle, 0, 1, 'a');
        check_ok(nvmmio_sync(handle));
        engine_close(handle);
        actors_end();
    }
    check_note("%s", "");
}

/* The wait ends when the holder lets go, or dies; nothing else lets it end. */
static void a_wait_without_end_ends_with_the_lock(void **state)
{
    (void)state;
    for (int dies = 0; dies < 2; dies++) {
        actors_start(true);
        play("0S+ 0R+ 0E+");
        child_send(&actors[1].child, 'W');
        child_send(&actors[2].child, 'R');
        child_expect(&actors[2].child, 'b');
        if (dies)
            child_kill(&actors[0].child);
        else
            play("0u+");
        child_expect(&actors[1].child, '+');
        play("2Sb 1u+ 2S+ 2u+");
        actors_end();
    }
}

static void *wait_for_exclusive(void *argument)
{
    struct nvmmio *handle = argument;

    return (void *)(intptr_t)nvmmio_lock(handle, NVMMIO_EXCLUSIVE, -1);
}

static void threads_wait_for_each_other(void **state)
{
    void *result;
    pthread_t thread;

    (void)state;
    actors_start(false);
    play("0S+ 1S+");
    check_eq(pthread_create(&thread, NULL, wait_for_exclusive, actors[1].handle), 0);
    play("0u+");
    check_eq(pthread_join(thread, &result), 0);
    check_eq((intptr_t)result, 0);
    play("0Sb 1u+ 0S+ 0u+");
    actors_end();
}

static void a_time_out_is_an_answer(void **state)
{
    struct nvmmio *holder = actor_open(), *other = actor_open();

    (void)state;
    check_ok(nvmmio_lock(holder, NVMMIO_EXCLUSIVE, 0));
    check_error(nvmmio_lock(other, NVMMIO_SHARED, 20), -EBUSY);
    check(nvmmio_last_error()[0] != '\0');
    check_error(nvmmio_lock(other, NVMMIO_RESERVED, 20), -EBUSY);
    check_ok(nvmmio_unlock(holder, NVMMIO_SHARED));
    check_error(nvmmio_lock(other, NVMMIO_EXCLUSIVE, 20), -EBUSY);
    engine_close(holder);
    check_ok(nvmmio_lock(other, NVMMIO_EXCLUSIVE, 0));
    engine_close(other);
}

/* NVMMIO_DEFER: open joins nobody, so it meets no conflict; the first lock does. */
static void a_deferred_open_joins_at_the_first_lock(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle;

    (void)state;
    options.flags = NVMMIO_DEFER;
    options.timeout_ms = 0;
    handle = engine_open_with(scratch.path, &options);
    check_text(scratch_list(&scratch), "db ");
    check_ok(nvmmio_lock(handle, NVMMIO_SHARED, 0));
    check_eq(engine_byte(handle, 0), 'a');
    engine_close(handle);
    engine_check_plain(scratch.path);
    options.flags = NVMMIO_DEFER | NVMMIO_CREATE;
    engine_close(engine_open_with(scratch_file(&scratch, "untouched"), &options));
    check_eq(file_bytes(scratch_file(&scratch, "untouched")), 0);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(shared_is_for_many),
        T(reserved_is_for_one_beside_readers),
        T(exclusive_is_for_one_alone),
        T(a_failed_exclusive_keeps_new_readers_out),
        T(two_that_want_exclusive_from_shared),
        T(a_level_that_is_held_is_a_success),
        T(a_write_takes_reserved_and_a_sync_gives_it_back),
        T(a_sync_waits_for_readers_and_stays_staged),
        T(a_holder_that_dies_blocks_nobody),
        T(a_wait_without_end_ends_with_the_lock),
        T(threads_wait_for_each_other),
        T(a_time_out_is_an_answer),
        T(a_deferred_open_joins_at_the_first_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
