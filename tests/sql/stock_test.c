/*
 * Stock SQLite beside ours, in this process and in others: never a wrong answer
 * (PROTOCOL 1, 2 and the first half of 10).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sql/harness.h"
#include "tests/sql/step.h"

static int setup(void **state)
{
    sqlite3 *db;

    (void)state;
    scratch_make(&scratch);
    db = stock_open(scratch.path, NULL);
    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    sql_close(db);
    return 0;
}

/* Another process with ours: s: one more row; a: a row that is not committed; q: close. */
static void other_user(void *argument)
{
    sqlite3 *db = sql_open(argument ? argument : scratch.path, NULL);
    char what;

    while ((what = parent_receive()) != '\0') {
        switch (what) {
        case 's':
            sql_do(db, "INSERT INTO t SELECT max(v) + 1 FROM t");
            break;
        case 'c':
            sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
            break;
        case 'a':
            sql_do(db, "BEGIN; INSERT INTO t VALUES(1000)");
            break;
        case 'x':
            sql_do(db, "BEGIN EXCLUSIVE; INSERT INTO t VALUES(1000)");
            break;
        case 'r':
            sql_do(db, "BEGIN; SELECT * FROM t");
            break;
        case 'e':
            sql_do(db, "COMMIT");
            break;
        default:
            sql_close(db);
            parent_send(what);
            return;
        }
        parent_send(what);
    }
}

static void tell(struct child *child, char what)
{
    child_send(child, what);
    child_expect(child, what);
}

/*
 * Stock gets `want` or `or_else`, to read and to write, in a new connection here and in another
 * process.  A connection that was refused once calls the file read-only when it is to write.
 */
static void stock_is_refused(const char *path, int want, int or_else)
{
    static const char *const statements[] = {
        "SELECT count(*) FROM t",
        "INSERT INTO t VALUES(7)",
        "PRAGMA user_version = 3",
        "VACUUM",
        "PRAGMA journal_mode = wal; SELECT * FROM t",
    };
    sqlite3 *db = stock_open(path, NULL);

    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        int result = sql_try(db, "%s", statements[i]);

        if (result != want && result != or_else && !(i > 0 && result == SQLITE_READONLY))
            check_fail("stock, \"%s\": %d", statements[i], result);
        result = i < 4 ? stock_elsewhere(path, statements[i], NULL, 0) : want;
        if (result != want && result != or_else)
            check_fail("stock elsewhere, \"%s\": %d", statements[i], result);
    }
    sql_close(db);
}

static void rule_1_a_live_file_is_refused(void **state)
{
    struct child child;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    child_start(&child, other_user, NULL);
    tell(&child, 's');
    stock_is_refused(scratch.path, SQLITE_BUSY, SQLITE_NOTADB);
    tell(&child, 'a');
    stock_is_refused(scratch.path, SQLITE_BUSY, SQLITE_NOTADB);
    tell(&child, 'e');
    tell(&child, 'q');
    child_join(&child);
    stock_reads(scratch.path, 0);
}

static void rule_1_a_crashed_file_is_refused(void **state)
{
    static const char *const lives[] = {"s", "ss", "sa", "sx", "sar"};
    sqlite3 *db;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
        struct child child;
        int64_t rows;

        scratch_teardown(NULL);
        setup(NULL);
        child_start(&child, other_user, NULL);
        for (const char *at = lives[i]; *at && *at != 'r'; at++)
            tell(&child, *at);
        child_kill(&child);
        stock_is_refused(scratch.path, SQLITE_NOTADB, SQLITE_NOTADB);
        db = sql_open(scratch.path, NULL);
        rows = sql_int(db, "SELECT count(*) FROM t");
        check_eq(rows, strncmp(lives[i], "ss", 2) == 0 ? 3 : 2);
        sql_close(db);
        stock_reads(scratch.path, 0);
    }
}

/* It has page 1 in its cache and holds no lock: it must notice at its next read, and at a write. */
static void rule_1_a_stock_connection_with_page_1_in_its_cache(void **state)
{
    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (int writes = 0; writes < 2; writes++) {
        for (int dies = 0; dies < 3; dies++) {
            sqlite3 *stock;
            struct child child;
            int result;

            scratch_teardown(NULL);
            setup(NULL);
            stock = stock_open(scratch.path, NULL);
            sql_do(stock, "PRAGMA mmap_size = 0");
            check_eq(sql_int(stock, "SELECT count(*) FROM t"), 1);
            child_start(&child, other_user, NULL);
            tell(&child, 's');
            if (dies == 1)
                child_kill(&child);
            if (dies == 2) {
                tell(&child, 'q');
                child_join(&child);
            }
            result = sql_try(stock, writes ? "INSERT INTO t VALUES(9)" : "SELECT * FROM t");
            if (dies == 0)
                check(result == SQLITE_BUSY || result == SQLITE_NOTADB);
            else
                check_eq(result, dies == 1 ? SQLITE_NOTADB : SQLITE_OK);
            if (dies == 2)
                check_eq(sql_int(stock, "SELECT count(*) FROM t"), 2 + writes);
            if (dies == 0) {
                tell(&child, 's');
                tell(&child, 'q');
                child_join(&child);
            } else if (dies == 1) {
                sqlite3 *db = sql_open(scratch.path, NULL);

                check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
                sql_close(db);
            }
            /* The file is ordinary again, and the old connection works with it. */
            check_eq(sql_int(stock, "SELECT count(*) FROM t"), dies == 0   ? 3
                                                               : dies == 1 ? 2
                                                                           : 2 + writes);
            result = sql_try(stock, "INSERT INTO t VALUES(10)");
            check(result == SQLITE_OK || (result == SQLITE_READONLY && dies < 2));
            check_eq(stock_elsewhere(scratch.path, "INSERT INTO t VALUES(11)", NULL, 0), SQLITE_OK);
            sql_close(stock);
            stock_reads(scratch.path, 0);
        }
    }
}

static void rule_1_a_new_file_is_refused_before_it_has_a_page(void **state)
{
    const char *path = scratch_file(&scratch, "new");
    struct child child;
    sqlite3 *db;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    child_start(&child, other_user, (void *)(uintptr_t)path);
    tell(&child, 'c');
    stock_is_refused(path, SQLITE_BUSY, SQLITE_NOTADB);
    child_kill(&child);
    stock_is_refused(path, SQLITE_NOTADB, SQLITE_NOTADB);
    db = sql_open(path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 1);
    sql_close(db);
    stock_reads(path, 0);
}

static void rule_1_copies_of_a_crashed_file_are_refused(void **state)
{
    static const char *const suffixes[] = {"", "-nvmmio"};
    const char *copy = scratch_file(&scratch, "copy");
    struct child child;
    sqlite3 *db = NULL;
    int result;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    child_start(&child, other_user, NULL);
    tell(&child, 's');
    child_kill(&child);
    file_copy(scratch.path, copy);
    stock_is_refused(copy, SQLITE_NOTADB, SQLITE_NOTADB);
    /* Ours knows that its log is missing, with or without the log of the other beside it. */
    for (int with_log = 0; with_log < 2; with_log++) {
        if (with_log) {
            char from[700], to[700];

            (void)snprintf(from, sizeof(from), "%s%s", scratch.path, suffixes[1]);
            (void)snprintf(to, sizeof(to), "%s%s", copy, suffixes[1]);
            file_copy(from, to);
        }
        result = sql_open_try(copy, NULL, SQLITE_OPEN_READWRITE, &db);
        if (result == SQLITE_OK)
            result = sql_try(db, "SELECT * FROM t");
        check(result != SQLITE_OK && result != SQLITE_BUSY && result != SQLITE_NOTADB);
        check(sqlite3_errmsg(db)[0] != '\0');
        (void)sqlite3_close(db);
    }
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_close(db);
}

static void rule_1_tools_are_refused_too(void **state)
{
    struct child child;
    char output[4096], command[2000];
    const char *const shell[] = {"sh", "-c", command, NULL};

    (void)state;
    SKIP_UNLESS_NVMMIO();
    child_start(&child, other_user, NULL);
    tell(&child, 's');
    for (int dies = 0; dies < 2; dies++) {
        if (dies)
            child_kill(&child);
        (void)snprintf(command, sizeof(command),
                       "sqlite3 '%s' '.backup %s/out' 2>&1; sqlite3 '%s' .dump 2>&1", scratch.path,
                       scratch.directory, scratch.path);
        (void)child_exec(shell, output, sizeof(output));
        check(strstr(output, "INSERT") == NULL);
        check(strstr(output, "not a database") || strstr(output, "locked") ||
              strstr(output, "busy"));
    }
}

static void leave_hot(void *argument)
{
    sqlite3 *db = stock_open(scratch.path, NULL);

    (void)argument;
    sql_do(db, "PRAGMA cache_size = 3; BEGIN; UPDATE t SET v = v + 1000;"
               "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 400)"
               " INSERT INTO t SELECT zeroblob(2000) FROM c");
    parent_send('k');
    (void)parent_receive();
}

static void make_hot(void)
{
    struct child child;

    scratch_teardown(NULL);
    setup(NULL);
    child_start(&child, leave_hot, NULL);
    child_expect(&child, 'k');
    child_kill(&child);
    check(file_exists(scratch_file(&scratch, "db-journal")));
    check(file_bytes(scratch_file(&scratch, "db-journal")) > 512);
}

/* Before there is a mark: the journal that stock SQLite left is played back first. */
static void rule_1_a_hot_journal_is_played_back_first(void **state)
{
    sqlite3 *db;

    (void)state;
    make_hot();
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 1);
    check_eq(sql_int(db, "SELECT v FROM t"), 1);
    check(!file_exists(scratch_file(&scratch, "db-journal")));
    sql_do(db, "INSERT INTO t VALUES(2)");
    sql_sound(db);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void play_back_and_write(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)argument;
    sql_do(db, "INSERT INTO t VALUES(2)");
    sql_close(db);
}

static void after_a_death_in_playback(bool killed)
{
    static bool parity;
    sqlite3 *db;
    int result = SQLITE_BUSY;
    int64_t rows;

    parity = !parity;
    if (parity) /* stock may come first, and play back itself */
        result = stock_elsewhere(scratch.path, "UPDATE t SET v = 5 WHERE v = 1", NULL, 0);
    check(result == SQLITE_OK || result == SQLITE_BUSY || result == SQLITE_NOTADB);
    db = sql_open(scratch.path, NULL);
    rows = sql_int(db, "SELECT count(*) FROM t");
    check(rows == 2 || (rows == 1 && killed));
    check_eq(sql_int(db, "SELECT count(*) FROM t WHERE v = %d", result == SQLITE_OK ? 5 : 1), 1);
    sql_sound(db);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void rule_1_killed_while_a_hot_journal_is_played_back(void **state)
{
    const struct step_sweep steps = {make_hot, play_back_and_write, NULL,
                                     after_a_death_in_playback};

    (void)state;
    (void)step_run(&steps);
}

/* Stock in this process holds SHARED; whatever ours opens and closes, the lock must stay. */
static void rule_2_a_stock_lock_survives_our_closing(void **state)
{
    sqlite3 *stock = stock_open(scratch.path, NULL), *db = NULL;
    static const char *const uses[] = {
        "SELECT * FROM t",
        "INSERT INTO t VALUES(5)",
        "PRAGMA journal_mode = wal",
        "PRAGMA nvmmio_info",
        "ATTACH 'db' AS x",
        "BEGIN EXCLUSIVE",
        "VACUUM",
        "PRAGMA locking_mode = exclusive; SELECT 1",
    };

    (void)state;
    sql_do(stock, "BEGIN; SELECT * FROM t");
    check_eq(stock_elsewhere(scratch.path, "INSERT INTO t VALUES(8)", NULL, 0), SQLITE_BUSY);
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        if (sql_open_try(scratch.path, NULL, SQLITE_OPEN_READWRITE, &db) == SQLITE_OK)
            (void)sql_try(db, "%s", uses[i]);
        (void)sqlite3_close(db);
        (void)sql_open_try(scratch.path, "immutable=1", SQLITE_OPEN_READONLY, &db);
        (void)sql_try(db, "SELECT * FROM t");
        (void)sqlite3_close(db);
        (void)sql_open_try(scratch.path, "mode=ro", SQLITE_OPEN_READONLY, &db);
        (void)sql_try(db, "SELECT * FROM t");
        (void)sqlite3_close(db);
        if (stock_elsewhere(scratch.path, "INSERT INTO t VALUES(8)", NULL, 0) != SQLITE_BUSY)
            check_fail("after \"%s\" on ours, the lock of stock SQLite is gone", uses[i]);
        check_eq(sql_int(stock, "SELECT count(*) FROM t"), 1);
    }
    sql_do(stock, "COMMIT");
    sql_close(stock);
    db = sql_open(scratch.path, NULL);
    sql_do(db, "INSERT INTO t VALUES(2)");
    sql_close(db);
    stock_reads(scratch.path, 0);
}

/* The other way round: our byte survives what stock opens and closes. */
static void rule_2_our_lock_survives_stock_closing(void **state)
{
    sqlite3 *db = sql_open(scratch.path, NULL), *stock;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    sql_do(db, "INSERT INTO t VALUES(2); BEGIN; SELECT * FROM t");
    for (int i = 0; i < 5; i++) {
        stock = stock_open(scratch.path, NULL);
        check(sql_try(stock, "SELECT * FROM t") != SQLITE_OK);
        sql_close(stock);
        check_eq(stock_elsewhere(scratch.path, "INSERT INTO t VALUES(8)", NULL, 0), SQLITE_BUSY);
    }
    sql_do(db, "COMMIT; INSERT INTO t VALUES(3)");
    check_eq(sql_int(db, "SELECT sum(v) FROM t"), 6);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

/* Ours meets a file that stock SQLite reads, writes, or has exclusively. */
static void rule_10_a_file_that_stock_has_open(void **state)
{
    static const char *const holds[] = {"BEGIN; SELECT * FROM t", "BEGIN IMMEDIATE",
                                        "BEGIN IMMEDIATE; INSERT INTO t VALUES(50)",
                                        "BEGIN EXCLUSIVE"};
    sqlite3 *stock = stock_open(scratch.path, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++) {
        sqlite3 *db;
        int result;

        sql_do(stock, "%s", holds[i]);
        db = sql_open(scratch.path, NULL); /* an open is no use of the file yet */
        result = sql_try(db, "INSERT INTO t VALUES(2)");
        check_eq(result, SQLITE_BUSY);
        result = sql_try(db, "SELECT * FROM t");
        check(result == SQLITE_BUSY || (result == SQLITE_OK && i < 3));
        sql_do(stock, "ROLLBACK");
        sql_do(db, "INSERT INTO t VALUES(2)");
        check_eq(sql_int(db, "SELECT count(*) FROM t"), 2 + (int)i);
        sql_close(db);
        check_eq(sql_int(stock, "SELECT count(*) FROM t"), 2 + (int)i);
    }
    sql_close(stock);
    stock_reads(scratch.path, 0);
}

static int busy_calls;
static sqlite3 *busy_reader;
static int end_reader(void *context, int count)
{
    (void)context;
    (void)count;
    if (busy_calls++ == 3)
        sql_do(busy_reader, "COMMIT");
    return 1;
}

/* BUSY comes where the busy handler is asked, not from open. */
static void rule_10_the_busy_handler_is_asked(void **state)
{
    sqlite3 *db;

    (void)state;
    busy_calls = 0;
    busy_reader = stock_open(scratch.path, NULL);
    sql_do(busy_reader, "BEGIN EXCLUSIVE");
    db = sql_open(scratch.path, NULL);
    check_eq(sqlite3_busy_handler(db, end_reader, NULL), SQLITE_OK);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 1);
    check_eq(busy_calls, 4);
    sql_do(db, "INSERT INTO t VALUES(2)");
    sql_close(db);
    sql_close(busy_reader);
    stock_reads(scratch.path, 0);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(rule_1_a_live_file_is_refused),
        T(rule_1_a_crashed_file_is_refused),
        T(rule_1_a_stock_connection_with_page_1_in_its_cache),
        T(rule_1_a_new_file_is_refused_before_it_has_a_page),
        T(rule_1_copies_of_a_crashed_file_are_refused),
        T(rule_1_tools_are_refused_too),
        T(rule_1_a_hot_journal_is_played_back_first),
        T(rule_1_killed_while_a_hot_journal_is_played_back),
        T(rule_2_a_stock_lock_survives_our_closing),
        T(rule_2_our_lock_survives_stock_closing),
        T(rule_10_a_file_that_stock_has_open),
        T(rule_10_the_busy_handler_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
