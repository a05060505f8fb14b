/*
 * superjournal: one commit over several databases (ATTACH).
 *
 * SQLite writes a super-journal, a real file, then tells each database its name
 * (FCNTL_SYNC), then removes it, which commits, and then ends each transaction.
 * A native database *prepares*: the engine's log holds the transaction durably,
 * with the rule that it counts if the super-journal is gone.
 *
 * The other databases may be anybody's, and a stock SQLite that rolls one back
 * removes the super-journal when no child journal names it any more.  If ours
 * were in memory alone, it would see none and so commit us.  So there is a real
 * child beside us: 512 zero bytes, which keep SQLite from taking it for hot, and
 * the name where SQLite looks for it.  A recovery that finds neither file cannot
 * know, and refuses.
 *
 * The child is made when SQLite writes the name into the journal in memory, before
 * it writes a page, and stays until that journal is at its end.  For a commit that
 * fails then is rolled back file by file; if the first to do so could take the
 * super-journal along, SQLite would play nothing back from the others: to it, theirs
 * would be the journals of a commit that happened.
 *
 * Crash: before the engine's prepare, a cold journal is left, which is swept up
 * later; after it, the engine's recovery decides and removes the child.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "sqlite_vfs/internal.h"

#define NV_CHILD_HEAD_BYTES 512

static const uint8_t child_magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};

bool nv_super_ends_name(const void *data, int bytes)
{
    return bytes == sizeof child_magic && memcmp(data, child_magic, sizeof child_magic) == 0;
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

/* 0, or -ENOENT when it is gone, or another error when that cannot be known. */
static int super_look(const char *super)
{
    return access(super, F_OK) == 0 ? 0 : -errno;
}

static int child_fill(sqlite3_file *file, const char *super)
{
    size_t length = strlen(super);
    size_t bytes = NV_CHILD_HEAD_BYTES + 4 + length + 16;
    uint8_t *child = sqlite3_malloc64(bytes);
    uint8_t *at;
    int32_t sum = 0; /* of signed bytes: that is the format */
    int code;

    if (!child)
        return SQLITE_IOERR_NOMEM;
    memset(child, 0, bytes);
    at = child + NV_CHILD_HEAD_BYTES;
    put32(at, 0x40000000 / 4096 + 1); /* the page of the lock bytes: never one of a journal's */
    at += 4;
    for (size_t i = 0; i < length; i++) {
        *at++ = (uint8_t)super[i];
        sum += (signed char)super[i];
    }
    put32(at, (uint32_t)length);
    put32(at + 4, (uint32_t)sum);
    memcpy(at + 8, child_magic, sizeof child_magic);
    code = file->pMethods->xTruncate(file, 0);
    if (code == SQLITE_OK)
        code = file->pMethods->xWrite(file, child, (int)bytes, 0);
    /* The unix VFS syncs the directory with a journal's first sync. */
    if (code == SQLITE_OK)
        code = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    sqlite3_free(child);
    return code;
}

static int child_make(struct nv_database *db, const char *super)
{
    sqlite3_vfs *base = nv_vfs_base();
    sqlite3_file *file = sqlite3_malloc(base->szOsFile);
    int code;

    if (!file)
        return SQLITE_IOERR_NOMEM;
    memset(file, 0, (size_t)base->szOsFile);
    code = base->xOpen(base, db->journal_name, file,
                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_JOURNAL, NULL);
    if (code == SQLITE_OK) {
        db->cold_journal = true;
        code = child_fill(file, super);
    }
    if (file->pMethods)
        file->pMethods->xClose(file);
    sqlite3_free(file);
    return code;
}

static void child_remove(struct nv_database *db)
{
    sqlite3_vfs *base = nv_vfs_base();
    int code = base->xDelete(base, db->journal_name, 0);

    if (code == SQLITE_OK || code == SQLITE_IOERR_DELETE_NOENT)
        db->cold_journal = false;
}

int nv_super_name(struct nv_database *db, int64_t end)
{
    uint8_t tail[8]; /* length and sum of the name before them */
    char *super = NULL;
    int64_t length;
    int code = SQLITE_CORRUPT;

    if (end > (int64_t)sizeof tail)
        code = nv_memjournal_read(&db->journal, tail, sizeof tail, end - (int64_t)sizeof tail);
    if (code != SQLITE_OK)
        return code;
    length = get32(tail);
    if (length == 0 || length > end - (int64_t)sizeof tail)
        return SQLITE_CORRUPT;
    super = sqlite3_malloc64((sqlite3_uint64)length + 1);
    if (!super)
        return SQLITE_IOERR_NOMEM;
    super[length] = '\0';
    code =
        nv_memjournal_read(&db->journal, super, (int)length, end - (int64_t)sizeof tail - length);
    if (code == SQLITE_OK)
        code = child_make(db, super);
    db->super_named = db->cold_journal;
    if (code != SQLITE_OK)
        nv_trouble_say(code, "%s: cannot write the child journal of a commit over several files",
                       db->journal_name);
    sqlite3_free(super);
    return code;
}

void nv_super_unname(struct nv_database *db)
{
    if (db->cold_journal)
        child_remove(db);
    db->super_named = false;
}

int nv_super_prepare(struct nv_database *db, const char *super)
{
    char *copy = sqlite3_mprintf("%s", super);
    int error;
    int code;

    if (!copy)
        return SQLITE_IOERR_NOMEM;
    code = db->super_named ? SQLITE_OK : child_make(db, super);
    if (code != SQLITE_OK) {
        nv_trouble_say(code, "%s: cannot write the child journal of a commit over several files",
                       db->journal_name);
        goto out;
    }
    error = nvmmio_prepare(db->core, super, db->journal_name);
    if (error) {
        code = nv_trouble(db, error, SQLITE_IOERR_FSYNC, "prepare a commit over several files");
        goto out;
    }
    db->super = copy;
    db->super_named = false; /* the child is the engine's now */
    return SQLITE_OK;
out:
    if (db->cold_journal && !db->super_named)
        child_remove(db);
    sqlite3_free(copy);
    return code;
}

/*
 * The file system decides, here as in recovery: the other databases go by it
 * too.  (An unlink of the super-journal that succeeded, and whose directory
 * could then not be synced, is reported to SQLite as a failure, and it rolls
 * back; but the journals of the others are then no longer hot.)
 */
int nv_super_settle(struct nv_database *db)
{
    int there = super_look(db->super);
    bool commit = there == -ENOENT;
    int error;

    if (there && !commit)
        return nv_trouble_say(SQLITE_IOERR_ACCESS, "%s: cannot tell whether it is there: %s",
                              db->super, nvmmio_strerror(there));
    error = nvmmio_resolve(db->core, commit);
    sqlite3_free(db->super);
    db->super = NULL;
    if (error)
        return nv_trouble(db, error, SQLITE_IOERR_FSYNC,
                          commit ? "commit over several files" : "take a prepared commit back");
    db->cold_journal = false; /* the engine removed the child */
    if (commit && db->to_wal)
        db->leave = true;
    db->to_wal = false;
    return SQLITE_OK;
}
