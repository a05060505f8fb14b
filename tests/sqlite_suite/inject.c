/*
 * Lets the I/O errors that the suite asks for (sqlite_io_error_pending,
 * sqlite_diskfull_pending) reach the extension.  The suite's own injection sits
 * in os_unix.c, where an extension that does its own I/O never comes by.
 *
 * The system calls below replace libc's for the whole process, the extension
 * included.  One fails when its turn has come and when it is made for a method
 * of a file of the extension, but not by os_unix.c, which counts for itself.  In
 * a method that can report an error, the error is a hard one, as the suite calls
 * it; in xClose and xUnlock, which cannot, and in a hint, a benign one.
 *
 * The suite also counts, in os_unix.c, how often a file was synced; that is counted
 * here for the files of the extension.  And it moves the bytes on which SQLite locks:
 * those of the extension are moved with them.
 *
 * At the end of the process one line is added to the file NVMMIO_SUITE_HITS: how
 * many errors of each kind reached the extension.
 */
#include "inject.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The suite's own counters, in the testfixture's os.c and os_unix.c. */
extern int sqlite3_io_error_hit;
extern int sqlite3_io_error_hardhit;
extern int sqlite3_io_error_pending;
extern int sqlite3_io_error_persist;
extern int sqlite3_diskfull_pending;
extern int sqlite3_diskfull;
extern int sqlite3_sync_count;
extern int sqlite3_fullsync_count;
extern int sqlite3PendingByte;

static const sqlite3_io_methods *patched(const sqlite3_io_methods *methods);

/* Where the testfixture's own code is: calls from there are os_unix.c's. */
extern const char __executable_start[];
extern const char etext[];

enum place { OUTSIDE, BENIGN, HARD };

#define LOCK_BYTES 0x40000000 /* where SQLite's locks are by default */

#define TABLES_MAX 8

/* The extension's method tables, and what stands in their places. */
static struct {
    const sqlite3_io_methods *original;
    sqlite3_io_methods patched;
} tables[TABLES_MAX];
static int tables_used;
static pthread_mutex_t tables_lock = PTHREAD_MUTEX_INITIALIZER;

static int (*vfs_open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
static __thread enum place place;
static _Atomic unsigned hits_hard, hits_benign;

static bool count_hit(void)
{
    sqlite3_io_error_hit++;
    if (place == HARD) {
        sqlite3_io_error_hardhit++;
        hits_hard++;
    } else {
        hits_benign++;
    }
    return true;
}

/* Whether the call on `fd` made from `caller` is to fail, with errno set. */
static bool fails(int fd, const void *caller, bool takes_space)
{
    const uintptr_t at = (uintptr_t)caller;
    struct statfs fs;

    if (at >= (uintptr_t)__executable_start && at < (uintptr_t)etext) {
        errno = 0; /* os_unix.c makes something of it when it fails a call that went well */
        return false;
    }
    if (place == OUTSIDE)
        return false;
    if (fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC)
        return false; /* not a file of the database */
    if ((sqlite3_io_error_persist && sqlite3_io_error_hit) || sqlite3_io_error_pending-- == 1) {
        errno = EIO;
        return count_hit();
    }
    if (takes_space && sqlite3_diskfull_pending > 0) {
        if (sqlite3_diskfull_pending == 1) {
            sqlite3_diskfull = 1;
            errno = ENOSPC;
            return count_hit();
        }
        sqlite3_diskfull_pending--;
    }
    return false;
}

static void *next(const char *name)
{
    void *call = dlsym(RTLD_NEXT, name);

    if (!call)
        abort();
    return call;
}

/* ---- System calls: libc's, except where an error is due --------------------------------- */

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name,bugprone-macro-parentheses):
 * libc's names for parameters are its own, and a declaration has no parentheses to spare. */
#define REPLACE(type, name, parameters, arguments, takes_space)                                    \
    type name parameters                                                                           \
    {                                                                                              \
        static type(*real) parameters;                                                             \
        if (!real)                                                                                 \
            *(void **)&real = next(#name);                                                         \
        return fails(fd, __builtin_return_address(0), takes_space) ? -1 : real arguments;          \
    }

REPLACE(ssize_t, pread, (int fd, void *to, size_t bytes, off_t at), (fd, to, bytes, at), false)
REPLACE(ssize_t, pread64, (int fd, void *to, size_t bytes, off_t at), (fd, to, bytes, at), false)
REPLACE(ssize_t, pwrite, (int fd, const void *from, size_t bytes, off_t at), (fd, from, bytes, at),
        true)
REPLACE(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at),
        (fd, parts, count, at), true)
REPLACE(int, fdatasync, (int fd), (fd), false)
REPLACE(int, ftruncate, (int fd, off_t bytes), (fd, bytes), true)
REPLACE(int, fallocate, (int fd, int mode, off_t at, off_t bytes), (fd, mode, at, bytes), true)

/* The extension alone takes locks of this kind. */
int fcntl(int fd, int command, ...)
{
    static int (*real)(int, int, ...);
    const off_t bytes = 512; /* PENDING, RESERVED, and the range of SHARED */
    struct flock *lock, moved;
    va_list arguments;
    int result;

    va_start(arguments, command);
    lock = va_arg(arguments, struct flock *);
    va_end(arguments);
    if (!real)
        *(void **)&real = next("fcntl");
    if ((command != F_OFD_SETLK && command != F_OFD_GETLK) || lock->l_start < LOCK_BYTES ||
        lock->l_start >= LOCK_BYTES + bytes)
        return real(fd, command, lock);
    moved = *lock;
    moved.l_start += sqlite3PendingByte - LOCK_BYTES;
    result = real(fd, command, &moved);
    if (moved.l_type != F_UNLCK)
        moved.l_start -= sqlite3PendingByte - LOCK_BYTES;
    if (command == F_OFD_GETLK)
        *lock = moved;
    return result;
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name,bugprone-macro-parentheses) */

/* ---- The extension's methods, which note that they run ----------------------------------- */

static const sqlite3_io_methods *original(sqlite3_file *file)
{
    int i = 0;

    while (file->pMethods != &tables[i].patched)
        i++;
    return tables[i].original;
}

/* The end of a method: the extension may have given the file other methods. */
static void leave(sqlite3_file *file, enum place before)
{
    int i = 0;

    place = before;
    while (i < tables_used && file->pMethods != &tables[i].patched)
        i++;
    if (file->pMethods && i == tables_used)
        file->pMethods = patched(file->pMethods);
}

#define METHOD(name, original_name, where, parameters, arguments)                                  \
    static int name parameters                                                                     \
    {                                                                                              \
        const enum place before = place;                                                           \
        int status;                                                                                \
        place = where;                                                                             \
        status = original(file)->original_name arguments;                                          \
        leave(file, before);                                                                       \
        return status;                                                                             \
    }

METHOD(file_read, xRead, HARD, (sqlite3_file * file, void *to, int bytes, sqlite3_int64 at),
       (file, to, bytes, at))
METHOD(file_write, xWrite, HARD,
       (sqlite3_file * file, const void *from, int bytes, sqlite3_int64 at),
       (file, from, bytes, at))
METHOD(file_truncate, xTruncate, HARD, (sqlite3_file * file, sqlite3_int64 bytes), (file, bytes))
METHOD(file_size, xFileSize, HARD, (sqlite3_file * file, sqlite3_int64 *bytes), (file, bytes))
METHOD(file_lock, xLock, HARD, (sqlite3_file * file, int level), (file, level))
METHOD(file_unlock, xUnlock, BENIGN, (sqlite3_file * file, int level), (file, level))
/* SQLite does not ask how a hint was taken: os_unix.c makes errors there benign too. */
METHOD(file_control, xFileControl, op == SQLITE_FCNTL_SIZE_HINT ? BENIGN : HARD,
       (sqlite3_file * file, int op, void *argument), (file, op, argument))
METHOD(file_close, xClose, BENIGN, (sqlite3_file * file), (file))

static int file_sync(sqlite3_file *file, int flags)
{
    const enum place before = place;
    const int counted = sqlite3_sync_count;
    int status;

    place = HARD;
    status = original(file)->xSync(file, flags);
    leave(file, before);
    if (sqlite3_sync_count == counted) {
        sqlite3_sync_count++;
        if ((flags & 0x0F) == SQLITE_SYNC_FULL)
            sqlite3_fullsync_count++;
    }
    return status;
}

static const sqlite3_io_methods *patched(const sqlite3_io_methods *methods)
{
    sqlite3_io_methods *copy;
    int i = 0;

    pthread_mutex_lock(&tables_lock);
    while (i < tables_used && tables[i].original != methods)
        i++;
    if (i == TABLES_MAX)
        abort();
    copy = &tables[i].patched;
    if (i < tables_used)
        goto out;
    tables[i].original = methods;
    *copy = *methods;
    copy->xRead = file_read;
    copy->xWrite = file_write;
    copy->xTruncate = file_truncate;
    copy->xSync = file_sync;
    copy->xFileSize = file_size;
    copy->xLock = file_lock;
    copy->xUnlock = file_unlock;
    copy->xFileControl = file_control;
    copy->xClose = file_close;
    tables_used++;
out:
    pthread_mutex_unlock(&tables_lock);
    return copy;
}

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    const enum place before = place;
    int status;

    place = HARD;
    status = vfs_open(vfs, name, file, flags, out);
    leave(file, before);
    return status;
}

static void write_hits(void)
{
    const char *path = getenv("NVMMIO_SUITE_HITS");
    char line[64];
    int bytes, fd;

    if (!path || hits_hard + hits_benign == 0)
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    bytes = snprintf(line, sizeof(line), "%u %u\n", hits_hard, hits_benign);
    if (fd < 0 || write(fd, line, (size_t)bytes) != bytes)
        perror(path);
    if (fd >= 0)
        close(fd);
}

void nvmmio_suite_inject(sqlite3_vfs *vfs)
{
    if (vfs->xOpen == open_file)
        return; /* sqlite3_initialize ran again */
    if (!vfs_open && atexit(write_hits) != 0)
        abort();
    vfs_open = vfs->xOpen;
    vfs->xOpen = open_file;
}
