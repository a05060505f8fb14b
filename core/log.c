#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"

#define LOG_BYTES_MAPPED ((uint64_t)2 << 20) /* default: it cleans itself with every commit */
#define LOG_BYTES_PAGE ((uint64_t)16 << 20)  /* default: home is flushed once for each half */
/* The file grows with what is in it, from the first of these on: one commit needs no more. */
#define STEP_BYTES_MIN ((uint64_t)64 << 10)
#define STEP_BYTES_MAX ((uint64_t)1 << 20)

/* ---- making and opening ------------------------------------------------------------------ */

static int header_load(struct nv_log *log, struct nv_header copies[2], bool valid[2])
{
    int error = 0;
    for (unsigned i = 0; i < 2 && !error; i++) {
        error = nv_medium_load(&log->medium, i * (uint64_t)NV_HEADER_COPY_BYTES, &copies[i],
                               sizeof copies[i]);
        valid[i] = !error && nv_header_valid(&copies[i]);
    }
    return error;
}

static unsigned header_newest(const struct nv_header copies[2], const bool valid[2])
{
    return !valid[0] || (valid[1] && copies[1].generation > copies[0].generation);
}

/* What other processes have written since this one looked: a header is changed, never replaced by
 * an old copy. */
static int header_refresh(struct nv_log *log)
{
    struct nv_header copies[2];
    bool valid[2];
    int error = header_load(log, copies, valid);
    if (!error && (valid[0] || valid[1]))
        log->header = copies[header_newest(copies, valid)];
    return error;
}

/* Over the older copy: should this one be torn, the newer one still counts.  Not fenced. */
static int header_write(struct nv_log *log)
{
    struct nv_header copies[2];
    bool valid[2];
    int error = header_load(log, copies, valid);
    if (error)
        return error;
    error = nv_medium_reserve(&log->medium, NV_HEADER_BYTES);
    if (error)
        return error;
    unsigned newest = header_newest(copies, valid);
    log->header.generation = valid[newest] ? copies[newest].generation + 1 : 1;
    nv_header_finish(&log->header);
    return nv_medium_store(&log->medium, (1 - newest) * (uint64_t)NV_HEADER_COPY_BYTES,
                           &log->header, sizeof log->header);
}

int nv_log_fence(struct nv_log *log)
{
    int error = nv_medium_fence(&log->medium);
    if (!error)
        log->settled_generation = log->header.generation;
    return error;
}

/* The newest copy, whoever wrote it, is durable on return.  His fence may have failed, and then no
 * other one covers what he stored. */
static int header_settle(struct nv_log *log)
{
    struct nv_header copies[2];
    bool valid[2];
    int error = header_load(log, copies, valid);
    if (error)
        return error;
    unsigned newest = header_newest(copies, valid);
    error = nv_medium_store(&log->medium, newest * (uint64_t)NV_HEADER_COPY_BYTES, &copies[newest],
                            sizeof copies[newest]);
    return error ? error : nv_log_fence(log);
}

/* Durable on return; and so is the copy that it does not replace, lest both be torn at once. */
static int header_replace(struct nv_log *log)
{
    int error = 0;
    if (log->header.generation != log->settled_generation)
        error = header_settle(log);
    if (!error)
        error = header_write(log);
    return error ? error : nv_log_fence(log);
}

static int header_read(struct nv_log *log, const char *path, uint64_t file_bytes)
{
    struct nv_header copies[2];
    bool valid[2] = {false, false};
    int error = file_bytes >= NV_HEADER_BYTES ? header_load(log, copies, valid) : 0;
    if (error)
        return error;
    /* A log gets its name with a whole header in it. */
    if (!valid[0] && !valid[1])
        return nv_fail(-EUCLEAN,
                       "%s is not a log of nvmmio, or its header is damaged; nothing was changed. "
                       "Restore it, or move it away to give up what only it holds",
                       path);
    log->header = copies[header_newest(copies, valid)];
    if (log->header.version == NV_LOG_VERSION && file_bytes < log->header.file_bytes)
        return nv_fail(-EUCLEAN,
                       "%s was cut off; nothing was changed. Restore it, or move it away "
                       "to give up what only it held",
                       path);
    if (log->header.version != NV_LOG_VERSION)
        return nv_fail(-EUCLEAN,
                       "%s has log format %u, this is nvmmio %s with format %u; recover it "
                       "with the version that wrote it",
                       path, log->header.version, NVMMIO_VERSION, NV_LOG_VERSION);
    return 0;
}

static bool log_of(const struct nv_log *log, const struct nv_file_id *home)
{
    return log->header.home_inode == home->inode && log->header.home_birth_ns == home->birth_ns;
}

/* Of whichever file. */
static int open_any(struct nv_log *log, const struct nv_os *os, const char *path, bool writable,
                    enum nvmmio_medium medium)
{
    struct nv_file_stat stat;
    *log = (struct nv_log){.body_bytes_max = UINT64_MAX};
    int error =
        os->open(os, path, NV_OPEN_NOFOLLOW | (writable ? NV_OPEN_WRITE : 0), 0, &log->file);
    if (error == -ENOENT)
        return error;
    if (error == -ELOOP)
        return nv_fail(error, "%s is a symbolic link: remove it, nvmmio keeps its log there", path);
    if (error)
        return nv_fail(error, "cannot open the log %s: %s", path, nvmmio_strerror(error));
    error = nv_medium_probe(&log->file, medium, &log->probe);
    if (!error)
        error = os->stat(&log->file, &stat);
    if (!error)
        error = nv_medium_open(&log->medium, log->probe.ops, &log->file, writable, 0);
    if (error) {
        (void)os->close(&log->file);
        return nv_fail(error, "cannot use the log %s: %s", path, nvmmio_strerror(error));
    }
    log->open = true;
    error = header_read(log, path, stat.bytes);
    if (error)
        nv_log_close(log);
    else if (writable)
        nv_medium_direct(&log->medium);
    if (!error)
        log->bound_bytes = NV_HEADER_BYTES + 2 * log->header.segment_bytes;
    return error;
}

int nv_log_open(struct nv_log *log, const struct nv_os *os, const char *path,
                const struct nv_file_id *home, bool writable, enum nvmmio_medium medium)
{
    int error = open_any(log, os, path, writable, medium);
    if (error || log_of(log, home))
        return error;
    nv_log_close(log);
    return nv_fail(-EUCLEAN,
                   "%s is the log of another file (a copied, restored or replaced database?); "
                   "nothing was changed. Move it away if it is not needed",
                   path);
}

bool nv_log_left_over(const struct nv_os *os, const char *path, const struct nv_file_id *home,
                      const uint8_t *raw, uint64_t home_bytes)
{
    struct nv_log log;
    struct nv_scan scan = {.any = false};
    if (open_any(&log, os, path, false, NVMMIO_MEDIUM_AUTO) != 0)
        return false;
    const struct nv_header *header = &log.header;
    bool left = !log_of(&log, home) && header->state != NV_HEADER_USED;
    if (header->state == NV_HEADER_NEW)
        left = left && nv_log_scan(&log, &scan) == 0 && !scan.any && !scan.prepare;
    /* A copy, made while the original was open, needs what only the header knows. */
    if (header->mark_bytes)
        left = left && memcmp(raw + header->nonce_at, header->nonce, sizeof header->nonce) != 0;
    else if (header->state == NV_HEADER_NEW)
        left = left && home_bytes == 0;
    nv_log_close(&log);
    return left;
}

void nv_log_close(struct nv_log *log)
{
    if (!log->open)
        return;
    nv_medium_close(&log->medium);
    (void)log->file.os->close(&log->file);
    log->open = false;
}

/* A log of somebody who died before its first record.  -ENOENT: it was of no use, and is gone. */
static int adopt(struct nv_log *log, const struct nv_os *os, const struct nv_log_plan *plan)
{
    struct nv_scan scan = {.any = false};
    int error = nv_log_open(log, os, plan->path, &plan->home.id, true, plan->medium);
    if (error)
        return error;
    bool emptied = log->header.state == NV_HEADER_EMPTY;
    if (!emptied)
        error = nv_log_scan(log, &scan);
    if (!error && scan.any)
        error =
            nv_fail(-EUCLEAN, "the log %s holds commits that were not expected there", plan->path);
    /* He may have died before its name was durable; what has its name is. */
    if (!error && !emptied)
        error = os->sync_directory(os, plan->path);
    if (!error && !emptied)
        return 0;
    nv_log_close(log);
    if (error)
        return error;
    error = os->unlink(os, plan->path);
    return error ? error : -ENOENT;
}

static int fill_new(struct nv_log *log, const struct nv_os *os, const struct nv_log_plan *plan)
{
    struct nv_header *header = &log->header;
    *header = (struct nv_header){
        .magic = NV_LOG_MAGIC,
        .version = NV_LOG_VERSION,
        .state = NV_HEADER_NEW,
        .home_inode = plan->home.id.inode,
        .home_birth_ns = plan->home.id.birth_ns,
        .base_bytes = plan->content_bytes,
        .mark_bytes = plan->mark->bytes,
        .nonce_at = plan->mark->nonce_at,
    };
    memcpy(header->mask, plan->mark->mask, sizeof header->mask);
    memcpy(header->empty, plan->mark->empty, sizeof header->empty);
    memcpy(header->sign, plan->mark->sign, sizeof header->sign);
    int error = os->set_owner(&log->file, plan->home.uid, plan->home.gid, plan->home.mode & 0777);
    if (error == -EPERM)
        error = 0;
    if (!error)
        error = os->random(os, header->nonce, sizeof header->nonce);
    memcpy(header->head, plan->head, sizeof header->head);
    if (!error)
        error = nv_medium_probe(&log->file, plan->medium, &log->probe);
    if (error)
        return error;
    uint64_t bytes = plan->log_bytes;
    if (!bytes)
        bytes = log->probe.ops->mapped ? LOG_BYTES_MAPPED : LOG_BYTES_PAGE;
    header->segment_bytes = nv_align_down((bytes - NV_HEADER_BYTES) / 2, NV_BLOCK_BYTES);
    log->bound_bytes = NV_HEADER_BYTES + 2 * header->segment_bytes;
    error = nv_medium_open(&log->medium, log->probe.ops, &log->file, true, 0);
    if (error)
        return error;
    log->open = true;
    nv_medium_direct(&log->medium);
    uint64_t end =
        log->medium.ops->mapped ? nv_log_reach(log, 0, NV_HEADER_BYTES) : NV_HEADER_BYTES;
    header->file_bytes = end;
    error = nv_medium_reserve(&log->medium, end);
    if (!error && log->medium.ops->mapped) /* size and blocks; before any store to the mapping */
        error = os->sync_data(&log->file);
    if (!error && log->medium.ops->mapped)
        error = nv_log_warm(log, NV_HEADER_BYTES, end);
    if (!error)
        error = header_write(log);
    return error ? error : nv_log_fence(log);
}

/* Under another name first: a log has its name only with a whole header in it. */
static int make(struct nv_log *log, const struct nv_os *os, const struct nv_log_plan *plan)
{
    char *aside = nv_log_aside(plan->path);
    if (!aside)
        return nv_fail(-ENOMEM, "out of memory");
    *log = (struct nv_log){.body_bytes_max = UINT64_MAX};
    (void)os->unlink(os, aside); /* of somebody who died here */
    int error =
        os->open(os, aside, NV_OPEN_WRITE | NV_OPEN_CREATE | NV_OPEN_EXCLUSIVE | NV_OPEN_NOFOLLOW,
                 plan->home.mode & 0777, &log->file);
    if (error) {
        (void)nv_fail(error, "cannot create the log %s: %s", plan->path, nvmmio_strerror(error));
        goto out;
    }
    error = fill_new(log, os, plan);
    if (!error)
        error = os->rename(os, aside, plan->path);
    if (!error)
        error = os->sync_directory(os, plan->path);
    if (!error)
        goto out;
    (void)nv_fail(error, "cannot make the log %s: %s", plan->path, nvmmio_strerror(error));
    if (log->open)
        nv_log_close(log);
    else
        (void)os->close(&log->file);
    (void)os->unlink(os, aside);
    (void)os->unlink(os, plan->path);
out:
    free(aside);
    return error;
}

int nv_log_create(struct nv_log *log, const struct nv_os *os, const struct nv_log_plan *plan)
{
    int there = nv_os_exists(os, plan->path);
    if (there < 0)
        return nv_fail(there, "cannot look for the log %s: %s", plan->path, nvmmio_strerror(there));
    if (there) {
        int error = adopt(log, os, plan);
        if (error != -ENOENT)
            return error;
    }
    return make(log, os, plan);
}

char *nv_log_aside(const char *path)
{
    char *aside = NULL;
    return asprintf(&aside, "%s-new", path) < 0 ? NULL : aside;
}

int nv_log_reload(struct nv_log *log, const char *path)
{
    struct nv_file_stat stat;
    int error = log->file.os->stat(&log->file, &stat);
    return error ? error : header_read(log, path, stat.bytes);
}

int nv_log_cover(struct nv_log *log, const uint8_t covered[NVMMIO_NONCE_BYTES])
{
    int error = header_refresh(log);
    if (error)
        return error;
    memcpy(log->header.head + log->header.nonce_at, covered, NVMMIO_NONCE_BYTES);
    return header_replace(log);
}

int nv_log_tail(struct nv_log *log, uint64_t tail)
{
    int error = header_refresh(log);
    if (error)
        return error;
    log->header.tail = tail;
    return header_replace(log);
}

int nv_log_used(struct nv_log *log, uint64_t file_bytes)
{
    int error = header_refresh(log);
    if (error)
        return error;
    log->header.state = NV_HEADER_USED;
    log->header.file_bytes = file_bytes;
    log->used_notes++;
    return header_write(log);
}

int nv_log_cut(struct nv_log *log, uint64_t tail, uint64_t file_bytes)
{
    int error = header_refresh(log);
    if (error)
        return error;
    log->header.tail = tail;
    log->header.file_bytes = file_bytes;
    error = header_replace(log);
    return error ? error : log->medium.ops->shrink(&log->medium, file_bytes);
}

int nv_log_empty(struct nv_log *log, uint64_t content_bytes, const uint8_t head[NVMMIO_MARK_BYTES])
{
    memcpy(log->header.head, head, sizeof log->header.head);
    log->header.base_bytes = content_bytes;
    log->header.state = NV_HEADER_EMPTY;
    return header_replace(log);
}

/* ---- writing ------------------------------------------------------------------------------- */

uint64_t nv_segment_start(const struct nv_log *log, uint32_t segment)
{
    return NV_HEADER_BYTES + segment * log->header.segment_bytes;
}

uint64_t nv_segment_end(const struct nv_log *log, uint32_t segment)
{
    return segment == NV_SEGMENT_OVERFLOW ? UINT64_MAX : nv_segment_start(log, segment + 1);
}

uint64_t nv_log_reach(const struct nv_log *log, uint64_t have, uint64_t bytes)
{
    const uint64_t end = nv_segment_start(log, NV_SEGMENT_OVERFLOW);
    const uint64_t step = nv_min(3 * have, STEP_BYTES_MAX);
    const uint64_t reach = nv_align_up(nv_max(bytes, have + step), STEP_BYTES_MIN);
    return bytes <= end ? nv_min(reach, end) : reach;
}

int nv_log_warm(struct nv_log *log, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[65536];
    int error = 0;
    if (log->medium.ops->mapped)
        to = nv_min(to, nv_segment_start(log, NV_SEGMENT_OVERFLOW));
    while (from < to && !error) {
        const size_t part = (size_t)nv_min(to - from, sizeof zeros - from % sizeof zeros);
        error = nv_medium_store(&log->medium, from, zeros, part);
        from += part;
    }
    return error;
}

/* Neighbours in memory become one part: a small record is one store. */
static int merge(struct iovec *parts, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (kept && (uint8_t *)parts[kept - 1].iov_base + parts[kept - 1].iov_len ==
                        (uint8_t *)parts[i].iov_base)
            parts[kept - 1].iov_len += parts[i].iov_len;
        else if (parts[i].iov_len)
            parts[kept++] = parts[i];
    }
    return kept;
}

int nv_log_append(struct nv_log *log, struct nv_cursor *cursor, struct nv_record *record,
                  struct iovec *parts, int count, bool fence_follows)
{
    static const uint8_t padding[UINT8_MAX * NV_LINE_BYTES];
    const uint8_t *nonce = log->header.nonce;
    assert(parts[0].iov_base == record && cursor->placed);
    record->epoch = cursor->epoch;
    uint64_t hash = nv_record_body_seed(nonce, cursor->head, record, cursor->chain);
    uint64_t bytes = parts[0].iov_len;
    if (count == 1) /* as the reader does: an empty front is a part too */
        hash = nv_hash(record, 0, hash);
    for (int i = 1; i < count; i++) {
        hash = nv_hash(parts[i].iov_base, parts[i].iov_len, hash);
        bytes += parts[i].iov_len;
    }
    if (record->pad_lines) {
        size_t pad = record->pad_lines * (size_t)NV_LINE_BYTES;
        parts[count++] = (struct iovec){(void *)(uintptr_t)padding, pad};
        bytes += pad;
    }
    record->body_hash = hash;
    nv_record_finish(record, nonce, cursor->head);
    assert(bytes == nv_record_bytes(record));
    count = merge(parts, count);
    const struct nv_medium_ops *ops = log->medium.ops;
    bool fenced = fence_follows && ops->storev_fenced;
    int error =
        (fenced ? ops->storev_fenced : ops->storev)(&log->medium, cursor->head, parts, count);
    if (error)
        return error;
    cursor->last = cursor->head;
    cursor->head += bytes;
    cursor->chain = record->kind == NV_RECORD_SPILL ? record->body_hash : 0;
    return 0;
}

int nv_log_erase(struct nv_log *log, uint64_t offset)
{
    static const uint8_t zeros[NV_LINE_BYTES];
    return nv_medium_store(&log->medium, offset, zeros, sizeof zeros);
}

int nv_log_rewrite(struct nv_log *log, uint64_t first, uint64_t end)
{
    size_t chunk = (size_t)nv_min(end - first, (uint64_t)1 << 20);
    if (first >= end)
        return 0;
    uint8_t *buffer = malloc(chunk);
    if (!buffer)
        return -ENOMEM;
    int error = nv_medium_reserve(&log->medium, end);
    for (uint64_t at = first; at < end && !error; at += chunk) {
        size_t bytes = (size_t)nv_min(chunk, end - at);
        error = nv_medium_load(&log->medium, at, buffer, bytes);
        if (!error)
            error = nv_medium_store(&log->medium, at, buffer, bytes);
    }
    free(buffer);
    return error;
}
