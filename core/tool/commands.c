#include "core/tool/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/tool/progress.h"
#include "sqlite_vfs/mark.h"

typedef enum nv_tool_exit nv_tool_command(const struct nv_tool_arguments *arguments,
                                          struct nv_output *output);

static enum nv_tool_exit exit_of_error(int error)
{
    switch (-error) {
    case EBUSY:
    case EAGAIN:
        return NV_EXIT_BUSY;
    case EUCLEAN:
        return NV_EXIT_DAMAGE;
    case EINVAL:
    case ERANGE:
        return NV_EXIT_USAGE;
    default:
        return NV_EXIT_IO;
    }
}

/* Say on stderr what the library says, and in JSON on stdout too. */
static enum nv_tool_exit fail(const struct nv_tool_arguments *arguments, struct nv_output *output,
                              int error)
{
    const char *detail = nvmmio_last_error();
    if (!*detail)
        detail = nvmmio_strerror(error);
    if (strstr(detail, arguments->path))
        fprintf(stderr, "nvmmio: %s\n", detail);
    else
        fprintf(stderr, "nvmmio: %s: %s\n", arguments->path, detail);
    if (arguments->json)
        nv_output_text(output, "path", arguments->path);
    nv_output_error(output, error, detail);
    return exit_of_error(error);
}

static const char *state_name(enum nvmmio_state state)
{
    switch (state) {
    case NVMMIO_STATE_PLAIN:
        return "plain";
    case NVMMIO_STATE_LIVE:
        return "live";
    case NVMMIO_STATE_CRASHED:
        return "crashed";
    case NVMMIO_STATE_DAMAGED:
        return "damaged";
    case NVMMIO_STATE_LOG_MISSING:
        return "log_missing";
    }
    return "unknown";
}

static enum nv_tool_exit exit_of_state(enum nvmmio_state state)
{
    switch (state) {
    case NVMMIO_STATE_PLAIN:
    case NVMMIO_STATE_LIVE:
        return NV_EXIT_OK;
    case NVMMIO_STATE_CRASHED:
        return NV_EXIT_RECOVERY;
    case NVMMIO_STATE_DAMAGED:
    case NVMMIO_STATE_LOG_MISSING:
        return NV_EXIT_DAMAGE;
    }
    return NV_EXIT_DAMAGE;
}

static int look(const struct nv_tool_arguments *arguments, struct nvmmio_report *report)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    options.log_dir = arguments->log_dir;
    options.mark = &nv_page1_mark; /* the only format that has one so far */
    memset(report, 0, sizeof(*report));
    report->struct_bytes = sizeof(*report);
    return nvmmio_check(arguments->path, &options, report);
}

static void put_report(struct nv_output *output, const struct nv_tool_arguments *arguments,
                       const struct nvmmio_report *report)
{
    nv_output_text(output, "path", arguments->path);
    nv_output_text(output, "state", state_name(report->state));
    if (*report->detail)
        nv_output_text(output, "detail", report->detail);
    nv_output_bytes(output, "home_bytes", report->home_bytes);
    nv_output_bytes(output, "home_file_bytes", report->home_file_bytes);
    if (report->state != NVMMIO_STATE_PLAIN && *report->log_path)
        nv_output_text(output, "log_path", report->log_path);
    nv_output_bytes(output, "log_file_bytes", report->log_file_bytes);
    if (report->state != NVMMIO_STATE_LIVE && report->state != NVMMIO_STATE_CRASHED)
        return;
    nv_output_count(output, "records", report->records);
    if (report->records) {
        nv_output_count(output, "first_commit", report->first_commit);
        nv_output_count(output, "last_commit", report->last_commit);
        nv_output_bytes(output, "replay_bytes", report->replay_bytes);
    }
    nv_output_flag(output, "prepared", report->prepared);
}

/* ---- streams: no log, and a file that may be longer than what is in it ---- */

/* Whether there is something to say of it as a stream; `error` if that cannot be known. */
static bool is_stream(const struct nv_tool_arguments *arguments, const struct nvmmio_report *file,
                      struct nvmmio_stream_report *stream, int *error)
{
    *stream = (struct nvmmio_stream_report){.struct_bytes = sizeof(*stream)};
    *error = 0;
    if (file->state == NVMMIO_STATE_PLAIN)
        *error = nvmmio_stream_check(arguments->path, stream);
    return *error == 0 && stream->state != NVMMIO_STATE_PLAIN;
}

static void put_stream(struct nv_output *output, const struct nv_tool_arguments *arguments,
                       const struct nvmmio_stream_report *stream)
{
    nv_output_text(output, "path", arguments->path);
    nv_output_text(output, "state", state_name(stream->state));
    if (stream->state == NVMMIO_STATE_CRASHED)
        nv_output_text(output, "detail",
                       "a stream, left with its file ahead of it; the next open as a stream, or "
                       "\"nvmmio recover\", cuts the file");
    nv_output_bytes(output, "stream_bytes", stream->bytes);
    nv_output_bytes(output, "stream_file_bytes", stream->file_bytes);
}

static enum nv_tool_exit recover_stream(const struct nv_tool_arguments *arguments,
                                        struct nv_output *output,
                                        const struct nvmmio_stream_report *stream)
{
    if (arguments->dry_run) {
        put_stream(output, arguments, stream);
        nv_output_flag(output, "would_recover", stream->state == NVMMIO_STATE_CRASHED);
        return exit_of_state(stream->state);
    }
    const int cut = nvmmio_stream_recover(arguments->path); /* -EBUSY where it is written */
    if (cut < 0)
        return fail(arguments, output, cut);
    nv_output_text(output, "path", arguments->path);
    nv_output_flag(output, "recovered", cut == 1);
    nv_output_bytes(output, "stream_bytes", stream->bytes);
    return NV_EXIT_OK;
}

/* ---- commands ---- */

static enum nv_tool_exit check(const struct nv_tool_arguments *arguments, struct nv_output *output)
{
    struct nvmmio_report report;
    struct nvmmio_stream_report stream;
    int error = look(arguments, &report);
    const bool streams = !error && is_stream(arguments, &report, &stream, &error);
    if (error)
        return fail(arguments, output, error);
    if (streams) {
        put_stream(output, arguments, &stream);
        return exit_of_state(stream.state);
    }
    put_report(output, arguments, &report);
    return exit_of_state(report.state);
}

static void put_medium(struct nv_output *output, const struct nvmmio_info *info)
{
    nv_output_text(output, "medium", nvmmio_medium_name(info->home_medium));
    nv_output_text(output, "why", info->why);
    nv_output_flag(output, "forced", info->forced);
    nv_output_flag(output, "survives_process", info->survives_process);
    nv_output_flag(output, "survives_power", info->survives_power);
}

static int probe_directory(const char *path, struct nvmmio_info *info)
{
    memset(info, 0, sizeof(*info));
    info->struct_bytes = sizeof(*info);
    return nvmmio_probe(path, info);
}

/* What the directory of `path` is. */
static int probe_place(const char *path, struct nvmmio_info *info)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return probe_directory(".", info);
    char *directory = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!directory)
        return -ENOMEM;
    int error = probe_directory(directory, info);
    free(directory);
    return error;
}

static enum nv_tool_exit info(const struct nv_tool_arguments *arguments, struct nv_output *output)
{
    struct nvmmio_report report;
    struct nvmmio_stream_report stream;
    struct nvmmio_info home, log;
    int error = look(arguments, &report);
    const bool streams = !error && is_stream(arguments, &report, &stream, &error);
    if (!error)
        error = probe_place(arguments->path, &home);
    if (error)
        return fail(arguments, output, error);
    if (streams) {
        put_stream(output, arguments, &stream);
        put_medium(output, &home);
        return exit_of_state(stream.state);
    }

    bool apart = *report.log_path && arguments->log_dir;
    if (apart) {
        error = probe_place(report.log_path, &log);
        if (error)
            return fail(arguments, output, error);
        /* A commit is as durable as its log, and in the end as home. */
        home.survives_power = home.survives_power && log.survives_power;
        home.survives_process = home.survives_process && log.survives_process;
    }
    put_report(output, arguments, &report);
    put_medium(output, &home);
    if (apart) {
        nv_output_text(output, "log_medium", nvmmio_medium_name(log.home_medium));
        nv_output_text(output, "log_why", log.why);
    }
    return exit_of_state(report.state);
}

static enum nv_tool_exit probe(const struct nv_tool_arguments *arguments, struct nv_output *output)
{
    struct nvmmio_info place;
    int error = probe_directory(arguments->path, &place);
    if (error)
        return fail(arguments, output, error);
    nv_output_text(output, "path", arguments->path);
    put_medium(output, &place);
    return NV_EXIT_OK;
}

static enum nv_tool_exit stats(const struct nv_tool_arguments *arguments, struct nv_output *output)
{
    struct nvmmio_report report;
    int error = look(arguments, &report);
    if (error)
        return fail(arguments, output, error);
    if (report.state != NVMMIO_STATE_LIVE) {
        put_report(output, arguments, &report);
        static const char reason[] = "not open in any process, and only then are there counters";
        fprintf(stderr, "nvmmio: %s: %s\n", arguments->path, reason);
        nv_output_error(output, 0, reason);
        return report.state == NVMMIO_STATE_PLAIN ? NV_EXIT_USAGE : exit_of_state(report.state);
    }

    struct nvmmio_stats counters;
    memset(&counters, 0, sizeof(counters));
    counters.struct_bytes = sizeof(counters);
    error = nvmmio_stats_live(arguments->path, &counters);
    if (error)
        return fail(arguments, output, error);
    nv_output_text(output, "path", arguments->path);
    nv_output_count(output, "commits", counters.commits);
    nv_output_count(output, "rollbacks", counters.rollbacks);
    nv_output_count(output, "prepares", counters.prepares);
    nv_output_count(output, "blocks", counters.blocks);
    nv_output_bytes(output, "log_bytes", counters.log_bytes);
    nv_output_bytes(output, "home_bytes", counters.home_bytes);
    nv_output_count(output, "fences", counters.fences);
    nv_output_count(output, "flushes", counters.flushes);
    nv_output_count(output, "flush_waits", counters.flush_waits);
    nv_output_count(output, "spills", counters.spills);
    nv_output_count(output, "log_grows", counters.log_grows);
    nv_output_count(output, "recoveries", counters.recoveries);
    nv_output_count(output, "takeovers", counters.takeovers);
    nv_output_count(output, "busy", counters.busy);
    nv_output_bytes(output, "read_bytes", counters.read_bytes);
    nv_output_bytes(output, "written_bytes", counters.written_bytes);
    return NV_EXIT_OK;
}

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    nv_progress_update(context, done, total);
}

static enum nv_tool_exit recover(const struct nv_tool_arguments *arguments,
                                 struct nv_output *output)
{
    struct nvmmio_report before, after;
    struct nvmmio_stream_report stream;
    int error = look(arguments, &before);
    const bool streams = !error && is_stream(arguments, &before, &stream, &error);
    if (error)
        return fail(arguments, output, error);
    if (streams)
        return recover_stream(arguments, output, &stream);
    if (arguments->dry_run) {
        put_report(output, arguments, &before);
        nv_output_flag(output, "would_recover", before.state == NVMMIO_STATE_CRASHED);
        return exit_of_state(before.state);
    }

    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    options.log_dir = arguments->log_dir;
    options.mark = &nv_page1_mark;
    memset(&after, 0, sizeof(after));
    after.struct_bytes = sizeof(after);
    struct nv_progress progress;
    nv_progress_start(&progress, stderr, "recovering", NULL, false);
    error = nvmmio_recover(arguments->path, &options, show_progress, &progress, &after);
    nv_progress_end(&progress);
    if (error)
        return fail(arguments, output, error);

    nv_output_text(output, "path", arguments->path);
    nv_output_flag(output, "recovered", before.state == NVMMIO_STATE_CRASHED);
    nv_output_count(output, "records", before.records);
    nv_output_bytes(output, "replay_bytes", before.replay_bytes);
    nv_output_bytes(output, "home_bytes", after.home_bytes);
    return NV_EXIT_OK;
}

static enum nv_tool_exit refuse(const char *path, const char *reason, struct nv_output *output)
{
    fprintf(stderr, "nvmmio: %s: %s\n", path, reason);
    if (output->object)
        nv_output_text(output, "path", path);
    nv_output_error(output, -EINVAL, reason);
    return NV_EXIT_IO;
}

static bool is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static nv_tool_command *find(const char *name)
{
    static const struct {
        const char *name;
        nv_tool_command *run;
    } commands[] = {
        {"info", info}, {"check", check}, {"recover", recover}, {"stats", stats}, {"probe", probe},
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run;
    }
    return NULL;
}

bool nv_tool_knows(const char *command)
{
    return find(command);
}

enum nv_tool_exit nv_tool_run(const struct nv_tool_arguments *arguments, struct nv_output *output)
{
    nv_tool_command *run = find(arguments->command);
    if (run != probe && is_directory(arguments->path))
        return refuse(arguments->path, "is a directory, where a file is asked for", output);
    /* A log that is looked for in a directory that is not there would pass for no log at all. */
    if (arguments->log_dir && !is_directory(arguments->log_dir))
        return refuse(arguments->log_dir, "no such directory (--log-dir)", output);
    return run(arguments, output);
}
