/*
 * model: what the files hold, as the contract of core/nvmmio.h has it: for each
 * file the states that it was ever committed to, which of them readers see, and
 * which of them a power loss may leave.
 *
 * The last is a `struct allowed`.  While a run is recorded, the model numbers
 * each one that differs from the one before, and writes the number into the
 * trace: an image is judged by the number of the event at which it was made.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include "core/nvmmio.h"
#include "tests/sim/program.h"
#include "tests/sim/sim.h"

#define MODEL_STATES 64u
#define MODEL_JOINTS 16u
#define MODEL_VERSIONS 12u

struct content {
    uint8_t *data;
    uint32_t bytes, capacity;
};

void content_free(struct content *content);
void content_copy(struct content *to, const struct content *from);
void content_write(struct content *content, const void *data, uint32_t bytes, uint32_t offset);
void content_truncate(struct content *content, uint32_t bytes);
/* Bytes to write over `content` at `offset`: random ones, zeros, or what is there with a few
 * changed. */
void content_fill(uint8_t *to, uint32_t bytes, uint64_t seed, const struct content *content,
                  uint32_t offset);
bool content_equal(const struct content *content, const uint8_t *data, size_t bytes);

/* One file after a power loss. */
struct allowed_file {
    uint64_t states;       /* bit i: state i */
    uint64_t states_super; /* the same where the file that decides is there */
    bool torn;             /* parts of any of them: commits were applied that nobody made durable */
    bool absent;           /* its name may be missing */
    const struct content *exact; /* instead of all that: what a recovery has shown already */
};

/* The stream after a power loss: what was appended, `low` bytes of it at least and `high` at most.
 * `cut`: it was cut since its last sync, only the first `low` bytes are certain. */
struct allowed_stream {
    const struct content *content;
    uint32_t low, high;
    bool cut;
};

struct allowed {
    struct allowed_file files[PROGRAM_FILES];
    struct allowed_stream stream;
    uint32_t joints; /* bit i: commit i over both files: in both or in neither */
};

struct model_file {
    char path[SIM_PATH_BYTES];
    struct content states[MODEL_STATES];
    uint32_t count;
    uint64_t visible; /* states that readers may see: one, but for the time after a death */
    uint32_t members; /* handles that are open */
    bool poisoned;    /* must refuse writes until every handle is closed */
    bool suspect;     /* a fault hit it: any call may fail with -EIO until then */
    bool unknown;     /* which state shows only an open by the first one tells: a close with a seal
                       * failed, or a commit over several files */
};

/* Each version is only appended to; a cut, or something that failed, begins another one. */
struct model_stream {
    char path[SIM_PATH_BYTES]; /* "": the program has none */
    struct content versions[MODEL_VERSIONS];
    uint32_t version;
    uint32_t synced;    /* bytes that a sync made durable */
    uint32_t under_way; /* bytes at the end that are being appended, or cut */
};

struct model {
    const struct program *program;
    struct model_file files[PROGRAM_FILES];
    struct model_stream stream;
    struct { /* commits over both files */
        uint32_t states[PROGRAM_FILES];
    } joints[MODEL_JOINTS];
    uint32_t joint_count;
    struct allowed now;
    struct allowed *notes;
    uint32_t note_count, note_capacity;
    struct nvmmio_mark mark;
};

#define MODEL_SUPER "/d/super"

void model_init(struct model *model, const struct program *program);
void model_free(struct model *model);
/* The files as the program finds them, durable. */
void model_lay_out(struct model *model, struct sim *sim);
/* How the engine is asked to open a file. */
void model_options(const struct model *model, uint32_t file, struct nvmmio_options *options);

/* `now` changed: events from here on are judged by it. */
void model_note(struct model *model, struct sim *sim);

/* A new state of a file; its number, or MODEL_STATES when there are too many. */
uint32_t model_state(struct model *model, uint32_t file, const struct content *content);
/* The one state that readers see. */
static inline uint32_t model_visible(const struct model_file *file)
{
    return (uint32_t)__builtin_ctzll(file->visible);
}

/* Those of `states` that have this content. */
uint64_t model_match(const struct model_file *file, uint64_t states, const uint8_t *data,
                     size_t bytes);
/* Whether this is what half applied commits between these states leave: blocks in which the states
 * differ may hold anything (versions between them too), all others what all states have; the length
 * is that of one of them, or what was preallocated. */
bool model_match_torn(const struct model_file *file, uint64_t states, const uint8_t *data,
                      size_t bytes);
/* Whether two files may be in one of these states at the same time. */
bool model_joint(const struct model *model, const struct allowed *allowed,
                 const uint64_t states[PROGRAM_FILES]);

/* Where and how two contents differ, in words. */
void model_explain(const struct model_file *file, uint64_t states, const uint8_t *data,
                   size_t bytes, char *text, size_t text_bytes);

#endif
