#include "tests/sim/report.h"

#include <inttypes.h>

static const char *semantics_name(const struct explore *explore)
{
    static const char *const names[] = {
        [SIM_DAX] = "dax", [SIM_PAGE] = "page", [SIM_MIXED] = "mixed"};
    return names[explore->options.semantics];
}

void report_program(FILE *to, const struct program *program)
{
    char text[256];
    program_describe_setup(program, text, sizeof text);
    fprintf(to, "program %" PRIu64 ": %s\n", program->seed, text);
    for (uint32_t i = 0; i < program->op_count; i++) {
        program_describe(program, i, text, sizeof text);
        fprintf(to, "  %s\n", text);
    }
}

void report_command(FILE *to, const struct explore *explore, const struct program *program,
                    const struct program_plan *plan)
{
    static const char *const kinds[] = {"any", "small", "mixed", "large"};
    char path[128];
    fprintf(to, "replay: sim_explore --semantics %s --depth %u --seed %" PRIu64 " --programs 1",
            semantics_name(explore), explore->options.depth, program->seed);
    if (plan->kind != PROGRAM_ANY)
        fprintf(to, " --kind %s", kinds[plan->kind]);
    fprintf(to, "%s%s%s%s%s%s%s", plan->streams ? " --streams" : "",
            plan->no_streams ? " --no-streams" : "", plan->no_deaths ? " --no-deaths" : "",
            plan->no_faults ? " --no-faults" : "", plan->no_marks ? " --no-marks" : "",
            plan->no_aparts ? " --no-aparts" : "", plan->no_makes ? " --no-makes" : "");
    for (uint32_t i = 0; i < program->dropped_count; i++)
        fprintf(to, "%s%u", i ? "," : " --drop ", program->dropped[i]);
    explore_path_text(explore, path, sizeof path);
    fprintf(to, "%s%s\n", path[0] ? " --at " : "", path);
}

void report_violation(FILE *to, const struct explore *explore, const struct program *program,
                      const struct program_plan *plan)
{
    char path[128];
    report_program(to, program);
    explore_path_text(explore, path, sizeof path);
    if (path[0])
        fprintf(to, "violation at %s: %s\n", path, explore->failure);
    else
        fprintf(to, "violation in operation %u: %s\n", explore->run.at, explore->failure);
    report_command(to, explore, program, plan);
}

void report_counts(FILE *to, const struct explore *explore, double seconds)
{
    fprintf(to,
            "%s: %" PRIu64 " programs, %" PRIu64 " operations, %" PRIu64 " events; %" PRIu64
            " crash images (%" PRIu64 " of programs, %" PRIu64 " inside recovery, %" PRIu64
            " inside recovery from that); all subsets tried at %" PRIu64
            " events; %.1f s, %.0f images a second\n",
            semantics_name(explore), explore->programs, explore->operations, explore->events,
            explore_images(explore), explore->images[0], explore->images[1], explore->images[2],
            explore->exhaustive, seconds, (double)explore_images(explore) / seconds);
}
