/* harness: see harness.h. */
#include "tests/sql/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *sql_vfs = "nvmmio";
const char *stock_vfs = "unix";
static bool sql_loaded;

bool sql_on_nvmmio(void)
{
    const char *vfs = getenv("NVMMIO_TEST_VFS");

    return !vfs || strcmp(vfs, "unix") != 0;
}

const char *sql_extension(void)
{
    static const char *const places[] = {"sqlite_vfs/nvmmio.so", "bazel-bin/sqlite_vfs/nvmmio.so"};
    static char path[1024];
    const char *name = getenv("NVMMIO_TEST_EXTENSION");

    for (size_t i = 0; !name && i < 2; i++)
        name = access(places[i], R_OK) == 0 ? places[i] : NULL;
    if (!name || !realpath(name, path))
        check_fail("no extension: give its path in NVMMIO_TEST_EXTENSION");
    return path;
}

void sql_load(void)
{
    sqlite3 *db;
    char *message = NULL;

    if (sql_loaded || !sql_on_nvmmio() || sqlite3_vfs_find("nvmmio")) /* or it is linked in */
        return;
    check_eq(sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, "unix"), SQLITE_OK);
    check_eq(sqlite3_enable_load_extension(db, 1), SQLITE_OK);
    if (sqlite3_load_extension(db, sql_extension(), NULL, &message) != SQLITE_OK)
        check_fail("%s: %s", sql_extension(), message ? message : "not loaded");
    check_eq(sqlite3_close(db), SQLITE_OK);
    check(sqlite3_vfs_find("nvmmio") != NULL);
    sql_loaded = true;
}

int open_try(const char *path, const char *vfs, const char *query, int flags, sqlite3 **db)
{
    char *uri =
        sqlite3_mprintf("file:%s?vfs=%s%s%s", path, vfs, query ? "&" : "", query ? query : "");
    int result;

    check(uri != NULL);
    result = sqlite3_open_v2(uri, db, flags | SQLITE_OPEN_URI, NULL);
    sqlite3_free(uri);
    return result;
}

int sql_open_try(const char *path, const char *query, int flags, sqlite3 **db)
{
    sql_load();
    return open_try(path, sql_vfs, query, flags, db);
}

/* The same where there is no connection to ask. */
static const char *last_words_of_open(void)
{
    static char words[600];
    sqlite3 *db = NULL;

    words[0] = '\0';
    if (sql_on_nvmmio() &&
        sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, "unix") == SQLITE_OK &&
        sqlite3_enable_load_extension(db, 1) == SQLITE_OK &&
        sqlite3_load_extension(db, sql_extension(), NULL, NULL) == SQLITE_OK)
        (void)snprintf(words, sizeof(words), "%s", sql_text(db, "SELECT nvmmio_info()"));
    (void)sqlite3_close(db);
    return words;
}

static sqlite3 *open_well(const char *path, const char *vfs, const char *query)
{
    sqlite3 *db = NULL;
    int result = open_try(path, vfs, query, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);

    if (result != SQLITE_OK)
        check_fail("open %s on %s: %s; %s", path, vfs, db ? sqlite3_errmsg(db) : "no memory",
                   last_words_of_open());
    (void)sqlite3_extended_result_codes(db, 1);
    return db;
}

sqlite3 *sql_open(const char *path, const char *query)
{
    sql_load();
    return open_well(path, sql_vfs, query);
}

sqlite3 *stock_open(const char *path, const char *query)
{
    return open_well(path, stock_vfs, query);
}

void sql_close(sqlite3 *db)
{
    int result = sqlite3_close(db);

    if (result != SQLITE_OK)
        check_fail("close: %s", sqlite3_errmsg(db));
}

static int run_statements(sqlite3 *db, const char *format, va_list arguments, char **sql)
{
    *sql = sqlite3_vmprintf(format, arguments);
    check(*sql != NULL);
    return sqlite3_exec(db, *sql, NULL, NULL, NULL);
}

/* What ours says of its last failure in this thread, for the message of a test that fails. */
static const char *last_words(sqlite3 *db)
{
    static _Thread_local char words[600];
    sqlite3_stmt *statement = NULL;
    const char *text = NULL;

    words[0] = '\0';
    if (sql_on_nvmmio() &&
        sqlite3_prepare_v2(db, "PRAGMA nvmmio_info", -1, &statement, NULL) == 0 &&
        sqlite3_step(statement) == SQLITE_ROW)
        text = (const char *)sqlite3_column_text(statement, 0);
    if (text)
        text = strstr(text, "\"last_error\"");
    if (text)
        (void)snprintf(words, sizeof(words), "%s", text);
    (void)sqlite3_finalize(statement);
    return words;
}

void sql_do(sqlite3 *db, const char *format, ...)
{
    va_list arguments;
    char *sql;

    va_start(arguments, format);
    if (run_statements(db, format, arguments, &sql) != SQLITE_OK) {
        char message[300];

        (void)snprintf(message, sizeof(message), "%s (%d)", sqlite3_errmsg(db),
                       sqlite3_extended_errcode(db));
        check_fail("%.200s: %s %s", sql, message, last_words(db));
    }
    va_end(arguments);
    sqlite3_free(sql);
}

int sql_try(sqlite3 *db, const char *format, ...)
{
    va_list arguments;
    char *sql;
    int result;

    va_start(arguments, format);
    result = run_statements(db, format, arguments, &sql);
    va_end(arguments);
    sqlite3_free(sql);
    return result & 0xff;
}

void sql_fails(const char *file, int line, sqlite3 *db, int want, const char *format, ...)
{
    va_list arguments;
    char *sql;
    int result;

    va_start(arguments, format);
    result = run_statements(db, format, arguments, &sql);
    va_end(arguments);
    if ((result & 0xff) != want)
        check_failed(file, line, "%.200s: %s (%d), not %s (%d)", sql,
                     result == SQLITE_OK ? "success" : sqlite3_errmsg(db), result,
                     sqlite3_errstr(want), want);
    sqlite3_free(sql);
}

void sql_retry(sqlite3 *db, const char *format, ...)
{
    va_list arguments;
    char *sql;
    int result;

    va_start(arguments, format);
    sql = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    do
        result = sqlite3_exec(db, sql, NULL, NULL, NULL);
    while ((result & 0xff) == SQLITE_BUSY);
    if (result != SQLITE_OK)
        check_fail("%.200s: %s (%d)", sql, sqlite3_errmsg(db), result);
    sqlite3_free(sql);
}

/* The first row of a query is left in the statement. */
static sqlite3_stmt *first_row(sqlite3 *db, const char *format, va_list arguments)
{
    char *sql = sqlite3_vmprintf(format, arguments);
    sqlite3_stmt *statement;

    check(sql != NULL);
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        check_fail("%.200s: %s (%d)", sql, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
    sqlite3_free(sql);
    return statement;
}

int64_t sql_int(sqlite3 *db, const char *format, ...)
{
    va_list arguments;
    sqlite3_stmt *statement;
    int64_t value;

    va_start(arguments, format);
    statement = first_row(db, format, arguments);
    va_end(arguments);
    value = sqlite3_column_int64(statement, 0);
    check_eq(sqlite3_finalize(statement), SQLITE_OK);
    return value;
}

const char *sql_text(sqlite3 *db, const char *format, ...)
{
    static char text[65536];
    va_list arguments;
    sqlite3_stmt *statement;
    const unsigned char *value;

    va_start(arguments, format);
    statement = first_row(db, format, arguments);
    va_end(arguments);
    value = sqlite3_column_text(statement, 0);
    (void)snprintf(text, sizeof(text), "%s", value ? (const char *)value : "");
    check_eq(sqlite3_finalize(statement), SQLITE_OK);
    return text;
}

static uint64_t digest_bytes(uint64_t digest, const void *data, size_t bytes)
{
    const unsigned char *at = data;

    for (size_t i = 0; i < bytes; i++)
        digest = (digest ^ at[i]) * UINT64_C(0x100000001b3);
    return (digest ^ bytes) * UINT64_C(0x100000001b3);
}

static uint64_t digest_query(sqlite3 *db, uint64_t digest, const char *sql)
{
    sqlite3_stmt *statement;
    int result;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        check_fail("%s: %s (%d)", sql, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const void *value = sqlite3_column_blob(statement, i);

            digest = digest_bytes(digest, value, (size_t)sqlite3_column_bytes(statement, i));
        }
    }
    if (result != SQLITE_DONE)
        check_fail("%s: %s (%d)", sql, sqlite3_errmsg(db), result);
    check_eq(sqlite3_finalize(statement), SQLITE_OK);
    return digest;
}

uint64_t sql_digest(sqlite3 *db)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    sqlite3_stmt *tables;

    sql_do(db, "SAVEPOINT digest"); /* one state for all of it */
    digest = digest_query(db, digest, "PRAGMA page_size");
    digest = digest_query(db, digest, "PRAGMA user_version");
    digest = digest_query(db, digest, "SELECT type, name, sql FROM sqlite_master ORDER BY name");
    check_eq(sqlite3_prepare_v2(db,
                                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
                                -1, &tables, NULL),
             SQLITE_OK);
    while (sqlite3_step(tables) == SQLITE_ROW) {
        char *sql = sqlite3_mprintf("SELECT rowid, * FROM %Q ORDER BY rowid",
                                    sqlite3_column_text(tables, 0));

        digest = digest_query(db, digest, sql);
        sqlite3_free(sql);
    }
    check_eq(sqlite3_finalize(tables), SQLITE_OK);
    sql_do(db, "RELEASE digest");
    return digest;
}

void sql_sound(sqlite3 *db)
{
    check_text(sql_text(db, "PRAGMA integrity_check"), "ok");
}

static int first_byte(const char *path)
{
    FILE *file = fopen(path, "r");
    int byte = file ? fgetc(file) : -1;

    if (file)
        (void)fclose(file);
    return byte;
}

void check_ordinary(const char *path)
{
    static const char *const ends[] = {"-nvmmio", "-nvmmio-shm", "-journal", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[1024];

        /* The stock VFS keeps journals; on ours they never reach the disk. */
        if (!sql_on_nvmmio() && strcmp(ends[i], "-journal") == 0)
            continue;
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        /* A death between the making of a child journal and the prepare leaves it, empty or cold
         * (its first byte is 0): every SQLite ignores it, and the next commit removes it. */
        if (strcmp(ends[i], "-journal") == 0 && file_exists(name) && first_byte(name) <= 0)
            continue;
        if (file_exists(name))
            check_fail("%s is still there", name);
    }
}

void stock_reads(const char *path, uint64_t digest)
{
    char text[256];
    sqlite3 *db;

    check_ordinary(path);
    db = stock_open(path, NULL);
    sql_sound(db);
    if (digest)
        check(sql_digest(db) == digest);
    sql_close(db);
    check_eq(stock_elsewhere(path, "PRAGMA integrity_check", text, sizeof(text)), SQLITE_OK);
    check_text(text, "ok");
}

/* A clean process: PATH VFS SQL; prints the result code and what was answered. */
static int role_query(int argc, char **argv)
{
    sqlite3_stmt *statement = NULL;
    sqlite3 *db = NULL;
    int result;

    check_eq(argc, 3);
    if (strcmp(argv[1], "unix") != 0)
        sql_load();
    result = open_try(argv[0], argv[1], NULL, SQLITE_OPEN_READWRITE, &db);
    if (result == SQLITE_OK)
        result = sqlite3_prepare_v2(db, argv[2], -1, &statement, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    printf("%d ", result == SQLITE_ROW || result == SQLITE_DONE ? SQLITE_OK : result & 0xff);
    if (result == SQLITE_ROW)
        printf("%s", sqlite3_column_text(statement, 0));
    else if (result != SQLITE_DONE)
        printf("%s", sqlite3_errmsg(db));
    (void)sqlite3_finalize(statement);
    return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}

int elsewhere(const char *path, const char *vfs, const char *sql, char *text, size_t text_bytes)
{
    const char *const arguments[] = {"query", path, vfs ? vfs : "unix", sql, NULL};
    char output[4096], *blank;

    if (child_role(arguments, output, sizeof(output)) != 0)
        check_fail("%s in another process: %s", sql, output);
    blank = strchr(output, ' ');
    check(blank != NULL);
    if (text)
        (void)snprintf(text, text_bytes, "%s", blank + 1);
    return atoi(output);
}

int stock_elsewhere(const char *path, const char *sql, char *text, size_t text_bytes)
{
    return elsewhere(path, "unix", sql, text, text_bytes);
}

sqlite3_file *sql_file(sqlite3 *db)
{
    sqlite3_file *file = NULL;

    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file), SQLITE_OK);
    check(file != NULL);
    return file;
}

int sql_main(int argc, char **argv, int (*tests)(void), const struct place_role *roles)
{
    struct place_role all[8] = {{"query", role_query}};

    for (size_t i = 1; roles && roles->name; roles++)
        all[i++] = *roles;
    if (!sql_on_nvmmio())
        sql_vfs = "unix";
    return place_main(argc, argv, tests, all);
}
