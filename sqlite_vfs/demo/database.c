#include "sqlite_vfs/demo/database.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int nv_database_load(const char *extension)
{
    sqlite3 *db = NULL;
    char *message = NULL;
    int result = sqlite3_open(":memory:", &db);
    if (result == SQLITE_OK)
        result = sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_load_extension(db, extension, NULL, &message);
    if (result != SQLITE_OK)
        fprintf(stderr, "%s: cannot load %s: %s\n", program_invocation_short_name, extension,
                message ? message : sqlite3_errstr(result));
    sqlite3_free(message);
    sqlite3_close(db);
    return result == SQLITE_OK ? 0 : -1;
}

int nv_database_fail(sqlite3 *db, const char *doing)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, doing,
            db ? sqlite3_errmsg(db) : "out of memory");
    return -1;
}

/* What silently ran on another VFS would prove nothing. */
static int check_vfs(sqlite3 *db)
{
    char *name = NULL;
    int result = sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name);
    bool ours = result == SQLITE_OK && name && strstr(name, "nvmmio");
    if (!ours)
        fprintf(stderr, "%s: the database is on the VFS %s, not on nvmmio\n",
                program_invocation_short_name, name ? name : "that does not tell its name");
    sqlite3_free(name);
    return ours ? 0 : -1;
}

int nv_database_open(const char *path, bool nvmmio, int flags, sqlite3 **db)
{
    if (sqlite3_open_v2(path, db, flags, nvmmio ? "nvmmio" : "unix") != SQLITE_OK)
        return nv_database_fail(*db, path);
    sqlite3_busy_timeout(*db, 10000);
    return nvmmio ? check_vfs(*db) : 0;
}

int nv_database_execute(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : nv_database_fail(db, sql);
}

int nv_database_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **statement)
{
    int result = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    return result == SQLITE_OK ? 0 : nv_database_fail(db, sql);
}
