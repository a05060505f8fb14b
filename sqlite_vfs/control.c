/*
 * control: xFileControl of a main database, and its PRAGMAs.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "sqlite_vfs/internal.h"

#define NV_MOVED_INTERVAL_NS (50 * INT64_C(1000000))

static int below(struct nv_database *db, int operation, void *argument)
{
    return db->file->pMethods->xFileControl(db->file, operation, argument);
}

/*
 * Has the file been renamed or removed?  SQLite asks in every transaction, and
 * the answer costs a system call.  So there is one every 50 ms, and 16 in stock
 * for a database that is not busy.
 */
static int control_moved(struct nv_database *db, int *moved)
{
    struct timespec now;
    int64_t now_ns;
    int64_t earned;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    now_ns = (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    earned = (now_ns - db->moved_at_ns) / NV_MOVED_INTERVAL_NS;
    if (earned > 0) {
        db->moved_at_ns = now_ns;
        db->moved_checks = earned < NV_MOVED_CHECKS - db->moved_checks
                               ? db->moved_checks + (int)earned
                               : NV_MOVED_CHECKS;
    }
    *moved = 0;
    if (db->moved_checks == 0)
        return SQLITE_OK;
    db->moved_checks--;
    return below(db, SQLITE_FCNTL_HAS_MOVED, moved);
}

static int control_size_hint(struct nv_database *db, int64_t bytes)
{
    int error;

    if (db->chunk_bytes > 0)
        bytes = (bytes + db->chunk_bytes - 1) / db->chunk_bytes * db->chunk_bytes;
    if (bytes <= db->allocated || nv_level(db) == SQLITE_LOCK_NONE)
        return SQLITE_OK;
    error = nvmmio_allocate(db->core, (uint64_t)bytes);
    if (error) {
        /* Only a hint: a write that finds no room says so. */
        return error == -EOPNOTSUPP ? SQLITE_OK : nv_trouble(db, error, SQLITE_IOERR_WRITE, "grow");
    }
    db->allocated = bytes;
    return SQLITE_OK;
}

/* The limit is the unix VFS's to grant; it does not change while anything is fetched. */
static int control_mmap_size(struct nv_database *db, sqlite3_int64 *bytes)
{
    sqlite3_int64 granted = -1;
    int code;

    if (db->fetched)
        *bytes = -1;
    code = below(db, SQLITE_FCNTL_MMAP_SIZE, bytes);
    if (code == SQLITE_OK && below(db, SQLITE_FCNTL_MMAP_SIZE, &granted) == SQLITE_OK)
        db->fetch_bytes = granted;
    return code;
}

static int control_native(struct nv_database *db, int operation, void *argument)
{
    bool locked = nv_level(db) >= SQLITE_LOCK_SHARED;

    switch (operation) {
    case SQLITE_FCNTL_SYNC:
        return locked ? nv_phase_seal(db, argument) : SQLITE_OK;
    case SQLITE_FCNTL_COMMIT_PHASETWO:
        return locked ? nv_phase_end(db) : SQLITE_OK;
    case SQLITE_FCNTL_BEGIN_ATOMIC_WRITE:
    case SQLITE_FCNTL_COMMIT_ATOMIC_WRITE:
    case SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE:
        return locked ? nv_phase_batch(db, operation) : SQLITE_IOERR_BEGIN_ATOMIC;
    case SQLITE_FCNTL_SIZE_HINT:
        return control_size_hint(db, *(sqlite3_int64 *)argument);
    case SQLITE_FCNTL_LOCKSTATE:
        *(int *)argument = db->pending ? SQLITE_LOCK_PENDING : nv_level(db);
        return SQLITE_OK;
    case SQLITE_FCNTL_LAST_ERRNO:
        *(int *)argument = db->last_errno;
        return SQLITE_OK;
    case SQLITE_FCNTL_EXTERNAL_READER: /* of a WAL */
        *(int *)argument = 0;
        return SQLITE_OK;
    case SQLITE_FCNTL_VFSNAME:
        *(char **)argument = sqlite3_mprintf("%s", NV_VFS_NAME);
        return SQLITE_OK;
    default:
        return below(db, operation, argument);
    }
}

static int control_delegated(struct nv_database *db, int operation, void *argument)
{
    if (operation == SQLITE_FCNTL_VFSNAME) {
        /* Before the first lock nothing is decided. */
        const char *name =
            db->fixed || nv_level(db) != SQLITE_LOCK_NONE ? NV_VFS_NAME "/unix" : NV_VFS_NAME;

        *(char **)argument = sqlite3_mprintf("%s", name);
        return SQLITE_OK;
    }
    /* The unix VFS would make the file longer, and who knows whether it is its to use. */
    if (operation == SQLITE_FCNTL_SIZE_HINT && nv_level(db) == SQLITE_LOCK_NONE && !db->fixed)
        return SQLITE_OK;
    return below(db, operation, argument);
}

int nv_database_control(sqlite3_file *file, int operation, void *argument)
{
    struct nv_database *db = (struct nv_database *)file;

    switch (operation) {
    case SQLITE_FCNTL_HAS_MOVED:
        return control_moved(db, argument);
    case SQLITE_FCNTL_MMAP_SIZE:
        return control_mmap_size(db, argument);
    case SQLITE_FCNTL_LOCK_TIMEOUT: {
        int before = db->timeout_ms;

        db->timeout_ms = *(int *)argument;
        (void)below(db, operation, argument); /* a libsqlite3 without it ignores it */
        *(int *)argument = before;
        return SQLITE_OK;
    }
    case SQLITE_FCNTL_CHUNK_SIZE:
        db->chunk_bytes = *(int *)argument;
        return below(db, operation, argument);
    case SQLITE_FCNTL_PRAGMA:
        if (sqlite3_strnicmp(((char **)argument)[1], "nvmmio_", 7) == 0)
            return nv_control_pragma(db, argument);
        return below(db, operation, argument);
    case NV_FCNTL_INFO:
        *(char **)argument = nv_report_text(db);
        return *(char **)argument ? SQLITE_OK : SQLITE_NOMEM;
    case NV_FCNTL_STATS:
        *(char **)argument = nv_report_stats_text(db);
        return *(char **)argument ? SQLITE_OK : SQLITE_NOMEM;
    default:
        break;
    }
    return nv_native(db) ? control_native(db, operation, argument)
                         : control_delegated(db, operation, argument);
}

static int pragma_flush(struct nv_database *db, char **result)
{
    bool idle = nv_level(db) == SQLITE_LOCK_NONE;
    int error = 0;

    if (idle)
        nv_gate_enter(db);
    if (db->core && db->checked) /* else nothing waits to be flushed */
        error = nvmmio_flush(db->core);
    if (idle)
        nv_gate_leave(db);
    /* Always a text: SQLite names the column after it. */
    *result = sqlite3_mprintf("%s", error ? nvmmio_last_error() : "ok");
    return error ? nv_trouble(db, error, SQLITE_IOERR_FSYNC, "flush") : SQLITE_OK;
}

/* arguments: where the result or message goes, the name, the value or NULL. */
int nv_control_pragma(struct nv_database *db, char **arguments)
{
    const char *option = arguments[1] + strlen("nvmmio_");
    bool known = true;
    char *text = NULL;

    if (sqlite3_stricmp(option, "flush") == 0)
        return pragma_flush(db, &arguments[0]);
    if (sqlite3_stricmp(option, "info") == 0) {
        text = nv_report_text(db);
    } else if (sqlite3_stricmp(option, "stats") == 0) {
        text = nv_report_stats_text(db);
    } else {
        text = nv_knobs_text(&db->knobs, option, &known);
        if (known && arguments[2]) {
            sqlite3_free(text);
            arguments[0] = sqlite3_mprintf("%s is chosen when a database is opened: "
                                           "\"file:%s?vfs=nvmmio&%s=%s\"",
                                           arguments[1], db->name, option, arguments[2]);
            return SQLITE_ERROR;
        }
    }
    if (!known) {
        arguments[0] =
            sqlite3_mprintf("%s: there is no such pragma; there are nvmmio_info, _stats, "
                            "_flush, _medium, _log_dir, _log_bytes and _wal",
                            arguments[1]);
        return SQLITE_ERROR;
    }
    if (!text)
        return SQLITE_NOMEM;
    arguments[0] = text;
    return SQLITE_OK;
}
