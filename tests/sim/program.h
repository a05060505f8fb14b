/*
 * program: a seeded list of operations on one or two files, by handles in one to
 * three processes, and on a stream now and then.  The list depends on the seed alone, not on what
 * the engine answers, so it can be cut down and run again; what makes no sense where it stands (a
 * write by a closed handle) is passed over when it runs.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_PROGRAM_H
#define TESTS_SIM_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/nvmmio.h"

#define PROGRAM_OPS_MAX 128u
#define PROGRAM_FILES 2u
#define PROGRAM_HANDLES 6u
#define PROGRAM_PROCESSES 3u

enum op_kind {
    OP_OPEN,
    OP_CLOSE,
    OP_READ,
    OP_READ_ALL,
    OP_VIEW,
    OP_WRITE,
    OP_TRUNCATE,
    OP_ALLOCATE,
    OP_SYNC,
    OP_ROLLBACK,
    OP_SEAL,
    OP_COMMIT,
    OP_APPLY,
    OP_FLUSH,
    OP_LOCK,
    OP_UNLOCK,
    OP_PREPARE,
    OP_RESOLVE,
    OP_SYNC_MANY,
    OP_STEP,
    OP_FOREIGN, /* a program without nvmmio writes to a file that nobody has open */
    OP_KILL,
    OP_FAULT,
    OP_SPACE,
    OP_STREAM,
    OP_KINDS,
};

/* What OP_STREAM does by its number; larger ones append.  Where nobody writes the stream, opening
 * it is what it does. */
enum { STREAM_READ, STREAM_CLOSE, STREAM_CUT, STREAM_SYNC, STREAM_SYNC_MORE, STREAM_NUMBERS = 12 };

struct op {
    enum op_kind kind;
    uint32_t handle;
    uint32_t other;  /* second handle; file of OPEN */
    uint32_t number; /* lock level, outcome, which fault */
    uint32_t offset, bytes;
    uint64_t seed;     /* of what is written */
    uint32_t die_at;   /* its process dies in the n-th call inside; 0: it does not */
    uint32_t die_part; /* of 256: so much of a store is done before */
    bool die_at_sync;  /* only calls that make something durable count */
};

struct program {
    uint64_t seed;
    uint32_t files, processes;
    bool marked[PROGRAM_FILES];
    bool apart[PROGRAM_FILES];  /* its log has a directory of its own */
    bool absent[PROGRAM_FILES]; /* home is made by the program */
    bool elsewhere;             /* the second file is in another directory */
    uint32_t bytes[PROGRAM_FILES];
    bool stream, stream_elsewhere; /* there is one; in /l */
    enum nvmmio_size stream_size;
    uint32_t log_bytes, stage_bytes;
    uint32_t op_count;
    struct op ops[PROGRAM_OPS_MAX];
    uint32_t dropped[PROGRAM_OPS_MAX]; /* operations left out, each by its number at that time */
    uint32_t dropped_count;
};

enum program_kind {
    PROGRAM_ANY,   /* mostly small ones */
    PROGRAM_SMALL, /* a few operations on a small file: many images a second */
    PROGRAM_MIXED,
    PROGRAM_LARGE, /* transactions larger than the log and than memory for staging */
};

/* What programs are to do without. */
struct program_plan {
    enum program_kind kind;
    bool no_deaths; /* of processes, also inside operations */
    bool no_faults; /* calls that fail, a full disk */
    bool no_marks;  /* homes that carry a mark */
    bool no_aparts; /* logs that have a directory of their own */
    bool no_makes;  /* homes that the program makes */
    bool no_streams;
    bool streams; /* in every program */
    bool aparts;  /* most logs have a directory of their own */
};

void program_make(struct program *program, uint64_t seed, const struct program_plan *plan);
/* Leave out operation `at`. */
void program_drop(struct program *program, uint32_t at);
/* One line about an operation. */
void program_describe(const struct program *program, uint32_t at, char *text, size_t bytes);
/* The header of the program: files and options, in a line. */
void program_describe_setup(const struct program *program, char *text, size_t bytes);

#endif
