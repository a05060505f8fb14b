/* twin: see twin.h. */
#include "tests/sql/twin.h"

#include <stdio.h>

void twin_reopen(struct twin *twin)
{
    twin->ours = sql_open(twin->ours_path, NULL);
    twin->stock = stock_open(twin->stock_path, NULL);
}

void twin_open(struct twin *twin)
{
    scratch_make(&twin->scratch);
    (void)snprintf(twin->ours_path, sizeof(twin->ours_path), "%s/ours", twin->scratch.directory);
    (void)snprintf(twin->stock_path, sizeof(twin->stock_path), "%s/stock", twin->scratch.directory);
    twin_reopen(twin);
}

void twin_do(struct twin *twin, const char *format, ...)
{
    va_list arguments;
    char *sql;
    int ours, stock;

    va_start(arguments, format);
    sql = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    check(sql != NULL);
    stock = sqlite3_exec(twin->stock, sql, NULL, NULL, NULL);
    ours = sqlite3_exec(twin->ours, sql, NULL, NULL, NULL);
    if (ours != stock)
        check_fail("%.200s: ours %d (%s), stock %d (%s)", sql, ours, sqlite3_errmsg(twin->ours),
                   stock, sqlite3_errmsg(twin->stock));
    sqlite3_free(sql);
}

void twin_compare(struct twin *twin)
{
    check(sql_digest(twin->ours) == sql_digest(twin->stock));
}

void twin_close(struct twin *twin)
{
    uint64_t digest;
    int64_t bytes;

    twin_compare(twin);
    sql_sound(twin->ours);
    digest = sql_digest(twin->stock);
    bytes = sql_int(twin->ours, "PRAGMA page_count") * sql_int(twin->ours, "PRAGMA page_size");
    check_eq(sql_int(twin->stock, "PRAGMA page_count") * sql_int(twin->stock, "PRAGMA page_size"),
             bytes);
    twin_shut(twin);
    check_eq(file_bytes(twin->ours_path), bytes);
    /* A journal of journal_mode PERSIST stays behind a stock database, not behind ours. */
    stock_reads(twin->ours_path, digest);
}

void twin_shut(struct twin *twin)
{
    sql_close(twin->ours); /* NULL is nothing to close */
    sql_close(twin->stock);
    twin->ours = twin->stock = NULL;
}

void twin_remove(struct twin *twin)
{
    (void)sqlite3_close_v2(twin->ours); /* a test that failed may have left statements */
    (void)sqlite3_close_v2(twin->stock);
    twin->ours = twin->stock = NULL;
    scratch_remove(&twin->scratch);
}

void twin_schema(struct twin *twin)
{
    twin_do(twin, "CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v TEXT, UNIQUE(k))");
    twin_do(twin, "CREATE INDEX tv ON t(v)");
    twin_do(twin, "CREATE TABLE log(at INTEGER PRIMARY KEY, what TEXT)");
    twin_do(twin, "CREATE TRIGGER ti AFTER INSERT ON t BEGIN"
                  " INSERT INTO log(what) VALUES('i' || new.id); END");
}

static void twin_step(struct twin *twin, uint64_t *random)
{
    uint64_t number = random_below(random, 400);
    uint64_t bytes =
        random_below(random, 4) ? random_below(random, 300) : random_below(random, 20000);

    switch (random_below(random, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        twin_do(twin, "INSERT INTO t(k, v) VALUES(%llu, printf('%%.*c', %llu, '%c'))", number,
                bytes, (int)('a' + number % 26));
        break;
    case 4:
    case 5:
        twin_do(twin, "UPDATE t SET v = printf('%%.*c', %llu, 'u') WHERE k %% 17 = %llu", bytes,
                number % 17);
        break;
    case 6:
        twin_do(twin, "DELETE FROM t WHERE k %% 13 = %llu", number % 13);
        break;
    case 7: /* fails in its middle, after rows that it must take back */
        twin_do(twin, "INSERT INTO t(k, v) SELECT k + 100000 * (k %% 3 > 0), v FROM t");
        break;
    case 8:
        twin_do(twin, "BEGIN IMMEDIATE");
        break;
    case 9:
        twin_do(twin, "COMMIT");
        break;
    case 10:
        twin_do(twin, "ROLLBACK");
        break;
    case 11:
        twin_do(twin, "SAVEPOINT s%llu", number % 3);
        break;
    case 12:
        twin_do(twin, "ROLLBACK TO s%llu", number % 3);
        break;
    case 13:
        twin_do(twin, "RELEASE s%llu", number % 3);
        break;
    case 14:
        twin_do(twin, number % 4 ? "PRAGMA incremental_vacuum(7)" : "VACUUM");
        break;
    default:
        twin_do(twin,
                "DROP TABLE IF EXISTS extra; CREATE TABLE extra AS SELECT * FROM t"
                " WHERE k < %llu",
                number);
        break;
    }
}

void twin_program(struct twin *twin, uint64_t *random, uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++) {
        twin_step(twin, random);
        if (i % 16 == 15)
            twin_compare(twin);
    }
    if (!sqlite3_get_autocommit(twin->stock))
        twin_do(twin, random_below(random, 2) ? "COMMIT" : "ROLLBACK");
    twin_compare(twin);
}
