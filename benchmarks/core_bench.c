/*
 * core_bench: the engine against what the same bytes cost without it, and
 * against an undo and a redo log.  Every comparison is made in short slices that
 * take turns, each slice with the same places in the same order; what counts is
 * the median of the slices.
 */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "benchmarks/measure.h"
#include "benchmarks/store.h"
#include "core/nvmmio.h"

#define ROUNDS_MAX 64u
#define SIDES_MAX 4u
#define THREADS_MAX 2u
#define PIECE_BYTES_MAX 4096u
#define LINE_BYTES 64u
#define MIX_LOG_BYTES ((uint64_t)4 << 20)
#define MIX_STEPS 11u

static struct settings {
    const char *directory;
    const char *json_path;
    const char *only; /* NULL: all */
    uint64_t file_bytes;
    unsigned rounds;
    uint32_t operations; /* of one thread in one slice */
    bool full;
    bool locks; /* of the two baselines */
} settings = {.file_bytes = (uint64_t)1 << 30, .rounds = 21, .operations = 20000, .locks = true};

static char paths[THREADS_MAX][4096];
static json_t *results;

/* What one slice does: the same for every side. */
struct slice {
    uint64_t seed;
    uint32_t operations;
    uint32_t reads_percent;
    size_t piece_bytes;
};

/* A store that each of the threads has opened for itself. */
struct side {
    const struct nv_store_ops *ops;
    struct nv_store *store[THREADS_MAX];
    unsigned threads;
    bool by_clock; /* also with one thread */
    double seconds[ROUNDS_MAX];
};

struct worker {
    pthread_t thread;
    const struct nv_store_ops *ops;
    struct nv_store *store;
    const struct slice *slice;
    uint64_t seed;
    pthread_barrier_t *barrier;
    double started, ended, cpu;
    int error;
};

static void die(const char *what, int error)
{
    const char *detail = nvmmio_last_error();
    fprintf(stderr, "core_bench: %s: %s\n", what, *detail ? detail : nvmmio_strerror(error));
    exit(1);
}

/* No line stays what it was: a log of differences gets nothing for free. */
static void vary(uint8_t *piece, size_t bytes, uint64_t value)
{
    for (size_t i = 0; i < bytes; i += LINE_BYTES)
        memcpy(piece + i, &value, sizeof(value));
}

static int operate(const struct worker *worker)
{
    uint8_t piece[PIECE_BYTES_MAX], read[PIECE_BYTES_MAX];
    const struct slice *slice = worker->slice;
    uint64_t random = worker->seed;
    uint32_t pieces = (uint32_t)(settings.file_bytes / slice->piece_bytes);
    int error = 0;
    for (size_t i = 0; i < sizeof(piece); i++)
        piece[i] = (uint8_t)nv_random(&random);
    for (uint32_t i = 0; i < slice->operations && !error; i++) {
        uint64_t offset = (uint64_t)nv_random_below(&random, pieces) * slice->piece_bytes;
        if (nv_random_below(&random, 100) < slice->reads_percent) {
            error = worker->ops->read(worker->store, read, offset);
            /* As a user would: look at what was read. */
            *(volatile uint8_t *)piece = read[slice->piece_bytes - 1];
        } else {
            vary(piece, slice->piece_bytes, random);
            error = worker->ops->write(worker->store, piece, offset);
        }
    }
    return error;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    pthread_barrier_wait(worker->barrier);
    double cpu = nv_thread_seconds();
    worker->started = nv_wall_seconds();
    worker->error = operate(worker);
    worker->ended = nv_wall_seconds();
    worker->cpu = nv_thread_seconds() - cpu;
    return NULL;
}

/* Of one thread its CPU time, which leaves out what else the machine does; of several the time by
 * the clock, for they may wait for each other. */
static double run_slice(const struct side *side, const struct slice *slice)
{
    struct worker workers[THREADS_MAX] = {0};
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, side->threads);
    for (unsigned i = 0; i < side->threads; i++) {
        workers[i] = (struct worker){.ops = side->ops,
                                     .store = side->store[i],
                                     .slice = slice,
                                     .seed = slice->seed + i,
                                     .barrier = &barrier};
        if (side->threads > 1 && pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            die("cannot start a thread", -EAGAIN);
    }
    if (side->threads == 1)
        work(&workers[0]);
    double started = 0, ended = 0;
    for (unsigned i = 0; i < side->threads; i++) {
        if (side->threads > 1)
            pthread_join(workers[i].thread, NULL);
        if (workers[i].error)
            die(side->ops->name, workers[i].error);
        if (i == 0 || workers[i].started < started)
            started = workers[i].started;
        if (workers[i].ended > ended)
            ended = workers[i].ended;
    }
    pthread_barrier_destroy(&barrier);
    return side->threads == 1 && !side->by_clock ? workers[0].cpu : ended - started;
}

/* Fills seconds[] of every side.  One round before the first is not counted. */
static void take_turns(struct side *sides, unsigned count, struct slice slice)
{
    for (unsigned round = 0; round <= settings.rounds; round++) {
        slice.seed = 0x9E3779B97F4A7C15u + round * 1000003u;
        for (unsigned i = 0; i < count; i++) {
            struct side *side = &sides[(i + round) % count];
            double seconds = run_slice(side, &slice);
            if (round)
                side->seconds[round - 1] = seconds;
        }
    }
}

static void open_store(struct side *side, unsigned i, const char *path, size_t piece_bytes,
                       uint64_t log_bytes)
{
    struct nv_store_options options = {.path = path,
                                       .bytes = settings.file_bytes,
                                       .log_bytes = log_bytes,
                                       .piece_bytes = piece_bytes,
                                       .locks = settings.locks};
    int error = side->ops->open(&options, &side->store[i]);
    if (error)
        die(path, error);
}

/* Touch every page by way of the store, so that no fault is left for the measured part. */
static void warm_up(const struct side *side, size_t piece_bytes)
{
    uint8_t piece[PIECE_BYTES_MAX] = {1};
    for (uint64_t offset = 0; offset < settings.file_bytes; offset += 4096) {
        vary(piece, piece_bytes, offset);
        int error = side->ops->write(side->store[0], piece, offset);
        if (error)
            die(side->ops->name, error);
    }
}

static void close_side(struct side *side)
{
    for (unsigned i = 0; i < side->threads; i++)
        side->ops->close(side->store[i]);
}

/* Median over the rounds of a.seconds / b.seconds: neighbours in time are compared. */
static double ratio(const struct side *a, const struct side *b)
{
    double ratios[ROUNDS_MAX];
    for (unsigned i = 0; i < settings.rounds; i++)
        ratios[i] = a->seconds[i] / b->seconds[i];
    return nv_median(ratios, settings.rounds);
}

static void put_result(json_t *object)
{
    if (!object || json_array_append_new(results, object) != 0)
        die("building the JSON", -ENOMEM);
}

static void report(const char *name, double ours, double theirs, double value, const char *sign,
                   double target)
{
    bool met = *sign == '<' ? value <= target : value >= target;
    printf("%-44s %9.3f %9.3f %8.2f  %s %.2f%s\n", name, ours, theirs, value, sign, target,
           met ? "" : "  (missed)");
    fflush(stdout);
    put_result(json_pack("{s:s, s:f, s:f, s:f, s:s, s:f, s:b}", "name", name, "nvmmio_us", ours,
                         "other_us", theirs, "ratio", value, "sign", sign, "target", target, "met",
                         (int)met));
}

static double microseconds(const struct side *side, uint32_t operations)
{
    return nv_median(side->seconds, settings.rounds) * 1e6 / operations;
}

static bool wanted(const char *name)
{
    return !settings.only || strstr(name, settings.only);
}

/* nvmmio against bare persistent stores, each thread with a file of its own. */
static void compare_with_plain(const char *name, unsigned threads, size_t piece_bytes,
                               uint32_t reads_percent, double target)
{
    if (!wanted(name))
        return;
    struct side sides[2] = {{.ops = &nv_store_engine, .threads = threads},
                            {.ops = &nv_store_plain, .threads = threads}};
    for (unsigned s = 0; s < 2; s++) {
        for (unsigned i = 0; i < threads; i++)
            open_store(&sides[s], i, paths[i], piece_bytes, 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        struct side one = {.ops = &nv_store_engine, .store = {sides[0].store[i]}, .threads = 1};
        warm_up(&one, piece_bytes);
    }
    take_turns(sides, 2,
               (struct slice){.operations = settings.operations,
                              .reads_percent = reads_percent,
                              .piece_bytes = piece_bytes});
    report(name, microseconds(&sides[0], settings.operations),
           microseconds(&sides[1], settings.operations), ratio(&sides[0], &sides[1]), "<=", target);
    close_side(&sides[0]);
    close_side(&sides[1]);
}

/* Two threads on one file: operations in a second of both together, against those of one. */
static void compare_shared(void)
{
    static const char name[] = "overwrite 4 KiB, two threads on one file *";
    if (!wanted(name))
        return;
    struct side two = {.ops = &nv_store_engine, .threads = 2};
    for (unsigned i = 0; i < 2; i++)
        open_store(&two, i, paths[0], 4096, 0);
    struct side sides[2] = {two, {.ops = &nv_store_engine, .threads = 1, .by_clock = true}};
    sides[1].store[0] = two.store[0];
    warm_up(&sides[1], 4096);
    take_turns(sides, 2, (struct slice){.operations = settings.operations, .piece_bytes = 4096});
    double ours = microseconds(&sides[0], 2 * settings.operations);
    report(name, ours, microseconds(&sides[1], settings.operations),
           2 / ratio(&sides[0], &sides[1]), ">=", 0.8);
    close_side(&two);
}

static void compare_logs(size_t piece_bytes)
{
    if (!wanted("read:write"))
        return;
    struct side sides[3] = {{.ops = &nv_store_engine, .threads = 1},
                            {.ops = &nv_store_undo, .threads = 1},
                            {.ops = &nv_store_redo, .threads = 1}};
    for (unsigned s = 0; s < 3; s++) {
        open_store(&sides[s], 0, paths[0], piece_bytes, MIX_LOG_BYTES);
        warm_up(&sides[s], piece_bytes);
    }
    /* The log turns over at least four times in a slice in which one operation of ten writes. */
    uint32_t least = (uint32_t)(4 * MIX_LOG_BYTES / piece_bytes * 10);
    uint32_t operations = settings.operations > least ? settings.operations : least + least / 10;
    printf("\nread:write, %zu bytes, %u operations a slice, log of %u MiB\n"
           "%-12s %12s %12s %12s %10s %10s\n",
           piece_bytes, operations, (unsigned)(MIX_LOG_BYTES >> 20), "", "nvmmio us", "undo us",
           "redo us", "to undo", "to redo");
    double worst = 1e9;
    for (uint32_t step = 0; step < MIX_STEPS; step++) {
        uint32_t reads = 100 - step * 10;
        take_turns(sides, 3,
                   (struct slice){.operations = operations,
                                  .reads_percent = reads,
                                  .piece_bytes = piece_bytes});
        /* How many times as fast: theirs over ours. */
        double undo = 1 / ratio(&sides[0], &sides[1]), redo = 1 / ratio(&sides[0], &sides[2]);
        worst = undo < worst ? undo : worst;
        worst = redo < worst ? redo : worst;
        printf("%3u:%-8u %12.3f %12.3f %12.3f %10.2f %10.2f\n", reads, 100 - reads,
               microseconds(&sides[0], operations), microseconds(&sides[1], operations),
               microseconds(&sides[2], operations), undo, redo);
        fflush(stdout);
        put_result(json_pack(
            "{s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "name", "mix", "piece_bytes",
            (int)piece_bytes, "reads_percent", (int)reads, "nvmmio_us",
            microseconds(&sides[0], operations), "undo_us", microseconds(&sides[1], operations),
            "redo_us", microseconds(&sides[2], operations), "to_undo", undo, "to_redo", redo));
    }
    printf("the least of them: %.2f, target >= 0.95%s\n", worst, worst >= 0.95 ? "" : "  (missed)");
    for (unsigned s = 0; s < 3; s++)
        close_side(&sides[s]);
}

static const char *const suffixes[] = {"", "-undo", "-redo", "-nvmmio", "-nvmmio-shm"};

static void remove_files(void)
{
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        for (size_t s = 0; s < sizeof(suffixes) / sizeof(suffixes[0]); s++) {
            char *path;
            if (asprintf(&path, "%s%s", paths[i], suffixes[s]) < 0)
                return;
            unlink(path);
            free(path);
        }
    }
}

static void make_files(void)
{
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        struct nv_store_map map;
        snprintf(paths[i], sizeof(paths[i]), "%s/core-bench-%d-%u", settings.directory,
                 (int)getpid(), i);
        if (i == 0)
            atexit(remove_files);
        int error = nv_store_map_open(&map, paths[i], settings.file_bytes);
        if (error)
            die(paths[i], error);
        nv_store_map_close(&map);
    }
}

enum {
    KEY_JSON = 0x100,
    KEY_FULL,
    KEY_ROUNDS,
    KEY_OPERATIONS,
    KEY_FILE_MIB,
    KEY_NO_LOCKS,
    KEY_ONLY
};

static const struct argp_option options[] = {
    {"json", KEY_JSON, "FILE", 0, "Write the figures to FILE too", 0},
    {"full", KEY_FULL, NULL, 0, "More and longer slices, and the logs with 1 KiB too", 0},
    {"rounds", KEY_ROUNDS, "COUNT", 0, "Slices of each side, 5 to 64 (default 21)", 0},
    {"operations", KEY_OPERATIONS, "COUNT", 0, "Operations in a slice (default 20000)", 0},
    {"only", KEY_ONLY, "TEXT", 0, "Only what has TEXT in its name", 0},
    {"file-mib", KEY_FILE_MIB, "MIB", 0, "Size of the file (default 1024)", 0},
    {"no-locks", KEY_NO_LOCKS, NULL, 0, "Undo and redo log without their reader-writer lock", 0},
    {0},
};

static unsigned number(const char *text, unsigned low, unsigned high, struct argp_state *state)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value < low || value > high)
        argp_error(state, "not a number from %u to %u: %s", low, high, text);
    return (unsigned)value;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    switch (key) {
    case KEY_JSON:
        settings.json_path = text;
        return 0;
    case KEY_FULL:
        settings.full = true;
        settings.rounds = 63;
        return 0;
    case KEY_ONLY:
        settings.only = text;
        return 0;
    case KEY_ROUNDS:
        settings.rounds = number(text, 5, ROUNDS_MAX, state);
        return 0;
    case KEY_OPERATIONS:
        settings.operations = number(text, 100, 100000000, state);
        return 0;
    case KEY_FILE_MIB:
        settings.file_bytes = (uint64_t)number(text, 8, 1 << 20, state) << 20;
        return 0;
    case KEY_NO_LOCKS:
        settings.locks = false;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num)
            argp_error(state, "too many arguments: %s", text);
        settings.directory = text;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "DIR is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options, .parser = parse, .args_doc = "DIR", .doc = "Measure the engine in DIR"};
    argp_err_exit_status = 2;
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0)
        return 2;
    results = json_array();
    make_files();
    printf("%-44s %9s %9s %8s  %s\n", "microseconds an operation, medians", "nvmmio", "other",
           "ratio", "target");
    compare_with_plain("overwrite 4 KiB / pmem_memcpy_persist", 1, 4096, 0, 2.3);
    compare_with_plain("overwrite 1 KiB / pmem_memcpy_persist", 1, 1024, 0, 2.5);
    compare_with_plain("overwrite 4 KiB, two threads, two files", 2, 4096, 0, 2.7);
    compare_shared();
    compare_with_plain("read 4 KiB / memcpy from a mapping", 1, 4096, 100, 1.2);
    printf("* other: one thread on the file; ratio: both together in a second, to one alone\n");
    compare_logs(4096);
    if (settings.full)
        compare_logs(1024);
    if (settings.json_path && json_dump_file(results, settings.json_path, JSON_INDENT(1)) != 0)
        die(settings.json_path, -errno);
    json_decref(results);
    return 0;
}
