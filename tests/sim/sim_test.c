/* The simulated machine itself: a proof that rests on it is worth no more than it is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/walk.h"

#define IMAGES 4000u

struct machine {
    struct sim *sim;
    struct trace trace;
    struct sim_process *one, *two;
    sim_mark_t begin;
};

static struct machine machine;

static void start(enum sim_semantics semantics)
{
    machine.sim = sim_create(semantics);
    trace_init(&machine.trace);
    machine.one = sim_spawn(machine.sim);
    machine.two = sim_spawn(machine.sim);
    machine.begin = sim_mark(machine.sim);
    machine.sim->trace = &machine.trace;
}

static int stop(void **state)
{
    (void)state;
    trace_free(&machine.trace);
    sim_destroy(machine.sim);
    return 0;
}

static struct nv_file open_file(struct sim_process *process, const char *path)
{
    struct nv_file file;
    assert_int_equal(
        process->os.open(&process->os, path, NV_OPEN_WRITE | NV_OPEN_CREATE, 0600, &file), 0);
    return file;
}

static void write_at(struct nv_file *file, uint64_t offset, const void *data, size_t bytes)
{
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    assert_int_equal(file->os->pwritev(file, &part, 1, offset), 0);
}

static void fill_file(struct nv_file *file, uint64_t offset, uint8_t value, size_t bytes)
{
    uint8_t data[16384];
    assert_true(bytes <= sizeof data);
    memset(data, value, bytes);
    write_at(file, offset, data, bytes);
}

/* ---- what images there are ----------------------------------------------------------- */

/* Told of every image after the last event; returns a number for it, at most 63. */
typedef unsigned classify(const struct sim *sim);

/* Which classes of images a power loss at the end can leave: bits. */
static uint64_t images(classify *class)
{
    struct walk walk;
    uint64_t classes = 0;
    uint64_t random = 7;
    struct sim *sim = machine.sim;
    sim->trace = NULL;
    sim_cut(sim);
    sim_undo_to(sim, machine.begin);
    walk_begin(&walk, sim, &machine.trace);
    while (walk_next(&walk) != WALK_END)
        ;
    for (uint32_t i = 0; i < IMAGES; i++) {
        sim_mark_t mark = sim_mark(sim);
        (void)walk_image(&walk, sim_random(&random) & ~WALK_SUBSET, false);
        classes |= UINT64_C(1) << class(sim);
        sim_undo_to(sim, mark);
    }
    walk_end(&walk);
    assert_int_equal(sim_mark(sim), machine.begin);
    return classes;
}

static uint8_t byte_of(const struct sim *sim, const char *path, uint64_t offset)
{
    uint32_t file = sim_find(sim, path);
    if (file == SIM_NONE || offset >= sim->files[file].bytes)
        return 0xff;
    return sim_bytes(sim, file)[offset];
}

static unsigned value_of_a(const struct sim *sim)
{
    return byte_of(sim, "/d/a", 0) & 63;
}

/* 0: as written, 1: torn inside a sector, 2: some sectors, 3: as before. */
static unsigned sectors_of_a(const struct sim *sim)
{
    unsigned changed = 0;
    for (uint64_t sector = 0; sector < 8; sector++) {
        uint8_t first = byte_of(sim, "/d/a", sector * 512);
        for (uint64_t i = 1; i < 512; i++)
            if (byte_of(sim, "/d/a", sector * 512 + i) != first)
                return 1;
        changed += first == 2;
    }
    return changed == 8 ? 0 : changed == 0 ? 3 : 2;
}

static unsigned size_of_a(const struct sim *sim)
{
    uint32_t file = sim_find(sim, "/d/a");
    return file == SIM_NONE ? 63 : (unsigned)(sim->files[file].bytes / 100);
}

/* Bit 0: /d/a is there, bit 1: /d/b, bit 2: /l/c. */
static unsigned names(const struct sim *sim)
{
    return (sim_find(sim, "/d/a") != SIM_NONE) | (sim_find(sim, "/d/b") != SIM_NONE) << 1 |
           (sim_find(sim, "/l/c") != SIM_NONE) << 2;
}

#define CLASS(n) (UINT64_C(1) << (n))

/* ---- page ---------------------------------------------------------------------------- */

/* A file of one block, durable, then the trace begins anew. */
static struct nv_file durable_file(const char *path, uint8_t value)
{
    struct nv_file file = open_file(machine.one, path);
    fill_file(&file, 0, value, 4096);
    trace_clear(&machine.trace);
    machine.begin = sim_mark(machine.sim);
    return file;
}

static void page_tears_between_sectors_only(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    fill_file(&a, 0, 2, 4096);
    assert_int_equal(images(sectors_of_a), CLASS(0) | CLASS(2) | CLASS(3));
}

static void page_is_durable_after_sync(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    fill_file(&a, 0, 2, 4096);
    assert_int_equal(a.os->sync_data(&a), 0);
    assert_int_equal(images(sectors_of_a), CLASS(0));
}

static void page_keeps_older_versions_possible(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    fill_file(&a, 0, 2, 4096);
    fill_file(&a, 0, 3, 4096);
    assert_int_equal(images(value_of_a), CLASS(1) | CLASS(2) | CLASS(3));
}

/* What a failed sync leaves is lost or not, and the next sync says nothing of it. */
static void page_forgets_after_a_failed_sync(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    fill_file(&a, 0, 2, 4096);
    machine.sim->fault =
        (struct sim_fault){.calls = 1u << SIM_CALL_SYNC_DATA, .after = 1, .error = -EIO};
    assert_int_equal(a.os->sync_data(&a), -EIO);
    assert_int_equal(a.os->sync_data(&a), 0);
    assert_int_equal(images(value_of_a), CLASS(1) | CLASS(2));
}

static void page_covers_what_is_written_again(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    fill_file(&a, 0, 2, 4096);
    machine.sim->fault =
        (struct sim_fault){.calls = 1u << SIM_CALL_SYNC_DATA, .after = 1, .error = -EIO};
    assert_int_equal(a.os->sync_data(&a), -EIO);
    fill_file(&a, 0, 3, 4096);
    assert_int_equal(a.os->sync_data(&a), 0);
    assert_int_equal(images(value_of_a), CLASS(3));
}

static void page_sync_covers_other_processes(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    struct nv_file same = open_file(machine.two, "/d/a");
    fill_file(&same, 0, 2, 4096);
    assert_int_equal(a.os->sync_data(&a), 0);
    assert_int_equal(images(value_of_a), CLASS(2));
}

static void sizes_are_lost_in_order(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    assert_int_equal(a.os->truncate(&a, 100), 0);
    assert_int_equal(a.os->truncate(&a, 200), 0);
    assert_int_equal(images(size_of_a), CLASS(40) | CLASS(1) | CLASS(2));
}

/* Bytes that were cut off do not come back when the file grows again. */
static unsigned after_the_cut(const struct sim *sim)
{
    return size_of_a(sim) == 40 ? byte_of(sim, "/d/a", 2000) & 63 : 62;
}

static void cut_bytes_stay_away(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    fill_file(&a, 0, 2, 4096);
    assert_int_equal(a.os->truncate(&a, 100), 0);
    assert_int_equal(a.os->sync_data(&a), 0);
    assert_int_equal(a.os->allocate(&a, 0, 4096, true), 0);
    assert_int_equal(images(after_the_cut), CLASS(0) | CLASS(62));
}

/* ---- names --------------------------------------------------------------------------- */

static void names_need_their_directory_synced(void **state)
{
    (void)state;
    start(SIM_PAGE);
    (void)open_file(machine.one, "/d/a");
    (void)open_file(machine.one, "/l/c");
    (void)open_file(machine.one, "/d/b");
    /* In any combination: directories are apart, and one may lose its order. */
    assert_int_equal(images(names), 0xff);
}

static void a_synced_directory_keeps_its_names(void **state)
{
    (void)state;
    start(SIM_PAGE);
    (void)open_file(machine.one, "/d/a");
    (void)open_file(machine.one, "/d/b");
    (void)open_file(machine.one, "/l/c");
    assert_int_equal(machine.one->os.sync_directory(&machine.one->os, "/d/a"), 0);
    assert_int_equal(images(names), CLASS(3) | CLASS(7));
}

static void an_unlinked_name_may_come_back(void **state)
{
    (void)state;
    start(SIM_PAGE);
    (void)durable_file("/d/a", 1);
    assert_int_equal(machine.one->os.unlink(&machine.one->os, "/d/a"), 0);
    assert_int_equal(images(names), CLASS(0) | CLASS(1));
}

static void a_rename_is_whole_or_not_at_all(void **state)
{
    (void)state;
    start(SIM_PAGE);
    (void)durable_file("/d/a", 1);
    assert_int_equal(machine.one->os.rename(&machine.one->os, "/d/a", "/d/b"), 0);
    assert_int_equal(images(names), CLASS(1) | CLASS(2));
}

/* ---- dax ----------------------------------------------------------------------------- */

static void dax_open_medium(struct nv_medium *medium, struct nv_file *file)
{
    assert_int_equal(nv_medium_open(medium, &sim_medium_dax, file, true, 0), 0);
    assert_int_equal(nv_medium_reserve(medium, 4096), 0);
}

static void store(struct nv_medium *medium, uint64_t offset, uint8_t value, size_t bytes)
{
    uint8_t data[4096];
    memset(data, value, bytes);
    assert_int_equal(nv_medium_store(medium, offset, data, bytes), 0);
}

/* Two words of a line: which of them are new. */
static unsigned two_words(const struct sim *sim)
{
    unsigned class = 0;
    for (unsigned word = 0; word < 2; word++)
        for (unsigned i = 1; i < 8; i++)
            if (byte_of(sim, "/d/a", word * 8 + i) != byte_of(sim, "/d/a", word * 8))
                return 63;
    class |= byte_of(sim, "/d/a", 0) == 2;
    class |= (unsigned)(byte_of(sim, "/d/a", 8) == 2) << 1;
    return class;
}

static void dax_tears_between_words_only(void **state)
{
    struct nv_medium medium;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    dax_open_medium(&medium, &a);
    store(&medium, 0, 2, 16);
    nv_medium_close(&medium);
    assert_int_equal(images(two_words), 0xf);
}

static void dax_fence_covers_its_own_process(void **state)
{
    struct nv_medium medium;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    dax_open_medium(&medium, &a);
    store(&medium, 0, 2, 16);
    assert_int_equal(nv_medium_fence(&medium), 0);
    nv_medium_close(&medium);
    assert_int_equal(images(two_words), CLASS(3));
}

static void dax_fence_of_another_process_covers_nothing(void **state)
{
    struct nv_medium mine;
    struct nv_medium other;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    struct nv_file same = open_file(machine.two, "/d/a");
    dax_open_medium(&mine, &a);
    dax_open_medium(&other, &same);
    store(&mine, 0, 2, 16);
    assert_int_equal(nv_medium_fence(&other), 0);
    nv_medium_close(&mine);
    nv_medium_close(&other);
    assert_int_equal(images(two_words), 0xf);
}

static void dax_release_is_a_fence(void **state)
{
    struct nv_medium medium;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    dax_open_medium(&medium, &a);
    store(&medium, 0, 2, 16);
    medium.ops->release(&medium);
    nv_medium_close(&medium);
    assert_int_equal(images(two_words), CLASS(3));
}

/* A store by one, over it one by another: a fence of the first leaves the second open. */
static void dax_fence_leaves_later_stores_of_others_open(void **state)
{
    struct nv_medium mine;
    struct nv_medium other;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    struct nv_file same = open_file(machine.two, "/d/a");
    dax_open_medium(&mine, &a);
    dax_open_medium(&other, &same);
    store(&other, 0, 4, 8);
    store(&mine, 0, 2, 8);
    store(&other, 0, 3, 8);
    assert_int_equal(nv_medium_fence(&mine), 0);
    nv_medium_close(&mine);
    nv_medium_close(&other);
    assert_int_equal(images(value_of_a), CLASS(2) | CLASS(3));
}

static void dax_refuses_what_would_fault(void **state)
{
    struct nv_medium medium;
    uint8_t byte = 1;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    dax_open_medium(&medium, &a);
    assert_int_equal(nv_medium_store(&medium, 4096, &byte, 1), -EINVAL);
    nv_medium_close(&medium);
}

/* A store to a page that was allocated just now commits the size, as MAP_SYNC does. */
static unsigned grown(const struct sim *sim)
{
    return (byte_of(sim, "/d/a", 5000) == 9) | (unsigned)(size_of_a(sim) == 81) << 1;
}

static void dax_store_to_new_space_commits_the_size(void **state)
{
    struct nv_medium medium;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    dax_open_medium(&medium, &a);
    assert_int_equal(nv_medium_reserve(&medium, 8192), 0);
    store(&medium, 5000, 9, 8);
    nv_medium_close(&medium);
    assert_int_equal(images(grown), CLASS(2) | CLASS(3));
}

/* ---- steps that are left out --------------------------------------------------------- */

static void a_step_can_be_left_out(void **state)
{
    struct nv_medium medium;
    (void)state;
    start(SIM_DAX);
    machine.sim->skip_kinds = 1u << SIM_STEP_FENCE;
    struct nv_file a = durable_file("/d/a", 1);
    dax_open_medium(&medium, &a);
    store(&medium, 0, 2, 16);
    assert_int_equal(nv_medium_fence(&medium), 0);
    nv_medium_close(&medium);
    assert_int_equal(images(two_words), 0xf);
}

static void a_flush_can_be_left_out(void **state)
{
    struct nv_medium medium;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    dax_open_medium(&medium, &a);
    sim_unflushed = true;
    store(&medium, 0, 2, 16);
    sim_unflushed = false;
    assert_int_equal(nv_medium_fence(&medium), 0);
    nv_medium_close(&medium);
    assert_int_equal(images(two_words), 0xf);
}

/* ---- processes ----------------------------------------------------------------------- */

/* Nor the fence of who has his place in the machine. */
static void no_fence_covers_the_stores_of_the_dead(void **state)
{
    struct nv_medium medium;
    (void)state;
    start(SIM_DAX);
    struct nv_file a = durable_file("/d/a", 1);
    dax_open_medium(&medium, &a);
    store(&medium, 0, 2, 16);
    nv_medium_close(&medium);
    sim_kill(machine.one);
    struct sim_process *next = sim_spawn(machine.sim);
    assert_ptr_equal(next, machine.one);
    struct nv_file again = open_file(next, "/d/a");
    dax_open_medium(&medium, &again);
    assert_int_equal(nv_medium_fence(&medium), 0);
    nv_medium_close(&medium);
    assert_int_equal(images(two_words), 0xf);
}

static void locks_exclude_and_die_with_their_process(void **state)
{
    enum nv_lock_holder holder;
    uint64_t where = 0;
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = open_file(machine.one, "/d/a");
    struct nv_file same = open_file(machine.two, "/d/a");
    assert_int_equal(a.os->lock(&a, 10, 10), 0);
    assert_int_equal(a.os->lock(&a, 15, 10), 0); /* one's own is no obstacle */
    assert_int_equal(same.os->lock(&same, 24, 1), -EAGAIN);
    assert_int_equal(a.os->unlock(&a, 12, 2), 0);
    assert_int_equal(same.os->lock(&same, 12, 2), 0);
    assert_int_equal(same.os->lock(&same, 14, 1), -EAGAIN);
    assert_int_equal(same.os->lock_holder(&same, 12, 50, &holder, &where), 0);
    assert_int_equal(holder, NV_HOLDER_OFD);
    assert_int_equal(where, 14);
    sim_kill(machine.one);
    assert_int_equal(same.os->lock(&same, 0, 100), 0);
    assert_int_equal(same.os->lock_holder(&same, 0, 100, &holder, &where), 0);
    assert_int_equal(holder, NV_HOLDER_NONE);
    assert_int_equal(same.os->process_alive(same.os, machine.one->pid, machine.one->pid * 7, 1), 0);
}

static void a_process_dies_inside_a_store(void **state)
{
    jmp_buf death;
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    machine.one->death = &death;
    machine.one->die_at = 1;
    machine.one->die_part = 128;
    if (setjmp(death) == 0) {
        fill_file(&a, 2048, 2, 8192); /* half of it, but no page in part */
        fail_msg("it lives");
    }
    assert_false(machine.one->alive);
    assert_int_equal(byte_of(machine.sim, "/d/a", 2047), 1);
    assert_int_equal(byte_of(machine.sim, "/d/a", 4095), 2);
    assert_int_equal(machine.sim->files[sim_find(machine.sim, "/d/a")].bytes, 4096);
}

static void everything_can_be_taken_back(void **state)
{
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    struct sim *sim = machine.sim;
    struct sim_file before = sim->files[sim_find(sim, "/d/a")];
    sim_mark_t mark = sim_mark(sim);
    fill_file(&a, 3000, 2, 9000);
    assert_int_equal(a.os->truncate(&a, 5), 0);
    struct nv_file b = open_file(machine.one, "/d/b");
    fill_file(&b, 0, 7, 100);
    assert_int_equal(a.os->rename(a.os, "/d/b", "/d/a"), 0);
    sim_cut(sim);
    sim_undo_to(sim, mark);
    assert_int_equal(names(sim), 1);
    uint32_t file = sim_find(sim, "/d/a");
    assert_memory_equal(&before, &sim->files[file], sizeof before);
    for (uint64_t i = 0; i < 16384; i++)
        assert_int_equal(sim_bytes(sim, file)[i], i < 4096 ? 1 : 0);
}

static void a_full_disk_and_faults_are_told(void **state)
{
    uint8_t data[100] = {0};
    struct iovec part = {data, sizeof data};
    (void)state;
    start(SIM_PAGE);
    struct nv_file a = durable_file("/d/a", 1);
    machine.sim->space_bytes = 4096;
    assert_int_equal(a.os->pwritev(&a, &part, 1, 4096), -ENOSPC);
    assert_int_equal(a.os->pwritev(&a, &part, 1, 0), 0);
    assert_int_equal(a.os->allocate(&a, 0, 5000, true), -ENOSPC);
    machine.sim->fault =
        (struct sim_fault){.calls = 1u << SIM_CALL_PWRITEV, .after = 2, .error = -EIO};
    assert_int_equal(a.os->pwritev(&a, &part, 1, 0), 0);
    assert_int_equal(a.os->pwritev(&a, &part, 1, 0), -EIO);
    assert_int_equal(a.os->pwritev(&a, &part, 1, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(page_tears_between_sectors_only, stop),
        cmocka_unit_test_teardown(page_is_durable_after_sync, stop),
        cmocka_unit_test_teardown(page_keeps_older_versions_possible, stop),
        cmocka_unit_test_teardown(page_forgets_after_a_failed_sync, stop),
        cmocka_unit_test_teardown(page_covers_what_is_written_again, stop),
        cmocka_unit_test_teardown(page_sync_covers_other_processes, stop),
        cmocka_unit_test_teardown(sizes_are_lost_in_order, stop),
        cmocka_unit_test_teardown(cut_bytes_stay_away, stop),
        cmocka_unit_test_teardown(names_need_their_directory_synced, stop),
        cmocka_unit_test_teardown(a_synced_directory_keeps_its_names, stop),
        cmocka_unit_test_teardown(an_unlinked_name_may_come_back, stop),
        cmocka_unit_test_teardown(a_rename_is_whole_or_not_at_all, stop),
        cmocka_unit_test_teardown(dax_tears_between_words_only, stop),
        cmocka_unit_test_teardown(dax_fence_covers_its_own_process, stop),
        cmocka_unit_test_teardown(dax_fence_of_another_process_covers_nothing, stop),
        cmocka_unit_test_teardown(dax_release_is_a_fence, stop),
        cmocka_unit_test_teardown(dax_fence_leaves_later_stores_of_others_open, stop),
        cmocka_unit_test_teardown(dax_refuses_what_would_fault, stop),
        cmocka_unit_test_teardown(dax_store_to_new_space_commits_the_size, stop),
        cmocka_unit_test_teardown(a_step_can_be_left_out, stop),
        cmocka_unit_test_teardown(a_flush_can_be_left_out, stop),
        cmocka_unit_test_teardown(no_fence_covers_the_stores_of_the_dead, stop),
        cmocka_unit_test_teardown(locks_exclude_and_die_with_their_process, stop),
        cmocka_unit_test_teardown(a_process_dies_inside_a_store, stop),
        cmocka_unit_test_teardown(everything_can_be_taken_back, stop),
        cmocka_unit_test_teardown(a_full_disk_and_faults_are_told, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
