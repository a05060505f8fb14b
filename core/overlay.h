/*
 * overlay: what one handle has staged: blocks of 4096 bytes with a bit for each
 * line that was written, and a staged size.  Private memory of one handle, used
 * by one thread; a crash leaves nothing of it.
 */
#ifndef NV_OVERLAY_H
#define NV_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/format.h"

#define NV_ALL_LINES UINT64_MAX

struct nv_staged {
    uint64_t block;
    uint64_t dirty;      /* lines that are staged; all of them once it spilled */
    uint8_t *data;       /* NV_BLOCK_BYTES; NULL while it is in the log only */
    uint64_t spilled_at; /* where in the log */
};

struct nv_overlay {
    struct nv_staged *blocks; /* in the order of their first write */
    size_t count, capacity;
    uint32_t *index; /* open addressing: position in blocks + 1; used past a few blocks */
    size_t index_slots;
    uint8_t **spare; /* buffers to use again */
    size_t spare_count;
    size_t in_memory; /* blocks with data */

    bool active;        /* something is staged: blocks, or a new size */
    uint64_t size;      /* of the content, as staged; valid while active */
    uint64_t zero_from; /* home's bytes from here on count as zeros; NV_NO_ZERO: none do */
};

void nv_overlay_init(struct nv_overlay *overlay);
void nv_overlay_free(struct nv_overlay *overlay);

struct nv_staged *nv_overlay_find(const struct nv_overlay *overlay, uint64_t block);
/* Find, or add with no line dirty and its bytes undefined.  NULL: no memory, nothing changed.
 * The pointer is good until the next add or cut. */
struct nv_staged *nv_overlay_add(struct nv_overlay *overlay, uint64_t block);
/* Give a spilled block its buffer back (contents undefined).  False: no memory. */
bool nv_overlay_unspill(struct nv_overlay *overlay, struct nv_staged *staged);
/* Its bytes are in the log at `offset` now: give the buffer up. */
void nv_overlay_spill(struct nv_overlay *overlay, struct nv_staged *staged, uint64_t offset);
/* Drop all blocks numbered `block` or more. */
void nv_overlay_cut(struct nv_overlay *overlay, uint64_t block);
/* Ascending by block number. */
void nv_overlay_sort(struct nv_overlay *overlay);
/* Nothing staged any more; keeps some memory for the next transaction. */
void nv_overlay_reset(struct nv_overlay *overlay);

#endif
