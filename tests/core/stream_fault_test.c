/*
 * Streams when something fails below: no space, limits, errors of the device,
 * damage to the size block.  On a system that is tampered with, and on the disk's
 * medium wherever the files lie, so that all of it is seen; with the size exact
 * and ahead.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/place.h"
#include "tests/core/rig.h"
#include "tests/core/stream_kit.h"

#define MIB ((uint64_t)1 << 20)
#define SEED 3

static struct nv_os os;
static struct nv_process *process;

/* What goes wrong from now on: the n-th call, and all after it; 0: none. */
static struct {
    unsigned pwritev, allocate, truncate, sync_data, map;
    int error;
    bool part; /* a write that fails writes half of what it should */
    struct nvmmio_stream *append_in_sync;
    uint64_t append_bytes;
} fail;

static bool fails(unsigned *count)
{
    if (*count > 1)
        return (*count)--, false;
    return *count == 1;
}

static int fail_pwritev(struct nv_file *file, const struct iovec *parts, int count, uint64_t offset)
{
    if (!fails(&fail.pwritev))
        return nv_os_posix.pwritev(file, parts, count, offset);
    if (fail.part) {
        struct iovec half = parts[0];

        half.iov_len /= 2;
        check_eq(nv_os_posix.pwritev(file, &half, 1, offset), 0);
    }
    return fail.error;
}

static int fail_allocate(struct nv_file *file, uint64_t offset, uint64_t bytes, bool extend)
{
    return fails(&fail.allocate) ? fail.error : nv_os_posix.allocate(file, offset, bytes, extend);
}

static int fail_truncate(struct nv_file *file, uint64_t bytes)
{
    return fails(&fail.truncate) ? fail.error : nv_os_posix.truncate(file, bytes);
}

static int fail_sync_data(struct nv_file *file)
{
    struct nvmmio_stream *stream = fail.append_in_sync;

    fail.append_in_sync = NULL;
    if (stream)
        kit_append(stream, fail.append_bytes, SEED);
    return fails(&fail.sync_data) ? fail.error : nv_os_posix.sync_data(file);
}

static int fail_map(struct nv_file *file, size_t bytes, bool writable, bool sync, void **address)
{
    return fails(&fail.map) ? fail.error : nv_os_posix.map(file, bytes, writable, sync, address);
}

static void begin(void)
{
    scratch_empty(&scratch);
    memset(&fail, 0, sizeof(fail));
    os = nv_os_posix;
    os.pwritev = fail_pwritev;
    os.allocate = fail_allocate;
    os.truncate = fail_truncate;
    os.sync_data = fail_sync_data;
    os.map = fail_map;
    process = rig_process(&os);
}

static struct nvmmio_stream *open_on(enum nvmmio_medium medium, uint32_t flags)
{
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    struct nvmmio_stream *stream = NULL;

    options.flags = flags;
    options.size = kit_size;
    options.medium = medium;
    check_ok(nv_process_stream_open(process, scratch.path, &options, &stream));
    return stream;
}

static struct nvmmio_stream *open_page(void)
{
    return open_on(NVMMIO_MEDIUM_PAGE, NVMMIO_CREATE);
}

static int64_t append_zeros(struct nvmmio_stream *stream, size_t bytes)
{
    uint8_t *zeros = calloc(1, bytes);
    int64_t result;

    check(zeros != NULL);
    result = nvmmio_stream_append(stream, zeros, bytes);
    free(zeros);
    return result;
}

static bool poisoned(struct nvmmio_stream *stream)
{
    struct nvmmio_stream_info info;

    check_ok(nvmmio_stream_info(stream, &info));
    return info.poisoned;
}

/* Close, and look at what an untampered system finds. */
static void check_reopened(struct nvmmio_stream *stream, int closed, uint64_t bytes)
{
    int got;

    memset(&fail.pwritev, 0, sizeof(unsigned) * 5);
    got = nvmmio_stream_close(stream);
    check_eq(got, closed);
    nv_process_destroy(process);
    stream = kit_open(scratch.path, kit_size, 0);
    kit_check(stream, bytes, SEED);
    kit_append(stream, 10, SEED);
    kit_close(stream);
    kit_check_plain(scratch.path, bytes + 10, SEED);
}

/* ---- no space ------------------------------------------------------------------------------ */

static void an_append_without_space_appends_nothing(void)
{
    struct nvmmio_stream *stream = open_page();
    int64_t before;

    kit_append(stream, 5000, SEED);
    for (unsigned i = 0; i < 2; i++) {
        before = file_bytes(scratch.path);
        fail.error = i ? -EFBIG : -ENOSPC;
        fail.part = true;
        if (kit_size == NVMMIO_SIZE_EXACT)
            fail.pwritev = 1;
        else
            fail.allocate = 1;
        check_error(append_zeros(stream, 3 * MIB), fail.error);
        check_eq(nvmmio_stream_size(stream), 5000 + i * 1000);
        check_eq(file_bytes(scratch.path), before);
        fail.pwritev = fail.allocate = 0;
        check(!poisoned(stream));
        kit_append(stream, 1000, SEED);
        check_ok(nvmmio_stream_sync(stream));
    }
    kit_append(stream, 3 * MIB, SEED);
    check_reopened(stream, 0, 7000 + 3 * MIB);
}

static void the_space_that_is_needed_may_be_less(void)
{
    struct nvmmio_stream *stream = open_page();

    kit_append(stream, 30 * MIB, SEED);
    fail.allocate = 1;
    fail.error = -ENOSPC;
    check_error(nvmmio_stream_allocate(stream, 100 * MIB), -ENOSPC);
    kit_check(stream, 30 * MIB, SEED);
    fail.allocate = 0;
    check_ok(nvmmio_stream_allocate(stream, 40 * MIB));
    check_reopened(stream, 0, 30 * MIB);
}

static void append_to_the_limit(void *argument)
{
    struct rlimit limit = {.rlim_cur = 3 * MIB, .rlim_max = 3 * MIB};
    struct nvmmio_stream *stream;

    (void)argument;
    check_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    stream = kit_open(scratch.path, kit_size, 0);
    kit_append(stream, MIB, SEED);
    check_error(append_zeros(stream, 3 * MIB), -EFBIG);
    check_error(append_zeros(stream, 2 * MIB + 1), -EFBIG);
    kit_append(stream, 5, SEED);
    check_ok(nvmmio_stream_sync(stream));
    check_error(nvmmio_stream_truncate(stream, 4 * MIB), -EFBIG);
    kit_check(stream, MIB + 5, SEED);
    kit_close(stream);
}

static void a_limit_is_an_error_not_a_signal(void)
{
    child_run(append_to_the_limit, NULL);
    kit_check_plain(scratch.path, MIB + 5, SEED);
    nv_process_destroy(process);
}

/* ---- errors -------------------------------------------------------------------------------- */

static void a_failed_sync_is_not_repeated(void)
{
    struct nvmmio_stream *stream = open_page();

    kit_append(stream, 100, SEED);
    check_ok(nvmmio_stream_sync(stream));
    kit_append(stream, 100, SEED);
    fail.sync_data = 1;
    fail.error = -EIO;
    check_error(nvmmio_stream_sync(stream), -EIO);
    fail.sync_data = 0;
    check(poisoned(stream));
    check_error(nvmmio_stream_sync(stream), -EIO);
    check_error(nvmmio_stream_append(stream, "x", 1), -EIO);
    check_error(nvmmio_stream_truncate(stream, 0), -EIO);
    check_error(nvmmio_stream_allocate(stream, 4 * MIB), -EIO);
    kit_check(stream, 200, SEED);
    check_reopened(stream, kit_size == NVMMIO_SIZE_AHEAD ? -EIO : 0, 200);
}

static void what_cannot_be_taken_back_poisons(void)
{
    struct nvmmio_stream *stream = open_page();

    kit_append(stream, 5000, SEED);
    fail.error = -EIO;
    fail.part = true;
    fail.pwritev = fail.allocate = fail.truncate = 1;
    check_error(append_zeros(stream, 3 * MIB), -EIO);
    check(poisoned(stream));
    check_error(append_zeros(stream, 1), -EIO);
    check_reopened(stream, kit_size == NVMMIO_SIZE_AHEAD ? -EIO : 0, 5000);
}

static void a_write_that_fails_midway(void)
{
    struct nvmmio_stream *stream = open_page();

    kit_append(stream, 5000, SEED);
    for (unsigned n = 1; n <= 2; n++) { /* the data, then the slot where there is one */
        fail.error = -EIO;
        fail.part = true;
        fail.pwritev = n;
        if (append_zeros(stream, 100) == 100) {
            check_eq(kit_size, NVMMIO_SIZE_EXACT);
            check_ok(nvmmio_stream_truncate(stream, 5000));
        }
        fail.pwritev = 0;
        check_eq(nvmmio_stream_size(stream), 5000);
    }
    check_eq(poisoned(stream), kit_size == NVMMIO_SIZE_AHEAD);
    check_reopened(stream, kit_size == NVMMIO_SIZE_AHEAD ? -EIO : 0, 5000);
}

static void a_close_that_cannot_cut_is_made_up_for(void)
{
    struct nvmmio_stream *stream = open_page();

    kit_append(stream, 5000, SEED);
    check_ok(nvmmio_stream_allocate(stream, 3 * MIB));
    fail.truncate = 1;
    fail.error = -EIO;
    check_error(nvmmio_stream_close(stream), -EIO);
    nv_process_destroy(process);
    stream = kit_open(scratch.path, kit_size, 0);
    kit_check(stream, 5000, SEED);
    kit_close(stream);
    kit_check_plain(scratch.path, 5000, SEED);
}

static void what_cannot_be_mapped_is_read_all_the_same(void)
{
    struct nvmmio_stream *stream = kit_open(scratch.path, kit_size, 0);
    const void *view;

    kit_append(stream, 100000, SEED);
    kit_close(stream);
    fail.map = 2; /* the first is the question whether MAP_SYNC works */
    fail.error = -ENOMEM;
    stream = open_on(NVMMIO_MEDIUM_AUTO, NVMMIO_READ_ONLY);
    check_error(nvmmio_stream_view(stream, 0, 1, &view), -EOPNOTSUPP);
    kit_check(stream, 100000, SEED);
    kit_close(stream);
    nv_process_destroy(process);
}

/* ---- beside a sync ------------------------------------------------------------------------- */

static void append_during_a_sync(void *argument)
{
    const uint64_t *bytes = argument;
    struct nvmmio_stream *stream;

    process = rig_process(&os); /* its own */
    stream = open_page();

    kit_append(stream, 5000, SEED);
    for (unsigned i = 0; i < 2; i++) {
        kit_append(stream, 100, SEED);
        fail.append_in_sync = stream;
        fail.append_bytes = *bytes;
        check_ok(nvmmio_stream_sync(stream));
        kit_append(stream, 50, SEED);
    }
}

/* The hash over what was not synced has to begin where the sync did. */
static void appends_during_a_sync_are_found(void)
{
    static uint64_t during[] = {1, 5000, 3 * MIB};

    nv_process_destroy(process);
    for (unsigned i = 0; i < sizeof(during) / sizeof(during[0]); i++) {
        begin();
        child_run(append_during_a_sync, &during[i]);
        nv_process_destroy(process);
        struct nvmmio_stream *stream = kit_open(scratch.path, kit_size, NVMMIO_READ_ONLY);
        kit_check(stream, 5300 + 2 * during[i], SEED);
        kit_close(stream);
    }
}

/* ---- large offsets ------------------------------------------------------------------------- */

static void offsets_past_four_gibibytes(void)
{
    const uint64_t gib5 = 5 * 1024 * MIB + 3;
    struct nvmmio_stream *stream = open_page();
    uint8_t want[1000], got[1000];

    check_ok(nvmmio_stream_truncate(stream, gib5));
    kit_fill(want, sizeof(want), 0, SEED);
    check_eq(nvmmio_stream_append(stream, want, sizeof(want)), sizeof(want));
    check_ok(nvmmio_stream_sync(stream));
    check_eq(nvmmio_stream_append(stream, want, sizeof(want)), sizeof(want));
    check_eq(nvmmio_stream_pread(stream, got, sizeof(got), gib5), sizeof(got));
    check_eq(memcmp(got, want, sizeof(got)), 0);
    check_eq(nvmmio_stream_pread(stream, got, sizeof(got), gib5 + 1500), 500);
    check_eq(nvmmio_stream_size(stream), gib5 + 2000);
    check_ok(nvmmio_stream_close(stream));
    check_eq(file_bytes(scratch.path), gib5 + 2000);
    nv_process_destroy(process);
}

/* ---- damage -------------------------------------------------------------------------------- */

static void leave_ahead(void *argument)
{
    struct nvmmio_stream *stream = kit_open(scratch.path, NVMMIO_SIZE_AHEAD, 0);

    (void)argument;
    kit_append(stream, 5000, SEED);
    kit_append(stream, 200, SEED);
}

static void damage(uint64_t *random, uint64_t from, uint64_t bytes)
{
    void *content;
    const int64_t total = file_read(scratch.path, &content);

    check(total >= (int64_t)(from + bytes));
    for (unsigned i = 1 + (unsigned)random_below(random, 4); i; i--)
        ((uint8_t *)content)[from + random_below(random, bytes)] ^=
            (uint8_t)(1 + random_below(random, 255));
    file_write(scratch.path, content, (uint64_t)total);
    free(content);
}

/* The newer slot, or the older one, or neither: then the file is what it looks like. */
static void a_damaged_size_block_is_not_believed(void)
{
    uint64_t random = place_seed(__func__);
    unsigned seen[3] = {0};

    nv_process_destroy(process);
    for (uint64_t i = 0; i < place_times(60); i++) {
        struct nvmmio_stream *stream;
        int64_t bytes;

        scratch_empty(&scratch);
        child_run(leave_ahead, NULL);
        check_eq(file_bytes(scratch.path), 2 * MIB);
        damage(&random, 2 * MIB - 4096, 576);
        stream = kit_open(scratch.path, NVMMIO_SIZE_AHEAD, 0);
        bytes = nvmmio_stream_size(stream);
        check(bytes == 5200 || bytes == 5000 || bytes == (int64_t)(2 * MIB));
        seen[bytes == 5200 ? 0 : bytes == 5000 ? 1 : 2]++;
        check_ok(nvmmio_stream_truncate(stream, 5000));
        kit_close(stream);
        kit_check_plain(scratch.path, 5000, SEED);
    }
    printf("%u whole, %u the append before, %u plain\n", seen[0], seen[1], seen[2]);
}

/* A torn last append: its slot is there, its data is not. */
static void a_slot_without_its_data_is_not_believed(void)
{
    uint64_t random = place_seed(__func__);
    struct nvmmio_stream *stream;

    nv_process_destroy(process);
    child_run(leave_ahead, NULL);
    damage(&random, 5000, 200);
    stream = kit_open(scratch.path, NVMMIO_SIZE_AHEAD, NVMMIO_READ_ONLY);
    /* In memory each append is durable by itself; on a disk nothing was synced. */
    if (place_kind() == PLACE_PAGE)
        check(nvmmio_stream_size(stream) == 0 || nvmmio_stream_size(stream) == 5000);
    else
        check_eq(nvmmio_stream_size(stream), 5000);
    kit_check(stream, (uint64_t)nvmmio_stream_size(stream), SEED);
    kit_close(stream);
}

/* A copy is another file: nothing in it is taken for a size. */
static void a_copied_size_block_counts_for_nothing(void)
{
    struct nvmmio_stream *stream;

    nv_process_destroy(process);
    child_run(leave_ahead, NULL);
    file_copy(scratch.path, scratch_file(&scratch, "copy"));
    check_eq(nvmmio_stream_recover(scratch_file(&scratch, "copy")), 0);
    stream = kit_open(scratch_file(&scratch, "copy"), NVMMIO_SIZE_AHEAD, 0);
    check_eq(nvmmio_stream_size(stream), 2 * MIB);
    kit_append(stream, 10, SEED);
    kit_close(stream);
    check_eq(file_bytes(scratch_file(&scratch, "copy")), 2 * MIB + 10);
}

/* ---- the list ------------------------------------------------------------------------------ */

static int run(void)
{
    static const struct kit_test tests[] = {
        KIT_TEST(an_append_without_space_appends_nothing),
        KIT_TEST(the_space_that_is_needed_may_be_less),
        KIT_TEST(a_limit_is_an_error_not_a_signal),
        KIT_TEST(a_failed_sync_is_not_repeated),
        KIT_TEST(what_cannot_be_taken_back_poisons),
        KIT_TEST(a_write_that_fails_midway),
        KIT_TEST(a_close_that_cannot_cut_is_made_up_for),
        KIT_TEST(what_cannot_be_mapped_is_read_all_the_same),
        KIT_TEST(appends_during_a_sync_are_found),
        KIT_TEST(offsets_past_four_gibibytes),
        KIT_TEST(a_damaged_size_block_is_not_believed),
        KIT_TEST(a_slot_without_its_data_is_not_believed),
        KIT_TEST(a_copied_size_block_counts_for_nothing),
    };

    return kit_run(begin, tests, sizeof(tests) / sizeof(tests[0]));
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
