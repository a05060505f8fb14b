/*
 * process: what one process has open.  The library has one of these, made at
 * the first open; tests make several on a simulated machine, each of which then
 * behaves as a process of its own.
 *
 * Threads: every function may be called from any thread.  Crash: nothing here
 * is persistent.
 */
#ifndef NV_PROCESS_H
#define NV_PROCESS_H

#include "core/nvmmio.h"
#include "core/os.h"

struct nv_process;

int nv_process_create(const struct nv_os *os, struct nv_process **process);
/* All its handles are closed, or (a simulated death) never used again: frees what it holds,
 * stores nothing, and tells the system nothing. */
void nv_process_destroy(struct nv_process *process);
/* The library's own, on nv_os_posix. */
int nv_process_default(struct nv_process **process);

struct nv_stream_table;
struct nv_stream_table *nv_process_streams(struct nv_process *process);

/* nvmmio_stream_open by `process`. */
int nv_process_stream_open(struct nv_process *process, const char *path,
                           const struct nvmmio_stream_options *options, struct nvmmio_stream **out);

/* nvmmio_open, nvmmio_check, nvmmio_recover, nvmmio_rename, nvmmio_unlink as done by `process`. */
int nv_open(struct nv_process *process, const char *path, const struct nvmmio_options *options,
            struct nvmmio **out);
int nv_check(struct nv_process *process, const char *path, const struct nvmmio_options *options,
             struct nvmmio_report *report);
int nv_recover(struct nv_process *process, const char *path, const struct nvmmio_options *options,
               nvmmio_progress *progress, void *context, struct nvmmio_report *report);
int nv_rename(struct nv_process *process, const char *from, const char *to);
int nv_unlink(struct nv_process *process, const char *path);

/* Do one piece of work that waits off the commit path (a flush of home), where the system has no
 * threads.  1: done; 0: there was none; -errno. */
int nv_process_step(struct nv_process *process);

#endif
