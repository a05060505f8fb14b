#include "tests/tool/fake_engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_engine fake;

/* The caller is a child of the test: it ends with a code that the tool does not have. */
static void demand(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fake engine: %s\n", what);
    exit(99);
}

static void check_options(const struct nvmmio_options *options)
{
    demand(options && options->struct_bytes == sizeof(*options), "options have no size");
    const char *wanted = fake.log_dir_expected;
    demand(wanted ? options->log_dir && strcmp(options->log_dir, wanted) == 0 : !options->log_dir,
           "log_dir is not the one of the command line");
}

static void give_report(struct nvmmio_report *report)
{
    demand(report->struct_bytes == sizeof(*report), "report has no size");
    *report = fake.report;
    report->struct_bytes = sizeof(*report);
}

int nvmmio_check(const char *path, const struct nvmmio_options *options,
                 struct nvmmio_report *report)
{
    (void)path;
    check_options(options);
    if (fake.check_error)
        return fake.check_error;
    give_report(report);
    return 0;
}

int nvmmio_recover(const char *path, const struct nvmmio_options *options,
                   nvmmio_progress *progress, void *context, struct nvmmio_report *report)
{
    (void)path;
    demand(!fake.recover_forbidden, "recover was called");
    check_options(options);
    if (fake.recover_error)
        return fake.recover_error;
    progress(context, 0, 1000);
    progress(context, 500, 1000);
    progress(context, 1000, 1000);
    give_report(report);
    return 0;
}

int nvmmio_stream_check(const char *path, struct nvmmio_stream_report *report)
{
    (void)path;
    demand(report->struct_bytes == sizeof(*report), "stream report has no size");
    demand(fake.report.state == NVMMIO_STATE_PLAIN, "a file that is no stream was taken for one");
    *report = fake.stream;
    report->struct_bytes = sizeof(*report);
    return fake.stream_error;
}

int nvmmio_stream_recover(const char *path)
{
    (void)path;
    demand(!fake.recover_forbidden, "stream_recover was called");
    return fake.stream_recover_error ? fake.stream_recover_error : 1;
}

int nvmmio_stats_live(const char *path, struct nvmmio_stats *stats)
{
    (void)path;
    demand(stats->struct_bytes == sizeof(*stats), "stats have no size");
    if (fake.stats_error)
        return fake.stats_error;
    *stats = fake.stats;
    stats->struct_bytes = sizeof(*stats);
    return 0;
}

int nvmmio_probe(const char *path, struct nvmmio_info *info)
{
    demand(info->struct_bytes == sizeof(*info), "info has no size");
    if (fake.probe_error)
        return fake.probe_error;
    bool log = fake.log_dir_expected && strcmp(path, fake.log_dir_expected) == 0;
    *info = log ? fake.log_place : fake.place;
    info->struct_bytes = sizeof(*info);
    return 0;
}

const char *nvmmio_medium_name(enum nvmmio_medium medium)
{
    static const char *const names[] = {"auto", "dax", "page", "ram", "sim"};
    return names[medium];
}

const char *nvmmio_strerror(int error)
{
    return strerror(abs(error));
}

const char *nvmmio_last_error(void)
{
    return fake.last_error ? fake.last_error : "";
}

const char *nvmmio_version(void)
{
    return NVMMIO_VERSION;
}
