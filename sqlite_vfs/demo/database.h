/*
 * database: open a SQLite database through nvmmio's loadable extension or
 * through the stock VFS, and be sure of which it was.
 *
 * Errors are printed on stderr and come back as -1.
 */
#ifndef NV_DEMO_DATABASE_H
#define NV_DEMO_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>

/* Once in a process; it stays loaded for the life of the process. */
int nv_database_load(const char *extension);

/* `flags` as sqlite3_open_v2 has them.  *db is to be closed also after a failure. */
int nv_database_open(const char *path, bool nvmmio, int flags, sqlite3 **db);

int nv_database_execute(sqlite3 *db, const char *sql);
int nv_database_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **statement);

/* Print what the last call on `db` says, and return -1. */
int nv_database_fail(sqlite3 *db, const char *doing);

#endif
