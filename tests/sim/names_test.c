/*
 * Names and sizes on a machine that loses its power.  nvmmio_rename and
 * nvmmio_unlink: the content is under one name or the other at any time, and where
 * it should be when the call has returned.  A log in a directory of its own is
 * gone for good with the last close, and so is a file that decides with the last
 * one that asks for it.  What another program makes of an empty home stays.  A
 * commit that failed does not come back.  No store to a mapping comes
 * before the size is durable.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/process.h"
#include "tests/sim/walk.h"

#define FROM "/d/a"
#define TO "/l/b"
#define SAMPLES 16u

static struct sim *sim;
static struct trace trace;
static struct nv_process *process;
static const char content[] = "what is renamed";

static const char *log_dir;

static void write_file(const char *path)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;
    options.log_dir = log_dir;
    options.flags = NVMMIO_CREATE;
    assert_int_equal(nv_open(process, path, &options, &handle), 0);
    assert_int_equal(nvmmio_pwrite(handle, content, sizeof content, 0), sizeof content);
    assert_int_equal(nvmmio_sync(handle), 0);
    assert_int_equal(nvmmio_close(handle), 0);
}

static bool has_content(const char *path)
{
    uint32_t file = sim_find(sim, path);
    return file != SIM_NONE && sim->files[file].bytes == sizeof content &&
           memcmp(sim_bytes(sim, file), content, sizeof content) == 0;
}

static void begin(enum sim_semantics semantics)
{
    sim = sim_create(semantics);
    trace_init(&trace);
    assert_int_equal(nv_process_create(&sim_spawn(sim)->os, &process), 0);
}

static void end(void)
{
    nv_process_destroy(process);
    trace_free(&trace);
    sim_destroy(sim);
}

/* `call` with its trace; at each event of it what `allowed` says, with whether it has returned. */
static void crash_anywhere(int (*call)(void), bool (*allowed)(bool returned))
{
    sim_mark_t mark = sim_mark(sim);
    sim->trace = &trace;
    assert_int_equal(call(), 0);
    sim->trace = NULL;
    sim_undo_to(sim, mark);
    struct walk walk;
    uint64_t random = 1;
    walk_begin(&walk, sim, &trace);
    while (walk_next(&walk) != WALK_END)
        for (uint32_t i = 0; i < SAMPLES; i++) {
            sim_mark_t before = sim_mark(sim);
            (void)walk_image(&walk, i ? sim_random(&random) & ~WALK_SUBSET : WALK_SUBSET, false);
            if (!allowed(walk.next == trace.count))
                fail_msg("event %zu of %zu", walk.next, trace.count);
            sim_undo_to(sim, before);
        }
    walk_end(&walk);
}

static int rename_it(void)
{
    return nv_rename(process, FROM, TO);
}

static int unlink_it(void)
{
    return nv_unlink(process, FROM);
}

static int write_it(void)
{
    write_file(FROM);
    return 0;
}

static bool log_is_gone(bool returned)
{
    for (uint32_t i = 0; returned && i < SIM_ENTRIES_MAX; i++)
        if (sim->entries[i].used && strncmp(sim->entries[i].path, "/l/", 3) == 0)
            return false;
    return true;
}

static bool renamed(bool returned)
{
    return has_content(TO) || (!returned && has_content(FROM));
}

static bool unlinked(bool returned)
{
    return !returned || sim_find(sim, FROM) == SIM_NONE;
}

/* Whether the names of this directory were made durable behind the last rename or removal. */
static bool synced(const char *path)
{
    bool is = false;
    for (size_t i = 0; i < trace.count; i++) {
        const struct trace_event *event = &trace.events[i];
        if (event->kind == TRACE_RENAME)
            is = false;
        else if (event->kind == TRACE_SYNC_DIRECTORY)
            is |= strncmp(trace_path(&trace, event), path, 3) == 0;
    }
    return is;
}

static void a_rename_is_durable(void **state)
{
    (void)state;
    for (enum sim_semantics semantics = 0; semantics < SIM_SEMANTICS; semantics++) {
        begin(semantics);
        write_file(FROM);
        crash_anywhere(rename_it, renamed);
        /* A file system may make the new name durable without the end of the old one. */
        assert_true(synced(TO) && synced(FROM));
        end();
    }
}

static void a_removal_is_durable(void **state)
{
    (void)state;
    for (enum sim_semantics semantics = 0; semantics < SIM_SEMANTICS; semantics++) {
        begin(semantics);
        write_file(FROM);
        crash_anywhere(unlink_it, unlinked);
        end();
    }
}

/* Nobody who looks at home, or opens it without that directory, would find it. */
static void a_log_apart_does_not_come_back(void **state)
{
    (void)state;
    for (enum sim_semantics semantics = 0; semantics < SIM_SEMANTICS; semantics++) {
        begin(semantics);
        write_file(FROM);
        log_dir = "/l";
        crash_anywhere(write_it, log_is_gone);
        log_dir = NULL;
        end();
    }
}

/* ---- what decides a transaction over two files --------------------------------------------- */

#define SUPER "/d/super"

static const char *const homes[] = {"/d/a", "/d/b"};
static const char *const children[] = {"/d/a-child", "/d/b-child"};

static void make_file(const char *path, const char *text, size_t bytes)
{
    const uint32_t file = sim_file_make(sim, path, 0100600);
    sim_resize(sim, file, bytes);
    sim_store(sim, file, 0, text, bytes);
    (void)sim_name(sim, path, file);
}

static void prepare_both(void)
{
    static const char list[] = "/d/a-child\0/d/b-child";
    make_file(SUPER, list, sizeof list);
    for (uint32_t i = 0; i < 2; i++) {
        struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
        struct nvmmio *handle = NULL;
        options.flags = NVMMIO_CREATE;
        make_file(children[i], SUPER, sizeof SUPER);
        assert_int_equal(nv_open(process, homes[i], &options, &handle), 0);
        assert_int_equal(nvmmio_pwrite(handle, content, sizeof content, 0), sizeof content);
        assert_int_equal(nvmmio_prepare(handle, SUPER, children[i]), 0);
    }
    nv_process_destroy(process); /* dies with both prepared */
    sim_cut(sim);
    assert_int_equal(nv_process_create(&sim_spawn(sim)->os, &process), 0);
}

static void recover(struct nv_process *by, const char *path)
{
    assert_int_equal(nv_recover(by, path, NULL, NULL, NULL, NULL), 0);
}

static int recover_the_first(void)
{
    recover(process, homes[0]);
    return 0;
}

/* Whatever a loss of power has left of the first recovery: when both were recovered, the file is
 * gone that they asked for, and those by which it is found. */
static bool decision_goes(bool returned)
{
    struct nv_process *next = NULL;
    (void)returned;
    assert_int_equal(nv_process_create(&sim_spawn(sim)->os, &next), 0);
    recover(next, homes[1]);
    recover(next, homes[0]);
    nv_process_destroy(next);
    return sim_find(sim, SUPER) == SIM_NONE && sim_find(sim, children[1]) == SIM_NONE;
}

static void what_decides_goes_with_the_last(void **state)
{
    (void)state;
    for (enum sim_semantics semantics = 0; semantics < SIM_SEMANTICS; semantics++) {
        begin(semantics);
        prepare_both();
        crash_anywhere(recover_the_first, decision_goes);
        end();
    }
}

/* ---- sizes --------------------------------------------------------------------------------- */

/* A file system that commits its journal at the fault of a mapped page commits the size with it;
 * but the fault is all that calls for that, and a page that is there already has none. */
static void sizes_are_synced_before_stores(void)
{
    uint64_t synced[SIM_FILES_MAX];
    uint64_t size[SIM_FILES_MAX];
    uint32_t grown = 0;
    for (uint32_t i = 0; i < SIM_FILES_MAX; i++)
        synced[i] = size[i] = sim->files[i].used ? sim->files[i].bytes : 0;
    for (size_t i = 0; i < trace.count; i++) {
        const struct trace_event *event = &trace.events[i];
        if (event->kind == TRACE_SIZE) {
            grown += event->offset > size[event->file];
            size[event->file] = event->offset;
            synced[event->file] = nv_min(synced[event->file], event->offset);
        } else if (event->kind == TRACE_SYNC) {
            synced[event->file] = size[event->file];
        } else if ((event->kind == TRACE_STORE || event->kind == TRACE_ZERO) &&
                   event->cover != COVER_SYNC &&
                   event->offset + event->bytes > synced[event->file]) {
            fail_msg("event %zu stores behind what was synced of file %u", i, event->file);
        }
    }
    assert_true(grown >= 3); /* the log twice, and home */
}

#define MUCH ((uint64_t)400 << 10) /* more than a segment of the log holds */

static int write_much(void)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    assert_int_equal(nv_open(process, FROM, &options, &handle), 0);
    assert_int_equal(nvmmio_pwrite(handle, "few", 3, 0), 3);
    assert_int_equal(nvmmio_sync(handle), 0);
    for (uint64_t i = 0; i < MUCH; i += 4096) {
        uint8_t block[4096];
        memset(block, (int)(1 + i / 4096), sizeof block);
        assert_int_equal(nvmmio_pwrite(handle, block, sizeof block, i), sizeof block);
    }
    assert_int_equal(nvmmio_sync(handle), 0);
    assert_int_equal(nvmmio_close(handle), 0);
    return 0;
}

static void a_size_is_durable_before_its_bytes(void **state)
{
    (void)state;
    begin(SIM_DAX);
    write_file(FROM);
    const sim_mark_t mark = sim_mark(sim);
    sim->trace = &trace;
    assert_int_equal(write_much(), 0);
    sim->trace = NULL;
    sim_undo_to(sim, mark);
    sizes_are_synced_before_stores();
    end();
}

/* ---- what another program makes of an empty home --------------------------------------------- */

#define ZEROS_BYTES_MAX ((uint64_t)10000)

static uint64_t zeros_bytes;

/* A home with a mark gets content, and loses it again. */
static struct nvmmio *open_empty_home(void)
{
    static const struct nvmmio_mark mark = {.bytes = 100, .nonce_at = 72, .mask = {[18] = 7}};
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;

    options.flags = NVMMIO_CREATE;
    options.mark = &mark;
    assert_int_equal(nv_open(process, FROM, &options, &handle), 0);
    assert_int_equal(nvmmio_pwrite(handle, content, sizeof content, 0), sizeof content);
    assert_int_equal(nvmmio_sync(handle), 0);
    assert_int_equal(nvmmio_truncate(handle, 0), 0);
    assert_int_equal(nvmmio_sync(handle), 0);
    return handle;
}

/* By a program without nvmmio, durably. */
static void write_zeros(void)
{
    static const uint8_t zeros[ZEROS_BYTES_MAX];
    const struct iovec part = {.iov_base = (void *)(uintptr_t)zeros, .iov_len = zeros_bytes};
    const struct nv_os *os = &sim_spawn(sim)->os;
    struct nv_file file;

    assert_int_equal(os->open(os, FROM, NV_OPEN_WRITE, 0, &file), 0);
    assert_int_equal(os->pwritev(&file, &part, 1, 0), 0);
    assert_int_equal(os->sync_data(&file), 0);
    assert_int_equal(os->close(&file), 0);
}

static int close_an_empty_home(void)
{
    assert_int_equal(nvmmio_close(open_empty_home()), 0);
    write_zeros();
    return 0;
}

static bool zeros_are_there(bool returned)
{
    struct nv_process *next = NULL;
    if (sim_find(sim, FROM) == SIM_NONE)
        return !returned;
    assert_int_equal(nv_process_create(&sim_spawn(sim)->os, &next), 0);
    recover(next, FROM);
    nv_process_destroy(next);
    return !returned || sim->files[sim_find(sim, FROM)].bytes == zeros_bytes;
}

/* A removed log comes back: zeros are what nvmmio itself adds to an empty home. */
static void zeros_of_another_program_stay(void **state)
{
    static const uint64_t sizes[] = {NVMMIO_MARK_BYTES, ZEROS_BYTES_MAX};
    (void)state;
    for (size_t i = 0; i < 2 * SIM_SEMANTICS; i++) {
        zeros_bytes = sizes[i / SIM_SEMANTICS];
        begin((enum sim_semantics)(i % SIM_SEMANTICS));
        crash_anywhere(close_an_empty_home, zeros_are_there);
        end();
    }
}

/* The close failed after home was an ordinary file again. */
static void zeros_beside_an_empty_log_stay(void **state)
{
    (void)state;
    zeros_bytes = ZEROS_BYTES_MAX;
    for (enum sim_semantics semantics = 0; semantics < SIM_SEMANTICS; semantics++) {
        begin(semantics);
        struct nvmmio *handle = open_empty_home();
        sim->fault = (struct sim_fault){.calls = 1u << SIM_CALL_UNLINK, .after = 1, .error = -EIO};
        assert_int_equal(nvmmio_close(handle), -EIO);
        assert_int_not_equal(sim_find(sim, FROM "-nvmmio"), SIM_NONE);
        write_zeros();
        assert_true(zeros_are_there(true));
        end();
    }
}

/* ---- a record without its padding ---------------------------------------------------------- */

static struct nvmmio *writer;

static int fail_a_commit(void)
{
    struct nvmmio_info info;
    assert_int_equal(nvmmio_pwrite(writer, "new", 3, 0), 3);
    sim->fault =
        (struct sim_fault){.calls = 1u << SIM_CALL_PWRITEV, .after = 1, .error = -EIO, .parts = 1};
    assert_int_equal(nvmmio_sync(writer), -EIO);
    assert_int_equal(nvmmio_rollback(writer), 0);
    assert_int_equal(nvmmio_info(writer, &info), 0);
    assert_false(info.poisoned);
    nv_process_destroy(process); /* dies */
    process = NULL;
    return 0;
}

static bool is_taken_back(bool returned)
{
    struct nv_process *next = NULL;
    assert_int_equal(nv_process_create(&sim_spawn(sim)->os, &next), 0);
    recover(next, FROM);
    nv_process_destroy(next);
    return has_content(FROM) || !returned;
}

/* All of the record that counts was written: the first parts of the write that failed. */
static void a_commit_that_failed_does_not_come_back(void **state)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    (void)state;
    begin(SIM_PAGE);
    write_file(FROM);
    assert_int_equal(nv_open(process, FROM, &options, &writer), 0);
    for (int commit = 0; commit < 2; commit++) {
        assert_int_equal(nvmmio_pwrite(writer, commit ? content : "odd", 3, 0), 3);
        assert_int_equal(nvmmio_sync(writer), 0);
    }
    crash_anywhere(fail_a_commit, is_taken_back);
    trace_free(&trace);
    sim_destroy(sim);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_of_another_program_stay),
        cmocka_unit_test(zeros_beside_an_empty_log_stay),
        cmocka_unit_test(a_commit_that_failed_does_not_come_back),
        cmocka_unit_test(a_rename_is_durable),
        cmocka_unit_test(a_removal_is_durable),
        cmocka_unit_test(a_log_apart_does_not_come_back),
        cmocka_unit_test(what_decides_goes_with_the_last),
        cmocka_unit_test(a_size_is_durable_before_its_bytes),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
