/*
 * os_posix: the real system, Linux.  Names, descriptors and byte locks are in
 * this file, data and mappings in os_posix_file.c, file systems in
 * os_posix_fs.c, processes in os_posix_process.c.
 *
 * Threads: everything may be called from any thread.  A crash leaves what the
 * kernel leaves; nothing here holds state but a copy of RLIMIT_FSIZE.
 */
#include "core/os_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define LINKS_MAX 40 /* the kernel's own bound on links in one path */

/* ---- Descriptors ------------------------------------------------------------------------- */

/*
 * A database on descriptor 0, 1 or 2 would be written to by the next printf of a program that
 * closed them.  They are filled before the open, not vacated after it: closing a descriptor of a
 * file drops the process locks that others in this process hold on it.
 */
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            const int null = open("/dev/null", O_RDWR);
            if (null > STDERR_FILENO)
                close(null);
        }
    }
}

static int posix_open(const struct nv_os *os, const char *path, int flags, uint32_t mode,
                      struct nv_file *file)
{
    /* O_NONBLOCK: a pipe in the place of the file must not hang us before it is refused. */
    int oflags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    oflags |= flags & NV_OPEN_WRITE ? O_RDWR : O_RDONLY;
    if (flags & NV_OPEN_CREATE)
        oflags |= O_CREAT;
    if (flags & NV_OPEN_EXCLUSIVE)
        oflags |= O_EXCL;
    if (flags & NV_OPEN_NOFOLLOW)
        oflags |= O_NOFOLLOW;

    fill_standard_descriptors();
    int fd;
    do
        fd = open(path, oflags, (mode_t)mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) /* what a socket or a device without a driver answers */
        return errno == ENXIO || errno == ENODEV ? -EINVAL : -errno;

    struct stat st;
    int status = fstat(fd, &st) < 0 ? -errno : 0;
    if (!status && S_ISDIR(st.st_mode))
        status = -EISDIR;
    else if (!status && !S_ISREG(st.st_mode))
        status = -EINVAL;
    if (status) {
        close(fd);
        return status;
    }
    nv_posix_read_limits();
    *file = (struct nv_file){.os = os, .fd = fd};
    return 0;
}

static int posix_reopen_direct(struct nv_file *file, struct nv_file *direct)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
    fill_standard_descriptors();
    const int fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) /* EINVAL; but also a /proc that is not mounted, or no descriptor left */
        return -EOPNOTSUPP;
    *direct = (struct nv_file){.os = file->os, .fd = fd};
    return 0;
}

static int posix_close(struct nv_file *file)
{
    const int fd = file->fd;
    file->fd = -1;
    /* Linux has closed it when it answers EINTR; trying again could close another's. */
    return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

static int stat_at(int directory, const char *path, int flags, struct nv_file_stat *out)
{
    struct statx stx;
    int status;
    do
        status = statx(directory, path, flags, STATX_BASIC_STATS | STATX_BTIME, &stx);
    while (status < 0 && errno == EINTR);
    if (status < 0)
        return -errno;
    *out = (struct nv_file_stat){
        .id = {.device = makedev(stx.stx_dev_major, stx.stx_dev_minor), .inode = stx.stx_ino},
        .bytes = stx.stx_size,
        .space_bytes = stx.stx_blocks * 512,
        .links = stx.stx_nlink,
        .mode = stx.stx_mode,
        .uid = stx.stx_uid,
        .gid = stx.stx_gid,
    };
    if (stx.stx_mask & STATX_BTIME)
        out->id.birth_ns =
            (uint64_t)stx.stx_btime.tv_sec * 1000000000u + (uint64_t)stx.stx_btime.tv_nsec;
    return 0;
}

static int posix_stat(struct nv_file *file, struct nv_file_stat *stat)
{
    return stat_at(file->fd, "", AT_EMPTY_PATH, stat);
}

static int posix_stat_path(const struct nv_os *os, const char *path, struct nv_file_stat *stat)
{
    (void)os;
    return *path ? stat_at(AT_FDCWD, path, 0, stat) : -ENOENT;
}

static int posix_set_owner(struct nv_file *file, uint32_t uid, uint32_t gid, uint32_t mode)
{
    struct stat st;
    if (fstat(file->fd, &st) < 0)
        return -errno;
    /* Before the mode, which it may clear; not at all where it would only be refused. */
    if ((st.st_uid != uid || st.st_gid != gid) && fchown(file->fd, uid, gid) < 0)
        return -errno;
    mode &= 0777;
    if ((st.st_mode & 07777) != mode && fchmod(file->fd, (mode_t)mode) < 0)
        return -errno;
    return 0;
}

/* ---- Names ------------------------------------------------------------------------------- */

static int posix_unlink(const struct nv_os *os, const char *path)
{
    (void)os;
    return unlink(path) < 0 ? -errno : 0;
}

static int posix_rename(const struct nv_os *os, const char *from, const char *to)
{
    (void)os;
    return rename(from, to) < 0 ? -errno : 0;
}

static int copy_path(char *out, size_t out_bytes, const char *path)
{
    const size_t bytes = strlen(path) + 1;
    if (bytes > out_bytes)
        return -ENAMETOOLONG;
    memcpy(out, path, bytes);
    return 0;
}

/* The directory part of `path`, "." when it has none; `name` is what follows. */
static int split_path(const char *path, char directory[PATH_MAX], const char **name)
{
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!slash)
        return copy_path(directory, PATH_MAX, ".");
    const size_t bytes = slash == path ? 1 : (size_t)(slash - path);
    if (bytes >= PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(directory, path, bytes);
    directory[bytes] = '\0';
    return 0;
}

static int posix_sync_directory(const struct nv_os *os, const char *path)
{
    (void)os;
    char directory[PATH_MAX];
    const char *name;
    int status = split_path(path, directory, &name);
    if (status)
        return status;
    int fd;
    do
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    do
        status = fsync(fd) < 0 ? -errno : 0;
    while (status == -EINTR);
    close(fd);
    return status;
}

static int join_path(char out[PATH_MAX], const char *directory, const char *name)
{
    const char *between = directory[strlen(directory) - 1] == '/' ? "" : "/";
    const int bytes = snprintf(out, PATH_MAX, "%s%s%s", directory, between, name);
    return bytes < 0 || bytes >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/*
 * One step for a path whose last component does not exist: `path` becomes its resolved directory
 * and that name.  1 when the name turned out to be a link to nothing, whose target is then in
 * `path` and has to be resolved in its turn.
 */
static int resolve_missing(char path[PATH_MAX])
{
    char directory[PATH_MAX], real[PATH_MAX], target[PATH_MAX], joined[PATH_MAX];
    const char *name;
    int status = split_path(path, directory, &name);
    if (status)
        return status;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return -ENOENT;
    if (!realpath(directory, real))
        return -errno;
    status = join_path(joined, real, name);
    if (status)
        return status;
    const ssize_t bytes = readlink(joined, target, sizeof(target) - 1);
    if (bytes < 0 && errno != ENOENT && errno != EINVAL)
        return -errno;
    if (bytes < 0) /* no such name, or somebody made a file of that name just now */
        return copy_path(path, PATH_MAX, joined);
    target[bytes] = '\0';
    status = target[0] == '/' ? copy_path(path, PATH_MAX, target) : join_path(path, real, target);
    return status ? status : 1;
}

static int posix_resolve(const struct nv_os *os, const char *path, char *out, size_t out_bytes)
{
    (void)os;
    char now[PATH_MAX], real[PATH_MAX];
    int status = copy_path(now, sizeof(now), path);
    if (status)
        return status;
    for (int links = 0; links <= LINKS_MAX; links++) {
        if (realpath(now, real))
            return copy_path(out, out_bytes, real);
        if (errno != ENOENT)
            return -errno;
        status = resolve_missing(now);
        if (status <= 0)
            return status ? status : copy_path(out, out_bytes, now);
    }
    return -ELOOP;
}

/* ---- Locks ------------------------------------------------------------------------------- */

/* Answers what the lock is, or would be, in `lock`. */
static int lock_call(struct nv_file *file, int command, short type, uint64_t offset, uint64_t bytes,
                     struct flock *lock)
{
    if (!bytes || offset > INT64_MAX || bytes > INT64_MAX - offset)
        return -EINVAL;
    *lock = (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = (off_t)bytes};
    int status;
    do
        status = fcntl(file->fd, command, lock);
    while (status < 0 && errno == EINTR);
    if (status < 0)
        return errno == EACCES ? -EAGAIN : -errno;
    return 0;
}

static int posix_lock(struct nv_file *file, uint64_t offset, uint64_t bytes)
{
    struct flock lock;
    /* Without the right to write, the kernel gives shared locks only. */
    const bool reader = (fcntl(file->fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
    return lock_call(file, F_OFD_SETLK, reader ? F_RDLCK : F_WRLCK, offset, bytes, &lock);
}

static int posix_unlock(struct nv_file *file, uint64_t offset, uint64_t bytes)
{
    struct flock lock;
    return lock_call(file, F_OFD_SETLK, F_UNLCK, offset, bytes, &lock);
}

static int posix_lock_holder(struct nv_file *file, uint64_t offset, uint64_t bytes,
                             enum nv_lock_holder *holder, uint64_t *where)
{
    *holder = NV_HOLDER_NONE;
    *where = 0;
    /* The kernel names any of several; what lies before it is asked for until there is nothing. */
    while (bytes) {
        struct flock lock;
        const int status = lock_call(file, F_OFD_GETLK, F_WRLCK, offset, bytes, &lock);
        if (status)
            return status;
        if (lock.l_type == F_UNLCK)
            break;
        *holder = lock.l_pid == -1 ? NV_HOLDER_OFD : NV_HOLDER_POSIX;
        *where = lock.l_start > (off_t)offset ? (uint64_t)lock.l_start : offset;
        bytes = *where - offset;
    }
    return 0;
}

/* ---- Time, chance -------------------------------------------------------------------------- */

static uint64_t posix_clock_ns(const struct nv_os *os)
{
    (void)os;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int posix_random(const struct nv_os *os, void *buffer, size_t bytes)
{
    (void)os;
    uint8_t *out = buffer;
    while (bytes) {
        const ssize_t got = getrandom(out, bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        out += got;
        bytes -= (size_t)got;
    }
    return 0;
}

static void posix_pause(const struct nv_os *os, uint64_t microseconds)
{
    (void)os;
    struct timespec left = {.tv_sec = (time_t)(microseconds / 1000000u),
                            .tv_nsec = (long)(microseconds % 1000000u) * 1000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

const struct nv_os nv_os_posix = {
    .name = "posix",
    .open = posix_open,
    .reopen_direct = posix_reopen_direct,
    .close = posix_close,
    .stat = posix_stat,
    .stat_path = posix_stat_path,
    .set_owner = posix_set_owner,
    .unlink = posix_unlink,
    .rename = posix_rename,
    .sync_directory = posix_sync_directory,
    .resolve = posix_resolve,
    .pread = nv_posix_pread,
    .pwritev = nv_posix_pwritev,
    .sync_data = nv_posix_sync_data,
    .write_back = nv_posix_write_back,
    .truncate = nv_posix_truncate,
    .allocate = nv_posix_allocate,
    .write_zeros = nv_posix_write_zeros,
    .next_data = nv_posix_next_data,
    .map = nv_posix_map,
    .unmap = nv_posix_unmap,
    .fs_kind = nv_posix_fs_kind,
    .lock = posix_lock,
    .unlock = posix_unlock,
    .lock_holder = posix_lock_holder,
    .process_self = nv_posix_process_self,
    .process_alive = nv_posix_process_alive,
    .clock_ns = posix_clock_ns,
    .random = posix_random,
    .pause = posix_pause,
    .medium = NULL,
    .threads = true,
};
