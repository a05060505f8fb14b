/*
 * phase: the steps by which SQLite commits, and what the engine does at each.
 *
 *   FCNTL_SYNC            seal: all that can fail has been done
 *   xSync                 durable, and applied to home
 *   FCNTL_COMMIT_PHASETWO apply what is sealed (synchronous=OFF, where no xSync
 *                         comes), commit what was staged since (VACUUM and
 *                         auto-vacuum cut the file after they removed the journal)
 *   unlock                the engine applies what is sealed, drops the rest
 *
 * The playback of a rollback goes the same way, without the third.  Whatever
 * fails here fails so that SQLite rolls back in its normal way; then what is
 * staged is dropped at once, and the playback finds nothing to change.  But for
 * SQLITE_BUSY: SQLite may try such a COMMIT again, and its cache then holds the
 * pages for written, so that they must stay staged.
 *
 * A commit that failed is in doubt, and so the playback must fail too, even when it
 * has nothing to write: SQLite would take its cache for what recovery will find.
 */
#include <errno.h>

#include "sqlite_vfs/internal.h"

/* What was staged is committed, or will be at the unlock. */
static void phase_committed(struct nv_database *db)
{
    if (NV_UNLIKELY(db->to_wal)) {
        db->to_wal = false;
        db->leave = true;
    }
}

static void phase_drop(struct nv_database *db)
{
    int error = nvmmio_rollback(db->core);

    if (error)
        (void)nv_trouble(db, error, SQLITE_IOERR, "roll back");
    db->to_wal = false;
}

/*
 * Page 1 says WAL mode.  That switches the database to the unix VFS, whose locks
 * collide with every process that has it open here.
 */
static int phase_check_wal(struct nv_database *db)
{
    struct nvmmio_info info = {.struct_bytes = sizeof info};
    int error;

    if (db->knobs.wal_refuse) {
        phase_drop(db);
        return nv_trouble_say(SQLITE_PERM, "%s: wal=refuse: WAL mode is not allowed", db->name);
    }
    error = nvmmio_info(db->core, &info);
    if (error)
        return nv_trouble(db, error, SQLITE_IOERR, "look for other users");
    if (info.processes > 1)
        return SQLITE_BUSY;
    return SQLITE_OK;
}

static int phase_doubt(struct nv_database *db, int error, int otherwise, const char *what)
{
    db->doubt = true;
    db->to_wal = false;
    (void)nv_trouble(db, error, otherwise, what);
    return otherwise; /* SQLITE_FULL, say, would tell that nothing has happened */
}

static int phase_seal(struct nv_database *db)
{
    int error = nvmmio_seal(db->core);
    int code;

    if (NV_LIKELY(!error))
        return SQLITE_OK;
    code = nv_trouble(db, error, SQLITE_IOERR_WRITE, "write the log record of a commit");
    if (code != SQLITE_BUSY)
        phase_drop(db);
    return code;
}

int nv_phase_seal(struct nv_database *db, const char *super)
{
    if (NV_UNLIKELY(db->doubt))
        return SQLITE_IOERR_WRITE;
    if (NV_UNLIKELY(db->super != NULL)) {
        int code = nv_super_settle(db);

        if (code != SQLITE_OK)
            return code;
    }
    if (NV_UNLIKELY(db->to_wal)) {
        int code = phase_check_wal(db);

        /* SQLite does not expect BUSY in a commit over several files. */
        if (code == SQLITE_BUSY && super)
            code = SQLITE_IOERR_LOCK;
        if (code != SQLITE_OK)
            return code;
    }
    if (NV_UNLIKELY(super != NULL) && nvmmio_stage(db->core) != NVMMIO_CLEAN) {
        int code = nv_super_prepare(db, super);

        if (code != SQLITE_OK)
            phase_drop(db);
        return code;
    }
    return phase_seal(db);
}

/* Make everything staged durable and apply it. */
static int phase_commit(struct nv_database *db)
{
    int error = nvmmio_commit(db->core);

    if (NV_UNLIKELY(error)) /* the engine took the seal back */
        return phase_doubt(db, error, SQLITE_IOERR_FSYNC, "make a commit durable");
    phase_committed(db);
    return SQLITE_OK;
}

int nv_phase_sync(struct nv_database *db)
{
    if (NV_UNLIKELY(db->super != NULL))
        return SQLITE_OK; /* a prepare is durable by itself */
    db->synced = true;
    /* A VFS between SQLite and us may keep FCNTL_SYNC to itself. */
    if (NV_UNLIKELY(nvmmio_stage(db->core) == NVMMIO_STAGED)) {
        int code = phase_seal(db);

        if (code != SQLITE_OK)
            return code;
    }
    return phase_commit(db);
}

int nv_phase_end(struct nv_database *db)
{
    bool durable = db->synced;
    int error;
    int code;

    db->synced = false;
    if (NV_UNLIKELY(db->super != NULL))
        return nv_super_settle(db);
    switch (nvmmio_stage(db->core)) {
    case NVMMIO_STAGED:
        code = phase_seal(db);
        if (code != SQLITE_OK)
            return code;
        if (durable)
            return phase_commit(db);
        break;
    case NVMMIO_SEALED:
        break;
    default:
        return SQLITE_OK;
    }
    error = nvmmio_apply(db->core);
    if (error)
        return phase_doubt(db, error, SQLITE_IOERR_WRITE, "apply a commit");
    phase_committed(db);
    return SQLITE_OK;
}

/*
 * The batch-atomic controls, of an SQLite that is built with them: it writes no
 * journal then.  What was written is staged, and COMMIT has nothing to add:
 * FCNTL_SYNC follows it, perhaps after one more write, and is what commits (or
 * fails, and SQLite rolls back from its journal in memory).
 */
int nv_phase_batch(struct nv_database *db, int operation)
{
    int error;

    switch (operation) {
    case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
        return nvmmio_stage(db->core) == NVMMIO_CLEAN ? SQLITE_OK : SQLITE_IOERR_BEGIN_ATOMIC;
    case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
        /* Not a seal: a process that dies before FCNTL_SYNC must leave nothing of it. */
        return SQLITE_OK;
    default:
        db->to_wal = false;
        error = nvmmio_rollback(db->core);
        return error ? nv_trouble(db, error, SQLITE_IOERR_ROLLBACK_ATOMIC, "roll back") : SQLITE_OK;
    }
}
