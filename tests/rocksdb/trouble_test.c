/*
 * trouble_test: what RocksDB's users are told, and what they keep, when
 * something is not as it should be: options, media, other processes, a full
 * disk, a file system that is read-only.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/check.h"
#include "tests/core/child.h"
#include "tests/core/small_disk.h"
#include "tests/rocksdb/managed.h"
#include "tests/rocksdb/store.h"

static struct small_disk disk = {.ext4_mib = 32, .tmpfs_mib = 24};
static char path[700];
static uint64_t seed;

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    small_disk_make(&disk, &scratch);
    (void)snprintf(path, sizeof(path), "%s/db", disk.path);
    return 0;
}

static void check_names(char *message, const char *what)
{
    if (!message || !strstr(message, what))
        check_fail("not an error that names %s: %s", what, message ? message : "none");
    free(message);
}

/* ---- Options ---- */

static void open_with_bad_options(void *argument)
{
    static const struct {
        const char *uri, *named;
    } bad[] = {
        {"nvmmio://?color=red", "'color'"},
        {"nvmmio://?medium=tape", "medium=tape"},
        {"nvmmio://scratch", "nvmmio://scratch"},
        {"mvmmio://", "mvmmio://"},
        {"", "nvmmio://"},
    };
    (void)argument;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct store_options options = {bad[i].uri, ""};
        struct store store;

        check_names(store_try_open(&store, scratch.path, &options), bad[i].named);
        check(!file_exists(scratch.path));
    }
}

static void bad_options_are_named(void **state)
{
    (void)state;
    child_run(open_with_bad_options, NULL);
}

static void open_with_a_medium_that_is_not_there(void *argument)
{
    struct store_options options = {"nvmmio://?medium=dax", ""};
    struct store store;
    char *message = store_try_open(&store, scratch.path, &options);

    (void)argument;
    if (place_kind() == PLACE_DAX) {
        check(message == NULL);
        store_close(&store);
    } else {
        check_names(message, "medium cannot be had");
    }
}

static void a_medium_that_is_not_there_is_refused(void **state)
{
    (void)state;
    if (place_kind() == PLACE_OTHER)
        skip();
    child_run(open_with_a_medium_that_is_not_there, NULL);
}

/* ---- Two processes ---- */

static const struct store_options plain = {"nvmmio://", ""};
static const struct store_options posix = {NULL, ""};

static void hold(void *argument)
{
    struct store store;

    store_open(&store, scratch.path, argument);
    store_put(&store, 1, true);
    parent_send('h');
    (void)parent_receive();
}

static void collide(void *argument)
{
    struct store store;

    check_names(store_try_open(&store, scratch.path, argument), "LOCK");
}

/* The lock is posix's, so each kind keeps out the other; and it dies with its holder. */
static void one_process_has_a_database(void **state)
{
    const struct store_options *kinds[] = {&plain, &posix};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct child child;

        child_start(&child, hold, (void *)(uintptr_t)kinds[i / 2]);
        child_expect(&child, 'h');
        child_run(collide, (void *)(uintptr_t)kinds[i % 2]);
        child_kill(&child);
    }
}

/* ---- A full disk ---- */

/* What outlives the process of a round. */
struct progress {
    uint64_t random;
    uint64_t written; /* acknowledged */
    uint64_t full;    /* rounds that found no space */
    bool began;
};

/* Puts until one fails, `most` at the most; false: one failed, for want of space. */
static bool put_until_full(struct store *store, struct progress *progress, uint64_t most)
{
    for (uint64_t i = 0; i < most; i++) {
        uint64_t n = progress->written + 1;
        char *message = store_try_put(store, n, n % 7 == 0);

        if (message) {
            progress->full++;
            check_names(message, "space");
            return false;
        }
        progress->written = n;
    }
    return true;
}

static void fill_once(void *argument)
{
    struct progress *progress = argument;
    const struct store_options *options = random_below(&progress->random, 4) == 0 ? &posix : &plain;
    struct store store;

    store_open(&store, path, options);
    progress->written = store_check(&store, progress->written, progress->written + progress->began);
    progress->began = true;
    if (put_until_full(&store, progress, 200)) {
        small_disk_fill(&disk, random_below(&progress->random, 1 << 18));
        (void)put_until_full(&store, progress, 20000);
    }
    store_close(&store);
}

/*
 * In the WAL, in a flush, in a compaction: wherever it happens first.  With the
 * space back, and the database opened again, everything acknowledged is there.
 * (Debian's library has RocksDB's assertions in it, and one of them fails when a
 * WAL that had an error is flushed once more, on posix too: that is a death.)
 */
static void fill_again_and_again(void *argument)
{
    struct progress *progress = child_memory(sizeof *progress);

    (void)argument;
    small_disk_mount(&disk);
    progress->random = seed;
    for (int round = 0; round < 12; round++) {
        struct child child;
        int result;

        child_start(&child, fill_once, progress);
        result = child_wait(&child);
        check(result == 0 || result == -SIGABRT);
        small_disk_drop(&disk);
    }
    check(progress->full > 0);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    seed = place_seed("a_full_disk_loses_nothing");
    small_disk_run(fill_again_and_again);
}

/* ---- A disk that has space again ---- */

enum { FIRST = 2000, SECOND = 6000, LAST = 7000 };

static struct managed *managed_open_or_fail(const char *uri, bool manager)
{
    struct managed_options options = {uri, scratch.path, manager};
    struct managed *managed = managed_open(path, &options);

    if (!managed)
        check_fail("cannot open");
    return managed;
}

static void put_all(struct managed *managed, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        check_eq(managed_put(managed, n), MANAGED_OK);
}

/* The log has space on a disk of its own, so that it is the flush that fails. */
static void run_out_and_resume(bool manager)
{
    struct managed *managed;

    small_disk_mount(&disk);
    managed = managed_open_or_fail("nvmmio://", manager);
    put_all(managed, 1, FIRST);
    check_eq(managed_flush(managed), MANAGED_OK);
    small_disk_fill(&disk, 1 << 20);
    put_all(managed, FIRST + 1, SECOND);
    check_eq(managed_flush(managed), MANAGED_NO_SPACE);
    check_eq(managed_put(managed, SECOND + 1), MANAGED_NO_SPACE);
    check(managed_holds(managed, SECOND));

    small_disk_drop(&disk);
    check(managed_wait(managed));
    put_all(managed, SECOND + 1, LAST);
    check_eq(managed_flush(managed), MANAGED_OK);
    managed_close(managed);

    managed = managed_open_or_fail(NULL, false);
    check(managed_holds(managed, LAST));
    managed_close(managed);
}

static void run_out_with_manager(void *argument)
{
    (void)argument;
    run_out_and_resume(true);
}

static void run_out_without_manager(void *argument)
{
    (void)argument;
    run_out_and_resume(false);
}

static void a_manager_resumes_when_space_returns(void **state)
{
    (void)state;
    small_disk_run(run_out_with_manager);
}

static void a_database_alone_does_too(void **state)
{
    (void)state;
    small_disk_run(run_out_without_manager);
}

/* ---- A file system that is read-only ---- */

static void open_read_only(void *argument)
{
    struct store store;

    (void)argument;
    small_disk_mount(&disk);
    store_open(&store, path, &plain);
    store_put(&store, 1, true);
    store_close(&store);
    small_disk_make_read_only(&disk);
    check_names(store_try_open(&store, path, &plain), "ead-only");
}

static void a_read_only_file_system_is_named(void **state)
{
    (void)state;
    small_disk_run(open_read_only);
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(bad_options_are_named, setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_medium_that_is_not_there_is_refused, setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(one_process_has_a_database, setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_loses_nothing, setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_manager_resumes_when_space_returns, setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(a_database_alone_does_too, setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_read_only_file_system_is_named, setup, scratch_teardown),
    };

    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, tests, NULL);
}
