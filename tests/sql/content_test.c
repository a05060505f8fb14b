/*
 * Contents: whatever SQLite is told, a database on nvmmio holds what one on the
 * stock VFS holds, while it is open and after it was closed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sql/twin.h"

static struct twin twin;

static int setup(void **state)
{
    (void)state;
    twin_open(&twin);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    twin_remove(&twin);
    return 0;
}

static void every_page_size_and_auto_vacuum(void **state)
{
    uint64_t random = place_seed(__func__);

    (void)state;
    for (int vacuum = 0; vacuum < 3; vacuum++) {
        for (int bytes = 512; bytes <= 65536; bytes *= 2) {
            twin_remove(&twin);
            twin_open(&twin);
            check_note("page_size %d, auto_vacuum %d", bytes, vacuum);
            twin_do(&twin, "PRAGMA page_size = %d; PRAGMA auto_vacuum = %d", bytes, vacuum);
            twin_schema(&twin);
            check_eq(sql_int(twin.ours, "PRAGMA page_size"), bytes);
            check_eq(sql_int(twin.ours, "PRAGMA auto_vacuum"), vacuum);
            twin_program(&twin, &random, 40);
            twin_close(&twin);
        }
    }
}

static void every_journal_mode_and_synchronous(void **state)
{
    static const char *const modes[] = {"delete", "truncate", "persist", "memory", "wal"};
    uint64_t random = place_seed(__func__);

    (void)state;
    for (size_t mode = 0; mode < sizeof(modes) / sizeof(modes[0]); mode++) {
        for (int synchronous = 0; synchronous < 4; synchronous++) {
            twin_remove(&twin);
            twin_open(&twin);
            check_note("journal_mode %s, synchronous %d", modes[mode], synchronous);
            twin_do(&twin, "PRAGMA synchronous = %d", synchronous);
            check_text(sql_text(twin.ours, "PRAGMA journal_mode = %s", modes[mode]), modes[mode]);
            check_text(sql_text(twin.stock, "PRAGMA journal_mode = %s", modes[mode]), modes[mode]);
            twin_schema(&twin);
            twin_program(&twin, &random, 60);
            if (strcmp(modes[mode], "wal") == 0)
                twin_do(&twin, "PRAGMA journal_mode = delete");
            twin_close(&twin);
        }
    }
}

/* journal_mode OFF cannot roll back; without rollbacks it must be like the others. */
static void journal_mode_off(void **state)
{
    (void)state;
    check_text(sql_text(twin.ours, "PRAGMA journal_mode = off"), "off");
    check_text(sql_text(twin.stock, "PRAGMA journal_mode = off"), "off");
    twin_do(&twin, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    for (int i = 0; i < 200; i++) {
        twin_do(&twin, "INSERT INTO t(v) VALUES(printf('%%.*c', %d, 'o'))", i * 20);
        twin_do(&twin, "BEGIN; UPDATE t SET v = v || 'p' WHERE id %% 7 = %d; COMMIT", i % 7);
    }
    twin_close(&twin);
}

static void locking_mode_exclusive(void **state)
{
    uint64_t random = place_seed(__func__);

    (void)state;
    twin_do(&twin, "PRAGMA locking_mode = exclusive");
    twin_schema(&twin);
    twin_program(&twin, &random, 150);
    twin_do(&twin, "PRAGMA locking_mode = normal; SELECT * FROM t");
    twin_program(&twin, &random, 30);
    twin_do(&twin, "PRAGMA locking_mode = exclusive; BEGIN IMMEDIATE; COMMIT");
    twin_program(&twin, &random, 30);
    twin_close(&twin);
}

/* A cache of a few pages: SQLite writes to home long before it commits, or does not commit. */
static void a_cache_that_spills(void **state)
{
    uint64_t random = place_seed(__func__);

    (void)state;
    twin_do(&twin, "PRAGMA cache_size = 10; PRAGMA cache_spill = 2");
    twin_schema(&twin);
    for (int round = 0; round < 6; round++) {
        twin_do(&twin, "BEGIN");
        twin_do(&twin, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 2000)"
                       " INSERT OR REPLACE INTO t(k, v) SELECT x * 3, printf('%%.*c', x, 's')"
                       " FROM c");
        twin_do(&twin, "UPDATE t SET v = substr(v, 2) WHERE k %% 2");
        twin_do(&twin, round % 2 ? "ROLLBACK" : "COMMIT");
        twin_compare(&twin);
        sql_sound(twin.ours);
    }
    twin_program(&twin, &random, 60);
    twin_close(&twin);
}

static void savepoints_within_savepoints(void **state)
{
    (void)state;
    twin_do(&twin, "PRAGMA cache_size = 5");
    twin_do(&twin, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    twin_do(&twin, "BEGIN");
    for (int depth = 0; depth < 12; depth++) {
        twin_do(&twin, "SAVEPOINT d%d", depth);
        for (int i = 0; i < 40; i++)
            twin_do(&twin, "INSERT INTO t(v) VALUES(printf('%%.*c', 900, '%c'))", 'a' + depth);
        twin_do(&twin, "UPDATE t SET v = upper(v) WHERE id %% 5 = %d", depth % 5);
    }
    twin_compare(&twin);
    twin_do(&twin, "ROLLBACK TO d9");
    twin_compare(&twin);
    twin_do(&twin, "DELETE FROM t WHERE id %% 3 = 0; RELEASE d7");
    twin_compare(&twin);
    twin_do(&twin, "ROLLBACK TO d4; INSERT INTO t(v) VALUES('after')");
    twin_compare(&twin);
    twin_do(&twin, "RELEASE d0; COMMIT");
    twin_compare(&twin);
    twin_do(&twin, "SAVEPOINT alone; DELETE FROM t; ROLLBACK TO alone; RELEASE alone");
    twin_close(&twin);
}

/* RAISE and constraints of every kind: a statement, or more, is taken back. */
static void statements_that_fail_in_their_middle(void **state)
{
    static const char *const conflicts[] = {"ABORT", "FAIL", "ROLLBACK", "IGNORE", "REPLACE"};

    (void)state;
    twin_do(&twin, "PRAGMA cache_size = 5");
    twin_do(&twin, "CREATE TABLE t(id INTEGER PRIMARY KEY, k UNIQUE, v)");
    twin_do(&twin, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 500)"
                   " INSERT INTO t SELECT x, x * 2, printf('%%.*c', 700, 'c') FROM c");
    for (size_t i = 0; i < sizeof(conflicts) / sizeof(conflicts[0]); i++) {
        twin_do(&twin, "BEGIN; DELETE FROM t WHERE id %% 11 = %d", (int)i);
        twin_do(&twin, "INSERT OR %s INTO t(k, v) SELECT k + 997, v FROM t ORDER BY id",
                conflicts[i]);
        twin_compare(&twin);
        twin_do(&twin, "COMMIT");
        twin_compare(&twin);
    }
    twin_close(&twin);
}

static void vacuum_and_another_page_size(void **state)
{
    const char *copy = scratch_file(&twin.scratch, "copy");
    uint64_t digest;

    (void)state;
    twin_schema(&twin);
    twin_do(&twin, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3000)"
                   " INSERT INTO t(k, v) SELECT x, printf('%%.*c', 300, 'v') FROM c");
    twin_do(&twin, "DELETE FROM t WHERE k %% 10");
    twin_do(&twin, "VACUUM");
    twin_compare(&twin);
    for (int bytes = 512; bytes <= 65536; bytes *= 8) {
        twin_do(&twin, "PRAGMA page_size = %d; VACUUM", bytes);
        check_eq(sql_int(twin.ours, "PRAGMA page_size"), bytes);
        twin_compare(&twin);
    }
    twin_do(&twin, "PRAGMA auto_vacuum = 1; VACUUM; DELETE FROM t WHERE k < 1000");
    twin_compare(&twin);
    digest = sql_digest(twin.ours);
    sql_do(twin.ours, "VACUUM INTO %Q", copy);
    stock_reads(copy, digest);
    twin_close(&twin);
}

static void incremental_vacuum_by_steps(void **state)
{
    (void)state;
    twin_do(&twin, "PRAGMA auto_vacuum = 2; PRAGMA page_size = 1024");
    twin_schema(&twin);
    twin_do(&twin, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 1000)"
                   " INSERT INTO t(k, v) SELECT x, printf('%%.*c', 2000, 'v') FROM c");
    twin_do(&twin, "DELETE FROM t WHERE k %% 3");
    for (int i = 0; i < 20; i++) {
        twin_do(&twin, "PRAGMA incremental_vacuum(%d)", i * 3);
        check_eq(sql_int(twin.ours, "PRAGMA freelist_count"),
                 sql_int(twin.stock, "PRAGMA freelist_count"));
    }
    twin_do(&twin, "BEGIN; PRAGMA incremental_vacuum; ROLLBACK");
    twin_compare(&twin);
    twin_close(&twin);
}

static void memory_mapped_reads(void **state)
{
    uint64_t random = place_seed(__func__);

    (void)state;
    for (int round = 0; round < 2; round++) {
        twin_do(&twin, "PRAGMA mmap_size = 268435456; PRAGMA cache_size = 20");
        if (round == 0)
            twin_schema(&twin);
        check(sql_int(twin.ours, "PRAGMA mmap_size") >= 0);
        twin_program(&twin, &random, 200);
        twin_do(&twin, "PRAGMA mmap_size = 65536");
        twin_program(&twin, &random, 50);
        twin_do(&twin, "PRAGMA mmap_size = 0");
        twin_program(&twin, &random, 20);
        twin_close(&twin);
        twin_reopen(&twin);
    }
    twin_shut(&twin);
}

static void temporary_tables_and_sorts(void **state)
{
    (void)state;
    twin_schema(&twin);
    for (int store = 0; store < 3; store++) {
        twin_do(&twin, "PRAGMA temp_store = %d; PRAGMA cache_size = 10", store);
        twin_do(&twin, "CREATE TEMP TABLE u(a, b)");
        twin_do(&twin, "PRAGMA temp.cache_size = 5");
        twin_do(&twin, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 4000)"
                       " INSERT INTO u SELECT x, printf('%%.*c', 400, 't') FROM c");
        twin_do(&twin, "CREATE INDEX temp.ub ON u(b, a)");
        twin_do(&twin, "BEGIN; DELETE FROM u WHERE a %% 2; ROLLBACK");
        twin_do(&twin, "INSERT OR IGNORE INTO t(k, v) SELECT a, b FROM u ORDER BY b, a DESC");
        check_eq(sql_int(twin.ours, "SELECT sum(a) FROM u"),
                 sql_int(twin.stock, "SELECT sum(a) FROM u"));
        twin_do(&twin, "DROP TABLE u; DELETE FROM t");
        twin_compare(&twin);
    }
    twin_close(&twin);
}

static void blobs_written_in_place(void **state)
{
    static char part[100000];
    sqlite3 *both[2] = {twin.ours, twin.stock};

    (void)state;
    twin_do(&twin, "CREATE TABLE b(id INTEGER PRIMARY KEY, v BLOB);"
                   " INSERT INTO b(v) VALUES(zeroblob(5000000))");
    memset(part, 'b', sizeof(part));
    for (size_t i = 0; i < 2; i++) {
        sqlite3_blob *blob;

        check_eq(sqlite3_blob_open(both[i], "main", "b", "v", 1, 1, &blob), SQLITE_OK);
        for (int at = 0; at < 40; at++)
            check_eq(sqlite3_blob_write(blob, part, 99999, at * 120001), SQLITE_OK);
        check_eq(sqlite3_blob_close(blob), SQLITE_OK);
    }
    twin_compare(&twin);
    twin_close(&twin);
}

static void an_empty_database(void **state)
{
    (void)state;
    check_eq(sql_int(twin.ours, "SELECT count(*) FROM sqlite_master"), 0);
    sql_close(twin.ours);
    check_ordinary(twin.ours_path);
    check_eq(file_bytes(twin.ours_path), 0);
    twin.ours = sql_open(twin.ours_path, NULL);
    twin_do(&twin, "BEGIN IMMEDIATE; ROLLBACK");
    sql_close(twin.ours);
    check_ordinary(twin.ours_path);
    check_eq(file_bytes(twin.ours_path), 0);
    twin.ours = sql_open(twin.ours_path, NULL);
    twin_do(&twin, "BEGIN; CREATE TABLE t(a); ROLLBACK");
    twin_do(&twin, "CREATE TABLE t(a); DROP TABLE t; VACUUM");
    twin_do(&twin, "PRAGMA user_version = 77; PRAGMA application_id = 99");
    twin_close(&twin);
}

/* What other programs read in the header is what stock SQLite would have put there. */
static void the_bytes_on_the_disk(void **state)
{
    uint64_t random = place_seed(__func__);
    void *ours, *stock;
    int64_t bytes;

    (void)state;
    for (int round = 0; round < 2; round++) {
        if (round == 0)
            twin_schema(&twin);
        twin_program(&twin, &random, 120);
        twin_close(&twin);
        bytes = file_read(twin.stock_path, &stock);
        check_eq(file_read(twin.ours_path, &ours), bytes);
        check(memcmp(ours, stock, (size_t)bytes) == 0);
        free(ours);
        free(stock);
        twin_reopen(&twin);
    }
    twin_shut(&twin);
}

/* A header of an older SQLite, or of a newer one: used or refused as stock SQLite does. */
static void other_file_formats(void **state)
{
    static const struct {
        long at;
        int value;
    } fields[] = {{47, 1}, {47, 2}, {47, 3}, {47, 5}, {18, 3}, {19, 3}, {21, 65}};
    static const char *const uses[] = {
        "SELECT count(*), max(v) FROM t",
        "INSERT INTO t(v) VALUES(3)",
        "ALTER TABLE t ADD COLUMN w DEFAULT 7",
        "CREATE INDEX i ON t(v DESC); SELECT v FROM t ORDER BY v DESC",
        "UPDATE t SET v = w WHERE id = 1",
        "VACUUM",
    };
    struct scratch scratch;
    const char *path, *other;

    (void)state;
    scratch_make(&scratch);
    path = scratch_file(&scratch, "ours");
    other = scratch_file(&scratch, "stock");
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        sqlite3 *ours, *stock;
        FILE *file;

        check_note("byte %ld is %d", fields[i].at, fields[i].value);
        scratch_empty(&scratch);
        stock = stock_open(path, NULL);
        sql_do(stock, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES(1), (2)");
        sql_close(stock);
        file = fopen(path, "r+");
        check(file != NULL && fseek(file, fields[i].at, SEEK_SET) == 0);
        check_eq(fputc(fields[i].value, file), fields[i].value);
        check_eq(fclose(file), 0);
        file_copy(path, other);
        ours = sql_open(path, NULL);
        stock = stock_open(other, NULL);
        for (size_t use = 0; use < sizeof(uses) / sizeof(uses[0]); use++) {
            int want = sql_try(stock, "%s", uses[use]);
            int got = sql_try(ours, "%s", uses[use]);

            if (got != want)
                check_fail("\"%s\": %d, not %d", uses[use], got, want);
        }
        if (sql_try(stock, "SELECT * FROM t") == SQLITE_OK)
            check(sql_digest(ours) == sql_digest(stock));
        sql_close(ours);
        sql_close(stock);
        check_ordinary(path);
        check_eq(sql_open_try(path, NULL, SQLITE_OPEN_READWRITE, &ours), SQLITE_OK);
        stock = stock_open(other, NULL);
        check_eq(sql_try(ours, "SELECT * FROM t"), sql_try(stock, "SELECT * FROM t"));
        sql_close(ours);
        sql_close(stock);
    }
    scratch_remove(&scratch);
}

static void a_long_random_program(void **state)
{
    uint64_t random = place_seed(__func__);

    (void)state;
    twin_schema(&twin);
    for (uint64_t i = 0; i < place_times(8); i++) {
        twin_do(&twin, "PRAGMA cache_size = %llu", 4 + random_below(&random, 60));
        twin_program(&twin, &random, 150);
        twin_close(&twin);
        twin_reopen(&twin);
    }
    twin_shut(&twin);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(every_page_size_and_auto_vacuum),
        T(every_journal_mode_and_synchronous),
        T(journal_mode_off),
        T(locking_mode_exclusive),
        T(a_cache_that_spills),
        T(savepoints_within_savepoints),
        T(statements_that_fail_in_their_middle),
        T(vacuum_and_another_page_size),
        T(incremental_vacuum_by_steps),
        T(memory_mapped_reads),
        T(temporary_tables_and_sorts),
        T(blobs_written_in_place),
        T(an_empty_database),
        T(the_bytes_on_the_disk),
        cmocka_unit_test(other_file_formats),
        T(a_long_random_program),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
