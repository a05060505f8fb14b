/*
 * A full disk: SQLITE_FULL, a rollback that works, nothing lost, and work that
 * goes on when space returns.  Each test mounts a small file system of its own
 * (tmpfs, or ext4 in a file for the place `page`), which needs root; without it
 * the test says that it was skipped.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/sql/harness.h"

#define CANNOT_MOUNT 77

static struct scratch scratch;
static char mount_path[640], path[700], ballast_path[700];

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

static bool mount_ext4(void)
{
    char image[640], command[3000], output[1024];
    const char *const shell[] = {"sh", "-c", command, NULL};

    (void)snprintf(image, sizeof(image), "%s/image", scratch.directory);
    (void)snprintf(command, sizeof(command),
                   "PATH=$PATH:/sbin:/usr/sbin; truncate -s 24M '%s' && mkfs.ext4 -q -m 0 '%s' &&"
                   " mount -o loop '%s' '%s' 2>&1",
                   image, image, image, mount_path);
    return child_exec(shell, output, sizeof(output)) == 0;
}

/* In a child: a small file system in a name space of its own, gone with the child. */
static void mount_small(void)
{
    bool mounted =
        unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;

    if (mounted && place_kind() == PLACE_PAGE)
        mounted = mount_ext4();
    else if (mounted)
        mounted = mount("none", mount_path, "tmpfs", 0, "size=12m") == 0;
    if (!mounted)
        _exit(CANNOT_MOUNT);
}

static void run_mounted(child_main *main)
{
    struct child child;
    int result;

    sql_load();
    child_start(&child, main, NULL);
    result = child_wait(&child);
    if (result == CANNOT_MOUNT) {
        printf("cannot mount here: not run\n");
        skip();
    }
    check_eq(result, 0);
}

static void ballast_drop(void)
{
    (void)unlink(ballast_path);
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
            write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
            break;
    }
    check_eq(fsync(fd) == 0 || left == 0, 1);
    close(fd);
}

#define ROWS(count, bytes)                                                                         \
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT " #count ")"             \
    " INSERT INTO t(v) SELECT printf('%.*c', " #bytes ", 'r') FROM c"

static void make_database(void)
{
    sqlite3 *db = stock_open(path, NULL);

    sql_do(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); %s", ROWS(50, 1000));
    sql_close(db);
}

/* However much space there is: all of it or nothing of it, and the database goes on. */
static void one_transaction(const char *sql)
{
    bool done = false;
    int full = 0;

    make_database();
    for (uint64_t left = 0; !done; left += left < 65536 ? 4096 : left / 4 / 4096 * 4096) {
        sqlite3 *db = sql_open(path, "log_bytes=256K");
        uint64_t digest = sql_digest(db);
        int result;

        check_note("%llu bytes left", (unsigned long long)left);
        check(left < 12 << 20);
        sql_do(db, "PRAGMA cache_size = 5; SAVEPOINT s; RELEASE s");
        ballast_fill(left);
        result = sql_try(db, "BEGIN; %s; COMMIT", sql);
        if (result != SQLITE_OK) {
            if (result != SQLITE_FULL)
                check_fail("%d: %s", result, sqlite3_errmsg(db));
            full++;
            if (!sqlite3_get_autocommit(db))
                sql_do(db, "ROLLBACK");
            check(sql_digest(db) == digest);
            sql_sound(db);
        }
        ballast_drop();
        if (result != SQLITE_OK)
            sql_do(db, "BEGIN; %s; COMMIT", sql); /* work goes on */
        done = result == SQLITE_OK;
        sql_sound(db);
        sql_do(db, "DELETE FROM t; %s; VACUUM", ROWS(50, 1000));
        sql_close(db);
        stock_reads(path, digest);
    }
    printf("%d times full\n", full);
    check(full > 0);
}

static void small_inserts(void *argument)
{
    (void)argument;
    mount_small();
    one_transaction(ROWS(10, 3000));
}

static void large_inserts(void *argument)
{
    (void)argument;
    mount_small();
    one_transaction(ROWS(300, 5000));
}

static void updates_and_deletes(void *argument)
{
    (void)argument;
    mount_small();
    one_transaction("UPDATE t SET v = v || v || v; DELETE FROM t WHERE id % 2; " ROWS(100, 900));
}

static void a_small_transaction(void **state)
{
    (void)state;
    run_mounted(small_inserts);
}

static void a_transaction_larger_than_the_log(void **state)
{
    (void)state;
    run_mounted(large_inserts);
}

static void a_transaction_that_changes_much(void **state)
{
    (void)state;
    run_mounted(updates_and_deletes);
}

/* No room for a sidecar: reading works, writing is refused, and then works. */
static void open_when_full(void *argument)
{
    sqlite3 *db;
    int result;

    (void)argument;
    mount_small();
    make_database();
    ballast_fill(0);
    db = sql_open(path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 50);
    result = sql_try(db, "%s", ROWS(20, 3000));
    /* Without room for a log the stock VFS has it, which cannot make a journal. */
    check(result == SQLITE_FULL || result == SQLITE_CANTOPEN);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 50);
    ballast_drop();
    sql_do(db, "%s", ROWS(20, 3000));
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 70);
    sql_close(db);
    stock_reads(path, 0);
}

static void opened_on_a_full_disk(void **state)
{
    (void)state;
    run_mounted(open_when_full);
}

static void fill_and_wait(void *argument)
{
    sqlite3 *db = sql_open(path, "log_bytes=256K");
    int rows = 1;

    (void)argument;
    sql_do(db, "INSERT INTO t(v) VALUES('the first makes the log')");
    ballast_fill(0);
    while (sql_try(db, "INSERT INTO t(v) VALUES(printf('%%.*c', 3000, 'k'))") == SQLITE_OK)
        rows++;
    parent_send((char)(rows < 100 ? rows + 1 : 101));
    (void)parent_receive();
}

/* Killed when the disk was full, and it still is. */
static void recover_when_full(void *argument)
{
    struct child child;
    sqlite3 *db = NULL;
    int64_t rows;
    int result;

    (void)argument;
    mount_small();
    make_database();
    child_start(&child, fill_and_wait, NULL);
    rows = child_receive(&child) - 1;
    check(rows >= 1);
    child_kill(&child);
    check(file_exists(scratch_file(&scratch, "mnt/db-nvmmio")) || !sql_on_nvmmio());
    (void)sql_open_try(path, "log_bytes=256K", SQLITE_OPEN_READWRITE, &db);
    result = sql_try(db, "SELECT count(*) FROM t");
    if (result == SQLITE_OK)
        check(sql_int(db, "SELECT count(*) FROM t") >= 50 + rows);
    else
        check(result == SQLITE_FULL || result == SQLITE_CANTOPEN || result == SQLITE_IOERR);
    (void)sqlite3_close(db);
    ballast_drop();
    db = sql_open(path, NULL);
    check(sql_int(db, "SELECT count(*) FROM t") >= 50 + rows);
    sql_do(db, "INSERT INTO t(v) VALUES('x')");
    sql_sound(db);
    sql_close(db);
    stock_reads(path, 0);
}

static void recovered_on_a_full_disk(void **state)
{
    (void)state;
    run_mounted(recover_when_full);
}

static void open_read_only(void *argument)
{
    sqlite3 *db;

    (void)argument;
    mount_small();
    make_database();
    check_eq(mount(NULL, mount_path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    db = sql_open(path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 50);
    check_sql(db, SQLITE_READONLY, "INSERT INTO t(v) VALUES(1)");
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 50);
    sql_close(db);
    stock_reads(path, 0);
}

static void a_read_only_file_system(void **state)
{
    (void)state;
    run_mounted(open_read_only);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_small_transaction),
        T(a_transaction_larger_than_the_log),
        T(a_transaction_that_changes_much),
        T(opened_on_a_full_disk),
        T(recovered_on_a_full_disk),
        T(a_read_only_file_system),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
