/*
 * example_test: rocksdb_env/examples/accounts.c as its user meets it: the program
 * is run, misused and killed, and stock RocksDB counts the money.  It is looked
 * for where Bazel has it, or at NVMMIO_ACCOUNTS in the environment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rocksdb/c.h>

#include "tests/core/check.h"
#include "tests/core/child.h"
#include "tests/core/place.h"

enum { ACCOUNTS = 100, MONEY = 100000 };
enum { FINE = 0, WRONG_SUM = 1, USAGE = 2, INPUT_OUTPUT = 5 };

static char output[8192];

/* ---- The program ---- */

static const char *program(void)
{
    const char *named = getenv("NVMMIO_ACCOUNTS");

    return named ? named : "rocksdb_env/accounts";
}

/* `accounts DIR URI`; what it printed is in `output`. */
static int accounts(const char *dir, const char *uri)
{
    const char *const arguments[] = {"/bin/sh", "-c", "exec \"$0\" \"$@\" 2>&1", program(), dir,
                                     uri,       NULL};

    return child_exec(arguments, output, sizeof output);
}

static void output_has(const char *text)
{
    if (!strstr(output, text))
        check_fail("\"%s\" is not in:\n%s", text, output);
}

static void runs_well(void)
{
    unsigned long long appends = 0;
    const char *said;

    check_eq(accounts(scratch.path, "nvmmio://"), FINE);
    output_has("100 accounts hold 100000\n");
    said = strstr(output, "nvmmio took ");
    check(said && sscanf(said, "nvmmio took %llu appends", &appends) == 1 && appends > 1500);
}

/* ---- Stock RocksDB on the same directory; in a child, since it starts threads ---- */

static rocksdb_t *open_posix(void)
{
    rocksdb_options_t *options = rocksdb_options_create();
    char *error = NULL;
    rocksdb_t *db = rocksdb_open(options, scratch.path, &error);

    rocksdb_options_destroy(options);
    if (error)
        check_fail("posix opens: %s", error);
    return db;
}

static void count_money(void *argument)
{
    rocksdb_t *db = open_posix();
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator(db, options);
    int64_t total = 0, balance;
    int keys = 0;

    (void)argument;
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t bytes;
        const char *value = rocksdb_iter_value(it, &bytes);

        check_eq(bytes, sizeof balance);
        memcpy(&balance, value, sizeof balance);
        total += balance;
        keys++;
    }
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(options);
    rocksdb_close(db);
    check_eq(keys, ACCOUNTS);
    check_eq(total, MONEY);
}

static void steal(void *argument)
{
    rocksdb_t *db = open_posix();
    rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
    char *error = NULL;

    (void)argument;
    rocksdb_delete(db, options, "account007", strlen("account007"), &error);
    check(error == NULL);
    rocksdb_writeoptions_destroy(options);
    rocksdb_close(db);
}

static void hold(void *argument)
{
    (void)argument;
    (void)open_posix();
    parent_send('h');
    (void)parent_receive();
}

/* ---- Tests ---- */

static void it_runs_and_posix_agrees(void **state)
{
    (void)state;
    runs_well();
    child_run(count_money, NULL);
    runs_well();
}

static void what_goes_wrong_is_said(void **state)
{
    struct child child;

    (void)state;
    check_eq(accounts(NULL, NULL), USAGE);
    output_has("usage: accounts DIR [URI]");
    check_eq(accounts(scratch.path, "nvmmio://?color=red"), INPUT_OUTPUT);
    output_has("accounts: options: ");
    output_has("'color'");
    check(!file_exists(scratch.path));
    file_write(scratch_file(&scratch, "file"), "x", 1);
    check_eq(accounts(scratch_file(&scratch, "file"), "nvmmio://"), INPUT_OUTPUT);
    output_has("accounts: open: ");

    runs_well();
    child_start(&child, hold, NULL);
    child_expect(&child, 'h');
    check_eq(accounts(scratch.path, "nvmmio://"), INPUT_OUTPUT);
    output_has("LOCK");
    child_kill(&child);

    child_run(steal, NULL);
    check_eq(accounts(scratch.path, "nvmmio://"), WRONG_SUM);
    output_has("100 accounts hold ");
}

/* In a child: becomes the program, with its output in the pipe. */
static void become_accounts(void *argument)
{
    const int *pipes = argument;

    dup2(pipes[1], STDOUT_FILENO);
    close(pipes[0]);
    close(pipes[1]);
    execl(program(), program(), scratch.path, (char *)NULL);
    check_fail("cannot run %s", program());
}

/* Runs it until it has moved money `hundreds` times a hundred times, or a little longer. */
static void run_and_kill(unsigned hundreds)
{
    struct child child;
    char line[256];
    unsigned moves = 0, all;
    int pipes[2];
    FILE *out;

    check_eq(pipe(pipes), 0);
    child_start(&child, become_accounts, pipes);
    close(pipes[1]);
    out = fdopen(pipes[0], "r");
    check(out != NULL);
    do {
        check(fgets(line, sizeof line, out) != NULL);
        (void)sscanf(line, "%u of %u moves", &moves, &all);
    } while (moves < hundreds * 100);
    child_kill(&child);
    (void)fclose(out);
}

static void a_killed_one_loses_no_money(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        run_and_kill(round * 2);
        if (round % 2)
            child_run(count_money, NULL);
    }
    runs_well();
    child_run(count_money, NULL);
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(it_runs_and_posix_agrees, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(what_goes_wrong_is_said, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_killed_one_loses_no_money, scratch_setup,
                                        scratch_teardown),
    };

    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return place_main(argc, argv, tests, NULL);
}
