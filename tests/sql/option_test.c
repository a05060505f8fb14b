/* Options, PRAGMAs, functions, the default VFS, and the ways in which programs get to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sql/harness.h"

/* A member of what PRAGMA nvmmio_info or nvmmio_stats answers. */
static const char *member(sqlite3 *db, const char *pragma, const char *name)
{
    static char text[65536];

    (void)snprintf(text, sizeof(text), "%s", sql_text(db, "PRAGMA %s", pragma));
    check_eq(sql_int(db, "SELECT json_valid(%Q)", text), 1);
    return sql_text(db, "SELECT json_extract(%Q, '$.%q')", text, name);
}

static void good_options(void **state)
{
    static const struct {
        const char *query, *pragma, *value;
    } good[] = {
        {"medium=auto", "nvmmio_medium", "auto"},
        {"medium=ram", "nvmmio_medium", "ram"},
        {"log_bytes=1M", "nvmmio_log_bytes", "1048576"},
        {"log_bytes=262144", "nvmmio_log_bytes", "262144"},
        {"wal=delegate", "nvmmio_wal", "delegate"},
        {"wal=refuse", "nvmmio_wal", "refuse"},
        {"cache=private&mode=rwc&psow=1&app=mine", "nvmmio_wal", "delegate"},
    };

    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        sqlite3 *db = sql_open(scratch.path, good[i].query);

        sql_do(db, "CREATE TABLE IF NOT EXISTS t(v); INSERT INTO t VALUES(1)");
        check_text(sql_text(db, "PRAGMA %s", good[i].pragma), good[i].value);
        sql_close(db);
        stock_reads(scratch.path, 0);
    }
}

static void a_log_in_another_directory(void **state)
{
    const char *logs = scratch_file(&scratch, "logs");
    char query[800];
    sqlite3 *db;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    check_eq(mkdir(logs, 0755), 0);
    (void)snprintf(query, sizeof(query), "log_dir=%s", logs);
    db = sql_open(scratch.path, query);
    sql_do(db, "CREATE TABLE t(v)");
    check_text(sql_text(db, "PRAGMA nvmmio_log_dir"), logs);
    check(strncmp(member(db, "nvmmio_info", "log_path"), logs, strlen(logs)) == 0);
    check(!file_exists(scratch_file(&scratch, "db-nvmmio")));
    sql_close(db);
    stock_reads(scratch.path, 0);
    check_eq(rmdir(logs), 0); /* nothing is left in it */
}

static void bad_options(void **state)
{
    static const struct {
        const char *query, *word;
    } bad[] = {
        {"medium=tape", "medium"},        {"medium=sim", "medium"},
        {"log_bytes=1", "log_bytes"},     {"log_bytes=65G", "log_bytes"},
        {"log_bytes=abc", "log_bytes"},   {"log_bytes=", "log_bytes"},
        {"log_dir=/no/such", "/no/such"}, {"wal=maybe", "wal"},
        {"nvmmio_medium=ram", "nvmmio_"}, {"log_size=1M", "log_size"},
        {"nvmmio_fast=1", "nvmmio_fast"},
    };
    sqlite3 *info;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    sql_load();
    check_eq(sqlite3_open(":memory:", &info), SQLITE_OK);
    check_eq(sqlite3_enable_load_extension(info, 1), SQLITE_OK);
    check_eq(sqlite3_load_extension(info, sql_extension(), NULL, NULL), SQLITE_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        sqlite3 *db = NULL;
        int result = sql_open_try(scratch.path, bad[i].query,
                                  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);

        if (result == SQLITE_OK)
            result = sql_try(db, "CREATE TABLE t(v)");
        if (result == SQLITE_OK)
            check_fail("%s is accepted", bad[i].query);
        if (!strstr(sql_text(info, "SELECT nvmmio_info()"), bad[i].word))
            check_fail("%s: %s", bad[i].query, sql_text(info, "SELECT nvmmio_info()"));
        (void)sqlite3_close(db);
        check(!file_exists(scratch_file(&scratch, "db-nvmmio")));
        check(!file_exists(scratch.path) || file_bytes(scratch.path) == 0);
    }
    sql_close(info);
}

static void a_medium_that_cannot_be(void **state)
{
    sqlite3 *db = NULL;
    int result;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (place_kind() != PLACE_RAM && place_kind() != PLACE_PAGE)
        skip();
    result =
        sql_open_try(scratch.path, "medium=dax", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);
    if (result == SQLITE_OK)
        result = sql_try(db, "CREATE TABLE t(v)");
    check(result != SQLITE_OK);
    check(strstr(sql_text(db, "PRAGMA nvmmio_info"), "persistent") != NULL);
    (void)sqlite3_close(db);
    db = sql_open(scratch.path, NULL);
    sql_do(db, "CREATE TABLE t(v)");
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void info_tells_what_survives(void **state)
{
    static const char *const media[] = {"ram", "dax", "page"};
    sqlite3 *db = sql_open(scratch.path, NULL);
    int durable;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    sql_do(db, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    check_text(member(db, "nvmmio_info", "path"), scratch.path);
    check_text(member(db, "nvmmio_info", "mode"), "native");
    check_text(member(db, "nvmmio_info", "survives_process"), "1");
    if (place_kind() != PLACE_OTHER) {
        check_text(member(db, "nvmmio_info", "medium"), media[place_kind()]);
        check_text(member(db, "nvmmio_info", "survives_power"),
                   place_kind() == PLACE_PAGE ? "1" : "0");
    }
    check(member(db, "nvmmio_info", "why")[0] != '\0');
    check_text(member(db, "nvmmio_info", "marked"), "1");
    check_text(member(db, "nvmmio_info", "processes"), "1");
    check_text(member(db, "nvmmio_stats", "commits"), "2");
    sql_do(db, "INSERT INTO t VALUES(2); PRAGMA nvmmio_flush");
    check_text(member(db, "nvmmio_stats", "commits"), "3");
    durable = atoi(member(db, "nvmmio_info", "commits_durable"));
    check_eq(durable, atoi(member(db, "nvmmio_info", "commits")));
    sql_do(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(3)");
    check_text(member(db, "nvmmio_info", "mode"), "native");
    sql_do(db, "COMMIT; PRAGMA journal_mode = wal; INSERT INTO t VALUES(4)");
    check_text(member(db, "nvmmio_info", "mode"), "delegated");
    check(strstr(member(db, "nvmmio_info", "why"), "WAL") != NULL);
    check(sql_text(db, "PRAGMA nvmmio_stats")[0] == '{');
    sql_do(db, "PRAGMA journal_mode = delete");
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static void pragmas_that_are_none(void **state)
{
    sqlite3 *db = sql_open(scratch.path, NULL);

    (void)state;
    SKIP_UNLESS_NVMMIO();
    check_sql(db, SQLITE_ERROR, "PRAGMA nvmmio_nonsense");
    check(strstr(sqlite3_errmsg(db), "nvmmio_nonsense") != NULL);
    check_sql(db, SQLITE_ERROR, "PRAGMA nvmmio_medium = ram");
    check(strstr(sqlite3_errmsg(db), "medium=ram") != NULL);
    sql_do(db, "PRAGMA nonsense; CREATE TABLE t(v)");
    sql_close(db);
}

/* What VFS a plain name gets. */
static const char *vfs_of(sqlite3 *db)
{
    static char name[64];
    char *text = NULL;

    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &text), SQLITE_OK);
    (void)snprintf(name, sizeof(name), "%s", text ? text : "");
    sqlite3_free(text);
    return name;
}

static int role_plain(int argc, char **argv)
{
    sqlite3 *db;

    check_eq(argc, 2);
    sql_load();
    if (argv[1][0] == 'f') { /* by function, and back */
        check_eq(sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, "unix"), SQLITE_OK);
        check_eq(sqlite3_enable_load_extension(db, 1), SQLITE_OK);
        check_eq(sqlite3_load_extension(db, sql_extension(), NULL, NULL), SQLITE_OK);
        check_text(sql_text(db, "SELECT nvmmio_default_vfs(%c)", argv[1][1]),
                   argv[1][1] == '1' ? "nvmmio" : "unix");
        sql_close(db);
    }
    check_eq(sqlite3_open(argv[0], &db), SQLITE_OK);
    sql_do(db, "CREATE TABLE IF NOT EXISTS t(v); INSERT INTO t VALUES(1);"
               " CREATE TEMP TABLE u AS SELECT * FROM t");
    printf("%s", vfs_of(db));
    sql_close(db);
    check_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    sql_do(db, "CREATE TABLE t(v)");
    sql_close(db);
    return 0;
}

static void the_default_vfs(void **state)
{
    static const struct {
        const char *environment, *how, *want;
    } cases[] = {{NULL, "-", "unix"},
                 {"1", "-", "nvmmio"},
                 {"0", "-", "unix"},
                 {NULL, "f1", "nvmmio"},
                 {"1", "f0", "unix"}};
    char output[1024];

    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *const arguments[] = {"plain", scratch.path, cases[i].how, NULL};

        if (cases[i].environment)
            setenv("NVMMIO_DEFAULT_VFS", cases[i].environment, 1);
        check_eq(child_role(arguments, output, sizeof(output)), 0);
        unsetenv("NVMMIO_DEFAULT_VFS");
        check_text(output, cases[i].want);
        stock_reads(scratch.path, 0);
    }
}

static int role_options(int argc, char **argv)
{
    sqlite3 *db = NULL;
    int result;

    check_eq(argc, 2);
    result = sql_open_try(argv[0], argv[1], SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);
    if (result == SQLITE_OK)
        result = sql_try(db, "CREATE TABLE IF NOT EXISTS t(v)");
    if (result == SQLITE_OK)
        printf("%s", sql_text(db, "PRAGMA nvmmio_log_bytes"));
    else
        printf("refused");
    return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}

static void options_from_the_environment(void **state)
{
    const char *const plain[] = {"options", scratch.path, "app=1", NULL};
    const char *const both[] = {"options", scratch.path, "log_bytes=2M", NULL};
    char output[1024];

    (void)state;
    SKIP_UNLESS_NVMMIO();
    setenv("NVMMIO_LOG_BYTES", "1M", 1);
    check_eq(child_role(plain, output, sizeof(output)), 0);
    check_text(output, "1048576");
    check_eq(child_role(both, output, sizeof(output)), 0);
    check_text(output, "2097152"); /* the URI beats the environment */
    setenv("NVMMIO_LOG_BYTES", "lots", 1);
    check_eq(child_role(plain, output, sizeof(output)), 0);
    check_text(output, "refused");
    unsetenv("NVMMIO_LOG_BYTES");
}

/* As README tells people to do it. */
static void the_shell_and_python(void **state)
{
    char command[4000], output[4096];
    const char *const shell[] = {"sh", "-c", command, NULL};

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (PLACE_SANITIZED) /* those programs are not */
        skip();
    (void)snprintf(command, sizeof(command),
                   "sqlite3 :memory: '.load %.900s' '.open file:%s?vfs=nvmmio' 'CREATE TABLE t(v)'"
                   " 'INSERT INTO t VALUES(42)' 'SELECT v FROM t' 'PRAGMA nvmmio_info' 2>&1",
                   sql_extension(), scratch.path);
    check_eq(child_exec(shell, output, sizeof(output)), 0);
    check(strncmp(output, "42\n", 3) == 0);
    check(strstr(output, "\"native\"") != NULL);
    stock_reads(scratch.path, 0);
    if (access("/usr/bin/python3", X_OK) != 0)
        return;
    (void)snprintf(command, sizeof(command),
                   "/usr/bin/python3 -c \"import sqlite3; m = sqlite3.connect(':memory:');"
                   " m.enable_load_extension(True); m.load_extension('%.900s'); m.close();"
                   " d = sqlite3.connect('file:%s?vfs=nvmmio', uri=True);"
                   " d.execute('INSERT INTO t VALUES(43)'); d.commit();"
                   " print(d.execute('SELECT sum(v) FROM t').fetchone()[0]); d.close()\" 2>&1",
                   sql_extension(), scratch.path);
    check_eq(child_exec(shell, output, sizeof(output)), 0);
    check_text(output, "85\n");
    stock_reads(scratch.path, 0);
}

/* Two copies of the library in one process: their users exclude each other all the same. */
static void two_copies_of_the_library(void **state)
{
    const char *copy = scratch_file(&scratch, "copy/nvmmio.so");
    sqlite3 *first, *second, *loader;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    if (PLACE_SANITIZED) /* two of each global are an error to it */
        skip();
    first = sql_open(scratch.path, NULL);
    sql_do(first, "CREATE TABLE t(v); INSERT INTO t VALUES(1)");
    check_eq(mkdir(scratch_file(&scratch, "copy"), 0755), 0);
    file_copy(sql_extension(), copy);
    check_eq(sqlite3_vfs_unregister(sqlite3_vfs_find("nvmmio")), SQLITE_OK);
    check_eq(sqlite3_open_v2(":memory:", &loader, SQLITE_OPEN_READWRITE, "unix"), SQLITE_OK);
    check_eq(sqlite3_enable_load_extension(loader, 1), SQLITE_OK);
    check_eq(sqlite3_load_extension(loader, copy, NULL, NULL), SQLITE_OK);
    sql_close(loader);
    second = sql_open(scratch.path, NULL);
    check_eq(sql_int(second, "SELECT count(*) FROM t"), 1);
    for (int i = 0; i < 3; i++) {
        sql_do(first, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2)");
        check_sql(second, SQLITE_BUSY, "INSERT INTO t VALUES(3)");
        sql_do(first, "COMMIT");
        sql_do(second, "BEGIN EXCLUSIVE; INSERT INTO t VALUES(3)");
        check_sql(first, SQLITE_BUSY, "SELECT * FROM t");
        sql_do(second, "COMMIT");
        check_eq(sql_int(first, "SELECT count(*) FROM t"), 3 + 2 * i);
    }
    sql_close(second);
    sql_do(first, "INSERT INTO t VALUES(4)");
    check_eq(stock_elsewhere(scratch.path, "INSERT INTO t VALUES(9)", NULL, 0), SQLITE_BUSY);
    sql_close(first);
    stock_reads(scratch.path, 0);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(good_options),
        T(a_log_in_another_directory),
        T(bad_options),
        T(a_medium_that_cannot_be),
        T(info_tells_what_survives),
        T(pragmas_that_are_none),
        T(the_default_vfs),
        T(options_from_the_environment),
        T(the_shell_and_python),
        T(two_copies_of_the_library), /* last: the other copy stays registered */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    static const struct place_role roles[] = {
        {"plain", role_plain}, {"options", role_options}, {NULL, NULL}};

    return sql_main(argc, argv, run, roles);
}
