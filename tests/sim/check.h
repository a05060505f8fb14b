/*
 * check: one image after a power loss: recovered by the engine, compared with
 * what is allowed, closed, and looked at as the plain file that it must be.
 *
 * The recovery can be recorded: its trace, and what is allowed at each of its
 * events (until a file was read, what was allowed before; from then on, what was
 * read), are what a crash inside it is judged by.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_CHECK_H
#define TESTS_SIM_CHECK_H

#include "core/process.h"
#include "tests/sim/model.h"

#define CHECK_NOTES 12u

struct check {
    struct trace trace;
    struct allowed notes[CHECK_NOTES];
    uint32_t note_count;
    struct content exact[PROGRAM_FILES]; /* what was read, when no state says it */
    uint64_t stream_bytes;               /* that were read */
    uint8_t *buffer;
    size_t buffer_bytes;
    struct nv_process *process; /* of the recovery before, if it left nothing in it; or NULL */
    const struct nv_os *process_os;
    char failure[1024];
};

void check_init(struct check *check);
void check_free(struct check *check);

/*
 * Recover the machine as it is; `allowed` is the judge, `way` seeds the order of
 * things.  Returns what is wrong, in words, or NULL.
 */
const char *check_image(struct check *check, const struct model *model, struct sim *sim,
                        const struct allowed *allowed, uint64_t way, bool record);

#endif
