/* walk: what is durable, event by event.  The choices are made in walk_image.c. */
#include "tests/sim/walk.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "tests/sim/walk_private.h"

void walk_begin(struct walk *walk, struct sim *sim, const struct trace *trace)
{
    *walk = (struct walk){.sim = sim, .trace = trace, .start = sim_mark(sim)};
}

void walk_end(struct walk *walk)
{
    for (size_t i = 0; i < walk->count; i++)
        free(walk->pending[i].hidden);
    free(walk->pending);
    free(walk->chosen);
    sim_undo_to(walk->sim, walk->start);
    *walk = (struct walk){.sim = NULL};
}

static bool is_store(const struct pending *pending)
{
    return pending->kind == TRACE_STORE || pending->kind == TRACE_ZERO;
}

static void out_of_memory(void)
{
    fputs("sim: out of memory\n", stderr);
    abort();
}

/* ---- putting something pending into the machine -------------------------------------- */

void walk_put_units(struct walk *walk, const struct pending *pending, uint32_t first, uint32_t end)
{
    uint32_t unit = pending->unit;
    uint64_t offset = pending->offset + (uint64_t)first * unit;
    if (offset >= pending->limit)
        return;
    uint64_t bytes = nv_min((uint64_t)(end - first) * unit, pending->limit - offset);
    if (pending->kind == TRACE_ZERO)
        sim_zero(walk->sim, pending->file, offset, bytes);
    else
        sim_store(walk->sim, pending->file, offset,
                  trace_bytes(walk->trace, &walk->trace->events[pending->event]) +
                      (size_t)first * unit,
                  bytes);
}

void walk_put_other(struct walk *walk, const struct pending *pending)
{
    const struct trace_event *event = &walk->trace->events[pending->event];
    switch ((enum trace_kind)pending->kind) {
    case TRACE_SIZE:
        sim_resize(walk->sim, pending->file, pending->offset);
        break;
    case TRACE_NAME:
        (void)sim_name(walk->sim, trace_path(walk->trace, event), pending->file);
        break;
    case TRACE_UNNAME:
        (void)sim_name(walk->sim, trace_path(walk->trace, event), SIM_NONE);
        break;
    case TRACE_RENAME:
        (void)sim_name(walk->sim, trace_path_from(walk->trace, event), SIM_NONE);
        (void)sim_name(walk->sim, trace_path(walk->trace, event), pending->file);
        break;
    default:
        assert(!"not something pending");
    }
}

/* ---- becoming durable ---------------------------------------------------------------- */

/* Bytes [first, end) of a file are durable as event `event` stored them: what was pending before it
 * can't show there any more. */
static void hide_older(struct walk *walk, uint32_t file, size_t event, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < walk->count; i++) {
        struct pending *older = &walk->pending[i];
        if (older->event >= event)
            break;
        uint64_t older_end = older->offset + older->bytes;
        if (!is_store(older) || older->file != file || older->offset >= end || older_end <= first)
            continue;
        uint32_t unit = older->unit;
        uint32_t units = older->bytes / unit;
        if (!older->hidden) {
            older->hidden = calloc((units + 63) / 64, sizeof(uint64_t));
            if (!older->hidden)
                out_of_memory();
        }
        uint64_t from = nv_max(first, older->offset);
        uint64_t to = nv_min(end, older_end);
        for (uint32_t u = (uint32_t)((from - older->offset + unit - 1) / unit);
             u < (to - older->offset) / unit; u++)
            older->hidden[u / 64] |= UINT64_C(1) << (u % 64);
    }
}

static void make_durable(struct walk *walk, const struct pending *pending)
{
    if (!is_store(pending)) {
        walk_put_other(walk, pending);
        for (size_t i = 0; pending->kind == TRACE_SIZE && i < walk->count; i++) {
            struct pending *older = &walk->pending[i];
            if (older->event < pending->event && older->file == pending->file)
                older->limit = nv_min(older->limit, pending->offset);
        }
        return;
    }
    uint32_t units = pending->bytes / pending->unit;
    for (uint32_t u = 0; u < units;) {
        uint32_t first = u;
        while (u < units && !walk_hidden(pending, u))
            u++;
        if (u > first)
            walk_put_units(walk, pending, first, u);
        else
            u++;
    }
    hide_older(walk, pending->file, pending->event, pending->offset,
               pending->offset + pending->bytes);
}

bool walk_same_directory(const char *a, const char *b)
{
    size_t bytes = (size_t)(strrchr(a, '/') - a);
    return strncmp(a, b, bytes + 1) == 0 && strchr(b + bytes + 1, '/') == NULL;
}

/* Whether an event makes something pending durable. */
static bool covers(const struct walk *walk, const struct trace_event *event,
                   const struct pending *pending)
{
    switch ((enum trace_kind)event->kind) {
    case TRACE_FENCE:
        return is_store(pending) && pending->cover == COVER_FENCE &&
               pending->process == event->process;
    case TRACE_SYNC:
        if (is_store(pending) && pending->cover != COVER_SYNC)
            return false;
        return (is_store(pending) || pending->kind == TRACE_SIZE) && pending->file == event->file &&
               !pending->lost;
    case TRACE_STORE:
    case TRACE_ZERO: /* see step_store */
        return pending->kind == TRACE_SIZE && pending->file == event->file;
    case TRACE_SYNC_DIRECTORY:
        return !is_store(pending) && pending->kind != TRACE_SIZE &&
               walk_same_directory(trace_path(walk->trace, event),
                                   trace_path(walk->trace, &walk->trace->events[pending->event]));
    default:
        return false;
    }
}

static void settle(struct walk *walk, const struct trace_event *event)
{
    size_t kept = 0;
    for (size_t i = 0; i < walk->count; i++) {
        struct pending *pending = &walk->pending[i];
        if (covers(walk, event, pending)) {
            make_durable(walk, pending);
            free(pending->hidden);
            pending->hidden = NULL;
            pending->kind = TRACE_NOTE; /* gone */
        }
    }
    for (size_t i = 0; i < walk->count; i++)
        if (walk->pending[i].kind != TRACE_NOTE)
            walk->pending[kept++] = walk->pending[i];
    walk->count = kept;
}

/* ---- one event ----------------------------------------------------------------------- */

static void add(struct walk *walk, size_t event)
{
    const struct trace_event *at = &walk->trace->events[event];
    if (walk->count == walk->capacity) {
        walk->capacity = walk->capacity ? 2 * walk->capacity : 64;
        walk->pending = realloc(walk->pending, walk->capacity * sizeof *walk->pending);
        walk->chosen = realloc(walk->chosen, walk->capacity * sizeof *walk->chosen);
        if (!walk->pending || !walk->chosen)
            out_of_memory();
    }
    walk->pending[walk->count++] = (struct pending){
        .kind = at->kind,
        .process = at->process,
        .cover = at->cover,
        .file = at->file,
        .bytes = at->bytes,
        .offset = at->offset,
        .limit = UINT64_MAX,
        .unit = trace_unit_bytes((enum trace_cover)at->cover),
        .event = event,
    };
}

/* Zeros over zeros that are durable, and nothing else under way: a log that is being prefaulted. */
static bool changes_nothing(const struct walk *walk, const struct trace_event *event)
{
    if (event->kind != TRACE_ZERO || event->offset < walk->sim->files[event->file].high)
        return false;
    for (size_t i = 0; i < walk->count; i++) {
        const struct pending *other = &walk->pending[i];
        if (other->file == event->file && is_store(other) &&
            other->offset < event->offset + event->bytes &&
            event->offset < other->offset + other->bytes)
            return false;
    }
    return true;
}

static enum walk_step step_store(struct walk *walk, size_t index)
{
    const struct trace_event *event = &walk->trace->events[index];
    const struct sim *sim = walk->sim;
    /* The first store to a page that is mapped with MAP_SYNC makes the size durable; one to a page
     * that was there before the file grew faults no more, and makes nothing durable. */
    if (event->cover != COVER_SYNC &&
        event->offset + event->bytes > nv_align_up(sim->files[event->file].bytes, NV_BLOCK_BYTES))
        settle(walk, event);
    if (changes_nothing(walk, event))
        return WALK_SAME;
    add(walk, index);
    return WALK_MORE;
}

/* A size and the write that it came with are one event to a file system that orders them. */
static bool waits_for_data(const struct walk *walk, const struct trace_event *event)
{
    if (!walk->ordered || walk->next == walk->trace->count)
        return false;
    const struct trace_event *next = event + 1;
    return (next->kind == TRACE_STORE || next->kind == TRACE_ZERO) && next->cover == COVER_SYNC &&
           next->file == event->file;
}

enum walk_step walk_next(struct walk *walk)
{
    if (walk->next == walk->trace->count)
        return WALK_END;
    size_t index = walk->next++;
    const struct trace_event *event = &walk->trace->events[index];
    switch ((enum trace_kind)event->kind) {
    case TRACE_STORE:
    case TRACE_ZERO:
        return step_store(walk, index);
    case TRACE_SIZE:
    case TRACE_NAME:
    case TRACE_UNNAME:
    case TRACE_RENAME:
        add(walk, index);
        return event->kind == TRACE_SIZE && waits_for_data(walk, event) ? WALK_SAME : WALK_MORE;
    case TRACE_MAKE: {
        struct sim_file like;
        memcpy(&like, trace_bytes(walk->trace, event), sizeof like);
        sim_file_make_again(walk->sim, event->file, &like);
        return WALK_SAME;
    }
    case TRACE_SYNC_FAILED:
        for (size_t i = 0; i < walk->count; i++)
            if (is_store(&walk->pending[i]) && walk->pending[i].cover == COVER_SYNC &&
                walk->pending[i].file == event->file)
                walk->pending[i].lost = true;
        return WALK_SAME;
    case TRACE_FENCE:
    case TRACE_SYNC:
    case TRACE_SYNC_DIRECTORY:
        settle(walk, event);
        return WALK_SAME;
    case TRACE_NOTE:
        return WALK_NOTE;
    }
    return WALK_END;
}
