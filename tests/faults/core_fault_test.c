/*
 * Every call of the engine to the system fails once, and then for good: a life
 * of two files (creation, commits, spills, rollback, flush, several files as
 * one, rename, recovery) is run again and again, with the first, the second, ...
 * call failing, until a run has no call left to fail.
 *
 * After each: every acknowledged commit is there, none but one in doubt besides;
 * a failure says what failed; nothing is held any more; the files work.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/faults/fast_disk.h"
#include "tests/faults/inject.h"

#define FILES 2
#define STAGE_BYTES 32768 /* larger transactions spill */
#define DOUBTS 64

/* One of the files, and what may be in it. */
struct life {
    char path[700];
    struct nvmmio *handle;
    struct model *model;
    uint64_t acknowledged;
    bool doubt; /* the next one may be there as well */
};

static struct life lives[FILES];
static enum nvmmio_medium medium;
static bool marked;
static uint64_t seed;
static bool stopped; /* a commit over several files is in doubt: the end of this run tells */

static int setup(void **state)
{
    (void)state;
    fast_disk_scratch(&scratch);
    return 0;
}

/* ---- what is done, and what is known of it -------------------------------------------------- */

/* A failure names the file that it is about, unless there was no memory to say it of. */
static int told(const char *what, int64_t result)
{
    const char *words = nvmmio_last_error();

    inject_pause();
    if (result < 0 && result != -EBUSY &&
        (!*words || (result != -ENOMEM && !strstr(words, scratch.directory))))
        check_fail("%s fails with %s, and says \"%s\"", what, nvmmio_strerror((int)result), words);
    inject_resume();
    return result < 0 ? (int)result : 0;
}

static void model_at(struct life *life)
{
    inject_pause();
    memset(life->model->content, 0, sizeof(life->model->content));
    life->model->bytes = life->model->number = 0;
    model_advance(life->model, life->acknowledged);
    inject_resume();
}

static struct nvmmio_options life_options(void)
{
    static const struct nvmmio_mark mark = {
        .bytes = 40, .nonce_at = 24, .mask = {[7] = 9}, .empty = {[7] = 9}, .sign = {[7] = 1}};
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    options.flags = NVMMIO_CREATE;
    options.medium = medium;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    options.stage_bytes = STAGE_BYTES;
    options.timeout_ms = 0;
    options.mark = marked ? &mark : NULL;
    return options;
}

/* What recovery made of a commit in doubt. */
static void decide(struct life *life)
{
    int64_t number = model_number(life->handle);

    if (told("read", number) != 0)
        return;
    if ((uint64_t)number != life->acknowledged && (uint64_t)number != life->acknowledged + 1)
        check_fail("%s holds commit %lld; %llu was acknowledged, and the next is in doubt",
                   life->path, (long long)number, (unsigned long long)life->acknowledged);
    life->acknowledged = (uint64_t)number;
    life->doubt = false;
}

static bool life_open(struct life *life)
{
    struct nvmmio_options options = life_options();

    if (stopped)
        return false;
    if (life->handle)
        return true;
    if (told("open", nvmmio_open(life->path, &options, &life->handle)) != 0)
        life->handle = NULL;
    if (life->handle && life->doubt)
        decide(life);
    return life->handle != NULL;
}

static void life_close(struct life *life)
{
    struct nvmmio *handle = life->handle;

    life->handle = NULL;
    if (handle)
        (void)told("close", nvmmio_close(handle));
}

/* What a live handle shows is the last acknowledged state, or nothing. */
static void look(struct life *life)
{
    static uint8_t content[MODEL_BYTES_MAX];
    ssize_t got = nvmmio_pread(life->handle, content, sizeof(content), 0);

    if (told("read", got) != 0)
        return;
    model_at(life);
    if ((uint64_t)got != life->model->bytes ||
        memcmp(content, life->model->content, (size_t)got) != 0)
        check_fail("%s does not show commit %llu", life->path,
                   (unsigned long long)life->acknowledged);
}

static bool poisoned(struct life *life)
{
    struct nvmmio_info info;

    return nvmmio_info(life->handle, &info) != 0 || info.poisoned;
}

/* A transaction that failed: it is in doubt when the file refuses writes for it, else it must not
 * have been.  Live handles show neither. */
static void failed(struct life *life)
{
    bool taken_back = told("rollback", nvmmio_rollback(life->handle)) == 0;

    life->doubt = life->doubt || !taken_back || poisoned(life);
    look(life);
}

static void life_commit(struct life *life)
{
    int error;

    if (!life_open(life))
        return;
    model_at(life);
    error = told("stage", model_step(life->model, life->handle));
    if (error) {
        (void)told("rollback", nvmmio_rollback(life->handle));
        look(life);
        return;
    }
    error = told("sync", nvmmio_sync(life->handle));
    if (error) {
        failed(life);
        return;
    }
    if (life->doubt)
        check_fail("%s takes a commit over one in doubt", life->path);
    life->acknowledged++;
    look(life);
}

static void life_steps(struct life *life)
{
    int error;

    if (!life_open(life))
        return;
    model_at(life);
    error = told("stage", model_step(life->model, life->handle));
    if (!error)
        error = told("seal", nvmmio_seal(life->handle));
    if (!error)
        error = told("apply", nvmmio_apply(life->handle));
    if (error)
        failed(life);
    else
        life->acknowledged++;
    (void)told("unlock", nvmmio_unlock(life->handle, NVMMIO_UNLOCKED));
}

static void life_prepare(struct life *life, bool commit)
{
    int error;

    if (!life_open(life))
        return;
    model_at(life);
    error = told("stage", model_step(life->model, life->handle));
    if (!error)
        error = told("prepare",
                     nvmmio_prepare(life->handle, scratch_file(&scratch, "never-there"), NULL));
    if (!error)
        error = told("resolve", nvmmio_resolve(life->handle, commit));
    if (error)
        failed(life);
    else if (commit)
        life->acknowledged++;
    look(life);
}

static void life_rest(struct life *life)
{
    struct nvmmio *second = NULL;
    struct nvmmio_options options = life_options();
    struct nvmmio_info info;

    if (!life_open(life))
        return;
    if (told("write", nvmmio_pwrite(life->handle, "xx", 2, 100)) == 0)
        (void)told("rollback", nvmmio_rollback(life->handle));
    (void)told("flush", nvmmio_flush(life->handle));
    (void)told("allocate", nvmmio_allocate(life->handle, (uint64_t)5 << 20));
    (void)told("info", nvmmio_info(life->handle, &info));
    look(life);
    if (told("open", nvmmio_open(life->path, &options, &second)) == 0) {
        (void)told("lock", nvmmio_lock(second, NVMMIO_RESERVED, 0));
        (void)told("close", nvmmio_close(second));
    }
}

static void commit_many(void)
{
    struct nvmmio *handles[FILES];
    int error = 0;

    for (size_t i = 0; i < FILES; i++) {
        if (!life_open(&lives[i]))
            return;
        handles[i] = lives[i].handle;
    }
    for (size_t i = 0; i < FILES && !error; i++) {
        model_at(&lives[i]);
        error = told("stage", model_step(lives[i].model, lives[i].handle));
    }
    if (!error)
        error = told("sync_many", nvmmio_sync_many(handles, FILES));
    for (size_t i = 0; i < FILES; i++) {
        if (error) {
            bool taken_back = told("rollback", nvmmio_rollback(lives[i].handle)) == 0;

            stopped = stopped || error == -EIO || !taken_back || poisoned(&lives[i]);
        } else if (lives[i].doubt) {
            check_fail("%s takes a commit over one in doubt", lives[i].path);
        } else {
            lives[i].acknowledged++;
        }
    }
}

static void rename_and_back(struct life *life)
{
    const char *other = scratch_file(&scratch, "other");
    struct nvmmio_report report;

    if (stopped)
        return;
    (void)told("check", nvmmio_check(life->path, NULL, &report));
    (void)told("rename", nvmmio_rename(life->path, other));
    if (!file_exists(life->path))
        (void)told("rename", nvmmio_rename(other, life->path));
    if (!file_exists(life->path))
        stopped = true; /* without a failure it will come back */
}

/* ---- one run -------------------------------------------------------------------------------- */

static void begin(void)
{
    static const char *const names[FILES] = {"db", "second"};

    scratch_empty(&scratch);
    stopped = false;
    for (size_t i = 0; i < FILES; i++) {
        struct model *model = lives[i].model ? lives[i].model : model_make(seed + i);

        model->seed = seed + i;
        lives[i] = (struct life){.model = model};
        (void)snprintf(lives[i].path, sizeof(lives[i].path), "%s",
                       scratch_file(&scratch, names[i]));
    }
}

static void live(void)
{
    struct life *life = &lives[0];

    for (int i = 0; i < 4; i++)
        life_commit(life);
    life_rest(life);
    life_commit(&lives[1]);
    life_commit(life);
    commit_many();
    life_steps(life);
    life_prepare(life, true);
    life_prepare(life, false);
    for (size_t i = 0; i < FILES; i++)
        life_close(&lives[i]);
    rename_and_back(life);
    life_commit(life);
    life_close(life);
}

/* The state that is found, without failures: one of those that may be there. */
static uint64_t find(struct life *life)
{
    struct nvmmio_options options = life_options();
    struct nvmmio *handle = NULL;
    int64_t number;

    options.timeout_ms = 60000;
    check_ok(nvmmio_open(life->path, &options, &handle));
    number = model_number(handle);
    check_ok(number);
    if ((uint64_t)number < life->acknowledged ||
        (uint64_t)number > life->acknowledged + (life->doubt || stopped))
        check_fail("%s holds commit %lld; %llu was acknowledged%s", life->path, (long long)number,
                   (unsigned long long)life->acknowledged,
                   life->doubt || stopped ? ", and the next is in doubt" : "");
    uint64_t extra = (uint64_t)number - life->acknowledged;
    life->acknowledged = (uint64_t)number;
    model_at(life);
    model_check(life->model, handle);
    check_ok(model_step(life->model, handle)); /* and it works */
    check_ok(nvmmio_sync(handle));
    life->acknowledged++;
    engine_close(handle);
    engine_check_plain(life->path);
    model_check_plain(life->model, life->path);
    return extra;
}

static void verify(void)
{
    bool many = stopped && !lives[0].doubt && !lives[1].doubt;

    if (!file_exists(lives[0].path) && file_exists(scratch_file(&scratch, "other")))
        check_ok(nvmmio_rename(scratch_file(&scratch, "other"), lives[0].path));
    uint64_t first = find(&lives[0]);
    uint64_t second = find(&lives[1]);

    if (many && first != second)
        check_fail("a commit over several files is in one of them only");
    (void)unlink(scratch_file(&scratch, "other-nvmmio-shm")); /* as a failed rename may say */
    for (const char *name = scratch_list(&scratch); *name; name += strcspn(name, " ") + 1)
        if (strncmp(name, "db ", 3) != 0 && strncmp(name, "second ", 7) != 0)
            check_fail("there is %s", name);
}

static bool run(enum inject_kind kind, uint64_t n, bool lasting)
{
    struct inject_held before, after;
    bool hit;

    begin();
    before = inject_held();
    check_note("seed %llu, %s failure, %s call %llu", (unsigned long long)seed, inject_name(kind),
               lasting ? "from" : "only", (unsigned long long)n);
    inject_begin(kind, n, lasting);
    live();
    hit = inject_end();
    check_note("seed %llu, %s failure, %s call %llu (%s)", (unsigned long long)seed,
               inject_name(kind), lasting ? "from" : "only", (unsigned long long)n, inject_where());
    for (size_t i = 0; i < FILES; i++)
        life_close(&lives[i]);
    verify();
    after = inject_held();
    check_eq(after.allocations, before.allocations);
    check_eq(after.descriptors, before.descriptors);
    check_eq(after.mappings, before.mappings);
    return hit;
}

static void fail_each(enum inject_kind kind)
{
    seed = place_seed(inject_name(kind));
    begin(); /* what is made once in a process */
    life_commit(&lives[0]);
    life_close(&lives[0]);
    for (int lasting = 0; lasting < 2; lasting++) {
        uint64_t n = 1;

        while (run(kind, n, lasting))
            n += place_stride();
        printf("%s, %s: %llu calls\n", inject_name(kind), lasting ? "lasting" : "once",
               (unsigned long long)n - 1);
        check(n > 3 || kind == INJECT_SYNC || kind == INJECT_SHORT);
    }
}

/* ---- recovery ------------------------------------------------------------------------------- */

static uint64_t *told_by_child; /* how many commits were acknowledged */

/* Commits over both files, with a death before the n-th call. */
static void commit_and_die(void *argument)
{
    for (size_t i = 0; i < FILES; i++)
        life_commit(&lives[i]);
    commit_many();
    *told_by_child = 2;
    inject_begin(INJECT_DEATH, *(uint64_t *)argument, false);
    commit_many();
    *told_by_child = 3;
    if (inject_end())
        check_fail("alive after a death");
    for (size_t i = 0; i < FILES; i++)
        life_close(&lives[i]);
}

/* One death, and a recovery in which the n-th call fails.  *died: not for want of calls. */
static bool recover(enum inject_kind kind, uint64_t death, uint64_t n, bool lasting, bool *died)
{
    struct child child;
    bool hit = false;

    begin();
    *told_by_child = 0;
    check_note("seed %llu, death before call %llu, recovery with %s failure, %s call %llu",
               (unsigned long long)seed, (unsigned long long)death, inject_name(kind),
               lasting ? "from" : "only", (unsigned long long)n);
    child_start(&child, commit_and_die, &death);
    int result = child_wait(&child);
    check(result == 0 || result == -SIGKILL);
    *died = result != 0;
    for (size_t i = 0; i < FILES; i++)
        lives[i].acknowledged = *told_by_child;
    stopped = *died; /* the last may be there, but then in both */
    for (int tries = 0; tries < 2 && *died; tries++) {
        if (tries == 0)
            inject_begin(kind, n, lasting);
        for (size_t i = 0; i < FILES; i++) {
            struct nvmmio_options options = life_options();

            if (told("open", nvmmio_open(lives[i].path, &options, &lives[i].handle)) == 0)
                life_close(&lives[i]);
        }
        if (tries == 0)
            hit = inject_end();
    }
    verify();
    return *died && hit;
}

static void each_call_of_a_recovery(void **state)
{
    uint64_t runs = 0;
    bool died = true;

    (void)state;
    seed = place_seed(__func__);
    told_by_child = child_memory(sizeof(*told_by_child));
    /* Failures that last see less of it: every other death is enough for them. */
    for (uint64_t death = 1, lasting = 0; died; death += place_stride(), lasting = !lasting) {
        for (uint64_t n = 1 + death % place_stride(); recover(INJECT_IO, death, n, false, &died);
             n += place_stride())
            runs++;
        for (uint64_t n = 1; lasting && died && recover(INJECT_IO, death, n, true, &died);
             n += place_stride())
            runs++;
    }
    printf("%llu recoveries\n", (unsigned long long)runs);
    check(runs * place_stride() * place_stride() > 20);
}

/* ---- the tests ------------------------------------------------------------------------------ */

static void each_call_with_an_error(void **state)
{
    (void)state;
    fail_each(INJECT_IO);
}

static void each_transfer_cut_short(void **state)
{
    (void)state;
    fail_each(INJECT_SHORT);
}

static void each_sync(void **state)
{
    (void)state;
    fail_each(INJECT_SYNC);
}

static void each_call_without_space(void **state)
{
    (void)state;
    fail_each(INJECT_SPACE);
}

static void each_call_without_memory(void **state)
{
    (void)state;
    fail_each(INJECT_MEMORY);
}

static int setup_marked(void **state)
{
    marked = true;
    return setup(state);
}

static int teardown_marked(void **state)
{
    marked = false;
    return scratch_teardown(state);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
#define MARKED(name) {"marked_" #name, name, setup_marked, teardown_marked, NULL}
        T(each_call_with_an_error),
        T(each_transfer_cut_short),
        T(each_sync),
        T(each_call_without_space),
        T(each_call_without_memory),
        T(each_call_of_a_recovery),
        MARKED(each_call_of_a_recovery),
        MARKED(each_call_with_an_error),
        MARKED(each_transfer_cut_short),
        MARKED(each_sync),
        MARKED(each_call_without_space),
        MARKED(each_call_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, run_all, NULL);
}
