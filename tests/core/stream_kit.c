/* stream_kit: see stream_kit.h. */
#include "tests/core/stream_kit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES ((size_t)1 << 20)

enum nvmmio_size kit_size;

const char *kit_size_name(enum nvmmio_size size)
{
    return size == NVMMIO_SIZE_EXACT ? "exact" : size == NVMMIO_SIZE_AHEAD ? "ahead" : "auto";
}

static void (*kit_begin)(void);

static void run_with_both(void **state)
{
    static const enum nvmmio_size sizes[] = {NVMMIO_SIZE_EXACT, NVMMIO_SIZE_AHEAD};
    const struct kit_test *test = *state;

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        kit_size = sizes[i];
        check_note("size %s", kit_size_name(kit_size));
        scratch_empty(&scratch);
        if (kit_begin)
            kit_begin();
        test->run();
    }
    check_note("%s", "");
}

int kit_run(void (*begin)(void), const struct kit_test *tests, size_t count)
{
    struct CMUnitTest *group = calloc(count, sizeof(*group));
    int result;

    check(group != NULL);
    for (size_t i = 0; i < count; i++)
        group[i] = (struct CMUnitTest){tests[i].name, run_with_both, scratch_setup,
                                       scratch_teardown, (void *)(uintptr_t)&tests[i]};
    kit_begin = begin;
    result = _cmocka_run_group_tests("streams", group, count, NULL, NULL);
    free(group);
    return result;
}

struct nvmmio_stream *kit_open(const char *path, enum nvmmio_size size, uint32_t flags)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    struct nvmmio_stream *stream = NULL;

    options.flags = flags | (flags & NVMMIO_READ_ONLY ? 0u : (uint32_t)NVMMIO_CREATE);
    options.size = size;
    check_ok(nvmmio_stream_open(path, &options, &stream));
    check(stream != NULL);
    return stream;
}

void kit_close(struct nvmmio_stream *stream)
{
    check_ok(nvmmio_stream_close(stream));
}

/* Of 7 eighths of the blocks noise, of the others zeros: a tail of zeros is data too. */
static uint64_t word(uint64_t number, uint64_t seed)
{
    uint64_t x = (number + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ seed;

    if ((number / 16 + seed) % 8 == 0)
        return 0;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ (x >> 27);
}

void kit_fill(uint8_t *buffer, size_t bytes, uint64_t offset, uint64_t seed)
{
    for (size_t i = 0; i < bytes;) {
        const uint64_t at = offset + i;
        const uint64_t now = word(at / 8, seed);
        const size_t part = bytes - i < 8 - at % 8 ? bytes - i : (size_t)(8 - at % 8);

        memcpy(buffer + i, (const uint8_t *)&now + at % 8, part);
        i += part;
    }
}

bool kit_same(const uint8_t *got, size_t bytes, uint64_t offset, uint64_t seed)
{
    uint8_t want[4096];

    for (size_t i = 0; i < bytes;) {
        const size_t part = bytes - i < sizeof(want) ? bytes - i : sizeof(want);

        kit_fill(want, part, offset + i, seed);
        if (memcmp(got + i, want, part) != 0)
            return false;
        i += part;
    }
    return true;
}

void kit_append(struct nvmmio_stream *stream, size_t bytes, uint64_t seed)
{
    uint8_t *buffer = malloc(bytes ? bytes : 1);
    const int64_t at = nvmmio_stream_size(stream);

    check(buffer != NULL);
    check_ok(at);
    kit_fill(buffer, bytes, (uint64_t)at, seed);
    check_eq(nvmmio_stream_append(stream, buffer, bytes), bytes);
    check_eq(nvmmio_stream_size(stream), (uint64_t)at + bytes);
    free(buffer);
}

void kit_check(struct nvmmio_stream *stream, uint64_t bytes, uint64_t seed)
{
    uint8_t *buffer = malloc(PIECE_BYTES);
    const void *view;

    check(buffer != NULL);
    check_eq(nvmmio_stream_size(stream), bytes);
    for (uint64_t at = 0; at < bytes;) {
        const size_t part = bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES;

        check_eq(nvmmio_stream_pread(stream, buffer, part, at), part);
        check(kit_same(buffer, part, at, seed));
        if (nvmmio_stream_view(stream, at, part, &view) == 0)
            check(kit_same(view, part, at, seed));
        at += part;
    }
    check_eq(nvmmio_stream_pread(stream, buffer, 100, bytes), 0);
    if (bytes)
        check_eq(nvmmio_stream_pread(stream, buffer, 100, bytes - 1), 1);
    check_error(nvmmio_stream_view(stream, bytes, 1, &view), -EOPNOTSUPP);
    free(buffer);
}

void kit_check_plain(const char *path, uint64_t bytes, uint64_t seed)
{
    void *content;

    check_eq(file_read(path, &content), bytes);
    check(kit_same(content, (size_t)bytes, 0, seed));
    free(content);
}
