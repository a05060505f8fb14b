/*
 * Several connections, threads and processes on one database: locks, deaths of
 * holders, forks (PROTOCOL 3, 10, 11).
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sql/harness.h"

static int setup(void **state)
{
    sqlite3 *db;

    (void)state;
    scratch_make(&scratch);
    db = stock_open(scratch.path, NULL);
    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1);"
               "CREATE TABLE counter(id INTEGER PRIMARY KEY, n); INSERT INTO counter VALUES(0, 0)");
    sql_close(db);
    return 0;
}

/* Two users, each with its own connection, here or in a process of its own. */
#define USERS 3
static struct user {
    sqlite3 *db;
    struct child child;
} users[USERS];
static bool remote;
static char *shared_statement; /* what a child is to run; it answers with the result code + 'A' */

static int run_here(sqlite3 *db, const char *sql)
{
    return sql_try(db, "%s", sql);
}

static void user_main(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)argument;
    parent_send('o');
    while (parent_receive() == 'x')
        parent_send((char)('A' + run_here(db, shared_statement)));
    sql_close(db);
}

static void users_start(bool in_processes)
{
    remote = in_processes;
    for (size_t i = 0; i < USERS; i++) {
        if (!remote) {
            users[i].db = sql_open(scratch.path, NULL);
            continue;
        }
        child_start(&users[i].child, user_main, NULL);
        child_expect(&users[i].child, 'o');
    }
}

static int user_run(size_t i, const char *sql)
{
    if (!remote)
        return run_here(users[i].db, sql);
    (void)snprintf(shared_statement, 1024, "%s", sql);
    child_send(&users[i].child, 'x');
    return child_receive(&users[i].child) - 'A';
}

static void users_end(void)
{
    for (size_t i = 0; i < USERS; i++) {
        if (!remote) {
            sql_close(users[i].db);
        } else if (users[i].child.pid > 0) {
            child_send(&users[i].child, 'q');
            child_join(&users[i].child);
        }
    }
}

struct act {
    size_t user;
    const char *sql;
    int want;
};

static void play(const char *name, const struct act acts[])
{
    if (!shared_statement)
        shared_statement = child_memory(1024);
    for (int round = 0; round < 2; round++) {
        users_start(round != 0);
        for (size_t i = 0; acts[i].sql; i++) {
            int got = user_run(acts[i].user, acts[i].sql);

            if (got != acts[i].want)
                check_fail("%s, %s, act %zu: user %zu, \"%s\": %d, not %d", name,
                           round ? "processes" : "connections", i, acts[i].user, acts[i].sql, got,
                           acts[i].want);
        }
        users_end();
        stock_reads(scratch.path, 0);
    }
}

static void rule_11_a_failed_exclusive_leaves_pending(void **state)
{
    static const struct act acts[] = {
        {0, "BEGIN; SELECT * FROM t", SQLITE_OK},
        {1, "BEGIN; INSERT INTO t VALUES(2)", SQLITE_OK},
        {1, "COMMIT", SQLITE_BUSY},
        {2, "SELECT * FROM t", SQLITE_BUSY},
        {0, "SELECT * FROM t", SQLITE_OK},
        {0, "COMMIT", SQLITE_OK},
        {2, "SELECT * FROM t", SQLITE_BUSY},
        {1, "COMMIT", SQLITE_OK},
        {2, "SELECT * FROM t", SQLITE_OK},
        {0, NULL, 0},
    };

    (void)state;
    play(__func__, acts);
}

static void rule_11_pending_goes_with_a_rollback(void **state)
{
    static const struct act acts[] = {
        {0, "BEGIN; SELECT * FROM t", SQLITE_OK},
        {1, "BEGIN; INSERT INTO t VALUES(2)", SQLITE_OK},
        {1, "COMMIT", SQLITE_BUSY},
        {1, "ROLLBACK", SQLITE_OK},
        {2, "SELECT * FROM t", SQLITE_OK},
        {2, "BEGIN IMMEDIATE; INSERT INTO t VALUES(3)", SQLITE_OK},
        {0, "COMMIT", SQLITE_OK},
        {2, "COMMIT", SQLITE_OK},
        {0, NULL, 0},
    };

    (void)state;
    play(__func__, acts);
}

static void rule_11_one_writer_beside_readers(void **state)
{
    static const struct act acts[] = {
        {0, "BEGIN IMMEDIATE", SQLITE_OK},
        {1, "BEGIN IMMEDIATE", SQLITE_BUSY},
        {1, "SELECT * FROM t", SQLITE_OK},
        {0, "INSERT INTO t VALUES(2)", SQLITE_OK},
        {1, "BEGIN; SELECT * FROM t", SQLITE_OK},
        {1, "INSERT INTO t VALUES(3)", SQLITE_BUSY},
        {0, "COMMIT", SQLITE_BUSY},
        {1, "COMMIT", SQLITE_OK},
        {0, "COMMIT", SQLITE_OK},
        {1, "BEGIN EXCLUSIVE", SQLITE_OK},
        {0, "SELECT * FROM t", SQLITE_BUSY},
        {2, "BEGIN IMMEDIATE", SQLITE_BUSY},
        {1, "ROLLBACK", SQLITE_OK},
        {0, "INSERT INTO t VALUES(4)", SQLITE_OK},
        {0, NULL, 0},
    };

    (void)state;
    play(__func__, acts);
}

static void rule_11_locking_mode_exclusive_keeps_the_lock(void **state)
{
    static const struct act acts[] = {
        {0, "PRAGMA locking_mode = exclusive; SELECT * FROM t", SQLITE_OK},
        {1, "SELECT * FROM t", SQLITE_OK},
        {1, "INSERT INTO t VALUES(2)", SQLITE_BUSY},
        {0, "INSERT INTO t VALUES(3)", SQLITE_OK},
        {1, "SELECT * FROM t", SQLITE_BUSY},
        {0, "INSERT INTO t VALUES(4)", SQLITE_OK},
        {2, "BEGIN IMMEDIATE", SQLITE_BUSY},
        {0, "PRAGMA locking_mode = normal; SELECT * FROM t", SQLITE_OK},
        {1, "INSERT INTO t VALUES(5)", SQLITE_OK},
        {0, NULL, 0},
    };

    (void)state;
    play(__func__, acts);
}

static void a_commit_is_seen_by_all_and_nothing_before_it(void **state)
{
    sqlite3 *a = sql_open(scratch.path, NULL), *b = sql_open(scratch.path, NULL);
    int64_t version = sql_int(b, "PRAGMA data_version");

    (void)state;
    sql_do(a, "PRAGMA cache_size = 3; BEGIN; INSERT INTO t VALUES(2)");
    check_eq(sql_int(b, "SELECT count(*) FROM t"), 1);
    check_eq(sql_int(b, "PRAGMA data_version"), version);
    sql_do(a, "COMMIT");
    check(sql_int(b, "PRAGMA data_version") != version);
    check_eq(sql_int(b, "SELECT count(*) FROM t"), 2);
    check_eq(elsewhere(scratch.path, sql_vfs, "INSERT INTO t VALUES(3)", NULL, 0), SQLITE_OK);
    check_eq(sql_int(a, "SELECT count(*) FROM t"), 3);
    /* A spilled transaction holds EXCLUSIVE: nobody reads what is not committed. */
    sql_do(a, "BEGIN; WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 300)"
              " INSERT INTO t SELECT zeroblob(3000) FROM c");
    check_sql(b, SQLITE_BUSY, "SELECT count(*) FROM t");
    check_eq(elsewhere(scratch.path, sql_vfs, "SELECT count(*) FROM t", NULL, 0), SQLITE_BUSY);
    sql_do(a, "ROLLBACK");
    check_eq(sql_int(b, "SELECT count(*) FROM t"), 3);
    sql_close(a);
    sql_close(b);
    stock_reads(scratch.path, 0);
}

/* Ten users add one to each of their counters and to one that all share: no update is lost. */
#define ADDERS 10
#define ADDITIONS 60
static void add(uintptr_t id, bool reopen)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    check_eq(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
    for (int i = 0; i < ADDITIONS; i++) {
        sql_do(db, "BEGIN IMMEDIATE");
        sql_do(db,
               "INSERT OR IGNORE INTO counter VALUES(%lld, 0);"
               "UPDATE counter SET n = n + 1 WHERE id IN (0, %lld)",
               (long long)id, (long long)id);
        sql_do(db, i % 7 == 3 ? "ROLLBACK" : "COMMIT");
        if (reopen && i % 5 == 4) {
            sql_close(db);
            db = sql_open(scratch.path, NULL);
            check_eq(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
        }
    }
    sql_close(db);
}

static void check_counters(void)
{
    sqlite3 *db = sql_open(scratch.path, NULL);
    int64_t each = 0;

    for (int i = 0; i < ADDITIONS; i++)
        each += i % 7 != 3;
    check_eq(sql_int(db, "SELECT n FROM counter WHERE id = 0"), ADDERS * each);
    check_eq(sql_int(db, "SELECT count(*) FROM counter WHERE n = %lld", (long long)each), ADDERS);
    sql_sound(db);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void add_in_process(void *argument)
{
    add((uintptr_t)argument, (uintptr_t)argument % 2 == 0);
}

static void *add_in_thread(void *argument)
{
    add((uintptr_t)argument, (uintptr_t)argument % 2 == 0);
    return NULL;
}

static void ten_processes_lose_no_update(void **state)
{
    struct child children[ADDERS];

    (void)state;
    for (uintptr_t i = 0; i < ADDERS; i++)
        child_start(&children[i], add_in_process, (void *)(i + 1));
    for (size_t i = 0; i < ADDERS; i++)
        child_join(&children[i]);
    check_counters();
}

static void ten_threads_lose_no_update(void **state)
{
    pthread_t threads[ADDERS];

    (void)state;
    sql_load();
    for (uintptr_t i = 0; i < ADDERS; i++)
        check_eq(pthread_create(&threads[i], NULL, add_in_thread, (void *)(i + 1)), 0);
    for (size_t i = 0; i < ADDERS; i++)
        check_eq(pthread_join(threads[i], NULL), 0);
    check_counters();
}

/* Writers that are killed and replaced: what was acknowledged is there, and nobody is blocked. */
struct tally {
    _Atomic uint64_t acknowledged[ADDERS + 1], begun[ADDERS + 1];
    _Atomic bool stop;
    int progress[2];
};
static struct tally *tally;

static void add_until_told(void *argument)
{
    uintptr_t id = (uintptr_t)argument;

    while (!atomic_load(&tally->stop)) {
        sqlite3 *db = sql_open(scratch.path, NULL);

        check_eq(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
        for (int i = 0; i < 5 + (int)id && !atomic_load(&tally->stop); i++) {
            atomic_fetch_add(&tally->begun[id], 1);
            sql_do(db,
                   "BEGIN IMMEDIATE; INSERT OR IGNORE INTO counter VALUES(%lld, 0);"
                   "UPDATE counter SET n = n + 1 WHERE id IN (0, %lld);"
                   "INSERT INTO t VALUES(printf('%%.*c', %d, 'a')); COMMIT",
                   (long long)id, (long long)id, i * 300);
            atomic_fetch_add(&tally->acknowledged[id], 1);
            (void)!write(tally->progress[1], "c", 1);
        }
        sql_close(db);
    }
}

static void await_commit(void)
{
    struct pollfd poll_for = {.fd = tally->progress[0], .events = POLLIN};
    char byte;

    if (poll(&poll_for, 1, 60000) != 1)
        check_fail("nobody has committed anything for a minute");
    check_eq(read(tally->progress[0], &byte, 1), 1);
}

static uint64_t acknowledged_all(void)
{
    uint64_t sum = 0;

    for (size_t id = 1; id <= ADDERS; id++)
        sum += atomic_load(&tally->acknowledged[id]);
    return sum;
}

static void rule_3_writers_killed_at_random(void **state)
{
    struct child children[5];
    uint64_t random = place_seed(__func__), kills = place_times(60);
    int64_t sum = 0;
    sqlite3 *db;

    (void)state;
    tally = child_memory(sizeof(*tally));
    check_eq(pipe(tally->progress), 0);
    for (uintptr_t i = 0; i < 5; i++)
        child_start(&children[i], add_until_told, (void *)(i + 1));
    for (uint64_t i = 0; i < kills; i++) {
        uintptr_t victim = (uintptr_t)random_below(&random, 5);
        uint64_t before;

        for (uint64_t wait = 1 + random_below(&random, 20); wait; wait--)
            await_commit();
        for (volatile uint64_t spin = random_below(&random, 100000); spin; spin--)
            ;
        child_kill(&children[victim]);
        before = acknowledged_all();
        while (acknowledged_all() < before + 2) /* the others go on */
            await_commit();
        child_start(&children[victim], add_until_told, (void *)(victim + 1));
    }
    atomic_store(&tally->stop, true);
    for (size_t i = 0; i < 5; i++) {
        char drain[4096];
        struct pollfd poll_for = {.fd = tally->progress[0], .events = POLLIN};

        while (poll(&poll_for, 1, 0) == 1)
            (void)!read(tally->progress[0], drain, sizeof(drain));
        child_join(&children[i]);
    }
    db = sql_open(scratch.path, NULL);
    sql_sound(db);
    for (size_t id = 1; id <= 5; id++) {
        /* With few kills one may never have had its turn. */
        int64_t n = sql_int(db, "SELECT coalesce(sum(n), 0) FROM counter WHERE id = %d", (int)id);

        check(n >= (int64_t)atomic_load(&tally->acknowledged[id]));
        check(n <= (int64_t)atomic_load(&tally->begun[id]));
        sum += n;
    }
    check_eq(sql_int(db, "SELECT n FROM counter WHERE id = 0"), sum);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), sum + 1);
    printf("%llu kills, %lld commits\n", (unsigned long long)kills, (long long)sum);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void hold_and_wait(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    sql_do(db, "PRAGMA cache_size = 3");
    sql_do(db, "%s", (const char *)argument);
    parent_send('h');
    (void)parent_receive();
}

/* A transaction larger than the cache of SQLite. */
static const char spilling[] =
    "BEGIN; WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 300)"
    " INSERT INTO t SELECT zeroblob(3000) FROM c";

static void rule_3_a_dead_holder_of_any_lock(void **state)
{
    static const char *const holds[] = {
        "BEGIN; SELECT * FROM t",
        "BEGIN IMMEDIATE",
        "BEGIN; INSERT INTO t VALUES(77)",
        "BEGIN EXCLUSIVE; INSERT INTO t VALUES(77)",
        spilling,
        "PRAGMA locking_mode = exclusive; SELECT * FROM t",
        "SELECT * FROM t",
    };
    int64_t rows = 1;

    (void)state;
    for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++) {
        for (int opened_before = 0; opened_before < 2; opened_before++) {
            sqlite3 *db = opened_before ? sql_open(scratch.path, NULL) : NULL;
            struct child child;

            if (db)
                check_eq(sql_int(db, "SELECT count(*) FROM t"), rows);
            child_start(&child, hold_and_wait, (void *)(uintptr_t)holds[i]);
            child_expect(&child, 'h');
            child_kill(&child);
            if (!db)
                db = sql_open(scratch.path, NULL);
            check_eq(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
            sql_do(db, "BEGIN EXCLUSIVE; INSERT INTO t VALUES(2); COMMIT");
            check_eq(sql_int(db, "SELECT count(*) FROM t"), ++rows);
            sql_close(db);
            stock_reads(scratch.path, 0);
        }
    }
}

/* The writer is killed; a child that it forked lives on with all that it inherited. */
static void fork_an_heir(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);
    pid_t pid;

    sql_do(db, "INSERT INTO t VALUES(2); BEGIN EXCLUSIVE; INSERT INTO t VALUES(3)");
    pid = argument ? (pid_t)syscall(SYS_fork) : fork();
    check(pid >= 0);
    if (pid == 0) {
        parent_send('h');
        (void)parent_receive();
        _exit(0);
    }
    (void)pause();
}

static void rule_3_an_heir_keeps_nobody_waiting(void **state)
{
    (void)state;
    check_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    for (int raw = 0; raw < 2; raw++) {
        struct child child;
        sqlite3 *db;
        int status;

        scratch_teardown(NULL);
        setup(NULL);
        child_start(&child, fork_an_heir, raw ? &scratch : NULL);
        child_expect(&child, 'h');
        check_eq(kill(child.pid, SIGKILL), 0);
        check_eq(waitpid(child.pid, NULL, 0), child.pid);
        db = sql_open(scratch.path, NULL);
        check_eq(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
        sql_do(db, "BEGIN EXCLUSIVE; INSERT INTO t VALUES(4); COMMIT");
        check_eq(sql_int(db, "SELECT sum(v) FROM t"), 7);
        sql_close(db);
        if (!raw) /* it has no lock that stock SQLite would see, either */
            stock_reads(scratch.path, 0);
        close(child.socket); /* ends the heir, which is ours now */
        check(wait(&status) > 0);
        db = sql_open(scratch.path, NULL);
        check_eq(sql_int(db, "SELECT sum(v) FROM t"), 7);
        sql_close(db);
        stock_reads(scratch.path, 0);
    }
}

static _Atomic int *inherited_rows;
static void use_inherited(void *argument)
{
    int result = sql_try(argument, "INSERT INTO t VALUES(9)");

    if (result == SQLITE_OK && !sqlite3_get_autocommit(argument))
        result = sql_try(argument, "COMMIT");
    if (result == SQLITE_OK)
        atomic_fetch_add(inherited_rows, 1);
    else
        check(sqlite3_errmsg(argument)[0] != '\0');
}

/* Never with the parent's locks: an idle connection may start anew, a transaction may not. */
static void rule_3_a_forked_child_is_a_stranger(void **state)
{
    sqlite3 *db = sql_open(scratch.path, NULL);
    int idle;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    inherited_rows = child_memory(sizeof(*inherited_rows));
    sql_do(db, "INSERT INTO t VALUES(2)");
    child_run(use_inherited, db);
    idle = atomic_load(inherited_rows);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2 + idle);
    sql_do(db, "BEGIN; INSERT INTO t VALUES(3)");
    child_run(use_inherited, db);
    check_eq(atomic_load(inherited_rows), idle);
    sql_do(db, "COMMIT; BEGIN; SELECT * FROM t");
    child_run(use_inherited, db);
    check_eq(atomic_load(inherited_rows), idle);
    sql_do(db, "COMMIT");
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 3 + idle);
    check_eq(stock_elsewhere(scratch.path, "INSERT INTO t VALUES(9)", NULL, 0), SQLITE_BUSY);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(rule_11_a_failed_exclusive_leaves_pending),
        T(rule_11_pending_goes_with_a_rollback),
        T(rule_11_one_writer_beside_readers),
        T(rule_11_locking_mode_exclusive_keeps_the_lock),
        T(a_commit_is_seen_by_all_and_nothing_before_it),
        T(ten_processes_lose_no_update),
        T(ten_threads_lose_no_update),
        T(rule_3_writers_killed_at_random),
        T(rule_3_a_dead_holder_of_any_lock),
        T(rule_3_an_heir_keeps_nobody_waiting),
        T(rule_3_a_forked_child_is_a_stranger),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
