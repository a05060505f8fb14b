/*
 * explore: runs a program, then tries what a power loss could leave at every
 * event of its trace, and at every event of the recoveries from that.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_EXPLORE_H
#define TESTS_SIM_EXPLORE_H

#include "tests/sim/check.h"
#include "tests/sim/run.h"
#include "tests/sim/walk.h"

#define EXPLORE_DEPTH_MAX 3u

/* One image: the event of a trace, and the choice made there. */
struct crash {
    size_t event;
    uint64_t choice;
};

struct explore_options {
    enum sim_semantics semantics;
    uint32_t depth;   /* 1: crashes of the program; 2: inside recovery; 3: inside that one's */
    uint32_t samples; /* images at an event of the program where not all are tried */
    uint32_t samples_nested;  /* the same inside recoveries */
    uint32_t nested_one_in;   /* so many images have a recovery looked into */
    uint32_t subset_units;    /* try all subsets of so many units under way, or fewer */
    uint64_t images_max;      /* of one program, about: a long one has fewer of its events tried */
    const struct crash *only; /* this one path of crashes, only_count long; NULL: all */
    uint32_t only_count;
    bool trace; /* print the trace that leads to it */
};

extern const struct explore_options explore_defaults;

struct explore {
    struct explore_options options;
    struct sim *sim;
    struct run run;
    struct model model;
    struct check checks[EXPLORE_DEPTH_MAX];
    struct trace trace;
    uint64_t *seen[EXPLORE_DEPTH_MAX]; /* images of the event that is being tried */
    /* what was done since explore_init */
    uint64_t programs, events, operations;
    uint64_t images[EXPLORE_DEPTH_MAX];
    uint64_t exhaustive; /* events at which every subset was tried */
    void (*progress)(struct explore *explore);
    /* of the last program */
    struct crash path[EXPLORE_DEPTH_MAX]; /* where it is, or failed */
    uint32_t path_count;                  /* 0: it failed while it ran */
    char failure[1024];
};

void explore_init(struct explore *explore, const struct explore_options *options);
void explore_free(struct explore *explore);

/* False: a violation; explore->failure and explore->path tell which. */
bool explore_program(struct explore *explore, const struct program *program);

/* Leave out operations of a failing program as long as it still fails. */
void explore_shrink(struct explore *explore, struct program *program);

uint64_t explore_images(const struct explore *explore);
/* "12:8000000000000003/4:1f" and back. */
void explore_path_text(const struct explore *explore, char *text, size_t bytes);
uint32_t explore_path_parse(const char *text, struct crash path[EXPLORE_DEPTH_MAX]);

#endif
