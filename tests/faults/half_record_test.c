/*
 * A record's write that fails half done: of a small commit the half is all that
 * counts, and only its padding is missing.  It was told as failed and rolled back,
 * so no recovery may find it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/faults/fast_disk.h"
#include "tests/faults/inject.h"

enum outcome { FAILED, COMMITTED, IN_DOUBT };

static struct told { /* by a child that dies */
    bool cut;
    enum outcome outcome;
} * told;

static int setup(void **state)
{
    (void)state;
    fast_disk_scratch(&scratch);
    return 0;
}

/* `argument`: the transfer of the second commit that is cut short. */
static void commit_and_die(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio_info info;
    struct nvmmio *handle = NULL;
    int error;

    options.flags = NVMMIO_CREATE;
    check_ok(nvmmio_open(scratch_file(&scratch, "db"), &options, &handle));
    engine_write(handle, "old", 3, 0);
    check_ok(nvmmio_sync(handle));
    engine_write(handle, "new", 3, 0);
    inject_begin(INJECT_SHORT, *(uint64_t *)argument, false);
    error = nvmmio_sync(handle);
    told->cut = inject_end();
    if (error)
        check_ok(nvmmio_rollback(handle));
    check_ok(nvmmio_info(handle, &info));
    told->outcome = info.poisoned ? IN_DOUBT : error ? FAILED : COMMITTED;
    _exit(0); /* without a close */
}

static void a_commit_that_failed_does_not_come_back(void **state)
{
    uint64_t n = 0;

    (void)state;
    told = child_memory(sizeof(*told));
    do {
        struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
        struct nvmmio *handle = NULL;
        char content[4] = "";

        n++;
        check_note("transfer %llu of the commit is cut short", (unsigned long long)n);
        scratch_empty(&scratch);
        child_run(commit_and_die, &n);
        check_ok(nvmmio_open(scratch_file(&scratch, "db"), &options, &handle));
        check_eq(nvmmio_pread(handle, content, 3, 0), 3);
        if (strcmp(content, "old") != 0 || told->outcome == COMMITTED) {
            check(told->outcome != FAILED);
            check_eq(strcmp(content, "new"), 0);
        }
        engine_close(handle);
    } while (told->cut);
    printf("%llu transfers\n", (unsigned long long)n - 1);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_commit_that_failed_does_not_come_back, setup,
                                        scratch_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run_all, NULL);
}
