/*
 * A full disk: SQLITE_FULL, a rollback that works, nothing lost, and work that
 * goes on when space returns.  Each test mounts a small file system of its own
 * (tmpfs, or ext4 in a file for the place `page`), which needs root; without it
 * the test says that it was skipped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/small_disk.h"
#include "tests/sql/harness.h"

static struct small_disk disk = {.ext4_mib = 24, .tmpfs_mib = 12};
static char path[700];

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    sql_load();
    small_disk_make(&disk, &scratch);
    (void)snprintf(path, sizeof(path), "%s/db", disk.path);
    return 0;
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
        small_disk_fill(&disk, left);
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
        small_disk_drop(&disk);
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
    small_disk_mount(&disk);
    one_transaction(ROWS(10, 3000));
}

static void large_inserts(void *argument)
{
    (void)argument;
    small_disk_mount(&disk);
    one_transaction(ROWS(300, 5000));
}

static void updates_and_deletes(void *argument)
{
    (void)argument;
    small_disk_mount(&disk);
    one_transaction("UPDATE t SET v = v || v || v; DELETE FROM t WHERE id % 2; " ROWS(100, 900));
}

static void a_small_transaction(void **state)
{
    (void)state;
    small_disk_run(small_inserts);
}

static void a_transaction_larger_than_the_log(void **state)
{
    (void)state;
    small_disk_run(large_inserts);
}

static void a_transaction_that_changes_much(void **state)
{
    (void)state;
    small_disk_run(updates_and_deletes);
}

/* No room for a sidecar: reading works, writing is refused, and then works. */
static void open_when_full(void *argument)
{
    sqlite3 *db;
    int result;

    (void)argument;
    small_disk_mount(&disk);
    make_database();
    small_disk_fill(&disk, 0);
    db = sql_open(path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 50);
    result = sql_try(db, "%s", ROWS(20, 3000));
    /* Without room for a log the stock VFS has it, which cannot make a journal. */
    check(result == SQLITE_FULL || result == SQLITE_CANTOPEN);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 50);
    small_disk_drop(&disk);
    sql_do(db, "%s", ROWS(20, 3000));
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 70);
    sql_close(db);
    stock_reads(path, 0);
}

static void opened_on_a_full_disk(void **state)
{
    (void)state;
    small_disk_run(open_when_full);
}

static void fill_and_wait(void *argument)
{
    sqlite3 *db = sql_open(path, "log_bytes=256K");
    int rows = 1;

    (void)argument;
    sql_do(db, "INSERT INTO t(v) VALUES('the first makes the log')");
    small_disk_fill(&disk, 0);
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
    small_disk_mount(&disk);
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
    small_disk_drop(&disk);
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
    small_disk_run(recover_when_full);
}

static void open_read_only(void *argument)
{
    sqlite3 *db;

    (void)argument;
    small_disk_mount(&disk);
    make_database();
    small_disk_make_read_only(&disk);
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
    small_disk_run(open_read_only);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
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
