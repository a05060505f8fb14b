/* sim: processes of a simulated machine, what they record, and what is made to go wrong. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base.h"

/* ---- the machine and its processes --------------------------------------------------- */

struct sim *sim_create(enum sim_semantics semantics)
{
    struct sim *sim = calloc(1, sizeof *sim);
    if (!sim) {
        fputs("sim: out of memory\n", stderr);
        abort();
    }
    sim->semantics = semantics;
    sim_reset(sim, 1);
    return sim;
}

void sim_destroy(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_FILES_MAX; i++)
        if (sim->memory[i])
            (void)munmap(sim->memory[i], SIM_FILE_BYTES_MAX);
    free(sim->undo);
    free(sim);
}

void sim_reset(struct sim *sim, uint64_t seed)
{
    sim_cut(sim);
    sim_undo_to(sim, 0);
    sim->space_bytes = UINT64_MAX;
    sim->pids = 1000;
    sim->clock_ns = 1000000000;
    sim->random = seed;
    sim->trace = NULL;
    sim->note = 0;
    sim->fault = (struct sim_fault){.calls = 0};
}

struct sim_process *sim_spawn(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
        struct sim_process *process = &sim->processes[i];
        if (process->alive)
            continue;
        *process = (struct sim_process){.sim = sim, .index = i, .alive = true, .pid = ++sim->pids};
        sim_os_init(process);
        return process;
    }
    return NULL;
}

void sim_kill(struct sim_process *process)
{
    struct sim *sim = process->sim;
    process->alive = false;
    for (uint32_t i = 0; i < SIM_DESCRIPTORS_MAX; i++) {
        if (!sim->descriptors[i].used || sim->descriptors[i].process != process->index)
            continue;
        for (uint32_t l = 0; l < SIM_LOCKS_MAX; l++)
            if (sim->locks[l].descriptor == i)
                sim->locks[l].descriptor = SIM_NONE;
        sim->descriptors[i].used = false;
    }
}

void sim_cut(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++)
        sim->processes[i].alive = false;
    for (uint32_t i = 0; i < SIM_DESCRIPTORS_MAX; i++)
        sim->descriptors[i].used = false;
    for (uint32_t i = 0; i < SIM_LOCKS_MAX; i++)
        sim->locks[i].descriptor = SIM_NONE;
}

void sim_die(struct sim_process *process)
{
    jmp_buf *death = process->death;
    sim_kill(process);
    longjmp(*death, 1);
}

bool sim_tick(struct sim_process *process, enum sim_tick tick)
{
    bool stores = tick == SIM_TICK_STORE;
    assert(process->alive);
    if (process->die_at_sync && tick != SIM_TICK_SYNC)
        return false;
    if (process->die_at == 0 || --process->die_at != 0)
        return false;
    if (stores)
        return true;
    sim_die(process);
}

/* ---- recording ----------------------------------------------------------------------- */

static struct trace_event *record(struct sim *sim, const struct sim_process *process,
                                  enum trace_kind kind, uint32_t file)
{
    struct trace_event *event = trace_add(sim->trace, kind);
    event->process = (uint8_t)process->pid; /* its place may be another's later */
    event->file = file;
    event->note = sim->note;
    return event;
}

static void record_range(struct sim_process *process, uint32_t file, uint64_t offset, size_t bytes,
                         enum trace_cover cover)
{
    struct sim *sim = process->sim;
    uint64_t first = nv_align_down(offset, trace_unit_bytes(cover));
    uint64_t end = nv_align_up(offset + bytes, trace_unit_bytes(cover));
    const uint8_t *from = sim->memory[file] + first;
    bool zero = sim_all_zero(from, end - first);
    struct trace_event *event = record(sim, process, zero ? TRACE_ZERO : TRACE_STORE, file);
    event->offset = first;
    event->bytes = (uint32_t)(end - first);
    event->cover = (uint8_t)cover;
    if (!zero) {
        size_t place;
        memcpy(trace_data(sim->trace, end - first, &place), from, end - first);
        event->data = place;
    }
}

void sim_record_size(struct sim_process *process, uint32_t file, uint64_t bytes)
{
    struct sim *sim = process->sim;
    if (sim->files[file].bytes == bytes)
        return;
    sim_resize(sim, file, bytes);
    if (sim->trace)
        record(sim, process, TRACE_SIZE, file)->offset = bytes;
}

void sim_record_store(struct sim_process *process, uint32_t file, uint64_t offset,
                      const struct iovec *parts, int count, enum trace_cover cover)
{
    struct sim *sim = process->sim;
    size_t bytes = 0;
    size_t done = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    bool dies = sim_tick(process, SIM_TICK_STORE);
    if (dies) /* inside the store: the first part of it, in whole words */
        bytes = bytes * process->die_part / 256 / 8 * 8;
    /* A kernel writes page by page, within which nobody dies, and the file grows as it goes. */
    if (cover == COVER_SYNC && dies)
        bytes = (size_t)(nv_max(offset, nv_align_down(offset + bytes, NV_BLOCK_BYTES)) - offset);
    if (cover == COVER_SYNC && bytes && offset + bytes > sim->files[file].bytes)
        sim_record_size(process, file, offset + bytes);
    for (int i = 0; i < count && done < bytes; i++) {
        size_t part = nv_min(parts[i].iov_len, bytes - done);
        sim_store(sim, file, offset + done, parts[i].iov_base, part);
        done += part;
    }
    if (sim->trace && bytes)
        record_range(process, file, offset, bytes, cover);
    if (dies)
        sim_die(process);
}

uint32_t sim_record_make(struct sim_process *process, const char *path, uint32_t mode)
{
    struct sim *sim = process->sim;
    uint32_t file = sim_file_make(sim, path, mode);
    if (!sim->trace || file == SIM_NONE)
        return file;
    size_t place;
    memcpy(trace_data(sim->trace, sizeof(struct sim_file), &place), &sim->files[file],
           sizeof(struct sim_file));
    record(sim, process, TRACE_MAKE, file)->data = place;
    return file;
}

bool sim_record_name(struct sim_process *process, const char *path, uint32_t file)
{
    struct sim *sim = process->sim;
    if (!sim_name(sim, path, file))
        return false;
    if (!sim->trace)
        return true;
    size_t place;
    size_t bytes = strlen(path) + 1;
    memcpy(trace_data(sim->trace, bytes, &place), path, bytes);
    record(sim, process, file == SIM_NONE ? TRACE_UNNAME : TRACE_NAME, file)->data = place;
    return true;
}

void sim_record_rename(struct sim_process *process, const char *from, const char *to)
{
    struct sim *sim = process->sim;
    uint32_t file = sim_find(sim, from);
    (void)sim_name(sim, from, SIM_NONE); /* first, so that there is a free entry */
    (void)sim_name(sim, to, file);
    if (!sim->trace)
        return;
    size_t place;
    size_t bytes = strlen(to) + 1 + strlen(from) + 1;
    char *paths = (char *)trace_data(sim->trace, bytes, &place);
    strcpy(paths, to);
    strcpy(paths + strlen(to) + 1, from);
    record(sim, process, TRACE_RENAME, file)->data = place;
}

void sim_record(struct sim_process *process, enum trace_kind kind, uint32_t file)
{
    if (process->sim->trace)
        (void)record(process->sim, process, kind, file);
}

void sim_record_directory(struct sim_process *process, const char *path)
{
    struct sim *sim = process->sim;
    if (!sim->trace)
        return;
    size_t place;
    size_t bytes = strlen(path) + 1;
    memcpy(trace_data(sim->trace, bytes, &place), path, bytes);
    record(sim, process, TRACE_SYNC_DIRECTORY, SIM_NONE)->data = place;
}

void sim_record_note(struct sim *sim, uint32_t note)
{
    if (sim->note == note)
        return;
    sim->note = note;
    if (sim->trace)
        (void)record(sim, &sim->processes[0], TRACE_NOTE, SIM_NONE);
}

/* ---- what goes wrong ----------------------------------------------------------------- */

int sim_fault(struct sim *sim, enum sim_call call)
{
    struct sim_fault *fault = &sim->fault;
    if (sim->harness || !(fault->calls & (1u << call)))
        return 0;
    fault->hits++;
    if (fault->after == 0 || --fault->after != 0)
        return 0;
    return fault->error;
}

bool sim_unflushed;

bool sim_step(const struct sim *sim, enum sim_step step)
{
    if (step == SIM_STEP_FLUSH && sim_unflushed)
        return false;
    return sim->harness || !(sim->skip_kinds >> step & 1);
}
