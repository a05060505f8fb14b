/*
 * Records word by word: of each kind of record, and of the header, every 8 bytes
 * by themselves are as they were before it was written, and everything else is
 * there.  That is what a power loss may leave on persistent memory, so recovery
 * has to find the state before; and no other kind of damage does it so exactly.
 * Then records that are whole, and do not continue what is before them, or whose
 * home is another one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/format.h"
#include "core/process.h"
#include "tests/sim/sim.h"

#define HOME "/d/a"
#define LOG "/d/a-nvmmio"
#define SUPER "/d/super"
#define STATES 4u
#define BYTES_MAX 40000u
#define SEGMENT_BYTES ((NVMMIO_LOG_BYTES_MIN - NV_HEADER_BYTES) / 2)

static struct sim *sim;
static struct nv_process *process;
static struct nvmmio *handle;
static struct {
    uint8_t data[BYTES_MAX];
    size_t bytes;
} states[STATES], now;
static uint32_t stage_bytes;
static const struct nvmmio_mark *mark_of_home;

/* ---- a life that ends early ---------------------------------------------------------------- */

static int setup(void **state)
{
    (void)state;
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    sim = sim_create(SIM_DAX);
    assert_int_equal(nv_process_create(&sim_spawn(sim)->os, &process), 0);
    options.flags = NVMMIO_CREATE;
    options.stage_bytes = stage_bytes;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    options.mark = mark_of_home;
    assert_int_equal(nv_open(process, HOME, &options, &handle), 0);
    memset(&now, 0, sizeof now);
    return 0;
}

static int setup_small_stage(void **state)
{
    stage_bytes = 4096;
    const int result = setup(state);
    stage_bytes = 0;
    return result;
}

static int setup_marked(void **state)
{
    static const struct nvmmio_mark mark = {.bytes = 100, .nonce_at = 72, .mask = {[18] = 7}};
    mark_of_home = &mark;
    const int result = setup(state);
    mark_of_home = NULL;
    return result;
}

static int teardown(void **state)
{
    (void)state;
    sim_destroy(sim);
    return 0;
}

static void put(size_t at, size_t bytes, uint64_t seed)
{
    for (size_t i = 0; i < bytes; i++)
        now.data[at + i] = (uint8_t)(sim_random(&seed) | 1);
    now.bytes = nv_max(now.bytes, at + bytes);
    assert_int_equal(nvmmio_pwrite(handle, now.data + at, bytes, at), bytes);
}

/* What the file holds now is one of the states that may be found. */
static void keep(uint32_t as)
{
    states[as] = now;
}

static void commit(uint32_t as)
{
    assert_int_equal(nvmmio_sync(handle), 0);
    keep(as);
}

/* The process ends, and all of the machine. */
static void cut(void)
{
    nv_process_destroy(process);
    sim_cut(sim);
}

/* It ends in `call`, before that comes to its fence. */
static void die_in(int (*call)(void))
{
    jmp_buf death;
    struct sim_process *at = &sim->processes[0];
    at->death = &death;
    at->die_at = 1;
    at->die_at_sync = true;
    if (setjmp(death) == 0) {
        (void)call();
        fail_msg("it came to no fence");
    }
    cut();
}

static void make_super(void)
{
    (void)sim_name(sim, SUPER, sim_file_make(sim, SUPER, 0100600));
}

/* Which state recovery finds; STATES: it refuses. */
static uint32_t recovered(void)
{
    static uint8_t got[BYTES_MAX + 1];
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *again = NULL;
    const sim_mark_t mark = sim_mark(sim);
    uint32_t found = STATES;
    assert_int_equal(nv_process_create(&sim_spawn(sim)->os, &process), 0);
    if (nv_open(process, HOME, &options, &again) == 0) {
        const ssize_t bytes = nvmmio_pread(again, got, sizeof got, 0);
        for (uint32_t i = 0; i < STATES; i++)
            if (found == STATES && bytes == (ssize_t)states[i].bytes &&
                memcmp(got, states[i].data, states[i].bytes) == 0)
                found = i;
        if (found == STATES)
            fail_msg("%zd bytes, which were never there", bytes);
    }
    cut();
    sim_undo_to(sim, mark);
    return found;
}

/* ---- the log ------------------------------------------------------------------------------- */

static uint32_t log_file(void)
{
    const uint32_t file = sim_find(sim, LOG);
    assert_true(file != SIM_NONE);
    return file;
}

static const struct nv_header *newest_header(void)
{
    const struct nv_header *copy = (const void *)sim_bytes(sim, log_file());
    const struct nv_header *other =
        (const void *)(sim_bytes(sim, log_file()) + NV_HEADER_COPY_BYTES);
    if (!nv_header_valid(copy))
        return other;
    return nv_header_valid(other) && other->generation > copy->generation ? other : copy;
}

/* The last record of this kind in the first segments, and where it is. */
static const struct nv_record *find_record(enum nv_record_kind kind, uint64_t *offset)
{
    const struct nv_record *found = NULL;
    const uint8_t *log = sim_bytes(sim, log_file());
    const uint8_t *nonce = newest_header()->nonce;
    for (uint64_t at = NV_HEADER_BYTES; at < sim->files[log_file()].high; at += NV_LINE_BYTES) {
        const struct nv_record *record = (const void *)(log + at);
        if (record->kind != kind || !nv_record_line_valid(record, nonce, at))
            continue;
        found = record;
        *offset = at;
    }
    assert_non_null(found);
    return found;
}

/* Each word of [offset, offset + bytes) that `before` (NULL: zeros) changes is as in it: recovery
 * finds `allowed`. */
static void tear_each_word(uint64_t offset, uint64_t bytes, const uint8_t *before, uint32_t allowed)
{
    static const uint8_t zeros[sizeof(uint64_t)];
    uint32_t torn = 0;
    for (uint64_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        const sim_mark_t mark = sim_mark(sim);
        const uint8_t *word = before ? before + at : zeros;
        if (memcmp(sim_bytes(sim, log_file()) + offset + at, word, sizeof zeros) == 0)
            continue;
        sim_store(sim, log_file(), offset + at, word, sizeof zeros);
        const uint32_t found = recovered();
        sim_undo_to(sim, mark);
        if (found != allowed)
            fail_msg("without the word at %llu: state %u", (unsigned long long)at, found);
        torn++;
    }
    assert_true(torn > 5);
}

static void tear_record(enum nv_record_kind kind, uint32_t whole, uint32_t torn)
{
    uint64_t offset = 0;
    const struct nv_record *record = find_record(kind, &offset);
    assert_int_equal(recovered(), whole);
    tear_each_word(offset, nv_record_bytes(record), NULL, torn);
}

/* ---- kinds of records ---------------------------------------------------------------------- */

static void begin(void)
{
    put(0, 3000, 1);
    commit(0);
    states[1] = states[2] = states[3] = states[0];
}

static void a_commit(void **state)
{
    (void)state;
    begin();
    put(200, 300, 2);
    put(2900, 900, 3);
    keep(1);
    assert_int_equal(nvmmio_seal(handle), 0);
    cut();
    tear_record(NV_RECORD_COMMIT, 1, 0);
}

static void a_spill(void **state)
{
    (void)state;
    begin();
    put(10, 50, 2);
    put(5000, 50, 3);
    put(9000, 50, 4);
    put(13000, 50, 5);
    keep(1);
    assert_int_equal(nvmmio_seal(handle), 0);
    cut();
    tear_record(NV_RECORD_SPILL, 1, 0);
    tear_record(NV_RECORD_COMMIT, 1, 0);
}

static void prepare(void)
{
    begin();
    put(200, 300, 2);
    put(2900, 900, 3);
    keep(1);
    assert_int_equal(nvmmio_prepare(handle, SUPER, NULL), 0);
}

static void a_prepare(void **state)
{
    (void)state;
    prepare();
    cut();
    tear_record(NV_RECORD_PREPARE, 1, 0);
}

static int resolve_commit(void)
{
    return nvmmio_resolve(handle, true);
}

static int resolve_abort(void)
{
    return nvmmio_resolve(handle, false);
}

/* Whatever is left of it, the file that decides says the same. */
static void a_resolve(void **state)
{
    (void)state;
    prepare();
    die_in(resolve_commit);
    tear_record(NV_RECORD_RESOLVE_COMMIT, 1, 1);
}

static void a_resolve_that_aborts(void **state)
{
    (void)state;
    prepare();
    make_super();
    die_in(resolve_abort);
    tear_record(NV_RECORD_RESOLVE_ABORT, 0, 0);
}

/* ---- the header ---------------------------------------------------------------------------- */

static int sync_it(void)
{
    return nvmmio_sync(handle);
}

/* The second commit writes one over the older copy, in the same fence as its record. */
static void a_header(void **state)
{
    uint8_t before[2][sizeof(struct nv_header)];
    (void)state;
    begin();
    put(200, 300, 2);
    keep(1);
    for (uint32_t i = 0; i < 2; i++)
        memcpy(before[i], sim_bytes(sim, log_file()) + (size_t)i * NV_HEADER_COPY_BYTES,
               sizeof before[i]);
    die_in(sync_it);
    const uint64_t offset =
        (uint64_t)((const uint8_t *)newest_header() - sim_bytes(sim, log_file()));
    assert_int_equal(newest_header()->state, NV_HEADER_USED);
    assert_int_equal(recovered(), 1);
    tear_each_word(offset, sizeof(struct nv_header), before[offset / NV_HEADER_COPY_BYTES], 1);
}

/* ---- whole, but not what comes next -------------------------------------------------------- */

/* The last commit is `change`d and goes to another place, 0: the same, whole again: it does not
 * count. */
static void does_not_continue(void (*change)(struct nv_record *record), uint64_t to)
{
    uint8_t bytes[8192];
    uint64_t offset = 0;
    begin();
    put(200, 300, 2);
    keep(1);
    assert_int_equal(nvmmio_seal(handle), 0);
    cut();
    const struct nv_record *found = find_record(NV_RECORD_COMMIT, &offset);
    const size_t count = (size_t)nv_record_bytes(found);
    assert_true(count <= sizeof bytes);
    assert_int_equal(recovered(), 1);
    memcpy(bytes, found, count);
    if (to)
        sim_zero(sim, log_file(), offset, count);
    offset = to ? to : offset;
    struct nv_record *record = (void *)bytes;
    const uint8_t *nonce = newest_header()->nonce;
    const size_t front = (size_t)nv_descriptors_bytes(record->block_count);
    const uint8_t *lines = bytes + sizeof *record + front;
    const struct nv_descriptor *descriptors = (const void *)(bytes + sizeof *record);
    change(record);
    uint64_t hash = nv_record_body_seed(nonce, offset, record, 0);
    hash = nv_hash(bytes + sizeof *record, front, hash);
    for (uint32_t i = 0; i < record->block_count; i++) {
        const size_t part =
            (size_t)__builtin_popcountll(descriptors[i].lines) * (size_t)NV_LINE_BYTES;
        hash = nv_hash(lines, part, hash);
        lines += part;
    }
    record->body_hash = hash;
    nv_record_finish(record, nonce, offset);
    if (sim->files[log_file()].bytes < offset + count)
        sim_resize(sim, log_file(), offset + count);
    sim_store(sim, log_file(), offset, bytes, count);
    assert_true(nv_record_line_valid(record, nonce, offset));
    assert_int_equal(recovered(), 0);
}

static void another_epoch(struct nv_record *record)
{
    record->epoch++;
}

static void a_number_left_out(struct nv_record *record)
{
    record->seq++;
    record->tail_back++;
    record->durable_back++;
}

static void another_epoch_ends_a_segment(void **state)
{
    (void)state;
    does_not_continue(another_epoch, 0);
}

static void a_number_that_is_left_out_ends_a_segment(void **state)
{
    (void)state;
    does_not_continue(a_number_left_out, 0);
}

/* In the other segment; the one that is missing was never durable. */
static void nothing_counts_behind_a_gap(void **state)
{
    (void)state;
    does_not_continue(a_number_left_out, NV_HEADER_BYTES + SEGMENT_BYTES);
}

/* ---- homes that a log is not for ----------------------------------------------------------- */

/* The nonce is not there: somebody has put another file in its place, under the same number. */
static void a_home_that_was_replaced(void **state)
{
    (void)state;
    put(0, 3000, 1);
    commit(0);
    put(200, 300, 2);
    assert_int_equal(nvmmio_seal(handle), 0);
    cut();
    const uint32_t home = sim_find(sim, HOME);
    const uint64_t bytes = sim->files[home].bytes;
    static uint8_t other[BYTES_MAX];
    memset(other, 7, sizeof other);
    sim_store(sim, home, 0, other, 3000);
    assert_int_equal(recovered(), STATES);
    assert_int_equal(sim->files[home].bytes, bytes);
    assert_memory_equal(sim_bytes(sim, home), other, 3000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_spill, setup_small_stage, teardown),
        cmocka_unit_test_setup_teardown(a_prepare, setup, teardown),
        cmocka_unit_test_setup_teardown(a_resolve, setup, teardown),
        cmocka_unit_test_setup_teardown(a_resolve_that_aborts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header, setup, teardown),
        cmocka_unit_test_setup_teardown(another_epoch_ends_a_segment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_number_that_is_left_out_ends_a_segment, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_counts_behind_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(a_home_that_was_replaced, setup_marked, teardown),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
