#include "tests/sim/mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which programs pass which places: bit p of reach[site]. */
#define PROGRAMS_MAX 4096u

struct survey {
    struct explore *explore;
    const struct mutate_options *options;
    uint8_t reach[SIM_SITES_MAX][PROGRAMS_MAX / 8];
    uint64_t programs;
    bool fine; /* the engine as it is passes all of them */
};

/* Run all programs, to learn what steps there are and who passes them. */
static void look_around(struct survey *survey)
{
    struct sim *sim = survey->explore->sim;
    struct program program;
    sim->count_sites = true;
    survey->fine = true;
    for (uint64_t p = 0; p < survey->programs; p++) {
        uint64_t before[SIM_SITES_MAX];
        for (uint32_t i = 0; i < SIM_SITES_MAX; i++)
            before[i] = sim->sites[i].hits;
        program_make(&program, survey->options->seed + p, &survey->options->plan);
        survey->fine &= explore_program(survey->explore, &program);
        for (uint32_t i = 0; i < SIM_SITES_MAX; i++)
            if (sim->sites[i].hits != before[i])
                survey->reach[i][p / 8] |= (uint8_t)(1u << (p % 8));
    }
}

static void try_mutant(struct survey *survey, struct mutant *mutant)
{
    struct explore *explore = survey->explore;
    struct program program;
    uint64_t begin = explore_images(explore);
    explore->sim->skip_site = mutant->site;
    for (uint64_t p = 0; p < survey->programs && !mutant->caught; p++) {
        if (!(survey->reach[mutant->site][p / 8] >> (p % 8) & 1))
            continue;
        if (explore_images(explore) - begin > survey->options->images_each)
            break;
        program_make(&program, survey->options->seed + p, &survey->options->plan);
        mutant->caught = !explore_program(explore, &program);
        mutant->seed = program.seed;
    }
    mutant->images = explore_images(explore) - begin;
    if (mutant->caught)
        snprintf(mutant->failure, sizeof mutant->failure, "%s", explore->failure);
    explore->sim->skip_site = SIM_NONE;
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
