/*
 * status: the engine's negative errno values as RocksDB's IOStatus, whose code,
 * scope and retryability decide what a database does next: wait for space,
 * retry, stop writing, or report damage.
 */
#ifndef NVMMIO_ROCKSDB_STATUS_H
#define NVMMIO_ROCKSDB_STATUS_H

#include <string>

#include <rocksdb/io_status.h>

namespace nv
{

/* `error` is 0 or negative; `what` was being done to `path`. */
rocksdb::IOStatus StatusOf(int error, const char *what, const std::string &path);

} // namespace nv
#endif
