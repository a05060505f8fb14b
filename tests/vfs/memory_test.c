/*
 * Out of memory: each allocation that SQLite and the VFS make through
 * sqlite3_malloc fails once, one after the other, until a run needs no more.
 * Every time: a clean error, no lost commit, a sound database, nothing leaked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sqlite_vfs/internal.h"
#include "sqlite_vfs/nvmmio_vfs.h"
#include "tests/vfs/place.h"

static sqlite3_mem_methods real;
static long countdown = -1; /* allocations until one fails; -1: none does */
static bool failed;

static bool fails_now(void)
{
    if (countdown < 0 || countdown-- > 0)
        return false;
    failed = true;
    return true;
}

static void *failing_malloc(int bytes)
{
    return fails_now() ? NULL : real.xMalloc(bytes);
}

static void *failing_realloc(void *old, int bytes)
{
    return fails_now() ? NULL : real.xRealloc(old, bytes);
}

static int work(sqlite3 *db, int *acknowledged)
{
    static const char *const steps[] = {
        "PRAGMA cache_size = 4",
        "INSERT INTO t VALUES(1, zeroblob(100))",
        "BEGIN; INSERT INTO t VALUES(2, zeroblob(90000)); SAVEPOINT s;"
        "UPDATE t SET b = zeroblob(70000); ROLLBACK TO s; COMMIT",
        "BEGIN; DELETE FROM t; ROLLBACK",
        "ATTACH 'aux.db' AS aux; BEGIN; INSERT INTO aux.t VALUES(1, 1);"
        "INSERT INTO main.t VALUES(3, 1); COMMIT; DETACH aux",
        "PRAGMA nvmmio_info",
        "VACUUM",
    };

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char *sql = i == 4 ? sqlite3_mprintf("ATTACH '%q' AS aux; %s", place_path("aux.db"),
                                             strchr(steps[i], ';') + 1)
                           : sqlite3_mprintf("%s", steps[i]);
        int code = sql ? place_try(db, sql) : SQLITE_NOMEM;

        sqlite3_free(sql);
        if (code != SQLITE_OK)
            return code;
        *acknowledged = (int)i + 1;
    }
    return SQLITE_OK;
}

static void make(const char *name)
{
    sqlite3 *db = place_open(name, "nvmmio");

    place_do(db, "CREATE TABLE t(a, b)");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static bool sound(sqlite3 *db)
{
    return place_int(db, "SELECT count(*) = 1 AND max(integrity_check) = 'ok' "
                         "FROM pragma_integrity_check") == 1;
}

/* *done: it failed nowhere. */
static void run(long at, bool *done)
{
    static const int rows[] = {0, 0, 1, 2, 2, 3, 3, 3};
    int acknowledged = 0;
    int code;
    sqlite3_int64 count;
    sqlite3 *db;

    place_make();
    make("main.db");
    make("aux.db");
    failed = false;
    countdown = at;
    code = sqlite3_open_v2(place_path("main.db"), &db, SQLITE_OPEN_READWRITE, "nvmmio");
    if (code == SQLITE_OK)
        code = work(db, &acknowledged);
    countdown = -1;
    if (code != SQLITE_OK && !failed)
        fail_msg("allocation %ld, step %d: %s", at, acknowledged, sqlite3_errstr(code));
    if (code != SQLITE_OK && (code & 0xff) != SQLITE_NOMEM && code != SQLITE_IOERR_NOMEM &&
        (code & 0xff) != SQLITE_ERROR)
        fail_msg("allocation %ld, step %d: %s (%d)", at, acknowledged, sqlite3_errstr(code), code);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    db = place_open("main.db", "nvmmio");
    count = place_int(db, "SELECT count(*) FROM t");
    if (count < rows[acknowledged] || !sound(db))
        fail_msg("allocation %ld: %lld rows after step %d", at, (long long)count, acknowledged);
    place_do(db, "INSERT INTO t VALUES(9, 9)");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    db = place_open("aux.db", "nvmmio");
    assert_int_equal(place_int(db, "SELECT count(*) FROM t"), count >= 3);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    /* SQLite itself leaves a super-journal whose name could not be written into the first journal.
     */
    if (place_count() - place_count_of("-mj") != 2)
        fail_msg("allocation %ld: something is left beside the databases", at);
    assert_int_equal(sqlite3_memory_used(), 0);
    place_remove();
    *done = !failed;
}

static void every_allocation_fails_once(void **state)
{
    bool done = false;
    long at = 0;

    (void)state;
    for (; !done; at++)
        run(at, &done);
    print_message("%ld allocations\n", at);
    assert_true(at > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails_once),
    };
    sqlite3_mem_methods failing;

    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real) != SQLITE_OK)
        return 1;
    failing = real;
    failing.xMalloc = failing_malloc;
    failing.xRealloc = failing_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK ||
        nvmmio_vfs_register(0) != SQLITE_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
