/*
 * load: what the writer does between two power cuts.  A load is a file, or a few,
 * in a directory, and numbered transactions on them: what transaction n leaves
 * follows from the seed and n alone, so that a file can be checked against the
 * last number that was acknowledged.
 *
 * A failure prints what is wrong and ends the process (check.h).
 * Threads: none of this may be called by two at once.
 */
#ifndef TESTS_DAX_LOAD_H
#define TESTS_DAX_LOAD_H

#include <stdbool.h>
#include <stdint.h>

/* Called when a transaction is durable. */
typedef void load_acknowledge(void *context, uint64_t number);

struct load {
    const char *name;
    /*
     * Open the files, which recovers them, and give the number of the last
     * transaction in them to `acknowledge`, which judges it; then, for ever,
     * the next transaction and its acknowledgement.  Does not return.
     */
    void (*run)(const char *directory, uint64_t seed, load_acknowledge *acknowledge, void *context);
    /*
     * Open the files, which recovers them; check all that is in them; close them;
     * check that they are ordinary files then.  Returns the last transaction.
     */
    uint64_t (*verify)(const char *directory, uint64_t seed);
    /* The files, for nvmmio_check; NULL ends the list. */
    const char *files[3];
};

extern const struct load load_core; /* the core's API, one and two files at a time */
extern const struct load load_sql;  /* SQLite on the VFS, one and two databases at a time */

extern const struct load load_grow; /* one file that only grows */

/* <directory>/<name>; four results stay valid. */
const char *load_path(const char *directory, const char *name);

#endif
