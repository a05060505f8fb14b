/*
 * file_system: what RocksDB calls.
 *
 * The files whose bytes have to be durable one by one or in bulk (WAL, SST,
 * blob) are streams of the engine; all others, and all names and directories,
 * are the kernel's, by way of RocksDB's own FileSystem for posix.
 *
 * Threads: any.  What a crash leaves: README.md, "What is durable when".
 */
#ifndef NVMMIO_ROCKSDB_FILE_SYSTEM_H
#define NVMMIO_ROCKSDB_FILE_SYSTEM_H

#include <memory>
#include <string>

#include <rocksdb/file_system.h>

#include "rocksdb_env/settings.h"

namespace nv
{

/* A FileSystem for a URI; a failure says what is wrong with it. */
rocksdb::Status NewFileSystem(const std::string &uri, std::unique_ptr<rocksdb::FileSystem> *made);

} // namespace nv
#endif
