/*
 * check: assertions that work in a test, in a helper of a test and in a child
 * process alike.  In the test's own process a failure ends the cmocka test; in
 * a child it prints, and ends the child with CHECK_EXIT, which whoever waits for
 * it reports as a failure.
 *
 * Threads: any; a failure in a thread other than the test's ends the process.
 */
#ifndef TESTS_CORE_CHECK_H
#define TESTS_CORE_CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#define CHECK_EXIT 99

/* From here on this process is a child: failures end it. */
void check_enter_child(void);

_Noreturn void check_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_equal(const char *file, int line, const char *what, int64_t got, int64_t want);
void check_same_text(const char *file, int line, const char *what, const char *got,
                     const char *want);

/* A line that a failure prints: which seed, which step.  Stays until it is replaced. */
void check_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define check_fail(...) check_failed(__FILE__, __LINE__, __VA_ARGS__)
#define check(condition)                                                                           \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, "not so: %s", #condition))
#define check_eq(got, want) check_equal(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(want))
#define check_text(got, want) check_same_text(__FILE__, __LINE__, #got, got, want)

#endif
