/* inject: see inject.h. */
#include "tests/faults/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
    _Atomic bool on;
    enum inject_kind kind;
    uint64_t n;
    bool lasting;
    _Atomic uint64_t calls;
    _Atomic bool hit;
    _Atomic(const char *) where;
    _Atomic int64_t allocations, descriptors, mappings;
} inject;

static _Thread_local unsigned paused;
static _Thread_local bool half_done; /* the call after a short transfer is the one that fails */

const char *inject_name(enum inject_kind kind)
{
    static const char *const names[] = {"io", "short", "sync", "space", "memory", "death"};

    return names[kind];
}

void inject_begin(enum inject_kind kind, uint64_t n, bool lasting)
{
    inject.kind = kind;
    inject.n = n;
    inject.lasting = lasting;
    atomic_store(&inject.calls, 0);
    atomic_store(&inject.hit, false);
    atomic_store(&inject.where, "nothing");
    half_done = false;
    paused = 0;
    atomic_store(&inject.on, true);
}

bool inject_end(void)
{
    atomic_store(&inject.on, false);
    half_done = false;
    return atomic_load(&inject.hit);
}

const char *inject_where(void)
{
    return atomic_load(&inject.where);
}

bool inject_hit(void)
{
    return atomic_load(&inject.hit);
}

void inject_pause(void)
{
    paused++;
}

void inject_resume(void)
{
    paused--;
}

struct inject_held inject_held(void)
{
    return (struct inject_held){atomic_load(&inject.allocations), atomic_load(&inject.descriptors),
                                atomic_load(&inject.mappings)};
}

/* Whether this call of `kind` is the one. */
static bool due(enum inject_kind kind, const char *function)
{
    if (!atomic_load(&inject.on) || paused || inject.kind != kind)
        return false;
    uint64_t call = atomic_fetch_add(&inject.calls, 1) + 1;
    if (call != inject.n && !(inject.lasting && call > inject.n))
        return false;
    if (!atomic_exchange(&inject.hit, true))
        atomic_store(&inject.where, function);
    return true;
}

static bool fails(enum inject_kind kind, const char *function, int error)
{
    if (!due(kind, function))
        return false;
    errno = error;
    return true;
}

bool inject_memory(const char *function)
{
    return due(INJECT_MEMORY, function);
}

void inject_count(int allocations)
{
    atomic_fetch_add(&inject.allocations, allocations);
}

static bool io(const char *function)
{
    if (due(INJECT_DEATH, function))
        (void)kill(getpid(), SIGKILL);
    return fails(INJECT_IO, function, EIO);
}

static bool space(const char *function)
{
    return fails(INJECT_SPACE, function, ENOSPC);
}

/* How much of a transfer is done; less than `bytes`: the next one fails.  -1: this one does. */
static ssize_t transfer(const char *function, size_t bytes)
{
    if (half_done && !paused) {
        half_done = false;
        errno = EIO;
        return -1;
    }
    if (bytes < 2 || !due(INJECT_SHORT, function))
        return (ssize_t)bytes;
    half_done = true;
    return (ssize_t)(bytes / 2);
}

/* ---- memory -------------------------------------------------------------------------------- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void __wrap_free(void *memory);

static bool no_memory(const char *function)
{
    return fails(INJECT_MEMORY, function, ENOMEM);
}

static void *taken(void *memory)
{
    if (memory)
        atomic_fetch_add(&inject.allocations, 1);
    return memory;
}

void *__wrap_malloc(size_t bytes)
{
    return no_memory("malloc") ? NULL : taken(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return no_memory("calloc") ? NULL : taken(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *old, size_t bytes)
{
    if (no_memory("realloc"))
        return NULL;
    void *memory = __real_realloc(old, bytes);
    return old ? memory : taken(memory);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return no_memory("aligned_alloc") ? NULL : taken(__real_aligned_alloc(alignment, bytes));
}

char *__wrap_strdup(const char *text)
{
    return no_memory("strdup") ? NULL : taken(__real_strdup(text));
}

int __wrap_asprintf(char **text, const char *format, ...)
{
    va_list arguments;

    if (no_memory("asprintf"))
        return -1;
    va_start(arguments, format);
    int bytes = vasprintf(text, format, arguments);
    va_end(arguments);
    if (bytes >= 0)
        (void)taken(*text);
    return bytes;
}

void __wrap_free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&inject.allocations, 1);
    __real_free(memory);
}

void *__real_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t bytes);
int __real_madvise(void *address, size_t bytes, int advice);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t bytes);
int __wrap_madvise(void *address, size_t bytes, int advice);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument);

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (no_memory("mmap") || (fd >= 0 && io("mmap")))
        return MAP_FAILED;
    void *mapped = __real_mmap(address, bytes, protection, flags, fd, offset);
    if (mapped != MAP_FAILED)
        atomic_fetch_add(&inject.mappings, 1);
    return mapped;
}

int __wrap_munmap(void *address, size_t bytes)
{
    atomic_fetch_sub(&inject.mappings, 1);
    return __real_munmap(address, bytes);
}

int __wrap_madvise(void *address, size_t bytes, int advice)
{
    return no_memory("madvise") ? -1 : __real_madvise(address, bytes, advice);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument)
{
    return no_memory("pthread_create") ? EAGAIN
                                       : __real_pthread_create(thread, attributes, main, argument);
}

/* ---- names --------------------------------------------------------------------------------- */

int __real_open(const char *path, int flags, mode_t mode);
int __real_close(int fd);
int __real_access(const char *path, int mode);
int __real_unlink(const char *path);
int __real_rename(const char *from, const char *to);
char *__real_realpath(const char *path, char *out);
ssize_t __real_readlink(const char *path, char *out, size_t bytes);
int __real_statx(int directory, const char *path, int flags, unsigned mask, struct statx *out);
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_access(const char *path, int mode);
int __wrap_unlink(const char *path);
int __wrap_rename(const char *from, const char *to);
char *__wrap_realpath(const char *path, char *out);
ssize_t __wrap_readlink(const char *path, char *out, size_t bytes);
int __wrap_statx(int directory, const char *path, int flags, unsigned mask, struct statx *out);

int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list arguments;

    va_start(arguments, flags);
    if (flags & O_CREAT)
        mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if (io("open") || ((flags & O_CREAT) && space("open")))
        return -1;
    int fd = __real_open(path, flags, mode);
    if (fd >= 0)
        atomic_fetch_add(&inject.descriptors, 1);
    return fd;
}

int __wrap_close(int fd)
{
    int result = __real_close(fd);

    if (result == 0)
        atomic_fetch_sub(&inject.descriptors, 1);
    return result;
}

int __wrap_access(const char *path, int mode)
{
    return io("access") ? -1 : __real_access(path, mode);
}

int __wrap_unlink(const char *path)
{
    return io("unlink") ? -1 : __real_unlink(path);
}

int __wrap_rename(const char *from, const char *to)
{
    return io("rename") || space("rename") ? -1 : __real_rename(from, to);
}

char *__wrap_realpath(const char *path, char *out)
{
    return io("realpath") ? NULL : __real_realpath(path, out);
}

ssize_t __wrap_readlink(const char *path, char *out, size_t bytes)
{
    return io("readlink") ? -1 : __real_readlink(path, out, bytes);
}

int __wrap_statx(int directory, const char *path, int flags, unsigned mask, struct statx *out)
{
    return io("statx") ? -1 : __real_statx(directory, path, flags, mask, out);
}

/* ---- descriptors --------------------------------------------------------------------------- */

int __real_fstat(int fd, struct stat *out);
int __real_fcntl(int fd, int command, void *argument);
int __real_fchmod(int fd, mode_t mode);
int __real_fchown(int fd, uid_t uid, gid_t gid);
int __wrap_fstat(int fd, struct stat *out);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fchown(int fd, uid_t uid, gid_t gid);

int __wrap_fstat(int fd, struct stat *out)
{
    return io("fstat") ? -1 : __real_fstat(fd, out);
}

int __wrap_fcntl(int fd, int command, ...)
{
    va_list arguments;

    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    /* An unlock does not fail, and who cannot unlock can only close. */
    bool lock = command == F_OFD_SETLK || command == F_OFD_GETLK || command == F_SETLK ||
                command == F_GETLK;
    bool unlock = lock && ((const struct flock *)argument)->l_type == F_UNLCK;
    if (lock && !unlock && io("fcntl"))
        return -1;
    return __real_fcntl(fd, command, argument);
}

int __wrap_fchmod(int fd, mode_t mode)
{
    return io("fchmod") ? -1 : __real_fchmod(fd, mode);
}

int __wrap_fchown(int fd, uid_t uid, gid_t gid)
{
    return io("fchown") ? -1 : __real_fchown(fd, uid, gid);
}

/* ---- data ---------------------------------------------------------------------------------- */

ssize_t __real_pread(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __real_pwrite(int fd, const void *buffer, size_t bytes, off_t offset);
ssize_t __real_pwritev(int fd, const struct iovec *parts, int count, off_t offset);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_ftruncate(int fd, off_t bytes);
int __real_fallocate(int fd, int mode, off_t offset, off_t bytes);
off_t __real_lseek(int fd, off_t offset, int whence);
ssize_t __real_getrandom(void *buffer, size_t bytes, unsigned flags);
ssize_t __wrap_pread(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_ftruncate(int fd, off_t bytes);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes);
off_t __wrap_lseek(int fd, off_t offset, int whence);
ssize_t __wrap_getrandom(void *buffer, size_t bytes, unsigned flags);

ssize_t __wrap_pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    ssize_t some = transfer("pread", bytes);

    return some < 0 || io("pread") ? -1 : __real_pread(fd, buffer, (size_t)some, offset);
}

ssize_t __wrap_pwrite(int fd, const void *buffer, size_t bytes, off_t offset)
{
    ssize_t some = transfer("pwrite", bytes);

    if (some < 0 || io("pwrite") || space("pwrite"))
        return -1;
    return __real_pwrite(fd, buffer, (size_t)some, offset);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    size_t bytes = 0;

    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    ssize_t some = transfer("pwritev", bytes);
    if (some < 0 || io("pwritev") || space("pwritev"))
        return -1;
    if ((size_t)some == bytes)
        return __real_pwritev(fd, parts, count, offset);
    ssize_t done = 0;
    for (int i = 0; i < count && done < some; i++) {
        size_t part = parts[i].iov_len;

        if ((ssize_t)part > some - done)
            part = (size_t)(some - done);
        if (__real_pwrite(fd, parts[i].iov_base, part, offset + done) != (ssize_t)part)
            return -1;
        done += (ssize_t)part;
    }
    return done;
}

int __wrap_fdatasync(int fd)
{
    return io("fdatasync") || fails(INJECT_SYNC, "fdatasync", EIO) ? -1 : __real_fdatasync(fd);
}

int __wrap_fsync(int fd)
{
    return io("fsync") || fails(INJECT_SYNC, "fsync", EIO) ? -1 : __real_fsync(fd);
}

int __wrap_ftruncate(int fd, off_t bytes)
{
    return io("ftruncate") || space("ftruncate") ? -1 : __real_ftruncate(fd, bytes);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    return io("fallocate") || space("fallocate") ? -1 : __real_fallocate(fd, mode, offset, bytes);
}

off_t __wrap_lseek(int fd, off_t offset, int whence)
{
    return io("lseek") ? -1 : __real_lseek(fd, offset, whence);
}

ssize_t __wrap_getrandom(void *buffer, size_t bytes, unsigned flags)
{
    return io("getrandom") ? -1 : __real_getrandom(buffer, bytes, flags);
}
