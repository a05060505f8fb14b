/*
 * fake_engine: the part of nvmmio.h that the tool calls, answering what a test
 * tells it to.  So every state and every failure can be shown to the tool.
 */
#ifndef NV_TESTS_FAKE_ENGINE_H
#define NV_TESTS_FAKE_ENGINE_H

#include "core/nvmmio.h"

struct fake_engine {
    int check_error, recover_error, probe_error, stats_error;
    const char *last_error;
    const char *log_dir_expected; /* compared with what check and recover are given */
    struct nvmmio_report report;
    int stream_error, stream_recover_error;
    struct nvmmio_stream_report stream;  /* of a file that is plain otherwise */
    struct nvmmio_info place, log_place; /* of any directory, and of log_dir_expected */
    struct nvmmio_stats stats;
    bool recover_forbidden;
};

extern struct fake_engine fake;

#endif
