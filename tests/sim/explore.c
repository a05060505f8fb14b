#include "tests/sim/explore.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"

#define SEEN_SLOTS 4096u /* images at one event; more than are ever tried */

const struct explore_options explore_defaults = {
    .semantics = SIM_DAX,
    .depth = 3,
    .samples = 16,
    .samples_nested = 2,
    .nested_one_in = 24,
    .subset_units = 5,
    .images_max = 20000,
};

void explore_init(struct explore *explore, const struct explore_options *options)
{
    memset(explore, 0, sizeof *explore);
    explore->options = *options;
    explore->sim = sim_create(options->semantics);
    trace_init(&explore->trace);
    for (uint32_t i = 0; i < EXPLORE_DEPTH_MAX; i++) {
        check_init(&explore->checks[i]);
        explore->seen[i] = calloc(SEEN_SLOTS, sizeof(uint64_t));
        if (!explore->seen[i])
            abort();
    }
}

void explore_free(struct explore *explore)
{
    for (uint32_t i = 0; i < EXPLORE_DEPTH_MAX; i++) {
        check_free(&explore->checks[i]);
        free(explore->seen[i]);
    }
    trace_free(&explore->trace);
    run_free(&explore->run);
    model_free(&explore->model);
    sim_destroy(explore->sim);
}

uint64_t explore_images(const struct explore *explore)
{
    uint64_t images = 0;
    for (uint32_t i = 0; i < EXPLORE_DEPTH_MAX; i++)
        images += explore->images[i];
    return images;
}

/* ---- one event ----------------------------------------------------------------------- */

struct level {
    uint32_t depth; /* 0: the program */
    struct walk walk;
    const struct allowed *notes;
    uint64_t random;
    uint64_t stamp; /* of this event: an old mark in `seen` is none */
};

static bool explore_trace(struct explore *explore, uint32_t depth, const struct trace *trace,
                          const struct allowed *notes, uint64_t random);

/* Whether this image was tried at this event already. */
static bool seen_before(struct explore *explore, const struct level *level, uint64_t image)
{
    uint64_t *seen = explore->seen[level->depth];
    uint64_t mark = (image ^ level->stamp) | 1;
    for (uint32_t i = (uint32_t)(mark >> 40) % SEEN_SLOTS, tries = 0; tries < 64; tries++) {
        if (seen[i] == mark)
            return true;
        /* Marks of other events count as free places. */
        if (tries == 63 || seen[i] == 0) {
            seen[i] = mark;
            return false;
        }
        i = (i + 1) % SEEN_SLOTS;
    }
    return false;
}

static void forget_seen(struct explore *explore, struct level *level)
{
    if (level->walk.next % 16 == 0)
        memset(explore->seen[level->depth], 0, SEEN_SLOTS * sizeof(uint64_t));
    level->stamp = sim_random(&level->random);
}

/* True: go on. */
static bool try_image(struct explore *explore, struct level *level, const struct allowed *allowed,
                      uint64_t choice, bool newest)
{
    struct sim *sim = explore->sim;
    const struct explore_options *options = &explore->options;
    struct check *check = &explore->checks[level->depth];
    sim_mark_t mark = sim_mark(sim);
    uint64_t image = walk_image(&level->walk, choice, newest);
    if (image == 0)
        return true;
    if (!options->only && seen_before(explore, level, image)) {
        sim_undo_to(sim, mark);
        return true;
    }
    explore->path[level->depth] = (struct crash){level->walk.next - 1, choice};
    explore->path_count = level->depth + 1;
    explore->images[level->depth]++;
    if (explore->progress && (explore_images(explore) & 1023) == 0)
        explore->progress(explore);
    uint64_t way = choice * UINT64_C(0x9e3779b97f4a7c15) ^ level->walk.next;
    way = sim_random(&way);
    bool deeper = level->depth + 1 < options->depth &&
                  (options->only ? level->depth + 1 < options->only_count
                                 : way / 64 % options->nested_one_in == 0);
    const char *failure = check_image(check, &explore->model, sim, allowed, way, deeper);
    sim_undo_to(sim, mark);
    if (failure) {
        snprintf(explore->failure, sizeof explore->failure, "%s", failure);
        return false;
    }
    if (!deeper)
        return true;
    (void)walk_image(&level->walk, choice, false);
    bool fine = explore_trace(explore, level->depth + 1, &check->trace, check->notes, way);
    sim_undo_to(sim, mark);
    return fine;
}

/* A program with very many events has some of them passed over. */
static bool passed_over(const struct explore *explore, struct level *level, enum walk_step step)
{
    uint64_t images = level->walk.trace->count * explore->options.samples;
    return level->depth == 0 && step == WALK_MORE && images > explore->options.images_max &&
           sim_random(&level->random) % images >= explore->options.images_max;
}

static bool try_event(struct explore *explore, struct level *level, enum walk_step step)
{
    const struct explore_options *options = &explore->options;
    const struct trace_event *event = &level->walk.trace->events[level->walk.next - 1];
    const struct allowed *allowed = &level->notes[event->note];
    bool newest = step == WALK_MORE;
    uint32_t units = walk_units(&level->walk);
    forget_seen(explore, level);
    if (units <= options->subset_units) {
        explore->exhaustive++;
        for (uint64_t bits = 0; bits < UINT64_C(1) << units; bits++)
            if (!try_image(explore, level, allowed, WALK_SUBSET | bits, newest))
                return false;
        return true;
    }
    uint32_t samples = level->depth ? options->samples_nested : options->samples;
    for (uint32_t i = 0; i < samples; i++) {
        uint64_t choice = sim_random(&level->random) & ~WALK_SUBSET;
        if (!try_image(explore, level, allowed, choice, newest))
            return false;
    }
    return true;
}

static bool explore_trace(struct explore *explore, uint32_t depth, const struct trace *trace,
                          const struct allowed *notes, uint64_t random)
{
    const struct explore_options *options = &explore->options;
    struct level level = {.depth = depth, .notes = notes, .random = random};
    bool fine = true;
    walk_begin(&level.walk, explore->sim, trace);
    for (;;) {
        enum walk_step step = walk_next(&level.walk);
        if (step == WALK_END || !fine)
            break;
        if (step == WALK_SAME)
            continue;
        if (options->only) {
            const struct crash *only = &options->only[depth];
            if (level.walk.next - 1 != only->event)
                continue;
            const struct trace_event *event = &trace->events[only->event];
            fine = try_image(explore, &level, &notes[event->note], only->choice, false);
            break;
        }
        if (!passed_over(explore, &level, step))
            fine = try_event(explore, &level, step);
    }
    walk_end(&level.walk);
    return fine;
}

/* ---- a program ----------------------------------------------------------------------- */

static void print_trace(const struct trace *trace, const char *title)
{
    char text[256];
    printf("%s: %zu events\n", title, trace->count);
    for (size_t i = 0; i < trace->count; i++) {
        trace_describe(trace, i, text, sizeof text);
        printf("  %s\n", text);
    }
}

static bool explore_run(struct explore *explore, const struct program *program)
{
    struct sim *sim = explore->sim;
    sim_reset(sim, program->seed);
    trace_clear(&explore->trace);
    model_free(&explore->model);
    model_init(&explore->model, program);
    model_lay_out(&explore->model, sim);
    sim_mark_t mark = sim_mark(sim);
    explore->path_count = 0;
    explore->programs++;
    explore->operations += program->op_count;
    sim->trace = &explore->trace;
    const char *failure = run_program(&explore->run, program, &explore->model, sim);
    sim->trace = NULL;
    sim->space_bytes = UINT64_MAX;
    sim->fault = (struct sim_fault){.calls = 0};
    explore->events += explore->trace.count;
    if (explore->options.trace)
        print_trace(&explore->trace, "program");
    if (failure) {
        snprintf(explore->failure, sizeof explore->failure, "%s", failure);
        return false;
    }
    sim_undo_to(sim, mark);
    return explore_trace(explore, 0, &explore->trace, explore->model.notes, program->seed);
}

bool explore_program(struct explore *explore, const struct program *program)
{
    explore->failure[0] = 0;
    bool fine = explore_run(explore, program);
    if (explore->options.trace)
        for (uint32_t i = 0; i + 1 < explore->path_count; i++)
            print_trace(&explore->checks[i].trace, "recovery");
    sim_reset(explore->sim, 1);
    return fine;
}

void explore_shrink(struct explore *explore, struct program *program)
{
    bool shorter = true;
    const struct crash *only = explore->options.only;
    explore->options.only = NULL;
    struct program smallest = *program;
    while (shorter) {
        shorter = false;
        for (uint32_t at = smallest.op_count; at-- > 0;) {
            struct program attempt = smallest;
            program_drop(&attempt, at);
            if (explore_program(explore, &attempt))
                continue;
            smallest = attempt;
            shorter = true;
        }
    }
    *program = smallest;
    (void)explore_program(explore, program); /* for its failure and path */
    explore->options.only = only;
}

/* ---- paths --------------------------------------------------------------------------- */

void explore_path_text(const struct explore *explore, char *text, size_t bytes)
{
    size_t at = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < explore->path_count && at < bytes; i++)
        at += (size_t)snprintf(text + at, bytes - at, "%s%zu:%" PRIx64, i ? "/" : "",
                               explore->path[i].event, explore->path[i].choice);
}

uint32_t explore_path_parse(const char *text, struct crash path[EXPLORE_DEPTH_MAX])
{
    uint32_t count = 0;
    while (*text && count < EXPLORE_DEPTH_MAX) {
        char *end;
        path[count].event = strtoull(text, &end, 10);
        if (*end != ':')
            return 0;
        path[count++].choice = strtoull(end + 1, &end, 16);
        if (*end != '/' && *end != 0)
            return 0;
        text = *end ? end + 1 : end;
    }
    return count;
}
