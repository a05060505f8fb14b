#include "tests/sim/mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAMS_MAX 4096u

/* Which programs pass which places: bit p of by[site]. */
struct reach {
    uint8_t by[SIM_SITES_MAX][PROGRAMS_MAX / 8];
};

struct survey {
    struct explore *explore;
    const struct mutate_options *options;
    struct reach running, recovering;
    uint64_t programs;
    bool fine; /* the engine as it is passes all of them */
};

/* Run all programs, to learn what steps there are and who passes them. */
static void look_around(struct survey *survey)
{
    struct sim *sim = survey->explore->sim;
    struct program program;
    struct sim_site before[SIM_SITES_MAX];
    sim->count_sites = true;
    survey->fine = true;
    for (uint64_t p = 0; p < survey->programs; p++) {
        memcpy(before, sim->sites, sizeof before);
        program_make(&program, survey->options->seed + p, &survey->options->plan);
        bool fine = explore_program(survey->explore, &program);
        survey->fine &= fine;
        for (uint32_t i = 0; i < SIM_SITES_MAX && fine; i++) {
            uint8_t bit = (uint8_t)(1u << (p % 8));
            if (sim->sites[i].hits_run != before[i].hits_run)
                survey->running.by[i][p / 8] |= bit;
            else if (sim->sites[i].hits != before[i].hits)
                survey->recovering.by[i][p / 8] |= bit;
        }
    }
}

/* Up to `images` on the programs that `reach` tells. */
static void try_on(struct survey *survey, struct mutant *mutant, const struct reach *reach,
                   uint64_t images)
{
    struct explore *explore = survey->explore;
    struct program program;
    uint64_t begin = explore_images(explore);
    for (uint64_t p = 0; p < survey->programs && !mutant->caught; p++) {
        if (!(reach->by[mutant->site][p / 8] >> (p % 8) & 1))
            continue;
        if (explore_images(explore) - begin > images)
            break;
        program_make(&program, survey->options->seed + p, &survey->options->plan);
        mutant->caught = !explore_program(explore, &program);
        mutant->seed = program.seed;
    }
    mutant->images += explore_images(explore) - begin;
}

/* A step that a program takes itself shows there; one that only recoveries take, inside those. */
static void try_mutant(struct survey *survey, struct mutant *mutant)
{
    struct explore *explore = survey->explore;
    uint64_t images = survey->options->images_each;
    explore->sim->skip_site = mutant->site;
    try_on(survey, mutant, &survey->running, images / 2);
    explore->options.nested_one_in = 2;
    explore->options.samples = 4;
    explore->options.samples_nested = 6;
    try_on(survey, mutant, &survey->recovering, images / 2);
    explore->options = survey->options->explore;
    explore->sim->skip_site = SIM_NONE;
    if (mutant->caught)
        snprintf(mutant->failure, sizeof mutant->failure, "%s", explore->failure);
}

bool mutate_all(const struct mutate_options *options, mutate_progress *progress,
                struct mutate_result *result)
{
    struct survey *survey = calloc(1, sizeof *survey);
    struct explore *explore = malloc(sizeof *explore);
    if (!survey || !explore)
        abort();
    *result = (struct mutate_result){0};
    survey->explore = explore;
    survey->options = options;
    survey->programs = options->programs < PROGRAMS_MAX ? options->programs : PROGRAMS_MAX;
    explore_init(explore, &options->explore);
    look_around(survey);
    uint32_t count = explore->sim->site_count;
    for (uint32_t i = 0; i < count; i++) {
        struct mutant mutant = {.site = i, .hits = explore->sim->sites[i].hits};
        (void)sim_site_text(explore->sim, i, mutant.text, sizeof mutant.text);
        try_mutant(survey, &mutant);
        result->mutants++;
        result->survivors += !mutant.caught;
        if (progress)
            progress(&mutant, i + 1, count);
    }
    bool fine = survey->fine && result->survivors == 0;
    explore_free(explore);
    free(explore);
    free(survey);
    return fine;
}
