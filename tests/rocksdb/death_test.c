/*
 * death_test: a process that writes is killed, and the next, on nvmmio or on
 * posix in turn, finds every write that was acknowledged, synced or not, and
 * goes on.  At the end posix finds nothing that it does not know.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/check.h"
#include "tests/core/child.h"
#include "tests/core/place.h"
#include "tests/rocksdb/store.h"

struct life {
    struct scratch scratch;
    struct store_options options; /* of the next process */
    const char *uri;
    _Atomic uint64_t *acknowledged; /* write number, in memory that outlives the writer */
    uint64_t under_way;             /* that may be there besides */
};

static void life_begin(struct life *life, const char *uri, const char *extra)
{
    memset(life, 0, sizeof *life);
    scratch_make(&life->scratch);
    life->uri = uri;
    life->options.extra = extra;
    life->acknowledged = child_memory(sizeof *life->acknowledged);
}

/* Recover, check, and write until the end comes from outside. */
static void writer(void *argument)
{
    struct life *life = argument;
    struct store store;
    uint64_t n;

    store_open(&store, life->scratch.path, &life->options);
    n = store_check(&store, *life->acknowledged, *life->acknowledged + life->under_way);
    *life->acknowledged = n;
    parent_send('r');
    for (;;) {
        n++;
        store_put(&store, n, n % 5 == 0);
        *life->acknowledged = n;
    }
}

static void checker(void *argument)
{
    struct life *life = argument;
    struct store store;

    store_open(&store, life->scratch.path, &life->options);
    store_check(&store, *life->acknowledged, *life->acknowledged + life->under_way);
    store_close(&store);
}

static void destroyer(void *argument)
{
    struct life *life = argument;
    rocksdb_options_t *options = rocksdb_options_create();
    char *error = NULL;

    rocksdb_destroy_db(options, life->scratch.path, &error);
    rocksdb_options_destroy(options);
    if (error)
        check_fail("destroy: %s", error);
}

/* How many writes a process lives for: few, or enough for flushes and compactions. */
static uint64_t life_span(uint64_t *random)
{
    return random_below(random, 3) == 0 ? random_below(random, 20) : random_below(random, 2000);
}

static void kill_and_go_on(const char *test, const char *uri, const char *extra)
{
    uint64_t random = place_seed(test), rounds = place_times(30);
    struct life life;

    life_begin(&life, uri, extra);
    for (uint64_t round = 0; round < rounds; round++) {
        struct child child;
        uint64_t end;

        life.options.uri = random_below(&random, 3) == 0 ? NULL : life.uri;
        child_start(&child, writer, &life);
        child_expect(&child, 'r');
        end = *life.acknowledged + life_span(&random);
        while (*life.acknowledged < end)
            sched_yield();
        child_kill(&child);
        life.under_way = 1;
    }
    /* posix first, and nothing has been repaired before. */
    life.options.uri = NULL;
    child_run(checker, &life);
    child_run(destroyer, &life);
    check(!file_exists(life.scratch.path));
    scratch_remove(&life.scratch);
}

static void plain(void **state)
{
    (void)state;
    kill_and_go_on("plain", "nvmmio://", "");
}

/* The WAL is not flushed at recovery, but cut and written on. */
static void logs_that_are_reopened(void **state)
{
    (void)state;
    kill_and_go_on("logs_that_are_reopened", "nvmmio://",
                   "avoid_flush_during_recovery=true;avoid_flush_during_shutdown=true;");
}

static void logs_that_are_reused(void **state)
{
    (void)state;
    kill_and_go_on("logs_that_are_reused", "nvmmio://", "recycle_log_file_num=3;");
}

static void blobs(void **state)
{
    (void)state;
    kill_and_go_on("blobs", "nvmmio://",
                   "enable_blob_files=true;min_blob_size=300;enable_blob_garbage_collection=true;");
}

static void mapped_reads(void **state)
{
    (void)state;
    kill_and_go_on("mapped_reads", "nvmmio://", "allow_mmap_reads=true;");
}

static void sizes_ahead(void **state)
{
    (void)state;
    kill_and_go_on("sizes_ahead", "nvmmio://?wal_size=ahead", "");
}

static void logs_only(void **state)
{
    (void)state;
    kill_and_go_on("logs_only", "nvmmio://?streams=wal", "recycle_log_file_num=2;");
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(logs_that_are_reopened),
        cmocka_unit_test(logs_that_are_reused),
        cmocka_unit_test(blobs),
        cmocka_unit_test(mapped_reads),
        cmocka_unit_test(sizes_ahead),
        cmocka_unit_test(logs_only),
    };

    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, tests, NULL);
}
