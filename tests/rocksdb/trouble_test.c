/*
 * trouble_test: what RocksDB's users are told, and what they keep, when
 * something is not as it should be: options, media, other processes, a full
 * disk, a file system that is read-only.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/core/check.h"
#include "tests/core/child.h"
#include "tests/core/place.h"
#include "tests/rocksdb/managed.h"
#include "tests/rocksdb/store.h"

enum { CANNOT_MOUNT = 77 };

static struct scratch scratch;
static char mount_path[640], path[700], ballast_path[700];
static uint64_t seed;

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    (void)snprintf(mount_path, sizeof(mount_path), "%s/mnt", scratch.directory);
    (void)snprintf(path, sizeof(path), "%s/db", mount_path);
    (void)snprintf(ballast_path, sizeof(ballast_path), "%s/ballast", mount_path);
    check_eq(mkdir(mount_path, 0755), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(&scratch);
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

static bool mount_ext4(void)
{
    char command[4096], output[512];
    const char *const shell[] = {"/bin/sh", "-c", command, NULL};

    (void)snprintf(command, sizeof command,
                   "truncate -s 32m '%s/image' && mkfs.ext4 -q -m 0 -F '%s/image' &&"
                   " mount -o loop '%s/image' '%s' 2>&1",
                   scratch.directory, scratch.directory, scratch.directory, mount_path);
    return child_exec(shell, output, sizeof output) == 0;
}

/* In a child: a small file system in a name space of its own, gone with the child. */
static void mount_small(void)
{
    bool mounted =
        unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;

    if (mounted && place_kind() == PLACE_PAGE)
        mounted = mount_ext4();
    else if (mounted)
        mounted = mount("none", mount_path, "tmpfs", 0, "size=24m") == 0;
    if (!mounted)
        _exit(CANNOT_MOUNT);
}

static void run_mounted(child_main *main)
{
    struct child child;
    int result;

    child_start(&child, main, NULL);
    result = child_wait(&child);
    if (result == CANNOT_MOUNT) {
        printf("cannot mount here: not run\n");
        skip();
    }
    check_eq(result, 0);
}

/* Fill the file system up to `left` bytes. */
static void ballast_fill(uint64_t left)
{
    static char block[4096];
    struct statvfs status;
    int fd = open(ballast_path, O_WRONLY | O_CREAT | O_APPEND, 0644);

    check(fd >= 0);
    for (;;) {
        check_eq(statvfs(mount_path, &status), 0);
        if ((uint64_t)status.f_bavail * status.f_frsize <= left ||
            write(fd, block, sizeof block) != (ssize_t)sizeof block)
            break;
    }
    (void)fsync(fd);
    close(fd);
}

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
        ballast_fill(random_below(&progress->random, 1 << 18));
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
    mount_small();
    progress->random = seed;
    for (int round = 0; round < 12; round++) {
        struct child child;
        int result;

        child_start(&child, fill_once, progress);
        result = child_wait(&child);
        check(result == 0 || result == -SIGABRT);
        (void)unlink(ballast_path);
    }
    check(progress->full > 0);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    seed = place_seed("a_full_disk_loses_nothing");
    run_mounted(fill_again_and_again);
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

    mount_small();
    managed = managed_open_or_fail("nvmmio://", manager);
    put_all(managed, 1, FIRST);
    check_eq(managed_flush(managed), MANAGED_OK);
    ballast_fill(1 << 20);
    put_all(managed, FIRST + 1, SECOND);
    check_eq(managed_flush(managed), MANAGED_NO_SPACE);
    check_eq(managed_put(managed, SECOND + 1), MANAGED_NO_SPACE);
    check(managed_holds(managed, SECOND));

    check_eq(unlink(ballast_path), 0);
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
    run_mounted(run_out_with_manager);
}

static void a_database_alone_does_too(void **state)
{
    (void)state;
    run_mounted(run_out_without_manager);
}

/* ---- A file system that is read-only ---- */

static void open_read_only(void *argument)
{
    struct store store;

    (void)argument;
    mount_small();
    store_open(&store, path, &plain);
    store_put(&store, 1, true);
    store_close(&store);
    check_eq(mount("none", mount_path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    check_names(store_try_open(&store, path, &plain), "ead-only");
}

static void a_read_only_file_system_is_named(void **state)
{
    (void)state;
    run_mounted(open_read_only);
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(bad_options_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_medium_that_is_not_there_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(one_process_has_a_database, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_manager_resumes_when_space_returns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_database_alone_does_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_read_only_file_system_is_named, setup, teardown),
    };

    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, tests, NULL);
}
