/*
 * Death in the middle: a session is killed before every call of its VFS, and
 * before every system call.  Then a stock SQLite comes first and tries to write:
 * it may succeed, if the file is an ordinary one, or be refused, and whichever it
 * is must still be so when ours opens the file (PROTOCOL 1, 7, 10).
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "tests/core/trace.h"
#include "tests/sql/harness.h"
#include "tests/sql/step.h"

#define STEPS_MAX 16

static _Atomic int *acknowledged;

struct session {
    const char *before;           /* on the stock VFS, before the session */
    const char *pragmas;          /* first in the session */
    const char *steps[STEPS_MAX]; /* each changes the database from one state to the next */
};

static const struct session *session;
static uint64_t states[STEPS_MAX + 1];
static int state_count;
static bool parity; /* the stock SQLite that comes first is in this process, or in another */

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    acknowledged = child_memory(sizeof(*acknowledged));
    return 0;
}

/* Which states there are: those of a stock database that nobody kills. */
static void compute_states(void)
{
    sqlite3 *db;

    scratch_empty(&scratch);
    db = stock_open(scratch.path, NULL);
    sql_do(db, "%s", session->before);
    state_count = 0;
    states[0] = sql_digest(db);
    sql_do(db, "%s", session->pragmas);
    while (session->steps[state_count]) {
        sql_do(db, "%s", session->steps[state_count]);
        states[++state_count] = sql_digest(db);
    }
    sql_close(db);
}

static void prepare(void)
{
    sqlite3 *db;

    scratch_empty(&scratch);
    atomic_store(acknowledged, 0);
    parity = !parity;
    if (session->before[0] == '\0')
        return;
    db = stock_open(scratch.path, NULL);
    sql_do(db, "%s", session->before);
    sql_close(db);
}

static void live(void *argument)
{
    sqlite3 *db;

    if (argument)
        trace_begin();
    db = sql_open(scratch.path, NULL);
    sql_do(db, "%s", session->pragmas);
    for (int i = 0; session->steps[i]; i++) {
        sql_do(db, "%s", session->steps[i]);
        atomic_store(acknowledged, i + 1);
    }
    sql_close(db);
    if (argument)
        trace_end();
}

/* A write by stock SQLite, whether it is let or not. */
static bool stock_probes(void)
{
    char text[256];
    sqlite3 *db;
    int result;

    if (parity) {
        result = stock_elsewhere(scratch.path, "PRAGMA application_id = 7", text, sizeof(text));
    } else {
        db = stock_open(scratch.path, NULL);
        result = sql_try(db, "PRAGMA application_id = 7");
        (void)snprintf(text, sizeof(text), "%s", sqlite3_errmsg(db));
        sql_close(db);
    }
    if (result != SQLITE_OK && result != SQLITE_NOTADB && result != SQLITE_BUSY)
        check_fail("stock SQLite gets %d: %s", result, text);
    return result == SQLITE_OK;
}

static void verify(bool killed)
{
    int last = atomic_load(acknowledged);
    bool probed = file_exists(scratch.path) && stock_probes();
    sqlite3 *db = sql_open(scratch.path, NULL);
    uint64_t digest = sql_digest(db);

    sql_sound(db);
    if (digest != states[last] && (last == state_count || digest != states[last + 1]))
        check_fail("neither the state after step %d nor the one after it", last);
    check_eq(sql_int(db, "PRAGMA application_id"), probed ? 7 : 0);
    if (!killed) {
        check_eq(last, state_count);
        check(probed);
    }
    sql_do(db, "PRAGMA application_id = 8");
    sql_close(db);
    if (strcmp(session->pragmas, "PRAGMA journal_mode = wal") != 0)
        stock_reads(scratch.path, digest);
}

static void sweep(const struct session *which, bool calls)
{
    const struct step_sweep steps = {prepare, live, NULL, verify};
    const struct step_sweep traced = {prepare, live, &scratch, verify};

    session = which;
    compute_states();
    if (calls)
        (void)step_run_calls(&traced);
    else
        (void)step_run(&steps);
}

#define FILL(rows, bytes)                                                                          \
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT " #rows ")"              \
    " INSERT INTO t(v) SELECT printf('%.*c', " #bytes ", 'f') FROM c"
#define TABLE "CREATE TABLE t(id INTEGER PRIMARY KEY, v);"

static const struct session from_nothing = {
    "", "", {TABLE, "INSERT INTO t VALUES(1, 'one')", "INSERT INTO t VALUES(2, 'two')"}};

static const struct session updates = {TABLE FILL(40, 500),
                                       "",
                                       {"UPDATE t SET v = 'u' || v WHERE id % 5 = 1",
                                        "DELETE FROM t WHERE id % 7 = 0",
                                        "UPDATE t SET v = v || 'w'"}};

static const struct session spilled = {
    TABLE FILL(60, 900),
    "PRAGMA cache_size = 5; PRAGMA cache_spill = 1",
    {"BEGIN; UPDATE t SET v = 'r' || v; DELETE FROM t WHERE id % 2; ROLLBACK;"
     "UPDATE t SET v = 'c' || v",
     "BEGIN; SAVEPOINT s; UPDATE t SET v = 'x' || v; ROLLBACK TO s; DELETE FROM t WHERE id % 3 = 0;"
     "RELEASE s; COMMIT"}};

static const struct session vacuumed = {
    TABLE FILL(100, 2000),
    "",
    {"DELETE FROM t WHERE id % 8", "VACUUM", "INSERT INTO t VALUES(1, 'a')"}};

static const struct session auto_vacuumed = {
    "PRAGMA auto_vacuum = 1;" TABLE FILL(60, 3000),
    "",
    {"DELETE FROM t WHERE id > 10", "INSERT INTO t VALUES(100, 'a')", "DELETE FROM t"}};

static const struct session incremental = {
    "PRAGMA auto_vacuum = 2;" TABLE FILL(60, 3000) "; DELETE FROM t WHERE id > 10",
    "",
    {"PRAGMA incremental_vacuum(15); PRAGMA user_version = 1",
     "PRAGMA user_version = 2; PRAGMA incremental_vacuum"}};

static const struct session to_wal_and_back = {
    TABLE FILL(5, 10),
    "",
    {"PRAGMA journal_mode = wal; INSERT INTO t VALUES(100, 'wal')",
     "INSERT INTO t VALUES(101, 'wal')",
     "PRAGMA journal_mode = delete; INSERT INTO t VALUES(102, 'back')",
     "INSERT INTO t VALUES(103, 'back')"}};

static const struct session truncating = {
    TABLE FILL(20, 900),
    "PRAGMA journal_mode = truncate",
    {"UPDATE t SET v = 1", "UPDATE t SET v = 2", "UPDATE t SET v = 3"}};

static const struct session persisting = {
    TABLE FILL(20, 900),
    "PRAGMA journal_mode = persist",
    {"UPDATE t SET v = 1", "UPDATE t SET v = 2", "UPDATE t SET v = 3"}};

/* These two are not safe on the stock VFS. */
static const struct session in_memory = {
    TABLE FILL(20, 900),
    "PRAGMA journal_mode = memory; PRAGMA cache_size = 5",
    {"UPDATE t SET v = 'm' || v", "UPDATE t SET v = 'n' || v",
     "BEGIN; DELETE FROM t; ROLLBACK; INSERT INTO t VALUES(500, 'x')"}};

static const struct session without_journal = {
    TABLE FILL(20, 900),
    "PRAGMA journal_mode = off; PRAGMA cache_size = 5",
    {"UPDATE t SET v = 'm' || v", "UPDATE t SET v = 'n' || v"}};

static const struct session unsynchronized = {
    TABLE FILL(60, 900),
    "PRAGMA synchronous = off; PRAGMA cache_size = 5",
    {"UPDATE t SET v = 'm' || v", "BEGIN; DELETE FROM t; ROLLBACK; INSERT INTO t VALUES(500, 'x')",
     "DELETE FROM t WHERE id % 2", "VACUUM"}};

static const struct session exclusive = {
    TABLE FILL(20, 900),
    "PRAGMA locking_mode = exclusive",
    {"UPDATE t SET v = 1", "INSERT INTO t(v) VALUES('x')", "DELETE FROM t WHERE id % 2"}};

static const struct session small_pages = {
    "PRAGMA page_size = 512;" TABLE FILL(60, 400),
    "PRAGMA cache_size = 10",
    {"UPDATE t SET v = 's' || v", "DELETE FROM t WHERE id % 3", FILL(40, 700)}};

static const struct session large_pages = {
    "PRAGMA page_size = 65536;" TABLE FILL(60, 9000),
    "PRAGMA cache_size = 3",
    {"UPDATE t SET v = 's' || v", "DELETE FROM t WHERE id % 3", FILL(40, 700)}};

/* One test for each session and each kind of step. */
#define DEATH(name)                                                                                \
    static void name##_killed_before_every_vfs_call(void **state)                                  \
    {                                                                                              \
        (void)state;                                                                               \
        sweep(&(name), false);                                                                     \
    }                                                                                              \
    static void name##_killed_before_every_system_call(void **state)                               \
    {                                                                                              \
        (void)state;                                                                               \
        sweep(&(name), true);                                                                      \
    }
#define DEATH_OURS(name)                                                                           \
    static void name##_killed_before_every_vfs_call(void **state)                                  \
    {                                                                                              \
        (void)state;                                                                               \
        SKIP_UNLESS_NVMMIO();                                                                      \
        sweep(&(name), false);                                                                     \
    }                                                                                              \
    static void name##_killed_before_every_system_call(void **state)                               \
    {                                                                                              \
        (void)state;                                                                               \
        SKIP_UNLESS_NVMMIO();                                                                      \
        sweep(&(name), true);                                                                      \
    }

DEATH(from_nothing)
DEATH(updates)
DEATH(spilled)
DEATH(vacuumed)
DEATH(auto_vacuumed)
DEATH(incremental)
DEATH(to_wal_and_back)
DEATH(truncating)
DEATH(persisting)
DEATH_OURS(in_memory)
DEATH_OURS(without_journal)
DEATH(unsynchronized)
DEATH(exclusive)
DEATH(small_pages)
DEATH(large_pages)

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
#define D(name) T(name##_killed_before_every_vfs_call), T(name##_killed_before_every_system_call)
        D(from_nothing),    D(updates),         D(spilled),    D(vacuumed),    D(auto_vacuumed),
        D(incremental),     D(to_wal_and_back), D(truncating), D(persisting),  D(in_memory),
        D(without_journal), D(unsynchronized),  D(exclusive),  D(small_pages), D(large_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
