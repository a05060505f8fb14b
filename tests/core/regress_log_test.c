/*
 * Faults that the engine once had in its log: one test for the schedule that
 * showed each.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/core/rig.h"

#define BIG ((uint64_t)600000) /* a transaction that only the overflow segment can take */

static void commit_fill(struct nvmmio *handle, uint64_t offset, uint64_t bytes, uint8_t value)
{
    engine_fill(handle, offset, bytes, value);
    check_ok(nvmmio_sync(handle));
}

/* Small commits until the log has turned over, and has been cut. */
static void turn_over(struct nvmmio *handle, uint64_t offset)
{
    for (uint8_t i = 0; i < 200; i++)
        commit_fill(handle, offset, 8192, i);
}

static void outgrow_what_another_has_cut(void *argument)
{
    struct nvmmio_options options = rig_options();
    struct nv_process *one = rig_process(&nv_os_posix), *other = rig_process(&nv_os_posix);
    struct nvmmio *a = rig_open(one, scratch.path, &options);
    struct nvmmio *b = rig_open(other, scratch.path, &options);
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};

    (void)argument;
    rig_faults_kill();
    for (uint8_t i = 0; i < 2; i++) {
        commit_fill(a, 0, BIG, (uint8_t)(2 * i + 1));
        commit_fill(b, 0, BIG, (uint8_t)(2 * i + 2));
    }
    turn_over(b, 0);
    check_ok(nvmmio_info(b, &info));
    check(info.log_file_bytes < BIG); /* b has cut it; a still maps what was there */
    commit_fill(a, 0, BIG, 99);
    engine_check_fill(b, 0, BIG, 99);
    engine_close(a);
    engine_close(b);
    nv_process_destroy(one);
    nv_process_destroy(other);
}

/* SIGBUS: the mapping was taken to be as long as it once was. */
static void a_log_that_another_process_has_cut_grows_again(void **state)
{
    (void)state;
    child_run(outgrow_what_another_has_cut, NULL);
    check_eq(rig_plain_byte(scratch.path, BIG - 1), 99);
    engine_check_plain(scratch.path);
}

static bool armed; /* in a child: what is tampered with goes wrong from now on */

static int truncate_and_die(struct nv_file *file, uint64_t bytes)
{
    int error = nv_os_posix.truncate(file, bytes);

    if (armed && rig_is(file, "-nvmmio"))
        rig_die();
    return error;
}

static void cut_and_die(void *argument)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();

    (void)argument;
    os.truncate = truncate_and_die;
    struct nvmmio *handle = rig_open(rig_process(&os), scratch.path, &options);
    armed = true;
    turn_over(handle, 0);
}

static void outlive_who_cuts(void *argument)
{
    struct nvmmio_options options = rig_options();
    struct nvmmio *handle = engine_open_with(scratch.path, &options);

    (void)argument;
    rig_faults_kill();
    commit_fill(handle, 0, BIG, 9);
    parent_send('o');
    check_eq(parent_receive(), 'g');
    engine_check_fill(handle, 8192, BIG - 8192, 9);
    commit_fill(handle, 0, BIG, 77);
    engine_check_fill(handle, 0, BIG, 77);
    engine_close(handle);
}

/* SIGBUS, or a log that is refused as cut off: the shared page told the size from before. */
static void death_after_the_log_was_cut(void **state)
{
    struct child heir, victim;

    (void)state;
    child_start(&heir, outlive_who_cuts, NULL);
    child_expect(&heir, 'o');
    child_start(&victim, cut_and_die, NULL);
    check_eq(child_wait(&victim), -SIGKILL);
    child_send(&heir, 'g');
    child_join(&heir);
    check_eq(rig_plain_byte(scratch.path, BIG - 1), 77);
    engine_check_plain(scratch.path);
}

static void spill_over_what_was_there(void *argument)
{
    struct nvmmio_options options = rig_options();

    (void)argument;
    options.stage_bytes = 100000;
    struct nvmmio *handle = engine_open_with(scratch.path, &options);
    check_ok(nvmmio_lock(handle, NVMMIO_RESERVED, 0));
    commit_fill(handle, 0, 400000, 1); /* the overflow segment */
    engine_write(handle, "x", 1, 5);
    check_ok(nvmmio_sync(handle)); /* the first segment */
    engine_fill(handle, 0, 400000, 2);
    struct nvmmio_stats before = {.struct_bytes = sizeof(before)}, after = before;
    check_ok(nvmmio_stats(handle, &before));
    engine_write(handle, "y", 1, 6); /* spills what is staged: the overflow segment again */
    check_ok(nvmmio_stats(handle, &after));
    check(after.spills > before.spills);
    rig_die();
}

/* -EUCLEAN: recovery looked for a commit that a spill of an unfinished one had overwritten. */
static void death_while_a_segment_is_begun_again(void **state)
{
    struct child child;
    struct nvmmio *handle;

    (void)state;
    child_start(&child, spill_over_what_was_there, NULL);
    check_eq(child_wait(&child), -SIGKILL);
    handle = engine_open(scratch.path);
    check_eq(nvmmio_size(handle), 400000);
    engine_check_fill(handle, 0, 5, 1);
    check_eq(engine_byte(handle, 5), 'x');
    engine_check_fill(handle, 6, 400000 - 6, 1);
    engine_close(handle);
    engine_check_plain(scratch.path);
}

static struct nvmmio_options marked_options(void)
{
    struct nvmmio_options options = rig_options();

    options.mark = rig_mark();
    return options;
}

/* Two processes that have both looked at the log's header. */
static void open_two(struct nvmmio *handles[2])
{
    struct nvmmio_options options = marked_options();

    for (int i = 0; i < 2; i++)
        handles[i] = rig_open(rig_process(&nv_os_posix), scratch.path, &options);
    for (uint8_t i = 0; i < 3; i++) {
        commit_fill(handles[1], 0, 8192, i);
        commit_fill(handles[0], 500, 4, i);
    }
}

static void check_covered(void)
{
    struct nvmmio_options options = marked_options();
    struct nvmmio *handle = engine_open_with(scratch.path, &options);

    engine_check_fill(handle, RIG_MARK_NONCE_AT, NVMMIO_NONCE_BYTES, 'N');
    engine_close(handle);
    engine_check_plain(scratch.path);
    check_eq(rig_plain_byte(scratch.path, RIG_MARK_NONCE_AT), 'N');
}

static void cover_and_let_another_change_the_header(void *argument)
{
    struct nvmmio *handles[2];

    (void)argument;
    open_two(handles);
    commit_fill(handles[0], RIG_MARK_NONCE_AT, NVMMIO_NONCE_BYTES, 'N');
    for (uint8_t i = 2; i < 4; i++)
        commit_fill(handles[1], 4096, 500000, i);
    for (uint8_t i = 0; i < 5; i++)
        commit_fill(handles[1], 9000, 4, i);
    rig_die();
}

/* The content behind the nonce was lost: another process replaced the header by its old copy. */
static void a_header_that_another_process_has_changed_is_not_replaced(void **state)
{
    struct child child;

    (void)state;
    child_start(&child, cover_and_let_another_change_the_header, NULL);
    check_eq(child_wait(&child), -SIGKILL);
    check_covered();
}

static void cover_after_another_has_cut(void *argument)
{
    struct nvmmio *handles[2];

    (void)argument;
    open_two(handles);
    commit_fill(handles[0], 4096, 500000, 7);
    turn_over(handles[1], 8192);
    engine_fill(handles[0], RIG_MARK_NONCE_AT, NVMMIO_NONCE_BYTES, 'N');
    check_ok(nvmmio_seal(handles[0]));
    check_ok(nvmmio_apply(handles[0]));
    rig_die();
}

/* -EUCLEAN, "was cut off": the old copy of the header told the size from before the cut. */
static void a_header_does_not_tell_a_size_from_before_a_cut(void **state)
{
    struct child child;

    (void)state;
    child_start(&child, cover_after_another_has_cut, NULL);
    check_eq(child_wait(&child), -SIGKILL);
    check_covered();
}

static int allocate_nothing(struct nv_file *file, uint64_t offset, uint64_t bytes, bool extend)
{
    if (armed && rig_is(file, "-nvmmio"))
        return -ENOSPC;
    return nv_os_posix.allocate(file, offset, bytes, extend);
}

static int write_nothing(struct nv_file *file, const struct iovec *parts, int count,
                         uint64_t offset)
{
    if (armed && rig_is(file, "-nvmmio"))
        return -ENOSPC;
    return nv_os_posix.pwritev(file, parts, count, offset);
}

/* It was staged, and the next sync committed it. */
static void a_write_whose_spill_fails_is_not_staged(void **state)
{
    static uint8_t data[70000];
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();

    (void)state;
    os.allocate = allocate_nothing;
    os.pwritev = write_nothing;
    options.stage_bytes = 65536;
    struct nv_process *process = rig_process(&os);
    struct nvmmio *handle = rig_open(process, scratch.path, &options);
    commit_fill(handle, 0, 1, 's');
    engine_fill(handle, 0, 60000, 'k');
    memset(data, 'F', sizeof(data));
    armed = true;
    ssize_t result = nvmmio_pwrite(handle, data, sizeof(data), 30000);
    armed = false;
    check_error(result, -ENOSPC);
    check_eq(nvmmio_size(handle), 60000);
    engine_check_fill(handle, 0, 60000, 'k');
    check_ok(nvmmio_sync(handle));
    check_eq(nvmmio_size(handle), 60000);
    engine_check_fill(handle, 0, 60000, 'k');
    engine_close(handle);
    nv_process_destroy(process);
    check_eq(file_bytes(scratch.path), 60000);
}

static enum nv_fs_kind say_btrfs(struct nv_file *file, char *name, size_t bytes)
{
    (void)file;
    (void)snprintf(name, bytes, "btrfs");
    return NV_FS_DISK;
}

/* The bytes around a small difference became those of the transaction before: blocks were staged
 * by lines and stored whole. */
static void a_difference_in_memory_that_is_not_mapped(void **state)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();

    (void)state;
    os.fs_kind = say_btrfs;
    options.medium = NVMMIO_MEDIUM_RAM;
    struct nv_process *process = rig_process(&os);
    struct nvmmio *handle = rig_open(process, scratch.path, &options);
    const void *address;
    commit_fill(handle, 0, 4096, 'A');
    check_ok(nvmmio_lock(handle, NVMMIO_SHARED, 0));
    check_error(nvmmio_view(handle, 0, 10, &address), -EOPNOTSUPP);
    check_ok(nvmmio_unlock(handle, NVMMIO_UNLOCKED));
    commit_fill(handle, 8192, 4096, 'C');
    commit_fill(handle, 0, 1, 'z');
    check_eq(engine_byte(handle, 0), 'z');
    engine_check_fill(handle, 1, 4095, 'A');
    engine_check_fill(handle, 4096, 4096, 0);
    engine_check_fill(handle, 8192, 4096, 'C');
    engine_close(handle);
    nv_process_destroy(process);
}

static struct {
    bool fenced, early;
} watched;

static int sync_data_watched(struct nv_file *file)
{
    watched.fenced |= rig_is(file, "-nvmmio");
    return nv_os_posix.sync_data(file);
}

static int pwritev_watched(struct nv_file *file, const struct iovec *parts, int count,
                           uint64_t offset)
{
    uint8_t there[4096];
    /* One of the header's two copies is replaced; that it is written as it is harms nobody. */
    if (rig_is(file, "-nvmmio") && offset < 8192 &&
        (count > 1 || parts->iov_len > sizeof there ||
         nv_os_posix.pread(file, there, parts->iov_len, offset) != (ssize_t)parts->iov_len ||
         memcmp(there, parts->iov_base, parts->iov_len) != 0))
        watched.early |= !watched.fenced;
    return nv_os_posix.pwritev(file, parts, count, offset);
}

/* A power loss would tear both copies: the one that is replaced, and one that was not durable. */
static void the_header_of_another_process_is_made_durable_first(void **state)
{
    struct nv_os os = nv_os_posix;
    struct nvmmio_options options = rig_options();
    struct nv_process *one, *other;
    struct nvmmio *a, *b;

    (void)state;
    if (place_kind() != PLACE_PAGE)
        skip();
    os.sync_data = sync_data_watched;
    os.pwritev = pwritev_watched;
    one = rig_process(&nv_os_posix);
    other = rig_process(&os);
    a = rig_open(one, scratch.path, &options);
    b = rig_open(other, scratch.path, &options);
    for (uint8_t i = 0; i < 3; i++)
        commit_fill(a, 0, 5000, i);
    engine_fill(b, 0, 5000, 9); /* opens the log */
    check_ok(nvmmio_rollback(b));
    engine_close(a);
    watched.fenced = watched.early = false;
    engine_close(b);
    check(watched.fenced && !watched.early);
    nv_process_destroy(one);
    nv_process_destroy(other);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(a_log_that_another_process_has_cut_grows_again),
        T(death_after_the_log_was_cut),
        T(death_while_a_segment_is_begun_again),
        T(a_header_that_another_process_has_changed_is_not_replaced),
        T(a_header_does_not_tell_a_size_from_before_a_cut),
        T(a_write_whose_spill_fails_is_not_staged),
        T(a_difference_in_memory_that_is_not_mapped),
        T(the_header_of_another_process_is_made_durable_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
