/*
 * check_uri: look at --fs_uri before one of RocksDB's own programs does, which
 * die of one that is not registered, and go on with posix for some others.
 */
#ifndef NVMMIO_ROCKSDB_CHECK_URI_H
#define NVMMIO_ROCKSDB_CHECK_URI_H

namespace nv
{

/* Returns when all is well; otherwise says what is wrong, and ends the process with status 2. */
void CheckUri(int argc, char **argv);

} // namespace nv
#endif
