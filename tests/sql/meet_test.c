/*
 * Ours and stock SQLite meet on one file, whichever was there first, in one process
 * and in two, with the file open, left by a crash, half recovered, or closed: both
 * get a right answer or a refusal (PROTOCOL 1, 2, 10; more of it in stock_test).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/trace.h"
#include "tests/sql/harness.h"
#include "tests/sql/step.h"

/* A file with the rows 1 .. `rows`. */
static void make_database(int rows)
{
    sqlite3 *db;

    scratch_empty(&scratch);
    db = stock_open(scratch.path, NULL);
    sql_do(db, "CREATE TABLE t(v)");
    for (int i = 1; i <= rows; i++)
        sql_do(db, "INSERT INTO t VALUES(%d)", i);
    sql_close(db);
}

static const char *const holds[] = {
    "SELECT * FROM t",
    "BEGIN; SELECT * FROM t",
    "BEGIN IMMEDIATE",
    "BEGIN; INSERT INTO t VALUES(50)",
    "BEGIN EXCLUSIVE; INSERT INTO t VALUES(50)",
    "PRAGMA locking_mode = exclusive; SELECT * FROM t",
    "PRAGMA locking_mode = exclusive; INSERT INTO t VALUES(50)",
};
#define HOLDS (sizeof(holds) / sizeof(holds[0]))

/* Another process that holds the file in some way until it is told to end. */
struct holder {
    const char *sql;
    bool ours;
};

static void hold(void *argument)
{
    const struct holder *holder = argument;
    sqlite3 *db = holder->ours ? sql_open(scratch.path, NULL) : stock_open(scratch.path, NULL);

    sql_do(db, "%s", holder->sql);
    parent_send('h');
    (void)parent_receive();
    if (!sqlite3_get_autocommit(db))
        sql_do(db, "ROLLBACK");
    sql_close(db);
}

/* One of the two, here or in another process, reads or writes beside `other`, or is refused. */
static int attempt(bool ours, bool here, bool writes, int64_t *rows)
{
    const char *sql = writes ? "INSERT INTO t VALUES(7)" : "SELECT count(*) FROM t";
    char text[256] = "";
    int result;

    if (here) {
        sqlite3 *db = ours ? sql_open(scratch.path, NULL) : stock_open(scratch.path, NULL);

        result = sql_try(db, "%s", sql);
        if (result == SQLITE_OK && !writes)
            *rows = sql_int(db, "%s", sql);
        sql_close(db);
        return result;
    }
    result = elsewhere(scratch.path, ours ? sql_vfs : stock_vfs, sql, text, sizeof(text));
    if (result == SQLITE_OK && !writes)
        *rows = strtoll(text, NULL, 10);
    return result;
}

/* Whoever comes beside a holder sees what is committed, writes what stays, or is refused. */
static int64_t meet(bool holder_ours, int64_t committed)
{
    bool comer_ours = !holder_ours;

    for (int i = 0; i < 4; i++) {
        bool here = i % 2, writes = i / 2;
        int64_t rows = -1;
        int result = attempt(comer_ours, here, writes, &rows);

        if (result != SQLITE_OK && result != SQLITE_BUSY && (comer_ours || result != SQLITE_NOTADB))
            check_fail("%s %s gets %d", comer_ours ? "ours" : "stock", here ? "here" : "elsewhere",
                       result);
        if (holder_ours)
            check(result != SQLITE_OK);
        if (result == SQLITE_OK && !writes)
            check_eq(rows, committed);
        if (result == SQLITE_OK && writes)
            committed++;
    }
    return committed;
}

static void check_rows(int64_t rows)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    check_eq(sql_int(db, "SELECT count(*) FROM t"), rows);
    sql_do(db, "INSERT INTO t VALUES(99)");
    sql_sound(db);
    sql_close(db);
    stock_reads(scratch.path, 0);
    db = stock_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), rows + 1);
    sql_close(db);
}

/* `dies`: the holder is killed, and they meet on what it leaves. */
static void every_hold(bool holder_ours, bool here, bool dies)
{
    for (size_t i = 0; i < HOLDS; i++) {
        struct holder holder = {holds[i], holder_ours};
        bool committed = strstr(holds[i], "locking_mode = exclusive; INSERT") != NULL;
        struct child child;
        sqlite3 *db = NULL;
        int64_t rows;

        check_note("%s holds by \"%s\"", holder_ours ? "ours" : "stock", holds[i]);
        make_database(3);
        if (here) {
            db = holder_ours ? sql_open(scratch.path, NULL) : stock_open(scratch.path, NULL);
            /* A write of ours before: there is a log, and a mark. */
            sql_do(db, "INSERT INTO t VALUES(4)");
            sql_do(db, "%s", holds[i]);
        } else {
            child_start(&child, hold, &holder);
            child_expect(&child, 'h');
        }
        if (dies) {
            child_kill(&child);
            rows = 3 + committed;
            if (holder_ours) { /* stock may read it only if nothing is missing in it */
                int64_t seen = -1;
                int result = attempt(false, i % 2, false, &seen);

                check(result == SQLITE_NOTADB || (result == SQLITE_OK && seen == rows));
            }
        } else {
            rows = meet(holder_ours, 3 + here + committed);
        }
        if (here) {
            if (!sqlite3_get_autocommit(db))
                sql_do(db, "ROLLBACK");
            sql_close(db);
        } else if (!dies) {
            child_send(&child, 'q');
            child_join(&child);
        }
        check_rows(rows);
    }
}

static void stock_comes_to_ours_in_this_process(void **state)
{
    (void)state;
    SKIP_UNLESS_NVMMIO();
    every_hold(true, true, false);
}

static void stock_comes_to_ours_in_another_process(void **state)
{
    (void)state;
    SKIP_UNLESS_NVMMIO();
    every_hold(true, false, false);
}

static void stock_comes_to_what_ours_left(void **state)
{
    (void)state;
    SKIP_UNLESS_NVMMIO();
    every_hold(true, false, true);
}

static void ours_comes_to_stock_in_this_process(void **state)
{
    (void)state;
    every_hold(false, true, false);
}

static void ours_comes_to_stock_in_another_process(void **state)
{
    (void)state;
    every_hold(false, false, false);
}

static void ours_comes_to_what_stock_left(void **state)
{
    (void)state;
    every_hold(false, false, true);
}

/* ---- hot journals, of each kind ---------------------------------------------------------------
 */

static void leave_hot(void *argument)
{
    sqlite3 *db = stock_open(scratch.path, NULL);

    sql_do(db, "PRAGMA journal_mode = %s; PRAGMA cache_size = 3", (const char *)argument);
    sql_do(db, "INSERT INTO t VALUES(4)"); /* makes the journal that PERSIST and TRUNCATE keep */
    sql_do(db, "BEGIN; UPDATE t SET v = v + 1000;"
               "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 400)"
               " INSERT INTO t SELECT zeroblob(2000) FROM c");
    parent_send('k');
    (void)parent_receive();
}

static void ours_comes_to_a_hot_journal(void **state)
{
    static const char *const modes[] = {"delete", "truncate", "persist"};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        struct child child;
        int64_t rows = -1;

        check_note("journal_mode %s, %s", modes[i / 2], i % 2 ? "here" : "elsewhere");
        make_database(3);
        child_start(&child, leave_hot, (void *)(uintptr_t)modes[i / 2]);
        child_expect(&child, 'k');
        child_kill(&child);
        check(file_bytes(scratch_file(&scratch, "db-journal")) > 512);
        check_eq(attempt(true, i % 2, false, &rows), SQLITE_OK);
        check_eq(rows, 4);
        check_eq(attempt(true, i % 2, true, &rows), SQLITE_OK);
        (void)unlink(scratch_file(&scratch, "db-journal")); /* a cold one is stock's to keep */
        check_rows(5);
    }
}

/* ---- half recovered ---------------------------------------------------------------------------
 */

static bool parity;

static void crash(void)
{
    static struct holder holder = {"INSERT INTO t VALUES(4); UPDATE t SET v = v;"
                                   "INSERT INTO t VALUES(5)",
                                   true};
    struct child child;

    parity = !parity;
    make_database(3);
    child_start(&child, hold, &holder);
    child_expect(&child, 'h');
    child_kill(&child);
}

static void recover(void *argument)
{
    sqlite3 *db;

    if (argument)
        trace_begin();
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 5);
    sql_close(db);
    if (argument)
        trace_end();
}

/* Stock comes first: it reads all of it or is refused, and so with a write, which stays. */
static void after_half_a_recovery(bool killed)
{
    int64_t rows = -1;
    int result = attempt(false, parity, false, &rows), wrote;

    check(result == SQLITE_OK || result == SQLITE_NOTADB);
    if (result == SQLITE_OK)
        check_eq(rows, 5);
    wrote = attempt(false, parity, true, &rows);
    check(wrote == SQLITE_OK || wrote == SQLITE_NOTADB);
    check_eq(wrote == SQLITE_OK, result == SQLITE_OK);
    check(killed || wrote == SQLITE_OK);
    check_rows(5 + (wrote == SQLITE_OK));
}

static void stock_comes_to_half_a_recovery(void **state)
{
    const struct step_sweep steps = {crash, recover, NULL, after_half_a_recovery};
    const struct step_sweep traced = {crash, recover, &scratch, after_half_a_recovery};

    (void)state;
    SKIP_UNLESS_NVMMIO();
    (void)step_run_calls(&traced);
    (void)step_run(&steps);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(stock_comes_to_ours_in_this_process),
        T(stock_comes_to_ours_in_another_process),
        T(stock_comes_to_what_ours_left),
        T(ours_comes_to_stock_in_this_process),
        T(ours_comes_to_stock_in_another_process),
        T(ours_comes_to_what_stock_left),
        T(ours_comes_to_a_hot_journal),
        T(stock_comes_to_half_a_recovery),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
