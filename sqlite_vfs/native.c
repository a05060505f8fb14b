/*
 * native: the methods of a main database that is on the engine.
 *
 * Calls made while SQLite holds no lock are rare (it reads the header once as it
 * opens a file) and take another way: another thread may be about to make this
 * idle handle leave.
 */
#include <errno.h>
#include <string.h>

#include "sqlite_vfs/internal.h"

static struct nv_database *database(sqlite3_file *file)
{
    return (struct nv_database *)file;
}

static enum nvmmio_lock engine_level(int level)
{
    switch (level) {
    case SQLITE_LOCK_NONE:
        return NVMMIO_UNLOCKED;
    case SQLITE_LOCK_SHARED:
        return NVMMIO_SHARED;
    case SQLITE_LOCK_RESERVED:
        return NVMMIO_RESERVED;
    default:
        return NVMMIO_EXCLUSIVE;
    }
}

int nv_native_open(struct nv_database *db)
{
    struct nvmmio_options options = db->knobs.options;

    if (db->core)
        return 0;
    options.flags = NVMMIO_DEFER | (db->read_only ? NVMMIO_READ_ONLY : 0);
    options.mark = &nv_page1_mark;
    db->checked = false;
    db->allocated = 0;
    return nvmmio_open(db->name, &options, &db->core);
}

static int native_read(sqlite3_file *file, void *buffer, int bytes, sqlite3_int64 offset)
{
    struct nv_database *db = database(file);
    ssize_t count;

    if (NV_UNLIKELY(nv_level(db) == SQLITE_LOCK_NONE))
        return nv_delegated_methods.xRead(file, buffer, bytes, offset);
    count = nvmmio_pread(db->core, buffer, (size_t)bytes, (uint64_t)offset);
    if (NV_LIKELY(count == bytes))
        return SQLITE_OK;
    if (count < 0)
        return nv_trouble(db, (int)count, SQLITE_IOERR_READ, "read");
    memset((char *)buffer + count, 0, (size_t)(bytes - count));
    return SQLITE_IOERR_SHORT_READ;
}

static int native_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    struct nv_database *db = database(file);
    ssize_t count;

    if (NV_UNLIKELY(nv_level(db) == SQLITE_LOCK_NONE))
        return SQLITE_IOERR_WRITE;
    if (NV_UNLIKELY(db->super != NULL)) { /* the playback of a rollback */
        int code = nv_super_settle(db);

        if (code != SQLITE_OK)
            return code;
    }
    count = nvmmio_pwrite(db->core, data, (size_t)bytes, (uint64_t)offset);
    if (NV_UNLIKELY(count != bytes))
        return nv_trouble(db, count < 0 ? (int)count : 0, SQLITE_IOERR_WRITE, "write");
    if (offset <= NV_PAGE1_READ_VERSION && offset + bytes > NV_PAGE1_READ_VERSION)
        db->to_wal = ((const uint8_t *)data)[NV_PAGE1_READ_VERSION - offset] == 2;
    return SQLITE_OK;
}

static int native_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    struct nv_database *db = database(file);
    int error;

    if (nv_level(db) == SQLITE_LOCK_NONE)
        return SQLITE_IOERR_TRUNCATE;
    if (db->super) {
        int code = nv_super_settle(db);

        if (code != SQLITE_OK)
            return code;
    }
    error = nvmmio_truncate(db->core, (uint64_t)bytes);
    if (error)
        return nv_trouble(db, error, SQLITE_IOERR_TRUNCATE, "truncate");
    if (bytes == 0)
        db->to_wal = false;
    return SQLITE_OK;
}

static int native_sync(sqlite3_file *file, int flags)
{
    struct nv_database *db = database(file);

    (void)flags;
    if (NV_UNLIKELY(nv_level(db) == SQLITE_LOCK_NONE))
        return SQLITE_OK;
    return nv_phase_sync(db);
}

static int native_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    struct nv_database *db = database(file);
    int64_t size;

    if (NV_UNLIKELY(nv_level(db) == SQLITE_LOCK_NONE))
        return nv_delegated_methods.xFileSize(file, bytes);
    size = nvmmio_size(db->core);
    if (NV_UNLIKELY(size < 0))
        return nv_trouble(db, (int)size, SQLITE_IOERR_FSTAT, "tell the size");
    *bytes = size;
    return SQLITE_OK;
}

/* From no lock to SHARED.  Waits for at most a millisecond: SQLite's busy handler does the rest. */
static int native_lock_first(struct nv_database *db)
{
    int error;

    nv_gate_enter(db);
    if (NV_UNLIKELY(!db->core || !db->checked)) {
        int code = nv_mode_lock(db);

        if (code != SQLITE_OK)
            nv_gate_leave(db);
        return code;
    }
    error = nvmmio_lock(db->core, NVMMIO_SHARED, db->timeout_ms > 0 ? db->timeout_ms : 1);
    if (NV_UNLIKELY(error == -EIO)) {
        /* Nobody is served until all have left and one comes back.  We are idle: leave, come. */
        int code;

        (void)nv_trouble(db, error, SQLITE_IOERR_LOCK, "lock");
        nv_mode_leave(db);
        code = nv_mode_lock(db);
        if (code != SQLITE_OK)
            nv_gate_leave(db);
        return code;
    }
    if (NV_UNLIKELY(error)) {
        nv_gate_leave(db);
        return nv_trouble(db, error, SQLITE_IOERR_LOCK, "lock");
    }
    nv_level_set(db, SQLITE_LOCK_SHARED);
    return SQLITE_OK;
}

static int native_lock(sqlite3_file *file, int level)
{
    struct nv_database *db = database(file);
    int error;

    if (level <= nv_level(db))
        return SQLITE_OK;
    if (nv_level(db) == SQLITE_LOCK_NONE) {
        int code = native_lock_first(db);

        if (code != SQLITE_OK || level == SQLITE_LOCK_SHARED)
            return code;
        if (!nv_native(db))
            return file->pMethods->xLock(file, level);
    }
    error = nvmmio_lock(db->core, engine_level(level), db->timeout_ms);
    if (NV_LIKELY(!error)) {
        db->pending = false;
        nv_level_set(db, level);
        return SQLITE_OK;
    }
    if (level == SQLITE_LOCK_EXCLUSIVE)
        db->pending = true;
    return nv_trouble(db, error, SQLITE_IOERR_LOCK, "lock");
}

int nv_native_unlock(sqlite3_file *file, int level)
{
    struct nv_database *db = database(file);
    int code = SQLITE_OK;
    int error;

    if (level >= nv_level(db) && !db->pending)
        return SQLITE_OK;
    if (NV_UNLIKELY(db->super != NULL))
        code = nv_super_settle(db);
    if (NV_UNLIKELY(db->to_wal)) { /* the engine applies what is sealed, drops the rest */
        db->leave |= nvmmio_stage(db->core) == NVMMIO_SEALED;
        db->to_wal = false;
    }
    db->synced = false;
    if (NV_UNLIKELY(db->super_named))
        nv_super_unname(db);
    db->doubt = false;
    db->pending = false;
    error = nvmmio_unlock(db->core, engine_level(level));
    if (NV_UNLIKELY(db->super != NULL)) { /* it could not be settled, and is the engine's now */
        sqlite3_free(db->super);
        db->super = NULL;
    }
    nv_level_set(db, level);
    if (NV_UNLIKELY(error) && code == SQLITE_OK)
        code = nv_trouble(db, error, SQLITE_IOERR_UNLOCK, "unlock");
    if (level == SQLITE_LOCK_NONE) {
        if (NV_UNLIKELY(db->leave))
            nv_mode_leave(db);
        nv_gate_leave(db);
    }
    return code;
}

static int native_reserved(sqlite3_file *file, int *reserved)
{
    struct nv_database *db = database(file);
    bool taken = false;
    int error;

    *reserved = 0;
    if (nv_level(db) == SQLITE_LOCK_NONE)
        return SQLITE_OK;
    error = nvmmio_lock_reserved(db->core, &taken);
    if (error)
        return nv_trouble(db, error, SQLITE_IOERR_CHECKRESERVEDLOCK, "look at the locks");
    *reserved = taken;
    return SQLITE_OK;
}

static int native_sector_bytes(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

/*
 * Not SEQUENTIAL: SQLite would take it for its super-journals too.  Not ATOMIC:
 * it would change the default page size.
 */
static int native_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_SAFE_APPEND | SQLITE_IOCAP_BATCH_ATOMIC;
}

/* SQLite opened a WAL, so page 1 says WAL mode: be delegated from here on. */
static int native_shm_map(sqlite3_file *file, int region, int bytes, int extend,
                          void volatile **address)
{
    int code = nv_mode_switch(database(file));

    *address = NULL;
    if (code != SQLITE_OK)
        return code;
    return file->pMethods->xShmMap(file, region, bytes, extend, address);
}

static int native_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    (void)file;
    (void)offset;
    (void)count;
    return flags & SQLITE_SHM_UNLOCK ? SQLITE_OK : SQLITE_BUSY;
}

static void native_shm_barrier(sqlite3_file *file)
{
    (void)file;
    atomic_thread_fence(memory_order_seq_cst);
}

static int native_shm_unmap(sqlite3_file *file, int remove)
{
    (void)file;
    (void)remove;
    return SQLITE_OK;
}

static int native_fetch(sqlite3_file *file, sqlite3_int64 offset, int bytes, void **address)
{
    struct nv_database *db = database(file);
    const void *view;

    *address = NULL;
    if (nv_level(db) == SQLITE_LOCK_NONE || offset + bytes > db->fetch_bytes)
        return SQLITE_OK;
    if (nvmmio_view(db->core, (uint64_t)offset, (size_t)bytes, &view) == 0) {
        *address = (void *)(uintptr_t)view;
        db->fetched++;
    }
    return SQLITE_OK;
}

static int native_unfetch(sqlite3_file *file, sqlite3_int64 offset, void *address)
{
    (void)offset;
    if (address)
        database(file)->fetched--;
    return SQLITE_OK;
}

const sqlite3_io_methods nv_native_methods = {
    .iVersion = 3,
    .xClose = nv_database_close,
    .xRead = native_read,
    .xWrite = native_write,
    .xTruncate = native_truncate,
    .xSync = native_sync,
    .xFileSize = native_size,
    .xLock = native_lock,
    .xUnlock = nv_native_unlock,
    .xCheckReservedLock = native_reserved,
    .xFileControl = nv_database_control,
    .xSectorSize = native_sector_bytes,
    .xDeviceCharacteristics = native_characteristics,
    .xShmMap = native_shm_map,
    .xShmLock = native_shm_lock,
    .xShmBarrier = native_shm_barrier,
    .xShmUnmap = native_shm_unmap,
    .xFetch = native_fetch,
    .xUnfetch = native_unfetch,
};
