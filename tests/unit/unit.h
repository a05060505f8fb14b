/*
 * unit: what the tests of the lowest layers share: directories on memory and on
 * disk, mounts of their own, child processes, and a check that works in those
 * too.
 *
 * A test program begins with unit_begin().  Mounts are made in a mount namespace
 * of this program, which ends with it; where the system allows none, the tests
 * that need one say so and are skipped.
 *
 * Threads: the test's own.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "core/os.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNIT_SANITIZED 1 /* the address space is not ours to bound */
#else
#define UNIT_SANITIZED 0
#endif

/* In the test's process a failure ends the test, in a child the child. */
_Noreturn void unit_failed(const char *file, int line, const char *what, int64_t got, int64_t want);
#define expect(condition)                                                                          \
    ((condition) ? (void)0 : unit_failed(__FILE__, __LINE__, #condition, 0, 1))
#define expect_eq(got, want) unit_equal(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(want))
static inline void unit_equal(const char *file, int line, const char *what, int64_t got,
                              int64_t want)
{
    if (got != want)
        unit_failed(file, line, what, got, want);
}

void unit_begin(void);

/* ---- Directories and files ----------------------------------------------------------------- */

struct unit_dir {
    char path[256];
};

/* /dev/shm. */
void unit_dir_memory(struct unit_dir *dir);
/* NVMMIO_UNIT_DIR in the environment, as a DAX mount, or /dev/shm. */
void unit_dir_medium(struct unit_dir *dir);
/* TEST_TMPDIR, TMPDIR or /tmp. */
void unit_dir_disk(struct unit_dir *dir);
/* A mounted tmpfs of that size; false, with a line printed, where nothing can be mounted. */
bool unit_dir_small(struct unit_dir *dir, size_t bytes);
/* Unmounts and removes it with all that is in it. */
void unit_dir_remove(struct unit_dir *dir);
/* mount(2) in this program's namespace; 0 or -errno.  unit_dir_remove unmounts one at its path. */
int unit_mount(const char *type, const char *path, const char *options);
/* <dir>/<name>; eight results stay valid. */
const char *unit_path(const struct unit_dir *dir, const char *name);

/* Open with nv_os_posix, which must succeed. */
void unit_open(struct nv_file *file, const char *path, int flags);
/* A file of `bytes` bytes that tell their place, and whether a buffer holds those of `offset`. */
void unit_make_file(const char *path, uint64_t bytes);
void unit_pattern(void *buffer, size_t bytes, uint64_t offset);
bool unit_is_pattern(const void *buffer, size_t bytes, uint64_t offset);
bool unit_is_zero(const void *buffer, size_t bytes);
int64_t unit_size(struct nv_file *file);
/* Take all space of the file system that `path` is made in; unlink it to give it back. */
void unit_fill_disk(const char *path);

/* ---- Processes ----------------------------------------------------------------------------- */

/* Run `body` in a child, which ends well when it returns. */
pid_t unit_fork(void (*body)(void *), void *argument);
/* The child ended well. */
void unit_join(pid_t pid);
/* unit_fork and unit_join. */
void unit_in_child(void (*body)(void *), void *argument);
/* Make a system call fail with `error` from here on, in this (child) process for good. */
void unit_break_call(long number, int error);

#endif
