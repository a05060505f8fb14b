/*
 * engine: nvmmio.h for tests that expect success, and a byte-array model of a
 * file that runs through numbered transactions.
 *
 * Threads: as nvmmio.h.
 */
#ifndef TESTS_CORE_ENGINE_H
#define TESTS_CORE_ENGINE_H

#include "core/nvmmio.h"
#include "tests/core/check.h"

/* A check that says what the library said. */
#define check_ok(call) engine_ok(__FILE__, __LINE__, #call, (int64_t)(call))
#define check_error(call, want) engine_error(__FILE__, __LINE__, #call, (int64_t)(call), want)
void engine_ok(const char *file, int line, const char *what, int64_t result);
void engine_error(const char *file, int line, const char *what, int64_t result, int want);

struct nvmmio *engine_open(const char *path); /* made when missing */
struct nvmmio *engine_open_with(const char *path, const struct nvmmio_options *options);
void engine_close(struct nvmmio *handle);
void engine_write(struct nvmmio *handle, const void *data, size_t bytes, uint64_t offset);
/* Write, or check, the same byte all over a range. */
void engine_fill(struct nvmmio *handle, uint64_t offset, uint64_t bytes, uint8_t value);
void engine_check_fill(struct nvmmio *handle, uint64_t offset, uint64_t bytes, uint8_t value);
uint8_t engine_byte(struct nvmmio *handle, uint64_t offset);

/* A closed file is an ordinary one: no sidecar beside it. */
void engine_check_plain(const char *path);

/*
 * The model: transaction `number` (1, 2, ...) of a seed is the same on any
 * machine; each leaves its number in the first 8 bytes.
 */
#define MODEL_BYTES_MAX (192 * 1024)
struct model {
    uint64_t seed, number, bytes;
    uint64_t write_bytes_max; /* of one write; may be lowered before the first step */
    uint8_t content[MODEL_BYTES_MAX];
};
struct model *model_make(uint64_t seed);
/* The next transaction, on the model and, unless it is NULL, staged on `handle`: 0 or -errno. */
int model_step(struct model *model, struct nvmmio *handle);
/* Bring the model up to transaction `number`. */
void model_advance(struct model *model, uint64_t number);
/* The number in the file, 0 while it is empty, or -errno (-EBUSY). */
int64_t model_number(struct nvmmio *handle);
/* The file, size and all, is what the model says it is. */
void model_check(struct model *model, struct nvmmio *handle);
void model_check_plain(struct model *model, const char *path); /* by read(2) */

#endif
