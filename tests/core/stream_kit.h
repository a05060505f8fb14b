/*
 * stream_kit: streams for tests that expect success.  The byte at an offset
 * follows from a seed, so any part of a stream can be checked by itself.
 *
 * Threads: any.
 */
#ifndef TESTS_CORE_STREAM_KIT_H
#define TESTS_CORE_STREAM_KIT_H

#include "core/nvmmio.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

/* How the size is kept in this run of a test: each runs with both ways. */
extern enum nvmmio_size kit_size;
const char *kit_size_name(enum nvmmio_size size);

struct kit_test {
    const char *name;
    void (*run)(void);
};
#define KIT_TEST(name)                                                                             \
    {                                                                                              \
#name, name                                                                                \
    }

/* Run each test with either size, each time in an empty `scratch` and after `begin` (or NULL): the
 * result of the cmocka group. */
int kit_run(void (*begin)(void), const struct kit_test *tests, size_t count);

/* flags as in nvmmio_stream_options; CREATE is added unless it is for reading. */
struct nvmmio_stream *kit_open(const char *path, enum nvmmio_size size, uint32_t flags);
void kit_close(struct nvmmio_stream *stream);

void kit_fill(uint8_t *buffer, size_t bytes, uint64_t offset, uint64_t seed);
/* Append the next `bytes` of `seed`. */
void kit_append(struct nvmmio_stream *stream, size_t bytes, uint64_t seed);
/* The stream is the first `bytes` bytes of `seed`, and ends there. */
void kit_check(struct nvmmio_stream *stream, uint64_t bytes, uint64_t seed);
/* The same of a file, by read(2). */
void kit_check_plain(const char *path, uint64_t bytes, uint64_t seed);
/* [from, to) of a file or stream. */
bool kit_same(const uint8_t *got, size_t bytes, uint64_t offset, uint64_t seed);

#endif
