/*
 * What bad input gets: files and directories that are not what they should be,
 * missing rights, sidecars that are damaged or foreign.  A clear error or a
 * recovery; nothing lost, nothing changed by a refusal, no crash.
 */
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sql/harness.h"

#define NOBODY 65534

static char log_path[700], share_path[700];

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    (void)snprintf(log_path, sizeof(log_path), "%s-nvmmio", scratch.path);
    (void)snprintf(share_path, sizeof(share_path), "%s-nvmmio-shm", scratch.path);
    return 0;
}

static void make_database(void)
{
    sqlite3 *db = stock_open(scratch.path, NULL);

    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    sql_close(db);
}

/* The first failure of opening, reading and writing; SQLITE_OK when there was none. */
static int try_all(const char *path, const char *vfs, const char *query, int flags, bool writes)
{
    sqlite3 *db = NULL;
    int result = open_try(path, vfs, query, flags, &db);

    if (result == SQLITE_OK)
        result = sql_try(db, "SELECT count(*) FROM sqlite_master");
    if (result == SQLITE_OK && writes)
        result = sql_try(db, "CREATE TABLE IF NOT EXISTS u(v); INSERT INTO u VALUES(1)");
    if (result != SQLITE_OK)
        check(sqlite3_errmsg(db)[0] != '\0');
    (void)sqlite3_close(db);
    return result & 0xff;
}

#define READ_WRITE (SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)

/* Ours answers what the stock VFS answers. */
static void same_as_stock(const char *path, const char *query, int flags, bool writes)
{
    int stock = try_all(path, "unix", query, flags, writes);

    check_eq(try_all(path, sql_vfs, query, flags, writes), stock);
}

static void paths_that_cannot_be(void **state)
{
    const char *link = scratch_file(&scratch, "link");

    (void)state;
    sql_load();
    same_as_stock(scratch_file(&scratch, "none/db"), NULL, READ_WRITE, true);
    same_as_stock(scratch_file(&scratch, "none"), NULL, SQLITE_OPEN_READWRITE, true);
    same_as_stock(scratch.directory, NULL, READ_WRITE, true);
    same_as_stock("/dev/null/db", NULL, READ_WRITE, true);
    check_eq(symlink("nowhere/db", link), 0);
    same_as_stock(link, NULL, READ_WRITE, true);
    check_text(scratch_list(&scratch), "link ");
}

static void files_that_are_no_databases(void **state)
{
    char noise[20000];
    uint64_t random = place_seed(__func__);

    (void)state;
    sql_load();
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)random_next(&random);
    /* A file of less than a page counts as empty, and is written. */
    for (size_t bytes = 600; bytes < sizeof(noise); bytes = bytes * 3 + 17) {
        void *after;

        file_write(scratch.path, noise, bytes);
        same_as_stock(scratch.path, NULL, READ_WRITE, true);
        check_eq(file_read(scratch.path, &after), bytes);
        check(memcmp(after, noise, bytes) == 0);
        free(after);
        check_ordinary(scratch.path);
    }
}

/* A database with some of its bytes wrong: no crash, and the stock answer. */
static void damaged_databases(void **state)
{
    uint64_t random = place_seed(__func__);
    void *content;
    int64_t bytes;

    (void)state;
    sql_load();
    make_database();
    bytes = file_read(scratch.path, &content);
    for (uint64_t i = 0; i < place_times(100); i++) {
        char *copy = malloc((size_t)bytes);
        int stock;

        check(copy != NULL);
        memcpy(copy, content, (size_t)bytes);
        for (int flips = 0; flips < 3; flips++)
            copy[random_below(&random, i % 2 ? 100 : (uint64_t)bytes)] ^=
                (char)(1 << random_below(&random, 8));
        file_write(scratch.path, copy, (uint64_t)bytes);
        stock = try_all(scratch.path, "unix", NULL, READ_WRITE, false);
        file_write(scratch.path, copy, (uint64_t)bytes);
        free(copy);
        check_eq(try_all(scratch.path, sql_vfs, NULL, READ_WRITE, false), stock);
        /* Also after a write that was not refused there is nothing left beside it. */
        (void)try_all(scratch.path, sql_vfs, NULL, READ_WRITE, true);
        check_ordinary(scratch.path);
    }
    free(content);
}

static void become_nobody(void)
{
    check_eq(setgroups(0, NULL), 0);
    check_eq(setresgid(NOBODY, NOBODY, NOBODY), 0);
    check_eq(setresuid(NOBODY, NOBODY, NOBODY), 0);
}

static void nobody_opens(void *argument)
{
    (void)argument;
    become_nobody();
    same_as_stock(scratch.path, NULL, READ_WRITE, false);
    same_as_stock(scratch.path, NULL, READ_WRITE, true);
    same_as_stock(scratch.path, "mode=ro", SQLITE_OPEN_READONLY, false);
    same_as_stock(scratch_file(&scratch, "new"), NULL, READ_WRITE, true);
}

static void no_permission(void **state)
{
    static const mode_t modes[] = {0600, 0644, 0444, 0666};

    (void)state;
    if (geteuid() != 0)
        skip();
    sql_load();
    make_database();
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        check_eq(chmod(scratch.path, modes[i]), 0);
        check_note("mode %o", (unsigned)modes[i]);
        child_run(nobody_opens, NULL);
        check_text(scratch_list(&scratch), "db ");
    }
}

static void write_and_wait(void *argument)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)argument;
    sql_do(db, "INSERT INTO t VALUES(2)");
    parent_send('k');
    (void)parent_receive();
}

static void crash(void)
{
    struct child child;

    scratch_empty(&scratch);
    make_database();
    child_start(&child, write_and_wait, NULL);
    child_expect(&child, 'k');
    child_kill(&child);
}

static void read_only_nobody(void *argument)
{
    sqlite3 *db = NULL;
    int result;

    become_nobody();
    result = sql_open_try(scratch.path, "mode=ro", SQLITE_OPEN_READONLY, &db);
    (void)sqlite3_extended_result_codes(db, 1);
    if (result == SQLITE_OK)
        result = sqlite3_exec(db, "SELECT * FROM t", NULL, NULL, NULL);
    check_eq(result, *(int *)argument);
    (void)sqlite3_close(db);
}

/* Reading must not mean recovering without the right to; nor may it show half of a state. */
static void read_only_connections(void **state)
{
    int want = SQLITE_READONLY_RECOVERY;
    sqlite3 *db = NULL, *writer;
    int result;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    make_database();
    check_eq(try_all(scratch.path, sql_vfs, "mode=ro", SQLITE_OPEN_READONLY, false), SQLITE_OK);
    check_eq(try_all(scratch.path, sql_vfs, "mode=ro", SQLITE_OPEN_READONLY, true),
             SQLITE_READONLY);
    check_ordinary(scratch.path);
    /* Beside a writer it sees what he commits. */
    writer = sql_open(scratch.path, NULL);
    sql_do(writer, "INSERT INTO t VALUES(2)");
    check_eq(sql_open_try(scratch.path, "mode=ro", SQLITE_OPEN_READONLY, &db), SQLITE_OK);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_do(writer, "INSERT INTO t VALUES(3)");
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 3);
    sql_close(db);
    sql_close(writer);
    stock_reads(scratch.path, 0);
    crash();
    for (int immutable = 0; immutable < 2; immutable++) {
        result = sql_open_try(scratch.path, immutable ? "mode=ro&immutable=1" : "mode=ro",
                              SQLITE_OPEN_READONLY, &db);
        (void)sqlite3_extended_result_codes(db, 1);
        if (result == SQLITE_OK)
            result = sqlite3_exec(db, "SELECT * FROM t", NULL, NULL, NULL);
        check(result != SQLITE_OK);
        if (!immutable)
            check_eq(result, SQLITE_READONLY_RECOVERY);
        (void)sqlite3_close(db);
    }
    if (geteuid() == 0)
        child_run(read_only_nobody, &want);
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_close(db);
    if (geteuid() == 0) {
        want = SQLITE_OK;
        child_run(read_only_nobody, &want);
    }
    check_eq(try_all(scratch.path, sql_vfs, "mode=ro&immutable=1", SQLITE_OPEN_READONLY, false),
             SQLITE_OK);
    check_eq(try_all(scratch.path, sql_vfs, "nolock=1", SQLITE_OPEN_READWRITE, false), SQLITE_OK);
    stock_reads(scratch.path, 0);
}

/* nolock=1 means: I am alone.  It is not believed while somebody else is there. */
static void no_lock_beside_another(void **state)
{
    sqlite3 *writer;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    make_database();
    writer = sql_open(scratch.path, NULL);
    sql_do(writer, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2)");
    check(try_all(scratch.path, sql_vfs, "nolock=1", SQLITE_OPEN_READWRITE, true) != SQLITE_OK);
    sql_do(writer, "COMMIT");
    check_eq(sql_int(writer, "SELECT count(*) FROM t"), 2);
    sql_close(writer);
    stock_reads(scratch.path, 0);
}

/* Ours refuses with a code that is none of "try again"; stock refuses too; both change nothing. */
static void check_refused(void)
{
    void *before, *after;
    int64_t bytes = file_read(scratch.path, &before);
    int result = try_all(scratch.path, sql_vfs, NULL, SQLITE_OPEN_READWRITE, true);

    if (result == SQLITE_OK || result == SQLITE_BUSY || result == SQLITE_NOTADB)
        check_fail("ours answers %d", result);
    check(stock_elsewhere(scratch.path, "INSERT INTO t VALUES(7)", NULL, 0) != SQLITE_OK);
    check_eq(file_read(scratch.path, &after), bytes);
    check(memcmp(before, after, (size_t)bytes) == 0);
    free(before);
    free(after);
}

static void check_recovered(void)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    check_eq(sql_int(db, "SELECT count(*) FROM t"), 2);
    sql_sound(db);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void logs_that_are_none(void **state)
{
    static char noise[300000];
    uint64_t random = place_seed(__func__);
    char kept[720];

    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)random_next(&random);
    crash();
    (void)snprintf(kept, sizeof(kept), "%s-kept", log_path);
    check_eq(rename(log_path, kept), 0);
    check_refused(); /* it is gone */
    file_write(log_path, noise, 0);
    check_refused();
    file_write(log_path, noise, 100);
    check_refused();
    file_write(log_path, noise, sizeof(noise));
    check_refused();
    memset(noise, 0, sizeof(noise));
    file_write(log_path, noise, sizeof(noise));
    check_refused();
    check_eq(unlink(log_path), 0);
    check_eq(symlink(kept, log_path), 0);
    check_refused();
    check_eq(unlink(log_path), 0);
    check_eq(mkdir(log_path, 0755), 0);
    check_refused();
    check_eq(rmdir(log_path), 0);
    check_eq(mkfifo(log_path, 0644), 0);
    check_refused();
    check_eq(unlink(log_path), 0);
    check_eq(rename(kept, log_path), 0);
    check_recovered();
}

static void a_log_of_another_version_or_file(void **state)
{
    char *log;
    int64_t bytes;
    void *content;
    sqlite3 *db;
    struct child child;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    crash();
    bytes = file_read(log_path, &content);
    log = content;
    for (int at = 0; at < 16; at += 4) { /* magic and version are in the first bytes */
        log[at] ^= 0x40;
        log[4096 + at] ^= 0x40;
        file_write(log_path, log, (uint64_t)bytes);
        check_refused();
        log[at] ^= 0x40;
        log[4096 + at] ^= 0x40;
    }
    file_write(log_path, log, (uint64_t)bytes);
    free(content);
    check_recovered();
    /* A log that was left beside a name which has another database now. */
    crash();
    check_eq(rename(log_path, scratch_file(&scratch, "log")), 0);
    check_eq(unlink(scratch.path), 0);
    make_database();
    check_eq(rename(scratch_file(&scratch, "log"), log_path), 0);
    db = NULL;
    (void)sql_open_try(scratch.path, NULL, SQLITE_OPEN_READWRITE, &db);
    check(sql_try(db, "SELECT * FROM t") != SQLITE_OK);
    check(strstr(sql_text(db, "PRAGMA nvmmio_info"), "db-nvmmio") != NULL);
    (void)sqlite3_close(db);
    check_eq(unlink(log_path), 0);
    db = sql_open(scratch.path, NULL);
    check_eq(sql_int(db, "SELECT count(*) FROM t"), 1);
    sql_close(db);
    stock_reads(scratch.path, 0);
    /* The same while somebody is at work in it: his work goes on. */
    child_start(&child, write_and_wait, NULL);
    child_expect(&child, 'k');
    check_eq(try_all(scratch.path, sql_vfs, NULL, SQLITE_OPEN_READWRITE, true), SQLITE_OK);
    child_kill(&child);
    check_recovered();
}

static void shared_pages_that_are_none(void **state)
{
    static char noise[300000];
    uint64_t random = place_seed(__func__);

    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)random_next(&random);
    for (int how = 0; how < 6; how++) {
        check_note("how %d", how);
        crash();
        check_eq(unlink(share_path), 0);
        if (how < 4) /* made again from home and log */
            file_write(share_path, noise,
                       how == 0   ? 0
                       : how == 1 ? 100
                       : how == 2 ? sizeof(noise)
                                  : 4096);
        else if (how == 4)
            check_eq(symlink("victim", share_path), 0);
        else
            check_eq(mkdir(share_path, 0755), 0);
        if (how >= 4) {
            check_refused();
            check(!file_exists(scratch_file(&scratch, "victim")));
            check_eq(remove(share_path), 0);
        }
        check_recovered();
    }
}

static void renamed_and_removed(void **state)
{
    const char *other = scratch_file(&scratch, "other");
    sqlite3 *db;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    /* Renamed without its log: refused until it has its old name, and its commits, again. */
    crash();
    check_eq(rename(scratch.path, other), 0);
    check(try_all(other, sql_vfs, NULL, SQLITE_OPEN_READWRITE, true) != SQLITE_OK);
    check(stock_elsewhere(other, "SELECT * FROM t", NULL, 0) != SQLITE_OK);
    check_eq(rename(other, scratch.path), 0);
    check_recovered();
    /* Removed under its log: what is made in its place is another file. */
    crash();
    check_eq(unlink(scratch.path), 0);
    check(try_all(scratch.path, sql_vfs, NULL, READ_WRITE, true) != SQLITE_OK);
    check_eq(unlink(log_path), 0);
    check_eq(try_all(scratch.path, sql_vfs, NULL, READ_WRITE, true), SQLITE_OK);
    stock_reads(scratch.path, 0);
    /* Moved while open: SQLite is told, as soon as it asks. */
    db = sql_open(scratch.path, NULL);
    sql_do(db, "CREATE TABLE v(v)");
    check_eq(rename(scratch.path, other), 0);
    {
        int moved = 0;

        check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved), SQLITE_OK);
        check_eq(moved, 1);
    }
    check_eq(rename(other, scratch.path), 0);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(paths_that_cannot_be),       T(files_that_are_no_databases),
        T(damaged_databases),          T(no_permission),
        T(read_only_connections),      T(no_lock_beside_another),
        T(logs_that_are_none),         T(a_log_of_another_version_or_file),
        T(shared_pages_that_are_none), T(renamed_and_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
