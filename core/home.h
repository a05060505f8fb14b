/*
 * home: one process's view of one user file: its descriptor (the only one that
 * the engine has in this process), medium, log, and part in the shared page.
 * Kept in the process's table by inode; every handle on the file refers to it.
 *
 * Threads: `mutex` guards joining, leaving, opening the log and burying the
 * dead, `growth` the size of the mappings; the rest is used under the locks of
 * `share`.
 */
#ifndef NV_HOME_H
#define NV_HOME_H

#include <pthread.h>

#include "core/log.h"
#include "core/medium.h"
#include "core/process.h"
#include "core/share.h"

struct nv_flusher; /* flush.c */

/* What the last close does with the file's name, while nobody can open it. */
struct nv_farewell {
    const char *to; /* the new name; NULL: none */
    int error;      /* 0 when it was done */
};

struct nv_settings { /* options that belong to the file, not to a handle */
    enum nvmmio_medium medium;
    uint64_t log_bytes;
    struct nvmmio_mark mark;
};

struct nv_home {
    struct nv_home *next;
    struct nv_process *process;
    uint32_t references; /* handles that are open */
    uint32_t members;    /* of these, handles that have joined */
    pthread_mutex_t mutex;
    pthread_cond_t left;      /* with mutex: no longer leaving */
    bool leaving;             /* the last member is about it; set under both mutexes */
    pthread_mutex_t growth;   /* inside mutex: growing and mapping */
    pthread_mutex_t flushing; /* inside mutex: making home durable */

    char *path; /* with all links resolved: the sidecars' names follow from it */
    char *log_path;
    char *page_path;
    struct nv_settings settings;

    struct nv_file file;
    struct nv_file
        older; /* an earlier descriptor, kept as long as the present one; .os NULL: none */
    struct nv_file_stat stat;  /* as found when it was opened; bytes is not kept up to date */
    bool passive;              /* no right to write: reads only, takes part in nothing */
    nvmmio_progress *progress; /* of a recovery in join; NULL: nobody asks */
    void *progress_context;
    struct nv_farewell *farewell; /* NULL: none */

    /* While members > 0. */
    struct nv_medium medium;
    struct nv_probe probe;
    struct nv_share share;
    struct nv_log log;
    _Atomic bool log_ready; /* the log is open: seen by handles that do not hold the mutex */
    struct nv_flusher *flusher;
};

/* The process's entry for the file at `path`, found or opened; +1 reference. */
int nv_home_acquire(struct nv_process *process, const char *path,
                    const struct nvmmio_options *options, struct nv_home **out);
void nv_home_release(struct nv_home *home);

/* +1 member.  The first of this process joins the others, or recovers (with read_only: -EROFS). */
int nv_home_join(struct nv_home *home, int timeout_ms, bool read_only);
/* -1 member.  The last of all processes leaves an ordinary file behind. */
int nv_home_leave(struct nv_home *home, int timeout_ms);

/* Make sure the log exists (home marked, all of it durable) and is open in this process.  Caller
 * holds RESERVED or more. */
int nv_home_log(struct nv_home *home, int timeout_ms);

/* Copy [offset, offset + bytes) of the committed content, which is that long at least.  Caller
 * holds SHARED or more. */
int nv_home_read(struct nv_home *home, uint64_t offset, void *buffer, size_t bytes);
/* The mapped bytes, mapping more if need be; NULL where the medium is not mapped. */
const uint8_t *nv_home_view(struct nv_home *home, uint64_t offset, size_t bytes);
/* Where a mapping's fences know nothing of it: the file's size and blocks are durable. */
int nv_home_sync_size(struct nv_home *home);
/* Space for content of `bytes` exists. */
int nv_home_reserve(struct nv_home *home, uint64_t bytes);
/* The first bytes of the content as home must carry them while the log lives. */
void nv_home_raw_head(const struct nv_home *home, const uint8_t *head, uint64_t content_bytes,
                      uint8_t *raw);
/* And back; of a placeholder comes nothing of use. */
void nv_home_unmark_head(const struct nv_home *home, const uint8_t *raw, uint8_t *head);
/* Store the first bytes of the content as home must carry them while the log lives. */
int nv_home_store_head(struct nv_home *home, const uint8_t *head, uint64_t content_bytes);
/* Content [from, to) becomes zeros. */
int nv_home_zero(struct nv_home *home, uint64_t from, uint64_t to);

/* Home's raw first bytes carry the mark of a log. */
bool nv_home_looks_marked(const struct nvmmio_mark *mark, const uint8_t *raw, size_t bytes);

/* ---- recovery.c -------------------------------------------------------------------------- */

/* First to come: door locked, nobody else there.  Brings home to the last commit and removes the
 * log.  `progress` may be NULL. */
int nv_recover_home(struct nv_home *home, nvmmio_progress *progress, void *context);
/* We hold EXCLUSIVE in place of a dead writer: finish what he committed. */
int nv_take_over(struct nv_home *home);
/* Files that a process left when it died while it made them, and that decide nothing.  The log is
 * recovered, nobody else is there. */
void nv_remove_leftovers(struct nv_home *home);
#define NV_MULTI_INFIX "-nvmmio-multi-"
/* Name of the file by which nvmmio_sync_many marks a participant; to be freed. */
char *nv_multi_part(const char *path);
/* The log has home's name and stands in its directory. */
bool nv_home_log_beside(const struct nv_home *home);
/* Last to go, or after recovery: home durable, log empty, mark gone, sidecar gone, exact size. */
int nv_retire(struct nv_home *home);
/* Bring home to the state of the scan, from the record after scan->tail on. */
int nv_replay(struct nv_home *home, const struct nv_scan *scan, nvmmio_progress *call,
              void *context);
/* Copy the transaction that lies at [first, end) of the log to home.  `head` is kept up to date. */
int nv_replay_range(struct nv_home *home, uint64_t first, uint64_t end, uint8_t *head);

/* ---- prepared.c -------------------------------------------------------------------- */

/* A transaction that is prepared and not resolved: decide, write the decision durably, scan again.
 */
int nv_prepared_resolve(struct nv_home *home, struct nv_scan *scan);
/* Home holds the outcome: the files that held the decision are not needed any more. */
void nv_prepared_clear(struct nv_home *home, const struct nv_scan *scan);

/* ---- flush.c ------------------------------------------------------------------------------- */

/* Under the writer's lock: what was applied without waiting is durable in the log, on return. */
int nv_flush_log(struct nv_home *home);
/* Home is durable at least up to commit `seq`, on return. */
int nv_flush_home(struct nv_home *home, uint64_t seq);
/* The same off the commit path, some time. */
void nv_flush_later(struct nv_home *home, uint64_t seq);
/* Do it now, where the system has no threads; 1: something was done. */
int nv_flush_step(struct nv_home *home);
void nv_flusher_stop(struct nv_home *home);

/* ---- process.c ----------------------------------------------------------------------------- */

const struct nv_os *nv_process_os(const struct nv_process *process);
/* False in a child that forked off the process. */
bool nv_process_here(const struct nv_process *process);

#endif
