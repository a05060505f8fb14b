/*
 * Transactions over several files (PROTOCOL 4).  Both commit or none does,
 * whichever of them are ours, wherever the writer died, whoever opens which of
 * them first.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/trace.h"
#include "tests/sql/harness.h"
#include "tests/sql/step.h"

#define FILES 3
#define COMMITS 3

static _Atomic int *acknowledged;

/* Which files are ours, and in which order they are opened after the death. */
static struct {
    bool ours[FILES];
    int files;
    const char *order;   /* "01": main, then aux; "a": all in one connection */
    const char *pragmas; /* of the writer */
    bool atomic;
} plan;

static int file_count(void)
{
    check(plan.files > 0 && plan.files <= FILES);
    return plan.files;
}

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    acknowledged = child_memory(sizeof(*acknowledged));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    step_fail(NULL, NULL, 0, 0);
    scratch_remove(&scratch);
    return 0;
}

static const char *const schemas[FILES] = {"main", "aux", "third"};

static const char *path_of(int i)
{
    check(i >= 0 && i < FILES);
    return scratch_file(&scratch, schemas[i]);
}

static sqlite3 *open_one(int i)
{
    return plan.ours[i] ? sql_open(path_of(i), NULL) : stock_open(path_of(i), NULL);
}

static void attach_rest(sqlite3 *db)
{
    for (int i = 1; i < file_count(); i++)
        sql_do(db, "ATTACH 'file:%s?vfs=%s' AS %s", path_of(i), plan.ours[i] ? sql_vfs : stock_vfs,
               schemas[i]);
}

static void prepare(void)
{
    scratch_empty(&scratch);
    atomic_store(acknowledged, 0);
    for (int i = 0; i < file_count(); i++) {
        sqlite3 *db = stock_open(path_of(i), NULL);

        sql_do(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER, fill);"
                   "INSERT INTO t VALUES(1, 0, zeroblob(5000)), (2, 0, zeroblob(5000))");
        sql_close(db);
    }
}

static void commit_everywhere(sqlite3 *db, int value)
{
    sql_do(db, "BEGIN");
    for (int i = 0; i < file_count(); i++)
        sql_do(db, "UPDATE %s.t SET v = %d", schemas[i], value);
    sql_do(db, "COMMIT");
}

static void live(void *argument)
{
    sqlite3 *db;

    if (argument)
        trace_begin();
    db = open_one(0);
    attach_rest(db);
    sql_do(db, "%s", plan.pragmas);
    for (int value = 1; value <= COMMITS; value++) {
        commit_everywhere(db, value);
        atomic_store(acknowledged, value);
    }
    sql_close(db);
    if (argument)
        trace_end();
}

/* What a file holds, opened alone as the user would open it. */
static int64_t value_of(sqlite3 *db, const char *schema)
{
    check_eq(sql_int(db, "SELECT count(DISTINCT v) FROM %s.t", schema), 1);
    return sql_int(db, "SELECT v FROM %s.t LIMIT 1", schema);
}

static void read_values(int64_t values[])
{
    sqlite3 *db;

    if (plan.order[0] == 'a') {
        db = open_one(0);
        attach_rest(db);
        for (int i = 0; i < file_count(); i++)
            values[i] = value_of(db, schemas[i]);
        sql_close(db);
        return;
    }
    for (const char *at = plan.order; *at; at++) {
        int i = *at - '0';

        db = open_one(i);
        values[i] = value_of(db, "main");
        sql_sound(db);
        sql_close(db);
    }
}

static void verify(bool killed)
{
    int last = atomic_load(acknowledged);
    int64_t values[FILES] = {0}, again[FILES] = {0};

    read_values(values);
    for (int i = 0; i < file_count(); i++) {
        check(values[i] >= last && values[i] <= last + 1);
        if (plan.atomic && values[i] != values[0])
            check_fail("%s holds %lld, main holds %lld", schemas[i], (long long)values[i],
                       (long long)values[0]);
    }
    if (!killed)
        check_eq(values[0], COMMITS);
    read_values(again);
    check(memcmp(values, again, (size_t)file_count() * sizeof(values[0])) == 0);
    for (int i = 0; i < file_count(); i++) {
        if (plan.ours[i])
            stock_reads(path_of(i), 0);
    }
}

static void sweep(const char *ours, const char *order, bool calls)
{
    const struct step_sweep steps = {prepare, live, NULL, verify};
    const struct step_sweep traced = {prepare, live, &scratch, verify};

    plan.files = (int)strlen(ours);
    for (int i = 0; i < file_count(); i++)
        plan.ours[i] = ours[i] == 'o';
    plan.order = order;
    plan.pragmas = "";
    plan.atomic = true;
    if (calls)
        (void)step_run_calls(&traced);
    else
        (void)step_run(&steps);
}

/* s: stock, o: ours; then the order of opening. */
#define SWEEP(ours, order)                                                                         \
    static void rule_4_##ours##_##order##_killed_before_every_vfs_call(void **state)               \
    {                                                                                              \
        (void)state;                                                                               \
        sweep(#ours, #order + 1, false);                                                           \
    }
#define SWEEP_CALLS(ours, order)                                                                   \
    static void rule_4_##ours##_##order##_killed_before_every_system_call(void **state)            \
    {                                                                                              \
        (void)state;                                                                               \
        sweep(#ours, #order + 1, true);                                                            \
    }

SWEEP(oo, _01)
SWEEP(oo, _10)
SWEEP(oo, _a)
SWEEP(so, _01)
SWEEP(so, _10)
SWEEP(so, _a)
SWEEP(os, _01)
SWEEP(os, _10)
SWEEP(os, _a)
SWEEP(ooo, _210)
SWEEP(oso, _201)
SWEEP(soo, _012)
SWEEP_CALLS(oo, _10)
SWEEP_CALLS(so, _01)
SWEEP_CALLS(os, _10)

/* Without a super-journal each file is whole by itself, and no more is promised. */
static void without_a_super_journal_each_file_is_whole(void **state)
{
    static const char *const pragmas[] = {
        "PRAGMA main.journal_mode = memory; PRAGMA aux.journal_mode = memory",
        "PRAGMA main.synchronous = off; PRAGMA aux.synchronous = off",
        "PRAGMA main.journal_mode = persist",
    };
    const struct step_sweep steps = {prepare, live, NULL, verify};

    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]); i++) {
        plan.files = 2;
        plan.ours[0] = plan.ours[1] = true;
        plan.order = "10";
        plan.pragmas = pragmas[i];
        plan.atomic = i == 2;
        (void)step_run(&steps);
    }
}

struct death {
    const char *method, *pattern;
    int passes;
};

static void die_main(void *argument)
{
    const struct death *death = argument;

    step_enter();
    step_fail(death->method, death->pattern, STEP_KILL, death->passes);
    live(NULL);
}

/* A child that dies before `method` on a file that matches, after `passes` that it survived. */
static void die_at(const char *ours, const char *method, const char *pattern, int passes)
{
    struct death death = {method, pattern, passes};
    struct child child;

    plan.files = (int)strlen(ours);
    for (int i = 0; i < file_count(); i++)
        plan.ours[i] = ours[i] == 'o';
    plan.order = "01";
    plan.pragmas = "";
    plan.atomic = true;
    prepare();
    child_start(&child, die_main, &death);
    check_eq(child_wait(&child), -9);
}

static int supers_left(char *name, size_t bytes)
{
    const char *list = scratch_list(&scratch), *at = strstr(list, "-mj");
    int count = 0;

    if (at && name) {
        while (at > list && at[-1] != ' ')
            at--;
        (void)snprintf(name, bytes, "%.*s", (int)strcspn(at, " "), at);
    }
    for (at = strstr(list, "-mj"); at; at = strstr(at + 1, "-mj"))
        count++;
    return count;
}

static void rule_4_the_super_journal_goes_with_its_last_child(void **state)
{
    static const char *const kinds[] = {"oo", "so", "os"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        int64_t values[FILES];

        for (int order = 0; order < 2; order++) {
            die_at(kinds[i], "xDelete", "*-mj*", 1);
            check_eq(atomic_load(acknowledged), 1);
            check_eq(supers_left(NULL, 0), 1);
            plan.order = order ? "10" : "01";
            read_values(values);
            check_eq(values[0], 1);
            check_eq(values[1], 1);
            check_eq(supers_left(NULL, 0), 0);
            verify(true);
        }
    }
}

/* The first file comes back without the second: its super-journal must wait for the second. */
static void rule_4_the_super_journal_stays_for_the_other_child(void **state)
{
    static const char *const kinds[] = {"oo", "so", "os"};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        int first = (int)(i % 2);
        sqlite3 *db;

        die_at(kinds[i / 2], "xDelete", "*-mj*", 1);
        for (int again = 0; again < 2; again++) {
            db = open_one(first);
            check_eq(value_of(db, "main"), 1);
            sql_do(db, "UPDATE t SET fill = 'later'");
            sql_close(db);
            check_eq(supers_left(NULL, 0), 1);
        }
        db = open_one(1 - first);
        check_eq(value_of(db, "main"), 1);
        sql_close(db);
        check_eq(supers_left(NULL, 0), 0);
    }
}

static void rule_4_super_and_child_both_gone_is_refused(void **state)
{
    char super[256], child[700];
    sqlite3 *db = NULL;
    int result;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    die_at("oo", "xDelete", "*-mj*", 1);
    check_eq(supers_left(super, sizeof(super)), 1);
    (void)snprintf(child, sizeof(child), "%s-journal", path_of(1));
    check(file_exists(child));
    check_eq(unlink(child), 0);
    check_eq(unlink(scratch_file(&scratch, super)), 0);
    result = sql_open_try(path_of(1), NULL, SQLITE_OPEN_READWRITE, &db);
    if (result == SQLITE_OK)
        result = sql_try(db, "SELECT * FROM t");
    check(result != SQLITE_OK && result != SQLITE_BUSY);
    check(sqlite3_errmsg(db)[0] != '\0');
    (void)sqlite3_close(db);
    check(stock_elsewhere(path_of(1), "SELECT v FROM t", NULL, 0) != SQLITE_OK);
    /* The other still has its child, and the decision: commit. */
    db = open_one(0);
    check_eq(value_of(db, "main"), 2);
    sql_close(db);
    file_write(scratch_file(&scratch, super), "", 0); /* the refusal lost nothing */
    db = open_one(1);
    check_eq(value_of(db, "main"), 1);
    sql_close(db);
}

/* A child journal of a prepared file is not hot: stock must neither play it back nor delete it. */
static void rule_4_a_prepared_file_is_refused_by_stock(void **state)
{
    char child[700];

    (void)state;
    SKIP_UNLESS_NVMMIO();
    die_at("oo", "xDelete", "*-mj*", 1);
    for (int i = 0; i < 2; i++) {
        sqlite3 *db = stock_open(path_of(i), NULL);

        check_sql(db, SQLITE_NOTADB, "SELECT * FROM t");
        check_sql(db, SQLITE_NOTADB, "UPDATE t SET v = 77");
        sql_close(db);
        check_eq(stock_elsewhere(path_of(i), "UPDATE t SET v = 77", NULL, 0), SQLITE_NOTADB);
        (void)snprintf(child, sizeof(child), "%s-journal", path_of(i));
        check(file_exists(child));
    }
    verify(true);
}

/* The second file fails to sync: SQLite rolls the first back, which was prepared. */
static void rule_4_a_sync_with_no_name_supersedes_a_prepare(void **state)
{
    static const struct {
        const char *method, *pattern;
        int passes;
    } failures[] = {
        {"xSync", "*/aux", 0},        {"xWrite", "*/aux", 0},        {"xFileControl", "*/aux", 0},
        {"xDelete", "*-mj*", 0},      {"xSync", "*/main", 0},        {"xWrite", "*-mj*", 0},
        {"xFileControl", "*/aux", 1}, {"xFileControl", "*/main", 1}, {"xWrite", "*/aux", 1},
        {"xWrite", "*/main", 1},
    };
    static const char *const kinds[] = {"oo", "so", "os"};

    (void)state;
    step_enter();
    for (size_t i = 0; i < 6 * sizeof(failures) / sizeof(failures[0]); i++) {
        size_t which = i / 6;
        int result, failed;
        int64_t values[FILES];
        sqlite3 *db;

        plan.files = 2;
        plan.ours[0] = kinds[i % 3][0] == 'o';
        plan.ours[1] = kinds[i % 3][1] == 'o';
        plan.order = "a";
        check_note("%s, %s of %s fails%s", kinds[i % 3], failures[which].method,
                   failures[which].pattern, i / 3 % 2 ? ", in exclusive mode" : "");
        prepare();
        db = open_one(0);
        attach_rest(db);
        if (i / 3 % 2) /* its cache must not believe in the commit either */
            sql_do(db, "PRAGMA locking_mode = exclusive");
        commit_everywhere(db, 1);
        sql_do(db, "BEGIN; UPDATE main.t SET v = 2; UPDATE aux.t SET v = 2");
        step_fail(failures[which].method, failures[which].pattern, SQLITE_IOERR_FSYNC,
                  failures[which].passes);
        result = sql_try(db, "COMMIT");
        failed = step_failed();
        step_fail(NULL, NULL, 0, 0);
        if (!sqlite3_get_autocommit(db))
            sql_do(db, "ROLLBACK");
        for (int file = 0; file < 2; file++)
            values[file] = value_of(db, schemas[file]);
        check_eq(values[0], values[1]);
        if (result != SQLITE_OK)
            check_eq(values[0], 1);
        check(result != SQLITE_OK || values[0] == 2);
        check(failed > 0 || result == SQLITE_OK);
        sql_sound(db);
        check_text(sql_text(db, "PRAGMA aux.integrity_check"), "ok");
        commit_everywhere(db, 3);
        sql_close(db);
        read_values(values);
        check_eq(values[0], 3);
        check_eq(values[1], 3);
        sql_vfs = sql_on_nvmmio() ? "nvmmio" : "unix";
        for (int file = 0; file < 2; file++)
            stock_reads(path_of(file), 0);
        sql_vfs = "step";
    }
    sql_vfs = sql_on_nvmmio() ? "nvmmio" : "unix";
    stock_vfs = "unix";
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define S(name) T(rule_4_##name##_killed_before_every_vfs_call)
        S(oo__01),
        S(oo__10),
        S(oo__a),
        S(so__01),
        S(so__10),
        S(so__a),
        S(os__01),
        S(os__10),
        S(os__a),
        S(ooo__210),
        S(oso__201),
        S(soo__012),
        T(rule_4_oo__10_killed_before_every_system_call),
        T(rule_4_so__01_killed_before_every_system_call),
        T(rule_4_os__10_killed_before_every_system_call),
        T(without_a_super_journal_each_file_is_whole),
        T(rule_4_the_super_journal_goes_with_its_last_child),
        T(rule_4_the_super_journal_stays_for_the_other_child),
        T(rule_4_super_and_child_both_gone_is_refused),
        T(rule_4_a_prepared_file_is_refused_by_stock),
        T(rule_4_a_sync_with_no_name_supersedes_a_prepare),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
