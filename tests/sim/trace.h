/*
 * trace: what one run did to the media of a simulated machine, in order.
 * Grows as needed; no memory ends the program (it is a test).
 */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum trace_kind {
    TRACE_STORE,       /* bytes of a file, whole units */
    TRACE_ZERO,        /* the same, all zeros: no data is kept */
    TRACE_SIZE,        /* `offset` is the new size of the file */
    TRACE_MAKE,        /* `file` was made; data: struct sim_file */
    TRACE_NAME,        /* `path` names `file` */
    TRACE_UNNAME,      /* `path` names nothing */
    TRACE_RENAME,      /* `path` names `file`, and the path behind it (trace_path_from) nothing */
    TRACE_FENCE,       /* what `process` stored before is durable */
    TRACE_SYNC,        /* what was stored to `file`, and its size, is durable */
    TRACE_SYNC_FAILED, /* what was stored to `file` may be lost, and no later sync covers it */
    TRACE_SYNC_DIRECTORY, /* the names in the directory of `path` are durable */
    TRACE_NOTE,           /* `note` differs from here on */
};

/* What makes a store durable. */
enum trace_cover {
    COVER_SYNC,  /* sync_data of the file: it went through the page cache */
    COVER_FENCE, /* a fence of its process: it was flushed out of the processor's cache */
    COVER_NONE,  /* nothing: its flush was left out */
};

/* A store is recorded in whole units: a power loss leaves each one or not. */
#define TRACE_WORD_BYTES 8u
#define TRACE_SECTOR_BYTES 512u

static inline uint32_t trace_unit_bytes(enum trace_cover cover)
{
    return cover == COVER_SYNC ? TRACE_SECTOR_BYTES : TRACE_WORD_BYTES;
}

struct trace_event {
    uint8_t kind; /* enum trace_kind */
    uint8_t process;
    uint8_t cover; /* of a store: enum trace_cover */
    uint32_t file;
    uint32_t note; /* what the test said last: which states are allowed */
    uint32_t bytes;
    uint64_t offset;
    size_t data; /* place in trace.data: of the bytes, or of the path */
};

struct trace {
    struct trace_event *events;
    size_t count, capacity;
    uint8_t *data;
    size_t data_bytes, data_capacity;
};

void trace_init(struct trace *trace);
void trace_free(struct trace *trace);
void trace_clear(struct trace *trace);
/* Both are valid until the next call. */
struct trace_event *trace_add(struct trace *trace, enum trace_kind kind);
uint8_t *trace_data(struct trace *trace, size_t bytes, size_t *place);

static inline const uint8_t *trace_bytes(const struct trace *trace, const struct trace_event *event)
{
    return trace->data + event->data;
}

static inline const char *trace_path(const struct trace *trace, const struct trace_event *event)
{
    return (const char *)trace->data + event->data;
}

static inline const char *trace_path_from(const struct trace *trace,
                                          const struct trace_event *event)
{
    const char *path = trace_path(trace, event);
    return path + strlen(path) + 1;
}

/* One line about an event. */
void trace_describe(const struct trace *trace, size_t index, char *text, size_t bytes);

#endif
