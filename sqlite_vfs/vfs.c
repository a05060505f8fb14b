/*
 * vfs: the VFS "nvmmio", over the VFS "unix".
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite_vfs/internal.h"

static pthread_mutex_t register_mutex = PTHREAD_MUTEX_INITIALIZER;

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
    struct nv_database *db = nv_names_find(name);
    int code;

    (void)vfs;
    if (NV_LIKELY(db && nv_native(db) && name == db->journal_name))
        return nv_journal_delete(db, sync_directory);
    code = nv_vfs_base()->xDelete(nv_vfs_base(), name, sync_directory);
    if (code == SQLITE_IOERR_DELETE_NOENT) { /* the journal of ours, asked for by a copied name? */
        db = nv_names_search(name);
        if (db)
            return nv_journal_delete(db, sync_directory);
    }
    return code;
}

/*
 * A native database has neither journal nor WAL on disk that SQLite need know
 * of: mode.c looked under the lock, and nobody can make one while it is native.
 */
static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    const struct nv_database *db = nv_names_find(name);

    (void)vfs;
    if (NV_LIKELY(db && nv_native(db) && nv_level(db) >= SQLITE_LOCK_SHARED)) {
        *result = 0;
        return SQLITE_OK;
    }
    return nv_vfs_base()->xAccess(nv_vfs_base(), name, flags, result);
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int bytes, char *out)
{
    (void)vfs;
    return nv_vfs_base()->xFullPathname(nv_vfs_base(), name, bytes, out);
}

static void *vfs_dl_open(sqlite3_vfs *vfs, const char *name)
{
    (void)vfs;
    return nv_vfs_base()->xDlOpen(nv_vfs_base(), name);
}

static void vfs_dl_error(sqlite3_vfs *vfs, int bytes, char *out)
{
    (void)vfs;
    nv_vfs_base()->xDlError(nv_vfs_base(), bytes, out);
}

static void (*vfs_dl_sym(sqlite3_vfs *vfs, void *library, const char *name))(void)
{
    (void)vfs;
    return nv_vfs_base()->xDlSym(nv_vfs_base(), library, name);
}

static void vfs_dl_close(sqlite3_vfs *vfs, void *library)
{
    (void)vfs;
    nv_vfs_base()->xDlClose(nv_vfs_base(), library);
}

static int vfs_randomness(sqlite3_vfs *vfs, int bytes, char *out)
{
    (void)vfs;
    return nv_vfs_base()->xRandomness(nv_vfs_base(), bytes, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return nv_vfs_base()->xSleep(nv_vfs_base(), microseconds);
}

static int vfs_current_time(sqlite3_vfs *vfs, double *days)
{
    (void)vfs;
    return nv_vfs_base()->xCurrentTime(nv_vfs_base(), days);
}

static int vfs_current_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *milliseconds)
{
    (void)vfs;
    return nv_vfs_base()->xCurrentTimeInt64(nv_vfs_base(), milliseconds);
}

static int vfs_last_error(sqlite3_vfs *vfs, int bytes, char *out)
{
    (void)vfs;
    return nv_vfs_base()->xGetLastError(nv_vfs_base(), bytes, out);
}

static int vfs_set_system_call(sqlite3_vfs *vfs, const char *name, sqlite3_syscall_ptr call)
{
    (void)vfs;
    return nv_vfs_base()->xSetSystemCall(nv_vfs_base(), name, call);
}

static sqlite3_syscall_ptr vfs_get_system_call(sqlite3_vfs *vfs, const char *name)
{
    (void)vfs;
    return nv_vfs_base()->xGetSystemCall(nv_vfs_base(), name);
}

static const char *vfs_next_system_call(sqlite3_vfs *vfs, const char *name)
{
    (void)vfs;
    return nv_vfs_base()->xNextSystemCall(nv_vfs_base(), name);
}

sqlite3_vfs nv_vfs = {
    .iVersion = 3,
    .zName = NV_VFS_NAME,
    .xOpen = nv_vfs_open,
    .xDelete = vfs_delete,
    .xAccess = vfs_access,
    .xFullPathname = vfs_full_pathname,
    .xDlOpen = vfs_dl_open,
    .xDlError = vfs_dl_error,
    .xDlSym = vfs_dl_sym,
    .xDlClose = vfs_dl_close,
    .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep,
    .xCurrentTime = vfs_current_time,
    .xGetLastError = vfs_last_error,
    .xCurrentTimeInt64 = vfs_current_time_ms,
    .xSetSystemCall = vfs_set_system_call,
    .xGetSystemCall = vfs_get_system_call,
    .xNextSystemCall = vfs_next_system_call,
};

sqlite3_vfs *nv_vfs_find(void)
{
    return sqlite3_vfs_find(NV_VFS_NAME);
}

static int vfs_set_up(void)
{
    sqlite3_vfs *base = sqlite3_vfs_find("unix");

    if (!base || base->iVersion < 3)
        return SQLITE_ERROR;
    if (nv_vfs.pAppData == base)
        return SQLITE_OK;
    nv_vfs.mxPathname = base->mxPathname;
    nv_vfs.szOsFile = (int)sizeof(struct nv_database) + base->szOsFile;
    nv_vfs.pAppData = base;
    return SQLITE_OK;
}

int nv_vfs_register(bool make_default)
{
    sqlite3_vfs *vfs;
    int code = SQLITE_OK;

    pthread_mutex_lock(&register_mutex);
    vfs = nv_vfs_find(); /* not ours, where the library is loaded and linked in one process */
    if (!vfs || vfs == &nv_vfs) {
        code = vfs_set_up();
        if (code == SQLITE_OK && !vfs)
            code = sqlite3_vfs_register(&nv_vfs, 0);
        vfs = &nv_vfs;
    }
    if (code == SQLITE_OK && make_default)
        code = sqlite3_vfs_register(vfs, 1);
    pthread_mutex_unlock(&register_mutex);
    return code;
}
