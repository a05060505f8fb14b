/*
 * sim_explore: seeded programs on the engine, on a simulated machine that loses
 * its power at every event.  Ends with the count of what was tried, or with the
 * first violation and the command that shows it again.
 *
 * Exit codes: 0 nothing found, 1 a violation, 2 usage.
 */
#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/report.h"

#define HANG_SECONDS 120

struct arguments {
    struct explore_options explore;
    struct program_plan plan;
    uint64_t seed;
    uint64_t budget;
    uint64_t programs; /* 0: until the budget is used up */
    struct crash path[EXPLORE_DEPTH_MAX];
    uint32_t path_count;
    uint32_t drop[PROGRAM_OPS_MAX];
    uint32_t drop_count;
    bool shrink, list, go_on, all;
};

enum {
    KEY_AT = 256,
    KEY_DROP,
    KEY_KIND,
    KEY_NO_DEATHS,
    KEY_NO_FAULTS,
    KEY_NO_MARKS,
    KEY_NO_APARTS,
    KEY_NO_MAKES,
    KEY_NO_STREAMS,
    KEY_STREAMS,
    KEY_TRACE,
    KEY_SAMPLES,
    KEY_SAMPLES_NESTED,
    KEY_NESTED,
    KEY_LIST,
    KEY_GO_ON,
};

static const struct argp_option options[] = {
    {0, 0, NULL, 0, "What is tried:", 1},
    {"semantics", 'm', "dax|page|mixed|all", 0,
     "what the media are like (default dax); mixed: home and log differ; all: each of them, with "
     "the budget or programs divided",
     1},
    {"seed", 's', "N", 0, "first program's seed; the next one has N+1 (default 1)", 1},
    {"budget", 'b', "IMAGES", 0, "stop after so many crash images (default 100000)", 1},
    {"programs", 'p', "N", 0, "stop after N programs instead", 1},
    {"depth", 'd', "1..3", 0, "crashes inside recovery, and inside that one's (default 3)", 1},
    {"samples", KEY_SAMPLES, "N", 0, "images at an event where not all are tried (default 16)", 1},
    {"samples-nested", KEY_SAMPLES_NESTED, "N", 0, "the same inside recovery (default 2)", 1},
    {"nested-one-in", KEY_NESTED, "N", 0, "look into the recovery of so many images (default 24)",
     1},
    {"kind", KEY_KIND, "small|mixed|large", 0, "programs of one kind only", 1},
    {"no-deaths", KEY_NO_DEATHS, NULL, 0, "no process dies", 1},
    {"no-faults", KEY_NO_FAULTS, NULL, 0, "no call fails", 1},
    {"no-marks", KEY_NO_MARKS, NULL, 0, "no home carries a mark", 1},
    {"no-aparts", KEY_NO_APARTS, NULL, 0, "no log has a directory of its own", 1},
    {"no-makes", KEY_NO_MAKES, NULL, 0, "every home is there from the start", 1},
    {"no-streams", KEY_NO_STREAMS, NULL, 0, "no stream beside the files", 1},
    {"streams", KEY_STREAMS, NULL, 0, "a stream in every program, not in every fourth", 1},
    {0, 0, NULL, 0, "When something is found:", 2},
    {"shrink", 'S', NULL, 0, "make the failing program small", 2},
    {"go-on", KEY_GO_ON, NULL, 0, "print each violation in a line and go on", 2},
    {"at", KEY_AT, "PATH", 0, "only this path of crashes, as a failure prints it", 2},
    {"drop", KEY_DROP, "N,N,...", 0, "leave out operations, one after the other", 2},
    {"trace", KEY_TRACE, NULL, 0, "print every event", 2},
    {"list", KEY_LIST, NULL, 0, "print the program's operations", 2},
    {0},
};

static uint64_t number(const char *text, struct argp_state *state)
{
    char *end;
    uint64_t value = strtoull(text, &end, 0);
    if (end == text || *end)
        argp_error(state, "%s is not a number", text);
    return value;
}

static void parse_drop(struct arguments *arguments, const char *text, struct argp_state *state)
{
    while (*text) {
        char *end;
        uint64_t value = strtoull(text, &end, 10);
        if (end == text || arguments->drop_count == PROGRAM_OPS_MAX)
            argp_error(state, "--drop takes numbers of operations");
        arguments->drop[arguments->drop_count++] = (uint32_t)value;
        text = *end ? end + 1 : end;
    }
}

static void parse_semantics(struct arguments *arguments, const char *text, struct argp_state *state)
{
    static const char *const names[] = {
        [SIM_DAX] = "dax", [SIM_PAGE] = "page", [SIM_MIXED] = "mixed"};
    arguments->all = strcmp(text, "all") == 0;
    for (uint32_t i = 0; i < SIM_SEMANTICS && !arguments->all; i++)
        if (strcmp(text, names[i]) == 0) {
            arguments->explore.semantics = (enum sim_semantics)i;
            return;
        }
    if (!arguments->all)
        argp_error(state, "--semantics is dax, page, mixed or all");
}

static void parse_kind(struct arguments *arguments, const char *text, struct argp_state *state)
{
    static const char *const names[] = {"any", "small", "mixed", "large"};
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            arguments->plan.kind = (enum program_kind)i;
            return;
        }
    argp_error(state, "--kind is small, mixed or large");
}

/* Options without an argument. */
static bool *flag_of(struct arguments *arguments, int key)
{
    switch (key) {
    case KEY_NO_DEATHS:
        return &arguments->plan.no_deaths;
    case KEY_NO_FAULTS:
        return &arguments->plan.no_faults;
    case KEY_NO_MARKS:
        return &arguments->plan.no_marks;
    case KEY_NO_APARTS:
        return &arguments->plan.no_aparts;
    case KEY_NO_MAKES:
        return &arguments->plan.no_makes;
    case KEY_STREAMS:
        return &arguments->plan.streams;
    case KEY_NO_STREAMS:
        return &arguments->plan.no_streams;
    case KEY_TRACE:
        return &arguments->explore.trace;
    case KEY_LIST:
        return &arguments->list;
    case KEY_GO_ON:
        return &arguments->go_on;
    case 'S':
        return &arguments->shrink;
    default:
        return NULL;
    }
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    bool *flag = flag_of(arguments, key);
    if (flag) {
        *flag = true;
        return 0;
    }
    switch (key) {
    case 's':
        arguments->seed = number(text, state);
        break;
    case 'b':
        arguments->budget = number(text, state);
        break;
    case 'p':
        arguments->programs = number(text, state);
        break;
    case 'm':
        parse_semantics(arguments, text, state);
        break;
    case 'd':
        arguments->explore.depth = (uint32_t)number(text, state);
        if (arguments->explore.depth < 1 || arguments->explore.depth > EXPLORE_DEPTH_MAX)
            argp_error(state, "--depth is 1 to %u", EXPLORE_DEPTH_MAX);
        break;
    case KEY_SAMPLES:
        arguments->explore.samples = (uint32_t)number(text, state);
        break;
    case KEY_SAMPLES_NESTED:
        arguments->explore.samples_nested = (uint32_t)number(text, state);
        break;
    case KEY_NESTED:
        arguments->explore.nested_one_in = (uint32_t)number(text, state);
        if (arguments->explore.nested_one_in == 0)
            argp_error(state, "--nested-one-in is 1 or more");
        break;
    case KEY_KIND:
        parse_kind(arguments, text, state);
        break;
    case KEY_AT:
        arguments->path_count = explore_path_parse(text, arguments->path);
        if (!arguments->path_count)
            argp_error(state, "%s is not a path of crashes", text);
        break;
    case KEY_DROP:
        parse_drop(arguments, text, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- on the way ---------------------------------------------------------------------- */

static struct {
    const struct arguments *arguments;
    const struct explore *explore;
    const struct program *program;
    struct timespec begin;
    bool terminal;
} at;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - at.begin.tv_sec) + (double)(now.tv_nsec - at.begin.tv_nsec) / 1e9;
}

static void show_progress(struct explore *explore)
{
    static double last;
    alarm(HANG_SECONDS); /* a thousand images that take so long hang */
    double now = seconds();
    if (!at.terminal || now - last < 0.2)
        return;
    last = now;
    double part = (double)explore_images(explore) / (double)at.arguments->budget;
    fprintf(stderr, "\r%5.1f %%  %" PRIu64 " images of %" PRIu64 " programs, %.0f a second  ",
            part > 1 ? 100 : 100 * part, explore_images(explore), explore->programs,
            (double)explore_images(explore) / now);
}

/* The engine crashed or hangs: say where, as after any other violation. */
/* NOLINTBEGIN(bugprone-signal-handler): it may hang or crash again, but what it says is needed. */
static void die(int signal)
{
    printf("\nsignal %d (%s)\n", signal, signal == SIGALRM ? "it hangs" : "it crashes");
    if (at.program) {
        report_program(stdout, at.program);
        report_command(stdout, at.explore, at.program, &at.arguments->plan);
    }
    fflush(stdout);
    _exit(1);
}
/* NOLINTEND(bugprone-signal-handler) */

/* ---- what there is to do ------------------------------------------------------------- */

static void found(const struct arguments *arguments, struct explore *explore,
                  struct program *program)
{
    char path[128];
    if (at.terminal)
        fputc('\n', stderr);
    if (arguments->go_on) {
        explore_path_text(explore, path, sizeof path);
        printf("violation: seed %" PRIu64 " %s: %s\n", program->seed,
               path[0] ? path : "while it ran", explore->failure);
        return;
    }
    if (arguments->shrink)
        explore_shrink(explore, program);
    report_violation(stdout, explore, program, &arguments->plan);
}

static bool explore_programs(const struct arguments *arguments, struct explore *explore,
                             const struct program_plan *plan)
{
    struct program program;
    uint64_t violations = 0;
    at.program = &program;
    for (uint64_t i = 0; arguments->programs ? i < arguments->programs
                                             : explore_images(explore) < arguments->budget;
         i++) {
        program_make(&program, arguments->seed + i, plan);
        for (uint32_t d = 0; d < arguments->drop_count; d++)
            program_drop(&program, arguments->drop[d]);
        if (arguments->list)
            report_program(stdout, &program);
        show_progress(explore);
        if (explore_program(explore, &program))
            continue;
        found(arguments, explore, &program);
        violations++;
        if (!arguments->go_on)
            break;
    }
    if (at.terminal)
        fputc('\n', stderr);
    return violations == 0;
}

/* With one kind of media. */
static bool explore_one(const struct arguments *arguments, uint64_t *images)
{
    struct explore *explore = malloc(sizeof *explore);
    struct program_plan plan = arguments->plan;
    if (!explore)
        abort();
    plan.aparts = arguments->explore.semantics == SIM_MIXED;
    explore_init(explore, &arguments->explore);
    explore->progress = show_progress;
    at.explore = explore;
    at.arguments = arguments;
    clock_gettime(CLOCK_MONOTONIC, &at.begin);
    bool fine = explore_programs(arguments, explore, &plan);
    report_counts(stdout, explore, seconds());
    fflush(stdout);
    *images += explore_images(explore);
    explore_free(explore);
    free(explore);
    return fine;
}

static bool explore_all(const struct arguments *arguments)
{
    uint64_t images = 0;
    bool fine = true;
    if (!arguments->all)
        return explore_one(arguments, &images);
    for (uint32_t i = 0; i < SIM_SEMANTICS && (fine || arguments->go_on); i++) {
        struct arguments part = *arguments;
        part.explore.semantics = (enum sim_semantics)i;
        part.budget = arguments->budget / SIM_SEMANTICS + 1;
        part.programs = (arguments->programs + SIM_SEMANTICS - 1) / SIM_SEMANTICS;
        fine &= explore_one(&part, &images);
    }
    printf("%" PRIu64 " crash images, %s\n", images, fine ? "no violation" : "VIOLATED");
    return fine;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Seeded programs on the engine, and a power loss at every event of them.",
    };
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    static struct arguments arguments;
    arguments = (struct arguments){.explore = explore_defaults, .seed = 1, .budget = 100000};
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments))
        return 2;
    if (arguments.path_count) {
        arguments.explore.only = arguments.path;
        arguments.explore.only_count = arguments.path_count;
    }
    clock_gettime(CLOCK_MONOTONIC, &at.begin);
    at.arguments = &arguments;
    at.terminal = isatty(STDERR_FILENO);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], die);
    return explore_all(&arguments) ? 0 : 1;
}
