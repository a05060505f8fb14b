/*
 * stream_bench: append and sync, through the engine's streams, by write(2) and
 * fdatasync(2), and, on memory, by a bare pmem_memcpy_persist.  Each slice
 * writes a new file; the sides take turns, and what counts is the median of the
 * slices.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "benchmarks/measure.h"
#include "core/nvmmio.h"

#define ROUNDS_MAX 64u
#define PIECE_BYTES_MAX 4096u
#define MIB ((uint64_t)1 << 20)

static struct settings {
    const char *directory;
    const char *json_path;
    const char *only; /* NULL: all */
    uint64_t slice_bytes;
    uint32_t operations; /* of one slice, at most; 0: as the bytes allow */
    unsigned rounds;
    bool sync;
    bool warm;
} settings = {.slice_bytes = 32 * MIB, .rounds = 11, .sync = true};

/* One way to append; `state` is the open file. */
struct side {
    const char *name;
    bool memory_only;
    void *(*open)(const char *path, uint64_t bytes);
    void (*append)(void *state, const void *data, size_t bytes);
    void (*close)(void *state);
    double microseconds[ROUNDS_MAX];
};

static void die(const char *what, int error)
{
    fprintf(stderr, "stream_bench: %s: %s\n", what, nvmmio_strerror(error));
    exit(1);
}

/* ---- the engine ---------------------------------------------------------------------------- */

static void *stream_open(const char *path, uint64_t bytes, enum nvmmio_size size)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    struct nvmmio_stream *stream = NULL;
    options.flags = NVMMIO_CREATE | (settings.warm ? NVMMIO_STREAM_REUSE : NVMMIO_STREAM_EMPTY);
    options.size = size;
    int error = nvmmio_stream_open(path, &options, &stream);
    if (!error)
        error = nvmmio_stream_allocate(stream, bytes);
    if (error)
        die(path, error);
    return stream;
}

static void *auto_open(const char *path, uint64_t bytes)
{
    return stream_open(path, bytes, NVMMIO_SIZE_AUTO);
}

static void *exact_open(const char *path, uint64_t bytes)
{
    return stream_open(path, bytes, NVMMIO_SIZE_EXACT);
}

static void *ahead_open(const char *path, uint64_t bytes)
{
    return stream_open(path, bytes, NVMMIO_SIZE_AHEAD);
}

static void stream_append(void *state, const void *data, size_t bytes)
{
    ssize_t done = nvmmio_stream_append(state, data, bytes);
    int error = done < 0 ? (int)done : 0;
    if (!error && settings.sync)
        error = nvmmio_stream_sync(state);
    if (error)
        die("append", error);
}

static void stream_close(void *state)
{
    const int error = nvmmio_stream_close(state);
    if (error)
        die("close", error);
}

/* ---- the kernel ---------------------------------------------------------------------------- */

struct descriptor {
    int fd;
};

static void *plain_open(const char *path, uint64_t bytes)
{
    struct descriptor *plain = malloc(sizeof(*plain));
    if (!plain)
        die(path, -ENOMEM);
    plain->fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC | (settings.warm ? 0 : O_TRUNC), 0644);
    /* As RocksDB does for its log. */
    if (plain->fd < 0 || fallocate(plain->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0)
        die(path, -errno);
    return plain;
}

static void plain_append(void *state, const void *data, size_t bytes)
{
    const struct descriptor *plain = state;
    if (write(plain->fd, data, bytes) != (ssize_t)bytes ||
        (settings.sync && fdatasync(plain->fd) != 0))
        die("write", -errno);
}

static void plain_close(void *state)
{
    const struct descriptor *plain = state;
    close(plain->fd);
    free(state);
}

/* ---- bare memory --------------------------------------------------------------------------- */

struct bare {
    uint8_t *base;
    size_t bytes, at;
};

static void *bare_open(const char *path, uint64_t bytes)
{
    struct bare *bare = malloc(sizeof(*bare));
    if (!bare)
        die(path, -ENOMEM);
    bare->base = pmem_map_file(path, bytes, PMEM_FILE_CREATE, 0644, &bare->bytes, NULL);
    if (!bare->base)
        die(path, -errno);
    bare->at = 0;
    return bare;
}

static void bare_append(void *state, const void *data, size_t bytes)
{
    struct bare *bare = state;
    pmem_memcpy_persist(bare->base + bare->at, data, bytes);
    bare->at += bytes;
}

static void bare_close(void *state)
{
    struct bare *bare = state;
    pmem_unmap(bare->base, bare->bytes);
    free(bare);
}

/* ---- slices -------------------------------------------------------------------------------- */

static struct side sides[] = {
    {"nvmmio", false, auto_open, stream_append, stream_close, {0}},
    {"nvmmio, exact", false, exact_open, stream_append, stream_close, {0}},
    {"nvmmio, ahead", false, ahead_open, stream_append, stream_close, {0}},
    {"write, fdatasync", false, plain_open, plain_append, plain_close, {0}},
    {"pmem_memcpy_persist", true, bare_open, bare_append, bare_close, {0}},
};
#define SIDES (sizeof(sides) / sizeof(sides[0]))

static bool in_memory;

static double run_slice(const struct side *side, size_t piece_bytes)
{
    uint8_t piece[PIECE_BYTES_MAX];
    char path[4096];
    uint64_t operations = settings.slice_bytes / piece_bytes;
    if (settings.operations && operations > settings.operations)
        operations = settings.operations;
    memset(piece, 'x', sizeof(piece));
    snprintf(path, sizeof(path), "%s/%s", settings.directory, side->name);
    if (!settings.warm)
        (void)unlink(path);
    void *state = side->open(path, operations * piece_bytes);
    const double began = in_memory ? nv_cpu_seconds() : nv_wall_seconds();
    for (uint64_t i = 0; i < operations; i++) {
        memcpy(piece, &i, sizeof(i));
        side->append(state, piece, piece_bytes);
    }
    const double seconds = (in_memory ? nv_cpu_seconds() : nv_wall_seconds()) - began;
    side->close(state);
    return seconds / (double)operations * 1e6;
}

static void measure(json_t *results, size_t piece_bytes)
{
    for (unsigned round = 0; round <= settings.rounds; round++)
        for (unsigned i = 0; i < SIDES; i++) {
            struct side *side = &sides[(i + round) % SIDES];
            if ((side->memory_only && !in_memory) ||
                (settings.only && strcmp(settings.only, side->name) != 0))
                continue;
            const double took = run_slice(side, piece_bytes);
            if (round) /* the first is not counted */
                side->microseconds[round - 1] = took;
        }
    for (unsigned i = 0; i < SIDES; i++) {
        if ((sides[i].memory_only && !in_memory) ||
            (settings.only && strcmp(settings.only, sides[i].name) != 0))
            continue;
        const double median = nv_median(sides[i].microseconds, settings.rounds);
        printf("%6zu bytes  %-22s %9.3f\n", piece_bytes, sides[i].name, median);
        json_array_append_new(results, json_pack("{s:s, s:I, s:b, s:f}", "side", sides[i].name,
                                                 "bytes", (json_int_t)piece_bytes, "sync",
                                                 settings.sync, "microseconds", median));
    }
    for (unsigned i = 0; i < SIDES; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", settings.directory, sides[i].name);
        (void)unlink(path);
    }
}

/* ---- arguments ----------------------------------------------------------------------------- */

enum { KEY_ROUNDS = 256, KEY_OPERATIONS, KEY_ONLY, KEY_JSON, KEY_NO_SYNC, KEY_WARM };

static const struct argp_option options[] = {
    {"rounds", KEY_ROUNDS, "N", 0, "slices of each side (default 11)", 0},
    {"operations", KEY_OPERATIONS, "N", 0, "appends of a slice, at most", 0},
    {"only", KEY_ONLY, "SIDE", 0, "this side alone", 0},
    {"json", KEY_JSON, "FILE", 0, "write the figures to FILE", 0},
    {"no-sync", KEY_NO_SYNC, NULL, 0, "append only", 0},
    {"warm", KEY_WARM, NULL, 0, "into a file that was written before", 0},
    {0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    switch (key) {
    case KEY_ROUNDS:
        settings.rounds = (unsigned)strtoul(text, NULL, 10);
        if (!settings.rounds || settings.rounds > ROUNDS_MAX)
            argp_error(state, "rounds: 1 to %u", ROUNDS_MAX);
        return 0;
    case KEY_OPERATIONS:
        settings.operations = (uint32_t)strtoul(text, NULL, 10);
        if (!settings.operations)
            argp_error(state, "operations: 1 at least");
        return 0;
    case KEY_ONLY:
        settings.only = text;
        return 0;
    case KEY_JSON:
        settings.json_path = text;
        return 0;
    case KEY_NO_SYNC:
        settings.sync = false;
        return 0;
    case KEY_WARM:
        settings.warm = true;
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
        .options = options, .parser = parse, .args_doc = "DIR", .doc = "Measure appends in DIR"};
    static const size_t pieces[] = {100, 1024, 4096};
    struct nvmmio_info info;
    argp_err_exit_status = 2;
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0)
        return 2;
    const int error = nvmmio_probe(settings.directory, &info);
    if (error)
        die(settings.directory, error);
    in_memory = info.home_medium != NVMMIO_MEDIUM_PAGE;
    json_t *results = json_array();
    printf("%s (%s), microseconds %s, medians of %u\n", nvmmio_medium_name(info.home_medium),
           info.why, settings.sync ? "an append and sync" : "an append", settings.rounds);
    for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        measure(results, pieces[i]);
    if (settings.json_path && json_dump_file(results, settings.json_path, JSON_INDENT(1)) != 0)
        die(settings.json_path, -errno);
    json_decref(results);
    return 0;
}
