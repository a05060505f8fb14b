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

#include "tests/sim/explore.h"

struct arguments {
    struct explore_options explore;
    uint64_t seed;
    uint64_t budget;
    uint64_t programs; /* 0: until the budget is used up */
    struct crash path[EXPLORE_DEPTH_MAX];
    uint32_t path_count;
    uint32_t drop[PROGRAM_OPS_MAX];
    uint32_t drop_count;
    const char *kind;
    bool no_deaths, no_faults, no_marks, no_aparts, no_makes, shrink, list, sites, go_on;
    uint32_t mutate;
};

enum { KEY_AT = 256, KEY_DROP, KEY_KIND, KEY_NO_DEATHS, KEY_NO_FAULTS, KEY_NO_MARKS, KEY_NO_APARTS, KEY_NO_MAKES, KEY_TRACE, KEY_MUTATE,
       KEY_SITES, KEY_SAMPLES, KEY_LIST, KEY_GO_ON };

static const struct argp_option options[] = {
    {"seed", 's', "N", 0, "first program's seed; the next one has N+1 (default 1)", 0},
    {"budget", 'b', "IMAGES", 0, "stop after so many crash images (default 100000)", 0},
    {"programs", 'p', "N", 0, "stop after N programs", 0},
    {"semantics", 'm', "dax|page", 0, "what the media are like (default dax)", 0},
    {"depth", 'd', "1..3", 0, "crashes inside recovery, and inside that one's (default 3)", 0},
    {"samples", KEY_SAMPLES, "N", 0, "images at an event where not all are tried (default 16)", 0},
    {"kind", KEY_KIND, "small|mixed|large", 0, "programs of one kind only", 0},
    {"no-deaths", KEY_NO_DEATHS, NULL, 0, "no process dies", 0},
    {"no-faults", KEY_NO_FAULTS, NULL, 0, "no call fails", 0},
    {"no-marks", KEY_NO_MARKS, NULL, 0, "no home carries a mark", 0},
    {"no-aparts", KEY_NO_APARTS, NULL, 0, "no log has a directory of its own", 0},
    {"no-makes", KEY_NO_MAKES, NULL, 0, "every home is there from the start", 0},
    {"shrink", 'S', NULL, 0, "make a failing program small", 0},
    {"at", KEY_AT, "PATH", 0, "only this path of crashes, as a failure prints it", 0},
    {"drop", KEY_DROP, "N,N,...", 0, "leave out operations, one after the other", 0},
    {"trace", KEY_TRACE, NULL, 0, "print every event", 0},
    {"list", KEY_LIST, NULL, 0, "print the program's operations", 0},
    {"mutate", KEY_MUTATE, "SITE", 0, "leave out the persistence step with this number", 0},
    {"sites", KEY_SITES, NULL, 0, "number the persistence steps that were met, with their calls", 0},
    {"go-on", KEY_GO_ON, NULL, 0, "print each violation in a line and go on", 0},
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

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
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
        if (strcmp(text, "dax") != 0 && strcmp(text, "page") != 0)
            argp_error(state, "--semantics is dax or page");
        arguments->explore.semantics = text[0] == 'd' ? SIM_DAX : SIM_PAGE;
        break;
    case 'd':
        arguments->explore.depth = (uint32_t)number(text, state);
        if (arguments->explore.depth < 1 || arguments->explore.depth > EXPLORE_DEPTH_MAX)
            argp_error(state, "--depth is 1 to %u", EXPLORE_DEPTH_MAX);
        break;
    case KEY_SAMPLES:
        arguments->explore.samples = (uint32_t)number(text, state);
        break;
    case KEY_KIND:
        arguments->kind = text;
        break;
    case KEY_NO_DEATHS:
        arguments->no_deaths = true;
        break;
    case KEY_NO_FAULTS:
        arguments->no_faults = true;
        break;
    case KEY_NO_MARKS:
        arguments->no_marks = true;
        break;
    case KEY_NO_APARTS:
        arguments->no_aparts = true;
        break;
    case KEY_NO_MAKES:
        arguments->no_makes = true;
        break;
    case 'S':
        arguments->shrink = true;
        break;
    case KEY_AT:
        arguments->path_count = explore_path_parse(text, arguments->path);
        if (!arguments->path_count)
            argp_error(state, "%s is not a path of crashes", text);
        break;
    case KEY_DROP:
        parse_drop(arguments, text, state);
        break;
    case KEY_TRACE:
        arguments->explore.trace = true;
        break;
    case KEY_LIST:
        arguments->list = true;
        break;
    case KEY_MUTATE:
        arguments->mutate = (uint32_t)number(text, state);
        break;
    case KEY_SITES:
        arguments->sites = true;
        break;
    case KEY_GO_ON:
        arguments->go_on = true;
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- programs ------------------------------------------------------------------------------------ */

static void make_program(struct program *program, uint64_t seed, const struct arguments *arguments)
{
    struct program_plan plan = {.kind = PROGRAM_SMALL};
    uint64_t way = seed * UINT64_C(0x9e3779b97f4a7c15);
    way = sim_random(&way);
    if (way % 32 == 0)
        plan.kind = PROGRAM_LARGE;
    else if (way % 32 < 10)
        plan.kind = PROGRAM_MIXED;
    if (arguments->kind)
        plan.kind = arguments->kind[0] == 's'   ? PROGRAM_SMALL
                    : arguments->kind[0] == 'm' ? PROGRAM_MIXED
                                                : PROGRAM_LARGE;
    plan.deaths = way / 32 % 2 && !arguments->no_deaths;
    plan.marks = !arguments->no_marks;
    plan.aparts = !arguments->no_aparts;
    plan.makes = !arguments->no_makes;
    plan.faults = way / 64 % 4 == 0 && !arguments->no_faults;
    program_make(program, seed, &plan);
}

static void print_program(const struct program *program)
{
    char text[256];
    program_describe_setup(program, text, sizeof text);
    printf("program %" PRIu64 ": %s\n", program->seed, text);
    for (uint32_t i = 0; i < program->op_count; i++) {
        program_describe(program, i, text, sizeof text);
        printf("  %s\n", text);
    }
}

/* The arguments that make the same program again. */
static void print_command(const struct arguments *arguments, const struct explore *explore,
                          const struct program *program)
{
    char path[128];
    printf("replay: sim_explore --semantics %s --depth %u --seed %" PRIu64 " --programs 1",
           arguments->explore.semantics == SIM_DAX ? "dax" : "page", arguments->explore.depth,
           program->seed);
    if (arguments->kind)
        printf(" --kind %s", arguments->kind);
    if (arguments->no_deaths)
        printf(" --no-deaths");
    if (arguments->no_faults)
        printf(" --no-faults");
    if (arguments->no_marks)
        printf(" --no-marks");
    if (arguments->no_aparts)
        printf(" --no-aparts");
    if (arguments->no_makes)
        printf(" --no-makes");
    if (arguments->mutate != SIM_NONE)
        printf(" --mutate %u", arguments->mutate);
    for (uint32_t i = 0; i < program->dropped_count; i++)
        printf("%s%u", i ? "," : " --drop ", program->dropped[i]);
    explore_path_text(explore, path, sizeof path);
    if (path[0])
        printf(" --at %s", path);
    printf("\n");
}

static void print_failure(struct arguments *arguments, struct explore *explore,
                          struct program *program)
{
    char path[128];
    if (arguments->go_on) {
        explore_path_text(explore, path, sizeof path);
        printf("violation: seed %" PRIu64 " %s: %s\n", program->seed,
               path[0] ? path : "while it ran", explore->failure);
        return;
    }
    if (arguments->shrink)
        explore_shrink(explore, program);
    print_program(program);
    explore_path_text(explore, path, sizeof path);
    if (path[0])
        printf("violation at %s: %s\n", path, explore->failure);
    else
        printf("violation in operation %u: %s\n", explore->run.at, explore->failure);
    print_command(arguments, explore, program);
}

/* ---- on the way ------------------------------------------------------------------------------------ */

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
    return (double)(now.tv_sec - at.begin.tv_sec) +
           (double)(now.tv_nsec - at.begin.tv_nsec) / 1e9;
}

static void show_progress(struct explore *explore)
{
    static double last;
    alarm(120); /* an image that takes so long hangs */
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
static void die(int signal)
{
    printf("\nsignal %d (%s)\n", signal, signal == SIGALRM ? "it hangs" : "it crashes");
    print_program(at.program);
    print_command(at.arguments, at.explore, at.program);
    fflush(stdout);
    _exit(1);
}

static void print_summary(const struct explore *explore)
{
    printf("%" PRIu64 " programs, %" PRIu64 " operations, %" PRIu64 " events; %" PRIu64
           " crash images (%" PRIu64 " of programs, %" PRIu64 " inside recovery, %" PRIu64
           " inside recovery from that); every subset tried at %" PRIu64
           " events; %.1f s, %.0f images a second\n",
           explore->programs, explore->operations, explore->events, explore_images(explore),
           explore->images[0], explore->images[1], explore->images[2], explore->exhaustive,
           seconds(), (double)explore_images(explore) / seconds());
}

static void print_sites(const struct sim *sim)
{
    char text[256];
    for (uint32_t i = 0; i < sim->site_count; i++)
        printf("site %u: %" PRIu64 " %s\n", i, sim->sites[i].hits,
               sim_site_text(sim, i, text, sizeof text));
}

static int explore_all(struct arguments *arguments, struct explore *explore)
{
    struct program program;
    uint64_t violations = 0;
    at.program = &program;
    for (uint64_t i = 0; arguments->programs ? i < arguments->programs
                                             : explore_images(explore) < arguments->budget;
         i++) {
        make_program(&program, arguments->seed + i, arguments);
        for (uint32_t d = 0; d < arguments->drop_count; d++)
            program_drop(&program, arguments->drop[d]);
        if (arguments->list)
            print_program(&program);
        show_progress(explore);
        if (explore_program(explore, &program))
            continue;
        if (at.terminal)
            fputc('\n', stderr);
        print_failure(arguments, explore, &program);
        violations++;
        if (!arguments->go_on)
            break;
    }
    if (at.terminal)
        fputc('\n', stderr);
    if (arguments->sites)
        print_sites(explore->sim);
    print_summary(explore);
    return violations ? 1 : 0;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Seeded programs on the engine, and a power loss at every event of them.",
    };
    struct arguments arguments = {
        .explore = explore_defaults, .seed = 1, .budget = 100000, .mutate = SIM_NONE};
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments))
        return 2;
    if (arguments.path_count) {
        arguments.explore.only = arguments.path;
        arguments.explore.only_count = arguments.path_count;
    }
    struct explore *explore = malloc(sizeof *explore);
    if (!explore)
        return 2;
    explore_init(explore, &arguments.explore);
    explore->progress = show_progress;
    explore->sim->count_sites = arguments.sites || arguments.mutate != SIM_NONE;
    explore->sim->skip_site = arguments.mutate;
    at.arguments = &arguments;
    at.explore = explore;
    at.terminal = isatty(STDERR_FILENO);
    clock_gettime(CLOCK_MONOTONIC, &at.begin);
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], die);
    int result = explore_all(&arguments, explore);
    explore_free(explore);
    free(explore);
    return result;
}
