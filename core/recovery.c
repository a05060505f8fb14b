/*
 * recovery: from a log and a home to the state after the last commit; and back
 * to an ordinary file.  Every step may be cut short by a crash and begun again:
 * nothing is taken from the log before home holds it durably.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"
#include "core/home.h"

#define HEAD_BYTES NVMMIO_MARK_BYTES
#define HEAD_LINES (HEAD_BYTES / NV_LINE_BYTES)

/* ---- replay ---------------------------------------------------------------------------------- */

static int store_lines(struct nv_home *home, uint64_t offset, const uint8_t *from, size_t bytes,
                       uint8_t *head)
{
    /* The first lines of a marked home go to `head`, and from there, marked, to home. */
    if (offset < home->share.shared->mark_bytes) {
        size_t part = (size_t)nv_min(bytes, HEAD_BYTES - offset);
        memcpy(head + offset, from, part);
        offset += part;
        from += part;
        bytes -= part;
    }
    return bytes ? nv_medium_store(&home->medium, offset, from, bytes) : 0;
}

static int store_block(struct nv_home *home, const struct nv_descriptor *descriptor,
                       const uint8_t **lines, uint8_t *head)
{
    uint64_t left = descriptor->lines;
    int error = 0;
    while (left && !error) {
        unsigned first = (unsigned)__builtin_ctzll(left);
        uint64_t rest = left >> first;
        unsigned count = rest == UINT64_MAX ? 64 : (unsigned)__builtin_ctzll(~rest);
        size_t bytes = (size_t)count * NV_LINE_BYTES;
        error = store_lines(home, descriptor->block * NV_BLOCK_BYTES + first * NV_LINE_BYTES,
                            *lines, bytes, head);
        *lines += bytes;
        left = first + count == 64 ? 0 : left >> (first + count) << (first + count);
    }
    return error;
}

/* Zeros from `from` to the physical end: what lies behind the content must read as zeros when the
 * content grows again, whatever a crash has left there. */
static int zero_tail(struct nv_home *home, uint64_t from, uint8_t *head)
{
    struct nv_file_stat stat;
    int error = home->file.os->stat(&home->file, &stat);
    if (!error) /* another process may have made it longer than this one knows */
        error = nv_home_reserve(home, stat.bytes);
    if (error)
        return error;
    uint64_t end = stat.bytes;
    if (from < home->share.shared->mark_bytes) {
        memset(head + from, 0, HEAD_BYTES - from);
        from = HEAD_BYTES;
    }
    return from < end ? nv_home_zero(home, from, end) : 0;
}

static int apply_parsed(struct nv_home *home, const struct nv_parsed *parsed, uint8_t *head)
{
    const struct nv_record *line = &parsed->line;
    uint64_t needed = nv_max(line->size, home->share.shared->mark_bytes);
    for (uint32_t i = 0; i < line->block_count; i++)
        if (parsed->descriptors[i].block * NV_BLOCK_BYTES >= nv_align_up(needed, NV_BLOCK_BYTES))
            return nv_fail(-EUCLEAN, "the log holds a commit that writes behind the end of %s",
                           home->path);
    int error = nv_home_reserve(home, needed);
    if (!error && line->zero_from != NV_NO_ZERO)
        error = zero_tail(home, line->zero_from, head);
    const uint8_t *lines = parsed->lines;
    for (uint32_t i = 0; i < line->block_count && !error; i++)
        error = store_block(home, &parsed->descriptors[i], &lines, head);
    return error;
}

int nv_replay_range(struct nv_home *home, uint64_t first, uint64_t end, uint8_t *head)
{
    struct nv_parsed parsed = {.body = NULL};
    uint64_t chain = 0;
    uint64_t size = 0;
    int error = 0;
    for (uint64_t at = first; at < end && !error;) {
        error = nv_log_read(&home->log, at, end, chain, &parsed);
        if (error == -ENODATA)
            error = nv_fail(-EUCLEAN, "the log of %s changed while it was read", home->path);
        if (error)
            break;
        chain = parsed.line.kind == NV_RECORD_SPILL ? parsed.line.body_hash : 0;
        size = parsed.line.size;
        at += nv_record_bytes(&parsed.line);
        if (parsed.line.kind < NV_RECORD_RESOLVE_COMMIT)
            error = apply_parsed(home, &parsed, head);
    }
    free(parsed.body);
    return error ? error : nv_home_store_head(home, head, size);
}

static const struct nv_run *run_of(const struct nv_scan *scan, uint64_t seq)
{
    for (uint32_t i = 0; i < NV_SEGMENTS; i++)
        if (scan->runs[i].last_seq && scan->runs[i].first_seq <= seq &&
            seq <= scan->runs[i].last_seq)
            return &scan->runs[i];
    return NULL;
}

struct progress {
    nvmmio_progress *call;
    void *context;
    uint64_t done, total;
};

/* The transactions of one run, those behind scan->tail: repeated in home. */
static int replay_run(struct nv_home *home, const struct nv_run *run, uint64_t tail, uint8_t *head,
                      struct progress *progress)
{
    uint64_t begin = run->first;
    for (uint64_t at = run->first; at < run->end;) {
        struct nv_record line;
        int error = nv_medium_load(&home->log.medium, at, &line, sizeof line);
        if (error)
            return error;
        if (!nv_record_line_valid(&line, home->log.header.nonce, at))
            return nv_fail(-EUCLEAN, "the log of %s changed while it was read", home->path);
        uint64_t bytes = nv_record_bytes(&line);
        at += bytes;
        if (line.kind == NV_RECORD_SPILL || line.kind == NV_RECORD_PREPARE)
            continue;
        if (line.seq > tail && line.kind != NV_RECORD_RESOLVE_ABORT)
            error = nv_replay_range(home, begin, at, head);
        if (error)
            return error;
        begin = at;
        progress->done += bytes;
        if (progress->call)
            progress->call(progress->context, progress->done, progress->total);
    }
    return 0;
}

int nv_replay(struct nv_home *home, const struct nv_scan *scan, nvmmio_progress *call,
              void *context)
{
    struct progress progress = {call, context, 0, 0};
    uint8_t raw[HEAD_BYTES];
    uint8_t head[HEAD_BYTES] = {0};
    if (!scan->any)
        return 0;
    int error = nv_medium_load(&home->medium, 0, raw, sizeof raw);
    if (error)
        return error;
    if (home->share.shared->mark_bytes)
        nv_home_unmark_head(home, raw, head);
    for (uint32_t i = 0; i < NV_SEGMENTS; i++)
        progress.total += scan->runs[i].end - scan->runs[i].first;
    /* Unconditionally and in order: a difference is right only upon the commit before it. */
    for (uint64_t seq = scan->tail + 1; seq <= scan->last_seq && !error;) {
        const struct nv_run *run = run_of(scan, seq);
        if (!run)
            return nv_fail(-EUCLEAN, "the log of %s lacks a commit", home->path);
        error = replay_run(home, run, seq - 1, head, &progress);
        seq = run->last_seq + 1;
    }
    if (!error)
        memcpy(home->share.shared->head, head, sizeof head);
    return error;
}

/* ---- take-over ---- */

/*
 * What was taken back, or cut off by a death, lies where the next record would.  It must not come
 * again with a loss of power, after others have seen that it is gone; nor in the middle of a
 * replay, as it would say that home has what was before it.
 */
static int erase_ends(struct nv_home *home, const struct nv_scan *scan)
{
    struct nv_log *log = &home->log;
    struct nv_file_stat stat;
    int error = log->file.os->stat(&log->file, &stat);
    for (uint32_t i = 0; i < NV_SEGMENTS && !error; i++) {
        const uint64_t end = scan->runs[i].end + NV_LINE_BYTES;
        if (end > nv_min(nv_segment_end(log, i), stat.bytes))
            continue;
        error = nv_medium_reserve(&log->medium, end);
        if (!error)
            error = nv_log_erase(log, scan->runs[i].end);
    }
    return error;
}

/* A fence that a dead process had begun says nothing: make the accepted records durable again. */
static int persist_again(struct nv_home *home, const struct nv_scan *scan)
{
    int error = nv_log_rewrite(&home->log, 0, NV_HEADER_BYTES);
    for (uint32_t i = 0; i < NV_SEGMENTS && !error; i++)
        if (scan->runs[i].last_seq > scan->tail)
            error = nv_log_rewrite(&home->log, scan->runs[i].first, scan->runs[i].end);
    return error ? error : nv_log_fence(&home->log);
}

static int take_over(struct nv_home *home)
{
    struct nv_shared *shared = home->share.shared;
    struct nv_scan scan = {.any = false};
    if (!home->log.open) {
        int error = nv_log_open(&home->log, home->file.os, home->log_path, &home->stat.id, true,
                                home->settings.medium);
        if (error)
            return error;
    }
    struct nv_file_stat log_stat = {.bytes = 0};
    int error = nv_log_reload(&home->log, home->log_path);
    if (!error)
        error = nv_log_scan(&home->log, &scan);
    if (!error)
        error = nv_prepared_resolve(home, &scan);
    if (!error)
        error = home->log.file.os->stat(&home->log.file, &log_stat);
    if (!error)
        error = erase_ends(home, &scan);
    if (!error)
        error = persist_again(home, &scan);
    if (!error && scan.any)
        error = nv_replay(home, &scan, NULL, NULL);
    if (error || !scan.any)
        return error;
    const struct nv_header *header = &home->log.header;
    if (shared->mark_bytes && memcmp(shared->head + header->nonce_at,
                                     header->head + header->nonce_at, NVMMIO_NONCE_BYTES) != 0)
        error = nv_log_cover(&home->log, shared->head + header->nonce_at);
    if (error)
        return error;
    /* By the time that anybody can write: giving up the lock, or the retirement, is the fence. */
    if (home->medium.ops->instant)
        atomic_store(&shared->home_durable, scan.last_seq);
    const struct nv_run *run = &scan.runs[scan.last_segment];
    shared->log_segment = scan.last_segment;
    shared->log_epoch = run->epoch;
    shared->log_epoch_max = scan.max_epoch;
    shared->log_head = run->end;
    shared->log_durable = scan.last_seq;
    shared->log_file_bytes = log_stat.bytes;
    shared->log_fenced_bytes = nv_min(home->log.header.file_bytes, log_stat.bytes);
    shared->log_tail = scan.tail;
    for (uint32_t i = 0; i < NV_SEGMENTS; i++)
        shared->log_last[i] = scan.runs[i].last_seq;
    atomic_store(&shared->content_bytes, scan.last_size);
    atomic_store(&shared->applied, scan.last_seq);
    nv_prepared_clear(home, &scan);
    return 0;
}

int nv_take_over(struct nv_home *home)
{
    struct nv_shared *shared = home->share.shared;
    nv_count(&shared->counters.takeovers, 1);
    if (!atomic_load(&shared->log_live))
        return 0; /* he died before the first record */
    int error = take_over(home);
    if (error)
        atomic_store(&shared->health, NV_HEALTH_NO_ACCESS);
    return error;
}

/* ---- recovery by the first to come ---- */

enum head_state {
    HEAD_MARKED,  /* wholly, upon the content that the header knows */
    HEAD_TORN,    /* a mark half put on, or half taken off */
    HEAD_CHANGED, /* marked, upon other content: of commits that were never durable */
    HEAD_CONTENT, /* not marked */
    HEAD_FOREIGN, /* written by somebody else */
};

/* The mark is on, whatever the content: put on before any record, and never taken off since. */
static bool still_marked(const struct nv_header *header, const uint8_t *raw)
{
    bool looks = header->state == NV_HEADER_NEW &&
                 memcmp(raw + header->nonce_at, header->nonce, NVMMIO_NONCE_BYTES) == 0;
    for (size_t i = 0; i < header->mark_bytes; i++)
        looks = looks && (!header->sign[i] || raw[i] == header->empty[i]);
    return looks;
}

/* What home's first bytes are, where the header knows the content.  A crash may leave any 8
 * aligned bytes of a store by themselves. */
static enum head_state head_state(const struct nv_home *home, const uint8_t *raw,
                                  uint64_t file_bytes)
{
    const struct nv_header *header = &home->log.header;
    uint8_t marked[HEAD_BYTES];
    uint8_t cut[HEAD_BYTES] = {0}; /* marked when the file was shorter, and grown since */
    bool all_marked = true;
    bool all_content = true;
    nv_home_raw_head(home, header->head, header->base_bytes, marked);
    memcpy(cut, marked, (size_t)nv_min(HEAD_BYTES, header->base_bytes));
    /* Behind the end of the file there is nothing to tell: its growth may have been lost. */
    for (size_t i = 0; i < HEAD_BYTES && i < file_bytes; i += sizeof(uint64_t)) {
        size_t bytes = (size_t)nv_min(sizeof(uint64_t), file_bytes - i);
        bool is_marked = memcmp(raw + i, marked + i, bytes) == 0;
        bool is_content = memcmp(raw + i, header->head + i, bytes) == 0;
        if (!is_marked && !is_content && memcmp(raw + i, cut + i, bytes) != 0)
            return still_marked(header, raw) ? HEAD_CHANGED : HEAD_FOREIGN;
        all_marked = all_marked && is_marked;
        all_content = all_content && is_content;
    }
    return all_content ? HEAD_CONTENT : all_marked ? HEAD_MARKED : HEAD_TORN;
}

/* Nothing but zeros from `from` to the end: preallocated, and never written. */
static bool tail_is_zero(struct nv_home *home, uint64_t from)
{
    uint8_t chunk[4096];
    static const uint8_t zeros[sizeof chunk];
    for (;;) {
        ssize_t got = home->file.os->pread(&home->file, chunk, sizeof chunk, from);
        if (got <= 0)
            return got == 0;
        if (memcmp(chunk, zeros, (size_t)got) != 0)
            return false;
        from += (uint64_t)got;
    }
}

/*
 * The content's size where the log has no record.  A marked home is ours alone:
 * the header tells.  An unmarked one may have been written by others since; but
 * one that was (nearly) empty may also have been extended to hold the mark, and
 * any preallocated until the log was emptied: then what we added is zeros.
 */
static uint64_t size_without_records(struct nv_home *home, uint64_t file_bytes, bool marked)
{
    const struct nv_header *header = &home->log.header;
    if (marked || file_bytes <= header->base_bytes)
        return header->base_bytes;
    bool ours = header->mark_bytes == 0 || header->base_bytes < HEAD_BYTES;
    if (header->state == NV_HEADER_EMPTY) /* home had been cut */
        ours = ours && header->mark_bytes && file_bytes == HEAD_BYTES;
    return ours && tail_is_zero(home, header->base_bytes) ? header->base_bytes : file_bytes;
}

bool nv_home_log_beside(const struct nv_home *home)
{
    size_t length = strlen(home->path);
    return strncmp(home->log_path, home->path, length) == 0 && home->log_path[length] == '-';
}

static int remove_log(struct nv_home *home)
{
    const struct nv_os *os = home->file.os;
    nv_log_close(&home->log);
    int error = os->unlink(os, home->log_path);
    if (error)
        return nv_fail(error, "cannot remove the log %s: %s", home->log_path,
                       nvmmio_strerror(error));
    return 0;
}

/* Home's first bytes; where a fence of home is a sync_data, the caller's next one serves. */
static int store_durably(struct nv_home *home, const uint8_t *raw, size_t bytes)
{
    int error = nv_medium_reserve(&home->medium, bytes);
    if (!error)
        error = nv_medium_store(&home->medium, 0, raw, bytes);
    if (!error && home->medium.ops->instant)
        error = nv_medium_fence(&home->medium);
    return error;
}

/* A log without records: home is as it was when the log was made, or emptied, but for the mark. */
static int recover_unused(struct nv_home *home, const uint8_t *raw, uint64_t file_bytes)
{
    struct nv_shared *shared = home->share.shared;
    const struct nv_header *header = &home->log.header;
    enum head_state state = header->mark_bytes ? head_state(home, raw, file_bytes) : HEAD_CONTENT;
    uint64_t size = size_without_records(home, file_bytes, state <= HEAD_CHANGED);
    if (state > HEAD_CHANGED) {
        int error = 0;
        if (size < file_bytes && state == HEAD_CONTENT)
            error = home->medium.ops->shrink(&home->medium, size);
        /* Whoever took the mark off may have died before his fence, or it failed. */
        if (!error && header->mark_bytes && size && state == HEAD_CONTENT)
            error = store_durably(home, raw, (size_t)nv_min(size, HEAD_BYTES));
        if (!error) /* the size, before the log that knows it goes */
            error = home->file.os->sync_data(&home->file);
        if (!error)
            error = remove_log(home);
        /* Should it come back, what others have added would be taken for preallocated. */
        return error ? error : home->file.os->sync_directory(home->file.os, home->log_path);
    }
    if (state == HEAD_CHANGED && size)
        nv_home_unmark_head(home, raw, shared->head);
    else
        memcpy(shared->head, header->head, HEAD_BYTES);
    if (size < HEAD_BYTES) /* bytes of a commit that is lost would look like somebody's */
        memset(shared->head + size, 0, (size_t)(HEAD_BYTES - size));
    atomic_store(&shared->content_bytes, size);
    int error = nv_medium_reserve(&home->medium, nv_max(file_bytes, HEAD_BYTES));
    /* Whole again; durably so, as all of home, before the log is emptied. */
    if (!error)
        error = nv_home_store_head(home, shared->head, size);
    return error ? error : nv_retire(home);
}

static int recover_used(struct nv_home *home, struct nv_scan *scan, uint64_t file_bytes,
                        nvmmio_progress *progress, void *context)
{
    struct nv_shared *shared = home->share.shared;
    int error = nv_prepared_resolve(home, scan);
    if (!error)
        error = erase_ends(home, scan);
    if (!error)
        error = persist_again(home, scan);
    if (!error)
        error = nv_medium_reserve(&home->medium, nv_max(file_bytes, shared->mark_bytes));
    if (!error)
        error = nv_replay(home, scan, progress, context);
    if (error)
        return error;
    atomic_store(&shared->content_bytes, scan->last_size);
    nv_prepared_clear(home, scan);
    return nv_retire(home);
}

/* -ENOENT: the log of another file was of no use to anybody, and is gone. */
static int discard_left_over(struct nv_home *home, int refusal)
{
    const struct nv_os *os = home->file.os;
    struct nv_file_stat stat;
    uint8_t raw[HEAD_BYTES] = {0};
    ssize_t got = os->pread(&home->file, raw, sizeof raw, 0);
    if (got < 0 || os->stat(&home->file, &stat) != 0 ||
        !nv_log_left_over(os, home->log_path, &home->stat.id, raw, stat.bytes))
        return refusal;
    int error = os->unlink(os, home->log_path);
    return error ? error : -ENOENT;
}

int nv_recover_home(struct nv_home *home, nvmmio_progress *progress, void *context)
{
    const struct nv_os *os = home->file.os;
    struct nv_shared *shared = home->share.shared;
    struct nv_file_stat stat;
    struct nv_scan scan;
    uint8_t raw[HEAD_BYTES] = {0};
    int error =
        nv_log_open(&home->log, os, home->log_path, &home->stat.id, true, home->settings.medium);
    if (error == -EUCLEAN)
        return discard_left_over(home, error);
    if (error)
        return error;
    const struct nv_header *header = &home->log.header;
    nv_header_mark(header, &shared->mark);
    shared->mark_bytes = header->mark_bytes ? HEAD_BYTES : 0;
    ssize_t got = os->pread(&home->file, raw, sizeof raw, 0);
    error = got < 0 ? (int)got : os->stat(&home->file, &stat);
    memset(&scan, 0, sizeof scan);
    if (!error && header->state != NV_HEADER_EMPTY)
        error = nv_log_scan(&home->log, &scan);
    if (error)
        return error;
    if (!scan.any && !scan.prepare)
        return recover_unused(home, raw, stat.bytes);
    if (header->mark_bytes &&
        memcmp(raw + header->nonce_at, header->nonce, NVMMIO_NONCE_BYTES) != 0)
        return nv_fail(-EUCLEAN,
                       "%s holds commits for %s, which was replaced or changed by another program "
                       "since; nothing was changed. Move the log away to go on without them",
                       home->log_path, home->path);
    return recover_used(home, &scan, stat.bytes, progress, context);
}

/* ---- back to an ordinary file ---- */

int nv_retire(struct nv_home *home)
{
    const struct nv_os *os = home->file.os;
    struct nv_shared *shared = home->share.shared;
    uint64_t size = atomic_load(&shared->content_bytes);
    bool marked = shared->mark_bytes != 0;
    if (!home->log.open) {
        int error = nv_log_open(&home->log, os, home->log_path, &home->stat.id, true,
                                home->settings.medium);
        if (error)
            return error;
    }
    int error = nv_log_reload(&home->log, home->log_path);
    /* 1. Home durable, and cut: the log still repeats all of it.  Where a fence of home is a
     * sync_data, the one that makes its size durable serves. */
    if (!error && home->medium.ops->instant)
        error = nv_medium_fence(&home->medium);
    if (!error)
        error = home->medium.ops->shrink(&home->medium, nv_max(size, shared->mark_bytes));
    if (!error)
        error = os->sync_data(&home->file);
    /* 2. The log durably empty: from here on home alone counts. */
    if (!error)
        error = nv_log_empty(&home->log, size, shared->head);
    /* 3. The mark removed, durably.  (Home first made stock SQLite welcome, then an old log could
     * come back over what it writes.) */
    if (!error && marked && size)
        error = nv_medium_store(&home->medium, 0, shared->head, HEAD_BYTES);
    if (!error && marked && size)
        error = nv_medium_fence(&home->medium);
    if (!error && marked && size < HEAD_BYTES) {
        error = home->medium.ops->shrink(&home->medium, size);
        if (!error)
            error = os->sync_data(&home->file);
    }
    if (error)
        return nv_fail(error,
                       "cannot bring %s up to date: %s; its log stays, open it again to "
                       "finish",
                       home->path, nvmmio_strerror(error));
    /* 4. Only then may the log's name go.  Should it come back, it says that it is EMPTY; but in a
     * directory of its own nobody might look for it, and where the mark was longer than the content
     * zeros that somebody wrote would look like ours. */
    error = remove_log(home);
    if (!error && (!nv_home_log_beside(home) || size < shared->mark_bytes))
        error = os->sync_directory(os, home->log_path);
    if (!error)
        atomic_store(&shared->log_live, 0);
    return error;
}
