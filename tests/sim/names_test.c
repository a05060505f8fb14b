/*
 * Names on a machine that loses its power.  nvmmio_rename and nvmmio_unlink: the
 * content is under one name or the other at any time, and where it should be when
 * the call has returned.  A log in a directory of its own is gone for good with
 * the last close.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rename_is_durable),
        cmocka_unit_test(a_removal_is_durable),
        cmocka_unit_test(a_log_apart_does_not_come_back),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
