/*
 * The engine against the model: a fixed budget of seeded programs, each with a
 * power loss at every event, on both kinds of media; and the proof that it can
 * fail: with a kind of persistence step left out, it does.
 *
 * sim_explore does the same without a bound, and shows a failure again.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/sim/report.h"

/* Crash images for each kind of media; sanitizers make each one dear. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BUDGET 40000u
#else
#define BUDGET 300000u
#endif
#define MUTANT_BUDGET 100000u
#define HANG_SECONDS 600u

/* Simulated processes that die keep their memory, as real ones do not. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

static const struct explore *at_explore;
static const struct program *at_program;
static struct program_plan plan;

/* NOLINTBEGIN(bugprone-signal-handler): it may hang or crash again, but what it says is needed. */
static void die(int signal)
{
    fprintf(stderr, "signal %d%s\n", signal, signal == SIGALRM ? ": it hangs" : "");
    if (at_program) {
        report_program(stderr, at_program);
        report_command(stderr, at_explore, at_program, &plan);
    }
    _exit(1);
}
/* NOLINTEND(bugprone-signal-handler) */

/* Programs from `seed` on until `budget` images; true: nothing was found. */
static bool explore(struct explore *explore, uint64_t seed, uint64_t budget,
                    struct program *program)
{
    at_explore = explore;
    at_program = program;
    (void)alarm(HANG_SECONDS);
    for (; explore_images(explore) < budget; seed++) {
        program_make(program, seed, &plan);
        if (!explore_program(explore, program))
            return false;
    }
    return true;
}

/* True: from `seed` on, `budget` images at least show nothing wrong. */
static bool passes(enum sim_semantics semantics, uint64_t seed, uint64_t budget)
{
    struct explore *at = malloc(sizeof *at);
    struct program program;
    struct explore_options options = explore_defaults;
    struct timespec begin;
    struct timespec end;
    options.semantics = semantics;
    plan.aparts = semantics == SIM_MIXED;
    assert_non_null(at);
    explore_init(at, &options);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    bool fine = explore(at, seed, budget, &program);
    clock_gettime(CLOCK_MONOTONIC, &end);
    report_counts(stderr, at,
                  (double)(end.tv_sec - begin.tv_sec) +
                      (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    if (!fine) {
        explore_shrink(at, &program);
        report_violation(stderr, at, &program, &plan);
    }
    explore_free(at);
    free(at);
    return fine;
}

static void nothing_is_lost_on_dax(void **state)
{
    (void)state;
    assert_true(passes(SIM_DAX, 1, BUDGET));
}

static void nothing_is_lost_on_page(void **state)
{
    (void)state;
    assert_true(passes(SIM_PAGE, 1, BUDGET));
}

static void nothing_is_lost_on_both(void **state)
{
    (void)state;
    assert_true(passes(SIM_MIXED, 1, BUDGET));
}

/* Programs in which something was found once. */
static void what_was_found_stays_mended(void **state)
{
    static const struct {
        enum sim_semantics semantics;
        uint64_t seed;
    } found[] = {
        {SIM_DAX, 510000007}, /* a stream that was cut grew again, over its old size block */
        {SIM_MIXED, 17}, /* both headers of a log torn: its stores were not covered by a release */
        {SIM_DAX, 100506},      /* a failed sync_many left its super file, with no way to find it */
        {SIM_PAGE, 100506},     /* the oracle: sync_many failed behind its decision */
        {SIM_DAX, 1000158},     /* recovery committed on a removal that was not durable yet */
        {SIM_MIXED, 1000279},   /* the oracle: a home whose name was not durable is made again */
        {SIM_PAGE, 1000556},    /* a seal that was taken back came again after a take-over */
        {SIM_PAGE, 1000562},    /* a durable record behind one that nobody waited for: refused */
        {SIM_PAGE, 30000401},   /* the header told a size of the log that was not durable yet */
        {SIM_PAGE, 9102},       /* home was flushed, and the log before it was another process's */
        {SIM_PAGE, 70000688},   /* a mark's removal that was lost by a failed sync stayed lost */
        {SIM_PAGE, 100000},     /* a home of less than 128 bytes grew, and its mark did not */
        {SIM_DAX, 90000907},    /* the oracle: who failed to commit keeps others out */
        {SIM_DAX, 90001647},    /* the machine: a write cut short by a death had its whole size */
        {SIM_DAX, 120002330},   /* another program's zeros were taken for space of an empty home */
        {SIM_MIXED, 160000016}, /* a flush left the log behind, where home's fence is cheap */
        {SIM_DAX, 140001046},   /* a rollback cut short: its record came back amid the replay */
        {SIM_MIXED, 160000710}, /* the oracle: a write of nothing gives back what a commit took */
        {SIM_MIXED, 130002210}, /* a sync failed, the next writer's did not, and bytes were lost */
        {SIM_PAGE, 220000532},  /* nobody waited for the first commit, and its size was home's */
        {SIM_DAX, 220001696},   /* the oracle: a death in a call that had failed */
        {SIM_PAGE, 240001625},  /* the oracle: a commit that failed was in the log, and a death */
        {SIM_DAX, 250001655},   /* the oracle: recovery removed what decided, before all was seen */
        {SIM_DAX, 190001227},   /* the oracle: resolved, though a file that decided it stayed */
        {SIM_DAX,
         5065}, /* a stream was cut, and grew before the end of its size block was durable */
    };
    (void)state;
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++)
        assert_true(passes(found[i].semantics, found[i].seed, 1));
}

static struct op *add(struct program *program, enum op_kind kind, uint32_t handle)
{
    struct op *op = &program->ops[program->op_count];
    *op = (struct op){.kind = kind, .handle = handle, .seed = ++program->op_count};
    return op;
}

static struct program *new_program(uint32_t processes)
{
    struct program *program = calloc(1, sizeof *program);
    assert_non_null(program);
    *program = (struct program){
        .seed = 1, .files = 1, .processes = processes, .log_bytes = (uint32_t)NVMMIO_LOG_BYTES_MIN};
    return program;
}

static void passes_by_hand(enum sim_semantics semantics, struct program *program)
{
    struct explore *at = malloc(sizeof *at);
    struct explore_options options = explore_defaults;
    assert_non_null(at);
    options.semantics = semantics;
    options.images_max = 200000;
    explore_init(at, &options);
    bool fine = explore_program(at, program);
    if (!fine)
        report_violation(stderr, at, program, &plan);
    explore_free(at);
    free(at);
    free(program);
    assert_true(fine);
}

/* Each of these commits fills a segment of the log, and only the first one is waited for: whatever
 * is begun again, a durable record stays. */
static void unawaited_commits_turn_the_log_over(void **state)
{
    struct program *program = new_program(1);
    (void)state;
    program->bytes[0] = 1000;
    add(program, OP_OPEN, 0)->number = 2;
    for (uint32_t i = 0; i < 5; i++) {
        struct op *op = add(program, OP_WRITE, 0);
        op->offset = i * 5000;
        op->bytes = 100000;
        (void)add(program, i ? OP_SEAL : OP_SYNC, 0);
        if (i)
            (void)add(program, OP_UNLOCK, 0);
    }
    passes_by_hand(SIM_PAGE, program);
}

/* The sync of a header that says EMPTY fails, and what it was to make durable is lost: the next to
 * recover must not tear the other copy before this one is there. */
static void a_header_that_was_lost_is_written_again(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 12; i++) {
        struct program *program = new_program(2);
        program->marked[0] = program->absent[0] = true;
        add(program, OP_OPEN, 0)->number = 2;
        struct op *op = add(program, OP_WRITE, 0);
        op->offset = 2447;
        op->bytes = 558;
        (void)add(program, OP_SEAL, 0);
        struct op *fault = add(program, OP_FAULT, 0);
        fault->number = 13;
        fault->bytes = 1 + i / 2;
        (void)add(program, OP_CLOSE, 0);
        add(program, OP_OPEN, 1)->number = 2;
        passes_by_hand(i % 2 ? SIM_PAGE : SIM_DAX, program);
    }
}

/* A home that grows within its last page on DAX: no page fault makes its new size durable. */
static void growth_within_a_page_is_durable(void **state)
{
    struct program *program = new_program(1);
    (void)state;
    program->bytes[0] = 1599;
    add(program, OP_OPEN, 0)->number = 2;
    for (uint32_t i = 0; i < 3; i++) {
        struct op *op = add(program, OP_WRITE, 0);
        op->offset = i ? 100 * i : 1700;
        op->bytes = i ? 8 : 500;
        (void)add(program, OP_SYNC, 0);
    }
    passes_by_hand(SIM_DAX, program);
}

/* Who wrote first died before his first commit, and his log was removed; then a program without
 * nvmmio makes the file longer.  Came the log back, it would take that for its own. */
static void a_log_that_was_of_no_use_does_not_come_back(void **state)
{
    (void)state;
    for (enum sim_semantics semantics = SIM_DAX; semantics <= SIM_PAGE; semantics++) {
        struct program *program = new_program(2);
        program->bytes[0] = 1000;
        add(program, OP_OPEN, 0)->number = 2;
        add(program, OP_WRITE, 0)->bytes = 100;
        (void)add(program, OP_KILL, 0);
        struct op *longer = add(program, OP_FOREIGN, 1);
        longer->number = 1;
        longer->bytes = 300;
        passes_by_hand(semantics, program);
    }
}

static void a_missing_step_is_noticed(enum sim_semantics semantics, enum sim_step step)
{
    struct explore *at = malloc(sizeof *at);
    struct program program;
    struct explore_options options = explore_defaults;
    options.semantics = semantics;
    options.depth = 1;
    plan.aparts = false;
    assert_non_null(at);
    explore_init(at, &options);
    at->sim->skip_kinds = 1u << step;
    bool fine = explore(at, 1, MUTANT_BUDGET, &program);
    explore_free(at);
    free(at);
    assert_false(fine);
}

static void missing_fences_are_noticed(void **state)
{
    (void)state;
    a_missing_step_is_noticed(SIM_DAX, SIM_STEP_FENCE);
}

static void missing_flushes_are_noticed(void **state)
{
    (void)state;
    a_missing_step_is_noticed(SIM_DAX, SIM_STEP_FLUSH);
}

static void missing_releases_are_noticed(void **state)
{
    (void)state;
    a_missing_step_is_noticed(SIM_DAX, SIM_STEP_RELEASE);
}

static void missing_syncs_are_noticed(void **state)
{
    (void)state;
    a_missing_step_is_noticed(SIM_DAX, SIM_STEP_SYNC);
    a_missing_step_is_noticed(SIM_PAGE, SIM_STEP_SYNC);
}

static void missing_directory_syncs_are_noticed(void **state)
{
    (void)state;
    a_missing_step_is_noticed(SIM_DAX, SIM_STEP_DIRECTORY);
    a_missing_step_is_noticed(SIM_PAGE, SIM_STEP_DIRECTORY);
}

int main(int argc, char **argv)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_found_stays_mended),
        cmocka_unit_test(unawaited_commits_turn_the_log_over),
        cmocka_unit_test(a_header_that_was_lost_is_written_again),
        cmocka_unit_test(growth_within_a_page_is_durable),
        cmocka_unit_test(a_log_that_was_of_no_use_does_not_come_back),
        cmocka_unit_test(nothing_is_lost_on_dax),
        cmocka_unit_test(nothing_is_lost_on_page),
        cmocka_unit_test(nothing_is_lost_on_both),
        cmocka_unit_test(missing_fences_are_noticed),
        cmocka_unit_test(missing_flushes_are_noticed),
        cmocka_unit_test(missing_releases_are_noticed),
        cmocka_unit_test(missing_syncs_are_noticed),
        cmocka_unit_test(missing_directory_syncs_are_noticed),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    /* After cmocka's own, which know no seed. */
    int result = 0;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        (void)signal(signals[i], die);
    result = cmocka_run_group_tests(tests, NULL, NULL);
    return result;
}
