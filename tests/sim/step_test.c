/*
 * Programs by hand for what random ones seldom come to: a death before each call
 * that makes something durable, and the next process; commits over two files; a
 * transaction that has spilled; a log that turns over.  Each event of them is a
 * loss of power.  They are what tests/mutation holds against single steps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base.h"
#include "tests/sim/report.h"

#define OPEN(who, what)                                                                            \
    {                                                                                              \
        .kind = OP_OPEN, .handle = (who), .other = (what), .number = 2                             \
    }
#define WRITE(who, at, count)                                                                      \
    {                                                                                              \
        .kind = OP_WRITE, .handle = (who), .offset = (at), .bytes = (count)                        \
    }
#define CUT(who, at)                                                                               \
    {                                                                                              \
        .kind = OP_TRUNCATE, .handle = (who), .bytes = (at)                                        \
    }
#define LOCK(who, level)                                                                           \
    {                                                                                              \
        .kind = OP_LOCK, .handle = (who), .number = (level)                                        \
    }
#define UNLOCK(who, level)                                                                         \
    {                                                                                              \
        .kind = OP_UNLOCK, .handle = (who), .number = (level)                                      \
    }
#define DO(what, who)                                                                              \
    {                                                                                              \
        .kind = OP_##what, .handle = (who)                                                         \
    }
#define APPEND(who, count)                                                                         \
    {                                                                                              \
        .kind = OP_STREAM, .handle = (who), .number = STREAM_NUMBERS, .bytes = (count)             \
    }
#define SYNC_STREAM(who)                                                                           \
    {                                                                                              \
        .kind = OP_STREAM, .handle = (who), .number = STREAM_SYNC                                  \
    }
#define BOTH(what, who, second, how)                                                               \
    {                                                                                              \
        .kind = OP_##what, .handle = (who), .other = (second), .number = (how)                     \
    }
#define OPS(...)                                                                                   \
    (const struct op[]){__VA_ARGS__}, sizeof((const struct op[]){__VA_ARGS__}) / sizeof(struct op)

#define SAMPLES 8u

static struct explore explore;

static void play_on(enum sim_semantics semantics, const struct program *program, uint64_t images,
                    uint32_t samples)
{
    static const struct program_plan plan;
    struct explore_options options = explore_defaults;
    options.semantics = semantics;
    options.images_max = images;
    options.depth = 2;
    options.samples = samples;
    options.samples_nested = 3;
    options.nested_one_in = 16;
    explore_init(&explore, &options);
    const bool fine = explore_program(&explore, program);
    if (!fine)
        report_violation(stderr, &explore, program, &plan);
    explore_free(&explore);
    assert_true(fine);
}

/* Of all seeds half leave most bytes as they are (content_fill). */
static uint64_t seed_of_other_bytes(uint64_t seed)
{
    for (uint64_t random = seed; sim_random(&random) % 8 <= 3; random = seed)
        seed++;
    return seed;
}

static struct program make(const struct program *setup, const struct op *ops, size_t count)
{
    struct program program = *setup;
    program.seed = 1;
    program.files = setup->files ? setup->files : 1;
    program.processes = setup->processes ? setup->processes : 1;
    program.log_bytes = (uint32_t)NVMMIO_LOG_BYTES_MIN;
    for (size_t i = 0; i < count; i++) {
        program.ops[i] = ops[i];
        program.ops[i].seed = seed_of_other_bytes(100 * i);
    }
    program.op_count = (uint32_t)count;
    return program;
}

static void play(const struct program *setup, uint64_t images, const struct op *ops, size_t count)
{
    for (uint32_t way = 0; way < 2 * SIM_SEMANTICS; way++) {
        struct program program = make(setup, ops, count);
        program.marked[0] = way / SIM_SEMANTICS;
        play_on((enum sim_semantics)(way % SIM_SEMANTICS), &program, images, SAMPLES);
    }
}

/* The process of operation `at` dies in it: before its first, second, ... call that makes something
 * durable. */
static void play_deaths(const struct program *setup, uint32_t at, uint32_t deaths, uint64_t images,
                        const struct op *ops, size_t count)
{
    for (uint32_t way = 0; way < 2 * SIM_SEMANTICS; way++)
        for (uint32_t death = 1; death <= deaths; death++) {
            struct program program = make(setup, ops, count);
            program.marked[0] = way / SIM_SEMANTICS;
            program.ops[at].die_at = death;
            program.ops[at].die_at_sync = true;
            play_on((enum sim_semantics)(way % SIM_SEMANTICS), &program, images, SAMPLES);
        }
}

static void one_life(void **state)
{
    (void)state;
    play(&(struct program){.bytes = {1000}}, 4000,
         OPS(OPEN(0, 0), WRITE(0, 0, 300), DO(SYNC, 0), WRITE(0, 200, 1500), DO(SYNC, 0),
             CUT(0, 40), DO(SYNC, 0), DO(CLOSE, 0)));
}

static void a_home_that_is_made(void **state)
{
    (void)state;
    play(&(struct program){.absent = {true}}, 4000,
         OPS(OPEN(0, 0), WRITE(0, 10, 90), DO(SYNC, 0), WRITE(0, 3000, 1500), DO(SYNC, 0),
             DO(CLOSE, 0)));
}

static void rolled_back(void **state)
{
    (void)state;
    play(&(struct program){.bytes = {5000}}, 4000,
         OPS(OPEN(0, 0), WRITE(0, 0, 700), DO(SYNC, 0), WRITE(0, 100, 900), DO(SEAL, 0),
             DO(ROLLBACK, 0), DO(READ_ALL, 0), WRITE(0, 4000, 50), DO(SEAL, 0), DO(UNLOCK, 0)));
}

static void the_lock_is_kept(void **state)
{
    const struct op ops[] = {OPEN(1, 1),         LOCK(1, NVMMIO_EXCLUSIVE),
                             WRITE(1, 0, 500),   DO(SYNC, 1),
                             WRITE(1, 600, 700), DO(SYNC, 1),
                             WRITE(1, 0, 9),     DO(SYNC, 1),
                             WRITE(1, 300, 90),  DO(SYNC, 1),
                             DO(READ_ALL, 1)};
    (void)state;
    for (uint32_t apart = 0; apart < 2; apart++)
        play(
            &(struct program){
                .files = 2, .elsewhere = true, .apart = {false, apart}, .bytes = {100, 2000}},
            3000, ops, sizeof ops / sizeof ops[0]);
}

/* In the first write, when the log is made; another has the file open. */
static void a_death_as_the_log_is_made(void **state)
{
    (void)state;
    play_deaths(&(struct program){.processes = 2, .bytes = {1000}}, 2, 8, 600,
                OPS(OPEN(0, 0), OPEN(1, 0), WRITE(0, 0, 300), WRITE(1, 100, 300), DO(SYNC, 1),
                    WRITE(1, 90, 30), DO(SYNC, 1)));
}

static void a_death_in_a_commit(void **state)
{
    (void)state;
    play_deaths(&(struct program){.processes = 2, .bytes = {1000}}, 5, 4, 800,
                OPS(OPEN(0, 0), OPEN(1, 0), WRITE(0, 0, 300), DO(SYNC, 0), WRITE(0, 100, 1300),
                    DO(SYNC, 0), DO(READ_ALL, 1), WRITE(1, 50, 70), DO(SYNC, 1)));
}

static void a_death_in_an_early_commit(void **state)
{
    (void)state;
    play_deaths(&(struct program){.processes = 2, .bytes = {1000}}, 3, 4, 800,
                OPS(OPEN(0, 0), OPEN(1, 0), WRITE(0, 0, 300), DO(SYNC, 0), DO(READ_ALL, 1),
                    WRITE(1, 500, 70), DO(SYNC, 1)));
}

/* Nobody else has it open: the next one recovers. */
static void a_death_alone(void **state)
{
    (void)state;
    play_deaths(&(struct program){.processes = 2, .bytes = {1000}}, 4, 4, 800,
                OPS(OPEN(0, 0), WRITE(0, 0, 300), DO(SYNC, 0), WRITE(0, 100, 1300), DO(SYNC, 0),
                    OPEN(1, 0), WRITE(1, 50, 70), DO(SYNC, 1)));
}

static void a_death_in_the_close(void **state)
{
    (void)state;
    play_deaths(&(struct program){.processes = 2, .bytes = {50}}, 3, 10, 600,
                OPS(OPEN(0, 0), WRITE(0, 0, 100), DO(SYNC, 0), DO(CLOSE, 0), OPEN(1, 0),
                    WRITE(1, 50, 70), DO(SYNC, 1)));
}

static void a_death_before_any_commit(void **state)
{
    (void)state;
    play_deaths(
        &(struct program){.processes = 2, .bytes = {50}}, 1, 8, 600,
        OPS(OPEN(0, 0), WRITE(0, 0, 100), DO(KILL, 0), OPEN(1, 0), WRITE(1, 50, 70), DO(SYNC, 1)));
}

/* A seal that is taken back, and the death of him who did it. */
static void a_seal_and_a_death(void **state)
{
    (void)state;
    play_deaths(&(struct program){.processes = 2, .bytes = {1000}}, 6, 4, 800,
                OPS(OPEN(0, 0), OPEN(1, 0), WRITE(0, 0, 300), DO(SYNC, 0), WRITE(0, 100, 1300),
                    DO(SEAL, 0), DO(ROLLBACK, 0), DO(READ_ALL, 1), WRITE(1, 50, 70), DO(SEAL, 1),
                    DO(UNLOCK, 1)));
}

static void spilled(void **state)
{
    (void)state;
    play(&(struct program){.bytes = {1000}, .stage_bytes = 4096}, 3000,
         OPS(OPEN(0, 0), WRITE(0, 0, 100), DO(SYNC, 0), WRITE(0, 0, 3000), WRITE(0, 9000, 3000),
             WRITE(0, 20000, 3000), DO(SYNC, 0), WRITE(0, 500, 8000), WRITE(0, 15000, 5000),
             DO(ROLLBACK, 0), CUT(0, 700), WRITE(0, 0, 30), DO(SYNC, 0)));
}

static void two_files(void **state)
{
    (void)state;
    for (uint32_t elsewhere = 0; elsewhere < 2; elsewhere++)
        play(&(struct program){.files = 2, .elsewhere = elsewhere, .bytes = {1000, 700}}, 4000,
             OPS(OPEN(0, 0), OPEN(1, 1), WRITE(0, 0, 300), WRITE(1, 20, 300),
                 BOTH(SYNC_MANY, 0, 1, 0), WRITE(0, 100, 30), WRITE(1, 0, 1000),
                 BOTH(SYNC_MANY, 1, 0, 0)));
}

static void a_death_over_two_files(void **state)
{
    (void)state;
    play_deaths(&(struct program){.files = 2, .processes = 2, .bytes = {1000, 700}}, 4, 20, 300,
                OPS(OPEN(0, 0), OPEN(2, 1), WRITE(0, 0, 300), WRITE(2, 20, 300),
                    BOTH(SYNC_MANY, 0, 2, 0), OPEN(1, 0), OPEN(3, 1), WRITE(1, 100, 30),
                    DO(SYNC, 1)));
}

/* The same, and others have both of them open. */
static void a_death_over_two_files_in_use(void **state)
{
    (void)state;
    play_deaths(&(struct program){.files = 2, .processes = 2, .bytes = {1000, 700}}, 6, 20, 300,
                OPS(OPEN(0, 0), OPEN(2, 1), OPEN(1, 0), OPEN(3, 1), WRITE(0, 0, 300),
                    WRITE(2, 20, 300), BOTH(SYNC_MANY, 0, 2, 0), DO(READ_ALL, 1), DO(READ_ALL, 3),
                    WRITE(1, 100, 30), DO(SYNC, 1)));
}

/* There is no space for it, sooner or later. */
static void two_files_without_space(void **state)
{
    (void)state;
    for (uint32_t after = 0; after < 8; after++)
        play(&(struct program){.files = 2, .processes = 2, .bytes = {1000, 700}}, 300,
             OPS(OPEN(0, 0), OPEN(2, 1), WRITE(0, 0, 300), WRITE(2, 20, 300), DO(SYNC, 0),
                 DO(SYNC, 2), WRITE(0, 0, 300), WRITE(2, 20, 300),
                 {.kind = OP_FAULT, .number = 3, .bytes = after}, BOTH(SYNC_MANY, 0, 2, 0)));
}

static void prepared(void **state)
{
    (void)state;
    for (uint32_t outcome = 0; outcome < 2; outcome++)
        play(&(struct program){.files = 2, .bytes = {1000, 700}}, 2000,
             OPS(OPEN(0, 0), OPEN(1, 1), WRITE(0, 0, 300), WRITE(1, 20, 300),
                 BOTH(PREPARE, 0, 1, 1), BOTH(RESOLVE, 0, 1, outcome), WRITE(0, 9, 9),
                 DO(SYNC, 0)));
}

static void prepared_and_dead(void **state)
{
    (void)state;
    play_deaths(&(struct program){.files = 2, .processes = 2, .bytes = {1000, 700}}, 5, 8, 300,
                OPS(OPEN(0, 0), OPEN(2, 1), WRITE(0, 0, 300), WRITE(2, 20, 300),
                    BOTH(PREPARE, 0, 2, 1), BOTH(RESOLVE, 0, 2, 1), OPEN(1, 0), OPEN(3, 1),
                    WRITE(1, 9, 9), DO(SYNC, 1)));
}

static void the_log_turns_over(void **state)
{
    (void)state;
    play(&(struct program){.bytes = {1000}}, 500,
         OPS(OPEN(0, 0), WRITE(0, 0, 60000), DO(SYNC, 0), WRITE(0, 50000, 100), DO(SYNC, 0),
             WRITE(0, 10000, 90000), DO(SYNC, 0), WRITE(0, 70000, 100), DO(SYNC, 0),
             WRITE(0, 0, 60000), DO(SYNC, 0), WRITE(0, 0, 100), DO(SYNC, 0), WRITE(0, 40000, 70000),
             DO(SYNC, 0), WRITE(0, 0, 200), DO(SYNC, 0)));
}

/* A commit in the overflow segment, one behind it that was written when home had not got that; then
 * home has, and the segment is cut off. */
static void the_overflow_is_cut_off(void **state)
{
    (void)state;
    for (uint32_t kept = 0; kept < 2; kept++)
        play(&(struct program){.bytes = {21303}}, 300,
             OPS(OPEN(0, 0), LOCK(0, kept ? NVMMIO_EXCLUSIVE : NVMMIO_SHARED),
                 WRITE(0, 6087, 128374), DO(SYNC, 0), WRITE(0, 38410, 512), DO(SYNC, 0),
                 DO(FLUSH, 0), WRITE(0, 10116, 113758), DO(SYNC, 0)));
}

/* Nobody waits for the commit; and who flushes has never opened the log. */
static void a_flush_by_another(void **state)
{
    (void)state;
    play(&(struct program){.processes = 2, .bytes = {1000}}, 3000,
         OPS(OPEN(0, 0), OPEN(1, 0), WRITE(0, 0, 300), DO(SYNC, 0), WRITE(0, 100, 1300),
             DO(SEAL, 0), DO(APPLY, 0), UNLOCK(0, NVMMIO_UNLOCKED), DO(FLUSH, 1), DO(READ_ALL, 1)));
}

/* Nobody waits for the commit that begins a segment; then home is flushed off the commit path. */
static void a_flush_of_what_nobody_waited_for(void **state)
{
    (void)state;
    play(&(struct program){.bytes = {1000}}, 500,
         OPS(OPEN(0, 0), WRITE(0, 0, 60000), DO(SYNC, 0), WRITE(0, 10000, 90000), DO(SEAL, 0),
             DO(APPLY, 0), UNLOCK(0, NVMMIO_UNLOCKED), DO(STEP, 0), DO(READ_ALL, 0)));
}

/* What was found by recovery, and made longer by the next writer. */
static void a_stream_and_a_death(void **state)
{
    const struct op ops[] = {APPEND(0, 0),    APPEND(0, 900), APPEND(0, 300),  SYNC_STREAM(0),
                             APPEND(0, 5000), SYNC_STREAM(0), DO(KILL, 0),     APPEND(1, 0),
                             APPEND(1, 700),  SYNC_STREAM(1), APPEND(1, 9000), SYNC_STREAM(1),
                             APPEND(1, 10)};
    (void)state;
    for (uint32_t less = 0; less < 2; less++) /* in the one slot and in the other */
        for (enum sim_semantics semantics = 0; semantics < SIM_SEMANTICS; semantics++) {
            struct program program = make(
                &(struct program){.processes = 2, .stream = true, .stream_size = NVMMIO_SIZE_AHEAD},
                ops, sizeof ops / sizeof ops[0]);
            if (less)
                program_drop(&program, 2);
            play_on(semantics, &program, 40000, 200);
        }
}

/* What is left of it was durable, and there is a size block in the place of the one that went. */
static void a_stream_that_was_cut(void **state)
{
    const struct op ops[] = {APPEND(0, 0),
                             APPEND(0, 1796),
                             {.kind = OP_STREAM, .number = STREAM_CUT, .offset = 217},
                             APPEND(0, 1413)};
    (void)state;
    for (enum sim_semantics semantics = 0; semantics < SIM_SEMANTICS; semantics++) {
        const struct program program =
            make(&(struct program){.stream = true, .stream_size = NVMMIO_SIZE_AHEAD}, ops,
                 sizeof ops / sizeof ops[0]);
        play_on(semantics, &program, 40000, 200);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_life),
        cmocka_unit_test(a_home_that_is_made),
        cmocka_unit_test(rolled_back),
        cmocka_unit_test(the_lock_is_kept),
        cmocka_unit_test(a_death_as_the_log_is_made),
        cmocka_unit_test(a_death_in_a_commit),
        cmocka_unit_test(a_death_in_an_early_commit),
        cmocka_unit_test(a_death_alone),
        cmocka_unit_test(a_death_in_the_close),
        cmocka_unit_test(a_death_before_any_commit),
        cmocka_unit_test(a_seal_and_a_death),
        cmocka_unit_test(spilled),
        cmocka_unit_test(two_files),
        cmocka_unit_test(a_death_over_two_files),
        cmocka_unit_test(a_death_over_two_files_in_use),
        cmocka_unit_test(two_files_without_space),
        cmocka_unit_test(prepared),
        cmocka_unit_test(prepared_and_dead),
        cmocka_unit_test(the_log_turns_over),
        cmocka_unit_test(the_overflow_is_cut_off),
        cmocka_unit_test(a_flush_by_another),
        cmocka_unit_test(a_flush_of_what_nobody_waited_for),
        cmocka_unit_test(a_stream_and_a_death),
        cmocka_unit_test(a_stream_that_was_cut),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
