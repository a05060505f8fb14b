/*
 * Streams on a machine that loses its power: what was synced is there, and what
 * is there beyond it is the beginning of what was appended.  Random programs on
 * one stream, every event of their traces, images of each by choice or chance,
 * and the same again inside the recovery from some of them.
 *
 * What a file system may do to a stream whose size is exact is the file system's:
 * behind what was synced there may be zeros, for a size that came before its data.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/process.h"
#include "core/stream.h"
#include "tests/sim/walk.h"

#define PATH "/d/wal"
#define PROGRAMS 24u
#define OPERATIONS 14u
#define SAMPLES 6u
#define NESTED_ONE_IN 8u
#define NOTES_MAX 4096u
#define CONTENT_BYTES ((size_t)24 << 20)

/* What a power loss may leave: the first `low` bytes at least, `high` at most.  Where the stream
 * was cut since its last sync, only the first `low` bytes are looked at. */
struct note {
    uint64_t low, high;
    bool cut;
    const uint8_t *content; /* of the stream as it would be without any crash */
};

static struct note notes[NOTES_MAX];
static uint32_t note_count;
/* A cut begins another one: what notes before it speak of stays. */
static uint8_t *contents[OPERATIONS + 1];
static uint32_t content_count;
static uint8_t *content;
static struct sim *sim;
static struct trace traces[2];
static enum nvmmio_size size;
static struct {
    uint64_t images, exact, tails, nested;
} seen;
static uint64_t seed_now;

static void allow(uint64_t low, uint64_t high, bool cut)
{
    assert_true(note_count < NOTES_MAX);
    notes[note_count] = (struct note){.low = low, .high = high, .cut = cut, .content = content};
    sim_record_note(sim, note_count++);
}

static const struct note *now(void)
{
    return &notes[note_count - 1];
}

static void new_content(uint64_t bytes)
{
    uint8_t *made = calloc(1, CONTENT_BYTES);
    assert_true(made && content_count < sizeof(contents) / sizeof(contents[0]));
    if (bytes)
        memcpy(made, content, bytes);
    contents[content_count++] = content = made;
}

static void free_contents(void)
{
    while (content_count)
        free(contents[--content_count]);
}

static struct nvmmio_stream *open_stream(struct nv_process *process, uint32_t flags)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    struct nvmmio_stream *stream = NULL;
    options.flags = flags;
    options.size = size;
    const int error = nv_process_stream_open(process, PATH, &options, &stream);
    if (error)
        fail_msg("open: %d (%s), seed %llu", error, nvmmio_last_error(),
                 (unsigned long long)seed_now);
    return stream;
}

/* ---- a program ----------------------------------------------------------------------------- */

static struct nv_process *spawn(void)
{
    struct nv_process *process = NULL;
    assert_int_equal(nv_process_create(&sim_spawn(sim)->os, &process), 0);
    return process;
}

static void append(struct nvmmio_stream *stream, uint64_t *random)
{
    static const size_t most[] = {10, 100, 1000, 5000, 40000, (size_t)3 << 20};
    const bool instant = size == NVMMIO_SIZE_AHEAD && sim->semantics == SIM_DAX;
    const uint64_t at = (uint64_t)nvmmio_stream_size(stream);
    const size_t bytes = 1 + (size_t)(sim_random(random) % most[sim_random(random) % 6]);
    const bool zeros = sim_random(random) % 8 == 0;
    if (at + bytes > CONTENT_BYTES)
        return;
    for (size_t i = 0; i < bytes; i++)
        content[at + i] = zeros ? 0 : (uint8_t)(1 + sim_random(random) % 255);
    allow(now()->low, nv_max(now()->high, at + bytes), now()->cut);
    assert_int_equal(nvmmio_stream_append(stream, content + at, bytes), bytes);
    /* Through a map, an append is durable as it returns. */
    if (instant && !now()->cut)
        allow(at + bytes, at + bytes, false);
}

static void sync_stream(struct nvmmio_stream *stream)
{
    const uint64_t bytes = (uint64_t)nvmmio_stream_size(stream);
    assert_int_equal(nvmmio_stream_sync(stream), 0);
    allow(bytes, bytes, false);
}

static void cut(struct nvmmio_stream *stream, uint64_t *random)
{
    const uint64_t bytes = sim_random(random) % ((uint64_t)nvmmio_stream_size(stream) + 1);
    allow(nv_min(now()->low, bytes), now()->high, true);
    assert_int_equal(nvmmio_stream_truncate(stream, bytes), 0);
    new_content(bytes);
    if (sim_random(random) % 4)
        sync_stream(stream);
}

static void run_program(struct nv_process *process, uint64_t *random)
{
    struct nvmmio_stream *stream = open_stream(process, 0);
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        switch (sim_random(random) % 10) {
        case 0:
            assert_int_equal(nvmmio_stream_close(stream), 0);
            stream = open_stream(process, 0);
            break;
        case 1:
            cut(stream, random);
            break;
        case 2:
            assert_int_equal(
                nvmmio_stream_allocate(stream, sim_random(random) % ((uint64_t)6 << 20)), 0);
            break;
        case 3:
        case 4:
        case 5:
            sync_stream(stream);
            break;
        default:
            append(stream, random);
        }
    }
    if (sim_random(random) % 2)
        assert_int_equal(nvmmio_stream_close(stream), 0);
    else
        free(stream); /* dies with it open */
}

/* ---- after a power loss -------------------------------------------------------------------- */

static void wrong(const char *what, uint64_t got, const struct note *note)
{
    fail_msg("%s: %llu bytes, of %llu to %llu; %s, seed %llu", what, (unsigned long long)got,
             (unsigned long long)note->low, (unsigned long long)note->high,
             size == NVMMIO_SIZE_AHEAD ? "ahead" : "exact", (unsigned long long)seed_now);
}

static bool all_zeros(const uint8_t *data, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (data[i])
            return false;
    return true;
}

/* Recover, look, and go on; returns how much of what was appended is there. */
static uint64_t check_image(const struct note *note, struct trace *trace)
{
    static uint8_t got[CONTENT_BYTES + 1];
    struct nv_process *process = spawn();
    sim->trace = trace;
    sim->note = 0;
    struct nvmmio_stream *stream = open_stream(process, 0);
    sim->trace = NULL;
    const int64_t bytes = nvmmio_stream_size(stream);
    assert_true(bytes >= 0 && (size_t)bytes < sizeof(got));
    assert_int_equal(nvmmio_stream_pread(stream, got, sizeof(got), 0), bytes);
    if ((uint64_t)bytes < note->low || memcmp(got, note->content, note->low) != 0)
        wrong("synced bytes are lost", (uint64_t)bytes, note);
    uint64_t same = note->low;
    while (same < (uint64_t)bytes && same < note->high && got[same] == note->content[same])
        same++;
    if (!note->cut && same < (uint64_t)bytes) {
        seen.tails++;
        /* A size that came before its data: zeros.  Of a stream that was ahead only as it began to
         * be, when nothing behind `low` is at stake. */
        if (size == NVMMIO_SIZE_AHEAD &&
            (bytes % (int64_t)NV_BLOCK_BYTES || !all_zeros(got + same, (uint64_t)bytes - same)))
            wrong("bytes that were not appended", (uint64_t)bytes, note);
    } else {
        seen.exact++;
    }
    assert_int_equal(nvmmio_stream_append(stream, "more", 4), 4);
    assert_int_equal(nvmmio_stream_sync(stream), 0);
    assert_int_equal(nvmmio_stream_close(stream), 0);
    nv_process_destroy(process);
    sim_cut(sim);
    assert_int_equal(sim->files[sim_find(sim, PATH)].bytes, bytes + 4);
    seen.images++;
    return same;
}

static void walk_trace(struct trace *trace, const struct note *only, uint64_t *random);

static void try_images(struct walk *walk, const struct note *note, bool nested, uint64_t *random)
{
    for (uint32_t i = 0; i < SAMPLES; i++) {
        const sim_mark_t mark = sim_mark(sim);
        const uint64_t choice = sim_random(random) & ~WALK_SUBSET;
        (void)walk_image(walk, choice, false);
        const bool deeper = !nested && sim_random(random) % NESTED_ONE_IN == 0;
        if (deeper)
            trace_clear(&traces[1]);
        const uint64_t bytes = check_image(note, deeper ? &traces[1] : NULL);
        sim_undo_to(sim, mark);
        if (!deeper)
            continue;
        /* What a recovery has shown once, the next one shows too. */
        const struct note again = {
            .low = nv_min(bytes, note->high), .high = note->high, .content = note->content};
        (void)walk_image(walk, choice, false);
        walk_trace(&traces[1], note->cut ? note : &again, random);
        seen.nested++;
        sim_undo_to(sim, mark);
    }
}

static void walk_trace(struct trace *trace, const struct note *only, uint64_t *random)
{
    struct walk walk;
    walk_begin(&walk, sim, trace);
    for (enum walk_step step; (step = walk_next(&walk)) != WALK_END;) {
        if (step == WALK_SAME)
            continue;
        const struct note *note = only ? only : &notes[trace->events[walk.next - 1].note];
        try_images(&walk, note, only != NULL, random);
    }
    walk_end(&walk);
}

static void run_all(enum sim_semantics semantics)
{
    sim = sim_create(semantics);
    trace_init(&traces[0]);
    trace_init(&traces[1]);
    memset(&seen, 0, sizeof(seen));
    for (uint64_t seed = 1; seed <= PROGRAMS; seed++) {
        uint64_t random = seed_now = seed;
        sim_reset(sim, seed);
        trace_clear(&traces[0]);
        note_count = 0;
        struct nv_process *process = spawn();
        assert_int_equal(nvmmio_stream_close(open_stream(process, NVMMIO_CREATE)), 0);
        const sim_mark_t mark = sim_mark(sim);
        sim->trace = &traces[0];
        new_content(0);
        allow(0, 0, false);
        run_program(process, &random);
        sim->trace = NULL;
        sim_cut(sim);
        nv_process_destroy(process);
        sim_undo_to(sim, mark);
        walk_trace(&traces[0], NULL, &random);
        free_contents();
    }
    printf("%llu images, %llu exact, %llu with a tail of zeros or torn, %llu recoveries looked "
           "into\n",
           (unsigned long long)seen.images, (unsigned long long)seen.exact,
           (unsigned long long)seen.tails, (unsigned long long)seen.nested);
    assert_true(seen.exact > 1000 && seen.nested > 50);
    trace_free(&traces[0]);
    trace_free(&traces[1]);
    sim_destroy(sim);
}

static void ahead_on_dax(void **state)
{
    (void)state;
    size = NVMMIO_SIZE_AHEAD;
    run_all(SIM_DAX);
}

static void ahead_on_a_disk(void **state)
{
    (void)state;
    size = NVMMIO_SIZE_AHEAD;
    run_all(SIM_PAGE);
}

static void exact_on_a_disk(void **state)
{
    (void)state;
    size = NVMMIO_SIZE_EXACT;
    run_all(SIM_PAGE);
}

/* What was written exact, and never synced, is durable before a size block speaks of it. */
static void what_was_exact_becomes_ahead(void **state)
{
    static uint8_t written[12000], got[sizeof written + 1000];
    uint64_t random = 1;
    uint32_t looked = 0;
    struct walk walk;
    (void)state;
    for (size_t i = 0; i < sizeof written; i++)
        written[i] = (uint8_t)(1 + sim_random(&random) % 255);
    sim = sim_create(SIM_PAGE);
    trace_init(&traces[0]);
    struct nv_process *process = spawn();
    size = NVMMIO_SIZE_EXACT;
    struct nvmmio_stream *stream = open_stream(process, NVMMIO_CREATE);
    assert_int_equal(nvmmio_stream_close(stream), 0);
    const sim_mark_t mark = sim_mark(sim);
    sim->trace = &traces[0];
    for (uint32_t half = 0; half < 2; half++, size = NVMMIO_SIZE_AHEAD) {
        stream = open_stream(process, 0);
        const size_t bytes = sizeof written / 2;
        assert_int_equal(nvmmio_stream_append(stream, written + half * bytes, bytes), bytes);
        assert_int_equal(nvmmio_stream_close(stream), 0);
    }
    sim->trace = NULL;
    sim_undo_to(sim, mark);
    walk_begin(&walk, sim, &traces[0]);
    for (enum walk_step step; (step = walk_next(&walk)) != WALK_END;)
        for (uint32_t i = 0; i < 64 && step == WALK_MORE; i++) {
            const sim_mark_t before = sim_mark(sim);
            (void)walk_image(&walk, sim_random(&random) & ~WALK_SUBSET, false);
            const int64_t raw = (int64_t)sim->files[sim_find(sim, PATH)].bytes;
            struct nv_process *next = spawn();
            stream = open_stream(next, 0);
            const int64_t bytes = nvmmio_stream_size(stream);
            if (bytes < raw) { /* it was ahead */
                looked++;
                assert_int_equal(nvmmio_stream_pread(stream, got, sizeof got, 0), bytes);
                assert_memory_equal(got, written, (size_t)bytes);
            }
            assert_int_equal(nvmmio_stream_close(stream), 0);
            nv_process_destroy(next);
            sim_cut(sim);
            sim_undo_to(sim, before);
        }
    walk_end(&walk);
    nv_process_destroy(process);
    trace_free(&traces[0]);
    sim_destroy(sim);
    assert_true(looked > 50);
}

/* What recovery has cut stays so, for programs that know nothing of a size block. */
static void a_recovered_file_stays_plain(void **state)
{
    (void)state;
    size = NVMMIO_SIZE_AHEAD;
    for (enum sim_semantics semantics = SIM_DAX; semantics <= SIM_PAGE; semantics++) {
        uint64_t random = 1;
        struct walk walk;
        sim = sim_create(semantics);
        trace_init(&traces[0]);
        struct nv_process *process = spawn();
        struct nvmmio_stream *stream = open_stream(process, NVMMIO_CREATE);
        assert_int_equal(nvmmio_stream_append(stream, "some", 4), 4);
        free(stream); /* dies with it open */
        sim_cut(sim);
        nv_process_destroy(process);
        process = spawn();
        const sim_mark_t mark = sim_mark(sim);
        sim->trace = &traces[0];
        assert_int_equal(nv_stream_recover(nv_process_streams(process), PATH), 1);
        sim->trace = NULL;
        sim_undo_to(sim, mark);
        assert_true(sim->files[sim_find(sim, PATH)].bytes > 4);
        walk_begin(&walk, sim, &traces[0]);
        while (walk_next(&walk) != WALK_END)
            ;
        for (uint32_t i = 0; i < 64; i++) {
            const sim_mark_t before = sim_mark(sim);
            (void)walk_image(&walk, sim_random(&random) & ~WALK_SUBSET, false);
            assert_int_equal(sim->files[sim_find(sim, PATH)].bytes, 4);
            sim_undo_to(sim, before);
        }
        walk_end(&walk);
        nv_process_destroy(process);
        trace_free(&traces[0]);
        sim_destroy(sim);
    }
}

/* ---- a cut beside a sync ------------------------------------------------------------------- */

static struct {
    struct nv_os os; /* as it is without what stands here */
    struct nvmmio_stream *stream;
    bool cuts; /* in the next sync, when the medium has done its part */
    uint64_t stored;
} beside;

static int sync_and_cut(struct nv_file *file)
{
    const int error = beside.os.sync_data(file);
    if (beside.cuts) {
        beside.cuts = false;
        assert_int_equal(nvmmio_stream_truncate(beside.stream, 0), 0);
        assert_int_equal(nvmmio_stream_append(beside.stream, "other bytes", 11), 11);
    }
    return error;
}

static int count_stored(struct nv_file *file, const struct iovec *parts, int count, uint64_t offset)
{
    for (int i = 0; i < count; i++)
        beside.stored += parts[i].iov_len;
    return beside.os.pwritev(file, parts, count, offset);
}

/* A sync says nothing of what was appended when another thread had cut the stream: should the next
 * one fail, the close has all of it to write again. */
static void a_cut_beside_a_sync(void **state)
{
    struct nv_process *process = NULL;
    (void)state;
    sim = sim_create(SIM_PAGE);
    size = NVMMIO_SIZE_EXACT;
    struct nv_os *os = &sim_spawn(sim)->os;
    beside.os = *os;
    os->sync_data = sync_and_cut;
    os->pwritev = count_stored;
    assert_int_equal(nv_process_create(os, &process), 0);
    struct nvmmio_stream *stream = beside.stream = open_stream(process, NVMMIO_CREATE);
    assert_int_equal(nvmmio_stream_append(stream, "some bytes", 10), 10);
    beside.cuts = true;
    assert_int_equal(nvmmio_stream_sync(stream), 0);
    sim->fault = (struct sim_fault){.calls = 1u << SIM_CALL_SYNC_DATA, .after = 1, .error = -EIO};
    assert_int_equal(nvmmio_stream_sync(stream), -EIO);
    beside.stored = 0;
    (void)nvmmio_stream_close(stream);
    assert_int_equal(beside.stored, 11);
    nv_process_destroy(process);
    sim_destroy(sim);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ahead_on_dax),
        cmocka_unit_test(ahead_on_a_disk),
        cmocka_unit_test(exact_on_a_disk),
        cmocka_unit_test(what_was_exact_becomes_ahead),
        cmocka_unit_test(a_recovered_file_stays_plain),
        cmocka_unit_test(a_cut_beside_a_sync),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
