/*
 * mode: native or delegated?
 *
 * Asked whenever SQLite holds no lock and wants one, of a database that is not
 * one of the engine's users at that moment.  The answer is looked up without a
 * lock, then the lock that goes with it is taken (the engine's, or the unix
 * VFS's: they exclude each other), and under it the answer is looked up again.
 *
 *   home carries the mark           native: there may be commits to recover
 *   page 1 says WAL mode, or a WAL  delegated
 *   a hot journal                   delegated, for this transaction: what stock
 *                                   SQLite left is for the unix VFS to roll back,
 *                                   with home free of any mark
 *   read-only                       delegated, unless others have it on the engine
 *   else                            native
 *
 * Into WAL mode: the commit that says so goes through the engine, then every
 * handle of this process leaves it, which merges the log and removes the mark.
 * SQLite opens the WAL at its next lock, and finds the database delegated.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include "sqlite_vfs/internal.h"

#define NV_MODE_ROUNDS 4 /* of deciding, before the file counts as busy */

enum nv_verdict {
    NV_VERDICT_NATIVE,
    NV_VERDICT_NATIVE_MARKED, /* and no other way will do */
    NV_VERDICT_DELEGATED,
};

void nv_gate_enter(struct nv_database *db)
{
    int idle = NV_GATE_IDLE;

    while (NV_UNLIKELY(!atomic_compare_exchange_strong_explicit(
        &db->gate, &idle, NV_GATE_ENTERED, memory_order_acquire, memory_order_relaxed))) {
        nv_names_barrier(); /* whoever captured it holds that mutex until he is done */
        idle = NV_GATE_IDLE;
    }
}

static void mode_say_why(struct nv_database *db, const char *why)
{
    if (!db->fixed)
        sqlite3_snprintf(sizeof db->why, db->why, "%s", why);
}

void nv_mode_fix(struct nv_database *db, const char *why, ...)
{
    va_list arguments;

    va_start(arguments, why);
    sqlite3_vsnprintf(sizeof db->why, db->why, why, arguments);
    va_end(arguments);
    db->fixed = true;
}

static void mode_set(struct nv_database *db, bool native)
{
    atomic_store_explicit(&db->native, native, memory_order_relaxed);
    db->base.pMethods = native ? &nv_native_methods : &nv_delegated_methods;
}

static void mode_close(struct nv_database *db)
{
    int error = 0;

    if (db->core)
        error = nvmmio_close(db->core);
    db->core = NULL;
    db->checked = false;
    if (error) /* nothing is lost: whoever comes next does what is left */
        (void)nv_trouble(db, error, SQLITE_IOERR_CLOSE, "merge the log");
}

static void mode_close_idle(struct nv_database *other)
{
    int idle = NV_GATE_IDLE;

    if (!atomic_compare_exchange_strong_explicit(&other->gate, &idle, NV_GATE_CAPTURED,
                                                 memory_order_acquire, memory_order_relaxed))
        return;
    mode_close(other);
    nv_gate_leave(other);
}

void nv_mode_leave(struct nv_database *db)
{
    nv_names_others(db, mode_close_idle);
    mode_close(db);
    db->leave = false;
    mode_set(db, false);
}

/*
 * A process that was killed on its way into WAL mode may have left a log whose
 * commits home has, or a shared page, and nobody would come on the engine to remove
 * them.  They are only in the way: where they can't be removed, the next one tries.
 */
static void mode_clear_leftover(struct nv_database *db)
{
    struct nvmmio_options options = db->knobs.options;
    struct nvmmio_report report = {.struct_bytes = sizeof report};

    if (db->read_only || db->core || db->leftover_sought)
        return;
    db->leftover_sought = true;
    options.timeout_ms = 0;
    /* Without a mark to look for, home is not opened where there is nothing: its descriptor would
     * be kept, as closing it takes the unix VFS's locks along. */
    if (nvmmio_check(db->name, &options, &report) == 0 &&
        (report.state == NVMMIO_STATE_CRASHED || report.leftover)) {
        options.mark = &nv_page1_mark;
        if (nvmmio_recover(db->name, &options, NULL, NULL, NULL) == -EBUSY)
            db->leftover_sought = false;
    }
}

/* What the files say; needs no lock, and is no more than a guess without one. */
static int mode_judge(struct nv_database *db, enum nv_verdict *verdict)
{
    struct nv_page1 page1;
    enum nv_beside beside;
    int code = SQLITE_OK;

    *verdict = NV_VERDICT_DELEGATED;
    if (db->fixed)
        return SQLITE_OK;
    code = nv_page1_read(db, &page1);
    if (code != SQLITE_OK)
        return code;
    if (page1.marked) {
        *verdict = NV_VERDICT_NATIVE_MARKED;
        return SQLITE_OK;
    }
    if (page1.wal) {
        if (db->knobs.wal_refuse)
            return nv_trouble_say(SQLITE_CANTOPEN, "%s: in WAL mode, and wal=refuse", db->name);
        mode_clear_leftover(db);
        mode_say_why(db, "WAL mode");
        return SQLITE_OK;
    }
    if (db->read_only) {
        mode_say_why(db, "read-only");
        return SQLITE_OK;
    }
    code = nv_journal_look(db, &beside);
    if (code != SQLITE_OK)
        return code;
    db->cold_journal = beside == NV_BESIDE_COLD_JOURNAL;
    if (beside == NV_BESIDE_HOT_JOURNAL)
        mode_say_why(db, "a hot journal is there");
    else if (beside == NV_BESIDE_WAL)
        mode_say_why(db, "a WAL is there");
    else
        *verdict = NV_VERDICT_NATIVE;
    return SQLITE_OK;
}

/* The engine would not have it.  *again: it can be delegated instead. */
static int mode_refused(struct nv_database *db, int error, bool marked, bool *no_room, bool *again)
{
    int code = SQLITE_CANTOPEN;

    *again = false;
    if (error == -EBUSY)
        return SQLITE_BUSY;
    switch (-error) {
    case EACCES:
    case EPERM:
    case EROFS:
        if (marked)
            code = SQLITE_READONLY_RECOVERY;
        else
            *again = !db->knobs.log_dir;
        break;
    case EOPNOTSUPP:
        *again = !marked && db->knobs.options.medium == NVMMIO_MEDIUM_AUTO;
        break;
    case ENOSPC:
    case EDQUOT:
        *again = *no_room = !marked;
        break;
    case EIO:
        code = SQLITE_IOERR_LOCK;
        break;
    default:
        break;
    }
    if (!*again)
        return nv_trouble(db, error, code, "take part");
    if (*no_room)
        mode_say_why(db, "no space for a log");
    else
        nv_mode_fix(db, "%s", nvmmio_last_error());
    return SQLITE_OK;
}

/* Under the engine's SHARED lock: is this a database to be had natively?  *again: no. */
static int mode_verify(struct nv_database *db, bool *again)
{
    struct nv_page1 page1 = {{0}, false, false};
    enum nv_beside beside = NV_BESIDE_NOTHING;
    ssize_t count = nvmmio_pread(db->core, page1.bytes, sizeof page1.bytes, 0);
    int code = SQLITE_OK;

    *again = false;
    if (count < 0)
        return nv_trouble(db, (int)count, SQLITE_IOERR_READ, "read");
    nv_page1_parse(&page1);
    if (page1.marked)
        return nv_trouble_say(SQLITE_CANTOPEN,
                              "%s: it is marked as having a log of nvmmio, and the log is not at "
                              "its place: give log_dir, if it is elsewhere",
                              db->name);
    if (!db->read_only)
        code = nv_journal_look(db, &beside);
    if (code != SQLITE_OK)
        return code;
    db->cold_journal = beside == NV_BESIDE_COLD_JOURNAL;
    *again = page1.wal || beside == NV_BESIDE_HOT_JOURNAL || beside == NV_BESIDE_WAL;
    return SQLITE_OK;
}

/* Opened read-only: use what others have on the engine, but recover nothing. */
static int mode_check_live(struct nv_database *db)
{
    struct nvmmio_options options = db->knobs.options;
    struct nvmmio_report report = {.struct_bytes = sizeof report};
    int error;

    options.mark = &nv_page1_mark;
    error = nvmmio_check(db->name, &options, &report);
    if (error)
        return nv_trouble(db, error, SQLITE_READONLY_RECOVERY, "look at the log");
    if (report.state == NVMMIO_STATE_CRASHED)
        return nv_trouble_say(SQLITE_READONLY_RECOVERY,
                              "%s: a log of nvmmio holds commits that the file lacks, and it is "
                              "opened read-only: open it once for writing",
                              db->name);
    return SQLITE_OK;
}

static int mode_lock_native(struct nv_database *db, bool marked, bool *no_room, bool *again)
{
    int error = 0;
    int code = SQLITE_OK;

    *again = false;
    if (db->read_only && marked && !db->core)
        code = mode_check_live(db);
    if (code != SQLITE_OK)
        return code;
    error = nv_native_open(db);
    if (!error)
        error = nvmmio_lock(db->core, NVMMIO_SHARED, db->timeout_ms > 0 ? db->timeout_ms : 1);
    if (error) {
        code = mode_refused(db, error, marked, no_room, again);
        if (error != -EBUSY)
            mode_close(db);
        return code;
    }
    code = mode_verify(db, again);
    if (code != SQLITE_OK || *again) {
        nv_mode_leave(db);
        return code;
    }
    db->checked = true;
    mode_set(db, true);
    nv_level_set(db, SQLITE_LOCK_SHARED);
    return SQLITE_OK;
}

static int mode_lock_delegated(struct nv_database *db, bool no_room, bool *again)
{
    sqlite3_file *below = db->file;
    enum nv_verdict verdict = NV_VERDICT_DELEGATED;
    int code;

    *again = false;
    mode_close(db); /* before there is a lock: closing a descriptor drops those of the process */
    code = below->pMethods->xLock(below, SQLITE_LOCK_SHARED);
    if (code != SQLITE_OK)
        return code;
    if (!db->fixed)
        code = mode_judge(db, &verdict);
    *again = code == SQLITE_OK &&
             (verdict == NV_VERDICT_NATIVE_MARKED || (verdict == NV_VERDICT_NATIVE && !no_room));
    if (code != SQLITE_OK || *again) {
        (void)below->pMethods->xUnlock(below, SQLITE_LOCK_NONE);
        return code;
    }
    mode_set(db, false);
    nv_level_set(db, SQLITE_LOCK_SHARED);
    return SQLITE_OK;
}

int nv_mode_lock(struct nv_database *db)
{
    enum nv_verdict verdict;
    bool no_room = false;
    bool again = true;
    int code = SQLITE_OK;

    for (int round = 0; again && round < NV_MODE_ROUNDS; round++) {
        code = mode_judge(db, &verdict);
        if (code != SQLITE_OK)
            return code;
        if (verdict == NV_VERDICT_NATIVE_MARKED || (verdict == NV_VERDICT_NATIVE && !no_room)) {
            code = mode_lock_native(db, verdict == NV_VERDICT_NATIVE_MARKED, &no_room, &again);
            continue;
        }
        code = mode_lock_delegated(db, no_room, &again);
        /* Read-only, and somebody has it on the engine, without a mark so far: join him. */
        if (code == SQLITE_BUSY && db->read_only && !db->fixed)
            code = mode_lock_native(db, false, &no_room, &again);
    }
    return again ? SQLITE_BUSY : code;
}

int nv_mode_switch(struct nv_database *db)
{
    if (db->super || nvmmio_stage(db->core) != NVMMIO_CLEAN)
        return SQLITE_BUSY;
    db->owed = nv_level(db);
    db->pending = false;
    mode_say_why(db, "WAL mode");
    nv_mode_leave(db);
    return nv_mode_pay(db);
}

/* The close that was to merge the log failed: come and go once more. */
static int mode_merge(struct nv_database *db)
{
    int code = SQLITE_OK;
    int error = nv_native_open(db);

    if (!error)
        error = nvmmio_lock(db->core, NVMMIO_SHARED, 1);
    if (error)
        code = nv_trouble(db, error, SQLITE_IOERR_LOCK, "merge the log");
    mode_close(db);
    return code;
}

int nv_mode_pay(struct nv_database *db)
{
    sqlite3_file *below = db->file;
    struct nv_page1 page1 = {{0}, false, false};
    int code = nv_page1_read(db, &page1);

    if (code == SQLITE_OK && page1.marked)
        code = mode_merge(db);
    if (code == SQLITE_OK)
        code = below->pMethods->xLock(below, SQLITE_LOCK_SHARED);
    if (code != SQLITE_OK)
        return code;
    code = nv_page1_read(db, &page1);
    if (code == SQLITE_OK && page1.marked)
        code = SQLITE_BUSY;
    if (code == SQLITE_OK && db->owed > SQLITE_LOCK_SHARED)
        code = below->pMethods->xLock(below, db->owed);
    if (code == SQLITE_OK)
        db->owed = SQLITE_LOCK_NONE;
    else
        (void)below->pMethods->xUnlock(below, SQLITE_LOCK_NONE);
    return code;
}

int nv_mode_unlocked(struct nv_database *db, bool immutable)
{
    struct nv_page1 page1;
    int code = nv_page1_read(db, &page1);

    if (code != SQLITE_OK)
        return code;
    if (page1.marked)
        return nv_trouble_say(SQLITE_CANTOPEN,
                              "%s: a log of nvmmio holds commits that the file lacks: open it once "
                              "without %s",
                              db->name, immutable ? "immutable" : "nolock");
    nv_mode_fix(db, "%s=1", immutable ? "immutable" : "nolock");
    if (immutable)
        return SQLITE_OK;
    /* nolock: be the only one.  This lock, which is kept, keeps users of the engine out. */
    code = db->file->pMethods->xLock(db->file, SQLITE_LOCK_SHARED);
    if (code == SQLITE_BUSY)
        return nv_trouble_say(SQLITE_BUSY, "%s: nolock=1, and others have it open", db->name);
    return SQLITE_OK;
}
