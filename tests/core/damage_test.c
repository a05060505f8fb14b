/*
 * Sidecars that are damaged, foreign or not sidecars at all.  Always: recovery
 * or a refusal in words, home untouched by a refusal, and no crash.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

#define COMMITS 9

static char log_path[700], share_path[700];

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    (void)snprintf(log_path, sizeof(log_path), "%s-nvmmio", scratch.path);
    (void)snprintf(share_path, sizeof(share_path), "%s-nvmmio-shm", scratch.path);
    return 0;
}

static void write_and_die(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle;

    (void)argument;
    options.flags = NVMMIO_CREATE;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    handle = engine_open_with(scratch.path, &options);
    for (uint8_t i = 1; i <= COMMITS; i++) {
        engine_fill(handle, 0, 5000, i);
        check_ok(nvmmio_sync(handle));
    }
    parent_send('k');
    (void)parent_receive();
}

/* A home with COMMITS commits in a log that is not merged, and what its files are made of. */
static struct {
    void *home, *log, *share;
    int64_t home_bytes, log_bytes, share_bytes;
} crashed;

static void crash(void)
{
    struct child child;

    scratch_empty(&scratch);
    child_start(&child, write_and_die, NULL);
    child_expect(&child, 'k');
    child_kill(&child);
    free(crashed.home);
    free(crashed.log);
    free(crashed.share);
    crashed.home_bytes = file_read(scratch.path, &crashed.home);
    crashed.log_bytes = file_read(log_path, &crashed.log);
    crashed.share_bytes = file_read(share_path, &crashed.share);
    check(crashed.home_bytes >= 5000 && crashed.log_bytes > 0 && crashed.share_bytes > 0);
}

/* Put bytes into a file that keeps its inode, and so its identity. */
static void put(const char *path, const void *content, int64_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    check(fd >= 0);
    check_eq(ftruncate(fd, bytes), 0);
    check_eq(pwrite(fd, content, (size_t)bytes, 0), bytes);
    close(fd);
}

static void restore(void)
{
    put(scratch.path, crashed.home, crashed.home_bytes);
    put(log_path, crashed.log, crashed.log_bytes);
    put(share_path, crashed.share, crashed.share_bytes);
}

static void home_untouched(void)
{
    void *content;
    int64_t bytes = file_read(scratch.path, &content);

    check_eq(bytes, crashed.home_bytes);
    check(memcmp(content, crashed.home, (size_t)bytes) == 0);
    free(content);
}

/* Open, in a child: a crash of it is one of the answers that are not allowed. */
static void open_damaged(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio *handle = NULL;
    int result;

    options.timeout_ms = 0;
    result = nvmmio_open(scratch.path, &options, &handle);
    *(int *)argument = result;
    if (result) {
        check(nvmmio_last_error()[0] != '\0');
        check(handle == NULL);
        return;
    }
    *(int *)argument = engine_byte(handle, 0);
    check_eq(nvmmio_size(handle), 5000);
    engine_check_fill(handle, 0, 5000, engine_byte(handle, 0));
    engine_fill(handle, 0, 5000, 77);
    check_ok(nvmmio_sync(handle));
    engine_close(handle);
}

/* The result of open, or which commit it found. */
static int try_open(void)
{
    static int *result;

    if (!result)
        result = child_memory(sizeof(*result));
    *result = 0;
    child_run(open_damaged, result);
    return *result;
}

/* A refusal that changes nothing, or the last commits; never another state. */
static void check_outcome(int outcome)
{
    if (outcome == -EUCLEAN) {
        home_untouched();
        return;
    }
    if (outcome < COMMITS - 1)
        check_fail("the outcome is %d: %s", outcome,
                   outcome < 0 ? nvmmio_strerror(outcome) : "an old commit");
}

static void flip(const char *path, int64_t at)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    check(fd >= 0);
    check_eq(pread(fd, &byte, 1, at), 1);
    byte = (uint8_t)(byte ^ (1u << (at % 8)));
    check_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void any_byte_of_the_log_flipped(void **state)
{
    const uint64_t times = place_times(400);
    uint64_t random;
    int refused = 0;

    (void)state;
    crash();
    random = place_seed(__func__);
    /* Few bytes lead to a refusal: thinned, it goes on until one has. */
    for (uint64_t i = 0; i < times || (refused == 0 && i < 4000); i++) {
        int64_t at = i % 2 ? (int64_t)random_below(&random, 4096)
                           : (int64_t)random_below(&random, (uint64_t)crashed.log_bytes);
        int outcome;

        if (at >= crashed.log_bytes)
            continue;
        restore();
        flip(log_path, at);
        check_note("log byte %lld of %lld flipped", (long long)at, (long long)crashed.log_bytes);
        outcome = try_open();
        check_outcome(outcome);
        refused += outcome < 0;
    }
    printf("%d refused\n", refused);
    check(refused > 0);
    restore();
    check_eq(try_open(), COMMITS);
}

static void any_byte_of_the_shared_page_flipped(void **state)
{
    uint64_t random;

    (void)state;
    crash();
    random = place_seed(__func__);
    for (uint64_t i = 0; i < place_times(200); i++) {
        int64_t at = i % 2 ? (int64_t)random_below(&random, 4096)
                           : (int64_t)random_below(&random, (uint64_t)crashed.share_bytes);

        if (at >= crashed.share_bytes)
            continue;
        restore();
        flip(share_path, at);
        check_note("shared page byte %lld flipped", (long long)at);
        check_eq(try_open(), COMMITS); /* it can be made again from home and log */
    }
}

static void a_log_cut_anywhere(void **state)
{
    uint64_t random;

    (void)state;
    crash();
    random = place_seed(__func__);
    for (uint64_t i = 0; i < place_times(100); i++) {
        int64_t bytes =
            i < 3 ? (int64_t)i * 64
                  : (int64_t)random_below(&random, i % 2 ? 20000 : (uint64_t)crashed.log_bytes);

        if (bytes >= crashed.log_bytes)
            continue;
        restore();
        check_eq(truncate(log_path, bytes), 0);
        check_note("log cut to %lld of %lld", (long long)bytes, (long long)crashed.log_bytes);
        check_outcome(try_open());
    }
}

static void random_bytes_for_sidecars(void **state)
{
    static uint64_t noise[65536 / 8];
    uint64_t random;

    (void)state;
    crash();
    random = place_seed(__func__);
    for (uint64_t i = 0; i < place_times(60); i++) {
        int64_t bytes = 1 + (int64_t)random_below(&random, sizeof(noise));

        for (size_t at = 0; at < sizeof(noise) / 8; at++)
            noise[at] = random_next(&random);
        restore();
        check_note("%lld random bytes, round %llu", (long long)bytes, (unsigned long long)i);
        if (i % 3 != 1)
            put(share_path, noise, bytes);
        if (i % 3 != 0) {
            put(log_path, noise, bytes);
            check_eq(try_open(), -EUCLEAN);
            home_untouched();
        } else {
            check_eq(try_open(), COMMITS);
        }
    }
}

static void headers_kept_and_the_rest_random(void **state)
{
    uint64_t random;

    (void)state;
    crash();
    random = place_seed(__func__);
    for (uint64_t i = 0; i < place_times(60); i++) {
        uint8_t *noise = malloc((size_t)crashed.log_bytes);
        int64_t keep = (int64_t)64 << random_below(&random, 9);

        check(noise != NULL);
        memcpy(noise, crashed.log, (size_t)crashed.log_bytes);
        for (int64_t at = keep; at < crashed.log_bytes; at++)
            noise[at] = (uint8_t)random_next(&random);
        restore();
        put(log_path, noise, crashed.log_bytes);
        free(noise);
        check_note("%lld bytes kept", (long long)keep);
        if (try_open() == -EUCLEAN)
            home_untouched();
    }
}

static void the_log_of_another_file(void **state)
{
    const char *other = scratch_file(&scratch, "other");
    struct nvmmio *handle = NULL;
    void *content;

    (void)state;
    crash();
    file_write(other, "another", 7);
    check_eq(rename(log_path, scratch_file(&scratch, "other-nvmmio")), 0);
    check_error(nvmmio_open(other, NULL, &handle), -EUCLEAN);
    check(strstr(nvmmio_last_error(), "other") != NULL);
    check_eq(file_read(other, &content), 7);
    check(memcmp(content, "another", 7) == 0);
    free(content);
    check_eq(rename(scratch_file(&scratch, "other-nvmmio"), log_path), 0);
    check_eq(try_open(), COMMITS);
}

/* A home replaced by a copy of itself under the same name is another file. */
static void the_home_replaced_under_its_log(void **state)
{
    struct nvmmio *handle = NULL;

    (void)state;
    crash();
    file_write(scratch_file(&scratch, "new"), "replaced", 8);
    check_eq(rename(scratch_file(&scratch, "new"), scratch.path), 0);
    check_error(nvmmio_open(scratch.path, NULL, &handle), -EUCLEAN);
    check_eq(file_bytes(scratch.path), 8);
    check_eq(unlink(log_path), 0); /* what the message may tell to do */
    handle = engine_open(scratch.path);
    check_eq(engine_byte(handle, 0), 'r');
    engine_close(handle);
}

static void something_else_in_a_sidecars_place(void **state)
{
    const char *victim = scratch_file(&scratch, "victim");

    (void)state;
    for (int which = 0; which < 2; which++) {
        const char *path = which ? share_path : log_path;

        crash();
        check_eq(unlink(path), 0);
        file_write(victim, "precious", 8);
        check_eq(symlink("victim", path), 0);
        check_eq(try_open(), -ELOOP);
        check_eq(file_bytes(victim), 8);
        check_eq(unlink(path), 0);
        check_eq(symlink("nowhere", path), 0);
        check_eq(try_open(), -ELOOP);
        check(!file_exists(scratch_file(&scratch, "nowhere")));
        check_eq(unlink(path), 0);
        check_eq(mkdir(path, 0755), 0);
        check(try_open() < 0);
        check_eq(rmdir(path), 0);
        check_eq(mkfifo(path, 0644), 0);
        check(try_open() < 0); /* and does not wait for a writer of the pipe */
        check_eq(unlink(path), 0);
        home_untouched();
        put(path, which ? crashed.share : crashed.log,
            which ? crashed.share_bytes : crashed.log_bytes);
    }
}

static void a_shared_page_that_is_gone(void **state)
{
    (void)state;
    crash();
    check_eq(unlink(share_path), 0);
    check_eq(try_open(), COMMITS);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(any_byte_of_the_log_flipped),
        T(any_byte_of_the_shared_page_flipped),
        T(a_log_cut_anywhere),
        T(random_bytes_for_sidecars),
        T(headers_kept_and_the_rest_random),
        T(the_log_of_another_file),
        T(the_home_replaced_under_its_log),
        T(something_else_in_a_sidecars_place),
        T(a_shared_page_that_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run, NULL);
}
