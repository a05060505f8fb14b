/*
 * SQLite on ours, with each of its allocations and of its calls to the system
 * failing once, and then for good: those of the engine and of the VFS, and
 * SQLite's own.  A life of two databases (creation, commits, spills, rollbacks,
 * savepoints, commits over both, VACUUM, a second connection, flush, close) is
 * run again and again, with the first, the second, ... failing, until a run has
 * nothing left to fail; and so are recoveries after deaths, and a switch to WAL
 * mode and back.
 *
 * After each: every acknowledged commit is there, none but one in doubt besides,
 * and that in both files or in none; live connections show either; a failure
 * has a code that SQLite has for such a thing, and names the file; nothing is
 * held any more; the databases work, and a stock SQLite reads them.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "sqlite_vfs/nvmmio_vfs.h"
#include "tests/faults/fast_disk.h"
#include "tests/faults/inject.h"
#include "tests/faults/inject_sqlite.h"
#include "tests/faults/sql_life.h"

static int setup(void **state)
{
    (void)state;
    fast_disk_scratch(&life_scratch);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(&life_scratch);
    return 0;
}

/* ---- lives ---------------------------------------------------------------------------------- */

/* More than the cache below holds, so that it spills. */
#define BULK                                                                                       \
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 40)"                     \
    " INSERT INTO t SELECT 1000 + x, zeroblob(1500) FROM c"

static void live(void)
{
    sqlite3 *db = life_open(0), *other;
    char answer[4000];

    life_commit(db, 0, 1, "", "");
    life_commit(db, 0, 1, "", "");
    if (db)
        (void)life_run(db, "PRAGMA cache_size = 5");
    life_commit(db, 0, 1, lives[0].acknowledged ? BULK : "",
                lives[0].acknowledged ? "DELETE FROM t WHERE id > 1000" : "");
    life_roll_back(db, BULK "; DELETE FROM t WHERE id % 2");
    life_commit(db, 0, 1, lives[0].acknowledged ? "SAVEPOINT s; DELETE FROM t; ROLLBACK TO s" : "",
                "");
    if (life_attach(db)) {
        life_commit(db, 0, 2, "", "");
        life_commit(db, 1, 1, "", "");
        life_commit(db, 0, 2, "", "");
    }
    if (db && lives[0].acknowledged && !lives[0].doubt) {
        (void)life_run(db, "VACUUM main");
        life_look(db, 0);
    }
    other = life_open(0);
    life_commit(other, 0, 1, "", "");
    if (other) {
        (void)life_ask(other, "PRAGMA nvmmio_info", answer, sizeof(answer));
        (void)life_ask(other, "PRAGMA nvmmio_stats", answer, sizeof(answer));
        (void)life_run(other, "PRAGMA nvmmio_flush");
    }
    life_close(db);
    life_commit(other, 0, 1, "", "");
    life_close(other);
    db = life_open(0);
    life_commit(db, 0, 1, "", "");
    life_close(db);
}

/* No lock is given up, whatever fails. */
static void live_exclusively(void)
{
    sqlite3 *db = life_open(0);

    if (db)
        (void)life_run(db, "PRAGMA locking_mode = exclusive; PRAGMA cache_size = 5");
    life_commit(db, 0, 1, "", "");
    life_commit(db, 0, 1, lives[0].acknowledged ? BULK : "",
                lives[0].acknowledged ? "DELETE FROM t WHERE id > 1000" : "");
    life_roll_back(db, BULK "; DELETE FROM t WHERE id % 2");
    if (life_attach(db)) {
        life_commit(db, 0, 2, "", "");
        life_commit(db, 0, 1, "", "");
        life_commit(db, 0, 2, "", "");
    }
    life_commit(db, 0, 1, "", "");
    life_close(db);
}

/* Into WAL mode and back, which is the unix VFS's between the two. */
static void live_in_wal_mode(void)
{
    sqlite3 *db = life_open(0);
    char answer[100];

    life_in_wal = true;
    life_commit(db, 0, 1, "", "");
    if (db)
        (void)life_ask(db, "PRAGMA journal_mode = wal", answer, sizeof(answer));
    life_commit(db, 0, 1, "", "");
    if (db)
        (void)life_ask(db, "PRAGMA journal_mode = delete", answer, sizeof(answer));
    life_commit(db, 0, 1, "", "");
    life_close(db);
}

static void note(enum inject_kind kind, uint64_t n, bool lasting, const char *where)
{
    check_note("%s failure, %s call %llu (%s)", inject_name(kind), lasting ? "from" : "only",
               (unsigned long long)n, where);
}

static bool run_once(void (*life)(void), enum inject_kind kind, uint64_t n, bool lasting)
{
    struct inject_held before, after;
    bool hit;

    life_begin();
    before = inject_held();
    note(kind, n, lasting, "running");
    inject_sqlite_begin();
    life_in_silence = false;
    inject_begin(kind, n, lasting);
    life();
    hit = inject_end();
    note(kind, n, lasting, inject_where());
    if (life_in_silence && !lasting && kind != INJECT_MEMORY && !inject_in_stock())
        check_fail("a failure whose words do not name the file");
    life_verify();
    after = inject_held();
    check_eq(after.allocations, before.allocations);
    check_eq(after.descriptors, before.descriptors);
    check_eq(after.mappings, before.mappings);
    return hit;
}

static void fail_each(void (*life)(void), enum inject_kind kind)
{
    life_begin(); /* what is made once in a process */
    life();
    life_verify();
    for (int lasting = 0; lasting < 2; lasting++) {
        uint64_t n = 1;

        while (run_once(life, kind, n, lasting))
            n += place_stride();
        check_note("%s", "");
        printf("%s, %s: %llu calls\n", inject_name(kind), lasting ? "lasting" : "once",
               (unsigned long long)n - 1);
        check(n > 3 || kind == INJECT_SYNC || kind == INJECT_SHORT);
    }
}

/* ---- recovery ------------------------------------------------------------------------------- */

static struct life *told_by_child; /* FILES of them */

static void live_and_die(void *argument)
{
    sqlite3 *db = life_open(0);

    check(db != NULL && life_attach(db));
    life_commit(db, 0, 1, "", "");
    life_commit(db, 0, 2, "", "");
    memcpy(told_by_child, lives, sizeof(lives));
    inject_begin(INJECT_DEATH, *(uint64_t *)argument, false);
    life_commit(db, 0, 2, "", "");
    memcpy(told_by_child, lives, sizeof(lives));
    (void)inject_end();
    life_close(db);
}

/* One death, and a recovery in which the n-th call fails.  *died: not for want of calls. */
static bool recover(enum inject_kind kind, uint64_t death, uint64_t n, bool lasting, bool *died)
{
    struct child child;
    bool hit = false;
    int result;

    life_begin();
    check_note("death before call %llu, recovery with %s failure, %s call %llu",
               (unsigned long long)death, inject_name(kind), lasting ? "from" : "only",
               (unsigned long long)n);
    child_start(&child, live_and_die, &death);
    result = child_wait(&child);
    check(result == 0 || result == -SIGKILL);
    *died = result != 0;
    for (size_t i = 0; i < FILES; i++) {
        lives[i].acknowledged = told_by_child[i].acknowledged;
        lives[i].doubt = *died;
    }
    life_both = *died;
    if (*died) {
        sqlite3 *db;

        inject_begin(kind, n, lasting);
        /* One after the other, or both together. */
        if (death % 2) {
            size_t first = death / 2 % 2;

            db = life_open(first);
            if (db)
                (void)life_run(db, "SELECT * FROM meta");
            life_close(db);
            db = life_open(1 - first);
            if (db)
                (void)life_run(db, "SELECT * FROM meta");
            life_close(db);
        } else {
            db = life_open(0);
            (void)life_attach(db);
            if (db)
                (void)life_run(db, "SELECT * FROM main.meta");
            life_close(db);
        }
        hit = inject_end();
    }
    life_verify();
    return *died && hit;
}

static void fail_each_of_a_recovery(enum inject_kind kind)
{
    /* What is left out is left out twice; allocations are many. */
    const uint64_t stride = kind == INJECT_MEMORY ? place_stride() : 1 + place_stride() / 6;
    uint64_t runs = 0;
    bool died = true;

    told_by_child = child_memory(sizeof(lives));
    for (uint64_t death = 1, lasting = 0; died; death += stride, lasting = !lasting) {
        for (uint64_t n = 1 + death % stride; recover(kind, death, n, lasting, &died); n += stride)
            runs++;
    }
    printf("%s: %llu recoveries\n", inject_name(kind), (unsigned long long)runs);
    check(runs > 0);
}

/* ---- the tests ------------------------------------------------------------------------------ */

#define LIFE(kind)                                                                                 \
    static void life_##kind(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        fail_each(live, INJECT_##kind);                                                            \
    }                                                                                              \
    static void exclusive_##kind(void **state)                                                     \
    {                                                                                              \
        (void)state;                                                                               \
        fail_each(live_exclusively, INJECT_##kind);                                                \
    }                                                                                              \
    static void wal_mode_##kind(void **state)                                                      \
    {                                                                                              \
        (void)state;                                                                               \
        fail_each(live_in_wal_mode, INJECT_##kind);                                                \
    }
#define RECOVERY(kind)                                                                             \
    static void recovery_##kind(void **state)                                                      \
    {                                                                                              \
        (void)state;                                                                               \
        fail_each_of_a_recovery(INJECT_##kind);                                                    \
    }

LIFE(IO)
LIFE(SHORT)
LIFE(SYNC)
LIFE(SPACE)
LIFE(MEMORY)
RECOVERY(IO)
RECOVERY(SHORT)
RECOVERY(SPACE)
RECOVERY(MEMORY)

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define L(name) T(name##_IO), T(name##_SHORT), T(name##_SYNC), T(name##_SPACE), T(name##_MEMORY)
        L(life),           L(exclusive),      L(wal_mode),        T(recovery_IO),
        T(recovery_SHORT), T(recovery_SPACE), T(recovery_MEMORY),
    };

    inject_into_sqlite();
    check_eq(nvmmio_vfs_register(0), SQLITE_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run_all, NULL);
}
