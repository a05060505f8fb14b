/*
 * inject_sqlite: the failures of inject.h for SQLite itself, a shared library:
 * its allocator, and the system calls of its unix VFS.
 *
 * Threads: inject_into_sqlite before SQLite is initialized; the rest any.
 */
#ifndef TESTS_FAULTS_INJECT_SQLITE_H
#define TESTS_FAULTS_INJECT_SQLITE_H

#include <stdbool.h>

void inject_into_sqlite(void);
/* From now on: */
void inject_sqlite_begin(void);
/* Whether the call that failed first was SQLite's own. */
bool inject_in_stock(void);
/* Whether a read of SQLite's own failed, which it may call a damaged database (IOERR_CORRUPTFS). */
bool inject_read_failed(void);
/* Whether nothing that SQLite logged since the last of these calls has `name` in it. */
bool inject_named_nothing(const char *name);

/* The beginning of what it logged. */
const char *inject_log(void);

#endif
