/*
 * log_scan: finding out what valid records a log holds.  The reader of bytes
 * that anybody may have written: nothing is believed before it has verified, and
 * holes cost neither time nor memory.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"
#include "core/log.h"

/* What a record may hold besides what the file has: a copy can have holes for its zeros. */
#define HOLES_MAX ((uint64_t)64 << 20)
#define SCAN_LINES 64u

static int body_buffer(struct nv_parsed *parsed, uint64_t bytes)
{
    if (bytes <= parsed->body_capacity)
        return 0;
    uint8_t *body = realloc(parsed->body, (size_t)bytes);
    if (!body)
        return -ENOMEM;
    parsed->body = body;
    parsed->body_capacity = (size_t)bytes;
    return 0;
}

/* The hash over a body, part by part as nv_log_append took it; false when the counts are wrong, or
 * a block lies behind the end of the content (of which the first `least` bytes are always there).
 */
static bool body_hash(struct nv_parsed *parsed, uint64_t least, uint64_t seed, uint64_t *hash)
{
    const struct nv_record *line = &parsed->line;
    uint64_t front = nv_record_names_bytes(line) + nv_descriptors_bytes(line->block_count);
    uint64_t lines = 0;
    uint64_t blocks = nv_align_up(nv_max(line->size, least), NV_BLOCK_BYTES) / NV_BLOCK_BYTES;
    for (uint32_t i = 0; i < line->block_count; i++) {
        if (parsed->descriptors[i].lines == 0 || parsed->descriptors[i].block >= blocks)
            return false;
        lines += (uint64_t)__builtin_popcountll(parsed->descriptors[i].lines);
    }
    if (lines != line->line_count)
        return false;
    *hash = nv_hash(parsed->body, (size_t)front, seed);
    const uint8_t *at = parsed->lines;
    for (uint32_t i = 0; i < line->block_count; i++) {
        size_t bytes = (size_t)__builtin_popcountll(parsed->descriptors[i].lines) * NV_LINE_BYTES;
        *hash = nv_hash(at, bytes, *hash);
        at += bytes;
    }
    return true;
}

/* Two strings, each ended within the names. */
static bool names_valid(struct nv_parsed *parsed)
{
    const char *names = (const char *)parsed->body;
    size_t bytes = (size_t)nv_record_names_bytes(&parsed->line);
    if (bytes == 0)
        return true;
    size_t super = strnlen(names, bytes);
    if (super == 0 || super == bytes)
        return false;
    size_t child = strnlen(names + super + 1, bytes - super - 1);
    if (child == bytes - super - 1)
        return false;
    parsed->super = names;
    parsed->child = names + super + 1;
    return true;
}

int nv_log_read(struct nv_log *log, uint64_t offset, uint64_t limit, uint64_t chain,
                struct nv_parsed *parsed)
{
    struct nv_record *line = &parsed->line;
    if (offset > limit || limit - offset < NV_LINE_BYTES)
        return -ENODATA;
    int error = nv_medium_load(&log->medium, offset, line, sizeof *line);
    if (error)
        return error;
    if (!nv_record_line_valid(line, log->header.nonce, offset))
        return -ENODATA;
    uint64_t bytes = nv_record_body_bytes(line);
    if (nv_record_bytes(line) > limit - offset)
        return -ENODATA;
    if (bytes > log->body_bytes_max)
        return nv_fail(-EUCLEAN,
                       "the log is damaged, or a copy with holes: a commit in it is larger "
                       "than what it holds; nothing was changed. Restore the log from a "
                       "copy (cp --sparse=never)");
    error = body_buffer(parsed, nv_max(bytes, 1));
    if (!error)
        error = nv_medium_load(&log->medium, offset + NV_LINE_BYTES, parsed->body, (size_t)bytes);
    if (error)
        return error;
    uint64_t names = nv_record_names_bytes(line);
    parsed->descriptors = (const struct nv_descriptor *)(const void *)(parsed->body + names);
    parsed->lines = parsed->body + names + nv_descriptors_bytes(line->block_count);
    uint64_t hash = 0;
    uint64_t seed = nv_record_body_seed(log->header.nonce, offset, line, chain);
    if (!body_hash(parsed, log->header.mark_bytes, seed, &hash) || hash != line->body_hash ||
        !names_valid(parsed))
        return -ENODATA;
    return 0;
}

/* Where the bytes of a segment end in the file that there is. */
static uint64_t segment_limit(struct nv_log *log, uint32_t segment, uint64_t file_bytes)
{
    return nv_min(nv_segment_end(log, segment), file_bytes);
}

struct walk {
    uint64_t chain;    /* of the spills so far */
    uint64_t open_seq; /* spills or a prepare of this one are waiting for their end; 0: none */
    uint64_t open_at;  /* where it began */
    uint64_t prepare;  /* offset of a prepare without its resolve */
};

/* Whether the record continues what came before it in its segment. */
static bool fits(const struct nv_run *run, const struct walk *walk, const struct nv_record *line)
{
    if (run->epoch && line->epoch != run->epoch)
        return false;
    bool resolves = line->kind == NV_RECORD_RESOLVE_COMMIT || line->kind == NV_RECORD_RESOLVE_ABORT;
    if (walk->prepare)
        return resolves && line->seq == walk->open_seq;
    if (resolves || line->seq == 0 || line->epoch == 0)
        return false;
    if (walk->open_seq)
        return line->seq == walk->open_seq;
    return run->last_seq == 0 || line->seq == run->last_seq + 1;
}

static void complete(struct nv_scan *scan, struct nv_run *run, uint32_t segment,
                     const struct nv_record *line, uint64_t end)
{
    if (run->last_seq == 0)
        run->first_seq = line->seq;
    run->last_seq = line->seq;
    run->end = end;
    if (!scan->any || line->seq > scan->last_seq) {
        scan->any = true;
        scan->last_seq = line->seq;
        scan->last_segment = segment;
        scan->last_size = line->size;
        scan->tail = line->seq - line->tail_back;
        scan->durable = line->seq - line->durable_back;
    }
}

struct bounds {
    uint64_t file_bytes;
    uint64_t seq_max; /* what lies behind a gap does not count */
};

static int scan_segment(struct nv_log *log, uint32_t segment, const struct bounds *bounds,
                        struct nv_scan *scan, struct nv_parsed *parsed, uint64_t *prepare_seq)
{
    struct nv_run *run = &scan->runs[segment];
    struct walk walk = {0};
    uint64_t offset = nv_segment_start(log, segment);
    uint64_t limit = segment_limit(log, segment, bounds->file_bytes);
    run->first = run->end = offset;
    for (;;) {
        int error = nv_log_read(log, offset, limit, walk.chain, parsed);
        if (error == -ENODATA ||
            (!error && (!fits(run, &walk, &parsed->line) || parsed->line.seq > bounds->seq_max)))
            break;
        if (error)
            return error;
        const struct nv_record *line = &parsed->line;
        run->epoch = line->epoch;
        scan->max_epoch = (uint32_t)nv_max(scan->max_epoch, line->epoch);
        if (!walk.open_seq)
            walk.open_at = offset;
        offset += nv_record_bytes(line);
        walk.chain = line->kind == NV_RECORD_SPILL ? line->body_hash : 0;
        walk.open_seq = line->seq;
        if (line->kind == NV_RECORD_PREPARE) {
            walk.prepare = offset - nv_record_bytes(line);
        } else if (line->kind != NV_RECORD_SPILL) {
            complete(scan, run, segment, line, offset);
            if (scan->last_seq == line->seq)
                scan->resolved = walk.prepare;
            walk = (struct walk){0};
        }
    }
    if (walk.prepare && walk.open_seq > *prepare_seq) {
        *prepare_seq = walk.open_seq;
        scan->prepare = walk.prepare;
        scan->prepare_segment = segment;
        scan->prepare_end = offset;
    }
    return 0;
}

/* The first line at or behind `offset` of which a part is not in a hole. */
static uint64_t behind_hole(struct nv_log *log, uint64_t offset)
{
    const struct nv_os *os = log->file.os;
    uint64_t data = offset;
    if (!os->next_data || os->next_data(&log->file, offset, &data) != 0)
        return offset;
    return nv_max(offset, nv_align_down(data, NV_LINE_BYTES));
}

/* A line behind the valid ones that was written when a missing one was durable already. */
static int find_damage(struct nv_log *log, uint32_t segment, uint64_t limit, bool sparse,
                       const struct nv_scan *scan)
{
    struct nv_record lines[SCAN_LINES];
    uint64_t offset = scan->runs[segment].end;
    while (offset < limit && limit - offset >= NV_LINE_BYTES) {
        size_t count = (size_t)nv_min(SCAN_LINES, (limit - offset) / NV_LINE_BYTES);
        int error = nv_medium_load(&log->medium, offset, lines, count * sizeof *lines);
        if (error)
            return error;
        if (sparse && lines[0].kind == 0 && lines[count - 1].kind == 0) {
            uint64_t data = behind_hole(log, offset);
            if (data > offset) {
                offset = data;
                continue;
            }
        }
        for (size_t i = 0; i < count; i++) {
            const struct nv_record *line = &lines[i];
            if (line->kind < NV_RECORD_COMMIT || line->kind > NV_RECORD_RESOLVE_ABORT ||
                line->seq <= scan->last_seq ||
                !nv_record_line_valid(line, log->header.nonce, offset + i * NV_LINE_BYTES))
                continue;
            if (line->seq - line->durable_back > scan->last_seq)
                return nv_fail(-EUCLEAN,
                               "the log is damaged: commit %llu was durable and cannot be read; "
                               "nothing was changed. Restore the log from a copy, or move it away "
                               "to go back to the last state that home holds",
                               (unsigned long long)scan->last_seq + 1);
        }
        offset += count * NV_LINE_BYTES;
    }
    return 0;
}

/* The first commit that home may lack and the log does not have; 0: it has them all. */
static uint64_t find_gap(const struct nv_scan *scan)
{
    uint64_t next = scan->tail + 1;
    for (uint32_t pass = 0; pass < NV_SEGMENTS; pass++)
        for (uint32_t i = 0; i < NV_SEGMENTS; i++) {
            const struct nv_run *run = &scan->runs[i];
            if (run->last_seq && run->first_seq <= next && run->last_seq >= next)
                next = run->last_seq + 1;
        }
    return scan->any && next <= scan->last_seq ? next : 0;
}

static int scan_segments(struct nv_log *log, const struct bounds *bounds, struct nv_scan *scan)
{
    struct nv_parsed parsed = {.body = NULL};
    uint64_t prepare_seq = 0;
    int error = 0;
    memset(scan, 0, sizeof *scan);
    for (uint32_t i = 0; i < NV_SEGMENTS && !error; i++)
        error = scan_segment(log, i, bounds, scan, &parsed, &prepare_seq);
    free(parsed.body);
    if (scan->any && log->header.tail > scan->tail && log->header.tail <= scan->last_seq)
        scan->tail = log->header.tail;
    /* A prepare counts as open only when it would be the next commit. */
    if (scan->prepare && prepare_seq != scan->last_seq + 1)
        scan->prepare = 0;
    return error;
}

int nv_log_scan(struct nv_log *log, struct nv_scan *scan)
{
    struct bounds bounds = {.seq_max = UINT64_MAX};
    struct nv_file_stat stat;
    uint64_t gap = 0;
    memset(scan, 0, sizeof *scan);
    int error = log->file.os->stat(&log->file, &stat);
    if (!error)
        log->body_bytes_max = stat.space_bytes + HOLES_MAX;
    /* Map all that there is now, but for one with holes: those are not worth filling. */
    if (!error && log->medium.ops->mapped && stat.space_bytes >= stat.bytes)
        error = nv_medium_reserve(&log->medium, stat.bytes);
    if (error)
        return error;
    bounds.file_bytes = stat.bytes;
    do {
        error = scan_segments(log, &bounds, scan);
        gap = error ? 0 : find_gap(scan);
        if (gap && gap <= scan->durable)
            return nv_fail(-EUCLEAN,
                           "the log is damaged: commit %llu, which home may lack, cannot be read; "
                           "nothing was changed. Restore the log from a copy",
                           (unsigned long long)gap);
        /* It was never durable, and so none behind it was: the log ends there. */
        bounds.seq_max = gap - 1;
    } while (gap);
    if (!error && !scan->any && !scan->prepare && log->header.state == NV_HEADER_USED)
        error = nv_fail(-EUCLEAN, "the log is damaged: it held commits, and none can be read; "
                                  "nothing was changed. Restore the log from a copy, or move it "
                                  "away to go back to the state that home holds");
    for (uint32_t i = 0; i < NV_SEGMENTS && !error; i++)
        error = find_damage(log, i, segment_limit(log, i, stat.bytes),
                            stat.space_bytes < stat.bytes, scan);
    return error;
}
