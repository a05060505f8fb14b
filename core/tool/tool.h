/*
 * tool: the commands of `nvmmio`.  They use the public interface alone; none of
 * them joins the processes that have a file open, so looking at a live file
 * changes nothing for those who use it.
 */
#ifndef NV_TOOL_H
#define NV_TOOL_H

#include <stdbool.h>

#include "core/nvmmio.h"
#include "core/tool/output.h"

enum nv_tool_exit {
    NV_EXIT_OK = 0,
    NV_EXIT_RECOVERY = 1,
    NV_EXIT_USAGE = 2,
    NV_EXIT_DAMAGE = 3,
    NV_EXIT_BUSY = 4,
    NV_EXIT_IO = 5,
};

struct nv_tool_arguments {
    const char *command;
    const char *path;
    const char *log_dir;
    bool json;
    bool dry_run;
};

/* The whole program, from arguments to exit code; leaves by exit() on --help and wrong usage. */
int nv_tool_main(int argc, char **argv);

/* A command, from arguments that are complete to exit code. */
enum nv_tool_exit nv_tool_run(const struct nv_tool_arguments *arguments, struct nv_output *output);
bool nv_tool_knows(const char *command);

#endif
