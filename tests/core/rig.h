/*
 * rig: the engine on a system that a test has tampered with, and several of its
 * processes inside one: for schedules that nvmmio.h alone cannot bring about.
 *
 * A tampered system is a copy of nv_os_posix with functions of the test's own in
 * it.  Do not fork with a handle of these processes open: a child that is not
 * told inherits their locks.
 *
 * Threads: the test's own.
 */
#ifndef TESTS_CORE_RIG_H
#define TESTS_CORE_RIG_H

#include "core/process.h"

/* A process of the engine on `os`; ended with nv_process_destroy. */
struct nv_process *rig_process(const struct nv_os *os);
/* Options by which a file is made, with the smallest log. */
struct nvmmio_options rig_options(void);
struct nvmmio *rig_open(struct nv_process *process, const char *path,
                        const struct nvmmio_options *options);

/* Whether the name of an open file ends so: "/db" or "-nvmmio". */
bool rig_is(const struct nv_file *file, const char *end);

/* SIGKILL, to this process. */
_Noreturn void rig_die(void);

/* In a child: a fault ends it, and does not go to the handlers of the test program. */
void rig_faults_kill(void);

/* A mark, without a meaning to any program. */
const struct nvmmio_mark *rig_mark(void);
#define RIG_MARK_NONCE_AT 72

/* The byte at `offset` of a file, by read(2). */
uint8_t rig_plain_byte(const char *path, uint64_t offset);

#endif
