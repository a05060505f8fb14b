/*
 * stream: the table of a process, opening and closing.
 */
#include "core/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/error.h"

/* Held by the process that writes a stream, on its file; far behind any byte that there is, and
 * behind the ones that SQLite locks. */
#define WRITER_BYTE UINT64_C(0x4000000000000000)
#define LOCK_TRIES 100
#define LOCK_PAUSE_US 1000

/* ---- the table ----------------------------------------------------------------------------- */

void nv_stream_table_init(struct nv_stream_table *table, const struct nv_os *os)
{
    *table = (struct nv_stream_table){.os = os};
    pthread_mutex_init(&table->mutex, NULL);
}

static void free_entry(struct nv_stream_file *file)
{
    while (file->ends) {
        struct nv_stream_end *end = file->ends;
        file->ends = end->older;
        nv_medium_close(&end->medium);
        free(end);
    }
    nv_hasher_free(file->hasher);
    nv_hasher_free(file->hasher_next);
    pthread_mutex_destroy(&file->mutex);
    pthread_mutex_destroy(&file->syncing);
    free(file);
}

static void close_descriptor(struct nv_file *file)
{
    if (file->os)
        (void)file->os->close(file);
    file->os = NULL;
}

void nv_stream_table_abandon(struct nv_stream_table *table)
{
    while (table->files) {
        struct nv_stream_file *file = table->files;
        table->files = file->next;
        free_entry(file);
    }
    pthread_mutex_destroy(&table->mutex);
}

void nv_stream_table_forked(struct nv_stream_table *table)
{
    for (struct nv_stream_file *file = table->files; file; file = file->next) {
        struct nv_file *open[] = {&file->reader, &file->writer};
        for (unsigned i = 0; i < 2; i++)
            if (open[i]->os && open[i]->fd >= 0) {
                (void)close(open[i]->fd);
                open[i]->fd = -1;
            }
    }
}

static bool same_file(const struct nv_file_id *a, const struct nv_file_id *b)
{
    return a->device == b->device && a->inode == b->inode && a->birth_ns == b->birth_ns;
}

/* Table's mutex is held. */
static struct nv_stream_file *find_entry(struct nv_stream_table *table, const struct nv_file_id *id)
{
    struct nv_stream_file *file = table->files;
    while (file && !same_file(&file->id, id))
        file = file->next;
    return file;
}

/* The entry for the file that `opened` is, +1 reference.  `opened` becomes its descriptor for
 * reading or writing, unless it has one already: then it is closed. */
static int acquire(struct nv_stream_table *table, struct nv_file *opened, bool writable,
                   struct nv_stream_file **out)
{
    struct nv_file_stat stat;
    int error = opened->os->stat(opened, &stat);
    if (error) {
        close_descriptor(opened);
        return error;
    }
    pthread_mutex_lock(&table->mutex);
    struct nv_stream_file *file = find_entry(table, &stat.id);
    if (!file) {
        file = calloc(1, sizeof(*file));
        if (file) {
            pthread_mutex_init(&file->mutex, NULL);
            pthread_mutex_init(&file->syncing, NULL);
            file->table = table;
            file->id = stat.id;
            file->next = table->files;
            table->files = file;
        }
    }
    if (file) {
        struct nv_file *place = writable ? &file->writer : &file->reader;
        file->references++;
        if (!place->os) {
            *place = *opened;
            opened->os = NULL;
        }
    }
    pthread_mutex_unlock(&table->mutex);
    close_descriptor(opened);
    *out = file;
    return file ? 0 : -ENOMEM;
}

static void release(struct nv_stream_file *file)
{
    struct nv_stream_table *table = file->table;
    pthread_mutex_lock(&table->mutex);
    const bool last = --file->references == 0;
    if (last) {
        struct nv_stream_file **link = &table->files;
        while (*link != file)
            link = &(*link)->next;
        *link = file->next;
    }
    pthread_mutex_unlock(&table->mutex);
    if (!last)
        return;
    struct nv_file reader = file->reader, writer = file->writer;
    free_entry(file); /* its media use the descriptors */
    close_descriptor(&reader);
    close_descriptor(&writer);
}

/* ---- media --------------------------------------------------------------------------------- */

/* The medium for appends through the kernel. */
static const struct nv_medium_ops *unmapped(const struct nv_medium_ops *ops)
{
    if (!ops->mapped)
        return ops;
    return ops->kind == NVMMIO_MEDIUM_RAM ? &nv_medium_ram_unmapped : &nv_medium_page;
}

static int add_end(struct nv_stream_file *file, const struct nv_medium_ops *ops, struct nv_file *on,
                   bool writable, struct nv_stream_end **out)
{
    struct nv_stream_end *end = calloc(1, sizeof(*end));
    if (!end)
        return -ENOMEM;
    const int error = nv_medium_open(&end->medium, ops, on, writable, 0);
    if (error) {
        free(end);
        return error;
    }
    end->older = file->ends;
    file->ends = end;
    *out = end;
    return 0;
}

void nv_stream_map(struct nv_stream_file *file, struct nv_file *on, const struct nv_probe *probe)
{
    struct nv_stream_end *end = NULL;
    if (probe->ops->mapped && !add_end(file, probe->ops, on, false, &end))
        atomic_store(&file->reads, end);
}

static int probe(struct nv_file *on, enum nvmmio_medium wanted, struct nv_probe *out)
{
    struct nv_probe found;
    const int error = nv_medium_probe(on, wanted, &found);
    if (error)
        return nv_fail(error, "this medium cannot be had: %s", found.why);
    *out = found;
    return 0;
}

/* ---- a writer ------------------------------------------------------------------------------ */

/* A reader that recovers the file has the lock for a moment, and so has a process that is dying. */
static int lock_writer(struct nv_file *file)
{
    int error = file->os->lock(file, WRITER_BYTE, 1);
    for (int i = 0; error == -EAGAIN && i < LOCK_TRIES; i++) {
        file->os->pause(file->os, LOCK_PAUSE_US);
        error = file->os->lock(file, WRITER_BYTE, 1);
    }
    return error;
}

/* The first writer of this process: alone among all, and the file is as long as the stream. */
static int begin_writing(struct nv_stream_file *file, const struct nvmmio_stream_options *options)
{
    struct nv_file *on = &file->writer;
    int error = probe(on, options->medium, &file->write_probe);
    if (error)
        return error;
    error = lock_writer(on);
    if (error)
        return error == -EAGAIN ? nv_fail(-EBUSY, "another process writes this stream") : error;
    struct nv_size_found found;
    error = nv_size_recover(on, &found);
    if (!error && found.ahead)
        file->stats.recoveries++;
    const struct nv_medium_ops *ops = file->write_probe.ops;
    file->size = options->size;
    if (options->size == NVMMIO_SIZE_AUTO)
        file->size =
            ops->mapped && ops->kind != NVMMIO_MEDIUM_RAM ? NVMMIO_SIZE_AHEAD : NVMMIO_SIZE_EXACT;
    if (file->size == NVMMIO_SIZE_EXACT)
        ops = unmapped(ops);
    if (!error)
        error = add_end(file, ops, on, true, &file->stores);
    if (!error && file->size == NVMMIO_SIZE_AHEAD && !ops->mapped && !file->hasher) {
        file->hasher = nv_hasher_create();
        file->hasher_next = nv_hasher_create();
        if (!file->hasher || !file->hasher_next)
            error = -ENOMEM;
    }
    if (error) {
        (void)on->os->unlock(on, WRITER_BYTE, 1);
        return error;
    }
    if (ops->mapped)
        atomic_store(&file->reads, file->stores);
    file->ahead_bytes = 0;
    file->file_bytes = file->space_bytes = found.file_bytes;
    file->durable = 0;
    /* What was appended before, in whatever way, is part of the first sync. */
    file->changed = file->cut = true;
    file->synced = false;
    file->hashing_next = false;
    atomic_store(&file->poisoned, false);
    atomic_store(&file->bytes, found.bytes);
    atomic_store(&file->written, true);
    return 0;
}

static int add_writer(struct nv_stream_file *file, const struct nvmmio_stream_options *options)
{
    pthread_mutex_lock(&file->mutex);
    int error = file->writers ? 0 : begin_writing(file, options);
    if (!error)
        file->writers++;
    pthread_mutex_unlock(&file->mutex);
    return error;
}

/* The last writer goes: an ordinary file is left. */
static int end_writing(struct nv_stream_file *file)
{
    struct nv_file *on = &file->writer;
    const int error = nv_stream_cut(file);
    /* For the first sync of the next writer. */
    if (file->size == NVMMIO_SIZE_EXACT && atomic_load(&file->poisoned))
        (void)nv_size_write_again(on, file->durable, atomic_load(&file->bytes));
    atomic_store(&file->written, false);
    (void)on->os->unlock(on, WRITER_BYTE, 1);
    return error;
}

static int remove_writer(struct nv_stream_file *file)
{
    pthread_mutex_lock(&file->mutex);
    const int error = --file->writers ? 0 : end_writing(file);
    pthread_mutex_unlock(&file->mutex);
    return error;
}

/* ---- a reader ------------------------------------------------------------------------------ */

/* A file that was left ahead is cut, where that may be done. */
static void try_to_recover(struct nv_stream_table *table, const char *path)
{
    const int error = nv_stream_recover(table, path);
    (void)error; /* read as it is: it is only longer than it should be */
}

static int add_reader(struct nv_stream_file *file, const struct nvmmio_stream_options *options,
                      const char *path)
{
    pthread_mutex_lock(&file->mutex);
    int error = 0;
    bool ahead = false;
    if (!file->writers) {
        struct nv_size_found found;
        error = nv_size_find(&file->reader, &found);
        ahead = found.ahead;
        if (!error)
            atomic_store(&file->bytes, found.bytes);
    }
    pthread_mutex_unlock(&file->mutex);
    if (!error && ahead)
        try_to_recover(file->table, path);

    pthread_mutex_lock(&file->mutex);
    if (!error && !file->probe.ops)
        error = probe(&file->reader, options->medium, &file->probe);
    else if (!error && options->medium != NVMMIO_MEDIUM_AUTO &&
             options->medium != file->probe.ops->kind)
        error = nv_fail(-EOPNOTSUPP, "%s is open on another medium", path);
    if (!error && !atomic_load(&file->reads))
        nv_stream_map(file, &file->reader, &file->probe);
    pthread_mutex_unlock(&file->mutex);
    return error;
}

/* ---- open and close ------------------------------------------------------------------------ */

static int begin(struct nv_stream_file *file, const char *path,
                 const struct nvmmio_stream_options *options)
{
    if (options->flags & NVMMIO_READ_ONLY)
        return add_reader(file, options, path);
    int error = add_writer(file, options);
    if (error)
        return error;
    if (options->flags & NVMMIO_STREAM_EMPTY)
        error = nv_stream_truncate(file, 0);
    else if (options->flags & NVMMIO_STREAM_REUSE)
        error = nv_stream_rewind(file);
    if (error)
        (void)remove_writer(file);
    return error;
}

int nv_stream_open(struct nv_stream_table *table, const char *path,
                   const struct nvmmio_stream_options *options, struct nvmmio_stream **out)
{
    const bool writable = !(options->flags & NVMMIO_READ_ONLY);
    int flags = writable ? NV_OPEN_WRITE : 0;
    if (options->flags & NVMMIO_CREATE)
        flags |= NV_OPEN_CREATE | (options->flags & NVMMIO_CREATE_NEW ? NV_OPEN_EXCLUSIVE : 0);
    struct nvmmio_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return nv_fail(-ENOMEM, "out of memory");
    struct nv_file opened;
    struct nv_stream_file *file = NULL;
    int error = table->os->open(table->os, path, flags, options->mode, &opened);
    if (!error)
        error = acquire(table, &opened, writable, &file);
    if (error) {
        free(stream);
        return nv_fail(error, "cannot open %s: %s", path, nvmmio_strerror(error));
    }
    error = begin(file, path, options);
    if (error) {
        release(file);
        free(stream);
        return error;
    }
    *stream = (struct nvmmio_stream){.file = file, .read_only = !writable};
    *out = stream;
    return 0;
}

int nv_stream_close(struct nvmmio_stream *stream)
{
    struct nv_stream_file *file = stream->file;
    const int error = stream->read_only ? 0 : remove_writer(file);
    release(file);
    free(stream);
    return error;
}

void nv_stream_forget(struct nvmmio_stream *stream)
{
    free(stream);
}

/* ---- by name ------------------------------------------------------------------------------- */

int nv_stream_recover(struct nv_stream_table *table, const char *path)
{
    struct nv_file file;
    struct nv_size_found found = {.ahead = false};
    int error = table->os->open(table->os, path, NV_OPEN_WRITE, 0, &file);
    if (error)
        return nv_fail(error, "cannot open %s: %s", path, nvmmio_strerror(error));
    error = file.os->lock(&file, WRITER_BYTE, 1);
    if (error == -EAGAIN)
        error = nv_fail(-EBUSY, "%s is being written", path);
    else if (!error) {
        error = nv_size_recover(&file, &found);
        (void)file.os->unlock(&file, WRITER_BYTE, 1);
    }
    (void)file.os->close(&file);
    return error ? error : found.ahead;
}

static int is_written(struct nv_file *file, bool *written)
{
    enum nv_lock_holder holder = NV_HOLDER_NONE;
    uint64_t where = 0;
    const int error = file->os->lock_holder(file, WRITER_BYTE, 1, &holder, &where);
    *written = *written || holder != NV_HOLDER_NONE;
    return error;
}

int nv_stream_check(struct nv_stream_table *table, const char *path,
                    struct nvmmio_stream_report *report)
{
    struct nv_file file;
    struct nv_size_found found = {.ahead = false};
    bool written = false;
    int error = table->os->open(table->os, path, 0, 0, &file);
    if (error)
        return nv_fail(error, "cannot open %s: %s", path, nvmmio_strerror(error));
    error = is_written(&file, &written);
    if (!error)
        error = nv_size_find(&file, &found);
    if (!error) /* a writer may have come since, and be why the file is ahead */
        error = is_written(&file, &written);
    (void)file.os->close(&file);
    report->state = written       ? NVMMIO_STATE_LIVE
                    : found.ahead ? NVMMIO_STATE_CRASHED
                                  : NVMMIO_STATE_PLAIN;
    report->bytes = found.bytes;
    report->file_bytes = found.file_bytes;
    return error;
}

int nv_stream_stat(struct nv_stream_table *table, const char *path, uint64_t *bytes)
{
    struct nv_file_stat stat;
    int error = table->os->stat_path(table->os, path, &stat);
    if (error)
        return nv_fail(error, "%s: %s", path, nvmmio_strerror(error));
    *bytes = stat.bytes;
    pthread_mutex_lock(&table->mutex);
    const struct nv_stream_file *open = find_entry(table, &stat.id);
    const bool written = open && atomic_load(&open->written);
    if (written)
        *bytes = atomic_load(&open->bytes);
    pthread_mutex_unlock(&table->mutex);
    if (written || stat.bytes == 0 || stat.bytes % NV_SIZE_STEP_BYTES)
        return 0;
    struct nv_file file;
    struct nv_size_found found;
    error = table->os->open(table->os, path, 0, 0, &file);
    if (error == -EISDIR || error == -EINVAL) /* as stat(2) has it */
        return 0;
    if (error)
        return nv_fail(error, "cannot open %s: %s", path, nvmmio_strerror(error));
    error = nv_size_find(&file, &found);
    (void)file.os->close(&file);
    if (!error)
        *bytes = found.bytes;
    return error;
}

/* ---- what is going on ---------------------------------------------------------------------- */

int nv_stream_info(struct nvmmio_stream *stream, struct nvmmio_stream_info *info)
{
    struct nv_stream_file *file = stream->file;
    struct nv_file *on = stream->read_only ? &file->reader : &file->writer;
    struct nv_file_stat stat;
    const int64_t bytes = nv_stream_size(stream);
    const int error = bytes < 0 ? (int)bytes : on->os->stat(on, &stat);
    if (error)
        return error;
    pthread_mutex_lock(&file->mutex);
    const struct nv_probe *probe = stream->read_only ? &file->probe : &file->write_probe;
    info->medium = probe->ops->kind;
    info->size = file->writers ? file->size : NVMMIO_SIZE_AUTO;
    info->forced = probe->forced;
    info->survives_power = probe->survives_power;
    info->mapped = probe->ops->mapped;
    info->read_only = stream->read_only;
    info->poisoned = atomic_load(&file->poisoned);
    info->bytes = (uint64_t)bytes;
    info->file_bytes = stat.bytes;
    nv_text_copy(info->why, sizeof(info->why), probe->why);
    pthread_mutex_unlock(&file->mutex);
    return 0;
}

void nv_stream_stats(struct nvmmio_stream *stream, struct nvmmio_stream_stats *stats)
{
    struct nv_stream_file *file = stream->file;
    pthread_mutex_lock(&file->mutex);
    *stats = file->stats;
    pthread_mutex_unlock(&file->mutex);
    stats->struct_bytes = sizeof(*stats);
}
