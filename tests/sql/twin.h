/*
 * twin: one database on nvmmio and one on the stock VFS that are told the same.
 * They must answer the same and hold the same, at every step.
 *
 * Threads: the test's own.
 */
#ifndef TESTS_SQL_TWIN_H
#define TESTS_SQL_TWIN_H

#include "tests/sql/harness.h"

struct twin {
    struct scratch scratch;
    char ours_path[640], stock_path[640];
    sqlite3 *ours, *stock;
};

void twin_open(struct twin *twin);
/* The same, with the files that are there. */
void twin_reopen(struct twin *twin);
/* The same statements; the same result codes. */
void twin_do(struct twin *twin, const char *format, ...);
/* Holding the same. */
void twin_compare(struct twin *twin);
/* Compare, close, and see that ours is ordinary and as long as its header says. */
void twin_close(struct twin *twin);
/* Close both, and no more. */
void twin_shut(struct twin *twin);
/* Close what is open, and remove the files. */
void twin_remove(struct twin *twin);

/* A schema with an index, and `steps` steps of a random program. */
void twin_schema(struct twin *twin);
void twin_program(struct twin *twin, uint64_t *random, uint64_t steps);

#endif
