/*
 * nvmmio's FileSystem for RocksDB, from C and from C++.
 *
 *     #include <rocksdb/c.h>
 *     #include "rocksdb_env/nvmmio_rocksdb.h"
 *
 *     char *error = NULL;
 *     rocksdb_options_t *options = rocksdb_options_create();
 *     nvmmio_rocksdb_options_set(options, "nvmmio://", &error);
 *     rocksdb_t *db = error ? NULL : rocksdb_open(options, "path", &error);
 *
 * A URI is nvmmio:// or nvmmio://?NAME=VALUE[&NAME=VALUE]..., where VALUE may
 * have %XX in it.  README.md, beside this file, has the options.
 *
 * Threads: all of this may be called by any thread at any time.
 */
#ifndef NVMMIO_ROCKSDB_H
#define NVMMIO_ROCKSDB_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
/* Some functions have the name of the structure that they fill; RocksDB is built with -Werror. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

#define NVMMIO_ROCKSDB_API __attribute__((visibility("default")))

struct rocksdb_options_t;

/*
 * Make the names nvmmio and nvmmio://... known to RocksDB's object registry, as
 * a FileSystem and as an Env.  A program that has this library linked in, or
 * loads it, need not call it: that is done before main.  Any number of times.
 */
NVMMIO_ROCKSDB_API void nvmmio_rocksdb_register(void);

/*
 * Open databases with these options on nvmmio.  On failure *errptr is a message
 * to be given to rocksdb_free, as everywhere in rocksdb/c.h, and the options are
 * what they were.
 */
NVMMIO_ROCKSDB_API void nvmmio_rocksdb_options_set(struct rocksdb_options_t *options,
                                                   const char *uri, char **errptr);

/* What went through the engine in this process; a file that is written counts when it is closed. */
struct nvmmio_rocksdb_statistics {
    uint64_t writers, readers; /* files */
    uint64_t appends, appended_bytes;
    uint64_t syncs;
    uint64_t fences; /* fences or fdatasyncs that these took */
};
NVMMIO_ROCKSDB_API void nvmmio_rocksdb_statistics(struct nvmmio_rocksdb_statistics *statistics);

#ifdef __cplusplus
#pragma GCC diagnostic pop
}
#endif
#endif
