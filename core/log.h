/*
 * log: the sidecar <home>-nvmmio.  Making and opening it, putting records into
 * it, and finding out what valid records it holds.  It knows nothing of home's
 * content.
 *
 * Threads: by the holder of the writer's lock, or under the locked door.
 * Crash guarantee: a record counts when it verifies, and it is sure to verify
 * once a fence of the log's medium was passed after it was written.
 */
#ifndef NV_LOG_H
#define NV_LOG_H

#include "core/format.h"
#include "core/medium.h"
#include "core/share.h"

struct nv_log {
    struct nv_file file;
    struct nv_medium medium;
    struct nv_probe probe;
    struct nv_header header;
    uint64_t bound_bytes;        /* of the log, but for one large transaction */
    uint64_t body_bytes_max;     /* of a record: set by a scan, from what the file really holds */
    uint64_t settled_generation; /* a header that this process knows to be durable; 0: none */
    uint32_t used_notes;         /* made by this process */
    bool open;
};

/* What a new log is made for. */
struct nv_log_plan {
    const char *path;
    struct nv_file_stat home; /* sidecars take its owner and mode */
    enum nvmmio_medium medium;
    uint64_t log_bytes; /* 0: the medium's default */
    uint64_t content_bytes;
    const struct nvmmio_mark *mark;
    uint8_t head[NVMMIO_MARK_BYTES]; /* its first bytes */
};

/*
 * Make a log with no records, durable together with its name.  One that is there
 * already, without a record, is taken over: somebody died while he prepared.
 * -EUCLEAN: what is there is of another file, or holds records.
 */
int nv_log_create(struct nv_log *log, const struct nv_os *os, const struct nv_log_plan *plan);
/* The name under which a log is made, "<path>-new"; to be freed.  NULL: no memory. */
char *nv_log_aside(const char *path);

/*
 * Open what is there and read the header.  -ENOENT; -ELOOP: a symbolic link;
 * -EUCLEAN: no valid header, another version, or another home's.
 */
int nv_log_open(struct nv_log *log, const struct nv_os *os, const char *path,
                const struct nv_file_id *home, bool writable, enum nvmmio_medium medium);
void nv_log_close(struct nv_log *log);

/* Whether a log of another file holds nothing that anybody could want: its home was lost before a
 * first commit, or its own removal was.  `raw`: the first bytes of the home that is there now. */
bool nv_log_left_over(const struct nv_os *os, const char *path, const struct nv_file_id *home,
                      const uint8_t *raw, uint64_t home_bytes);

/* Durable is what was written before. */
int nv_log_fence(struct nv_log *log);
/* A first commit is durable, in a file of `file_bytes`, durably so long already: from now on a log
 * without records, or a shorter one, may be told for damaged.  Called before the fences of two
 * commits, so that both copies of the header say so, and for the first one after the file grew. */
int nv_log_used(struct nv_log *log, uint64_t file_bytes);
/* Durably: home holds all commits up to `tail`, whatever the last record says. */
int nv_log_tail(struct nv_log *log, uint64_t tail);
/* Cut the file to `file_bytes`, with commits that home has: durably up to `tail`.  The header says
 * so durably before they go. */
int nv_log_cut(struct nv_log *log, uint64_t tail, uint64_t file_bytes);
/* Durably: the content in whose place the nonce stands. */
int nv_log_cover(struct nv_log *log, const uint8_t covered[NVMMIO_NONCE_BYTES]);
/* Read the header again: another process may have changed it. */
int nv_log_reload(struct nv_log *log, const char *path);
/* Durably: the records count for nothing any more, home alone does, with content of this size and
 * with these first bytes. */
int nv_log_empty(struct nv_log *log, uint64_t content_bytes, const uint8_t head[NVMMIO_MARK_BYTES]);

/* ---- writing --------------------------------------------------------------------------- */

/* Where a transaction's records go; private to the writer until it is applied. */
struct nv_cursor {
    bool placed; /* the fields below are set */
    uint32_t segment;
    uint32_t epoch;
    uint64_t first; /* offset of the transaction's first record */
    uint64_t head;  /* where the next one goes */
    uint64_t last;  /* offset of the last one written */
    uint64_t chain; /* body hash of the last spill, 0: none */
    uint64_t spills;
};

/* How far the file is to reach when it has `have` bytes and `bytes` are needed: four times as far,
 * but no step is over a MiB, and it ends with the segments unless more is needed. */
uint64_t nv_log_reach(const struct nv_log *log, uint64_t have, uint64_t bytes);
/* Store zeros to [from, to), which was not used before: on a disk, the fdatasync of a commit then
 * has no blocks to allocate; in memory no commit meets a page fault (but in the overflow segment,
 * which is for large ones, that would be to write them twice). */
int nv_log_warm(struct nv_log *log, uint64_t from, uint64_t to);
uint64_t nv_segment_start(const struct nv_log *log, uint32_t segment);
/* Segment 2 ends nowhere: UINT64_MAX. */
uint64_t nv_segment_end(const struct nv_log *log, uint32_t segment);

/*
 * Put one record at cursor->head, which has room for it.  parts[0] is the line
 * itself, parts[1] names and descriptors, and then comes one part for each
 * descriptor: the hash goes from part to part; one more part than `count` there
 * is room for.  Fills in epoch and hashes; may change the parts.  Not durable before
 * nv_medium_fence(&log->medium).
 */
int nv_log_append(struct nv_log *log, struct nv_cursor *cursor, struct nv_record *record,
                  struct iovec *parts, int count, bool fence_follows);
/* Take the record at `offset` back: its line does not verify any more (from the next fence on
 * also after a crash). */
int nv_log_erase(struct nv_log *log, uint64_t offset);

/* ---- reading --------------------------------------------------------------------------- */

struct nv_run { /* the valid records of one segment */
    uint32_t epoch;
    uint64_t first_seq, last_seq; /* of complete transactions; 0, 0: none */
    uint64_t first, end;          /* offsets: first record, behind the last complete one */
};

struct nv_scan {
    struct nv_run runs[NV_SEGMENTS];
    bool any;
    uint32_t last_segment; /* that holds last_seq */
    uint64_t last_seq;
    uint64_t last_size;   /* of the content after it */
    uint64_t tail;        /* home is known to be durable up to here */
    uint64_t durable;     /* the log was known to be durable up to here */
    uint32_t max_epoch;   /* that any valid line has */
    uint64_t prepare;     /* offset of a PREPARE that is not resolved; or 0 */
    uint64_t prepare_end; /* behind it */
    uint32_t prepare_segment;
    uint64_t resolved; /* offset of the PREPARE that commit last_seq resolves; or 0 */
};

/*
 * Find the valid records.  -EUCLEAN: one is missing that was durable once.
 * Reads at most the file; believes nothing that does not verify.
 */
int nv_log_scan(struct nv_log *log, struct nv_scan *scan);

/* One record, body and all, in memory. */
struct nv_parsed {
    struct nv_record line;
    const char *super, *child; /* PREPARE; child may be "" */
    const struct nv_descriptor *descriptors;
    const uint8_t *lines;
    uint8_t *body; /* what the pointers point into; freed by the owner, reused by the next read */
    size_t body_capacity;
};
/* Read and verify the record at `offset`; `chain` as in nv_record_body_seed. 0, or -ENODATA when
 * it does not verify. */
int nv_log_read(struct nv_log *log, uint64_t offset, uint64_t limit, uint64_t chain,
                struct nv_parsed *parsed);

/* Write the bytes of [first, end) again, so that the next fence covers them (a fence that a dead
 * process had begun, or that failed, says nothing of them). */
int nv_log_rewrite(struct nv_log *log, uint64_t first, uint64_t end);

#endif
