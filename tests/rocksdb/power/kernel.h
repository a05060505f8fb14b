/*
 * kernel: the files of the machine that are the kernel's, and its directory, as
 * RocksDB's FileSystem for posix has them.  What the plug-in's FileSystem stands
 * on, as far as a recorded life and the looks after it need it.
 *
 * Threads: one.  Crash: as the machine has it.
 */
#ifndef TESTS_ROCKSDB_POWER_KERNEL_H
#define TESTS_ROCKSDB_POWER_KERNEL_H

#include <memory>
#include <string>

#include <rocksdb/file_system.h>

#include "tests/rocksdb/power/machine.h"

std::shared_ptr<rocksdb::FileSystem> NewKernel(struct machine *machine);

/* The plug-in's FileSystem, standing on that. */
std::unique_ptr<rocksdb::FileSystem> NewNvmmio(const std::string &uri, struct machine *machine);

#endif
