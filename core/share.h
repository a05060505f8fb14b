/*
 * share: what the processes that have one home open tell each other, without
 * system calls: locks, sequence numbers, and who is alive.
 *
 * One shared page for each home, the sidecar <home>-nvmmio-shm.  Every handle
 * has a slot in it.  A reader marks its own slot and then looks at the writer
 * word; a writer sets the writer word and then looks at the slots (Dekker's
 * handshake, one locked instruction each): readers write no common line.
 *
 * Every process holds, from joining to leaving, an OFD lock on one byte of its
 * own inside SQLite's SHARED range of home.  It is the proof of life (who can
 * take the byte has proven its owner dead) and it keeps stock SQLite out.
 * Joining, leaving, recovery and every opening of a sidecar by name happen under
 * an OFD lock on SQLite's PENDING byte: the door.
 *
 * Threads: functions that take a slot are called by the slot's handle only;
 * join, leave and bury under the home's mutex.
 * Crash: nothing here must survive one.  The first to come makes the page anew.
 */
#ifndef NV_SHARE_H
#define NV_SHARE_H

#include <stdalign.h>
#include <stdatomic.h>

#include "core/format.h"
#include "core/os.h"

#define NV_PROCESSES_MAX 510u /* bytes in SQLite's SHARED range */
#define NV_SLOTS_MAX 2048u    /* handles on one home, of all processes */

/* SQLite's lock bytes; no database uses the page that holds them. */
#define NV_BYTE_DOOR UINT64_C(0x40000000)    /* its PENDING byte */
#define NV_BYTE_PROCESS UINT64_C(0x40000002) /* its SHARED range */

enum nv_level {
    NV_LEVEL_NONE = 0,
    NV_LEVEL_SHARED,
    NV_LEVEL_RESERVED,
    NV_LEVEL_PENDING, /* waits for the readers to go; no new ones come */
    NV_LEVEL_EXCLUSIVE,
};

/* nv_shared.health */
enum {
    NV_HEALTH_GOOD = 0,
    NV_HEALTH_NO_WRITES, /* a commit is in doubt: reads go on, writes are refused */
    NV_HEALTH_NO_ACCESS, /* home is half applied: nothing is served until recovery */
};

struct nv_slot {                        /* written by its handle alone */
    alignas(64) _Atomic uint32_t state; /* NV_LEVEL_SHARED or NONE */
    _Atomic uint32_t owner;             /* process index + 1; 0: free */
    _Atomic uint64_t read_bytes, written_bytes, rollbacks, busy;
};

struct nv_resident { /* one process */
    alignas(64) _Atomic uint64_t pid;
    _Atomic uint64_t start_time, pid_namespace;
};

struct nv_counters { /* nv_count under the writer's lock; flushes and those of handles atomically */
    _Atomic uint64_t commits, prepares, blocks, log_bytes, home_bytes, fences, flushes;
    _Atomic uint64_t flush_waits, spills, log_grows, recoveries, takeovers;
    /* of handles that have closed */
    _Atomic uint64_t rollbacks, busy, read_bytes, written_bytes;
};

struct nv_shared {
    /* Set before `ready`, then constant. */
    uint64_t magic;
    uint32_t version;
    uint32_t mark_bytes; /* content [0, this) is served from `head`, not from home */
    uint64_t home_inode, home_birth_ns;
    _Atomic uint32_t ready;
    struct nvmmio_mark mark;
    char log_path[512];

    alignas(64) _Atomic uint32_t writer; /* see nv_writer_* */
    _Atomic uint32_t slots_used;         /* high-water mark: no slot at or above it was ever used */
    _Atomic uint32_t health;

    /* Published by the writer under EXCLUSIVE; a take-over derives all of it from the log. */
    alignas(64) _Atomic uint64_t applied; /* last commit that is in home */
    _Atomic uint64_t content_bytes;
    uint8_t head[NVMMIO_MARK_BYTES]; /* first bytes of the content, without the mark */

    /* The log; changed under RESERVED or more. */
    alignas(64) _Atomic uint32_t log_live; /* 1: the log exists, and home carries the mark */
    uint32_t log_segment;                  /* where the next record goes */
    uint32_t log_epoch;
    uint32_t log_epoch_max; /* given to any record so far */
    uint64_t log_head;      /* offset in the log */
    uint64_t log_file_bytes;
    uint64_t log_fenced_bytes; /* the same when the last fence was passed: so long it is durably */
    uint64_t log_tail;         /* up to where recovery would take home as durable */
    uint64_t log_durable;      /* last commit that the log holds durably */
    uint64_t log_last[NV_SEGMENTS]; /* last commit in each segment */
    _Atomic uint64_t home_durable;  /* last commit that home holds durably */

    alignas(64) struct nv_counters counters;
    struct nv_resident residents[NV_PROCESSES_MAX];
    struct nv_slot slots[NV_SLOTS_MAX];
};

/* A counter with one writer at a time: no locked instruction, which would wait for the stores to
 * the medium that are under way. */
static inline void nv_count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

/* A process's part in one home. */
struct nv_share {
    struct nv_file *home; /* holds the byte locks */
    const char *path;     /* home's, for messages */
    struct nv_file file;  /* the shared page's */
    struct nv_shared *shared;
    uint32_t process; /* our index: the byte we hold */
    bool alone;       /* a passive reader's private page: no locks, no others */
};

/*
 * Become one of the processes on `home`: lock the door, take a byte, map the
 * shared page.  *first: nobody else is there and the page is new; the caller
 * recovers, fills in the state, and sets ready.  The door stays locked until
 * nv_share_enter.  Waits at most `timeout_ms` for the door.
 * -EBUSY: stock SQLite has it, or the door stays shut; -EUCLEAN: the page is not ours.
 */
int nv_share_join(struct nv_share *share, struct nv_file *home, const char *path,
                  const char *page_path, int timeout_ms, bool *first);
void nv_share_enter(struct nv_share *share);

/* Lock the door again, for work on the sidecars; *alone: nobody else has home open. */
int nv_share_door_lock(struct nv_share *share, int timeout_ms, bool *alone);
void nv_share_door_unlock(struct nv_share *share);

/* Stop using the page; with `last` (door locked, alone) remove it: the error is of that.  The byte
 * and the door go with home's descriptor, which the caller closes next. */
int nv_share_leave(struct nv_share *share, const char *page_path, bool last);

/* A private page for a reader that cannot take part. */
int nv_share_private(struct nv_share *share);

/* Slots. -EUSERS: all are taken. */
int nv_share_slot_claim(struct nv_share *share, uint32_t *slot);
void nv_share_slot_free(struct nv_share *share, uint32_t slot);

/*
 * Locks, never waiting.  -EBUSY: *rival is the index of a process that holds
 * what is in the way.
 */
int nv_share_shared(struct nv_share *share, uint32_t slot, uint32_t *rival);
int nv_share_reserved(struct nv_share *share, uint32_t slot, uint32_t *rival);
/* On -EBUSY because of readers the writer word is left PENDING. */
int nv_share_exclusive(struct nv_share *share, uint32_t slot, uint32_t *rival);
bool nv_share_is_writer(const struct nv_share *share, uint32_t slot);
void nv_share_writer_release(struct nv_share *share);
/* From PENDING or EXCLUSIVE back to RESERVED: readers may come again. */
void nv_share_writer_lower(struct nv_share *share, uint32_t slot);
void nv_share_reader_release(struct nv_share *share, uint32_t slot);

/* What level another handle, or this one, holds of the writer word. */
enum nv_level nv_share_writer_level(const struct nv_share *share);

/* Sleep until the writer word may have changed, at most `microseconds`. */
void nv_share_wait(struct nv_share *share, uint64_t microseconds);

enum nv_burial {
    NV_BURIAL_ALIVE,    /* the rival lives: nothing done */
    NV_BURIAL_DONE,     /* it was dead, what it held is free */
    NV_BURIAL_INHERITED /* it died as the writer at EXCLUSIVE: `slot` now holds EXCLUSIVE, and
                           must do what the log says before it gives that up */
};
/* Is `rival` dead?  Then clear its slots.  `slot` is the asking handle's. */
enum nv_burial nv_share_bury(struct nv_share *share, uint32_t rival, uint32_t slot);

/* The owner of this byte is dead (the caller holds it): clear what it held, unless it died as
 * the writer (false). */
bool nv_share_clear_reader(struct nv_share *share, uint32_t dead);

/* Processes that live, this one included. */
uint32_t nv_share_population(struct nv_share *share);

/* Map somebody else's page read-only; -ENOENT, -EUCLEAN. */
int nv_share_peek(const struct nv_os *os, const char *page_path, const struct nv_file_id *home,
                  struct nv_file *file, const struct nv_shared **shared);
void nv_share_unpeek(struct nv_file *file, const struct nv_shared *shared);

/* Add up the counters of a page. */
void nv_share_sum(const struct nv_shared *shared, struct nvmmio_stats *stats);

#endif
