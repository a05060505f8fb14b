/*
 * fuzz: what the fuzz targets share.  Each is one LLVMFuzzerTestOneInput; run
 * links them with libFuzzer, and Bazel with replay.c, which goes through the
 * stored corpus.
 *
 * Files lie in a scratch directory in memory.  The engine runs on nv_os_posix
 * with guards: a name outside of that directory that it makes, removes or
 * renames ends the process, and what it leaves open is closed after each input.
 *
 * Threads: one.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/format.h"
#include "core/os.h"
#include "core/process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Ends the process, and says why. */
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* <scratch>/<name>; valid for ever.  The directory is made by the first call. */
const char *fuzz_path(const char *name);
#define FUZZ_HOME fuzz_path("db")
#define FUZZ_LOG fuzz_path("db-nvmmio")
#define FUZZ_PAGE fuzz_path("db-nvmmio-shm")
#define FUZZ_SUPER fuzz_path("super")
#define FUZZ_CHILD fuzz_path("child")

/* Remove all files in it. */
void fuzz_clear(void);

/* The guarded system. */
extern struct nv_os fuzz_os;
/* A process on it, and its end: descriptors that it left are closed. */
struct nv_process *fuzz_begin(void);
void fuzz_end(struct nv_process *process);

/* What is taken of an input; zeros behind its end. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};
uint8_t fuzz_u8(struct fuzz_input *input);
uint64_t fuzz_number(struct fuzz_input *input, unsigned bytes);
void fuzz_bytes(struct fuzz_input *input, void *to, size_t bytes);

/* Whole files. */
struct fuzz_file {
    uint8_t *content; /* free() it */
    size_t bytes;
};
void fuzz_write(const char *path, const void *content, size_t bytes);
struct fuzz_file fuzz_read(const char *path);

/*
 * A log as an input describes it: changes of a header that is valid, and records
 * whose counts and hashes are made right, unless the input wants them wrong.  So
 * an input comes past the checksums, as somebody can who knows the format.
 */
struct fuzz_log {
    uint8_t *bytes;
    size_t used;
    uint64_t file_bytes; /* of the file: more than `used` is a hole */
    struct nv_header header;
};
#define FUZZ_LOG_BYTES ((size_t)1 << 17)
void fuzz_log_make(struct fuzz_log *log, struct fuzz_input *input, const struct nv_file_id *home);
void fuzz_log_write(const struct fuzz_log *log, const char *path);

#endif
