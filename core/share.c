#include "core/share.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/base.h"
#include "core/error.h"

/* The writer word: 0, or the writer's slot and level.  32 bits, so that a futex can wait on it. */
#define WRITER_LEVEL 7u
#define WRITER_WAITED 8u /* somebody sleeps on the word */
#define WRITER_SLOT_SHIFT 8

static uint32_t writer_word(uint32_t slot, enum nv_level level)
{
    return (slot + 1) << WRITER_SLOT_SHIFT | (uint32_t)level;
}

static enum nv_level writer_level(uint32_t word)
{
    return (enum nv_level)(word & WRITER_LEVEL);
}

/* The process that a slot belongs to; UINT32_MAX when nobody owns it any more. */
static uint32_t slot_process(const struct nv_shared *shared, uint32_t slot)
{
    uint32_t owner = atomic_load_explicit(&shared->slots[slot].owner, memory_order_acquire);
    return owner - 1;
}

static uint32_t writer_slot(uint32_t word)
{
    uint32_t slot = (word >> WRITER_SLOT_SHIFT) - 1;
    return slot < NV_SLOTS_MAX ? slot : 0;
}

static void wake(struct nv_shared *shared)
{
    syscall(SYS_futex, &shared->writer, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- locks ----------------------------------------------------------------------------- */

int nv_share_shared(struct nv_share *share, uint32_t slot, uint32_t *rival)
{
    struct nv_shared *shared = share->shared;
    struct nv_slot *mine = &shared->slots[slot];
    /* The locked exchange orders the mark before the look at the writer word. */
    atomic_exchange(&mine->state, NV_LEVEL_SHARED);
    uint32_t word = atomic_load(&shared->writer);
    if (writer_level(word) < NV_LEVEL_PENDING || writer_slot(word) == slot)
        return 0;
    *rival = slot_process(shared, writer_slot(word));
    nv_share_reader_release(share, slot);
    return -EBUSY;
}

void nv_share_reader_release(struct nv_share *share, uint32_t slot)
{
    struct nv_shared *shared = share->shared;
    atomic_store_explicit(&shared->slots[slot].state, NV_LEVEL_NONE, memory_order_release);
    /* May miss a writer that begins to wait just now: its waits are bounded. */
    uint32_t word = atomic_load_explicit(&shared->writer, memory_order_relaxed);
    if ((word & WRITER_WAITED) && writer_level(word) == NV_LEVEL_PENDING)
        wake(shared);
}

/* From nothing to `level`. */
static int claim_writer(struct nv_share *share, uint32_t slot, enum nv_level level, uint32_t *rival)
{
    struct nv_shared *shared = share->shared;
    uint32_t word = 0;
    if (atomic_compare_exchange_strong(&shared->writer, &word, writer_word(slot, level)))
        return 0;
    *rival = slot_process(shared, writer_slot(word));
    return -EBUSY;
}

int nv_share_reserved(struct nv_share *share, uint32_t slot, uint32_t *rival)
{
    return claim_writer(share, slot, NV_LEVEL_RESERVED, rival);
}

/* A reader other than `slot`, or UINT32_MAX. */
static uint32_t find_reader(const struct nv_shared *shared, uint32_t slot)
{
    uint32_t used = atomic_load(&shared->slots_used);
    for (uint32_t i = 0; i < used; i++)
        if (i != slot && atomic_load(&shared->slots[i].state) != NV_LEVEL_NONE)
            return i;
    return UINT32_MAX;
}

int nv_share_exclusive(struct nv_share *share, uint32_t slot, uint32_t *rival)
{
    struct nv_shared *shared = share->shared;
    uint32_t word = atomic_load(&shared->writer);
    if (writer_level(word) == NV_LEVEL_NONE || writer_slot(word) != slot) {
        int error = claim_writer(share, slot, NV_LEVEL_PENDING, rival);
        if (error)
            return error;
    } else if (writer_level(word) == NV_LEVEL_EXCLUSIVE) {
        return 0;
    } else {
        /* Locked, so ordered before the look at the slots; drops WAITED, whose sleepers time out
         * or are woken by the release. */
        atomic_exchange(&shared->writer,
                        writer_word(slot, NV_LEVEL_PENDING) | (word & WRITER_WAITED));
    }
    uint32_t reader = find_reader(shared, slot);
    if (reader != UINT32_MAX) {
        *rival = slot_process(shared, reader);
        return -EBUSY;
    }
    /* Ordered after the look at the slots, and before the first store to home by the commit's
     * fence.  A WAITED that this overtakes times out, or is woken by the release. */
    word = atomic_load(&shared->writer);
    atomic_store_explicit(&shared->writer,
                          writer_word(slot, NV_LEVEL_EXCLUSIVE) | (word & WRITER_WAITED),
                          memory_order_release);
    return 0;
}

bool nv_share_is_writer(const struct nv_share *share, uint32_t slot)
{
    uint32_t word = atomic_load(&share->shared->writer);
    return word != 0 && writer_slot(word) == slot;
}

void nv_share_writer_release(struct nv_share *share)
{
    struct nv_shared *shared = share->shared;
    /* Locked: on x86 it also orders every write-back and non-temporal store of this thread. */
    uint32_t word = atomic_exchange(&shared->writer, 0);
    if (word & WRITER_WAITED)
        wake(shared);
}

void nv_share_writer_lower(struct nv_share *share, uint32_t slot)
{
    struct nv_shared *shared = share->shared;
    uint32_t word = atomic_exchange(&shared->writer, writer_word(slot, NV_LEVEL_RESERVED));
    if (word & WRITER_WAITED)
        wake(shared);
}

enum nv_level nv_share_writer_level(const struct nv_share *share)
{
    return writer_level(atomic_load(&share->shared->writer));
}

void nv_share_wait(struct nv_share *share, uint64_t microseconds)
{
    struct nv_shared *shared = share->shared;
    uint32_t word = atomic_load(&shared->writer);
    if (writer_level(word) < NV_LEVEL_PENDING && word == 0)
        return;
    if (!(word & WRITER_WAITED)) {
        if (!atomic_compare_exchange_strong(&shared->writer, &word, word | WRITER_WAITED))
            return;
        word |= WRITER_WAITED;
    }
    struct timespec limit = {.tv_sec = (time_t)(microseconds / 1000000),
                             .tv_nsec = (long)(microseconds % 1000000) * 1000};
    syscall(SYS_futex, &shared->writer, FUTEX_WAIT, word, &limit, NULL, 0);
}

/* ---- slots ------------------------------------------------------------------------------- */

int nv_share_slot_claim(struct nv_share *share, uint32_t *slot)
{
    struct nv_shared *shared = share->shared;
    for (uint32_t i = 0; i < NV_SLOTS_MAX; i++) {
        uint32_t none = 0;
        if (!atomic_compare_exchange_strong(&shared->slots[i].owner, &none, share->process + 1))
            continue;
        uint32_t used = atomic_load(&shared->slots_used);
        while (used <= i && !atomic_compare_exchange_weak(&shared->slots_used, &used, i + 1))
            ;
        *slot = i;
        return 0;
    }
    return nv_fail(-EUSERS, "%u handles are open on this file; close some", NV_SLOTS_MAX);
}

/* What a handle counted goes to the page when its slot does. */
static void fold_counters(struct nv_shared *shared, struct nv_slot *slot)
{
    atomic_fetch_add(&shared->counters.read_bytes, atomic_exchange(&slot->read_bytes, 0));
    atomic_fetch_add(&shared->counters.written_bytes, atomic_exchange(&slot->written_bytes, 0));
    atomic_fetch_add(&shared->counters.rollbacks, atomic_exchange(&slot->rollbacks, 0));
    atomic_fetch_add(&shared->counters.busy, atomic_exchange(&slot->busy, 0));
}

void nv_share_slot_free(struct nv_share *share, uint32_t slot)
{
    struct nv_slot *mine = &share->shared->slots[slot];
    fold_counters(share->shared, mine);
    atomic_store(&mine->state, NV_LEVEL_NONE);
    atomic_store(&mine->owner, 0);
}

/* ---- the dead ------------------------------------------------------------------------------ */

static bool process_gone(const struct nv_share *share, uint32_t process)
{
    const struct nv_os *os = share->home->os;
    const struct nv_resident *resident = &share->shared->residents[process];
    uint64_t pid = atomic_load(&resident->pid);
    return pid != 0 && os->process_alive(os, pid, atomic_load(&resident->start_time),
                                         atomic_load(&resident->pid_namespace)) == 0;
}

static void clear_resident(struct nv_share *share, uint32_t dead)
{
    struct nv_shared *shared = share->shared;
    uint32_t used = atomic_load(&shared->slots_used);
    for (uint32_t i = 0; i < used; i++)
        if (atomic_load(&shared->slots[i].owner) == dead + 1)
            nv_share_slot_free(share, i);
    atomic_store(&shared->residents[dead].pid, 0);
}

bool nv_share_clear_reader(struct nv_share *share, uint32_t dead)
{
    uint32_t word = atomic_load(&share->shared->writer);
    if (word != 0 && slot_process(share->shared, writer_slot(word)) == dead)
        return false;
    clear_resident(share, dead);
    return true;
}

static enum nv_burial clear_dead(struct nv_share *share, uint32_t dead, uint32_t slot)
{
    struct nv_shared *shared = share->shared;
    enum nv_burial burial = NV_BURIAL_DONE;
    uint32_t word = atomic_load(&shared->writer);
    if (word != 0 && slot_process(shared, writer_slot(word)) == dead) {
        bool inherit = writer_level(word) == NV_LEVEL_EXCLUSIVE;
        uint32_t next =
            inherit ? writer_word(slot, NV_LEVEL_EXCLUSIVE) | (word & WRITER_WAITED) : 0;
        /* Fails only when a sleeper sets WAITED beside us, or another heir was first. */
        while (word != 0 && slot_process(shared, writer_slot(word)) == dead &&
               !atomic_compare_exchange_strong(&shared->writer, &word, next))
            ;
        if (word != 0 && slot_process(shared, writer_slot(word)) == dead && inherit)
            burial = NV_BURIAL_INHERITED;
        if (word & WRITER_WAITED)
            wake(shared);
    }
    clear_resident(share, dead);
    return burial;
}

enum nv_burial nv_share_bury(struct nv_share *share, uint32_t rival, uint32_t slot)
{
    const struct nv_os *os = share->home->os;
    enum nv_burial burial = NV_BURIAL_ALIVE;
    /* What nobody owns is being given up just now; or the page is not what it should be. */
    if (share->alone || rival == share->process || rival >= NV_PROCESSES_MAX)
        return NV_BURIAL_ALIVE;
    if (os->lock(share->home, NV_BYTE_PROCESS + rival, 1) == 0) {
        /* We have its byte: it is dead, and nobody can come back in its place.  The door besides:
         * one that is buried as below may lose its byte to us half way, and a slot that was cleared
         * is somebody else's at once. */
        if (os->lock(share->home, NV_BYTE_DOOR, 1) == 0) {
            burial = clear_dead(share, rival, slot);
            (void)os->unlock(share->home, NV_BYTE_DOOR, 1);
        }
        (void)os->unlock(share->home, NV_BYTE_PROCESS + rival, 1);
    } else if (process_gone(share, rival) && os->lock(share->home, NV_BYTE_DOOR, 1) == 0) {
        /* A forked child still holds the byte of a process that is gone.  No one can join
         * while the door is locked, so the place is not taken again under our hands. */
        if (process_gone(share, rival))
            burial = clear_dead(share, rival, slot);
        (void)os->unlock(share->home, NV_BYTE_DOOR, 1);
    }
    return burial;
}

uint32_t nv_share_population(struct nv_share *share)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NV_PROCESSES_MAX; i++)
        count += atomic_load(&share->shared->residents[i].pid) != 0;
    return count;
}

void nv_share_sum(const struct nv_shared *shared, struct nvmmio_stats *stats)
{
    const struct nv_counters *c = &shared->counters;
    stats->commits = c->commits;
    stats->prepares = c->prepares;
    stats->blocks = c->blocks;
    stats->log_bytes = c->log_bytes;
    stats->home_bytes = c->home_bytes;
    stats->fences = c->fences;
    stats->flushes = c->flushes;
    stats->flush_waits = c->flush_waits;
    stats->spills = c->spills;
    stats->log_grows = c->log_grows;
    stats->recoveries = c->recoveries;
    stats->takeovers = c->takeovers;
    stats->rollbacks = c->rollbacks;
    stats->busy = c->busy;
    stats->read_bytes = c->read_bytes;
    stats->written_bytes = c->written_bytes;
    uint32_t used = (uint32_t)nv_min(shared->slots_used, NV_SLOTS_MAX);
    for (uint32_t i = 0; i < used; i++) {
        stats->rollbacks += shared->slots[i].rollbacks;
        stats->busy += shared->slots[i].busy;
        stats->read_bytes += shared->slots[i].read_bytes;
        stats->written_bytes += shared->slots[i].written_bytes;
    }
}
