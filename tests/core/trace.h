/*
 * trace: a child whose every step is counted, and that is killed before the one
 * that a test chooses.  A step is a system call or a single instruction; so a
 * test can go through all the places where a process may die, in order, and the
 * same one dies at the same place again.
 *
 * Steps are those of the child's first thread between trace_begin and trace_end.
 * Threads: the test's own.
 */
#ifndef TESTS_CORE_TRACE_H
#define TESTS_CORE_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/core/child.h"

enum trace_step { TRACE_CALL, TRACE_INSTRUCTION };

/* In the child: the steps between these two count. */
void trace_begin(void);
void trace_end(void);

/*
 * Run `main` in a child and kill it before step `n` (1 is the first; 0: never).
 * True: it was killed there; false: it came to its end, which the test fails for
 * unless the function returned.  `steps` (may be NULL): how many were counted.
 */
bool trace_kill(child_main *main, void *argument, enum trace_step step, uint64_t n,
                uint64_t *steps);

/* Call `seen` before every system call of the child, of any of its threads. */
struct trace_call {
    pid_t thread;
    uint64_t number; /* SYS_... */
    uint64_t arguments[6];
};
typedef void trace_seen(void *context, const struct trace_call *call);
void trace_calls(child_main *main, void *argument, trace_seen *seen, void *context);

/* The path behind a descriptor of the child; "" when there is none. */
void trace_path(const struct trace_call *call, uint64_t fd, char *path, size_t path_bytes);

#endif
