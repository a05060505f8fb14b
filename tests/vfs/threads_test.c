/*
 * Threads of one process, each with connections of its own to one database:
 * they write, read, come and go, and change it to WAL mode and back, so that it
 * moves between the engine and the unix VFS under all of them.  Whatever was
 * acknowledged is there at the end.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "sqlite_vfs/internal.h"
#include "sqlite_vfs/nvmmio_vfs.h"
#include "tests/vfs/place.h"

#define THREADS 4
#define STEPS 400

struct thread {
    pthread_t thread;
    uint64_t random_state;
    int number;
    int acknowledged;
    int code; /* of a failure that is none of a busy database */
    char path[PLACE_PATH_BYTES];
    char message[512];
};

static unsigned random_below(struct thread *thread, unsigned limit)
{
    thread->random_state ^= thread->random_state << 13;
    thread->random_state ^= thread->random_state >> 7;
    thread->random_state ^= thread->random_state << 17;
    return (unsigned)(thread->random_state % limit);
}

static int step(struct thread *thread, sqlite3 *db)
{
    char sql[128];
    int code;

    switch (random_below(thread, 12)) {
    case 0:
        return place_try(db, "PRAGMA journal_mode = WAL");
    case 1:
    case 2:
        return place_try(db, "PRAGMA journal_mode = DELETE");
    case 3:
    case 4:
        return place_try(db, "SELECT count(*), sum(length(b)) FROM t");
    case 5:
        code = place_try(db, "BEGIN; INSERT INTO t VALUES(NULL, -1, zeroblob(20000)); ROLLBACK");
        (void)place_try(db, "ROLLBACK");
        return code;
    default:
        (void)snprintf(sql, sizeof sql, "INSERT INTO t VALUES(NULL, %d, zeroblob(%u))",
                       thread->number, random_below(thread, 3000));
        code = place_try(db, sql);
        thread->acknowledged += code == SQLITE_OK;
        return code;
    }
}

static void *work(void *argument)
{
    struct thread *thread = argument;
    sqlite3 *db = NULL;

    for (int i = 0; i < STEPS && thread->code == SQLITE_OK; i++) {
        int code = SQLITE_OK;

        if (!db) {
            code = sqlite3_open_v2(thread->path, &db, SQLITE_OPEN_READWRITE, "nvmmio");
            (void)sqlite3_busy_timeout(db, (int)random_below(thread, 20));
        }
        if (code == SQLITE_OK)
            code = step(thread, db);
        if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY) {
            thread->code = code;
            nv_trouble_last(thread->message, sizeof thread->message);
        }
        if (random_below(thread, 16) == 0) {
            sqlite3_close(db);
            db = NULL;
        }
    }
    sqlite3_close(db);
    return NULL;
}

static void nothing_is_lost(void **state)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    struct thread threads[THREADS];
    sqlite3_int64 acknowledged = 0;
    sqlite3 *db;

    (void)state;
    print_message("seed %llu; replay (the threads' order varies): SEED=%llu "
                  "tests/vfs/threads_test\n",
                  (unsigned long long)seed, (unsigned long long)seed);
    place_make();
    db = place_open("t.db", "nvmmio");
    place_do(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, n, b)");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    for (int i = 0; i < THREADS; i++) {
        memset(&threads[i], 0, sizeof threads[i]);
        threads[i].number = i;
        threads[i].random_state = (seed + (uint64_t)i) * UINT64_C(0x9e3779b97f4a7c15) + 1;
        (void)snprintf(threads[i].path, sizeof threads[i].path, "%s", place_path("t.db"));
        assert_int_equal(pthread_create(&threads[i].thread, NULL, work, &threads[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
        if (threads[i].code != SQLITE_OK)
            fail_msg("thread %d: %s: %s", i, sqlite3_errstr(threads[i].code), threads[i].message);
        acknowledged += threads[i].acknowledged;
    }
    db = place_open("t.db", "nvmmio");
    assert_int_equal(place_int(db, "SELECT count(*) FROM t"), acknowledged);
    assert_int_equal(place_int(db, "SELECT count(*) = 1 AND max(integrity_check) = 'ok' "
                                   "FROM pragma_integrity_check"),
                     1);
    place_do(db, "PRAGMA journal_mode = DELETE");
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(place_count(), 1);
    assert_true(acknowledged > THREADS * 10);
    place_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
    };

    if (nvmmio_vfs_register(0) != SQLITE_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
