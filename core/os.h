/*
 * os: what the engine asks of an operating system: names, descriptors, byte
 * locks, space, mappings.  `nv_os_posix` is the real one; tests put a simulated
 * machine or a failing one in its place.  Every system call of the engine but
 * libpmem's and the futex of `share` is made in os_posix.c.
 *
 * Results: 0 or a count, or a negative errno.  Threads: every function may be
 * called from any thread; one file from several at once.
 */
#ifndef NV_OS_H
#define NV_OS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Who a file is: inode numbers come back, so the time of birth goes with them. */
struct nv_file_id {
    uint64_t device;
    uint64_t inode;
    uint64_t birth_ns; /* 0 where the file system does not know it */
};

struct nv_file_stat {
    struct nv_file_id id;
    uint64_t bytes;
    uint64_t space_bytes; /* space that it takes: less than `bytes` tells of holes */
    uint64_t links;
    uint32_t mode; /* type and permissions, as st_mode */
    uint32_t uid, gid;
};

/* What kind of place a file system is, as far as a medium depends on it. */
enum nv_fs_kind {
    NV_FS_UNKNOWN, /* shared mappings are not known to be coherent between processes: refused */
    NV_FS_DISK,    /* a local file system over a block device */
    NV_FS_LOCAL,   /* as DISK, but not known to outlive a power loss: an overlay, a RAM disk */
    NV_FS_MEMORY,  /* tmpfs, ramfs: power loss empties it */
};

/* Who holds a byte lock. */
enum nv_lock_holder {
    NV_HOLDER_NONE,
    NV_HOLDER_OFD,   /* an open file description: a process of ours */
    NV_HOLDER_POSIX, /* a process lock: stock SQLite */
};

struct nv_os;
struct nv_medium_ops;

/* An open file.  Owned by whoever opened it; closed with os->close. */
struct nv_file {
    const struct nv_os *os;
    int fd;       /* real descriptor, -1 in a simulation */
    void *object; /* the simulation's own */
};

enum { /* flags of open */
       NV_OPEN_WRITE = 1 << 0,
       NV_OPEN_CREATE = 1 << 1,
       NV_OPEN_EXCLUSIVE = 1 << 2,
       NV_OPEN_NOFOLLOW = 1 << 3, /* a symbolic link at the end of the path: -ELOOP */
};

struct nv_os {
    const char *name;
    void *context; /* handed to nobody; a simulation's own */

    /* Close-on-exec always.  A directory or a special file: -EISDIR or -EINVAL. */
    int (*open)(const struct nv_os *os, const char *path, int flags, uint32_t mode,
                struct nv_file *file);
    int (*close)(struct nv_file *file);
    /* A second description of an open file, for writing whole blocks past the kernel's cache.
     * -EOPNOTSUPP where the file system cannot. */
    int (*reopen_direct)(struct nv_file *file, struct nv_file *direct);
    int (*stat)(struct nv_file *file, struct nv_file_stat *stat);
    /* By name, following links.  -ENOENT when there is none. */
    int (*stat_path)(const struct nv_os *os, const char *path, struct nv_file_stat *stat);
    int (*set_owner)(struct nv_file *file, uint32_t uid, uint32_t gid, uint32_t mode);
    int (*unlink)(const struct nv_os *os, const char *path);
    int (*rename)(const struct nv_os *os, const char *from, const char *to);
    /* Make the entries of the directory that holds `path` durable. */
    int (*sync_directory)(const struct nv_os *os, const char *path);
    /* The path with every link in it resolved (home's real name decides the sidecars'). */
    int (*resolve)(const struct nv_os *os, const char *path, char *out, size_t out_bytes);

    /* Whole buffers: a short transfer is -EIO on write, and a short count at the end on read.
     * -ENOSPC covers quotas; -EFBIG covers RLIMIT_FSIZE, without its signal (see os_posix.c). */
    ssize_t (*pread)(struct nv_file *file, void *buffer, size_t bytes, uint64_t offset);
    int (*pwritev)(struct nv_file *file, const struct iovec *parts, int count, uint64_t offset);
    /* The data of the file and what is needed to read it back are durable. */
    int (*sync_data)(struct nv_file *file);
    /* Begin to write [offset, offset + bytes) to the disk; NULL: there is no such thing. */
    int (*write_back)(struct nv_file *file, uint64_t offset, uint64_t bytes);
    int (*truncate)(struct nv_file *file, uint64_t bytes);
    /* Space for [offset, offset + bytes) exists; with extend, the size covers it too.  On failure
     * the size is what it was: one process at a time may extend a file. */
    int (*allocate)(struct nv_file *file, uint64_t offset, uint64_t bytes, bool extend);
    /* Zeros to where space was allocated and nobody has written yet, so that what is written there
     * next finds it as if it had been written before.  NULL: that makes no difference. */
    int (*write_zeros)(struct nv_file *file, uint64_t offset, uint64_t bytes);
    /* The first place at or behind `offset` that is not in a hole; the end of the file, at most.
     * NULL in a system that knows nothing of holes. */
    int (*next_data)(struct nv_file *file, uint64_t offset, uint64_t *where);

    /* Shared mapping of [0, bytes), which may reach past the end of the file.  With `sync`, as
     * MAP_SYNC: -EOPNOTSUPP where the file system cannot.  Children do not inherit it. */
    int (*map)(struct nv_file *file, size_t bytes, bool writable, bool sync, void **address);
    int (*unmap)(struct nv_file *file, void *address, size_t bytes);

    enum nv_fs_kind (*fs_kind)(struct nv_file *file, char *name, size_t name_bytes);

    /* Byte locks of the open file description, never waiting: -EAGAIN when taken.  Exclusive; of a
     * file that is not open for writing, shared with others of that kind. */
    int (*lock)(struct nv_file *file, uint64_t offset, uint64_t bytes);
    int (*unlock)(struct nv_file *file, uint64_t offset, uint64_t bytes);
    /* The first lock by somebody else in the range; `where` is its first byte. */
    int (*lock_holder)(struct nv_file *file, uint64_t offset, uint64_t bytes,
                       enum nv_lock_holder *holder, uint64_t *where);

    /* This process: a number and a start time that no other live process shares. */
    int (*process_self)(const struct nv_os *os, uint64_t *pid, uint64_t *start_time,
                        uint64_t *pid_namespace);
    /* 1 alive, 0 certainly gone, -errno when it cannot be known (another namespace). */
    int (*process_alive)(const struct nv_os *os, uint64_t pid, uint64_t start_time,
                         uint64_t pid_namespace);

    uint64_t (*clock_ns)(const struct nv_os *os); /* monotonic; coarse is enough */
    int (*random)(const struct nv_os *os, void *buffer, size_t bytes);
    void (*pause)(const struct nv_os *os, uint64_t microseconds); /* between two tries of a lock */

    /* The medium of a simulated file; NULL in a real system, which is probed. */
    const struct nv_medium_ops *(*medium)(struct nv_file *file);
    bool threads; /* work off the commit path runs in a thread; else nv_process_step runs it */
};

extern const struct nv_os nv_os_posix;

/* Whether there is a file of that name: 1, 0, or -errno.  What cannot be seen is not gone. */
static inline int nv_os_exists(const struct nv_os *os, const char *path)
{
    struct nv_file_stat stat;
    const int error = os->stat_path(os, path, &stat);
    return error == 0 ? 1 : error == -ENOENT || error == -ENOTDIR ? 0 : error;
}

#endif
