/*
 * inject: lets the suite's simulated I/O errors reach the extension's files; see
 * inject.c.  Called by the thread that runs sqlite3_initialize.
 */
#ifndef NVMMIO_SUITE_INJECT_H
#define NVMMIO_SUITE_INJECT_H

#include "sqlite3.h"

void nvmmio_suite_inject(sqlite3_vfs *vfs);

#endif
