/*
 * machine: the simulated machine of tests/sim as the plug-in's tests in C++ see
 * it.  The engine's calls by name (nvmmio_stream_open) are those of the process
 * that runs on it; files that are the kernel's go through its `os`.  All files
 * are in the directory /d.
 *
 * One life is recorded; then the power is cut at each of its events, and what is
 * left is looked at as it is, or by a process that is booted on it.
 *
 * Threads: one.
 */
#ifndef TESTS_ROCKSDB_POWER_MACHINE_H
#define TESTS_ROCKSDB_POWER_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "core/os.h"

#define MACHINE_NONE UINT32_MAX
#define MACHINE_NAMES_MAX 32 /* as the simulated file system has */

struct machine;

/* All its files are on persistent memory that is mapped, or on a disk. */
struct machine *machine_create(bool dax);
void machine_destroy(struct machine *machine);
/* No fence does anything, no store is flushed: to show that it would be noticed. */
void machine_without_fences(struct machine *machine);
void machine_without_flushes(struct machine *machine);

/* A process begins; the one before it must be dead. */
void machine_boot(struct machine *machine);
/* It dies.  What it had open is closed with nvmmio_stream_close before the next boots, which then
 * does nothing to the files. */
void machine_kill(struct machine *machine);
bool machine_runs(const struct machine *machine);
const struct nv_os *machine_os(const struct machine *machine);
int machine_link(struct machine *machine, const char *from, const char *to);

/* ---- Looking, as nobody in it does --------------------------------------------------------- */

/* The file of that name; a file keeps its number. */
uint32_t machine_find(const struct machine *machine, const char *path);
struct machine_name {
    const char *path;
    uint32_t file;
};
size_t machine_names(const struct machine *machine, struct machine_name names[MACHINE_NAMES_MAX]);
const uint8_t *machine_bytes(const struct machine *machine, uint32_t file, uint64_t *bytes);

/* ---- Recording, and cutting the power ------------------------------------------------------ */

void machine_record(struct machine *machine);
/* What is recorded from now on carries this number. */
void machine_note(struct machine *machine, uint32_t note);

/* Begin to go through the record.  `ordered`: see tests/sim/walk.h. */
void machine_rewind(struct machine *machine, bool ordered);
/* To the next event after which something else may be left: false at the end. */
bool machine_advance(struct machine *machine, uint32_t *note);
/* The power is cut here: `choice` says what of all that is possible is left. */
void machine_cut(struct machine *machine, uint64_t choice);
/* As if it had not been. */
void machine_uncut(struct machine *machine);
void machine_end(struct machine *machine);

#ifdef __cplusplus
}
#endif
#endif
