/* count: linked into RocksDB's own tests, says at the end what went through nvmmio. */
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "rocksdb_env/nvmmio_rocksdb.h"

namespace
{

struct Count {
    ~Count()
    {
        struct nvmmio_rocksdb_statistics s;

        nvmmio_rocksdb_statistics(&s);
        if (getenv("NVMMIO_TEST_COUNT") && s.writers + s.readers > 0)
            printf("nvmmio: %" PRIu64 " files written, %" PRIu64 " read, %" PRIu64
                   " appends, %" PRIu64 " syncs\n",
                   s.writers, s.readers, s.appends, s.syncs);
    }
};

const Count count;

} // namespace
