/*
 * place: where a test's files live.  Every test program runs its tests on three
 * places, each in a process of its own, since libpmem looks at its environment
 * once:
 *
 *   ram   /dev/shm
 *   dax   /dev/shm with PMEM_IS_PMEM_FORCE=1: the stand-in for NVMM
 *   page  a disk: NVMMIO_TEST_DISK, or /var/tmp
 *
 * Arguments of every test program:
 *   --place ram|dax|page|DIRECTORY   only this place (DIRECTORY: as it is)
 *   --test PATTERN                   only the tests whose name matches (* and ?)
 *   --seed N                         the seed of tests that have one
 *   --times N                        how much random tests do, in percent
 *   --stride N                       of an exhaustive test, every N-th step only
 *
 * Threads: the test's own.
 */
#ifndef TESTS_CORE_PLACE_H
#define TESTS_CORE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

enum place_kind { PLACE_RAM, PLACE_DAX, PLACE_PAGE, PLACE_OTHER };

/* A clean process that a test starts: `program --role NAME ARGUMENTS...`. */
struct place_role {
    const char *name; /* NULL ends the list */
    int (*main)(int argc, char **argv);
};

/* The main function of a test program.  `tests` runs a cmocka group; `roles` may be NULL. */
int place_main(int argc, char **argv, int (*tests)(void), const struct place_role *roles);

enum place_kind place_kind(void);
/* The directory under which scratch directories are made. */
const char *place_root(void);
/* The seed of this run, printed with the command that repeats the test called `test`. */
uint64_t place_seed(const char *test);
/* `count` scaled by --times, at least 1. */
uint64_t place_times(uint64_t count);

/* How far it is from one step of an exhaustive test to the next: 1, but under a sanitizer, where
 * all of this is there to find other things, and slow. */
uint64_t place_stride(void);

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PLACE_SANITIZED true
#else
#define PLACE_SANITIZED false
#endif

/* A directory of a test's own, and the path of a file in it that is usually the one tested. */
struct scratch {
    char directory[512];
    char path[600]; /* <directory>/db */
};

/* That of the test under way, for programs that need no more than one. */
extern struct scratch scratch;
int scratch_setup(void **state); /* cmocka's; a set-up that does more calls scratch_make */
int scratch_teardown(void **state);

void scratch_make(struct scratch *scratch);
/* The same in a given directory. */
void scratch_make_in(struct scratch *scratch, const char *root);
/* Remove it with all that is in it; NVMMIO_TEST_KEEP=1 in the environment keeps it. */
void scratch_remove(struct scratch *scratch);
/* Remove everything in it. */
void scratch_empty(struct scratch *scratch);
/* The names in it, sorted, each followed by a blank; valid until the next call. */
const char *scratch_list(const struct scratch *scratch);
/* <directory>/<name>; four results stay valid. */
const char *scratch_file(const struct scratch *scratch, const char *name);

/* Whole files.  The length, or -errno. */
int64_t file_read(const char *path, void **content); /* free() it */
void file_write(const char *path, const void *content, uint64_t bytes);
void file_copy(const char *from, const char *to);
bool file_exists(const char *path);
int64_t file_bytes(const char *path);

/* xorshift64*: the same numbers everywhere.  *state is not 0. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t limit);

#endif
