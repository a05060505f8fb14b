/*
 * After a commit that failed: what the same connection, another one, and the next
 * to open the file are told.  Calls of the extension fail by these definitions,
 * which stand in front of libc's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/sql/harness.h"

/* Which calls fail: those on files with a name that ends so, `skip` of them excepted. */
static struct {
    const char *end;
    int skip, count;
    int error;
    int hits;
} fault;

static bool fails(int fd)
{
    char link[64], name[1024];
    size_t bytes = fault.end ? strlen(fault.end) : 0;
    ssize_t length;

    if (!fault.end)
        return false;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, name, sizeof(name));
    if (length < (ssize_t)bytes || memcmp(name + length - bytes, fault.end, bytes) != 0)
        return false;
    if (fault.skip > 0) {
        fault.skip--;
        return false;
    }
    if (fault.count == 0)
        return false;
    fault.count--;
    fault.hits++;
    errno = fault.error;
    return true;
}

static void *next(const char *name)
{
    void *call = dlsym(RTLD_NEXT, name);

    check(call != NULL);
    return call;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name,bugprone-macro-parentheses):
 * libc's names for parameters are its own, and a declaration has no parentheses to spare. */
#define REPLACE(type, name, parameters, arguments)                                                 \
    __attribute__((visibility("default"))) type name parameters                                    \
    {                                                                                              \
        static type(*real) parameters;                                                             \
        if (!real)                                                                                 \
            *(void **)&real = next(#name);                                                         \
        return fails(fd) ? -1 : real arguments;                                                    \
    }

REPLACE(ssize_t, pwrite, (int fd, const void *from, size_t bytes, off_t at), (fd, from, bytes, at))
REPLACE(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at),
        (fd, parts, count, at))
REPLACE(int, fdatasync, (int fd), (fd))
REPLACE(int, ftruncate, (int fd, off_t bytes), (fd, bytes))
/* NOLINTEND(readability-inconsistent-declaration-parameter-name,bugprone-macro-parentheses) */

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    memset(&fault, 0, sizeof(fault));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fault.end = NULL;
    scratch_remove(&scratch);
    return 0;
}

/* Calls on files that end in `end` fail from the one after the next `skip` on. */
static void arm(const char *end, int skip, int count)
{
    fault.end = end;
    fault.skip = skip;
    fault.count = count;
    fault.error = EIO;
    fault.hits = 0;
}

static int disarm(void)
{
    fault.end = NULL;
    return fault.hits;
}

/* Home is written by calls, wherever it lies. */
static sqlite3 *open_page(void)
{
    return sql_open(scratch.path, "medium=page");
}

/* Both connections are served, and see the same. */
static int64_t agree(sqlite3 *db, const char *sql)
{
    sqlite3 *other = open_page();
    int64_t here = sql_int(db, "%s", sql);

    check_eq(sql_int(other, "%s", sql), here);
    sql_sound(db);
    sql_sound(other);
    sql_close(other);
    return here;
}

/* Home could not be written, with the commit in the log: it counts, once the error has passed. */
static void the_first_commit_of_an_empty_file(void **state)
{
    static const char *const first[] = {"CREATE TABLE t(v)", "PRAGMA journal_mode = wal"};

    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (size_t i = 0; i < 2; i++) {
        sqlite3 *db;

        scratch_empty(&scratch);
        check_note("%s", first[i]);
        db = open_page();
        sql_do(db, "SELECT * FROM sqlite_schema; BEGIN IMMEDIATE; ROLLBACK");
        /* The mark and its placeholder come first. */
        for (int skip = 0, hits = 1; hits > 0; skip++) {
            int code;

            check_note("%s, from call %d on", first[i], skip);
            arm("/db", skip, 1000);
            code = sql_try(db, "%s", first[i]);
            hits = disarm();
            check(skip > 0 || hits > 0);
            /* A log that cannot be merged right away is no failure. */
            check(code == SQLITE_IOERR || (code == SQLITE_OK && (!hits || i == 1)));
            (void)agree(db, "SELECT count(*) FROM sqlite_schema");
            sql_close(db);
            scratch_empty(&scratch);
            db = open_page();
        }
        sql_close(db);
    }
}

/* Everybody was refused until all connections of all processes had been closed. */
static void work_goes_on_when_home_can_be_written_again(void **state)
{
    sqlite3 *db = open_page();
    int64_t rows;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    arm("/db", 0, 1000);
    check_sql(db, SQLITE_IOERR, "INSERT INTO t VALUES(2)");
    check_sql(db, SQLITE_IOERR, "SELECT * FROM t");
    check(disarm() > 0);
    rows = agree(db, "SELECT count(*) FROM t");
    check_eq(rows, 2); /* its record is durable */
    sql_do(db, "INSERT INTO t VALUES(3)");
    check_eq(agree(db, "SELECT count(*) FROM t"), 3);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

/* No space for what was reserved, as on a file system that copies on write: not "the disk is full",
 * by which an application would take it that nothing was committed. */
static void no_space_for_home_is_an_error_too(void **state)
{
    sqlite3 *db = open_page();

    (void)state;
    SKIP_UNLESS_NVMMIO();
    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    arm("/db", 0, 1000);
    fault.error = ENOSPC;
    check_sql(db, SQLITE_IOERR, "INSERT INTO t VALUES(2)");
    check(disarm() > 0);
    check_eq(agree(db, "SELECT count(*) FROM t"), 2);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

/* Such a connection keeps its lock: it was told of half a commit. */
static void in_exclusive_mode_no_half_commit_is_read(void **state)
{
    sqlite3 *db = open_page();

    (void)state;
    SKIP_UNLESS_NVMMIO();
    sql_do(db, "PRAGMA locking_mode = exclusive; PRAGMA cache_size = 5;"
               "CREATE TABLE t(v); CREATE TABLE u(v);"
               "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
               "INSERT INTO t SELECT randomblob(1000) FROM n;"
               "INSERT INTO u SELECT v FROM t; UPDATE t SET v = zeroblob(1000)");
    sql_do(db, "BEGIN; UPDATE t SET v = randomblob(1000);"
               "UPDATE u SET v = randomblob(1000) WHERE rowid % 20 = 0");
    /* The first run of neighbours gets there. */
    arm("/db", 1, 1000);
    check_sql(db, SQLITE_IOERR, "COMMIT");
    check(disarm() > 0);
    check_sql(db, SQLITE_IOERR, "SELECT count(*) FROM t WHERE v = zeroblob(1000)");
    (void)sqlite3_close(db);
    db = open_page();
    check_eq(agree(db, "SELECT count(*) FROM t WHERE v = zeroblob(1000)"), 0);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

/* The log could not be merged, and the connection found its file locked by nobody for good. */
static void a_switch_to_wal_mode_that_could_not_merge(void **state)
{
    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (int skip = 0, hits = 1; hits > 0; skip++) {
        sqlite3 *db;
        int code;

        scratch_empty(&scratch);
        check_note("call %d on home", skip);
        db = open_page();
        sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1); PRAGMA locking_mode = exclusive");
        arm("/db", skip, 1);
        code = sql_try(db, "PRAGMA journal_mode = wal");
        if (code == SQLITE_OK)
            code = sql_try(db, "INSERT INTO t VALUES(2)");
        hits = disarm();
        check(skip > 0 || hits > 0);
        check(code == SQLITE_OK || code == SQLITE_IOERR);
        if (code == SQLITE_OK)
            check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
        else /* a failed sync leaves it read-only, a commit under way closed */
            check(sql_try(db, "SELECT count(*) FROM t") != SQLITE_BUSY);
        (void)sqlite3_close(db);
        db = open_page();
        check_eq(sql_int(db, "SELECT count(*) FROM t"), code == SQLITE_OK ? 2 : 1);
        sql_sound(db);
        sql_close(db);
    }
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(the_first_commit_of_an_empty_file),
        T(work_goes_on_when_home_can_be_written_again),
        T(no_space_for_home_is_an_error_too),
        T(in_exclusive_mode_no_half_commit_is_read),
        T(a_switch_to_wal_mode_that_could_not_merge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
