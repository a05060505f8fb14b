/*
 * report: programs, violations and the commands that show them again, as text.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_REPORT_H
#define TESTS_SIM_REPORT_H

#include <stdio.h>

#include "tests/sim/explore.h"

void report_program(FILE *to, const struct program *program);
/* What explore_program found, and how to see it again. */
void report_violation(FILE *to, const struct explore *explore, const struct program *program,
                      const struct program_plan *plan);
void report_command(FILE *to, const struct explore *explore, const struct program *program,
                    const struct program_plan *plan);
/* What was tried, in a line. */
void report_counts(FILE *to, const struct explore *explore, double seconds);

#endif
