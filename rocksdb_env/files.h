/*
 * files: RocksDB's kinds of files over the engine's streams.
 *
 * Threads: as RocksDB uses them: one appends, others sync beside it; any number
 * read at random; one reads in sequence.
 *
 * Crash: what Append took is there after the death of the process, what was
 * synced is there after a loss of power.
 */
#ifndef NVMMIO_ROCKSDB_FILES_H
#define NVMMIO_ROCKSDB_FILES_H

#include <memory>
#include <string>

#include <rocksdb/file_system.h>

#include "core/nvmmio.h"

namespace nv
{

struct CloseStream {
    void operator()(nvmmio_stream *stream) const;
};
using Stream = std::unique_ptr<nvmmio_stream, CloseStream>;

rocksdb::IOStatus OpenStream(const std::string &path, const nvmmio_stream_options &options,
                             Stream *stream);

/* Whether reads of this stream are served from memory. */
bool IsMapped(nvmmio_stream *stream);

std::unique_ptr<rocksdb::FSWritableFile> NewWritable(const std::string &path, Stream stream);
std::unique_ptr<rocksdb::FSSequentialFile> NewSequential(const std::string &path, Stream stream);

/*
 * `no_copy`: results are pointers into the mapping, which only a database with
 * allow_mmap_reads expects: otherwise RocksDB's prefetch buffer takes whatever
 * is in its own memory for the result.
 */
std::unique_ptr<rocksdb::FSRandomAccessFile>
NewRandomAccess(const std::string &path, Stream stream, bool no_copy,
                std::shared_ptr<rocksdb::FileSystem> posix);

} // namespace nv
#endif
