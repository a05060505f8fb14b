/*
 * run: a program run on a simulated machine by the engine, each answer compared
 * with the model's.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include "core/process.h"
#include "tests/sim/model.h"

struct run_process {
    struct sim_process *sim; /* NULL: not alive */
    struct nv_process *engine;
};

struct run_handle {
    bool open, read_only;
    bool waiting; /* keeps readers out: PENDING or more, without having been asked for it */
    bool unsure;  /* what is asked for was lowered from a lock that it perhaps had no more */
    bool broken;  /* a commit by it failed: good for rollback and close only */
    uint32_t file;
    struct nvmmio *handle;
    enum nvmmio_lock asked;
    enum nvmmio_stage stage;
    struct content staged; /* the content as it sees it, when stage is not CLEAN */
    uint32_t sealed;       /* state that it would commit, when SEALED or PREPARED */
};

struct run {
    const struct program *program;
    struct model *model;
    struct sim *sim;
    struct run_process processes[SIM_PROCESSES_MAX]; /* the last is the harness's own */
    struct run_handle handles[PROGRAM_HANDLES];
    bool prepared; /* MODEL_SUPER is there, and decides */
    bool child[PROGRAM_FILES];
    uint32_t committing[PROGRAM_FILES]; /* state that the operation under way commits, or NONE */
    bool commit_waits[PROGRAM_FILES];   /* it makes that durable */
    bool deciding[PROGRAM_FILES];       /* MODEL_SUPER decides it */
    bool armed;                         /* a fault was waiting when this operation began */
    bool faulty;                        /* one hit any */
    struct {
        struct nvmmio_stream *handle; /* of its writer; NULL: there is none */
        uint32_t process;
        bool synced; /* a sync was, since it was opened */
        bool broken; /* a call failed: good for close only */
        bool unsure; /* that was so: what there is, the next writer tells */
        bool over;   /* the model has no room for more of it */
    } stream;
    uint8_t *buffer;
    size_t buffer_bytes;
    uint32_t at; /* operation */
    char failure[1024];
};

/* Run a program from the laid-out files on.  The trace, if the sim has one, and the model's notes
 * tell the rest.  Returns what went wrong, in words, or NULL; the text is the run's. */
const char *run_program(struct run *run, const struct program *program, struct model *model,
                        struct sim *sim);
void run_free(struct run *run);

/* ---- run_ops.c ----------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) void run_fail(struct run *run, const char *format, ...);
void run_op(struct run *run, const struct op *op);
/* Close as nvmmio_close does, and what the model makes of it. */
void run_close(struct run *run, uint32_t index);

enum presence { HAS_READER, HAS_WRITER, HAS_EXCLUSIVE, HAS_READER_SURELY, HAS_WRITER_SURELY };
/* Whether another living handle on the same file reads, writes, or keeps readers out.  It may do
 * the latter two without having been asked for it: locks stay with a commit's steps. */
bool run_others(const struct run *run, const struct run_handle *handle, enum presence what);
/* The content as the handle sees it. */
const struct content *run_seen(struct run *run, const struct run_handle *handle);
/* Whether `error` is one that the contract allows here (`busy`: somebody is in the way); else the
 * run has failed. */
bool run_excused(struct run *run, const struct run_handle *handle, const char *what, ssize_t error,
                 bool busy);

static inline struct model_file *run_file(struct run *run, const struct run_handle *handle)
{
    return &run->model->files[handle->file];
}

/* ---- run_transaction.c --------------------------------------------------------------- */

void run_write(struct run *run, struct run_handle *handle, const struct op *op);
void run_truncate(struct run *run, struct run_handle *handle, uint32_t bytes);
void run_allocate(struct run *run, struct run_handle *handle, uint32_t bytes);
void run_sync(struct run *run, struct run_handle *handle);
void run_seal(struct run *run, struct run_handle *handle);
/* What is sealed; `waits`: until it is durable. */
void run_commit(struct run *run, struct run_handle *handle, bool waits);
void run_rollback(struct run *run, struct run_handle *handle);
void run_flush(struct run *run, struct run_handle *handle);
/* The work of the process's flusher thread, which the simulated machine does not have. */
void run_step(struct run *run, uint32_t process);
void run_lock(struct run *run, struct run_handle *handle, enum nvmmio_lock level);
void run_unlock(struct run *run, struct run_handle *handle, enum nvmmio_lock level);

/* The engine's notion of the stage, where the contract leaves it open. */
void run_follow_stage(struct run_handle *handle);
/* A state that the operation under way may commit; false: there are too many states. */
bool run_announce(struct run *run, struct run_handle *handle);
/* It is committed; `waited`: and durable. */
void run_committed(struct run *run, struct run_handle *handle, bool waited);
void run_failed_commit(struct run *run, struct run_handle *handle, const char *what, int error,
                       bool busy);

/* ---- run_many.c ---------------------------------------------------------------------- */

void run_prepare(struct run *run, struct sim_process *process, const struct op *op);
/* End what is prepared in all files: as the file that decides will say. */
void run_resolve_all(struct run *run, struct sim_process *process, bool commit);
void run_sync_many(struct run *run, const struct op *op);

/* A fault hit the operation under way. */
static inline bool run_fired(const struct run *run)
{
    return run->armed && run->sim->fault.after == 0;
}

/* ---- run_foreign.c ------------------------------------------------------------------- */

/* A program without nvmmio changes a home that nobody has open. */
void run_foreign(struct run *run, struct sim_process *process, const struct op *op);

/* ---- run_stream.c -------------------------------------------------------------------- */

void run_stream(struct run *run, const struct op *op);
/* Process `index` died, perhaps as the stream's writer: what was appended is there, and of what was
 * being appended, or cut, a part. */
void run_stream_death(struct run *run, uint32_t index, struct run_process *heir);

/* ---- run.c --------------------------------------------------------------------------- */

struct run_process *run_process(struct run *run, uint32_t index);
uint8_t *run_buffer(struct run *run, size_t bytes);
void run_note(struct run *run);
/* The handle's transaction is over. */
void run_end_transaction(struct run_handle *handle);
/* Content that was read: which state of `states` it is becomes the visible one.  False: none. */
bool run_resolve(struct run *run, uint32_t file, uint64_t states, size_t bytes);
/* All of a file through a handle into the buffer; the count or -errno. */
ssize_t run_read_all(struct run *run, struct nvmmio *handle);
/* Files of the harness's own, durable. */
void run_make_file(struct run *run, struct sim_process *process, const char *path, const char *text,
                   size_t bytes);
/* The file becomes this content, durably. */
void run_write_file(struct run *run, struct sim_process *process, const char *path,
                    const struct content *content);
void run_remove_file(struct run *run, struct sim_process *process, const char *path);

#endif
