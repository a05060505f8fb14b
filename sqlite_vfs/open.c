/*
 * open: xOpen and xClose.
 */
#include <string.h>
#include <sys/stat.h>

#include "sqlite_vfs/internal.h"

static void database_identify(struct nv_database *db)
{
    struct stat status;

    if (stat(db->name, &status) != 0)
        return;
    db->device = status.st_dev;
    db->inode = status.st_ino;
}

static int database_set_up(struct nv_database *db, int out_flags)
{
    bool immutable = sqlite3_uri_boolean(db->name, "immutable", 0);
    int code = nv_knobs_read(&db->knobs, db->name);

    if (code != SQLITE_OK)
        return code;
    db->read_only = (out_flags & SQLITE_OPEN_READONLY) != 0;
    db->moved_checks = NV_MOVED_CHECKS;
    if (immutable || sqlite3_uri_boolean(db->name, "nolock", 0))
        code = nv_mode_unlocked(db, immutable);
    return code;
}

static int open_database(const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    sqlite3_vfs *base = nv_vfs_base();
    struct nv_database *db = (struct nv_database *)file;
    int opened = flags;
    int code;

    memset(db, 0, sizeof *db + (size_t)base->szOsFile);
    db->file = (sqlite3_file *)(db + 1);
    code = base->xOpen(base, name, db->file, flags, &opened);
    if (code != SQLITE_OK)
        goto failed;
    db->name = name;
    db->journal_name = sqlite3_filename_journal(name);
    db->wal_name = sqlite3_filename_wal(name);
    code = database_set_up(db, opened);
    if (code != SQLITE_OK)
        goto failed;
    database_identify(db);
    nv_names_add(db);
    db->base.pMethods = &nv_delegated_methods;
    if (out_flags)
        *out_flags = opened;
    return SQLITE_OK;
failed:
    if (db->file->pMethods)
        db->file->pMethods->xClose(db->file);
    nv_knobs_free(&db->knobs);
    db->base.pMethods = NULL;
    return code;
}

int nv_database_close(sqlite3_file *file)
{
    struct nv_database *db = (struct nv_database *)file;
    int code = SQLITE_OK;

    if (nv_level(db) == SQLITE_LOCK_NONE)
        nv_gate_enter(db);
    if (db->core) {
        int error;

        if (db->super)
            (void)nv_super_settle(db);
        if (db->super_named)
            nv_super_unname(db);
        error = nvmmio_close(db->core);
        if (error) /* nothing is lost: whoever comes next does what is left */
            (void)nv_trouble(db, error, SQLITE_IOERR_CLOSE, "merge the log");
        db->core = NULL;
    }
    nv_names_remove(db);
    code = db->file->pMethods->xClose(db->file);
    nv_memjournal_free(&db->journal);
    nv_knobs_free(&db->knobs);
    sqlite3_free(db->super);
    db->super = NULL;
    db->base.pMethods = NULL;
    return code;
}

int nv_vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    sqlite3_vfs *base = nv_vfs_base();
    struct nv_database *db;

    (void)vfs;
    if (!name)
        return base->xOpen(base, name, file, flags, out_flags);
    if (flags & SQLITE_OPEN_MAIN_JOURNAL) {
        db = nv_names_find(name);
        if (NV_UNLIKELY(!db) && (flags & SQLITE_OPEN_CREATE))
            db = nv_names_search(name);
        if (NV_LIKELY(db && nv_native(db) && (flags & SQLITE_OPEN_CREATE))) {
            nv_journal_open(db, file, flags, out_flags);
            return SQLITE_OK;
        }
    } else if (flags & SQLITE_OPEN_WAL) {
        db = nv_names_find(name);
        if (db && nv_native(db) && nv_level(db) >= SQLITE_LOCK_SHARED) {
            int code = nv_mode_switch(db);

            if (code != SQLITE_OK)
                return code;
        }
    } else if ((flags & SQLITE_OPEN_MAIN_DB) && !(flags & SQLITE_OPEN_DELETEONCLOSE)) {
        return open_database(name, file, flags, out_flags);
    }
    return base->xOpen(base, name, file, flags, out_flags);
}
