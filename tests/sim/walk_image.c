/* walk_image: choosing what of the pending a power loss leaves. */
#include <string.h>

#include "core/base.h"
#include "tests/sim/walk_private.h"

#define UNITS_ALL UINT32_MAX

/* How much of one store is there. */
enum part {
    PART_NONE,
    PART_ALL,
    PART_RANDOM,  /* each unit, or each group of them, by itself */
    PART_FIRST,   /* the first ones */
    PART_LAST,    /* the last ones */
    PART_ONE_IN,  /* one alone */
    PART_ONE_OUT, /* all but one */
    PARTS,
};

/* Which stores are whole, and which are in parts. */
enum plan {
    PLAN_RANDOM,     /* each unit of each store */
    PLAN_STORES,     /* each store whole or not */
    PLAN_PREFIX,     /* the stores before one, and a part of it */
    PLAN_SUFFIX,     /* the stores behind one, and a part of it */
    PLAN_ALL_BUT,    /* all, and of one a part */
    PLAN_NONE_BUT,   /* none, and of one a part */
    PLAN_FILE,       /* those to one file, others by chance */
    PLAN_STORES_MIX, /* each store in a way of its own */
    PLANS,
};

struct draw {
    uint64_t random;
    bool subset;
    uint64_t bits; /* of a subset */
    uint32_t bit;
    enum plan plan;
    size_t pivot;        /* index of the store that is in parts */
    uint32_t pivot_file; /* of PLAN_FILE */
    enum part pivot_part;
    uint32_t weight;    /* of 256: chance of a unit, a store */
    bool lines, blocks; /* words of a line, sectors of a block stand or fall together */
    bool names_ordered;
    uint64_t hash;
    bool newest; /* something of the newest is in it */
};

static bool is_store(const struct pending *pending)
{
    return pending->kind == TRACE_STORE || pending->kind == TRACE_ZERO;
}

static bool chance(struct draw *draw, uint32_t weight)
{
    return (sim_random(&draw->random) & 255) < weight;
}

static uint32_t live_units(const struct pending *pending)
{
    if (!is_store(pending))
        return 1;
    uint32_t units = pending->bytes / pending->unit;
    uint32_t hidden = 0;
    for (uint32_t i = 0; pending->hidden && i < (units + 63) / 64; i++)
        hidden += (uint32_t)__builtin_popcountll(pending->hidden[i]);
    return units - hidden;
}

uint32_t walk_units(const struct walk *walk)
{
    uint32_t units = 0;
    for (size_t i = 0; i < walk->count && units <= WALK_SUBSET_UNITS; i++)
        units += live_units(&walk->pending[i]);
    return units <= WALK_SUBSET_UNITS ? units : WALK_SUBSET_UNITS + 1;
}

static void draw_begin(const struct walk *walk, uint64_t choice, struct draw *draw)
{
    static const uint32_t weights[] = {16, 64, 128, 128, 192, 240};
    *draw = (struct draw){.random = choice, .hash = 0x9b5};
    if (choice & WALK_SUBSET) {
        draw->subset = true;
        draw->bits = choice & ~WALK_SUBSET;
        return;
    }
    draw->plan = (enum plan)(sim_random(&draw->random) % PLANS);
    draw->pivot_part = (enum part)(sim_random(&draw->random) % PARTS);
    draw->weight = weights[sim_random(&draw->random) % (sizeof weights / sizeof weights[0])];
    draw->names_ordered = chance(draw, 192) || walk->ordered;
    uint64_t way = sim_random(&draw->random);
    draw->lines = way % 4 == 0;
    draw->blocks = way % 2 == 0;
    if (walk->count == 0)
        return;
    /* The newest stores are the likeliest to be under way. */
    size_t span = way % 3 == 0 ? walk->count : nv_min(walk->count, 3);
    draw->pivot = walk->count - 1 - sim_random(&draw->random) % span;
    draw->pivot_file = walk->pending[draw->pivot].file;
}

static enum part draw_part(struct draw *draw, size_t index, const struct pending *pending)
{
    if (index == draw->pivot && (draw->plan == PLAN_PREFIX || draw->plan == PLAN_SUFFIX ||
                                 draw->plan == PLAN_ALL_BUT || draw->plan == PLAN_NONE_BUT))
        return draw->pivot_part;
    switch (draw->plan) {
    case PLAN_RANDOM:
        return PART_RANDOM;
    case PLAN_STORES:
        return chance(draw, draw->weight) ? PART_ALL : PART_NONE;
    case PLAN_PREFIX:
        return index < draw->pivot ? PART_ALL : PART_NONE;
    case PLAN_SUFFIX:
        return index > draw->pivot ? PART_ALL : PART_NONE;
    case PLAN_ALL_BUT:
        return PART_ALL;
    case PLAN_NONE_BUT:
        return PART_NONE;
    case PLAN_FILE:
        return pending->file == draw->pivot_file ? PART_ALL : PART_RANDOM;
    case PLAN_STORES_MIX:
    case PLANS:
    default:
        return (enum part)(sim_random(&draw->random) % PARTS);
    }
}

struct cut { /* units [first, end) of a store, chosen or left out */
    enum part part;
    uint32_t first, end;
};

static struct cut draw_cut(struct draw *draw, size_t index, const struct pending *pending,
                           uint32_t units)
{
    struct cut cut = {.part = draw_part(draw, index, pending), .end = units};
    uint32_t at = (uint32_t)(sim_random(&draw->random) % units);
    if (cut.part == PART_FIRST)
        cut.end = at;
    else if (cut.part == PART_LAST)
        cut.first = at;
    else if (cut.part == PART_ONE_IN || cut.part == PART_ONE_OUT)
        cut = (struct cut){cut.part, at, at + 1};
    return cut;
}

/* Groups are lines or blocks of the file, wherever the store begins. */
static bool unit_chosen(struct draw *draw, const struct pending *pending, const struct cut *cut,
                        uint32_t unit, bool *group_chosen)
{
    bool inside = unit >= cut->first && unit < cut->end;
    switch (cut->part) {
    case PART_NONE:
        return false;
    case PART_RANDOM: {
        uint32_t group = pending->unit;
        if (draw->lines && pending->unit == TRACE_WORD_BYTES)
            group = NV_LINE_BYTES;
        else if (draw->blocks && pending->unit == TRACE_SECTOR_BYTES)
            group = NV_BLOCK_BYTES;
        if (unit == 0 || (pending->offset + (uint64_t)unit * pending->unit) % group == 0)
            *group_chosen = chance(draw, draw->weight);
        return *group_chosen;
    }
    case PART_ONE_OUT:
        return !inside;
    case PART_ALL:
    case PART_FIRST:
    case PART_LAST:
    case PART_ONE_IN:
    case PARTS:
    default:
        return inside;
    }
}

static void mix(struct draw *draw, uint64_t value)
{
    draw->hash = (draw->hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    draw->hash ^= draw->hash >> 32;
}

/* Whether the size that this store came with is there, which says that the store is. */
static bool must_be_there(const struct walk *walk, size_t index, const bool *chosen)
{
    const struct pending *store = &walk->pending[index];
    const struct pending *size = store - 1;
    return walk->ordered && index > 0 && store->cover == COVER_SYNC && size->kind == TRACE_SIZE &&
           size->event + 1 == store->event && size->file == store->file && chosen[index - 1] &&
           size->offset > store->offset && size->offset <= store->offset + store->bytes;
}

static void put_store(struct walk *walk, struct draw *draw, size_t index, bool whole)
{
    const struct pending *pending = &walk->pending[index];
    uint32_t units = pending->bytes / pending->unit;
    bool group_chosen = false;
    uint32_t first = UNITS_ALL;
    struct cut cut = {.part = PART_NONE};
    if (!draw->subset)
        cut = draw_cut(draw, index, pending, units);
    if (whole)
        cut = (struct cut){.part = PART_ALL, .end = units};
    else if (cut.part == PART_NONE && !draw->subset)
        return;
    for (uint32_t u = 0; u <= units; u++) {
        bool chosen = false;
        if (u < units && !walk_hidden(pending, u))
            chosen = draw->subset ? draw->bits >> draw->bit++ & 1 || whole
                                  : unit_chosen(draw, pending, &cut, u, &group_chosen);
        if (chosen && first == UNITS_ALL)
            first = u;
        if (chosen || first == UNITS_ALL)
            continue;
        walk_put_units(walk, pending, first, u);
        mix(draw, pending->event << 32 | (uint64_t)first << 16 | u);
        draw->newest |= index + 1 == walk->count;
        first = UNITS_ALL;
    }
}

static const char *path_of(const struct walk *walk, const struct pending *pending)
{
    return trace_path(walk->trace, &walk->trace->events[pending->event]);
}

/* Names of a directory that are durable in their order: none behind one that is not. */
static bool name_blocked(const struct walk *walk, const struct draw *draw, size_t index,
                         const bool *chosen)
{
    if (!draw->names_ordered || draw->subset)
        return false;
    const char *path = path_of(walk, &walk->pending[index]);
    for (size_t i = 0; i < index; i++) {
        const struct pending *before = &walk->pending[i];
        if (!is_store(before) && before->kind != TRACE_SIZE && !chosen[i] &&
            walk_same_directory(path, path_of(walk, before)))
            return true;
    }
    return false;
}

/* Sizes of a file become durable in their order: one is chosen when a later one is. */
static bool size_implied(const struct walk *walk, size_t index, const bool *chosen)
{
    for (size_t i = index + 1; i < walk->count; i++)
        if (walk->pending[i].kind == TRACE_SIZE && chosen[i] &&
            walk->pending[i].file == walk->pending[index].file)
            return true;
    return false;
}

/* Sizes and names: chosen before anything is put, since they depend on one another. */
static void choose_others(const struct walk *walk, struct draw *draw, bool *chosen)
{
    uint32_t weight = draw->weight;
    uint32_t bit = 0;
    if (chance(draw, 128))
        weight = chance(draw, 128) ? 256 : 0;
    for (size_t i = 0; i < walk->count; i++) {
        const struct pending *pending = &walk->pending[i];
        if (is_store(pending))
            bit += live_units(pending);
        else if (draw->subset)
            chosen[i] = draw->bits >> bit++ & 1;
        else
            chosen[i] = chance(draw, weight);
        if (!is_store(pending) && pending->kind != TRACE_SIZE && chosen[i])
            chosen[i] = !name_blocked(walk, draw, i, chosen);
    }
    for (size_t i = 0; i < walk->count; i++)
        if (walk->pending[i].kind == TRACE_SIZE && !chosen[i])
            chosen[i] = size_implied(walk, i, chosen);
}

/* Nothing of what lies past the end of a file is left by a power loss. */
static void trim(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->files_made; i++)
        if (sim->files[i].used && sim->files[i].high > sim->files[i].bytes)
            sim_zero(sim, i, sim->files[i].bytes, SIM_FILE_BYTES_MAX);
}

uint64_t walk_image(struct walk *walk, uint64_t choice, bool newest)
{
    struct draw draw;
    sim_mark_t mark = sim_mark(walk->sim);
    bool *chosen = walk->chosen;
    if (walk->count)
        memset(chosen, 0, walk->count * sizeof chosen[0]);
    draw_begin(walk, choice, &draw);
    choose_others(walk, &draw, chosen);
    for (size_t i = 0; i < walk->count; i++) {
        const struct pending *pending = &walk->pending[i];
        if (is_store(pending)) {
            put_store(walk, &draw, i, must_be_there(walk, i, chosen));
            continue;
        }
        draw.bit++;
        if (!chosen[i])
            continue;
        walk_put_other(walk, pending);
        mix(&draw, pending->event << 32 | 1);
        draw.newest |= i + 1 == walk->count;
    }
    if (newest && !draw.newest) {
        sim_undo_to(walk->sim, mark);
        return 0;
    }
    trim(walk->sim);
    sim_cut(walk->sim);
    return draw.hash | 1;
}
