/*
 * Options as text: nvmmio_option_set, URIs and PRAGMAs of the SQLite VFS.  What
 * is accepted is in its range, what is refused leaves the options as they were.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/nvmmio.h"
#include "sqlite_vfs/nvmmio_vfs.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_BYTES 512

static void set_option(const char *name, const char *value)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    const struct nvmmio_options before = options;
    int error = nvmmio_option_set(&options, name, value);

    if (error && memcmp(&options, &before, sizeof(before)) != 0)
        fuzz_fail("%s=%s is refused, and has an effect", name, value);
    if (error && !*nvmmio_last_error())
        fuzz_fail("%s=%s is refused without a word", name, value);
    if (options.medium > NVMMIO_MEDIUM_RAM ||
        (options.log_bytes &&
         (options.log_bytes < NVMMIO_LOG_BYTES_MIN || options.log_bytes > NVMMIO_LOG_BYTES_MAX)))
        fuzz_fail("%s=%s is accepted", name, value);
}

static void open_uri(const char *query)
{
    char uri[TEXT_BYTES + 256];
    sqlite3 *db = NULL;

    if (strstr(query, "modeof")) /* in which SQLite's unix VFS leaks memory (3.40) */
        return;
    (void)snprintf(uri, sizeof(uri), "file:%s?vfs=nvmmio&%s", FUZZ_HOME, query);
    if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                        NULL) == SQLITE_OK)
        (void)sqlite3_exec(db, "SELECT * FROM sqlite_schema", NULL, NULL, NULL);
    (void)sqlite3_close(db);
}

static void ask_pragma(sqlite3 *db, const char *name, const char *value)
{
    char full[TEXT_BYTES + 16];
    const char *arguments[4] = {NULL, full, value, NULL};

    (void)snprintf(full, sizeof(full), "nvmmio_%s", name);
    (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_PRAGMA, (void *)arguments);
    sqlite3_free((void *)(uintptr_t)arguments[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static sqlite3 *db;
    char text[TEXT_BYTES + 1] = "";
    char *value;

    if (!db && (nvmmio_vfs_register(0) != SQLITE_OK ||
                sqlite3_open_v2(fuzz_path("pragma"), &db,
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "nvmmio") != SQLITE_OK))
        fuzz_fail("no SQLite");
    memcpy(text, data, bytes < TEXT_BYTES ? bytes : TEXT_BYTES);
    open_uri(text);
    value = strchr(text, '=');
    if (value)
        *value++ = '\0';
    set_option(text, value ? value : "");
    set_option("log_bytes", text);
    ask_pragma(db, text, value);
    return 0;
}
