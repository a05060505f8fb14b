/*
 * inject: failures of the system at counted calls.  The linker puts the
 * functions of inject.c in the place of libc's (--wrap) for everything that is
 * linked statically: the engine, the VFS, the tests.  libc itself and shared
 * libraries are not affected.
 *
 * It also counts what is held: memory, descriptors, mappings.
 *
 * Threads: any.  A test pauses the failures of its own thread while it makes
 * calls of its own.
 */
#ifndef TESTS_FAULTS_INJECT_H
#define TESTS_FAULTS_INJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum inject_kind {
    INJECT_IO,     /* EIO from every call that has to do with a file, its name or its locks */
    INJECT_SHORT,  /* a transfer that is half done, and then EIO */
    INJECT_SYNC,   /* EIO from fdatasync and fsync */
    INJECT_SPACE,  /* ENOSPC from what takes space */
    INJECT_MEMORY, /* no memory, no mapping, no thread */
    INJECT_DEATH,  /* SIGKILL, before any call of INJECT_IO */
    INJECT_KINDS,
};
const char *inject_name(enum inject_kind kind);

/* From now on the n-th call of this kind fails, and with `lasting` all later ones. */
void inject_begin(enum inject_kind kind, uint64_t n, bool lasting);
/* No failures any more.  Whether there was one. */
bool inject_end(void);
/* The name of the function that failed first. */
const char *inject_where(void);
/* Whether there was a failure since inject_begin. */
bool inject_hit(void);

/* Calls of this thread do not count until the same number of resumes. */
void inject_pause(void);
void inject_resume(void);

/* For allocators that do not go by malloc: whether this call is to fail. */
bool inject_memory(const char *function);
/* What they have given, or (-1) got back, counts as held. */
void inject_count(int allocations);

struct inject_held {
    int64_t allocations, descriptors, mappings;
};
struct inject_held inject_held(void);

#endif
