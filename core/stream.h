/*
 * stream: append-only files.  What nvmmio.h calls a stream is here a handle on a
 * `struct nv_stream_file`, the one entry that a process has for that file: it is
 * found by inode, so a reader and a writer of one process share it.
 *
 * Threads: everything may be called from any thread.  `mutex` of a file makes
 * appends and changes of its size one after the other; reads take no lock.
 *
 * Crash: the file holds every byte whose append returned, and after a loss of
 * power a prefix with everything that was synced.  A file that was ahead ends
 * with a size block (core/format.h), from which stream_size.c finds its size.
 */
#ifndef NV_STREAM_H
#define NV_STREAM_H

#include <pthread.h>

#include "core/format.h"
#include "core/medium.h"
#include "core/nvmmio.h"
#include "core/os.h"

/* The streams that a process has open. */
struct nv_stream_table {
    const struct nv_os *os;
    pthread_mutex_t mutex; /* guards the list and the references in it */
    struct nv_stream_file *files;
};

void nv_stream_table_init(struct nv_stream_table *table, const struct nv_os *os);
/* Free everything; tell the system nothing.  See nv_process_destroy. */
void nv_stream_table_abandon(struct nv_stream_table *table);
/* In a child: give up the descriptors, and with them the parent's locks.  Only close(2). */
void nv_stream_table_forked(struct nv_stream_table *table);

/* A medium over a file; addresses that were given out stay readable until the entry is freed. */
struct nv_stream_end {
    struct nv_medium medium;
    struct nv_stream_end *older;
};

struct nv_stream_file {
    struct nv_stream_file *next;
    struct nv_stream_table *table;
    uint32_t references; /* handles; guarded by the table's mutex */
    struct nv_file_id id;

    pthread_mutex_t mutex;   /* appends, growth, everything below */
    pthread_mutex_t syncing; /* before mutex: one sync at a time */
    uint32_t writers;
    struct nv_file reader, writer; /* os NULL: not open */
    struct nv_probe probe;         /* of the readers; ops NULL: not asked yet */
    struct nv_probe write_probe;   /* of the writers */
    struct nv_stream_end *ends;
    struct nv_stream_end *stores; /* of the writers */
    /* What reads are served from; NULL: pread alone. */
    _Atomic(struct nv_stream_end *) reads;

    _Atomic uint64_t bytes; /* of the stream; without a writer in this process, as last seen */
    _Atomic bool written;   /* a writer is in this process: `bytes` is the truth */
    _Atomic bool poisoned;

    /* Of the writers. */
    enum nvmmio_size size;
    uint64_t ahead_bytes; /* the file's size, and a size block is at its end; 0: there is none */
    uint64_t file_bytes; /* exact: the file's size, which a stream in an old file is shorter than */
    uint64_t space_bytes; /* exact: allocated */
    uint64_t warm_bytes;  /* ahead: from here on the file has never been written */
    uint64_t seq;         /* of the last slot */
    uint64_t durable;     /* bytes that are certainly durable */
    bool changed;         /* something was appended since the last sync began */
    bool cut;             /* the file's own size was changed since */
    uint64_t cuts;        /* how often the stream's end was moved back */
    bool synced;          /* sync was ever called */
    /* Ahead on a disk: hash of what is behind `durable`; and of what came since a sync began. */
    struct nv_hasher *hasher, *hasher_next;
    bool hashing_next;

    struct nvmmio_stream_stats stats;
};

struct nv_process;

struct nvmmio_stream {
    struct nv_process *process;
    struct nv_stream_file *file;
    bool read_only;
};

int nv_stream_open(struct nv_stream_table *table, const char *path,
                   const struct nvmmio_stream_options *options, struct nvmmio_stream **out);
int nv_stream_close(struct nvmmio_stream *stream);
/* In a child: free the handle, and leave its file to the parent. */
void nv_stream_forget(struct nvmmio_stream *stream);
int nv_stream_info(struct nvmmio_stream *stream, struct nvmmio_stream_info *info);
void nv_stream_stats(struct nvmmio_stream *stream, struct nvmmio_stream_stats *stats);
int nv_stream_recover(struct nv_stream_table *table, const char *path);
int nv_stream_stat(struct nv_stream_table *table, const char *path, uint64_t *bytes);
int nv_stream_check(struct nv_stream_table *table, const char *path,
                    struct nvmmio_stream_report *report);

/* Under the mutex: a mapping for readers through descriptor `on`, where there can be one. */
void nv_stream_map(struct nv_stream_file *file, struct nv_file *on, const struct nv_probe *probe);

/* ---- stream_write.c: by handles that may write -------------------------------------------- */

int nv_stream_append(struct nv_stream_file *file, const void *data, size_t bytes);
int nv_stream_sync(struct nv_stream_file *file);
int nv_stream_flush(struct nv_stream_file *file, uint64_t offset, uint64_t bytes);
int nv_stream_truncate(struct nv_stream_file *file, uint64_t bytes);
/* The next append goes to offset 0; what is there stays until it is overwritten. */
int nv_stream_rewind(struct nv_stream_file *file);
int nv_stream_allocate(struct nv_stream_file *file, uint64_t bytes);
/* Under the mutex: the file's size becomes the stream's. */
int nv_stream_cut(struct nv_stream_file *file);

/* ---- stream_read.c ------------------------------------------------------------------------ */

ssize_t nv_stream_pread(struct nvmmio_stream *stream, void *buffer, size_t bytes, uint64_t offset);
int nv_stream_view(struct nvmmio_stream *stream, uint64_t offset, size_t bytes,
                   const void **address);
/* How long the stream is now. */
int64_t nv_stream_size(struct nvmmio_stream *stream);

/* ---- stream_size.c ------------------------------------------------------------------------ */

/* What a file says of itself. */
struct nv_size_found {
    bool ahead;
    uint64_t bytes;   /* of the stream; not ahead: of the file */
    uint64_t end;     /* ahead: where the size block ends */
    uint64_t durable; /* ahead: of the stream, certainly durable */
    uint64_t file_bytes;
};
int nv_size_find(struct nv_file *file, struct nv_size_found *found);
/* The bytes of [from, to), as they are read, are written: a kernel whose fdatasync failed may hold
 * as clean what it never wrote. */
int nv_size_write_again(struct nv_file *file, uint64_t from, uint64_t to);
/* Caller has the writer's lock: cut the file to the size of its stream, if it is ahead. */
int nv_size_recover(struct nv_file *file, struct nv_size_found *found);

#endif
