#include "core/home.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"
#include "core/process_private.h"

#define HOME_STEP_BYTES ((uint64_t)2 << 20) /* grow so: whole huge pages on DAX */
#define HEAD_BYTES NVMMIO_MARK_BYTES

/* ---- the table ----------------------------------------------------------------------------- */

static bool same_file(const struct nv_file_id *a, const struct nv_file_id *b)
{
    return a->device == b->device && a->inode == b->inode && a->birth_ns == b->birth_ns;
}

static void home_free(struct nv_home *home)
{
    pthread_mutex_destroy(&home->flushing);
    pthread_mutex_destroy(&home->growth);
    pthread_cond_destroy(&home->left);
    pthread_mutex_destroy(&home->mutex);
    free(home->path);
    free(home->log_path);
    free(home->page_path);
    free(home);
}

void nv_home_abandon(struct nv_home *home)
{
    home_free(home);
}

static int sidecar_names(struct nv_home *home, const char *log_dir)
{
    if (asprintf(&home->page_path, "%s-nvmmio-shm", home->path) < 0)
        return -ENOMEM;
    if (!log_dir)
        return asprintf(&home->log_path, "%s-nvmmio", home->path) < 0 ? -ENOMEM : 0;
    const struct nv_os *os = home->process->os;
    const char *slash = strrchr(home->path, '/');
    char directory[PATH_MAX];
    /* Whole: processes with other current directories share it. */
    int error = os->resolve(os, log_dir, directory, sizeof directory);
    if (error)
        return nv_fail(error, "log_dir %s: %s", log_dir, nvmmio_strerror(error));
    int length = asprintf(&home->log_path, "%s/%s.%llx-nvmmio", directory,
                          slash ? slash + 1 : home->path, (unsigned long long)home->stat.id.inode);
    if (length >= (int)sizeof home->share.shared->log_path)
        return nv_fail(-ENAMETOOLONG, "the log's path %s is too long", home->log_path);
    return length < 0 ? -ENOMEM : 0;
}

/* What the first handle wants of the file; later ones share it. */
static int configure(struct nv_home *home, const char *path, const struct nvmmio_options *options)
{
    char *copy = strdup(path);
    if (!copy)
        return nv_fail(-ENOMEM, "out of memory");
    free(home->path);
    home->path = copy;
    home->settings = (struct nv_settings){
        .medium = options->medium,
        .log_bytes = options->log_bytes,
    };
    if (options->mark)
        home->settings.mark = *options->mark;
    free(home->log_path);
    free(home->page_path);
    home->log_path = home->page_path = NULL;
    return sidecar_names(home, options->log_dir);
}

static int home_open(struct nv_process *process, const char *path,
                     const struct nvmmio_options *options, struct nv_home **out)
{
    const struct nv_os *os = process->os;
    int flags = NV_OPEN_WRITE;
    if (options->flags & NVMMIO_CREATE)
        flags |= NV_OPEN_CREATE | (options->flags & NVMMIO_CREATE_NEW ? NV_OPEN_EXCLUSIVE : 0);
    struct nv_home *home = calloc(1, sizeof *home);
    if (!home)
        return nv_fail(-ENOMEM, "out of memory");
    pthread_mutex_init(&home->mutex, NULL);
    pthread_cond_init(&home->left, NULL);
    pthread_mutex_init(&home->growth, NULL);
    pthread_mutex_init(&home->flushing, NULL);
    home->process = process;
    int error = os->open(os, path, flags, options->mode, &home->file);
    if ((options->flags & NVMMIO_READ_ONLY) &&
        (error == -EACCES || error == -EROFS || error == -EPERM)) {
        home->passive = true;
        error = os->open(os, path, 0, 0, &home->file);
    }
    if (error) {
        home_free(home);
        return nv_fail(error, "cannot open %s: %s", path,
                       error == -EINVAL ? "not an ordinary file" : nvmmio_strerror(error));
    }
    error = os->stat(&home->file, &home->stat);
    if (!error)
        error = configure(home, path, options);
    if (error) {
        (void)os->close(&home->file);
        home_free(home);
        return error;
    }
    *out = home;
    return 0;
}

/* The table's entry for the file of this name, or NULL.  Never a second descriptor: closing it
 * would drop the locks of stock SQLite in this process. */
static int find(struct nv_process *process, const char *path, struct nv_home **out)
{
    struct nv_file_stat stat;
    *out = NULL;
    int error = process->os->stat_path(process->os, path, &stat);
    if (error)
        return error == -ENOENT
                   ? 0
                   : nv_fail(error, "cannot look at %s: %s", path, nvmmio_strerror(error));
    for (*out = process->homes; *out && !same_file(&(*out)->stat.id, &stat.id);)
        *out = (*out)->next;
    return 0;
}

/* There may be the right to write by now.  The old descriptor stays, for the sake of the locks that
 * would go with it. */
static void become_active(struct nv_home *home)
{
    const struct nv_os *os = home->process->os;
    struct nv_file file;
    if (home->older.os || os->open(os, home->path, NV_OPEN_WRITE, 0, &file) != 0)
        return;
    home->older = home->file;
    home->file = file;
    home->passive = false;
}

int nv_home_acquire(struct nv_process *process, const char *path,
                    const struct nvmmio_options *options, struct nv_home **out)
{
    const struct nv_os *os = process->os;
    char real[PATH_MAX];
    int error = os->resolve(os, path, real, sizeof real);
    if (error)
        return nv_fail(error, "%s: %s", path, nvmmio_strerror(error));
    struct nv_home *home = NULL;
    pthread_mutex_lock(&process->mutex);
    error = find(process, real, &home);
    /* Its descriptor is about to go: nobody may have another before. */
    while (!error && home && home->leaving) {
        pthread_cond_wait(&process->left, &process->mutex);
        error = find(process, real, &home);
    }
    if (home && (options->flags & NVMMIO_CREATE_NEW) && (options->flags & NVMMIO_CREATE))
        error = nv_fail(-EEXIST, "%s exists already", path);
    if (!home && !error) {
        error = home_open(process, real, options, &home);
        if (!error && home) {
            home->next = process->homes;
            process->homes = home;
        }
    } else if (!error && home->references == 0) {
        /* Left over from an open that did not come to a join. */
        error = configure(home, real, options);
        if (!error && home->passive && !(options->flags & NVMMIO_READ_ONLY))
            become_active(home);
    }
    if (!error && home && home->passive && !(options->flags & NVMMIO_READ_ONLY))
        error = nv_fail(-EACCES, "no permission to write %s", path);
    if (!error && home)
        home->references++;
    pthread_mutex_unlock(&process->mutex);
    *out = home;
    return error;
}

/* Caller holds the process's mutex. */
static void table_remove(struct nv_home *home)
{
    struct nv_home **link = &home->process->homes;
    while (*link && *link != home)
        link = &(*link)->next;
    if (*link)
        *link = home->next;
}

void nv_home_release(struct nv_home *home)
{
    struct nv_process *process = home->process;
    pthread_mutex_lock(&process->mutex);
    /* A descriptor whose byte we never had may share the inode with a stock SQLite connection of
     * this process, whose locks would go with it: it is kept for the next open instead. */
    if (--home->references == 0 && home->file.os == NULL) {
        table_remove(home);
        home_free(home);
    }
    pthread_mutex_unlock(&process->mutex);
}

/* ---- joining --------------------------------------------------------------------------------- */

static int read_raw(struct nv_home *home, uint8_t *raw, size_t bytes, size_t *got)
{
    ssize_t count = home->file.os->pread(&home->file, raw, bytes, 0);
    if (count < 0)
        return nv_fail((int)count, "cannot read %s: %s", home->path, nvmmio_strerror((int)count));
    memset(raw + count, 0, bytes - (size_t)count);
    *got = (size_t)count;
    return 0;
}

bool nv_home_looks_marked(const struct nvmmio_mark *mark, const uint8_t *raw, size_t bytes)
{
    bool any = false;
    for (size_t i = 0; i < mark->bytes; i++) {
        if (!mark->sign[i])
            continue;
        any = true;
        if (i >= bytes || raw[i] != mark->empty[i])
            return false;
    }
    return any;
}

/* What the shared page says of a home that has no log. */
static int page_fill(struct nv_home *home)
{
    struct nv_shared *shared = home->share.shared;
    struct nv_file_stat stat;
    uint8_t raw[HEAD_BYTES];
    size_t got = 0;
    int error = home->file.os->stat(&home->file, &stat);
    if (!error)
        error = read_raw(home, raw, sizeof raw, &got);
    if (error)
        return error;
    if (nv_home_looks_marked(&home->settings.mark, raw, got))
        return nv_fail(-EUCLEAN,
                       "%s is marked as having a log of nvmmio, which is not at %s: give the "
                       "directory where it is as log_dir",
                       home->path, home->log_path);
    shared->mark = home->settings.mark;
    shared->mark_bytes = home->settings.mark.bytes ? HEAD_BYTES : 0;
    memcpy(shared->head, raw, sizeof raw);
    snprintf(shared->log_path, sizeof shared->log_path, "%s", home->log_path);
    atomic_store(&shared->content_bytes, stat.bytes);
    shared->log_head = NV_HEADER_BYTES;
    return 0;
}

/* For one who cannot merge a log: 0 when there is none. */
static int look_for_log(struct nv_home *home, const char *why)
{
    int there = nv_os_exists(home->file.os, home->log_path);
    if (there > 0)
        return nv_fail(-EROFS, "%s has a log that must be merged first, and %s", home->path, why);
    return there == 0 ? 0
                      : nv_fail(there, "cannot look for the log %s: %s", home->log_path,
                                nvmmio_strerror(there));
}

/* Without the right to write: what lies there must be an ordinary file, and stay one. */
static int join_passive(struct nv_home *home)
{
    const struct nv_os *os = home->file.os;
    int error = os->lock(&home->file, NV_BYTE_PROCESS, NV_PROCESSES_MAX);
    if (error == -EAGAIN)
        return nv_fail(-EBUSY,
                       "%s is in use by others, and there is no permission to write, which "
                       "taking part with them needs",
                       home->path);
    if (error)
        return error;
    error = look_for_log(home, "there is no permission to write: run \"nvmmio recover\" on it "
                               "with that permission");
    if (!error)
        error = nv_share_private(&home->share);
    if (!error)
        error = page_fill(home);
    if (error) {
        if (home->share.shared)
            (void)nv_share_leave(&home->share, NULL, false);
        (void)os->unlock(&home->file, NV_BYTE_PROCESS, NV_PROCESSES_MAX);
    }
    return error;
}

static int join_first(struct nv_home *home, bool read_only)
{
    struct nv_shared *shared = home->share.shared;
    uint64_t recoveries = 0;
    int error = read_only ? look_for_log(home, "it is opened read-only: open it for writing, or "
                                               "run \"nvmmio recover\" on it")
                          : 0;
    if (error)
        return error;
    error = nv_recover_home(home, home->progress, home->progress_context);
    if (error == -ENOENT)
        error = 0;
    else if (!error)
        recoveries = 1;
    if (!error && !read_only)
        nv_remove_leftovers(home);
    if (!error)
        error = page_fill(home);
    atomic_store(&shared->counters.recoveries, recoveries);
    return error;
}

/* The log is where the first one put it, and home is marked as he wanted. */
static int join_others(struct nv_home *home)
{
    const struct nv_shared *shared = home->share.shared;
    if (memchr(shared->log_path, 0, sizeof shared->log_path) == NULL)
        return nv_fail(-EUCLEAN, "%s is damaged", home->page_path);
    char *path = strdup(shared->log_path);
    if (!path)
        return -ENOMEM;
    free(home->log_path);
    home->log_path = path;
    return 0;
}

static int join(struct nv_home *home, int timeout_ms, bool read_only)
{
    int error = nv_medium_probe(&home->file, home->settings.medium, &home->probe);
    if (error)
        return nv_fail(error, "%s: %s", home->path, home->probe.why);
    if (home->passive) {
        error = join_passive(home);
        if (error)
            return error;
        return nv_medium_open(&home->medium, home->probe.ops, &home->file, false, 0);
    }
    bool first = false;
    error =
        nv_share_join(&home->share, &home->file, home->path, home->page_path, timeout_ms, &first);
    if (error)
        return error;
    error = nv_medium_open(&home->medium, home->probe.ops, &home->file, true, HOME_STEP_BYTES);
    if (!error) {
        error = first ? join_first(home, read_only) : join_others(home);
        if (error) {
            nv_log_close(&home->log);
            nv_medium_close(&home->medium);
        }
    }
    if (!error) {
        nv_share_enter(&home->share);
        return 0;
    }
    uint32_t process = home->share.process;
    (void)nv_share_leave(&home->share, home->page_path, first);
    (void)home->file.os->unlock(&home->file, NV_BYTE_PROCESS + process, 1);
    nv_share_door_unlock(&home->share);
    return error;
}

int nv_home_join(struct nv_home *home, int timeout_ms, bool read_only)
{
    int error = 0;
    pthread_mutex_lock(&home->mutex);
    while (home->leaving)
        pthread_cond_wait(&home->left, &home->mutex);
    if (home->members == 0) {
        if (home->file.os == NULL)
            error = nv_fail(-ESTALE, "%s was closed", home->path);
        else
            error = join(home, timeout_ms, read_only);
    }
    if (!error)
        home->members++;
    pthread_mutex_unlock(&home->mutex);
    return error;
}

/* A log that somebody died over, or failed, before its first record; home may be marked already. */
static int retire_unborn(struct nv_home *home)
{
    int there = nv_os_exists(home->file.os, home->log_path);
    if (there <= 0)
        return there == 0 ? 0
                          : nv_fail(there, "cannot look for the log %s: %s", home->log_path,
                                    nvmmio_strerror(there));
    nv_log_close(&home->log);
    return nv_recover_home(home, NULL, NULL);
}

static void say_farewell(struct nv_home *home)
{
    const struct nv_os *os = home->file.os;
    const char *to = home->farewell->to;
    int error = to ? os->rename(os, home->path, to) : os->unlink(os, home->path);
    if (error)
        (void)nv_fail(error, "cannot %s %s: %s", to ? "rename" : "remove", home->path,
                      nvmmio_strerror(error));
    home->farewell->error = error;
}

/* The last member of this process goes; the descriptor, and with it the byte, goes last. */
static int leave(struct nv_home *home, int timeout_ms)
{
    const struct nv_os *os = home->file.os;
    bool alone = false;
    int error = nv_share_door_lock(&home->share, timeout_ms, &alone);
    bool last = !error && alone && !home->share.alone;
    bool healthy = atomic_load(&home->share.shared->health) == NV_HEALTH_GOOD;
    /* Nobody else lives, and our own handles have given up: who still is the writer died as it. */
    if (last && healthy && nv_share_writer_level(&home->share) == NV_LEVEL_EXCLUSIVE)
        error = nv_take_over(home);
    if (last && healthy && !error && home->share.shared->log_live)
        error = nv_retire(home);
    else if (last && healthy && !error)
        error = retire_unborn(home);
    if (last && healthy && !error)
        nv_remove_leftovers(home);
    if (last && healthy && !error && home->farewell)
        say_farewell(home);
    atomic_store(&home->log_ready, false);
    nv_log_close(&home->log);
    nv_medium_close(&home->medium);
    int left = nv_share_leave(&home->share, home->page_path, last);
    if (home->older.os)
        (void)os->close(&home->older);
    (void)os->close(&home->file);
    home->file.os = home->older.os = NULL;
    return error ? error : left;
}

/* Handles that have not joined keep the file, if it still is the same. */
static void reopen(struct nv_home *home)
{
    const struct nv_os *os = home->process->os;
    struct nv_file_stat stat;
    if (os->open(os, home->path, home->passive ? 0 : NV_OPEN_WRITE, 0, &home->file) != 0) {
        home->file.os = NULL;
    } else if (os->stat(&home->file, &stat) != 0 || !same_file(&stat.id, &home->stat.id)) {
        (void)os->close(&home->file);
        home->file.os = NULL;
    }
}

int nv_home_leave(struct nv_home *home, int timeout_ms)
{
    int error = 0;
    struct nv_process *process = home->process;
    pthread_mutex_lock(&process->mutex);
    pthread_mutex_lock(&home->mutex);
    bool last = --home->members == 0;
    home->leaving = last;
    pthread_mutex_unlock(&process->mutex);
    /* This takes its time, and other files have nothing to do with it. */
    if (last) {
        nv_flusher_stop(home);
        error = leave(home, timeout_ms);
    }
    pthread_mutex_unlock(&home->mutex);
    if (!last)
        return error;
    pthread_mutex_lock(&process->mutex);
    pthread_mutex_lock(&home->mutex);
    /* Handles that are open and have not joined get a new descriptor. */
    if (home->references > 1)
        reopen(home);
    else
        table_remove(home);
    home->leaving = false;
    pthread_cond_broadcast(&home->left);
    pthread_cond_broadcast(&process->left);
    pthread_mutex_unlock(&home->mutex);
    pthread_mutex_unlock(&process->mutex);
    return error;
}

/* ---- the log --------------------------------------------------------------------------------- */

static int create_log(struct nv_home *home)
{
    struct nv_shared *shared = home->share.shared;
    struct nv_log_plan plan = {
        .path = home->log_path,
        .medium = home->settings.medium,
        .log_bytes = home->settings.log_bytes,
        .content_bytes = atomic_load(&shared->content_bytes),
        .mark = &shared->mark,
    };
    int error = home->file.os->stat(&home->file, &plan.home);
    /* Home's name first: a log must not outlive the file that it is for.  Beside home the sync that
     * makes the log's name durable serves, as who finds such a log there knows that it is void. */
    if (!error && !nv_home_log_beside(home))
        error = home->file.os->sync_directory(home->file.os, home->path);
    memcpy(plan.head, shared->head, sizeof plan.head);
    if (!error)
        error = nv_log_create(&home->log, home->file.os, &plan);
    if (error)
        return error;
    if (shared->mark_bytes) {
        /* Not a byte more than the mark needs: an unmarked home that is longer than it was would
         * not be told from one that another program has written to. */
        error = nv_medium_reserve(&home->medium, nv_max(HEAD_BYTES, plan.content_bytes));
        if (!error)
            error = nv_home_sync_size(home);
        if (!error)
            error = nv_home_store_head(home, shared->head, plan.content_bytes);
        if (!error)
            error = nv_medium_fence(&home->medium);
    }
    if (error) {
        /* Home may be marked already: the log stays, and is adopted by the next to write. */
        nv_log_close(&home->log);
        return nv_fail(error, "cannot prepare %s for its log: %s", home->path,
                       nvmmio_strerror(error));
    }
    shared->log_segment = 0;
    shared->log_epoch = shared->log_epoch_max = 1;
    shared->log_head = NV_HEADER_BYTES;
    shared->log_file_bytes = atomic_load(&home->log.medium.file_bytes);
    shared->log_fenced_bytes = shared->log_file_bytes;
    atomic_store(&shared->log_live, 1);
    return 0;
}

int nv_home_log(struct nv_home *home, int timeout_ms)
{
    struct nv_shared *shared = home->share.shared;
    if (atomic_load_explicit(&home->log_ready, memory_order_acquire))
        return 0;
    bool alone = false;
    pthread_mutex_lock(&home->mutex);
    int error = home->log.open ? 0 : nv_share_door_lock(&home->share, timeout_ms, &alone);
    if (!error && !home->log.open) {
        if (atomic_load(&shared->log_live))
            error = nv_log_open(&home->log, home->file.os, home->log_path, &home->stat.id, true,
                                home->settings.medium);
        else
            error = create_log(home);
        nv_share_door_unlock(&home->share);
    }
    if (!error)
        atomic_store_explicit(&home->log_ready, true, memory_order_release);
    pthread_mutex_unlock(&home->mutex);
    return error;
}
