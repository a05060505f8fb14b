/*
 * step: a VFS above another one that counts the calls it passes on.  It can kill
 * the process before the n-th, or make a call fail, so that a test can go through
 * every moment at which SQLite may die between two calls of a VFS.
 *
 * Threads: counted together.
 */
#ifndef TESTS_SQL_STEP_H
#define TESTS_SQL_STEP_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/core/child.h"

/* Register the VFS `name` above `base`; both names live for ever. */
void step_register(const char *name, const char *base);

/* From now on: kill -9 this process before its n-th call (0: never). */
void step_arm(uint64_t n);
uint64_t step_count(void);

/* Make the calls `method` ("xSync", ...) on files whose name matches `pattern` (fnmatch) fail with
 * `result`, after `passes` of them passed; NULL: none.  STEP_KILL: kill -9 before that call. */
#define STEP_KILL (-9)
void step_fail(const char *method, const char *pattern, int result, int passes);
/* How many were made to fail. */
int step_failed(void);

/*
 * For n = 1, 2, ... (or in strides: place.h): `prepare` here; `main` in a child, with sql_vfs being
 * such a VFS and stock_vfs one above unix, killed before their n-th call; `verify` here with
 * whether it was killed. Ends with the n that is past the end of `main`, and returns it.
 */
struct step_sweep {
    void (*prepare)(void);
    child_main *main;
    void *argument;
    void (*verify)(bool killed);
};
uint64_t step_run(const struct step_sweep *sweep);

/* In a child of a test's own: make sql_vfs and stock_vfs such VFSes. */
void step_enter(void);

/* The same with a death before every system call (trace.h) between the trace marks of `main`. */
uint64_t step_run_calls(const struct step_sweep *sweep);

#endif
