#include "tests/rocksdb/power/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/process_private.h"
#include "tests/sim/walk.h"

struct machine {
    struct sim *sim;
    struct sim_process *running; /* NULL: none */
    struct nv_process *process;  /* of the one that runs, or ran last */
    struct trace trace;
    struct walk walk;
    sim_mark_t start, whole;
};

static struct nv_process *current;

/* The linker gives this to whoever asks for nv_process_default. */
int __wrap_nv_process_default(struct nv_process **process);
int __wrap_nv_process_default(struct nv_process **process)
{
    *process = current;
    return 0;
}

static _Noreturn void out_of_memory(void)
{
    fputs("machine: out of memory\n", stderr);
    abort();
}

struct machine *machine_create(bool dax)
{
    struct machine *machine = calloc(1, sizeof(*machine));
    if (!machine)
        out_of_memory();
    machine->sim = sim_create(dax ? SIM_DAX : SIM_PAGE);
    trace_init(&machine->trace);
    return machine;
}

static void bury(struct machine *machine)
{
    if (machine->process)
        nv_process_destroy(machine->process);
    machine->process = current = NULL;
}

void machine_destroy(struct machine *machine)
{
    bury(machine);
    trace_free(&machine->trace);
    sim_destroy(machine->sim);
    free(machine);
}

void machine_without_fences(struct machine *machine)
{
    machine->sim->skip_kinds = 1u << SIM_STEP_FENCE;
}

void machine_without_flushes(struct machine *machine)
{
    machine->sim->skip_kinds = 1u << SIM_STEP_FLUSH;
}

void machine_boot(struct machine *machine)
{
    bury(machine);
    machine->running = sim_spawn(machine->sim);
    if (!machine->running || nv_process_create(&machine->running->os, &machine->process))
        out_of_memory();
    current = machine->process;
}

void machine_kill(struct machine *machine)
{
    sim_kill(machine->running);
    machine->running = NULL;
    *machine->process->here = 0; /* whatever is still done with its handles is not its doing */
}

bool machine_runs(const struct machine *machine)
{
    return machine->running != NULL;
}

const struct nv_os *machine_os(const struct machine *machine)
{
    return &machine->running->os;
}

int machine_link(struct machine *machine, const char *from, const char *to)
{
    const uint32_t file = sim_find(machine->sim, from);
    if (file == SIM_NONE)
        return -ENOENT;
    if (sim_find(machine->sim, to) != SIM_NONE)
        return -EEXIST;
    return sim_record_name(machine->running, to, file) ? 0 : -ENOSPC;
}

/* ---- looking ------------------------------------------------------------------------------- */

uint32_t machine_find(const struct machine *machine, const char *path)
{
    return sim_find(machine->sim, path);
}

_Static_assert(MACHINE_NAMES_MAX == SIM_ENTRIES_MAX, "one place for each name");

size_t machine_names(const struct machine *machine, struct machine_name names[MACHINE_NAMES_MAX])
{
    size_t count = 0;
    for (uint32_t i = 0; i < SIM_ENTRIES_MAX; i++) {
        const struct sim_entry *entry = &machine->sim->entries[i];
        if (entry->used)
            names[count++] = (struct machine_name){.path = entry->path, .file = entry->file};
    }
    return count;
}

const uint8_t *machine_bytes(const struct machine *machine, uint32_t file, uint64_t *bytes)
{
    *bytes = machine->sim->files[file].bytes;
    return sim_bytes(machine->sim, file);
}

/* ---- cutting ------------------------------------------------------------------------------- */

void machine_record(struct machine *machine)
{
    trace_clear(&machine->trace);
    machine->start = sim_mark(machine->sim);
    machine->sim->trace = &machine->trace;
}

void machine_note(struct machine *machine, uint32_t note)
{
    sim_record_note(machine->sim, note);
}

void machine_rewind(struct machine *machine, bool ordered)
{
    machine->sim->trace = NULL;
    sim_cut(machine->sim);
    machine->running = NULL;
    sim_undo_to(machine->sim, machine->start);
    walk_begin(&machine->walk, machine->sim, &machine->trace);
    machine->walk.ordered = ordered;
}

bool machine_advance(struct machine *machine, uint32_t *note)
{
    enum walk_step step = WALK_SAME;
    while (step == WALK_SAME)
        step = walk_next(&machine->walk);
    if (step == WALK_END)
        return false;
    *note = machine->trace.events[machine->walk.next - 1].note;
    return true;
}

void machine_cut(struct machine *machine, uint64_t choice)
{
    machine->whole = sim_mark(machine->sim);
    (void)walk_image(&machine->walk, choice & ~WALK_SUBSET, false);
}

void machine_uncut(struct machine *machine)
{
    sim_cut(machine->sim);
    machine->running = NULL;
    sim_undo_to(machine->sim, machine->whole);
}

void machine_end(struct machine *machine)
{
    walk_end(&machine->walk);
}
