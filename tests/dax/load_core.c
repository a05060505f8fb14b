/* load_core: numbered transactions through nvmmio.h; the model is that of tests/core. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/dax/load.h"

/* Every PAIR-th transaction commits one on the second file with it. */
#define PAIR 6
#define WRITE_BYTES_MAX 20000
/* Transactions from one open to the next. */
#define LIFE 40

struct files {
    struct nvmmio *handles[2];
    struct model *models[2];
};

const char *load_path(const char *directory, const char *name)
{
    static char paths[4][600];
    static unsigned next;
    char *path = paths[next++ % 4];
    int length = snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);

    check(length > 0 && (size_t)length < sizeof(paths[0]));
    return path;
}

static void files_open(struct files *files, const char *directory, uint64_t seed)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    options.flags = NVMMIO_CREATE;
    /* The log turns over every few transactions. */
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    for (unsigned i = 0; i < 2; i++) {
        files->handles[i] = engine_open_with(load_path(directory, load_core.files[i]), &options);
        if (files->models[i]) /* else it goes on where it is */
            continue;
        files->models[i] = model_make(seed + i);
        files->models[i]->write_bytes_max = WRITE_BYTES_MAX;
    }
}

static uint64_t files_number(const struct files *files)
{
    int64_t number = model_number(files->handles[0]);

    check_ok(number);
    return (uint64_t)number;
}

/* Both files hold what transaction `number` left. */
static void files_check(struct files *files, uint64_t number)
{
    for (unsigned i = 0; i < 2; i++) {
        int64_t found = model_number(files->handles[i]);
        uint64_t want = i ? number / PAIR : number;

        check_note("core file %u of transaction %llu", i, (unsigned long long)number);
        check_eq(found, want);
        model_advance(files->models[i], want);
        model_check(files->models[i], files->handles[i]);
    }
}

static void core_step(struct files *files, uint64_t number)
{
    if (number % 10 == 3) { /* what is taken back is never seen */
        engine_fill(files->handles[0], 0, 100000, 0xee);
        check_ok(nvmmio_rollback(files->handles[0]));
    }
    check_ok(model_step(files->models[0], files->handles[0]));
    if (number % PAIR == 0) {
        check_ok(model_step(files->models[1], files->handles[1]));
        check_ok(nvmmio_sync_many(files->handles, 2));
    } else {
        check_ok(nvmmio_sync(files->handles[0]));
    }
    if (number % 16 == 7)
        check_ok(nvmmio_flush(files->handles[0]));
}

static _Noreturn void core_run(const char *directory, uint64_t seed, load_acknowledge *acknowledge,
                               void *context)
{
    struct files files = {{NULL}, {NULL}};

    for (;;) {
        uint64_t number;

        files_open(&files, directory, seed);
        number = files_number(&files);
        acknowledge(context, number);
        files_check(&files, number);
        for (unsigned i = 0; i < LIFE; i++) {
            core_step(&files, ++number);
            acknowledge(context, number);
        }
        for (unsigned i = 0; i < 2; i++)
            engine_close(files.handles[i]);
    }
}

static uint64_t core_verify(const char *directory, uint64_t seed)
{
    struct files files = {{NULL}, {NULL}};
    uint64_t number;

    files_open(&files, directory, seed);
    number = files_number(&files);
    files_check(&files, number);
    for (unsigned i = 0; i < 2; i++) {
        const char *path = load_path(directory, load_core.files[i]);

        engine_close(files.handles[i]);
        engine_check_plain(path);
        model_check_plain(files.models[i], path);
        free(files.models[i]);
    }
    return number;
}

const struct load load_core = {"core", core_run, core_verify, {"core.dat", "core2.dat"}};
