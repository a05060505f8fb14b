/*
 * The tool on real files: live, killed, damaged, with a log elsewhere.
 * The tool is core/nvmmio below the working directory, or
 * NVMMIO_TOOL in the environment.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sqlite_vfs/mark.h"
#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"

#define COMMITS 5

static const char *log_dir; /* of the writer; NULL: beside home */

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    log_dir = NULL;
    return 0;
}

/* The exit status of `nvmmio WORDS...`; what it printed is in `output`. */
static char output[8192];
static int tool(const char *command, const char *path, const char *option)
{
    const char *program = getenv("NVMMIO_TOOL");
    const char *const arguments[] = {"/bin/sh",
                                     "-c",
                                     "exec \"$0\" \"$@\" 2>&1",
                                     program ? program : "core/nvmmio",
                                     command,
                                     path,
                                     option,
                                     NULL};
    return child_exec(arguments, output, sizeof(output));
}

static void output_has(const char *text)
{
    if (!strstr(output, text))
        fail_msg("\"%s\" is not in:\n%s", text, output);
}

/* Commits, then has one more staged, until it is killed or told to close. */
static void write_and_wait(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    (void)argument;
    options.flags = NVMMIO_CREATE;
    options.log_dir = log_dir;
    struct nvmmio *handle = engine_open_with(scratch.path, &options);
    for (uint8_t i = 1; i <= COMMITS; i++) {
        engine_fill(handle, 0, 5000, i);
        check_ok(nvmmio_sync(handle));
    }
    engine_fill(handle, 0, 5000, 99);
    parent_send('w');
    (void)parent_receive();
    check_ok(nvmmio_close(handle));
}

static void start_writer(struct child *child)
{
    child_start(child, write_and_wait, NULL);
    child_expect(child, 'w');
}

static void home_is_the_last_commit(void)
{
    uint8_t *content;
    assert_int_equal(file_read(scratch.path, (void **)&content), 5000);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(content[i], COMMITS);
    free(content);
}

static void test_live_file_is_looked_at_and_left_alone(void **state)
{
    (void)state;
    struct child child;
    start_writer(&child);
    assert_int_equal(tool("check", scratch.path, NULL), 0);
    output_has("state               live");
    assert_int_equal(tool("info", scratch.path, NULL), 0);
    output_has("state               live");
    assert_int_equal(tool("stats", scratch.path, NULL), 0);
    output_has("commits             5\n");
    assert_int_equal(tool("stats", scratch.path, "--json"), 0);
    output_has("\"commits\": 5,");
    assert_int_equal(tool("recover", scratch.path, "--dry-run"), 0);
    assert_int_equal(tool("recover", scratch.path, NULL), 4);
    output_has(scratch.path);
    /* The writer has noticed nothing: its transaction is still its own, and it closes cleanly. */
    child_send(&child, 'c');
    child_join(&child);
    home_is_the_last_commit();
    assert_string_equal(scratch_list(&scratch), "db ");
    assert_int_equal(tool("check", scratch.path, NULL), 0);
    output_has("state               plain");
    assert_int_equal(tool("stats", scratch.path, NULL), 2);
    output_has("not open in any process");
}

static void test_killed_writer_is_recovered(void **state)
{
    (void)state;
    struct child child;
    start_writer(&child);
    child_kill(&child);
    char before[256];
    (void)snprintf(before, sizeof(before), "%s", scratch_list(&scratch));
    assert_int_equal(tool("check", scratch.path, NULL), 1);
    output_has("state               crashed");
    assert_int_equal(tool("info", scratch.path, NULL), 1);
    assert_int_equal(tool("stats", scratch.path, NULL), 1);
    assert_int_equal(tool("recover", scratch.path, "--dry-run"), 1);
    output_has("would recover       yes");
    assert_string_equal(scratch_list(&scratch), before);
    assert_int_equal(tool("recover", scratch.path, NULL), 0);
    output_has("recovered           yes");
    home_is_the_last_commit();
    assert_string_equal(scratch_list(&scratch), "db ");
    assert_int_equal(tool("recover", scratch.path, NULL), 0);
    output_has("recovered           no");
    home_is_the_last_commit();
}

static void test_damage_is_refused_and_untouched(void **state)
{
    (void)state;
    struct child child;
    void *home, *after;
    start_writer(&child);
    child_kill(&child);
    char log[700];
    (void)snprintf(log, sizeof(log), "%s-nvmmio", scratch.path);
    int64_t log_bytes = file_bytes(log);
    uint8_t *noise = malloc((size_t)log_bytes);
    assert_non_null(noise);
    memset(noise, 0x5a, (size_t)log_bytes);
    file_write(log, noise, (uint64_t)log_bytes);
    free(noise);
    int64_t bytes = file_read(scratch.path, &home);
    assert_int_equal(tool("check", scratch.path, NULL), 3);
    output_has("state               damaged");
    assert_int_equal(tool("recover", scratch.path, "--dry-run"), 3);
    assert_int_equal(tool("recover", scratch.path, NULL), 3);
    output_has(log);
    assert_int_equal(file_read(scratch.path, &after), bytes);
    assert_memory_equal(after, home, (size_t)bytes);
    free(after);
    free(home);
}

static void test_log_elsewhere(void **state)
{
    (void)state;
    struct child child;
    char place[700], option[720];
    (void)snprintf(place, sizeof(place), "%s/logs", scratch.directory);
    (void)snprintf(option, sizeof(option), "--log-dir=%s", place);
    assert_int_equal(mkdir(place, 0755), 0);
    log_dir = place;
    start_writer(&child);
    child_kill(&child);
    assert_int_equal(tool("check", scratch.path, option), 1);
    output_has(place);
    assert_int_equal(tool("info", scratch.path, option), 1);
    output_has("log medium");
    assert_int_equal(tool("recover", scratch.path, option), 0);
    home_is_the_last_commit();
    assert_string_equal(scratch_list(&scratch), "db logs ");
    assert_int_equal(tool("recover", scratch.path, "--log-dir=/nowhere/at/all"), 5);
    output_has("/nowhere/at/all");
}

/* A transaction on what looks like an SQLite database, and no close. */
static void write_database(void *argument)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    static const char page[512] = "SQLite format 3\0\2\0\1\1\0@  ";
    (void)argument;
    options.flags = NVMMIO_CREATE;
    options.mark = &nv_page1_mark;
    struct nvmmio *handle = engine_open_with(scratch.path, &options);
    engine_write(handle, page, sizeof(page), 0);
    check_ok(nvmmio_sync(handle));
    parent_send('w');
    (void)parent_receive();
}

static void test_log_taken_away_from_a_database(void **state)
{
    (void)state;
    struct child child;
    char log[700], away[720];
    child_start(&child, write_database, NULL);
    child_expect(&child, 'w');
    child_kill(&child);
    (void)snprintf(log, sizeof(log), "%s-nvmmio", scratch.path);
    (void)snprintf(away, sizeof(away), "%s-away", scratch.path);
    assert_int_equal(rename(log, away), 0);
    for (int dry = 0; dry < 2; dry++) {
        assert_int_equal(tool(dry ? "recover" : "check", scratch.path, dry ? "--dry-run" : NULL),
                         3);
        output_has("state               log_missing");
    }
    assert_int_equal(tool("recover", scratch.path, NULL), 3);
    output_has(log);
    assert_int_equal(rename(away, log), 0);
    assert_int_equal(tool("recover", scratch.path, NULL), 0);
    assert_int_equal(tool("check", scratch.path, NULL), 0);
    output_has("state               plain");
}

/* A stream of 3000 bytes, whose file is ahead of it, and no close. */
static void write_stream(void *argument)
{
    static const char bytes[3000] = "a stream";
    struct nvmmio_stream_options options = NVMMIO_STREAM_OPTIONS_INIT;
    struct nvmmio_stream *stream = NULL;
    (void)argument;
    options.flags = NVMMIO_CREATE;
    options.size = NVMMIO_SIZE_AHEAD;
    check_ok(nvmmio_stream_open(scratch.path, &options, &stream));
    assert_int_equal(nvmmio_stream_append(stream, bytes, sizeof(bytes)), sizeof(bytes));
    check_ok(nvmmio_stream_sync(stream));
    parent_send('w');
    (void)parent_receive();
}

static void test_stream_ahead_has_its_size_told(void **state)
{
    (void)state;
    struct child child;
    child_start(&child, write_stream, NULL);
    child_expect(&child, 'w');
    const int64_t ahead = file_bytes(scratch.path);
    assert_true(ahead > 3000);
    assert_int_equal(tool("info", scratch.path, NULL), 0);
    output_has("state               live");
    output_has("stream bytes        3000");
    assert_int_equal(tool("recover", scratch.path, NULL), 4);
    child_kill(&child);
    assert_int_equal(tool("info", scratch.path, "--json"), 1);
    output_has("\"state\": \"crashed\"");
    output_has("\"stream_bytes\": 3000");
    assert_int_equal(tool("check", scratch.path, NULL), 1);
    output_has("stream file bytes   2097152");
    assert_int_equal(tool("recover", scratch.path, "--dry-run"), 1);
    output_has("would recover       yes");
    assert_int_equal(file_bytes(scratch.path), ahead);
    assert_int_equal(tool("recover", scratch.path, NULL), 0);
    output_has("recovered           yes");
    assert_int_equal(file_bytes(scratch.path), 3000);
    assert_int_equal(tool("check", scratch.path, NULL), 0);
    output_has("state               plain");
}

static void test_missing_things_are_named(void **state)
{
    (void)state;
    static const char *const commands[] = {"info", "check", "recover", "stats"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(tool(commands[i], scratch.path, NULL), 5);
        output_has(scratch.path);
        output_has("No such file");
        assert_int_equal(tool(commands[i], scratch.directory, NULL), 5);
        output_has(scratch.directory);
    }
    assert_string_equal(scratch_list(&scratch), "");
    assert_int_equal(tool("probe", scratch.path, NULL), 5);
    output_has(scratch.path);
    assert_int_equal(tool("probe", scratch.directory, NULL), 0);
    static const char *const media[] = {"medium              ram", "medium              dax",
                                        "medium              page"};
    if (place_kind() != PLACE_OTHER)
        output_has(media[place_kind()]);
    assert_string_equal(scratch_list(&scratch), "");
}

static int all_tests(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_live_file_is_looked_at_and_left_alone, setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_killed_writer_is_recovered, setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_refused_and_untouched, setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_log_elsewhere, setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(test_log_taken_away_from_a_database, setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_stream_ahead_has_its_size_told, setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(test_missing_things_are_named, setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, all_tests, NULL);
}
