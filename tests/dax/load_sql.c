/* load_sql: numbered transactions through SQLite on the VFS, linked statically. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite_vfs/nvmmio_vfs.h"
#include "tests/core/check.h"
#include "tests/core/place.h"
#include "tests/dax/load.h"

/* Every PAIR-th transaction writes the attached database too. */
#define PAIR 10
/* Rows of `ledger`, and of `account`. */
#define ROWS 200
#define ACCOUNTS 23
/* Transactions from one open to the next. */
#define LIFE 75
#define BODY_BYTES_MAX 40000

static sqlite3 *database_open(const char *path, const char *vfs)
{
    sqlite3 *db;
    int code;

    check_eq(nvmmio_vfs_register(0), SQLITE_OK);
    code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                           vfs);
    if (code != SQLITE_OK)
        check_fail("%s: open: %s", path, sqlite3_errmsg(db));
    check_eq(sqlite3_busy_timeout(db, 10000), SQLITE_OK);
    return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        check_fail("%s: %s", sql, sqlite3_errmsg(db));
    return statement;
}

/* Run a statement in which ?1 is `number` and ?2 is `body`. */
static void run(sqlite3 *db, const char *sql, uint64_t number, const void *body, int bytes)
{
    sqlite3_stmt *statement = prepare(db, sql);
    int code;

    if (sqlite3_bind_parameter_count(statement) >= 1)
        check_eq(sqlite3_bind_int64(statement, 1, (sqlite3_int64)number), SQLITE_OK);
    if (sqlite3_bind_parameter_count(statement) >= 2)
        check_eq(sqlite3_bind_blob(statement, 2, body, bytes, SQLITE_STATIC), SQLITE_OK);
    do
        code = sqlite3_step(statement);
    while (code == SQLITE_ROW);
    if (code != SQLITE_DONE)
        check_fail("%s, transaction %llu: %s", sql, (unsigned long long)number, sqlite3_errmsg(db));
    check_eq(sqlite3_finalize(statement), SQLITE_OK);
}

static void run_plain(sqlite3 *db, const char *sql)
{
    run(db, sql, 0, NULL, 0);
}

static int64_t ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = prepare(db, sql);
    int64_t value;

    if (sqlite3_step(statement) != SQLITE_ROW)
        check_fail("%s: %s", sql, sqlite3_errmsg(db));
    value = sqlite3_column_int64(statement, 0);
    check_eq(sqlite3_finalize(statement), SQLITE_OK);
    return value;
}

static void check_sound(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = prepare(db, sql);

    if (sqlite3_step(statement) != SQLITE_ROW)
        check_fail("%s: %s", sql, sqlite3_errmsg(db));
    check_text((const char *)sqlite3_column_text(statement, 0), "ok");
    check_eq(sqlite3_finalize(statement), SQLITE_OK);
}

/* What transaction `number` stores: mostly small, at times of many pages. */
static int body_make(uint8_t *body, uint64_t seed, uint64_t number)
{
    uint64_t state = (seed ^ (number * UINT64_C(0x9e3779b97f4a7c15))) | 1;
    uint64_t bytes = 1 + random_below(&state, random_below(&state, 12) ? 400 : BODY_BYTES_MAX);

    for (uint64_t at = 0; at < bytes; at++)
        body[at] = (uint8_t)(number * 37 + seed + at / 11);
    return (int)bytes;
}

/* One connection on both databases. */
static sqlite3 *pair_open(const char *directory)
{
    sqlite3 *db = database_open(load_path(directory, load_sql.files[0]), "nvmmio");
    char sql[700];

    (void)snprintf(sql, sizeof(sql), "ATTACH 'file:%s?vfs=nvmmio' AS pair",
                   load_path(directory, load_sql.files[1]));
    run_plain(db, sql);
    check_eq(ask(db, "PRAGMA synchronous"), 2);
    return db;
}

static uint64_t database_number(sqlite3 *db)
{
    if (!ask(db, "SELECT count(*) FROM main.sqlite_schema WHERE name = 'ledger'"))
        return 0;
    return (uint64_t)ask(db, "SELECT max(n) FROM ledger");
}

static void sql_step(sqlite3 *db, uint64_t seed, uint64_t number)
{
    static uint8_t body[BODY_BYTES_MAX];
    int bytes = body_make(body, seed, number);

    if (number > 1 && number % 16 == 5) { /* what is taken back is never seen */
        run_plain(db, "BEGIN");
        run(db, "UPDATE ledger SET body = zeroblob(3000) WHERE n > ?1 - 50", number, NULL, 0);
        run_plain(db, "ROLLBACK");
    }
    run_plain(db, "BEGIN IMMEDIATE");
    if (number == 1) {
        run_plain(db, "CREATE TABLE ledger(n INTEGER PRIMARY KEY, body BLOB)");
        run_plain(db, "CREATE TABLE account(k INTEGER PRIMARY KEY, n INTEGER, body BLOB)");
        run_plain(db, "CREATE INDEX account_n ON account(n, body)");
    }
    run(db, "INSERT INTO ledger VALUES(?1, ?2)", number, body, bytes);
    run(db, "INSERT OR REPLACE INTO account VALUES(?1 % 23, ?1, substr(?2, 1, 900))", number, body,
        bytes);
    run(db, "DELETE FROM ledger WHERE n <= ?1 - 200", number, NULL, 0);
    if (number % PAIR == 0) {
        run_plain(db, "CREATE TABLE IF NOT EXISTS pair.other(n INTEGER PRIMARY KEY, body BLOB)");
        run(db, "INSERT INTO other VALUES(?1, ?2)", number, body, bytes);
        run(db, "DELETE FROM other WHERE n <= ?1 - 200", number, NULL, 0);
    }
    run_plain(db, "COMMIT");
    if (number % 32 == 9)
        run_plain(db, "PRAGMA nvmmio_flush");
}

static _Noreturn void sql_run(const char *directory, uint64_t seed, load_acknowledge *acknowledge,
                              void *context)
{
    for (;;) {
        sqlite3 *db = pair_open(directory);
        uint64_t number = database_number(db);

        acknowledge(context, number);
        for (unsigned i = 0; i < LIFE; i++) {
            sql_step(db, seed, ++number);
            acknowledge(context, number);
            if (number % 60 == 29)
                run_plain(db, "VACUUM");
        }
        check_eq(sqlite3_close(db), SQLITE_OK);
    }
}

/* The rows of a query (n, body) are those of transactions first, first + step, ... last. */
static void check_rows(sqlite3 *db, const char *sql, uint64_t seed, uint64_t first, uint64_t last,
                       uint64_t step, int body_max)
{
    static uint8_t body[BODY_BYTES_MAX];
    sqlite3_stmt *statement = prepare(db, sql);
    uint64_t number = first;
    int code;

    for (; (code = sqlite3_step(statement)) == SQLITE_ROW; number += step) {
        int bytes = body_make(body, seed, number);

        if (bytes > body_max)
            bytes = body_max;
        check_note("%s, row %llu", sql, (unsigned long long)number);
        check_eq(sqlite3_column_int64(statement, 0), number);
        check_eq(sqlite3_column_bytes(statement, 1), bytes);
        check(memcmp(sqlite3_column_blob(statement, 1), body, (size_t)bytes) == 0);
    }
    if (code != SQLITE_DONE)
        check_fail("%s: %s", sql, sqlite3_errmsg(db));
    check_note("%s, after its last row", sql);
    check_eq(number, last + step);
    check_eq(sqlite3_finalize(statement), SQLITE_OK);
}

/* The first of the last `count` numbers up to `last`. */
static uint64_t first_of(uint64_t last, uint64_t count)
{
    return last < count ? 1 : last - count + 1;
}

static void check_content(sqlite3 *db, uint64_t seed, uint64_t number)
{
    uint64_t pair_last = number - number % PAIR;
    uint64_t pair_first = (first_of(pair_last, ROWS) + PAIR - 1) / PAIR * PAIR;

    check_sound(db, "PRAGMA main.integrity_check");
    check_sound(db, "PRAGMA pair.integrity_check");
    if (number == 0) {
        check_eq(ask(db, "SELECT count(*) FROM main.sqlite_schema"), 0);
        check_eq(ask(db, "SELECT count(*) FROM pair.sqlite_schema"), 0);
        return;
    }
    check_rows(db, "SELECT n, body FROM ledger ORDER BY n", seed, first_of(number, ROWS), number, 1,
               BODY_BYTES_MAX);
    check_rows(db, "SELECT n, body FROM account ORDER BY n", seed, first_of(number, ACCOUNTS),
               number, 1, 900);
    if (pair_last == 0)
        check_eq(ask(db, "SELECT count(*) FROM pair.sqlite_schema"), 0);
    else
        check_rows(db, "SELECT n, body FROM pair.other ORDER BY n", seed, pair_first, pair_last,
                   PAIR, BODY_BYTES_MAX);
}

/*
 * A death between the two steps of a prepare leaves a child journal.  SQLite takes
 * one that begins with zeros for cold; any other would be played back.
 */
static void check_cold(const char *database)
{
    char path[700];
    uint8_t *content;
    void *read;
    int64_t bytes;

    (void)snprintf(path, sizeof(path), "%s-journal", database);
    bytes = file_read(path, &read);
    content = read;
    if (bytes > 0 && content[0] != 0)
        check_fail("after a clean close there is a hot journal: %s", path);
    free(read);
}

static uint64_t sql_verify(const char *directory, uint64_t seed)
{
    static const char *const beside[] = {"-nvmmio", "-nvmmio-shm", "-wal", "-shm"};
    sqlite3 *db = pair_open(directory);
    uint64_t number = database_number(db);

    check_content(db, seed, number);
    check_eq(sqlite3_close(db), SQLITE_OK);
    for (unsigned i = 0; i < 2; i++) {
        check_cold(load_path(directory, load_sql.files[i]));
        for (unsigned j = 0; j < sizeof(beside) / sizeof(beside[0]); j++) {
            char path[700];

            (void)snprintf(path, sizeof(path), "%s%s", load_path(directory, load_sql.files[i]),
                           beside[j]);
            if (file_exists(path))
                check_fail("after a clean close there is %s", path);
        }
    }
    /* Stock SQLite reads the same. */
    db = database_open(load_path(directory, load_sql.files[0]), "unix");
    check_eq(database_number(db), number);
    check_sound(db, "PRAGMA integrity_check");
    check_eq(sqlite3_close(db), SQLITE_OK);
    db = database_open(load_path(directory, load_sql.files[1]), "unix");
    check_sound(db, "PRAGMA integrity_check");
    check_eq(sqlite3_close(db), SQLITE_OK);
    return number;
}

const struct load load_sql = {"sql", sql_run, sql_verify, {"sql.db", "sql2.db"}};
