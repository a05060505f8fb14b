/*
 * What befalls a file while it is open: it is deleted, another takes its name, its
 * directory is read-only, a limit on the size of files is met.  The answer is what
 * stock SQLite gives or a clear error; nothing committed is lost, and the file that
 * has the name now is not harmed.
 */
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sql/harness.h"

#define NOBODY 65534

static void make_database(const char *path, int value)
{
    sqlite3 *db = stock_open(path, NULL);

    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(%d)", value);
    sql_close(db);
}

/* SQLite asks for it only now and then when many transactions follow each other. */
static void write_until_it_is_noticed(sqlite3 *db)
{
    int result = SQLITE_OK;

    for (int i = 0; i < 10000000 && result == SQLITE_OK; i++)
        result = sql_try(db, "INSERT INTO t VALUES(2)");
    if (result != SQLITE_READONLY)
        check_fail("%d: %s", result, sqlite3_errmsg(db));
}

static void deleted_while_open(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        sqlite3 *db, *other;

        scratch_empty(&scratch);
        make_database(scratch.path, 1);
        db = sql_open(scratch.path, NULL);
        sql_do(db, "INSERT INTO t VALUES(1)");
        check_eq(unlink(scratch.path), 0);
        write_until_it_is_noticed(db);
        check(sql_int(db, "SELECT count(*) FROM t") >= 2); /* what it has can still be read */
        if (again) { /* the name is used again before that one is closed */
            int result = sql_open_try(scratch.path, NULL,
                                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &other);

            if (result == SQLITE_OK)
                result = sql_try(other, "CREATE TABLE u(v)");
            check(result != SQLITE_OK || sql_int(other, "SELECT count(*) FROM u") == 0);
            if (result != SQLITE_OK)
                check(sqlite3_errmsg(other)[0] != '\0');
            (void)sqlite3_close(other);
        }
        sql_close(db);
        other = sql_open(scratch.path, NULL);
        sql_do(other, "CREATE TABLE IF NOT EXISTS u(v); INSERT INTO u VALUES(1)");
        check_eq(sql_int(other, "SELECT count(*) FROM sqlite_schema"), 1);
        sql_close(other);
        stock_reads(scratch.path, 0);
    }
}

static void replaced_while_open(void **state)
{
    const char *new = scratch_file(&scratch, "new");
    void *before, *after;

    (void)state;
    for (int again = 0; again < 2; again++) {
        sqlite3 *db, *other = NULL;
        int64_t bytes;

        scratch_empty(&scratch);
        make_database(scratch.path, 1);
        make_database(new, 77);
        bytes = file_read(new, &before);
        db = sql_open(scratch.path, NULL);
        sql_do(db, "INSERT INTO t VALUES(1)");
        check_eq(rename(new, scratch.path), 0);
        write_until_it_is_noticed(db);
        check_eq(file_read(scratch.path, &after), bytes);
        check(memcmp(before, after, (size_t)bytes) == 0);
        free(after);
        if (again) { /* somebody opens the new one beside it: he gets it, or an error */
            int result = sql_open_try(scratch.path, NULL, SQLITE_OPEN_READWRITE, &other);

            if (result == SQLITE_OK)
                result = sql_try(other, "SELECT * FROM t");
            if (result == SQLITE_OK)
                check_eq(sql_int(other, "SELECT v FROM t"), 77);
            else
                check(sqlite3_errmsg(other)[0] != '\0');
            (void)sqlite3_close(other);
        }
        sql_close(db);
        other = sql_open(scratch.path, NULL);
        check_eq(sql_int(other, "SELECT sum(v) FROM t"), 77);
        sql_do(other, "INSERT INTO t VALUES(1)");
        sql_close(other);
        stock_reads(scratch.path, 0);
        other = stock_open(scratch.path, NULL);
        check_eq(sql_int(other, "SELECT sum(v) FROM t"), 78);
        sql_close(other);
        free(before);
    }
}

static void become_nobody(void)
{
    check_eq(setgroups(0, NULL), 0);
    check_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
    check_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
}

static void write_and_wait(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)argument;
    sql_do(db, "INSERT INTO t VALUES(2)");
    parent_send('k');
    (void)parent_receive();
}

/* The file may be written, but nothing can be made beside it. */
static void nobody_in_a_read_only_directory(void *argument)
{
    sqlite3 *db, *stock;

    (void)argument;
    become_nobody();
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 1);
    stock = stock_open(scratch.path, NULL);
    check_eq(sql_try(db, "INSERT INTO t VALUES(2)"), sql_try(stock, "INSERT INTO t VALUES(2)"));
    check(sqlite3_errmsg(db)[0] != '\0');
    sql_close(stock);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 1);
    sql_close(db);
}

static void nobody_cannot_recover(void *argument)
{
    sqlite3 *db = NULL;
    int result;

    (void)argument;
    become_nobody();
    result = sql_open_try(scratch.path, NULL, SQLITE_OPEN_READWRITE, &db);
    if (result == SQLITE_OK)
        result = sql_try(db, "SELECT count(*) FROM t");
    /* With the right to write to all of the files it may have been recovered in place. */
    if (result == SQLITE_OK)
        check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    else
        check(sqlite3_errmsg(db)[0] != '\0');
    (void)sqlite3_close(db);
}

static void a_read_only_directory(void **state)
{
    struct child child;
    sqlite3 *db;

    (void)state;
    if (geteuid() != 0)
        skip();
    sql_load();
    make_database(scratch.path, 1);
    check_eq(chmod(scratch.path, 0666), 0);
    check_eq(chmod(scratch.directory, 0555), 0);
    child_run(nobody_in_a_read_only_directory, NULL);
    check_text(scratch_list(&scratch), "db ");
    check_eq(chmod(scratch.directory, 0755), 0);
    child_start(&child, write_and_wait, NULL);
    child_expect(&child, 'k');
    child_kill(&child);
    check_eq(chmod(scratch.directory, 0555), 0);
    child_run(nobody_cannot_recover, NULL);
    check_eq(chmod(scratch.directory, 0755), 0);
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void limit(rlim_t bytes)
{
    struct rlimit limits;

    check_eq(getrlimit(RLIMIT_FSIZE, &limits), 0);
    limits.rlim_cur = bytes == RLIM_INFINITY ? limits.rlim_max : bytes;
    check_eq(setrlimit(RLIMIT_FSIZE, &limits), 0);
}

/* Who ignores the signal gets an error for it; who does not is killed, here as elsewhere. */
static void grow_to_the_limit(void *argument)
{
    static const rlim_t limits[] = {300000, 1000000, 3000000, 5000000};

    (void)argument;
    check(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        sqlite3 *db;
        int64_t rows = 0;
        int result;

        check_note("a limit of %llu bytes", (unsigned long long)limits[i]);
        scratch_empty(&scratch);
        make_database(scratch.path, 1);
        limit(limits[i]);
        db = sql_open(scratch.path, sql_on_nvmmio() ? "log_bytes=256K" : NULL);
        do {
            rows++;
            result = sql_try(db, "INSERT INTO t VALUES(zeroblob(30000))");
        } while (result == SQLITE_OK);
        /* The stock VFS, which has it where no log can be made, calls it an I/O error. */
        if (result != SQLITE_FULL && result != SQLITE_IOERR)
            check_fail("%d: %s", result, sqlite3_errmsg(db));
        check(rows * 30000 < (int64_t)limits[i] + 30000);
        check_eq(sql_int(db, "SELECT count(*) FROM t"), rows);
        sql_sound(db);
        limit(RLIM_INFINITY);
        sql_do(db, "INSERT INTO t VALUES(zeroblob(30000))");
        check_eq(sql_int(db, "SELECT count(*) FROM t"), rows + 1);
        sql_close(db);
        stock_reads(scratch.path, 0);
    }
}

static void a_limit_on_the_size_of_files(void **state)
{
    (void)state;
    sql_load();
    child_run(grow_to_the_limit, NULL);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(deleted_while_open),
        T(replaced_while_open),
        T(a_read_only_directory),
        T(a_limit_on_the_size_of_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
