/*
 * handle: one open of a file, the public `struct nvmmio`.  Its lock, what it has
 * staged, and the transaction it is committing.
 *
 * Threads: one at a time.  Crash: nothing here survives; what others must know
 * is in the shared page and in the log.
 */
#ifndef NV_HANDLE_H
#define NV_HANDLE_H

#include "core/home.h"
#include "core/overlay.h"

#define NV_STAGE_BYTES_DEFAULT ((uint64_t)64 << 20)

struct nvmmio {
    struct nv_process *process;
    struct nv_home *home;
    bool joined;
    bool read_only;
    int timeout_ms;
    uint64_t stage_bytes;

    /* Locks.  `asked` is what nvmmio_lock took, and what the end of a transaction goes back to. */
    uint32_t slot;
    bool reading;          /* our slot is marked SHARED */
    enum nv_level writing; /* our level of the writer word: NONE, RESERVED, PENDING, EXCLUSIVE */
    enum nv_level asked;
    bool barred; /* home holds half of our commit: as long as we keep the lock, nothing is read */

    struct nv_overlay overlay;
    uint64_t zero_pending; /* zero_from of the next record: what no record tells yet */
    enum nvmmio_stage stage;
    bool hardens; /* the last commit was, so the next one is expected to be: a matter of speed */

    struct nv_cursor cursor;   /* where this transaction's records are */
    struct nv_cursor unsealed; /* the same before the seal */
    struct nv_record sealed;   /* the commit line */
    char *super, *child;       /* of a prepared transaction */

    uint8_t *scratch; /* record under construction */
    size_t scratch_bytes;
    struct iovec *parts;
    size_t part_count;
    uint32_t dense; /* commits for which looking for unchanged lines is not worth while */
};

/* ---- lock.c: levels.  NONE < SHARED < RESERVED < EXCLUSIVE; EXCLUSIVE tries leave PENDING. ----
 */

int nv_lock_raise(struct nvmmio *handle, enum nv_level level, int timeout_ms);
/* To NONE, SHARED or RESERVED. */
void nv_lock_lower(struct nvmmio *handle, enum nv_level level);
enum nv_level nv_lock_level(const struct nvmmio *handle);
/* Join the home if that has not been done. */
int nv_handle_join(struct nvmmio *handle, int timeout_ms);

/* ---- stage.c ------------------------------------------------------------------------------------
 */

/* The content as this handle sees it: staged over committed.  Caller holds SHARED or more; the
 * range is inside the staged size. */
int nv_stage_read(struct nvmmio *handle, uint64_t offset, void *buffer, size_t bytes);
/* Caller holds RESERVED or more, the log is there. */
int nv_stage_write(struct nvmmio *handle, uint64_t offset, const void *data, size_t bytes);
int nv_stage_truncate(struct nvmmio *handle, uint64_t bytes);
uint64_t nv_stage_size(const struct nvmmio *handle);
/* Fill the lines of a block that are not staged, from home. */
int nv_stage_fill(struct nvmmio *handle, struct nv_staged *staged, uint64_t lines);

/* ---- commit.c ---- */

int nv_commit_harden(struct nvmmio *handle); /* the log durable up to the sealed record */
int nv_commit_apply(struct nvmmio *handle);  /* sealed or prepared: to home, and published */
int nv_commit_unseal(struct nvmmio *handle);
int nv_commit_resolve(struct nvmmio *handle, bool commit);
/* Drop what is staged or sealed; the locks stay. */
int nv_commit_drop(struct nvmmio *handle);
/* The same for one who goes without a word: a prepared transaction goes as recovery would decide.
 */
int nv_commit_abandon(struct nvmmio *handle);

/* ---- seal.c ------------------------------------------------------------------------------ */

int nv_commit_seal(struct nvmmio *handle, enum nv_record_kind kind);
/* Move blocks to the log when the transaction is too large for memory. */
int nv_commit_spill(struct nvmmio *handle);
/* A record of nothing but its line. */
int nv_seal_bare(struct nvmmio *handle, enum nv_record_kind kind);

/* ---- place.c ---- */

/* Room in the log for `bytes` more of this transaction. -ENOSPC */
int nv_place(struct nvmmio *handle, uint64_t bytes, bool overflow);

#endif
