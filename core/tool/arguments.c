#include "core/tool/tool.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_JSON = 0x100, KEY_LOG_DIR, KEY_DRY_RUN };

static const struct argp_option options[] = {
    {"json", KEY_JSON, NULL, 0, "Answer with one JSON object on the standard output", 0},
    {"log-dir", KEY_LOG_DIR, "DIR", 0,
     "Where the log of FILE is, when it was not beside it (info, check, recover)", 0},
    {"dry-run", KEY_DRY_RUN, NULL, 0, "recover: say what would be done, change nothing", 0},
    {0},
};

static const char usage[] = "info FILE\n"
                            "check FILE\n"
                            "recover [--dry-run] FILE\n"
                            "stats FILE\n"
                            "probe DIR";

static const char documentation[] =
    "Look at files that are written through nvmmio, and recover them.\v"
    "Commands:\n"
    "  info FILE      what the file is, which medium it has, what that survives\n"
    "  check FILE     whether it is plain, in use, crashed or damaged; changes nothing\n"
    "  recover FILE   finish what a crash cut off, and leave an ordinary file with\n"
    "                 nothing beside it; opening the file does the same\n"
    "  stats FILE     counters of a file that is open in some process\n"
    "  probe DIR      which medium files in DIR get, why, and what a commit survives\n"
    "\n"
    "Exit codes:\n"
    "  0  fine\n"
    "  1  the file needs recovery\n"
    "  2  wrong usage, or the command has nothing to say about such a file\n"
    "  3  damage: the log is damaged, missing or of another file; nothing was changed\n"
    "  4  busy: others are using the file\n"
    "  5  input/output error, also: no such file, no permission, no space\n"
    "\n"
    "PMEM_IS_PMEM_FORCE=1 makes memory file systems count as persistent memory,\n"
    "as in libpmem.";

static void check_usage(const struct nv_tool_arguments *arguments, struct argp_state *state)
{
    if (!nv_tool_knows(arguments->command))
        argp_error(state, "no such command: %s", arguments->command);
    if (!arguments->path)
        argp_error(state, "%s: %s is missing", arguments->command,
                   strcmp(arguments->command, "probe") == 0 ? "DIR" : "FILE");
    if (arguments->dry_run && strcmp(arguments->command, "recover") != 0)
        argp_error(state, "--dry-run goes with recover only");
    if (arguments->log_dir &&
        (strcmp(arguments->command, "stats") == 0 || strcmp(arguments->command, "probe") == 0))
        argp_error(state, "--log-dir does not go with %s", arguments->command);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct nv_tool_arguments *arguments = state->input;
    switch (key) {
    case KEY_JSON:
        arguments->json = true;
        return 0;
    case KEY_LOG_DIR:
        arguments->log_dir = text;
        return 0;
    case KEY_DRY_RUN:
        arguments->dry_run = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            arguments->command = text;
        else if (state->arg_num == 1)
            arguments->path = text;
        else
            argp_error(state, "too many arguments: %s", text);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "a command is missing");
        return 0;
    case ARGP_KEY_SUCCESS:
        check_usage(arguments, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    fprintf(stream, "nvmmio %s\n", nvmmio_version());
}

int nv_tool_main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options, .parser = parse, .args_doc = usage, .doc = documentation};
    argp_program_version_hook = print_version;
    argp_err_exit_status = NV_EXIT_USAGE;

    struct nv_tool_arguments arguments = {0};
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments) != 0)
        return NV_EXIT_USAGE;

    struct nv_output output;
    nv_output_start(&output, stdout, arguments.json);
    if (arguments.json)
        nv_output_text(&output, "command", arguments.command);
    enum nv_tool_exit exit_code = nv_tool_run(&arguments, &output);
    if (!nv_output_finish(&output, (int)exit_code)) {
        fprintf(stderr, "nvmmio: cannot write the answer to the standard output\n");
        exit_code = NV_EXIT_IO;
    }
    return (int)exit_code;
}
