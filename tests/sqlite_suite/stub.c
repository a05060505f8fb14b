/*
 * Makes the loadable extension the default VFS of SQLite's testfixture, each
 * time that sqlite3_initialize runs (SQLITE_EXTRA_INIT).  A suite that ran on
 * another VFS in silence would prove nothing, so whatever goes wrong here ends
 * the process.
 *
 * Environment: NVMMIO_SUITE_VFS is the name that the default VFS must have
 * then; NVMMIO_SUITE_EXTENSION is the extension to load first, empty for none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "sqlite3.h"

int nvmmio_suite_init(const char *unused);

static void give_up(const char *what, const char *why)
{
    fprintf(stderr, "sqlite suite: %s: %s\n", what, why);
    abort();
}

int nvmmio_suite_init(const char *unused)
{
    const char *name = getenv("NVMMIO_SUITE_VFS");
    const char *extension = getenv("NVMMIO_SUITE_EXTENSION");
    sqlite3_vfs *vfs;
    sqlite3 *db = NULL;
    char *message = NULL;

    (void)unused;
    if (!name || !extension)
        give_up("environment", "NVMMIO_SUITE_VFS and NVMMIO_SUITE_EXTENSION are not set");
    /* It is there for good once it is loaded; and tests make memory fail in here. */
    vfs = *extension ? sqlite3_vfs_find(name) : NULL;
    if (vfs) {
        sqlite3_vfs_register(vfs, 1);
    } else if (*extension) {
        if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK ||
            sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL) != SQLITE_OK)
            give_up("cannot open a database in memory", sqlite3_errmsg(db));
        if (sqlite3_load_extension(db, extension, NULL, &message) != SQLITE_OK)
            give_up(extension, message ? message : "cannot be loaded");
        sqlite3_close(db);
    }
    vfs = sqlite3_vfs_find(NULL);
    if (!vfs || strcmp(vfs->zName, name) != 0)
        give_up("the default VFS is another", vfs ? vfs->zName : "none");
    if (*extension)
        nvmmio_suite_inject(vfs);
    return SQLITE_OK;
}
