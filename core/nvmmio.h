/*
 * nvmmio: failure-atomic, memory-mapped files.
 *
 * A file opened here (its "home") is read and written like any other, but
 * everything written between two syncs becomes durable together or not at all:
 * nvmmio_sync is an atomic commit of any number of writes and truncates.  Home
 * stays a plain file at its own path; what is needed to repeat a commit lives
 * in a log beside it (<home>-nvmmio) while the file is in use.
 *
 * Results: 0 or a count on success, a negative errno value on failure.
 * nvmmio_strerror() explains a value, nvmmio_last_error() tells what happened
 * and what to do about it in the words of the call that failed.  The library
 * never prints, never exits and never aborts on an operating error.
 *
 * Threads: one handle is used by one thread at a time.  Different handles are
 * independent, also when they are open on the same file: two handles in one
 * process see each other exactly as two processes do.
 *
 * Processes: any number of handles, in any number of processes (510 at most),
 * may have one file open.  A process that dies (kill -9) at any instruction
 * loses nothing that it committed and blocks the others only until the next of
 * them notices.  A handle must not be used in a child after fork: every call
 * then answers -ECHILD; open the file again there.
 *
 * Crash guarantee: after the death of a process, or of the machine, the next
 * open finds the state after some commit, never earlier than the last sync that
 * returned 0.  Which crashes a file survives depends on where it lives; see
 * nvmmio_info.  A sync that fails is in doubt: recovery yields the state before
 * or after it, live handles keep the state before it, and the file refuses
 * writes (-EIO) until every handle on it is closed and it is opened again.
 *
 * Method: redo logging with one fence per commit, after Libnvmmio (Choi et al.,
 * "Libnvmmio: Reconstructing Software IO Path with Failure-Atomic Memory-Mapped
 * Interface", USENIX ATC 2020).  core/DESIGN.md explains it whole.
 */
#ifndef NVMMIO_H
#define NVMMIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
/* Some functions have the name of the structure that they fill; RocksDB is built with -Werror. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

#define NVMMIO_VERSION "0.1.0"

#define NVMMIO_API __attribute__((visibility("default")))
#define NVMMIO_CHECKED __attribute__((warn_unused_result))

/* A handle on one open file. */
struct nvmmio;

/* What the bytes of a file live on. */
enum nvmmio_medium {
    NVMMIO_MEDIUM_AUTO = 0, /* ask the file system */
    NVMMIO_MEDIUM_DAX,      /* persistent memory, mapped with MAP_SYNC */
    NVMMIO_MEDIUM_PAGE,     /* page cache over a disk: pwrite and fdatasync */
    NVMMIO_MEDIUM_RAM,      /* mapped memory that a power loss empties */
    NVMMIO_MEDIUM_SIM,      /* tests only: never accepted in options */
};

/* nvmmio_options.flags */
enum {
    NVMMIO_READ_ONLY = 1 << 0,  /* never write; a file that needs recovery is refused */
    NVMMIO_CREATE = 1 << 1,     /* create home when it is missing */
    NVMMIO_CREATE_NEW = 1 << 2, /* with CREATE: -EEXIST when it is not missing */
    NVMMIO_DEFER = 1 << 3,      /* join the other users at the first lock, not in open */
};

/*
 * Bytes that home carries while its log holds, or may hold, commits that are
 * not in home durably, and that reads through nvmmio never show.  An adapter
 * whose format has room for it uses them to make other programs refuse the
 * file.  Home = content XOR mask over the first `bytes` bytes; in place of the 16
 * bytes at `nonce_at` stands the log's nonce, which ties home to its log (a
 * commit that changes the content there costs a second fence).  While the
 * content is empty, home begins with `empty` instead of content XOR mask.
 * A file without a log that equals `empty` wherever `sign` is not 0 is taken for
 * a marked home whose log is elsewhere, and refused.
 */
#define NVMMIO_MARK_BYTES 128
#define NVMMIO_NONCE_BYTES 16
struct nvmmio_mark {
    uint32_t bytes;    /* 0: no mark; at most NVMMIO_MARK_BYTES */
    uint32_t nonce_at; /* nonce_at + NVMMIO_NONCE_BYTES <= bytes */
    uint8_t mask[NVMMIO_MARK_BYTES];
    uint8_t empty[NVMMIO_MARK_BYTES];
    uint8_t sign[NVMMIO_MARK_BYTES];
};

/* Limits of nvmmio_options.log_bytes; 0 takes a default that suits the medium. */
#define NVMMIO_LOG_BYTES_MIN ((uint64_t)256 << 10)
#define NVMMIO_LOG_BYTES_MAX ((uint64_t)64 << 30)
#define NVMMIO_TIMEOUT_DEFAULT_MS 5000

/* Set it to NVMMIO_OPTIONS_INIT, then change what you need. */
struct nvmmio_options {
    size_t struct_bytes;            /* sizeof(struct nvmmio_options) */
    uint32_t flags;                 /* NVMMIO_READ_ONLY, ... */
    uint32_t mode;                  /* permissions of a home that is created */
    enum nvmmio_medium medium;      /* AUTO, or a demand: refused if it can't be met */
    int32_t timeout_ms;             /* how long a call may wait for a lock; -1: for ever */
    uint64_t log_bytes;             /* bound of the log; only one transaction larger exceeds it */
    uint64_t stage_bytes;           /* memory for one transaction; beyond, it spills to the log */
    const char *log_dir;            /* NULL: the log stands beside home */
    const struct nvmmio_mark *mark; /* NULL: none.  Copied. */
};
#define NVMMIO_OPTIONS_INIT                                                                        \
    {                                                                                              \
        .struct_bytes = sizeof(struct nvmmio_options), .mode = 0644,                               \
        .timeout_ms = NVMMIO_TIMEOUT_DEFAULT_MS                                                    \
    }

/*
 * Set one option from text, by the name under which every adapter knows it:
 * "medium" (auto, dax, page, ram), "log_dir" (a directory), "log_bytes" (a
 * number, with K, M or G).  `value` must live as long as `options` is used.
 * -ENOENT: no such option; -EINVAL or -ERANGE: a bad value.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_option_set(struct nvmmio_options *options, const char *name,
                                                const char *value);

/* ---- Files ------------------------------------------------------------------------------- */

/*
 * Open `path`.  `options` may be NULL.  The first to open a file after a crash
 * recovers it, before anybody reads; others wait for that within their time-out.
 *
 * -ENOENT, -EACCES, -EROFS, -EISDIR, -ELOOP: as open(2)
 * -EOPNOTSUPP  the file system cannot share mappings between processes, or not
 *              the medium that was demanded
 * -EBUSY       in use by a program without nvmmio, or recovery did not end in time
 * -EUCLEAN     the log is damaged or belongs to another file: nothing was changed
 * -EINVAL      an option is out of range
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_open(const char *path, const struct nvmmio_options *options,
                                          struct nvmmio **handle);

/*
 * Drop what is staged, give up all locks, and free the handle, also on failure.
 * (What is prepared goes as after a crash: by its super file.)
 * The last one to close a file makes it an ordinary file again: exact size, no
 * log.  A failure to do so (-EIO, -ENOSPC, -EBUSY) loses nothing: the log stays,
 * and the next open finishes the work.
 */
NVMMIO_API int nvmmio_close(struct nvmmio *handle);

/*
 * Read at most `bytes` at `offset`: the handle's own staged writes over the last
 * commit.  Returns the count, short only at the end of the file.  Takes and gives
 * back a shared lock unless one is held: several reads that must see one commit
 * are done under nvmmio_lock(NVMMIO_SHARED).  -EBUSY: a writer is applying.
 */
NVMMIO_API NVMMIO_CHECKED ssize_t nvmmio_pread(struct nvmmio *handle, void *buffer, size_t bytes,
                                               uint64_t offset);

/*
 * Stage a write; nobody else sees it before the sync.  Returns `bytes`, or
 * nothing of it is staged.  The first write of a transaction takes the reserved
 * lock, which the end of the transaction gives back unless nvmmio_lock took it.
 * (A write of more than 1 MiB that fails may be staged in part: roll back.)
 * -EBUSY: another handle has a transaction; -ENOSPC: no space, what was staged
 * before is still there; -EROFS: opened read-only; -EIO: see nvmmio_sync.
 */
NVMMIO_API NVMMIO_CHECKED ssize_t nvmmio_pwrite(struct nvmmio *handle, const void *buffer,
                                                size_t bytes, uint64_t offset);

/* Stage a new size; what lies between an old end and a larger new one reads as zeros. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_truncate(struct nvmmio *handle, uint64_t bytes);

/* The size in bytes as this handle sees it, staged changes included. */
NVMMIO_API NVMMIO_CHECKED int64_t nvmmio_size(struct nvmmio *handle);

/* Reserve file system space for [0, bytes) of home; the size does not change. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_allocate(struct nvmmio *handle, uint64_t bytes);

/*
 * Commit: make everything staged durable as one, and visible to all.  0 when
 * nothing was staged.  It costs one fence on memory, one fdatasync on a disk.
 * -EBUSY   a reader did not finish within the time-out; still staged, try again
 * -ENOSPC  the log could not grow; still staged
 * -EIO     in doubt, see the top of this file
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_sync(struct nvmmio *handle);

/* Drop everything staged (a prepared transaction too). */
NVMMIO_API NVMMIO_CHECKED int nvmmio_rollback(struct nvmmio *handle);

/* Make home durable up to the last commit and empty the log.  Commits stay durable without it. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_flush(struct nvmmio *handle);

/*
 * Commit the transactions of `count` handles, on as many files, as one.  The
 * decision is a file "<first home>-nvmmio-multi-<random>": while it exists,
 * recovery takes all of them back, once it is gone, it commits all of them.  A
 * failure rolls all of them back; but -EIO leaves it in doubt, for all of them
 * alike: one whose outcome could not be written serves nobody until it is opened
 * again, and the others may show the commit already.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_sync_many(struct nvmmio *const handles[], size_t count);

/*
 * A pointer to `bytes` of home at `offset`, without a copy.  The caller holds a
 * shared lock (nvmmio_lock); the bytes stay what they are until it is given up.
 * The address stays readable until the handle is closed.
 * -EOPNOTSUPP: not mapped (page), staged over, marked, or past the end: use pread.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_view(struct nvmmio *handle, uint64_t offset, size_t bytes,
                                          const void **address);

/*
 * Rename or remove a file together with its log: the log is merged into home
 * first, so that no commit can be left behind under the old name.  -EBUSY while
 * anybody has the file open.  Durable on return.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_rename(const char *from, const char *to);
NVMMIO_API NVMMIO_CHECKED int nvmmio_unlink(const char *path);

/* ---- Locks ------------------------------------------------------------------------------- */

/* SHARED: many; RESERVED: one, beside readers; EXCLUSIVE: one, alone. */
enum nvmmio_lock { NVMMIO_UNLOCKED = 0, NVMMIO_SHARED, NVMMIO_RESERVED, NVMMIO_EXCLUSIVE };

/*
 * Raise the handle's lock to `level`, waiting at most `timeout_ms` (-1: for
 * ever).  A lower or equal level is a success that changes nothing.  -EBUSY when
 * the wait is over; an EXCLUSIVE that failed keeps new readers out until it
 * succeeds or the lock is lowered.  The first lock of a handle joins the other
 * users of the file, and may answer what nvmmio_open may.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_lock(struct nvmmio *handle, enum nvmmio_lock level,
                                          int timeout_ms);

/*
 * Lower the lock to `level` (UNLOCKED or SHARED).  A sealed transaction is
 * applied first, a prepared one goes by its super file, as after a crash, and
 * anything else that is staged is dropped.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_unlock(struct nvmmio *handle, enum nvmmio_lock level);

/* Whether anybody, this handle included, holds RESERVED or more. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_lock_reserved(struct nvmmio *handle, bool *reserved);

/* ---- The steps of a commit, for adapters that need them apart ------------------------------ */

/*
 * Complete the log record of what is staged; all that can fail for want of space
 * fails here, and the transaction is then still staged.  Takes the EXCLUSIVE
 * lock.  A write after a seal takes the seal back.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_seal(struct nvmmio *handle);

/*
 * Make what is sealed durable and apply it.  Locks stay, until nvmmio_unlock or the
 * handle's next read or change, which gives back what nvmmio_lock did not take.
 * Nothing sealed: 0.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_commit(struct nvmmio *handle);

/*
 * Apply what is sealed without waiting for it to be durable: atomic across the
 * death of a process, and across a power loss once a later commit that waited, or
 * a flush, is behind it.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_apply(struct nvmmio *handle);

enum nvmmio_stage { NVMMIO_CLEAN = 0, NVMMIO_STAGED, NVMMIO_SEALED, NVMMIO_PREPARED };
NVMMIO_API enum nvmmio_stage nvmmio_stage(const struct nvmmio *handle);

/*
 * Prepare: make what is staged durable as a transaction whose outcome the file
 * `super` decides (it exists: roll back; it is gone: commit).  With `child`, a
 * file that must exist besides for a commit: both gone is refused at recovery
 * with -EUCLEAN.  `child` is removed when the outcome is known.  Absolute paths,
 * each shorter than 2048 bytes.  Takes the EXCLUSIVE lock.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_prepare(struct nvmmio *handle, const char *super,
                                             const char *child);

/* End a prepared transaction: commit durably and apply, or take it back. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_resolve(struct nvmmio *handle, bool commit);

/* ---- Streams ------------------------------------------------------------------------------- */

/*
 * A stream is a file that is only appended to: a write-ahead log, a table that
 * is written once.  There are no transactions: an appended byte is visible to
 * every reader, and survives the death of the process, from the moment that
 * append returns.  What was appended before a sync that returned 0 survives a
 * loss of power too, on media that do; what was appended since may be lost, but
 * only from the end: the file then holds a prefix of what was appended.  (Where
 * a file system makes a size durable before the data that came with it, zeros may
 * follow.)
 *
 * A stream is a plain file, and nothing stands beside it.  How its size is kept
 * is chosen when it is opened for writing:
 *
 *   EXACT  the file's size is the stream's at any moment.  Every append is a
 *          system call.
 *   AHEAD  space is taken in steps of 2 MiB, and the file's size is ahead of the
 *          stream's until it is closed: behind the stream lie zeros, and in the
 *          last 4096 bytes the stream's true size (core/FORMAT.md).  Readers of
 *          this library never see them.  After a crash, the first to open the
 *          file through this library, or nvmmio_stream_recover, cuts it to its
 *          exact size.  A program without the library that reads the file in the
 *          meantime must put up with them.
 *
 * AUTO is AHEAD on dax, where an append is then a copy, a line and a fence,
 * durable as it returns and without a system call; and EXACT elsewhere.  On a
 * disk, AHEAD keeps the file system's journal out of a sync, and costs an append
 * a second system call.
 *
 * Threads: a handle may be used by any number of threads at once: appends are
 * put one behind the other, sync and reads go on beside them.  Only close must
 * be alone.  Handles of one process on one file see each other at once.
 * Processes: one may write a stream (-EBUSY for others), any number may read it.
 * A child after fork: -ECHILD, as with files.
 */
struct nvmmio_stream;

/* How the file's size follows the stream's. */
enum nvmmio_size { NVMMIO_SIZE_AUTO = 0, NVMMIO_SIZE_EXACT, NVMMIO_SIZE_AHEAD };

/* nvmmio_stream_options.flags, beside READ_ONLY, CREATE and CREATE_NEW.  Without either of these
 * two, appends go behind what is there. */
enum {
    NVMMIO_STREAM_EMPTY = 1 << 8, /* cut what is there */
    /* Begin at offset 0, over old bytes, whose space is kept.  EXACT: until the close, the file is
     * as long as it was, and after a crash the old bytes follow the stream. */
    NVMMIO_STREAM_REUSE = 1 << 9,
};

/* Set it to NVMMIO_STREAM_OPTIONS_INIT, then change what you need. */
struct nvmmio_stream_options {
    size_t struct_bytes;
    uint32_t flags;
    uint32_t mode;             /* permissions of a file that is created */
    enum nvmmio_medium medium; /* AUTO, or a demand: refused if it can't be met */
    enum nvmmio_size size;
};
#define NVMMIO_STREAM_OPTIONS_INIT                                                                 \
    {                                                                                              \
        .struct_bytes = sizeof(struct nvmmio_stream_options), .mode = 0644                         \
    }

/* Set one option from text: "medium" (auto, dax, page, ram), "size" (auto, exact, ahead).
 * -ENOENT: no such option; -EINVAL: a bad value. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_option_set(struct nvmmio_stream_options *options,
                                                       const char *name, const char *value);

/*
 * Open `path`.  `options` may be NULL: append to a file that exists.  A file that
 * a crash left with its size ahead is cut first; without the right to do so, or
 * while its writer lives in another process, a reader sees it as if it were.
 *
 * -ENOENT, -EACCES, -EROFS, -EISDIR, -ELOOP, -EEXIST: as open(2)
 * -EBUSY       another process writes it
 * -EOPNOTSUPP  not the medium that was demanded, or a file system on which shared
 *              mappings are not coherent
 * -EINVAL      an option is out of range
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_open(const char *path,
                                                 const struct nvmmio_stream_options *options,
                                                 struct nvmmio_stream **stream);

/*
 * Free the handle, also on failure.  The last writer's close cuts the file to its
 * exact size; durably, if the stream was ever synced.  It syncs nothing else.
 * -EIO: it could not; what was synced is safe, and the next open tries again.
 */
NVMMIO_API int nvmmio_stream_close(struct nvmmio_stream *stream);

/*
 * Append; returns `bytes`.  On failure nothing is appended.
 * -ENOSPC, -EFBIG: no room (disk, quota, RLIMIT_FSIZE); the stream goes on when
 * there is.  -EROFS: opened read-only.  -EIO: what the device answered, or an
 * earlier failure left the stream in doubt: close it, open it again.
 */
NVMMIO_API NVMMIO_CHECKED ssize_t nvmmio_stream_append(struct nvmmio_stream *stream,
                                                       const void *data, size_t bytes);

/*
 * Everything whose append returned before this call is durable, and so is the
 * size.  No system call on memory, one fdatasync on a disk.  The name of a new
 * file is not part of it: that is the directory's fsync.
 * -EIO: in doubt, and so is every later append and sync, until it is reopened.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_sync(struct nvmmio_stream *stream);

/* Begin to write [offset, offset + bytes) to the disk, without waiting and without a promise. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_flush(struct nvmmio_stream *stream, uint64_t offset,
                                                  uint64_t bytes);

/*
 * Read at most `bytes` at `offset`; returns the count, short only at the end of
 * the stream.  Any handle may.
 */
NVMMIO_API NVMMIO_CHECKED ssize_t nvmmio_stream_pread(struct nvmmio_stream *stream, void *buffer,
                                                      size_t bytes, uint64_t offset);

/*
 * The same without a copy: the address of [offset, offset + bytes), all of it
 * within the stream.  It stays readable until this handle is closed, and stays
 * what it is unless somebody reuses the file; bytes that somebody cuts off, by
 * truncate or in another program, must not be touched any more (SIGBUS).
 * -EOPNOTSUPP: not mapped, or past the end: use pread.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_view(struct nvmmio_stream *stream, uint64_t offset,
                                                 size_t bytes, const void **address);

/* The stream's size in bytes: what was appended. */
NVMMIO_API NVMMIO_CHECKED int64_t nvmmio_stream_size(struct nvmmio_stream *stream);

/* The same by name, whoever writes it; of any plain file, its size. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_stat(const char *path, uint64_t *bytes);

/*
 * Cut the stream to `bytes`, or extend it by zeros; appends go on from there.
 * Durable with the next sync.  Not beside reads of the bytes that are cut.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_truncate(struct nvmmio_stream *stream, uint64_t bytes);

/* Take space for [0, bytes) now; the stream's size does not change. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_allocate(struct nvmmio_stream *stream, uint64_t bytes);

/* Cut a file that a crash left with its size ahead; 1: it was, 0: there was nothing to do.  -EBUSY:
 * its writer lives. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_recover(const char *path);

struct nvmmio_stream_info {
    size_t struct_bytes;
    enum nvmmio_medium medium;
    enum nvmmio_size size; /* of a writer: EXACT or AHEAD */
    bool forced;           /* PMEM_IS_PMEM_FORCE=1 made a memory file system count as DAX */
    bool survives_power;   /* a synced byte survives the loss of power */
    bool mapped;           /* views are served */
    bool read_only;
    bool poisoned;       /* refuses appends until reopened */
    uint64_t bytes;      /* size of the stream */
    uint64_t file_bytes; /* size of the file */
    char why[192];       /* why this medium, in words */
};
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_info(struct nvmmio_stream *stream,
                                                 struct nvmmio_stream_info *info);

/* Counters of the file's writers since it was opened in this process. */
struct nvmmio_stream_stats {
    size_t struct_bytes;
    uint64_t appends, appended_bytes;
    uint64_t syncs;      /* calls */
    uint64_t fences;     /* fences or fdatasyncs that appends and syncs took */
    uint64_t grows;      /* times that space was taken */
    uint64_t recoveries; /* files that were cut after a crash */
};
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_stats(struct nvmmio_stream *stream,
                                                  struct nvmmio_stream_stats *stats);

/* ---- What is going on ---------------------------------------------------------------------- */

struct nvmmio_info {
    size_t struct_bytes;
    enum nvmmio_medium home_medium, log_medium;
    bool forced;           /* PMEM_IS_PMEM_FORCE=1 made a memory file system count as DAX */
    bool survives_process; /* a commit survives kill -9 */
    bool survives_power;   /* a commit survives the loss of power */
    bool marked;           /* home carries the mark now */
    bool read_only;
    bool poisoned;            /* refuses writes until reopened */
    uint64_t home_bytes;      /* size of the content */
    uint64_t home_file_bytes; /* size of the file, with what is preallocated */
    uint64_t log_bytes;       /* bound of the log */
    uint64_t log_file_bytes;  /* size of the log now; 0: there is none */
    uint64_t commits;         /* number of the last commit applied to home; recovery starts anew */
    uint64_t commits_durable; /* home holds this one durably; later ones need the log */
    uint32_t processes;       /* that have the file open now */
    char why[192];            /* why this medium, in words */
    char log_path[512];
};
NVMMIO_API NVMMIO_CHECKED int nvmmio_info(struct nvmmio *handle, struct nvmmio_info *info);

/* Counters of a file since its log or shared page was made, all processes together. */
struct nvmmio_stats {
    size_t struct_bytes;
    uint64_t commits, rollbacks, prepares;
    uint64_t blocks;      /* 4096-byte blocks committed, whole or in part */
    uint64_t log_bytes;   /* bytes written to the log */
    uint64_t home_bytes;  /* bytes applied to home */
    uint64_t fences;      /* fences or fdatasyncs of the log */
    uint64_t flushes;     /* home made durable off the commit path */
    uint64_t flush_waits; /* commits that had to wait for one */
    uint64_t spills;      /* blocks that a large transaction put in the log early */
    uint64_t log_grows;
    uint64_t recoveries, takeovers;     /* after a crash; of a writer that died */
    uint64_t busy;                      /* lock requests that were refused */
    uint64_t read_bytes, written_bytes; /* by pread and pwrite */
};
NVMMIO_API NVMMIO_CHECKED int nvmmio_stats(struct nvmmio *handle, struct nvmmio_stats *stats);

/* The same for a file that other processes have open, without joining them. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_stats_live(const char *path, struct nvmmio_stats *stats);

enum nvmmio_state {
    NVMMIO_STATE_PLAIN = 0,  /* an ordinary file, no log */
    NVMMIO_STATE_LIVE,       /* open in some process */
    NVMMIO_STATE_CRASHED,    /* needs recovery, which the next open does */
    NVMMIO_STATE_DAMAGED,    /* log damaged or foreign: see detail */
    NVMMIO_STATE_LOG_MISSING /* the mark is there, the log is not: give log_dir */
};

struct nvmmio_report {
    size_t struct_bytes;
    enum nvmmio_state state;
    uint64_t home_bytes; /* size of the content, after recovery */
    uint64_t home_file_bytes;
    uint64_t log_file_bytes;
    uint64_t records; /* commits in the log that home may lack */
    uint64_t first_commit, last_commit;
    uint64_t replay_bytes; /* bytes that recovery copies to home */
    bool prepared;         /* the last one waits for a decision */
    bool leftover;         /* a shared page that nobody uses is there: recover removes it */
    char log_path[512];
    char detail[256]; /* in words: what is wrong, what to do */
};

/*
 * Look, change nothing.  `options`: log_dir, and mark (to know a marked home
 * whose log is missing) are used; may be NULL.
 */
NVMMIO_API NVMMIO_CHECKED int nvmmio_check(const char *path, const struct nvmmio_options *options,
                                           struct nvmmio_report *report);

/* What a file is as a stream; whoever looks, nothing is changed. */
struct nvmmio_stream_report {
    size_t struct_bytes;
    enum nvmmio_state state; /* PLAIN; LIVE: somebody writes it; CRASHED: it was left ahead */
    uint64_t bytes;          /* size of the stream */
    uint64_t file_bytes;     /* size of the file: more where it is ahead */
};
NVMMIO_API NVMMIO_CHECKED int nvmmio_stream_check(const char *path,
                                                  struct nvmmio_stream_report *report);

/* Called now and then; done and total in bytes. */
typedef void nvmmio_progress(void *context, uint64_t done, uint64_t total);

/* Recover as an open would, and close: an ordinary file is left.  Idempotent. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_recover(const char *path, const struct nvmmio_options *options,
                                             nvmmio_progress *progress, void *context,
                                             struct nvmmio_report *report);

/* Which medium files in directory `path` get, and what that survives; fills the medium, forced,
 * survives_* and why fields only. */
NVMMIO_API NVMMIO_CHECKED int nvmmio_probe(const char *path, struct nvmmio_info *info);

NVMMIO_API const char *nvmmio_medium_name(enum nvmmio_medium medium);
NVMMIO_API const char *nvmmio_strerror(int error); /* of a negative result, or of an errno */

/* The last failure in this thread, in words; "" if there was none.  Valid until the next call. */
NVMMIO_API const char *nvmmio_last_error(void);
NVMMIO_API const char *nvmmio_version(void);

#ifdef __cplusplus
#pragma GCC diagnostic pop
}
#endif
#endif
