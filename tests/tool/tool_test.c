/*
 * The tool against a fake engine: arguments, output, exit codes.  Every call is
 * a child process, since wrong usage leaves by exit().
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/tool/tool.h"
#include "tests/tool/fake_engine.h"

#define OUTPUT_MAX 65536u

struct result {
    int exit_code;
    char out[OUTPUT_MAX];
    char err[OUTPUT_MAX];
};

enum { ERR_TO_TERMINAL = 1, OUT_TO_FULL_DISK = 2 };

static void read_all(int fd, char *text, bool from_start)
{
    size_t used = 0;
    if (from_start)
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    for (;;) {
        ssize_t got = read(fd, text + used, OUTPUT_MAX - 1 - used);
        if (got <= 0) /* a terminal whose other end is closed answers EIO */
            break;
        used += (size_t)got;
    }
    text[used] = '\0';
}

static struct result *run_with(int flags, int argc, char **argv)
{
    static struct result result;
    memset(&result, 0, sizeof(result));
    int out = flags & OUT_TO_FULL_DISK ? open("/dev/full", O_WRONLY) : memfd_create("out", 0);
    int err = -1, terminal = -1;
    if (flags & ERR_TO_TERMINAL) {
        struct winsize window = {.ws_row = 24, .ws_col = 100};
        assert_int_equal(openpty(&terminal, &err, NULL, NULL, &window), 0);
    } else {
        err = memfd_create("err", 0);
    }
    assert_true(out >= 0 && err >= 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        exit(nv_tool_main(argc, argv));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    result.exit_code = WEXITSTATUS(status);
    if (!(flags & OUT_TO_FULL_DISK))
        read_all(out, result.out, true);
    if (flags & ERR_TO_TERMINAL) {
        close(err); /* the last writer: what is left can be read, then EIO */
        read_all(terminal, result.err, false);
        close(terminal);
    } else {
        read_all(err, result.err, true);
        close(err);
    }
    close(out);
    return &result;
}

#define RUN_WITH(flags, ...)                                                                       \
    run_with(flags, (int)(sizeof((char *[]){"nvmmio", __VA_ARGS__}) / sizeof(char *)),             \
             (char *[]){"nvmmio", __VA_ARGS__, NULL})
#define RUN(...) RUN_WITH(0, __VA_ARGS__)

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

static int reset(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    fake.place = (struct nvmmio_info){.home_medium = NVMMIO_MEDIUM_PAGE,
                                      .log_medium = NVMMIO_MEDIUM_PAGE,
                                      .survives_process = true,
                                      .survives_power = true,
                                      .why = "an ordinary file system"};
    fake.report = (struct nvmmio_report){.home_bytes = 8192, .home_file_bytes = 8192};
    return 0;
}

static void crashed_report(void)
{
    fake.report.state = NVMMIO_STATE_CRASHED;
    fake.report.log_file_bytes = 1 << 20;
    fake.report.records = 3;
    fake.report.first_commit = 40;
    fake.report.last_commit = 42;
    fake.report.replay_bytes = 12288;
    strcpy(fake.report.log_path, "/data/a.db-nvmmio");
    strcpy(fake.report.detail, "3 commits are not in home");
}

static json_t *parse(const struct result *result)
{
    json_error_t error;
    json_t *object = json_loads(result->out, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("not JSON (%s): %s", error.text, result->out);
    assert_int_equal(json_integer_value(json_object_get(object, "exit_code")), result->exit_code);
    return object;
}

static void test_state_decides_exit_code(void **state)
{
    (void)state;
    static const struct {
        enum nvmmio_state state;
        const char *name;
        int exit_code;
    } cases[] = {
        {NVMMIO_STATE_PLAIN, "plain", 0},
        {NVMMIO_STATE_LIVE, "live", 0},
        {NVMMIO_STATE_CRASHED, "crashed", 1},
        {NVMMIO_STATE_DAMAGED, "damaged", 3},
        {NVMMIO_STATE_LOG_MISSING, "log_missing", 3},
    };
    static char *const commands[] = {"check", "info"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t c = 0; c < 2; c++) {
            fake.report.state = cases[i].state;
            struct result *result = RUN(commands[c], "a.db");
            assert_int_equal(result->exit_code, cases[i].exit_code);
            assert_contains(result->out, cases[i].name);
            assert_string_equal(result->err, "");
            result = RUN("--json", commands[c], "a.db");
            json_t *object = parse(result);
            assert_string_equal(json_string_value(json_object_get(object, "state")), cases[i].name);
            assert_string_equal(json_string_value(json_object_get(object, "command")), commands[c]);
            json_decref(object);
        }
    }
}

static void test_error_decides_exit_code(void **state)
{
    (void)state;
    static const struct {
        int error, exit_code;
    } cases[] = {{-EBUSY, 4},  {-EUCLEAN, 3}, {-EINVAL, 2},     {-ERANGE, 2}, {-ENOENT, 5},
                 {-EACCES, 5}, {-EIO, 5},     {-EOPNOTSUPP, 5}, {-ENOSPC, 5}};
    static char *const commands[] = {"info", "check", "recover", "stats"};
    fake.last_error = "what went wrong, what to do";
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t c = 0; c < 4; c++) {
            fake.check_error = cases[i].error;
            struct result *result = RUN(commands[c], "a.db");
            assert_int_equal(result->exit_code, cases[i].exit_code);
            assert_string_equal(result->err, "nvmmio: a.db: what went wrong, what to do\n");
            assert_string_equal(result->out, "");
            result = RUN("--json", commands[c], "a.db");
            json_t *object = parse(result);
            json_t *error = json_object_get(object, "error");
            assert_int_equal(json_integer_value(json_object_get(error, "code")), cases[i].error);
            assert_string_equal(json_string_value(json_object_get(error, "message")),
                                fake.last_error);
            json_decref(object);
        }
    }
    /* Each of the other calls has its own way to fail. */
    fake.check_error = 0;
    fake.recover_error = -EBUSY;
    assert_int_equal(RUN("recover", "a.db")->exit_code, 4);
    fake.probe_error = -ENOENT;
    assert_int_equal(RUN("probe", "/nowhere")->exit_code, 5);
    assert_int_equal(RUN("info", "a.db")->exit_code, 5);
    fake.report.state = NVMMIO_STATE_LIVE;
    fake.stats_error = -EIO;
    assert_int_equal(RUN("stats", "a.db")->exit_code, 5);
    /* A library that says nothing: the error's own words; one that names the file: not twice. */
    fake.last_error = NULL;
    assert_string_equal(RUN("stats", "a.db")->err, "nvmmio: a.db: Input/output error\n");
    fake.last_error = "a.db is on fire";
    assert_string_equal(RUN("stats", "a.db")->err, "nvmmio: a.db is on fire\n");
}

static void test_check_shows_what_a_crash_left(void **state)
{
    (void)state;
    crashed_report();
    struct result *result = RUN("check", "a.db");
    assert_contains(result->out, "3 commits are not in home\n");
    assert_contains(result->out, "/data/a.db-nvmmio\n");
    assert_contains(result->out, "1048576 (1.0 MiB)\n");
    assert_contains(result->out, "12288 (12.0 KiB)\n");
    json_t *object = parse(RUN("check", "--json", "a.db"));
    assert_int_equal(json_integer_value(json_object_get(object, "records")), 3);
    assert_int_equal(json_integer_value(json_object_get(object, "first_commit")), 40);
    assert_int_equal(json_integer_value(json_object_get(object, "last_commit")), 42);
    assert_int_equal(json_integer_value(json_object_get(object, "replay_bytes")), 12288);
    assert_true(json_is_false(json_object_get(object, "prepared")));
    json_decref(object);
}

static void test_dry_run_recovers_nothing(void **state)
{
    (void)state;
    crashed_report();
    fake.recover_forbidden = true;
    struct result *result = RUN("recover", "--dry-run", "a.db");
    assert_int_equal(result->exit_code, 1);
    assert_contains(result->out, "would recover       yes\n");
    fake.report.state = NVMMIO_STATE_PLAIN;
    result = RUN("recover", "a.db", "--dry-run");
    assert_int_equal(result->exit_code, 0);
    assert_contains(result->out, "would recover       no\n");
    fake.report.state = NVMMIO_STATE_DAMAGED;
    assert_int_equal(RUN("recover", "a.db", "--dry-run")->exit_code, 3);
}

static void test_recover_shows_progress_on_a_terminal_only(void **state)
{
    (void)state;
    crashed_report();
    struct result *result = RUN("recover", "a.db");
    assert_int_equal(result->exit_code, 0);
    assert_string_equal(result->err, "");
    assert_contains(result->out, "recovered           yes\n");
    assert_contains(result->out, "records             3\n");
    result = RUN_WITH(ERR_TO_TERMINAL, "recover", "a.db");
    assert_int_equal(result->exit_code, 0);
    assert_contains(result->err, "\rrecovering [");
    assert_contains(result->err, "100 %  1000 bytes of 1000 bytes");
    assert_int_equal(result->err[strlen(result->err) - 1], '\n');
}

static void test_log_dir_reaches_the_engine(void **state)
{
    (void)state;
    crashed_report();
    strcpy(fake.report.log_path, "/tmp/a.db-nvmmio");
    fake.log_dir_expected = "/tmp";
    fake.log_place = (struct nvmmio_info){
        .home_medium = NVMMIO_MEDIUM_RAM, .survives_process = true, .why = "a memory file system"};
    assert_int_equal(RUN("check", "a.db", "--log-dir", "/tmp")->exit_code, 1);
    assert_int_equal(RUN("recover", "a.db", "--log-dir=/tmp")->exit_code, 0);
    struct result *result = RUN("info", "--json", "a.db", "--log-dir=/tmp");
    json_t *object = parse(result);
    assert_string_equal(json_string_value(json_object_get(object, "medium")), "page");
    assert_string_equal(json_string_value(json_object_get(object, "log_medium")), "ram");
    /* Home on a disk, log in memory: the log's loss is the commit's loss. */
    assert_true(json_is_false(json_object_get(object, "survives_power")));
    assert_true(json_is_true(json_object_get(object, "survives_process")));
    json_decref(object);
}

static void test_log_dir_must_be_there(void **state)
{
    (void)state;
    static char *const commands[] = {"info", "check", "recover"};
    fake.recover_forbidden = true;
    for (size_t c = 0; c < 3; c++) {
        struct result *result = RUN(commands[c], "a.db", "--log-dir=/tmp/no/such");
        assert_int_equal(result->exit_code, 5);
        assert_contains(result->err, "/tmp/no/such: no such directory (--log-dir)");
    }
}

static void test_stats_are_of_live_files(void **state)
{
    (void)state;
    struct result *result = RUN("stats", "a.db");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "a.db: not open in any process");
    crashed_report();
    assert_int_equal(RUN("stats", "a.db")->exit_code, 1);
    fake.report.state = NVMMIO_STATE_LIVE;
    fake.stats = (struct nvmmio_stats){.commits = 7, .fences = 8, .busy = 9, .written_bytes = 10};
    result = RUN("stats", "a.db");
    assert_int_equal(result->exit_code, 0);
    assert_contains(result->out, "commits             7\n");
    json_t *object = parse(RUN("stats", "a.db", "--json"));
    assert_int_equal(json_integer_value(json_object_get(object, "fences")), 8);
    assert_int_equal(json_integer_value(json_object_get(object, "busy")), 9);
    assert_int_equal(json_integer_value(json_object_get(object, "written_bytes")), 10);
    json_decref(object);
}

static void test_probe(void **state)
{
    (void)state;
    fake.place.forced = true;
    struct result *result = RUN("probe", "/data");
    assert_int_equal(result->exit_code, 0);
    assert_contains(result->out, "medium              page\n");
    assert_contains(result->out, "an ordinary file system\n");
    json_t *object = parse(RUN("probe", "/data", "--json"));
    assert_true(json_is_true(json_object_get(object, "forced")));
    assert_true(json_is_true(json_object_get(object, "survives_power")));
    json_decref(object);
}

static void test_wrong_usage_names_what_is_wrong(void **state)
{
    (void)state;
    fake.recover_forbidden = true;
    struct result *result = RUN("checkk", "a.db");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "no such command: checkk");
    result = RUN("check");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "check: FILE is missing");
    result = RUN("probe");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "probe: DIR is missing");
    result = RUN("check", "a", "b");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "too many arguments: b");
    result = RUN("--json");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "a command is missing");
    result = RUN("check", "a", "--frobnicate");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "--frobnicate");
    result = RUN("check", "a", "--dry-run");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "--dry-run goes with recover only");
    result = RUN("probe", "/", "--log-dir", "/");
    assert_int_equal(result->exit_code, 2);
    assert_contains(result->err, "--log-dir does not go with probe");
}

static void test_help_and_version(void **state)
{
    (void)state;
    struct result *result = RUN("--help");
    assert_int_equal(result->exit_code, 0);
    for (const char *const *word =
             (const char *const[]){"info FILE", "check FILE", "recover", "stats FILE", "probe DIR",
                                   "Exit codes:", "--json", "--log-dir", NULL};
         *word; word++)
        assert_contains(result->out, *word);
    result = RUN("--version");
    assert_int_equal(result->exit_code, 0);
    assert_string_equal(result->out, "nvmmio " NVMMIO_VERSION "\n");
}

static void test_answer_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    struct result *result = RUN_WITH(OUT_TO_FULL_DISK, "check", "a.db");
    assert_int_equal(result->exit_code, 5);
    assert_contains(result->err, "cannot write the answer");
    assert_int_equal(RUN_WITH(OUT_TO_FULL_DISK, "check", "--json", "a.db")->exit_code, 5);
}

static void test_json_of_a_path_that_is_not_utf8(void **state)
{
    (void)state;
    json_t *object = parse(RUN("check", "--json", "a\xff\"b"));
    assert_string_equal(json_string_value(json_object_get(object, "path")), "a\xEF\xBF\xBD\"b");
    json_decref(object);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_state_decides_exit_code, reset),
        cmocka_unit_test_setup(test_error_decides_exit_code, reset),
        cmocka_unit_test_setup(test_check_shows_what_a_crash_left, reset),
        cmocka_unit_test_setup(test_dry_run_recovers_nothing, reset),
        cmocka_unit_test_setup(test_recover_shows_progress_on_a_terminal_only, reset),
        cmocka_unit_test_setup(test_log_dir_reaches_the_engine, reset),
        cmocka_unit_test_setup(test_log_dir_must_be_there, reset),
        cmocka_unit_test_setup(test_stats_are_of_live_files, reset),
        cmocka_unit_test_setup(test_probe, reset),
        cmocka_unit_test_setup(test_wrong_usage_names_what_is_wrong, reset),
        cmocka_unit_test_setup(test_help_and_version, reset),
        cmocka_unit_test_setup(test_answer_that_cannot_be_written_is_an_error, reset),
        cmocka_unit_test_setup(test_json_of_a_path_that_is_not_utf8, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
