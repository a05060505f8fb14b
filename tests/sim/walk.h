/*
 * walk: going through a trace over the state in which it began, keeping what is
 * durable, and making the states that a power loss could leave.
 *
 * While a walk goes on, the machine's files hold what is durable for sure; what
 * was stored since and is not yet covered is pending, and a power loss leaves
 * any choice of it:
 *   dax   any 8 bytes by themselves, an older version of them as well
 *   page  any sectors of 512 bytes (or of 4096, all at once), older versions too
 *   sizes of one file in their order, but regardless of what was stored to it;
 *     with `ordered`, none without the write that made the file so long
 *   names of one directory in their order, or in none; with `ordered`, in their
 *     order; directories by themselves
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_WALK_H
#define TESTS_SIM_WALK_H

#include "tests/sim/sim.h"

struct pending {
    uint8_t kind; /* STORE, ZERO, SIZE, NAME, UNNAME or RENAME of enum trace_kind */
    uint8_t process;
    uint8_t cover; /* of a store: enum trace_cover */
    bool lost;     /* a failed sync forgot it: no later one covers it */
    uint32_t file;
    uint32_t bytes;
    uint32_t unit; /* bytes */
    uint64_t offset;
    uint64_t limit;   /* bytes of the file from here on were cut off durably since */
    size_t event;     /* its place in the trace */
    uint64_t *hidden; /* units that later, durable bytes lie over; NULL: none */
};

struct walk {
    struct sim *sim;
    const struct trace *trace;
    size_t next;  /* event */
    bool ordered; /* the file system keeps the order that programs see, as ext4 and xfs do */
    struct pending *pending;
    size_t count, capacity;
    bool *chosen; /* of pending; room for walk_image */
    sim_mark_t start;
};

void walk_begin(struct walk *walk, struct sim *sim, const struct trace *trace);
/* Takes back what the walk did to the machine. */
void walk_end(struct walk *walk);

enum walk_step {
    WALK_END,
    WALK_SAME, /* nothing is possible after this event that was not before */
    WALK_MORE, /* something new is pending */
    WALK_NOTE, /* what is allowed differs */
};
enum walk_step walk_next(struct walk *walk);

/* A choice among what is pending.  WALK_SUBSET | bits takes the units by number; anything else is
 * the seed of a random one. */
#define WALK_SUBSET (UINT64_C(1) << 63)
#define WALK_SUBSET_UNITS 12u
/* How many units there are to choose; more than WALK_SUBSET_UNITS counts as that + 1. */
uint32_t walk_units(const struct walk *walk);

/*
 * Make the state of the machine that `choice` leaves, as after a power loss;
 * sim_undo_to takes it back.  Returns a hash of what was chosen; with `newest`,
 * 0 when nothing of the newest is in it (it was possible before).
 */
uint64_t walk_image(struct walk *walk, uint64_t choice, bool newest);

#endif
