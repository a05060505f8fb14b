/*
 * statistics: what went through the engine in this process.  A file counts when
 * it is closed, so that nothing is counted on the way of an append.
 */
#ifndef NVMMIO_ROCKSDB_STATISTICS_H
#define NVMMIO_ROCKSDB_STATISTICS_H

struct nvmmio_stream;

namespace nv
{

void CountWriter(nvmmio_stream *stream);
void CountReader();

} // namespace nv
#endif
