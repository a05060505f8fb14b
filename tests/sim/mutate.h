/*
 * mutate: leaves out one persistence step of the engine after the other, each at
 * one place (a call chain), and sees whether a program notices.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_MUTATE_H
#define TESTS_SIM_MUTATE_H

#include "tests/sim/explore.h"

struct mutate_options {
    struct explore_options explore;
    struct program_plan plan;
    uint64_t seed;        /* the first program's */
    uint64_t programs;    /* to find the places with, and to try each mutant on */
    uint64_t images_each; /* at most, of one mutant */
};

struct mutant {
    uint32_t site;
    char text[192]; /* which step, and where, as sim_skip takes it */
    uint64_t hits;  /* times that it was passed, unmutated */
    bool caught;
    uint64_t seed;   /* of the program that caught it */
    uint64_t images; /* that were tried until then */
    char failure[1024];
};

/* Called after each mutant; `number` of `count` are done. */
typedef void mutate_progress(const struct mutant *mutant, uint32_t number, uint32_t count);

/* The count of mutants, and of those that nothing noticed. */
struct mutate_result {
    uint32_t mutants, survivors;
};

/* True: all were caught, and the engine as it is fails nothing. */
bool mutate_all(const struct mutate_options *options, mutate_progress *progress,
                struct mutate_result *result);

#endif
