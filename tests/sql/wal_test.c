/*
 * Journal modes, and WAL mode above all: it is delegated to the stock VFS, so
 * stock processes share it (PROTOCOL 6).
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sql/harness.h"

static const char *const modes[] = {"delete", "truncate", "persist", "memory", "off", "wal"};

static void every_mode_to_every_mode(void **state)
{
    (void)state;
    for (size_t i = 0; i < 36; i++) {
        const char *from = modes[i / 6], *to = modes[i % 6];
        sqlite3 *db;
        uint64_t digest;

        scratch_empty(&scratch);
        check_note("%s to %s", from, to);
        db = sql_open(scratch.path, NULL);
        check_text(sql_text(db, "PRAGMA journal_mode = %s", from), from);
        sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1), (2)");
        check_text(sql_text(db, "PRAGMA journal_mode = %s", to), to);
        sql_do(db, "INSERT INTO t VALUES(3)");
        check_text(sql_text(db, "PRAGMA journal_mode"), to);
        check_text(sql_text(db, "PRAGMA journal_mode = %s", from), from);
        sql_do(db, "BEGIN; INSERT INTO t VALUES(4); DELETE FROM t WHERE v = 1; COMMIT");
        check_eq(sql_int(db, "SELECT sum(v) FROM t"), 9);
        digest = sql_digest(db);
        sql_close(db);
        if (i / 6 == 5 || i % 6 == 5) /* left from WAL mode, where journals are the stock VFS's */
            (void)unlink(scratch_file(&scratch, "db-journal"));
        stock_reads(scratch.path, digest);
        db = sql_open(scratch.path, NULL);
        check_text(sql_text(db, "PRAGMA journal_mode"),
                   strcmp(from, "wal") == 0 ? "wal" : "delete");
        sql_do(db, "INSERT INTO t VALUES(5)");
        sql_close(db);
        stock_reads(scratch.path, 0);
    }
}

static void a_mode_does_not_change_within_a_transaction(void **state)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)state;
    sql_do(db, "CREATE TABLE t(v); BEGIN; INSERT INTO t VALUES(1)");
    check_text(sql_text(db, "PRAGMA journal_mode = wal"), "delete");
    sql_do(db, "COMMIT; BEGIN; SELECT * FROM t");
    check_sql(db, SQLITE_ERROR, "PRAGMA journal_mode = wal");
    sql_do(db, "COMMIT");
    check_text(sql_text(db, "PRAGMA journal_mode = wal"), "wal");
    sql_do(db, "BEGIN; INSERT INTO t VALUES(1)");
    check_text(sql_text(db, "PRAGMA journal_mode = delete"), "wal");
    sql_do(db, "COMMIT");
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

/* Each side sees at once what the other commits, as two stock processes do. */
static void a_wal_database_is_shared_with_stock_processes(void **state)
{
    sqlite3 *ours, *stock;
    char text[64];

    (void)state;
    for (int first = 0; first < 2; first++) {
        scratch_empty(&scratch);
        stock = stock_open(scratch.path, NULL);
        sql_do(stock, "PRAGMA journal_mode = wal; CREATE TABLE t(v); INSERT INTO t VALUES(0)");
        if (first)
            sql_close(stock);
        ours = sql_open(scratch.path, NULL);
        check_text(sql_text(ours, "PRAGMA journal_mode"), "wal");
        check_eq(sql_int(ours, "SELECT count(*) FROM t"), 1);
        if (first)
            stock = stock_open(scratch.path, NULL);
        for (int i = 1; i <= 20; i++) {
            sql_do(ours, "INSERT INTO t VALUES(%d)", i);
            check_eq(sql_int(stock, "SELECT max(v) FROM t"), i);
            check_eq(stock_elsewhere(scratch.path, "SELECT count(*) FROM t", text, sizeof(text)),
                     SQLITE_OK);
            check_eq(atoi(text), 1 + (i - 1) * 3 + 1);
            sql_do(stock, "INSERT INTO t VALUES(-1)");
            check_eq(stock_elsewhere(scratch.path, "INSERT INTO t VALUES(-2)", NULL, 0), SQLITE_OK);
            check_eq(sql_int(ours, "SELECT count(*) FROM t"), 1 + i * 3);
        }
        sql_do(ours, "BEGIN IMMEDIATE; INSERT INTO t VALUES(100)");
        check_sql(stock, SQLITE_BUSY, "INSERT INTO t VALUES(101)");
        check_eq(sql_int(stock, "SELECT max(v) FROM t"), 20); /* readers go on */
        sql_do(ours, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
        check_eq(sql_int(stock, "SELECT max(v) FROM t"), 100);
        sql_sound(ours);
        sql_close(ours);
        sql_sound(stock);
        sql_close(stock);
        stock_reads(scratch.path, 0);
    }
}

static void write_wal_and_wait(void *argument)
{
    sqlite3 *db = argument ? stock_open(scratch.path, NULL) : sql_open(scratch.path, NULL);

    sql_do(db, "PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS t(v);"
               " INSERT INTO t VALUES(1); INSERT INTO t VALUES(2)");
    sql_do(db, "PRAGMA cache_size = 3; BEGIN; WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL"
               " SELECT x + 1 FROM c LIMIT 500) INSERT INTO t SELECT zeroblob(3000) FROM c");
    parent_send('k');
    (void)parent_receive();
}

/* A WAL left by a death, ours or stock's, is recovered by either. */
static void a_wal_left_behind(void **state)
{
    (void)state;
    for (int who = 0; who < 4; who++) {
        struct child child;
        sqlite3 *db;

        scratch_empty(&scratch);
        child_start(&child, write_wal_and_wait, who % 2 ? &scratch : NULL);
        child_expect(&child, 'k');
        child_kill(&child);
        db = who / 2 ? stock_open(scratch.path, NULL) : sql_open(scratch.path, NULL);
        check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
        sql_do(db, "INSERT INTO t VALUES(3)");
        sql_sound(db);
        sql_close(db);
        stock_reads(scratch.path, 0);
    }
}

/* Nobody else may be in: other users of ours, idle or not, make the change BUSY; nothing is lost.
 */
static void rule_6_to_wal_while_others_are_there(void **state)
{
    sqlite3 *db = sql_open(scratch.path, NULL), *other;
    char text[64];

    (void)state;
    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    other = sql_open(scratch.path, NULL);
    sql_do(other, "BEGIN; SELECT * FROM t");
    check_sql(db, SQLITE_BUSY, "PRAGMA journal_mode = wal");
    check_text(sql_text(db, "PRAGMA journal_mode"), "delete");
    check_eq(sql_int(other, "SELECT count(*) FROM t"), 1);
    sql_do(other, "COMMIT");
    sql_do(db, "INSERT INTO t VALUES(2)");
    sql_do(other, "INSERT INTO t VALUES(3)");
    sql_close(other);
    check_text(sql_text(db, "PRAGMA journal_mode = wal"), "wal");
    sql_do(db, "INSERT INTO t VALUES(4)");
    check_eq(stock_elsewhere(scratch.path, "SELECT count(*) FROM t", text, sizeof(text)),
             SQLITE_OK);
    check_text(text, "4");
    other = sql_open(scratch.path, NULL);
    check_eq(sql_int(other, "SELECT count(*) FROM t"), 4);
    check_sql(db, SQLITE_BUSY, "PRAGMA journal_mode = delete");
    sql_close(other);
    check_text(sql_text(db, "PRAGMA journal_mode = delete"), "delete");
    sql_do(db, "INSERT INTO t VALUES(5)");
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void hold_idle(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)argument;
    check(sql_int(db, "SELECT count(*) FROM t") > 0);
    parent_send('i');
    check_eq(parent_receive(), 'g');
    sql_do(db, "INSERT INTO t VALUES(99)");
    sql_close(db);
}

/* Idle in another process: it holds no lock of SQLite's, and must not be overtaken either. */
static void rule_6_to_wal_beside_an_idle_process(void **state)
{
    sqlite3 *db = sql_open(scratch.path, NULL);
    struct child child;
    int result, busy = 0;

    (void)state;
    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    child_start(&child, hold_idle, NULL);
    child_expect(&child, 'i');
    result = sql_try(db, "PRAGMA journal_mode = wal");
    check(result == SQLITE_OK || result == SQLITE_BUSY);
    busy = result == SQLITE_BUSY;
    sql_do(db, "INSERT INTO t VALUES(2)");
    child_send(&child, 'g');
    child_join(&child);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 3);
    if (busy) /* it has left */
        check_text(sql_text(db, "PRAGMA journal_mode = wal"), "wal");
    sql_sound(db);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

/* A backup puts WAL's version numbers into the header with no PRAGMA at all. */
static void rule_6_a_backup_brings_wal_along(void **state)
{
    const char *from_path = scratch_file(&scratch, "from");
    sqlite3 *from = stock_open(from_path, NULL), *to = sql_open(scratch.path, NULL);
    sqlite3_backup *backup;
    char text[64];

    (void)state;
    sql_do(from, "PRAGMA journal_mode = wal; CREATE TABLE t(v); INSERT INTO t VALUES(1), (2)");
    sql_do(to, "CREATE TABLE u(v); INSERT INTO u VALUES(1)");
    backup = sqlite3_backup_init(to, "main", from, "main");
    check(backup != NULL);
    check_eq(sqlite3_backup_step(backup, -1), SQLITE_DONE);
    check_eq(sqlite3_backup_finish(backup), SQLITE_OK);
    check_eq(sql_int(to, "SELECT count(*) FROM t"), 2);
    sql_do(to, "INSERT INTO t VALUES(3)");
    check_text(sql_text(to, "PRAGMA journal_mode"), "wal");
    check_eq(stock_elsewhere(scratch.path, "SELECT count(*) FROM t", text, sizeof(text)),
             SQLITE_OK);
    check_text(text, "3");
    sql_close(from);
    sql_close(to);
    stock_reads(scratch.path, 0);
}

static void wal_refused_on_demand(void **state)
{
    sqlite3 *db;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    db = sql_open(scratch.path, "wal=refuse");
    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    check(sql_try(db, "PRAGMA journal_mode = wal") != SQLITE_OK);
    check(sqlite3_errmsg(db)[0] != '\0');
    /* This connection may believe itself in WAL mode; the file is not, and goes on. */
    sql_do(db, "INSERT INTO t VALUES(2)");
    sql_close(db);
    stock_reads(scratch.path, 0);
    db = sql_open(scratch.path, "wal=refuse");
    check_text(sql_text(db, "PRAGMA journal_mode"), "delete");
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_close(db);
    db = stock_open(scratch.path, NULL);
    sql_do(db, "PRAGMA journal_mode = wal");
    sql_close(db);
    if (sql_open_try(scratch.path, "wal=refuse", SQLITE_OPEN_READWRITE, &db) == SQLITE_OK)
        check(sql_try(db, "SELECT * FROM t") != SQLITE_OK);
    check(sqlite3_errmsg(db)[0] != '\0');
    (void)sqlite3_close(db);
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_close(db);
}

static void wal_in_exclusive_locking_mode(void **state)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)state;
    sql_do(db, "CREATE TABLE t(v); PRAGMA locking_mode = exclusive");
    check_text(sql_text(db, "PRAGMA journal_mode = wal"), "wal");
    sql_do(db, "INSERT INTO t VALUES(1)");
    check(stock_elsewhere(scratch.path, "SELECT count(*) FROM t", NULL, 0) == SQLITE_BUSY);
    sql_do(db, "PRAGMA locking_mode = normal; SELECT * FROM t");
    check_text(sql_text(db, "PRAGMA journal_mode = delete"), "delete");
    sql_do(db, "INSERT INTO t VALUES(2)");
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static size_t descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    size_t count = 0;

    check(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* The engine keeps the descriptor of a home that it could not lock; it must not take one here. */
static void many_wal_databases_leave_no_descriptor(void **state)
{
    size_t before = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        char name[16];
        const char *path;
        sqlite3 *db;

        (void)snprintf(name, sizeof(name), "db%d", i);
        path = scratch_file(&scratch, name);
        db = stock_open(path, NULL);
        sql_do(db, "PRAGMA journal_mode = wal; CREATE TABLE t(v)");
        sql_close(db);
        db = sql_open(path, NULL);
        sql_do(db, "INSERT INTO t VALUES(1)");
        sql_close(db);
        if (i == 1) /* by then there is what is made once */
            before = descriptors();
    }
    check_eq(descriptors(), before);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(every_mode_to_every_mode),
        T(a_mode_does_not_change_within_a_transaction),
        T(a_wal_database_is_shared_with_stock_processes),
        T(a_wal_left_behind),
        T(rule_6_to_wal_while_others_are_there),
        T(rule_6_to_wal_beside_an_idle_process),
        T(rule_6_a_backup_brings_wal_along),
        T(wal_refused_on_demand),
        T(wal_in_exclusive_locking_mode),
        T(many_wal_databases_leave_no_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
