/*
 * sim: a small machine in memory, under the control of a test: a file system,
 * processes with byte locks, a clock, and media of which every store, flush and
 * fence is seen.  Each simulated process is a `struct nv_os`, for
 * nv_process_create; several of them share one machine.
 *
 * What is visible and what is durable are kept apart in this way: the machine
 * holds what is visible, and while it records, a trace of everything that has to
 * do with durability.  A walk (walk.h) goes through that trace over the state in
 * which it began, keeps what is durable by then, and makes any state that a
 * power loss could leave at that event.
 *
 * All changes of the file system can be taken back: sim_mark and sim_undo nest,
 * and cost what was changed, not what there is.
 *
 * Threads: one; simulated processes take turns.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/medium.h"
#include "core/os.h"
#include "tests/sim/trace.h"

#define SIM_FILES_MAX 192u      /* made since the machine was */
#define SIM_ENTRIES_MAX 32u     /* names that there are */
#define SIM_DESCRIPTORS_MAX 64u /* files open, of all processes */
#define SIM_LOCKS_MAX 128u
#define SIM_PROCESSES_MAX 4u
#define SIM_FILE_BYTES_MAX ((uint64_t)64 << 20)
#define SIM_PATH_BYTES 64u
#define SIM_NONE UINT32_MAX

enum sim_semantics {
    SIM_DAX,   /* words; what a process stored is durable after its own fence */
    SIM_PAGE,  /* sectors; what was written is durable after sync_data of its file */
    SIM_MIXED, /* directory /l is as DAX, /d as PAGE */
    SIM_SEMANTICS,
};

struct sim_file {
    bool used;
    bool dax; /* its medium has dax semantics */
    bool raw; /* mapped without a medium: stores are not seen, a power loss takes them */
    uint32_t links;
    uint32_t mode, uid, gid;
    uint64_t inode, birth_ns;
    uint64_t bytes;
    uint64_t high; /* nothing but zeros from here on */
};

struct sim_entry {
    bool used;
    uint32_t file;
    char path[SIM_PATH_BYTES]; /* absolute; the part before the last '/' is its directory */
};

struct sim_descriptor {
    bool used, writable;
    uint32_t file, process;
};

struct sim_lock {
    uint32_t descriptor; /* SIM_NONE: free */
    bool posix;          /* of a program without nvmmio */
    uint64_t first, end;
};

struct sim_process {
    struct nv_os os;
    struct sim *sim;
    uint32_t index;
    bool alive;
    uint64_t pid;
    jmp_buf *death;    /* where to go when it dies inside a call; NULL: it cannot */
    uint32_t die_at;   /* dies in the n-th call from now on; 0: does not */
    bool die_at_sync;  /* only calls that make something durable count */
    uint32_t die_part; /* of 256: so much of a store is done before */
};

/* A persistence step that can be left out, to show that a test would notice. */
enum sim_step {
    SIM_STEP_NONE = 0,
    SIM_STEP_FENCE,     /* a fence does nothing */
    SIM_STEP_FLUSH,     /* a store is visible, and no fence covers it */
    SIM_STEP_RELEASE,   /* giving up a lock covers nothing */
    SIM_STEP_SYNC,      /* sync_data does nothing */
    SIM_STEP_DIRECTORY, /* sync_directory does nothing */
    SIM_STEPS,
};

/* Calls of the system that can be made to fail. */
enum sim_call {
    SIM_CALL_OPEN,
    SIM_CALL_STAT,
    SIM_CALL_UNLINK,
    SIM_CALL_RENAME,
    SIM_CALL_SYNC_DIRECTORY,
    SIM_CALL_PREAD,
    SIM_CALL_PWRITEV,
    SIM_CALL_SYNC_DATA,
    SIM_CALL_TRUNCATE,
    SIM_CALL_ALLOCATE,
    SIM_CALL_MAP,
    SIM_CALL_FENCE, /* of a medium with dax semantics */
    SIM_CALLS,
};

struct sim_fault {
    uint32_t calls; /* bits 1 << enum sim_call: which ones count */
    uint32_t after; /* the n-th from now on fails; 0: none does */
    int error;      /* negative errno */
    int parts;      /* of a write of several, so many more than the first are there */
    uint64_t hits;
};

struct sim {
    enum sim_semantics semantics;
    struct sim_file files[SIM_FILES_MAX];
    uint8_t *memory[SIM_FILES_MAX]; /* SIM_FILE_BYTES_MAX of address space each; or NULL */
    uint64_t raw_bytes[SIM_FILES_MAX];
    struct sim_entry entries[SIM_ENTRIES_MAX];
    uint32_t files_made;
    uint64_t births;
    uint64_t space_bytes; /* of the file system; UINT64_MAX: no limit */

    struct sim_descriptor descriptors[SIM_DESCRIPTORS_MAX];
    struct sim_lock locks[SIM_LOCKS_MAX];
    struct sim_process processes[SIM_PROCESSES_MAX];
    uint64_t pids;
    uint64_t clock_ns;
    uint64_t random;

    struct trace *trace; /* NULL: not recording */
    uint32_t note;       /* goes into every event */

    struct sim_fault fault;
    bool harness;        /* what goes on is not the engine's: it goes right, no step is left out */
    uint32_t skip_kinds; /* steps that are left out: bits 1 << enum sim_step */

    uint8_t *undo; /* private to sim_files.c */
    size_t undo_bytes, undo_capacity;
};

/* Stores are not flushed while it is set: for tests/mutation, which sets it around one of them. */
extern bool sim_unflushed;

/* ---- The machine --------------------------------------------------------------------- */

struct sim *sim_create(enum sim_semantics semantics);
void sim_destroy(struct sim *sim);
/* An empty machine again, whatever was done to it. */
void sim_reset(struct sim *sim, uint64_t seed);

/* A process begins; give its os to nv_process_create. */
struct sim_process *sim_spawn(struct sim *sim);
/* It ends at once: its locks and descriptors are gone. */
void sim_kill(struct sim_process *process);
/* All processes end, all locks and descriptors are gone.  Files stay. */
void sim_cut(struct sim *sim);

/* ---- Changes of the file system, as the os, the walk and tests make them; none is recorded --- */

typedef size_t sim_mark_t;
sim_mark_t sim_mark(const struct sim *sim);
void sim_undo_to(struct sim *sim, sim_mark_t mark);

uint32_t sim_find(const struct sim *sim, const char *path); /* file, or SIM_NONE */
/* For `path`, which does not name it yet.  SIM_NONE: no more can be made. */
uint32_t sim_file_make(struct sim *sim, const char *path, uint32_t mode);
/* Make `file` as it was made in another run. */
void sim_file_make_again(struct sim *sim, uint32_t file, const struct sim_file *like);
/* `path` names `file` from now on, and nothing with SIM_NONE. False: too many names. */
bool sim_name(struct sim *sim, const char *path, uint32_t file);
void sim_store(struct sim *sim, uint32_t file, uint64_t offset, const void *data, size_t bytes);
/* Zeros; cheap where nothing else was stored. */
void sim_zero(struct sim *sim, uint32_t file, uint64_t offset, uint64_t bytes);
void sim_resize(struct sim *sim, uint32_t file, uint64_t bytes);
/* Bytes of a file, to look at; zeros past its end. */
const uint8_t *sim_bytes(const struct sim *sim, uint32_t file);
bool sim_all_zero(const uint8_t *bytes, size_t count);
void sim_set_raw(struct sim *sim, uint32_t file, uint64_t bytes);

/* ---- The same, recorded -------------------------------------------------------------- */

void sim_record_store(struct sim_process *process, uint32_t file, uint64_t offset,
                      const struct iovec *parts, int count, enum trace_cover cover);
uint32_t sim_record_make(struct sim_process *process, const char *path, uint32_t mode);
void sim_record_size(struct sim_process *process, uint32_t file, uint64_t bytes);
/* False: too many names. */
bool sim_record_name(struct sim_process *process, const char *path, uint32_t file);
void sim_record_rename(struct sim_process *process, const char *from, const char *to);
/* TRACE_FENCE, _SYNC, _SYNC_FAILED. */
void sim_record(struct sim_process *process, enum trace_kind kind, uint32_t file);
void sim_record_directory(struct sim_process *process, const char *path);
/* `note` goes into all events from now on. */
void sim_record_note(struct sim *sim, uint32_t note);

/* ---- What the os and the media ask before a call ------------------------------------- */

enum sim_tick { SIM_TICK_CALL, SIM_TICK_STORE, SIM_TICK_SYNC };
/* A call begins: here the process may die.  True: after `die_part` of what it was to store. */
bool sim_tick(struct sim_process *process, enum sim_tick tick);
_Noreturn void sim_die(struct sim_process *process);
/* 0, or what the call is made to answer. */
int sim_fault(struct sim *sim, enum sim_call call);
/* False: it is left out. */
bool sim_step(const struct sim *sim, enum sim_step step);

/* ---- Tables -------------------------------------------------------------------------- */

void sim_os_init(struct sim_process *process);    /* sim_os.c */
extern const struct nv_medium_ops sim_medium_dax; /* sim_medium.c */

static inline struct sim_process *sim_process_of(const struct nv_file *file)
{
    return file->os->context;
}

static inline struct sim_descriptor *sim_descriptor_of(const struct nv_file *file)
{
    return file->object;
}

/* splitmix64: the only source of chance here. */
static inline uint64_t sim_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
