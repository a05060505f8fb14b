#include "rocksdb_env/statistics.h"

#include <atomic>

#include "core/nvmmio.h"
#include "rocksdb_env/nvmmio_rocksdb.h"

namespace
{

std::atomic<uint64_t> writers, readers, appends, appended_bytes, syncs, fences;

} // namespace

void nv::CountWriter(nvmmio_stream *stream)
{
    struct nvmmio_stream_stats counts = {};

    counts.struct_bytes = sizeof counts;
    writers++;
    if (nvmmio_stream_stats(stream, &counts) != 0)
        return;
    appends += counts.appends;
    appended_bytes += counts.appended_bytes;
    syncs += counts.syncs;
    fences += counts.fences;
}

void nv::CountReader()
{
    readers++;
}

void nvmmio_rocksdb_statistics(struct nvmmio_rocksdb_statistics *statistics)
{
    statistics->writers = writers;
    statistics->readers = readers;
    statistics->appends = appends;
    statistics->appended_bytes = appended_bytes;
    statistics->syncs = syncs;
    statistics->fences = fences;
}
