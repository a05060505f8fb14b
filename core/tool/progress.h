/*
 * progress: a bar on a terminal for work that takes long.
 *
 * On a terminal it redraws one line, at most ten times a second; elsewhere it
 * is silent, or, if asked, writes a line at every tenth of the way.
 *
 * Threads: one bar is used by one thread.
 */
#ifndef NV_TOOL_PROGRESS_H
#define NV_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct nv_progress {
    FILE *stream;
    const char *label; /* not copied */
    const char *unit;  /* what is counted, "packages"; NULL: bytes */
    bool terminal;
    bool lines; /* not a terminal: a line at every tenth */
    bool drawn;
    uint64_t last_ns;
    unsigned last_tenth;
};

void nv_progress_start(struct nv_progress *progress, FILE *stream, const char *label,
                       const char *unit, bool lines);
void nv_progress_update(struct nv_progress *progress, uint64_t done, uint64_t total);
/* Leaves the cursor on a line of its own; what was drawn last stays. */
void nv_progress_end(struct nv_progress *progress);

/* "1.5 MiB".  Returns `out`. */
char *nv_progress_bytes(uint64_t bytes, char *out, size_t out_bytes);

#endif
