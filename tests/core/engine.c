/* engine: see engine.h. */
#include "tests/core/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/place.h"

void engine_ok(const char *file, int line, const char *what, int64_t result)
{
    if (result < 0)
        check_failed(file, line, "%s: %s (%lld): %s", what, nvmmio_strerror((int)result),
                     (long long)result, nvmmio_last_error());
}

void engine_error(const char *file, int line, const char *what, int64_t result, int want)
{
    if (result != want)
        check_failed(file, line, "%s is %lld (%s), not %d (%s); last error: %s", what,
                     (long long)result, result < 0 ? nvmmio_strerror((int)result) : "success", want,
                     nvmmio_strerror(want), nvmmio_last_error());
}

struct nvmmio *engine_open_with(const char *path, const struct nvmmio_options *options)
{
    struct nvmmio *handle = NULL;

    check_ok(nvmmio_open(path, options, &handle));
    check(handle != NULL);
    return handle;
}

struct nvmmio *engine_open(const char *path)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    options.flags = NVMMIO_CREATE;
    return engine_open_with(path, &options);
}

void engine_close(struct nvmmio *handle)
{
    check_ok(nvmmio_close(handle));
}

void engine_write(struct nvmmio *handle, const void *data, size_t bytes, uint64_t offset)
{
    ssize_t written = nvmmio_pwrite(handle, data, bytes, offset);

    check_ok(written);
    check_eq(written, bytes);
}

void engine_fill(struct nvmmio *handle, uint64_t offset, uint64_t bytes, uint8_t value)
{
    static uint8_t block[1 << 20];

    memset(block, value, bytes < sizeof(block) ? (size_t)bytes : sizeof(block));
    while (bytes) {
        size_t part = bytes < sizeof(block) ? (size_t)bytes : sizeof(block);

        engine_write(handle, block, part, offset);
        offset += part;
        bytes -= part;
    }
}

void engine_check_fill(struct nvmmio *handle, uint64_t offset, uint64_t bytes, uint8_t value)
{
    static uint8_t block[1 << 20];

    while (bytes) {
        size_t part = bytes < sizeof(block) ? (size_t)bytes : sizeof(block);
        ssize_t got = nvmmio_pread(handle, block, part, offset);

        check_ok(got);
        check_eq(got, part);
        for (size_t i = 0; i < part; i++) {
            if (block[i] != value)
                check_fail("byte %llu is %u, not %u", (unsigned long long)(offset + i), block[i],
                           value);
        }
        offset += part;
        bytes -= part;
    }
}

uint8_t engine_byte(struct nvmmio *handle, uint64_t offset)
{
    uint8_t byte;
    ssize_t got = nvmmio_pread(handle, &byte, 1, offset);

    check_ok(got);
    check_eq(got, 1);
    return byte;
}

void engine_check_plain(const char *path)
{
    static const char *const ends[] = {"-nvmmio", "-nvmmio-shm", "-nvmmio-multi"};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[1024];

        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        if (file_exists(name))
            check_fail("%s is still there", name);
    }
}

struct model *model_make(uint64_t seed)
{
    struct model *model = calloc(1, sizeof(*model));

    check(model != NULL);
    model->seed = seed;
    model->write_bytes_max = MODEL_BYTES_MAX / 4;
    return model;
}

static int model_write(struct model *model, struct nvmmio *handle, uint64_t offset,
                       const uint8_t *data, uint64_t bytes)
{
    ssize_t written;

    if (offset > model->bytes)
        memset(model->content + model->bytes, 0, offset - model->bytes);
    memcpy(model->content + offset, data, bytes);
    if (offset + bytes > model->bytes)
        model->bytes = offset + bytes;
    if (!handle)
        return 0;
    written = nvmmio_pwrite(handle, data, bytes, offset);
    return written < 0 ? (int)written : 0;
}

static int model_truncate(struct model *model, struct nvmmio *handle, uint64_t bytes)
{
    if (bytes > model->bytes)
        memset(model->content + model->bytes, 0, bytes - model->bytes);
    model->bytes = bytes;
    return handle ? nvmmio_truncate(handle, bytes) : 0;
}

int model_step(struct model *model, struct nvmmio *handle)
{
    static uint8_t data[MODEL_BYTES_MAX / 4];
    uint64_t number = ++model->number;
    uint64_t state = (model->seed ^ (number * UINT64_C(0x9e3779b97f4a7c15))) | 1;
    uint64_t operations = 1 + random_below(&state, 5);
    int result = model_write(model, handle, 0, (const uint8_t *)&number, sizeof(number));

    for (uint64_t i = 0; i < operations && result == 0; i++) {
        uint64_t kind = random_below(&state, 8);
        uint64_t bytes = kind < 3 ? 1 + random_below(&state, 200)
                                  : 1 + random_below(&state, model->write_bytes_max);
        uint64_t offset = 8 + random_below(&state, MODEL_BYTES_MAX - 8 - bytes);

        if (kind == 7) {
            result = model_truncate(model, handle, 8 + random_below(&state, MODEL_BYTES_MAX - 8));
            continue;
        }
        for (uint64_t at = 0; at < bytes; at++)
            data[at] = (uint8_t)(number * 31 + i * 7 + at / 13);
        result = model_write(model, handle, offset, data, bytes);
    }
    return result;
}

void model_advance(struct model *model, uint64_t number)
{
    check(model->number <= number);
    while (model->number < number)
        check_eq(model_step(model, NULL), 0);
}

int64_t model_number(struct nvmmio *handle)
{
    uint64_t number;
    ssize_t got = nvmmio_pread(handle, &number, sizeof(number), 0);

    if (got <= 0)
        return got;
    check_eq(got, sizeof(number));
    return (int64_t)number;
}

static void model_compare(struct model *model, const uint8_t *content, int64_t bytes)
{
    check_eq(bytes, model->bytes);
    for (uint64_t i = 0; i < model->bytes; i++) {
        if (content[i] != model->content[i])
            check_fail("transaction %llu, byte %llu is %u, not %u",
                       (unsigned long long)model->number, (unsigned long long)i, content[i],
                       model->content[i]);
    }
}

void model_check(struct model *model, struct nvmmio *handle)
{
    static uint8_t content[MODEL_BYTES_MAX + 1];
    ssize_t got = nvmmio_pread(handle, content, sizeof(content), 0);

    check_ok(got);
    check_ok(nvmmio_size(handle));
    check_eq(nvmmio_size(handle), got);
    model_compare(model, content, got);
}

void model_check_plain(struct model *model, const char *path)
{
    void *content;
    int64_t bytes = file_read(path, &content);

    check(bytes >= 0);
    model_compare(model, content, bytes);
    free(content);
}
