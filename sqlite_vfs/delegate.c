/*
 * delegate: the methods of a main database that is on the unix VFS, or of which
 * it is not known yet where it will be: that is decided whenever SQLite, holding
 * no lock, wants one (mode.c).
 */
#include <string.h>

#include "sqlite_vfs/internal.h"

static struct nv_database *database(sqlite3_file *file)
{
    return (struct nv_database *)file;
}

/* The unix file, once the lock that is owed (nv_mode_switch) has been had. */
static int unix_file(sqlite3_file *file, sqlite3_file **below)
{
    struct nv_database *db = database(file);

    *below = db->file;
    return NV_LIKELY(!db->owed) ? SQLITE_OK : nv_mode_pay(db);
}

/* A database that is delegated for good, and that some process now has on the engine. */
static int refuse_marked(struct nv_database *db, const void *buffer, int bytes)
{
    struct nv_page1 page1;

    if (bytes < NV_PAGE1_BYTES)
        return SQLITE_OK;
    memcpy(page1.bytes, buffer, sizeof page1.bytes);
    nv_page1_parse(&page1);
    if (!page1.marked)
        return SQLITE_OK;
    return nv_trouble_say(SQLITE_READONLY_RECOVERY,
                          "%s: a log of nvmmio holds commits that the file lacks, and it cannot "
                          "be used here (%s): open it where it can",
                          db->name, db->why);
}

static int delegated_read(sqlite3_file *file, void *buffer, int bytes, sqlite3_int64 offset)
{
    struct nv_database *db = database(file);
    struct nv_page1 page1;
    sqlite3_file *below;
    int code = unix_file(file, &below);

    if (code != SQLITE_OK)
        return code;
    code = below->pMethods->xRead(below, buffer, bytes, offset);
    if (NV_LIKELY(offset >= NV_PAGE1_BYTES) ||
        (code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ))
        return code;
    if (db->fixed) {
        int refused = offset == 0 ? refuse_marked(db, buffer, bytes) : SQLITE_OK;

        return refused == SQLITE_OK ? code : refused;
    }
    /* Without a lock SQLite reads the header as it opens the file, and home may carry the mark. */
    if (nv_level(db) == SQLITE_LOCK_NONE && nv_page1_read(db, &page1) == SQLITE_OK)
        nv_page1_unmark(&page1, buffer, bytes, offset);
    return code;
}

static int delegated_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    sqlite3_file *below;
    int code = unix_file(file, &below);

    return code == SQLITE_OK ? below->pMethods->xWrite(below, data, bytes, offset) : code;
}

static int delegated_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    sqlite3_file *below;
    int code = unix_file(file, &below);

    return code == SQLITE_OK ? below->pMethods->xTruncate(below, bytes) : code;
}

static int delegated_sync(sqlite3_file *file, int flags)
{
    sqlite3_file *below = database(file)->file;

    return below->pMethods->xSync(below, flags);
}

static int delegated_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    sqlite3_file *below = database(file)->file;

    return below->pMethods->xFileSize(below, bytes);
}

static int delegated_lock(sqlite3_file *file, int level)
{
    struct nv_database *db = database(file);
    sqlite3_file *below = db->file;
    int code;

    if (level <= nv_level(db) && !db->owed)
        return SQLITE_OK;
    if (nv_level(db) == SQLITE_LOCK_NONE) {
        nv_gate_enter(db);
        code = nv_mode_lock(db);
        if (code != SQLITE_OK) {
            nv_gate_leave(db);
            return code;
        }
        if (level == SQLITE_LOCK_SHARED)
            return SQLITE_OK;
        if (nv_native(db))
            return file->pMethods->xLock(file, level);
    }
    code = unix_file(file, &below);
    if (code == SQLITE_OK && level > nv_level(db))
        code = below->pMethods->xLock(below, level);
    if (code == SQLITE_OK && level > nv_level(db))
        nv_level_set(db, level);
    return code;
}

static int delegated_unlock(sqlite3_file *file, int level)
{
    struct nv_database *db = database(file);
    int code;

    if (db->owed > level)
        db->owed = level;
    code = db->file->pMethods->xUnlock(db->file, level);
    if (nv_level(db) > level)
        nv_level_set(db, level);
    else if (level == SQLITE_LOCK_NONE)
        return code; /* held nothing, so was not in the gate */
    if (level == SQLITE_LOCK_NONE)
        nv_gate_leave(db);
    return code;
}

static int delegated_reserved(sqlite3_file *file, int *reserved)
{
    sqlite3_file *below = database(file)->file;

    return below->pMethods->xCheckReservedLock(below, reserved);
}

static int delegated_sector_bytes(sqlite3_file *file)
{
    sqlite3_file *below = database(file)->file;

    return below->pMethods->xSectorSize(below);
}

static int delegated_characteristics(sqlite3_file *file)
{
    sqlite3_file *below = database(file)->file;

    return below->pMethods->xDeviceCharacteristics(below);
}

static int delegated_shm_map(sqlite3_file *file, int region, int bytes, int extend,
                             void volatile **address)
{
    sqlite3_file *below;
    int code = unix_file(file, &below);

    *address = NULL;
    if (code != SQLITE_OK)
        return code;
    return below->pMethods->xShmMap(below, region, bytes, extend, address);
}

static int delegated_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    sqlite3_file *below = database(file)->file;

    return below->pMethods->xShmLock(below, offset, count, flags);
}

static void delegated_shm_barrier(sqlite3_file *file)
{
    sqlite3_file *below = database(file)->file;

    below->pMethods->xShmBarrier(below);
}

static int delegated_shm_unmap(sqlite3_file *file, int remove)
{
    sqlite3_file *below = database(file)->file;

    return below->pMethods->xShmUnmap(below, remove);
}

static int delegated_fetch(sqlite3_file *file, sqlite3_int64 offset, int bytes, void **address)
{
    sqlite3_file *below;
    int code = unix_file(file, &below);

    *address = NULL;
    if (code != SQLITE_OK)
        return code;
    return below->pMethods->xFetch(below, offset, bytes, address);
}

static int delegated_unfetch(sqlite3_file *file, sqlite3_int64 offset, void *address)
{
    struct nv_database *db = database(file);

    if (address && db->fetched) { /* fetched from the engine */
        db->fetched--;
        return SQLITE_OK;
    }
    return db->file->pMethods->xUnfetch(db->file, offset, address);
}

const sqlite3_io_methods nv_delegated_methods = {
    .iVersion = 3,
    .xClose = nv_database_close,
    .xRead = delegated_read,
    .xWrite = delegated_write,
    .xTruncate = delegated_truncate,
    .xSync = delegated_sync,
    .xFileSize = delegated_size,
    .xLock = delegated_lock,
    .xUnlock = delegated_unlock,
    .xCheckReservedLock = delegated_reserved,
    .xFileControl = nv_database_control,
    .xSectorSize = delegated_sector_bytes,
    .xDeviceCharacteristics = delegated_characteristics,
    .xShmMap = delegated_shm_map,
    .xShmLock = delegated_shm_lock,
    .xShmBarrier = delegated_shm_barrier,
    .xShmUnmap = delegated_shm_unmap,
    .xFetch = delegated_fetch,
    .xUnfetch = delegated_unfetch,
};
