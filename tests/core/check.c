/* check: see check.h. */
#include "tests/core/check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool check_child;
static pthread_t check_thread;
static char check_notes[512];

/* cmocka can only be told of a failure by the thread that runs the test. */
__attribute__((constructor)) static void check_start(void)
{
    check_thread = pthread_self();
}

void check_enter_child(void)
{
    check_child = true;
}

void check_note(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(check_notes, sizeof(check_notes), format, arguments);
    va_end(arguments);
}

void check_failed(const char *file, int line, const char *format, ...)
{
    char text[2048];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s:%d: %s%s\n%s%s%s", file, line, check_child ? "(child) " : "", text,
            check_notes[0] ? "  at: " : "", check_notes, check_notes[0] ? "\n" : "");
    if (check_child || !pthread_equal(pthread_self(), check_thread))
        _exit(CHECK_EXIT);
    _fail(file, line);
    abort(); /* _fail does not return */
}

void check_equal(const char *file, int line, const char *what, int64_t got, int64_t want)
{
    if (got != want)
        check_failed(file, line, "%s is %lld, not %lld", what, (long long)got, (long long)want);
}

void check_same_text(const char *file, int line, const char *what, const char *got,
                     const char *want)
{
    if (!got || strcmp(got, want) != 0)
        check_failed(file, line, "%s is \"%s\", not \"%s\"", what, got ? got : "(null)", want);
}
