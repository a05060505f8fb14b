/*
 * journal: the rollback journal as SQLite sees it.
 *
 * A native database's journal is the memory of its struct nv_database, whatever
 * SQLite does with the file object: opening it with SQLITE_OPEN_CREATE empties
 * it, closing it keeps it.  That it never shows on disk is no lie to anybody: a
 * stock SQLite cannot come to look while the database is native.
 *
 * Real journals are looked at here too: one that is hot, or a WAL, was left by a
 * stock SQLite and has to be dealt with on the unix VFS, before the database can
 * be native (mode.c).
 */
#include <string.h>

#include "sqlite_vfs/internal.h"

#define NV_JOURNAL_COUNT_BYTES 12 /* of SQLite's rewriting a header with the number of records */

struct nv_journal_file {
    sqlite3_file base;
    struct nv_database *db;
};

static struct nv_database *owner(sqlite3_file *file)
{
    return ((struct nv_journal_file *)file)->db;
}

static int journal_close(sqlite3_file *file)
{
    (void)file;
    return SQLITE_OK;
}

static int journal_read(sqlite3_file *file, void *buffer, int bytes, sqlite3_int64 offset)
{
    return nv_memjournal_read(&owner(file)->journal, buffer, bytes, offset);
}

/*
 * Finalising the journal is the commit of a database that has been prepared:
 * removing it, cutting it to nothing (journal_mode=TRUNCATE) or making its
 * header zeros (PERSIST, and locking_mode=EXCLUSIVE).
 */
static int journal_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    struct nv_database *db = owner(file);

    if (NV_UNLIKELY(db->super != NULL) && offset == 0 && bytes > 0 && *(const uint8_t *)data == 0) {
        int code = nv_super_settle(db);

        if (code != SQLITE_OK)
            return code;
    }
    /* At the beginning: the header of a new transaction, the zeros that end one, or, last before a
     * sync, the number of records. */
    if (NV_UNLIKELY(db->super_named) && offset == 0 && bytes != NV_JOURNAL_COUNT_BYTES)
        nv_super_unname(db);
    if (NV_UNLIKELY(nv_super_ends_name(data, bytes)) && offset > 0) {
        int code = nv_super_name(db, offset);

        if (code != SQLITE_OK)
            return code;
    }
    return nv_memjournal_write(&db->journal, data, bytes, offset);
}

static int journal_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    struct nv_database *db = owner(file);

    if (NV_UNLIKELY(db->super != NULL) && bytes == 0) {
        int code = nv_super_settle(db);

        if (code != SQLITE_OK)
            return code;
    }
    if (NV_UNLIKELY(db->super_named) && bytes == 0)
        nv_super_unname(db);
    return nv_memjournal_truncate(&db->journal, bytes);
}

static int journal_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    *bytes = owner(file)->journal.bytes;
    return SQLITE_OK;
}

static int journal_nothing(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return SQLITE_OK;
}

static int journal_reserved(sqlite3_file *file, int *reserved)
{
    (void)file;
    *reserved = 0;
    return SQLITE_OK;
}

static int journal_control(sqlite3_file *file, int operation, void *argument)
{
    (void)file;
    (void)operation;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int journal_sector_bytes(sqlite3_file *file)
{
    (void)file;
    return 512;
}

static int journal_characteristics(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_SAFE_APPEND;
}

static const sqlite3_io_methods journal_methods = {
    .iVersion = 1,
    .xClose = journal_close,
    .xRead = journal_read,
    .xWrite = journal_write,
    .xTruncate = journal_truncate,
    .xSync = journal_nothing,
    .xFileSize = journal_size,
    .xLock = journal_nothing,
    .xUnlock = journal_nothing,
    .xCheckReservedLock = journal_reserved,
    .xFileControl = journal_control,
    .xSectorSize = journal_sector_bytes,
    .xDeviceCharacteristics = journal_characteristics,
};

void nv_journal_open(struct nv_database *db, sqlite3_file *file, int flags, int *out_flags)
{
    struct nv_journal_file *journal = (struct nv_journal_file *)file;

    nv_memjournal_reset(&db->journal);
    if (NV_UNLIKELY(db->super_named))
        nv_super_unname(db);
    journal->base.pMethods = &journal_methods;
    journal->db = db;
    if (out_flags)
        *out_flags = flags;
}

int nv_journal_delete(struct nv_database *db, int sync_directory)
{
    sqlite3_vfs *base = nv_vfs_base();
    int code;

    if (NV_UNLIKELY(db->super != NULL)) {
        code = nv_super_settle(db);
        if (code != SQLITE_OK)
            return code;
    }
    nv_memjournal_reset(&db->journal);
    db->super_named = false;
    if (NV_LIKELY(!db->cold_journal))
        return SQLITE_OK;
    code = base->xDelete(base, db->journal_name, sync_directory);
    if (code == SQLITE_OK || code == SQLITE_IOERR_DELETE_NOENT) {
        db->cold_journal = false;
        code = SQLITE_OK;
    }
    return code;
}

static int exists(const char *name, bool *there)
{
    sqlite3_vfs *base = nv_vfs_base();
    int result = 0;
    int code = base->xAccess(base, name, SQLITE_ACCESS_EXISTS, &result);

    *there = result != 0;
    return code;
}

/* Hot is what SQLite takes for hot: it exists, and its first byte is not zero. */
static int look_at_journal(struct nv_database *db, enum nv_beside *beside)
{
    sqlite3_vfs *base = nv_vfs_base();
    sqlite3_file *file = sqlite3_malloc(base->szOsFile);
    uint8_t first = 0;
    int code;

    if (!file)
        return SQLITE_NOMEM;
    memset(file, 0, (size_t)base->szOsFile);
    code = base->xOpen(base, db->journal_name, file,
                       SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_JOURNAL, NULL);
    if (code == SQLITE_OK) {
        code = file->pMethods->xRead(file, &first, 1, 0);
        if (code == SQLITE_IOERR_SHORT_READ)
            code = SQLITE_OK;
        *beside = first ? NV_BESIDE_HOT_JOURNAL : NV_BESIDE_COLD_JOURNAL;
    } else if (code == SQLITE_CANTOPEN) {
        *beside = NV_BESIDE_HOT_JOURNAL; /* SQLite finds out */
        code = SQLITE_OK;
    }
    if (file->pMethods)
        file->pMethods->xClose(file);
    sqlite3_free(file);
    return code;
}

int nv_journal_look(struct nv_database *db, enum nv_beside *beside)
{
    bool there;
    int code;

    *beside = NV_BESIDE_NOTHING;
    code = exists(db->wal_name, &there);
    if (code == SQLITE_OK && there) {
        *beside = NV_BESIDE_WAL;
        return SQLITE_OK;
    }
    if (code == SQLITE_OK)
        code = exists(db->journal_name, &there);
    if (code == SQLITE_OK && there)
        code = look_at_journal(db, beside);
    return code;
}
