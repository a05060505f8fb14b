/*
 * extension: how the library comes into a process, loaded or linked.
 *
 * Loaded: `sqlite3_load_extension("nvmmio")` calls sqlite3_nvmmio_init, which
 * registers the VFS, for good, and adds the SQL functions to that connection.
 * Linked: nvmmio_vfs_register and nvmmio_vfs_functions.
 */
#include <stdlib.h>
#include <string.h>

#include "sqlite_vfs/internal.h"
#include "sqlite_vfs/nvmmio_vfs.h"

static bool default_wanted(void)
{
    const char *value = secure_getenv("NVMMIO_DEFAULT_VFS");

    return value && strcmp(value, "1") == 0;
}

static bool version_fits(void)
{
    return sqlite3_libversion_number() >= NV_SQLITE_VERSION_MIN;
}

#ifdef SQLITE_CORE

int nvmmio_vfs_register(int make_default)
{
    int code = sqlite3_initialize();

    if (code != SQLITE_OK)
        return code;
    if (!version_fits())
        return SQLITE_ERROR;
    return nv_vfs_register(make_default || default_wanted());
}

int nvmmio_vfs_functions(struct sqlite3 *db)
{
    return nv_functions_register(db);
}

#else

const sqlite3_api_routines *sqlite3_api;

NVMMIO_API int sqlite3_nvmmio_init(sqlite3 *db, char **message, const sqlite3_api_routines *api);

int sqlite3_nvmmio_init(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    int code;

    /* One process can hold several SQLites, each with its VFSes: what this one has registered
     * must go on calling the one that it was registered with. */
    if (sqlite3_api && sqlite3_api != api) {
        if (message)
            *message = api->mprintf("nvmmio is already in use by another SQLite in this process");
        return SQLITE_ERROR;
    }
    sqlite3_api = api;
    if (!version_fits()) {
        if (message)
            *message = sqlite3_mprintf("nvmmio needs SQLite 3.32 or later, this is %s",
                                       sqlite3_libversion());
        return SQLITE_ERROR;
    }
    code = nv_vfs_register(default_wanted());
    if (code != SQLITE_OK) {
        if (message)
            *message = sqlite3_mprintf("nvmmio could not be registered: %s", sqlite3_errstr(code));
        return code;
    }
    code = nv_functions_register(db);
    return code == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : code;
}

#endif
