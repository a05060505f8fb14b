/*
 * place: a directory of its own for a test's databases, and SQL in one call.
 * Failures end the test (cmocka).
 */
#ifndef NV_TEST_VFS_PLACE_H
#define NV_TEST_VFS_PLACE_H

#include <sqlite3.h>

#define PLACE_PATH_BYTES 256

/* Made anew for each test, on memory if there is any. */
void place_make(void);
void place_remove(void);
/* The path of a file there; good until four more calls. */
const char *place_path(const char *name);
/* How many files there are. */
int place_count(void);
/* How many of them have this in their names. */
int place_count_of(const char *part);

sqlite3 *place_open(const char *name, const char *vfs);
void place_do(sqlite3 *db, const char *sql);
/* The code of what failed first, SQLITE_OK if nothing did. */
int place_try(sqlite3 *db, const char *sql);
sqlite3_int64 place_int(sqlite3 *db, const char *sql);

#endif
