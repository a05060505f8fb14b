/*
 * Writers and readers of one database, killed (SIGKILL) at random instants: in an
 * open, a commit, a spill, a rollback, a flush, a VACUUM, a close, or in the
 * recovery after all of them were killed at once.  Every acknowledged commit is
 * there, none is half there for any reader, and who is left goes on.
 *
 * --times 100 is 100 kills; how many fell into which of these is printed.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/sql/harness.h"

#define WRITERS 4
#define READERS 2
#define USERS (WRITERS + READERS)
#define WAIT_MS 60000 /* who waits longer for anything waits for ever */

enum phase { OPEN, COMMIT, SPILL, ROLLBACK, FLUSH, VACUUM, READ, CLOSE, RECOVERY, PHASES };
static const char *const phase_names[PHASES] = {
    "open", "commit", "spill", "rollback", "flush", "vacuum", "read", "close", "recovery",
};

/* What the children tell in memory, which survives them. */
static struct {
    _Atomic uint64_t acknowledged[WRITERS], begun[WRITERS];
    _Atomic int phase[USERS];
    _Atomic bool stop;
    int progress[2]; /* a pipe: a byte for each commit */
} * shared;

static struct child children[USERS];
static uint64_t random_state;
static uint64_t started; /* users so far: no two have the same seed */
static uint64_t killed_in[PHASES];

static int setup(void **state)
{
    sqlite3 *db;

    (void)state;
    scratch_make(&scratch);
    memset(killed_in, 0, sizeof(killed_in));
    shared = child_memory(sizeof(*shared));
    check_eq(pipe2(shared->progress, O_CLOEXEC), 0);
    /* A pipe that is full tells as much. */
    check_eq(fcntl(shared->progress[1], F_SETFL, O_NONBLOCK), 0);
    db = stock_open(scratch.path, NULL);
    sql_do(db, "CREATE TABLE t(v); CREATE TABLE counter(id INTEGER PRIMARY KEY, n);"
               "INSERT INTO counter VALUES(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)");
    sql_close(db);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(shared->progress[0]);
    close(shared->progress[1]);
    scratch_remove(&scratch);
    return 0;
}

static uint64_t acknowledged_all(void)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < WRITERS; i++)
        sum += atomic_load(&shared->acknowledged[i]);
    return sum;
}

/* ---- users ---------------------------------------------------------------------------------- */

struct user {
    size_t id;
    uint64_t random;
};

static void enter(const struct user *user, enum phase phase)
{
    atomic_store(&shared->phase[user->id], (int)phase);
}

static sqlite3 *open_patiently(void)
{
    /* The smallest log, which turns over. */
    sqlite3 *db = sql_open(scratch.path, sql_on_nvmmio() ? "log_bytes=256K" : NULL);

    check_eq(sqlite3_busy_timeout(db, WAIT_MS), SQLITE_OK);
    return db;
}

#define BULK(rows)                                                                                 \
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT " #rows ")"              \
    " INSERT INTO t SELECT zeroblob(2000) FROM c;"

/* A transaction adds one to the writer's counter and to that of all, and a row. */
static void add(struct user *user, sqlite3 *db, bool spills)
{
    atomic_fetch_add(&shared->begun[user->id], 1);
    enter(user, spills ? SPILL : COMMIT);
    sql_do(db,
           "BEGIN IMMEDIATE; %s UPDATE counter SET n = n + 1 WHERE id IN (0, %d); %s"
           "INSERT INTO t VALUES(printf('%%.*c', %d, 'a')); COMMIT",
           spills ? BULK(60) : "", (int)user->id + 1,
           spills ? "DELETE FROM t WHERE v = zeroblob(2000);" : "",
           (int)random_below(&user->random, 3000));
    atomic_fetch_add(&shared->acknowledged[user->id], 1);
    (void)!write(shared->progress[1], "c", 1);
}

static void write_somehow(struct user *user, sqlite3 *db)
{
    switch (random_below(&user->random, 24)) {
    case 0:
        enter(user, FLUSH);
        if (sql_on_nvmmio())
            sql_retry(db, "PRAGMA nvmmio_flush");
        break;
    case 1:
        enter(user, VACUUM);
        sql_retry(db, "VACUUM");
        break;
    case 2:
    case 3:
        enter(user, ROLLBACK);
        sql_do(db, "BEGIN IMMEDIATE; " BULK(60) "UPDATE counter SET n = -1; ROLLBACK");
        break;
    case 4:
    case 5:
        add(user, db, true);
        break;
    default:
        add(user, db, false);
    }
}

/* A commit is there as a whole or not at all, and is there when it was acknowledged. */
static void read_all(sqlite3 *db)
{
    uint64_t acknowledged = acknowledged_all();
    int64_t all;

    sql_do(db, "BEGIN");
    all = sql_int(db, "SELECT n FROM counter WHERE id = 0");
    check(all >= (int64_t)acknowledged);
    check_eq(sql_int(db, "SELECT sum(n) FROM counter WHERE id > 0"), all);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), all);
    sql_do(db, "COMMIT");
}

static void use(void *argument)
{
    struct user user = *(struct user *)argument;

    while (!atomic_load(&shared->stop)) {
        sqlite3 *db;

        enter(&user, OPEN);
        db = open_patiently();
        if (user.id < WRITERS)
            sql_do(db, "PRAGMA cache_size = 20");
        for (uint64_t i = 1 + random_below(&user.random, 8); i && !atomic_load(&shared->stop);
             i--) {
            if (user.id < WRITERS) {
                write_somehow(&user, db);
            } else {
                enter(&user, READ);
                read_all(db);
            }
        }
        enter(&user, CLOSE);
        sql_close(db);
    }
}

/* The first to come after all have died. */
static void recover(void *argument)
{
    struct user user = *(struct user *)argument;
    sqlite3 *db;

    enter(&user, RECOVERY);
    db = open_patiently();
    read_all(db);
    sql_close(db);
}

/* ---- the killer ----------------------------------------------------------------------------- */

static void start(size_t id, child_main *main)
{
    struct user user = {id, random_state + ++started};

    (void)random_next(&user.random);
    child_start(&children[id], main, &user);
}

static void wait_somewhat(void)
{
    for (volatile uint64_t spin = random_below(&random_state, 2000000); spin; spin--)
        ;
}

/* Where it was can be known when it is no more. */
static void kill_one(size_t id)
{
    child_kill(&children[id]);
    killed_in[atomic_load(&shared->phase[id])]++;
}

/* Those who are left commit something that was not begun when they were left. */
static void await_survivors(void)
{
    uint64_t target = acknowledged_all() + WRITERS;
    struct pollfd poll_for = {.fd = shared->progress[0], .events = POLLIN};
    char bytes[4096];

    while (acknowledged_all() < target) {
        if (poll(&poll_for, 1, WAIT_MS) != 1)
            check_fail("nobody has committed anything for a minute");
        check(read(shared->progress[0], bytes, sizeof(bytes)) > 0);
    }
}

static void verify(void)
{
    sqlite3 *db = open_patiently();

    read_all(db);
    sql_sound(db);
    for (size_t i = 0; i < WRITERS; i++) {
        int64_t n = sql_int(db, "SELECT n FROM counter WHERE id = %d", (int)i + 1);

        check(n >= (int64_t)atomic_load(&shared->acknowledged[i]));
        check(n <= (int64_t)atomic_load(&shared->begun[i]));
    }
    sql_close(db);
    stock_reads(scratch.path, 0);
}

/* All at once; then those who recover, one after the other, each in the last one's recovery. */
static uint64_t kill_all(void)
{
    uint64_t kills = USERS;

    for (size_t i = 0; i < USERS; i++)
        check_eq(kill(children[i].pid, SIGKILL), 0);
    for (size_t i = 0; i < USERS; i++) {
        check_eq(child_wait(&children[i]), -SIGKILL);
        killed_in[atomic_load(&shared->phase[i])]++;
    }
    for (uint64_t i = random_below(&random_state, 5); i; i--) {
        start(0, recover);
        wait_somewhat();
        check_eq(kill(children[0].pid, SIGKILL), 0);
        if (child_wait(&children[0]) == -SIGKILL) {
            killed_in[RECOVERY]++;
            kills++;
        }
    }
    verify();
    for (size_t i = 0; i < USERS; i++)
        start(i, use);
    return kills;
}

static void killed_at_random(void **state)
{
    uint64_t seed = place_seed(__func__), kills = 0, wanted = place_times(100);

    (void)state;
    random_state = seed;
    sql_load();
    for (size_t i = 0; i < USERS; i++)
        start(i, use);
    while (kills < wanted) {
        size_t victim = (size_t)random_below(&random_state, USERS);

        check_note("seed %llu, after %llu kills", (unsigned long long)seed,
                   (unsigned long long)kills);
        wait_somewhat();
        if (random_below(&random_state, 10) == 0) {
            kills += kill_all();
            continue;
        }
        kill_one(victim);
        kills++;
        await_survivors();
        start(victim, use);
    }
    atomic_store(&shared->stop, true);
    for (size_t i = 0; i < USERS; i++)
        child_join(&children[i]);
    verify();
    printf("seed %llu: %llu kills, %llu commits; killed in", (unsigned long long)seed,
           (unsigned long long)kills, (unsigned long long)acknowledged_all());
    for (size_t i = 0; i < PHASES; i++)
        printf(" %s %llu%s", phase_names[i], (unsigned long long)killed_in[i],
               i + 1 < PHASES ? "," : "\n");
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_at_random, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
