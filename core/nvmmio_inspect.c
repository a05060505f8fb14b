/*
 * nvmmio_inspect: what a file, its log and its live counters say, and the operations on
 * whole files by name.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/error.h"
#include "core/handle.h"
#include "core/process_private.h"

/* ---- options ----------------------------------------------------------------------------------
 */

static int parse_bytes(const char *value, uint64_t *bytes)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (end == value || *value == '-' || errno)
        return -EINVAL;
    static const char units[] = "KMGT";
    const char *unit = *end ? strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if ((*end && (!unit || end[1])) || (shift && number >> (64 - shift)))
        return -EINVAL;
    *bytes = number << shift;
    return 0;
}

int nvmmio_option_set(struct nvmmio_options *options, const char *name, const char *value)
{
    if (strcmp(name, "medium") == 0) {
        for (int m = NVMMIO_MEDIUM_AUTO; m <= NVMMIO_MEDIUM_RAM; m++)
            if (strcmp(value, nvmmio_medium_name((enum nvmmio_medium)m)) == 0) {
                options->medium = (enum nvmmio_medium)m;
                return 0;
            }
        return nv_fail(-EINVAL, "medium=%s is unknown; use auto, dax, page or ram", value);
    }
    if (strcmp(name, "log_dir") == 0) {
        if (!*value)
            return nv_fail(-EINVAL, "log_dir needs the name of a directory");
        options->log_dir = value;
        return 0;
    }
    if (strcmp(name, "log_bytes") == 0) {
        uint64_t bytes = 0;
        if (parse_bytes(value, &bytes))
            return nv_fail(-EINVAL, "log_bytes=%s is not a number of bytes (as 4M)", value);
        if (bytes && (bytes < NVMMIO_LOG_BYTES_MIN || bytes > NVMMIO_LOG_BYTES_MAX))
            return nv_fail(-ERANGE, "log_bytes=%s is out of range; use 256K to 64G", value);
        options->log_bytes = bytes;
        return 0;
    }
    return nv_fail(-ENOENT, "option %s is unknown; there are medium, log_dir and log_bytes", name);
}

const char *nvmmio_medium_name(enum nvmmio_medium medium)
{
    static const char *const names[] = {"auto", "dax", "page", "ram", "sim"};
    return medium >= NVMMIO_MEDIUM_AUTO && medium <= NVMMIO_MEDIUM_SIM ? names[medium] : "?";
}

/* ---- a handle -----------------------------------------------------------------------------------
 */

int nvmmio_info(struct nvmmio *handle, struct nvmmio_info *info)
{
    *info = (struct nvmmio_info){.struct_bytes = sizeof *info};
    if (!nv_process_here(handle->process))
        return nv_fail(-ECHILD, "this handle belongs to the parent process");
    int error = nv_handle_join(handle, handle->timeout_ms);
    if (error)
        return error;
    struct nv_home *home = handle->home;
    const struct nv_shared *shared = home->share.shared;
    const struct nv_os *os = home->file.os;
    bool logged = atomic_load_explicit(&home->log_ready, memory_order_acquire);
    struct nv_file_stat stat;
    info->home_medium = home->probe.ops->kind;
    info->log_medium = logged ? home->log.probe.ops->kind : home->probe.ops->kind;
    info->forced = home->probe.forced;
    info->survives_process = true;
    info->survives_power =
        home->probe.survives_power && (!logged || home->log.probe.survives_power);
    info->marked = shared->mark_bytes && atomic_load(&shared->log_live);
    info->read_only = handle->read_only || home->passive;
    info->poisoned = atomic_load(&shared->health) != NV_HEALTH_GOOD;
    info->home_bytes = atomic_load(&shared->content_bytes);
    if (os->stat(&home->file, &stat) == 0)
        info->home_file_bytes = stat.bytes;
    if (atomic_load(&shared->log_live) && os->stat_path(os, home->log_path, &stat) == 0)
        info->log_file_bytes = stat.bytes;
    info->log_bytes = logged ? home->log.bound_bytes : home->settings.log_bytes;
    info->commits = atomic_load(&shared->applied);
    info->commits_durable = atomic_load(&shared->home_durable);
    info->processes = home->share.alone ? 1 : nv_share_population(&home->share);
    nv_text_copy(info->why, sizeof info->why, home->probe.why);
    nv_text_copy(info->log_path, sizeof info->log_path, home->log_path);
    return 0;
}

int nvmmio_stats(struct nvmmio *handle, struct nvmmio_stats *stats)
{
    *stats = (struct nvmmio_stats){.struct_bytes = sizeof *stats};
    if (!nv_process_here(handle->process))
        return nv_fail(-ECHILD, "this handle belongs to the parent process");
    int error = nv_handle_join(handle, handle->timeout_ms);
    if (!error)
        nv_share_sum(handle->home->share.shared, stats);
    return error;
}

/* ---- a file by name ---- */

static int names_of(const struct nv_os *os, const char *path, const struct nvmmio_options *options,
                    struct nv_file_stat *stat, char *page, char *log, size_t bytes)
{
    char real[PATH_MAX];
    int error = os->resolve(os, path, real, sizeof real);
    if (!error)
        error = os->stat_path(os, real, stat);
    if (error)
        return nv_fail(error, "%s: %s", path, nvmmio_strerror(error));
    const char *slash = strrchr(real, '/');
    int length = snprintf(page, bytes, "%s-nvmmio-shm", real);
    int log_length = options && options->log_dir
                         ? snprintf(log, bytes, "%s/%s.%llx-nvmmio", options->log_dir,
                                    slash ? slash + 1 : real, (unsigned long long)stat->id.inode)
                         : snprintf(log, bytes, "%s-nvmmio", real);
    return length < 0 || log_length < 0 || (size_t)length >= bytes || (size_t)log_length >= bytes
               ? nv_fail(-ENAMETOOLONG, "%s is too long a name", path)
               : 0;
}

int nvmmio_stats_live(const char *path, struct nvmmio_stats *stats)
{
    const struct nv_os *os = &nv_os_posix;
    struct nv_file_stat stat;
    struct nv_file file;
    const struct nv_shared *shared = NULL;
    char page[PATH_MAX + 32];
    char log[PATH_MAX + 32];
    *stats = (struct nvmmio_stats){.struct_bytes = sizeof *stats};
    int error = names_of(os, path, NULL, &stat, page, log, sizeof page);
    if (!error)
        error = nv_share_peek(os, page, &stat.id, &file, &shared);
    if (error == -ENOENT)
        return nv_fail(error, "%s is not open in any process", path);
    if (error)
        return error;
    nv_share_sum(shared, stats);
    nv_share_unpeek(&file, shared);
    return 0;
}

/* What the next open removes. */
static bool left_over(struct nv_home *home, const char *log_path, const struct nv_file_stat *stat)
{
    const struct nv_os *os = home->file.os;
    uint8_t raw[NVMMIO_MARK_BYTES] = {0};
    return os->pread(&home->file, raw, sizeof raw, 0) >= 0 &&
           nv_log_left_over(os, log_path, &stat->id, raw, stat->bytes);
}

static int report_log(struct nv_home *home, const char *log_path, const struct nv_file_stat *stat,
                      struct nvmmio_report *report)
{
    const struct nv_os *os = home->file.os;
    struct nv_log log;
    struct nv_scan scan;
    struct nv_file_stat log_stat;
    int error = nv_log_open(&log, os, log_path, &stat->id, false, NVMMIO_MEDIUM_AUTO);
    if (error == -ENOENT)
        return error;
    if (os->stat_path(os, log_path, &log_stat) == 0)
        report->log_file_bytes = log_stat.bytes;
    if (report->state == NVMMIO_STATE_PLAIN)
        report->state = NVMMIO_STATE_CRASHED;
    if (!error) {
        report->home_bytes = log.header.base_bytes;
        memset(&scan, 0, sizeof scan);
        if (log.header.state != NV_HEADER_EMPTY)
            error = nv_log_scan(&log, &scan);
        if (!error && scan.any) {
            report->home_bytes = scan.last_size;
            report->records = scan.last_seq - scan.tail;
            report->first_commit = scan.tail + 1;
            report->last_commit = scan.last_seq;
            for (uint32_t i = 0; i < NV_SEGMENTS; i++)
                if (scan.runs[i].last_seq > scan.tail)
                    report->replay_bytes += scan.runs[i].end - scan.runs[i].first;
        }
        report->prepared = !error && scan.prepare != 0;
        nv_log_close(&log);
    }
    if (error == -EUCLEAN && report->state != NVMMIO_STATE_LIVE &&
        left_over(home, log_path, stat)) {
        nv_text_copy(report->detail, sizeof report->detail,
                     "there is a log without content, of another file, which the next open, or "
                     "\"nvmmio recover\", removes");
        return 0;
    }
    if (error == -EUCLEAN && report->state != NVMMIO_STATE_LIVE) {
        report->state = NVMMIO_STATE_DAMAGED;
        nv_text_copy(report->detail, sizeof report->detail, nvmmio_last_error());
        return 0;
    }
    if (!error && report->state == NVMMIO_STATE_CRASHED)
        nv_text_copy(report->detail, sizeof report->detail,
                     "it was not closed; the next open, or \"nvmmio recover\", merges its log");
    return error;
}

/* Somebody of ours holds a byte, or this process has it open. */
static int find_users(struct nv_home *home, bool *live)
{
    enum nv_lock_holder holder = NV_HOLDER_NONE;
    uint64_t where;
    pthread_mutex_lock(&home->mutex);
    while (home->leaving)
        pthread_cond_wait(&home->left, &home->mutex);
    *live = home->members > 0;
    int error = *live || !home->file.os
                    ? 0
                    : home->file.os->lock_holder(&home->file, NV_BYTE_PROCESS, NV_PROCESSES_MAX,
                                                 &holder, &where);
    pthread_mutex_unlock(&home->mutex);
    *live = *live || holder == NV_HOLDER_OFD;
    return error;
}

/* The mark without the log. */
static void report_mark(struct nv_home *home, const struct nvmmio_mark *mark, const char *path,
                        struct nvmmio_report *report)
{
    uint8_t raw[NVMMIO_MARK_BYTES];
    ssize_t got = 0;
    pthread_mutex_lock(&home->mutex);
    if (home->file.os)
        got = home->file.os->pread(&home->file, raw, sizeof raw, 0);
    pthread_mutex_unlock(&home->mutex);
    if (got <= 0 || !nv_home_looks_marked(mark, raw, (size_t)got))
        return;
    report->state = NVMMIO_STATE_LOG_MISSING;
    (void)nv_fail(0, "%s is marked as having a log, and %s does not exist; give its directory",
                  path, report->log_path);
    nv_text_copy(report->detail, sizeof report->detail, nvmmio_last_error());
}

/* Neither a log nor a shared page. */
static bool alone(const struct nv_os *os, const char *page, const char *log)
{
    struct nv_file_stat stat;
    return os->stat_path(os, page, &stat) == -ENOENT && os->stat_path(os, log, &stat) == -ENOENT;
}

int nv_check(struct nv_process *process, const char *path, const struct nvmmio_options *options,
             struct nvmmio_report *report)
{
    const struct nv_os *os = nv_process_os(process);
    struct nvmmio_options asked = NVMMIO_OPTIONS_INIT;
    struct nv_file_stat stat = {.bytes = 0};
    struct nv_file_stat page_stat;
    struct nv_home *home = NULL;
    char page[PATH_MAX + 32];
    char log[PATH_MAX + 32];
    bool live = false;
    *report = (struct nvmmio_report){.struct_bytes = sizeof *report};
    if (options)
        asked.log_dir = options->log_dir;
    asked.flags = NVMMIO_READ_ONLY;
    int error = names_of(os, path, options, &stat, page, log, sizeof page);
    /* A descriptor that is taken to look into home may have to be kept (nv_home_release). */
    if (!error && !(options && options->mark) && alone(os, page, log)) {
        nv_text_copy(report->log_path, sizeof report->log_path, log);
        report->home_file_bytes = report->home_bytes = stat.bytes;
        return 0;
    }
    if (!error) /* through the table: a descriptor of our own would take others' locks with it */
        error = nv_home_acquire(process, path, &asked, &home);
    if (error)
        return error;
    error = find_users(home, &live);
    nv_text_copy(report->log_path, sizeof report->log_path, log);
    report->home_file_bytes = report->home_bytes = stat.bytes;
    report->state = live ? NVMMIO_STATE_LIVE : NVMMIO_STATE_PLAIN;
    report->leftover = !live && os->stat_path(os, page, &page_stat) == 0;
    if (!error)
        error = report_log(home, log, &stat, report);
    if (error == -ENOENT) {
        error = 0;
        if (!live && options && options->mark)
            report_mark(home, options->mark, path, report);
    }
    nv_home_release(home);
    return error;
}

int nv_recover(struct nv_process *process, const char *path, const struct nvmmio_options *options,
               nvmmio_progress *progress, void *context, struct nvmmio_report *report)
{
    struct nvmmio_report found;
    struct nvmmio_options defaults = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;
    if (options)
        defaults = *options;
    defaults.flags = NVMMIO_DEFER;
    int error = nv_check(process, path, options, &found);
    if (error)
        return error;
    if (found.state == NVMMIO_STATE_DAMAGED || found.state == NVMMIO_STATE_LOG_MISSING)
        error = nv_fail(-EUCLEAN, "%s", found.detail);
    if (!error && found.state == NVMMIO_STATE_LIVE)
        error = nv_fail(-EBUSY, "%s is open in another process, which has recovered it", path);
    if (!error)
        error = nv_open(process, path, &defaults, &handle);
    if (!error) {
        handle->home->progress = progress;
        handle->home->progress_context = context;
        error = nv_handle_join(handle, defaults.timeout_ms);
        handle->home->progress = NULL;
    }
    if (handle) {
        int closed = nvmmio_close(handle);
        error = error ? error : closed;
    }
    if (report)
        *report = found;
    return error;
}

/* Open the file, be its only user, and have its last close rename it to `to`, or remove it where
 * that is NULL: both happen behind the locked door, when the log is merged and gone. */
static int close_alone(struct nv_process *process, const char *path, const char *to)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;
    options.timeout_ms = 0;
    int error = nv_open(process, path, &options, &handle);
    if (error)
        return error;
    struct nv_home *home = handle->home;
    struct nv_farewell farewell = {.to = to, .error = -EBUSY};
    pthread_mutex_lock(&home->mutex);
    if (home->members == 1)
        home->farewell = &farewell;
    pthread_mutex_unlock(&home->mutex);
    error = nvmmio_close(handle);
    if (!error && farewell.error == -EBUSY)
        return nv_fail(-EBUSY, "%s is open elsewhere; close it first", path);
    return error ? error : farewell.error;
}

int nv_rename(struct nv_process *process, const char *from, const char *to)
{
    const struct nv_os *os = nv_process_os(process);
    char real[PATH_MAX];
    int error = os->resolve(os, to, real, sizeof real);
    int there = error ? 0 : nv_os_exists(os, real);
    if (error || there < 0)
        return nv_fail(error ? error : there, "%s: %s", to, nvmmio_strerror(error ? error : there));
    /* What is overwritten must not leave its log to the newcomer. */
    if (there)
        error = close_alone(process, real, real);
    if (!error)
        error = close_alone(process, from, real);
    if (!error)
        error = os->sync_directory(os, real);
    if (!error)
        error = os->sync_directory(os, from);
    return error;
}

int nv_unlink(struct nv_process *process, const char *path)
{
    const struct nv_os *os = nv_process_os(process);
    int error = close_alone(process, path, NULL);
    return error ? error : os->sync_directory(os, path);
}

int nvmmio_check(const char *path, const struct nvmmio_options *options,
                 struct nvmmio_report *report)
{
    struct nv_process *process = NULL;
    int error = nv_process_default(&process);
    return error ? error : nv_check(process, path, options, report);
}

int nvmmio_recover(const char *path, const struct nvmmio_options *options,
                   nvmmio_progress *progress, void *context, struct nvmmio_report *report)
{
    struct nv_process *process = NULL;
    int error = nv_process_default(&process);
    return error ? error : nv_recover(process, path, options, progress, context, report);
}

int nvmmio_rename(const char *from, const char *to)
{
    struct nv_process *process = NULL;
    int error = nv_process_default(&process);
    return error ? error : nv_rename(process, from, to);
}

int nvmmio_unlink(const char *path)
{
    struct nv_process *process = NULL;
    int error = nv_process_default(&process);
    return error ? error : nv_unlink(process, path);
}

int nvmmio_probe(const char *path, struct nvmmio_info *info)
{
    const struct nv_os *os = &nv_os_posix;
    struct nv_file file;
    struct nv_probe probe;
    char name[PATH_MAX];
    *info = (struct nvmmio_info){.struct_bytes = sizeof *info};
    if (snprintf(name, sizeof name, "%s/.nvmmio-probe-%ld", path, (long)getpid()) >=
        (int)sizeof name)
        return nv_fail(-ENAMETOOLONG, "%s is too long a name", path);
    int error = os->open(os, name, NV_OPEN_WRITE | NV_OPEN_CREATE | NV_OPEN_EXCLUSIVE, 0600, &file);
    if (error)
        return nv_fail(error, "cannot make a file in %s: %s", path, nvmmio_strerror(error));
    error = nv_medium_probe(&file, NVMMIO_MEDIUM_AUTO, &probe);
    (void)os->close(&file);
    (void)os->unlink(os, name);
    if (error)
        return nv_fail(error, "%s: %s", path, probe.why);
    info->home_medium = info->log_medium = probe.ops->kind;
    info->forced = probe.forced;
    info->survives_process = true;
    info->survives_power = probe.survives_power;
    nv_text_copy(info->why, sizeof info->why, probe.why);
    return 0;
}
