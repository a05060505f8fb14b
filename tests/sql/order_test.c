/*
 * What a session asks of the kernel, and in which order: the `page` medium's
 * durability (PROTOCOL 1, 5), and how many calls and how much memory a
 * transaction costs (PROTOCOL 13).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/core/trace.h"
#include "tests/sql/harness.h"

static int setup(void **state)
{
    sqlite3 *db;

    (void)state;
    scratch_make(&scratch);
    db = stock_open(scratch.path, NULL);
    sql_do(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a')");
    sql_close(db);
    return 0;
}

#define HEADER_BYTES 8192      /* of a log: core/FORMAT.md.  Two copies, one of which counts. */
#define RECORD_BYTES_MAX 32768 /* of the transactions here */

enum { HOME, LOG, OTHER };

/* The calls of a session, as far as they store or make durable. */
struct record {
    uint64_t writes[3], syncs[3], calls, stats, unlinks;
    uint64_t records;      /* written to the log, as one call each */
    bool log_dirty;        /* records written, and not yet made durable */
    bool header_dirty;     /* the same of the log's header */
    bool home_dirty;       /* the same of home */
    uint64_t early;        /* writes to home while the log was dirty */
    bool unordered_unlink; /* the log was unlinked while home was dirty, or was not emptied */
    bool mark_removed;     /* the last write to home began at 0, after the log was durable */
};

/* Not the log's header, and not the zeros by which it grows. */
static bool is_record(const struct trace_call *call)
{
    if (call->number == SYS_pwrite64)
        return call->arguments[3] >= HEADER_BYTES && call->arguments[2] <= RECORD_BYTES_MAX;
    return call->number != SYS_write;
}

static int which_file(const struct trace_call *call, uint64_t fd)
{
    char path[512];
    size_t home = strlen(scratch.path), length;

    trace_path(call, fd, path, sizeof(path));
    length = strlen(path);
    if (strncmp(path, scratch.path, home) != 0)
        return OTHER;
    return length == home ? HOME : strcmp(path + home, "-nvmmio") == 0 ? LOG : OTHER;
}

static void record_write(struct record *record, int file, uint64_t offset, bool durable)
{
    record->writes[file]++;
    if (file == HOME) {
        record->early += record->log_dirty;
        record->home_dirty = true;
        record->mark_removed = offset == 0 && !record->log_dirty && !record->header_dirty;
    } else if (file == LOG && offset < HEADER_BYTES) {
        record->header_dirty = !durable;
    } else if (file == LOG) {
        record->log_dirty = !durable;
    }
}

static void record_call(void *context, const struct trace_call *call)
{
    struct record *record = context;
    const uint64_t *arguments = call->arguments;
    int file;

    record->calls++;
    switch (call->number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_pwritev:
    case SYS_pwritev2:
        file = which_file(call, arguments[0]);
        record->records += file == LOG && is_record(call);
        record_write(record, file, call->number == SYS_write ? UINT64_MAX : arguments[3],
                     call->number == SYS_pwritev2 && (arguments[5] & RWF_DSYNC));
        break;
    case SYS_fsync:
    case SYS_fdatasync:
        file = which_file(call, arguments[0]);
        record->syncs[file]++;
        if (file == LOG)
            record->log_dirty = record->header_dirty = false;
        else if (file == HOME)
            record->home_dirty = false;
        break;
    case SYS_unlink:
    case SYS_unlinkat:
        record->unlinks++;
        record->unordered_unlink |= record->home_dirty || record->log_dirty || record->header_dirty;
        break;
    case SYS_newfstatat:
    case SYS_stat:
    case SYS_fstat:
    case SYS_lstat:
    case SYS_statx:
        record->stats++;
        break;
    default:
        break;
    }
}

struct session {
    const char *pragmas, *statement;
    int times;
    bool trace_all; /* from open to close, not the statements alone */
};

static void run_session(void *argument)
{
    const struct session *session = argument;
    sqlite3 *db;

    if (session->trace_all)
        trace_begin();
    db = sql_open(scratch.path, NULL);
    sql_do(db, "%s; SELECT * FROM t; INSERT INTO t VALUES(2, 'b')", session->pragmas);
    if (!session->trace_all)
        trace_begin();
    for (int i = 0; i < session->times; i++)
        check_eq(sqlite3_exec(db, session->statement, NULL, NULL, NULL), SQLITE_OK);
    if (!session->trace_all)
        trace_end();
    sql_close(db);
    if (session->trace_all)
        trace_end();
}

static struct record record_session(const struct session *session)
{
    struct record record = {.calls = 0};

    sql_load();
    scratch_teardown(NULL);
    setup(NULL);
    trace_calls(run_session, (void *)(uintptr_t)session, record_call, &record);
    return record;
}

#define ROW "INSERT INTO t(v) VALUES('another row, not long')"

static void rule_5_the_log_is_durable_before_home_is_written(void **state)
{
    static const struct session sessions[] = {
        {"PRAGMA synchronous = full", ROW, 50, true},
        {"PRAGMA synchronous = normal", "UPDATE t SET v = zeroblob(30000)", 20, true},
        {"PRAGMA synchronous = extra; PRAGMA cache_size = 2",
         "INSERT INTO t(v) VALUES(zeroblob(100000))", 5, true},
    };

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (place_kind() != PLACE_PAGE)
        skip();
    for (size_t i = 0; i < sizeof(sessions) / sizeof(sessions[0]); i++) {
        struct record record = record_session(&sessions[i]);

        check(record.writes[HOME] > 0 && record.writes[LOG] > 0 && record.syncs[LOG] > 0);
        check_eq(record.early, 0);
        stock_reads(scratch.path, 0);
    }
}

/* A clean close: home durable, log emptied, mark removed, durable, and only then the unlink. */
static void rule_1_the_order_of_a_clean_close(void **state)
{
    static const struct session session = {"", ROW, 3, true};
    struct record record;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (place_kind() != PLACE_PAGE)
        skip();
    record = record_session(&session);
    check(record.unlinks > 0);
    check(record.mark_removed);
    check(!record.unordered_unlink);
}

/* Open, one transaction, close: home's mark, home cut, the mark removed; the log made and named,
 * the commit, the log emptied. */
static void rule_13_seven_syncs_for_a_session(void **state)
{
    static const struct session session = {"", ROW, 0, true};
    struct record record;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (place_kind() != PLACE_PAGE)
        skip();
    record = record_session(&session);
    check_eq(record.syncs[HOME], 3);
    check_eq(record.syncs[HOME] + record.syncs[LOG] + record.syncs[OTHER], 7);
}

static void one_fdatasync_for_a_transaction(void **state)
{
    struct session few = {"PRAGMA synchronous = full", ROW, 100, false}, many = few;
    struct record record[2];

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (place_kind() != PLACE_PAGE)
        skip();
    many.times = 300;
    record[0] = record_session(&few);
    record[1] = record_session(&many);
    check_eq(record[1].syncs[LOG] - record[0].syncs[LOG], 200);
    check_eq(record[1].records - record[0].records, 200);
    check(record[1].syncs[HOME] + record[1].syncs[OTHER] <= 8);
}

static void no_fdatasync_with_synchronous_off(void **state)
{
    static const struct session session = {"PRAGMA synchronous = off", ROW, 100, false};
    struct record record;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (place_kind() != PLACE_PAGE)
        skip();
    record = record_session(&session);
    check(record.writes[HOME] >= 100);
    check_eq(record.syncs[HOME] + record.syncs[LOG] + record.syncs[OTHER], 0);
}

/* In memory a transaction asks nothing of the kernel; now and then whether the file has moved. */
static void rule_13_no_call_for_a_transaction_in_memory(void **state)
{
    struct session few = {"", ROW, 1000, false}, many = few;
    struct record record[2];

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (place_kind() == PLACE_PAGE)
        skip();
    many.times = 5000;
    record[0] = record_session(&few);
    record[1] = record_session(&many);
    printf("%llu calls in 1000 transactions, %llu in 5000 (%llu of them stat)\n",
           (unsigned long long)record[0].calls, (unsigned long long)record[1].calls,
           (unsigned long long)record[1].stats);
    check(record[1].calls - record[1].stats <= 60); /* home grows a few times */
}

static void write_and_die(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)argument;
    for (int i = 0; i < 20; i++)
        sql_do(db, ROW);
    parent_send('k');
    (void)parent_receive();
}

static void recover(void *argument)
{
    sqlite3 *db;

    (void)argument;
    trace_begin();
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 21);
    trace_end();
    sql_close(db);
}

struct first_home_write {
    struct record record;
    uint64_t log_writes, log_syncs; /* before it */
    bool seen;
};

static void record_recovery(void *context, const struct trace_call *call)
{
    struct first_home_write *first = context;
    uint64_t log_writes = first->record.writes[LOG], log_syncs = first->record.syncs[LOG];

    record_call(&first->record, call);
    if (!first->seen && first->record.writes[HOME]) {
        first->seen = true;
        first->log_writes = log_writes;
        first->log_syncs = log_syncs;
    }
}

/* A record may be valid in the page cache alone: it is written again and made durable first. */
static void rule_5_recovery_makes_the_log_durable_again(void **state)
{
    struct first_home_write first = {.seen = false};
    struct child child;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (place_kind() != PLACE_PAGE)
        skip();
    child_start(&child, write_and_die, NULL);
    child_expect(&child, 'k');
    child_kill(&child);
    trace_calls(recover, NULL, record_recovery, &first);
    check(first.seen);
    check(first.log_writes > 0);
    check(first.log_syncs > 0);
    check_eq(first.record.early, 0);
    stock_reads(scratch.path, 0);
}

/* Private memory may grow by so much more; 0: without end. */
static void limit_memory(unsigned long mib)
{
    struct rlimit limit;
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kib = 0;

    check(status != NULL);
    while (fgets(line, sizeof(line), status))
        (void)sscanf(line, "VmData: %lu", &kib);
    fclose(status);
    check(kib > 0);
    check_eq(getrlimit(RLIMIT_DATA, &limit), 0);
    limit.rlim_cur = mib ? ((rlim_t)kib + (mib << 10)) << 10 : limit.rlim_max;
    check_eq(setrlimit(RLIMIT_DATA, &limit), 0);
}

/* Journal and overlay leave memory when they are large. */
static void vacuum_in_little_memory(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)argument;
    limit_memory(176);
    sql_do(db, "PRAGMA cache_size = 200; VACUUM");
    check_eq(sql_int(db, "SELECT sum(length(v)) FROM t"), 2800 * 100000);
    sql_do(db, "BEGIN; UPDATE t SET v = zeroblob(90000) WHERE id < 2500; ROLLBACK");
    check_eq(sql_int(db, "SELECT sum(length(v)) FROM t"), 2800 * 100000);
    sql_close(db);
}

static void vacuum_in_no_memory(void *argument)
{
    unsigned long mib = (uintptr_t)argument;
    sqlite3 *db = sql_open(scratch.path, NULL);
    int result;

    sql_do(db, "PRAGMA cache_size = 200; SELECT count(*) FROM t");
    limit_memory(mib);
    result = sql_try(db, "VACUUM");
    limit_memory(0);
    check(result == SQLITE_OK || result == SQLITE_NOMEM);
    check_eq(sql_int(db, "SELECT sum(length(v)) FROM t"), 1600 * 100000);
    sql_do(db, "INSERT INTO t(v) VALUES(''); DELETE FROM t WHERE v = ''");
    sql_close(db);
}

/* However little there is, the transaction fails or does not: the database goes on. */
static void memory_that_runs_out(void **state)
{
    sqlite3 *db;

    (void)state;
    if (PLACE_SANITIZED) /* its own memory cannot be told from the tested one's */
        skip();
    db = stock_open(scratch.path, NULL);
    sql_do(db, "DELETE FROM t; PRAGMA synchronous = off;"
               "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 1700)"
               " INSERT INTO t SELECT x, zeroblob(100000) FROM c; DELETE FROM t WHERE id > 1600");
    sql_close(db);
    for (uintptr_t mib = 8; mib <= 168; mib += 20) {
        check_note("%d MiB", (int)mib);
        child_run(vacuum_in_no_memory, (void *)mib);
    }
    stock_reads(scratch.path, 0);
}

static void rule_13_large_transactions_do_not_fill_memory(void **state)
{
    sqlite3 *db;

    (void)state;
    if (PLACE_SANITIZED) /* its own memory cannot be told from the tested one's */
        skip();
    db = stock_open(scratch.path, NULL);
    sql_do(db, "DELETE FROM t; PRAGMA synchronous = off;"
               "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 2900)"
               " INSERT INTO t SELECT x, zeroblob(100000) FROM c; DELETE FROM t WHERE id > 2800");
    sql_close(db);
    child_run(vacuum_in_little_memory, NULL);
    stock_reads(scratch.path, 0);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(rule_5_the_log_is_durable_before_home_is_written),
        T(rule_5_recovery_makes_the_log_durable_again),
        T(rule_1_the_order_of_a_clean_close),
        T(rule_13_seven_syncs_for_a_session),
        T(one_fdatasync_for_a_transaction),
        T(no_fdatasync_with_synchronous_off),
        T(rule_13_no_call_for_a_transaction_in_memory),
        T(rule_13_large_transactions_do_not_fill_memory),
        T(memory_that_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
