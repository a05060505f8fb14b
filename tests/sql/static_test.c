/* The VFS linked into a program, with no extension loaded: sqlite_vfs/nvmmio_vfs.h. */
#include <sqlite3.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite_vfs/nvmmio_vfs.h"
#include "tests/core/check.h"
#include "tests/core/child.h"
#include "tests/core/place.h"

static void run_sql(sqlite3 *db, const char *sql)
{
    char *message = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        check_fail("%s: %s", sql, message);
}

static void check_vfs(sqlite3 *db, const char *want)
{
    char *name = NULL;

    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name), SQLITE_OK);
    check_text(name, want);
    sqlite3_free(name);
}

static void use_by_name(void *argument)
{
    sqlite3 *db;
    sqlite3_stmt *statement;

    (void)argument;
    check_eq(nvmmio_vfs_register(0), SQLITE_OK); /* before sqlite3_initialize */
    check_eq(nvmmio_vfs_register(0), SQLITE_OK); /* and again */
    check_eq(
        sqlite3_open_v2(scratch.path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "nvmmio"),
        SQLITE_OK);
    check_eq(nvmmio_vfs_functions(db), SQLITE_OK);
    run_sql(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1); SELECT nvmmio_stats();");
    check_vfs(db, "nvmmio");
    check_eq(sqlite3_prepare_v2(db, "SELECT nvmmio_info()", -1, &statement, NULL), SQLITE_OK);
    check_eq(sqlite3_step(statement), SQLITE_ROW);
    check(strstr((const char *)sqlite3_column_text(statement, 0), "native") != NULL);
    check_eq(sqlite3_finalize(statement), SQLITE_OK);
    check(file_exists(scratch_file(&scratch, "db-nvmmio")));
    check_eq(sqlite3_close(db), SQLITE_OK);
    check_text(scratch_list(&scratch), "db ");
    check_eq(sqlite3_open(scratch.path, &db), SQLITE_OK); /* the default is what it was */
    check_vfs(db, "unix");
    run_sql(db, "INSERT INTO t VALUES(2)");
    check_eq(sqlite3_close(db), SQLITE_OK);
}

static void use_by_default(void *argument)
{
    sqlite3 *db;

    if (argument) {
        setenv("NVMMIO_DEFAULT_VFS", "1", 1);
        check_eq(nvmmio_vfs_register(0), SQLITE_OK);
    } else {
        check_eq(nvmmio_vfs_register(1), SQLITE_OK);
    }
    check_eq(sqlite3_open(scratch.path, &db), SQLITE_OK);
    run_sql(db, "CREATE TABLE IF NOT EXISTS t(v); INSERT INTO t VALUES(1)");
    check_vfs(db, "nvmmio");
    check_eq(sqlite3_close(db), SQLITE_OK);
    /* Everything is made again after a shutdown. */
    check_eq(sqlite3_shutdown(), SQLITE_OK);
    check_eq(nvmmio_vfs_register(1), SQLITE_OK);
    check_eq(sqlite3_open(scratch.path, &db), SQLITE_OK);
    run_sql(db, "INSERT INTO t VALUES(1)");
    check_vfs(db, "nvmmio");
    check_eq(sqlite3_close(db), SQLITE_OK);
}

static void *register_and_open(void *argument)
{
    sqlite3 *db;

    (void)argument;
    check_eq(nvmmio_vfs_register(0), SQLITE_OK);
    check_eq(
        sqlite3_open_v2(scratch.path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "nvmmio"),
        SQLITE_OK);
    check_eq(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
    run_sql(db,
            "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS t(v); INSERT INTO t VALUES(1); COMMIT");
    check_eq(sqlite3_close(db), SQLITE_OK);
    return NULL;
}

static void use_in_threads(void *argument)
{
    pthread_t threads[8];

    (void)argument;
    for (size_t i = 0; i < 8; i++)
        check_eq(pthread_create(&threads[i], NULL, register_and_open, NULL), 0);
    for (size_t i = 0; i < 8; i++)
        check_eq(pthread_join(threads[i], NULL), 0);
}

/* Each in a process of its own: what is registered stays. */
static void linked_and_used_by_name(void **state)
{
    (void)state;
    child_run(use_by_name, NULL);
}

static void linked_and_used_by_default(void **state)
{
    (void)state;
    child_run(use_by_default, NULL);
    child_run(use_by_default, &scratch);
    check_text(scratch_list(&scratch), "db ");
}

static void registered_by_many_threads(void **state)
{
    (void)state;
    child_run(use_in_threads, NULL);
    check_text(scratch_list(&scratch), "db ");
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(linked_and_used_by_name),
        T(linked_and_used_by_default),
        T(registered_by_many_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
