/*
 * harness: SQLite on nvmmio for tests that expect success, and a stock SQLite
 * beside it, in this process and in others.
 *
 * The extension comes from NVMMIO_TEST_EXTENSION, from the place where Bazel
 * puts it for a test, or from bazel-bin.  NVMMIO_TEST_VFS=unix runs everything
 * on the stock VFS instead: what a test expects of contents must hold there too;
 * what is nvmmio's own is skipped.
 *
 * A file is ours when it is opened with sql_open, stock when with stock_open.
 * Threads: as SQLite's connections.
 */
#ifndef TESTS_SQL_HARNESS_H
#define TESTS_SQL_HARNESS_H

#include <sqlite3.h>

#include "tests/core/check.h"
#include "tests/core/child.h"
#include "tests/core/place.h"

/* place_main with the roles of this harness; runs `tests` when the extension can be loaded. */
int sql_main(int argc, char **argv, int (*tests)(void), const struct place_role *roles);

bool sql_on_nvmmio(void);
#define SKIP_UNLESS_NVMMIO()                                                                       \
    do {                                                                                           \
        if (!sql_on_nvmmio())                                                                      \
            skip();                                                                                \
    } while (0)
/* Load the extension, once a process; children inherit it. */
void sql_load(void);
const char *sql_extension(void); /* its path */

/* The VFS that sql_open uses: nvmmio, unix, or a shim that a test put above it. */
extern const char *sql_vfs;
/* The one that stock_open uses: unix, or such a shim. */
extern const char *stock_vfs;

/* `query`: further URI parameters ("log_bytes=1M&..."), or NULL. */
sqlite3 *sql_open(const char *path, const char *query);
sqlite3 *stock_open(const char *path, const char *query);
/* The result code of open; *db is to be closed whatever it is. */
int sql_open_try(const char *path, const char *query, int flags, sqlite3 **db);
int open_try(const char *path, const char *vfs, const char *query, int flags, sqlite3 **db);
void sql_close(sqlite3 *db);

/* Statements; printf-like with sqlite3_mprintf's %q and %Q. */
void sql_do(sqlite3 *db, const char *format, ...);
int sql_try(sqlite3 *db, const char *format, ...); /* the primary result code */
int64_t sql_int(sqlite3 *db, const char *format, ...);
const char *sql_text(sqlite3 *db, const char *format, ...); /* valid until the next call */
/* The statement must fail with this primary code, in words. */
#define check_sql(db, want, ...) sql_fails(__FILE__, __LINE__, db, want, __VA_ARGS__)
void sql_fails(const char *file, int line, sqlite3 *db, int want, const char *format, ...);
/* Run it until it is not SQLITE_BUSY any more. */
void sql_retry(sqlite3 *db, const char *format, ...);

/* A number for all that can be read: schema, rows in their order, page size and user
 * version; application_id is left out, for tests that write it as a probe. */
uint64_t sql_digest(sqlite3 *db);
/* PRAGMA integrity_check says ok. */
void sql_sound(sqlite3 *db);

/* Nothing of ours beside the file, and no journal either. */
void check_ordinary(const char *path);
/*
 * The file is an ordinary one: nothing beside it, and a stock SQLite, in this
 * process and in another, finds it sound and with this digest (0: any).
 */
void stock_reads(const char *path, uint64_t digest);
/*
 * Run one query on a stock SQLite in a clean process (`vfs` NULL: unix).  Returns
 * the result code; what it answered, or the error message, goes to `text`.
 */
int elsewhere(const char *path, const char *vfs, const char *sql, char *text, size_t text_bytes);
int stock_elsewhere(const char *path, const char *sql, char *text, size_t text_bytes);

/* The SQLite file object of a connection's main file. */
sqlite3_file *sql_file(sqlite3 *db);

#endif
