/*
 * report: what nvmmio_info and nvmmio_stats answer, as JSON, one member a line,
 * so that people can read it and SQLite's own JSON functions too.
 */
#include "sqlite_vfs/internal.h"

static void add_string(sqlite3_str *out, const char *name, const char *value)
{
    sqlite3_str_appendf(out, ",\n  \"%s\": \"", name);
    for (const char *at = value; *at; at++) {
        unsigned char byte = (unsigned char)*at;

        if (byte == '"' || byte == '\\')
            sqlite3_str_appendchar(out, 1, '\\');
        if (byte < 0x20)
            sqlite3_str_appendf(out, "\\u%04x", byte);
        else
            sqlite3_str_appendchar(out, 1, *at);
    }
    sqlite3_str_appendchar(out, 1, '"');
}

static void add_number(sqlite3_str *out, const char *name, uint64_t value)
{
    sqlite3_str_appendf(out, ",\n  \"%s\": %llu", name, (unsigned long long)value);
}

static void add_bool(sqlite3_str *out, const char *name, bool value)
{
    sqlite3_str_appendf(out, ",\n  \"%s\": %s", name, value ? "true" : "false");
}

static sqlite3_str *begin(void)
{
    sqlite3_str *out = sqlite3_str_new(NULL);

    sqlite3_str_appendf(out, "{\n  \"version\": \"%s\"", nvmmio_version());
    return out;
}

static char *end(sqlite3_str *out)
{
    char last[512];

    nv_trouble_last(last, sizeof last);
    add_string(out, "last_error", last);
    sqlite3_str_appendall(out, "\n}");
    return sqlite3_str_finish(out);
}

static void add_engine(sqlite3_str *out, struct nv_database *db)
{
    struct nvmmio_info info = {.struct_bytes = sizeof info};
    int error = nvmmio_info(db->core, &info);

    if (error) {
        add_string(out, "why", nvmmio_strerror(error));
        return;
    }
    add_string(out, "medium", nvmmio_medium_name(info.home_medium));
    add_string(out, "log_medium", nvmmio_medium_name(info.log_medium));
    add_string(out, "why", info.why);
    add_bool(out, "forced", info.forced);
    add_bool(out, "survives_process", info.survives_process);
    add_bool(out, "survives_power", info.survives_power);
    add_bool(out, "read_only", info.read_only);
    add_bool(out, "marked", info.marked);
    add_bool(out, "poisoned", info.poisoned);
    add_number(out, "processes", info.processes);
    add_number(out, "commits", info.commits);
    add_number(out, "commits_durable", info.commits_durable);
    add_number(out, "bytes", info.home_bytes);
    add_number(out, "file_bytes", info.home_file_bytes);
    add_number(out, "log_bytes", info.log_bytes);
    add_number(out, "log_file_bytes", info.log_file_bytes);
    add_string(out, "log_path", info.log_path);
}

/*
 * Whether a database is native is known under a lock only, so one is taken if
 * SQLite holds none.  *lock: what that lock's call answered.
 */
static bool enter(struct nv_database *db, int *lock)
{
    *lock = SQLITE_OK;
    if (nv_level(db) != SQLITE_LOCK_NONE || db->fixed)
        return false;
    *lock = db->base.pMethods->xLock(&db->base, SQLITE_LOCK_SHARED);
    return *lock == SQLITE_OK;
}

static void leave(struct nv_database *db, bool entered)
{
    if (entered)
        (void)db->base.pMethods->xUnlock(&db->base, SQLITE_LOCK_NONE);
}

/* The mode; true: native, and the engine has more to say. */
static bool add_mode(sqlite3_str *out, struct nv_database *db, int lock)
{
    add_string(out, "path", db->name);
    if (lock != SQLITE_OK) {
        add_string(out, "mode", "unknown");
        add_string(out, "why", sqlite3_errstr(lock));
        return false;
    }
    if (nv_native(db)) {
        add_string(out, "mode", "native");
        return true;
    }
    add_string(out, "mode", "delegated");
    add_string(out, "why", db->why);
    add_bool(out, "read_only", db->read_only);
    return false;
}

char *nv_report_text(struct nv_database *db)
{
    sqlite3_str *out = begin();
    int lock;
    bool entered = enter(db, &lock);

    if (add_mode(out, db, lock))
        add_engine(out, db);
    leave(db, entered);
    return end(out);
}

static void add_counters(sqlite3_str *out, struct nv_database *db)
{
    struct nvmmio_stats stats = {.struct_bytes = sizeof stats};

    if (nvmmio_stats(db->core, &stats))
        return;
    add_number(out, "commits", stats.commits);
    add_number(out, "rollbacks", stats.rollbacks);
    add_number(out, "prepares", stats.prepares);
    add_number(out, "blocks", stats.blocks);
    add_number(out, "log_bytes", stats.log_bytes);
    add_number(out, "home_bytes", stats.home_bytes);
    add_number(out, "fences", stats.fences);
    add_number(out, "flushes", stats.flushes);
    add_number(out, "flush_waits", stats.flush_waits);
    add_number(out, "spills", stats.spills);
    add_number(out, "log_grows", stats.log_grows);
    add_number(out, "recoveries", stats.recoveries);
    add_number(out, "takeovers", stats.takeovers);
    add_number(out, "busy", stats.busy);
    add_number(out, "read_bytes", stats.read_bytes);
    add_number(out, "written_bytes", stats.written_bytes);
}

char *nv_report_stats_text(struct nv_database *db)
{
    sqlite3_str *out = begin();
    int lock;
    bool entered = enter(db, &lock);

    if (add_mode(out, db, lock))
        add_counters(out, db);
    leave(db, entered);
    return end(out);
}

char *nv_report_general_text(sqlite3 *connection)
{
    sqlite3_str *out = begin();
    sqlite3_vfs *standard = sqlite3_vfs_find(NULL);
    char *name = NULL;

    add_string(out, "mode", "not nvmmio");
    (void)sqlite3_file_control(connection, "main", SQLITE_FCNTL_VFSNAME, &name);
    add_string(out, "main_vfs", name ? name : "");
    sqlite3_free(name);
    add_bool(out, "registered", nv_vfs_find() != NULL);
    add_string(out, "default_vfs", standard ? standard->zName : "");
    return end(out);
}
