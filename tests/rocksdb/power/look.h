/*
 * look: at what a crash left, held against what it may leave.  Each look answers
 * with what is wrong, or nothing.
 */
#ifndef TESTS_ROCKSDB_POWER_LOOK_H
#define TESTS_ROCKSDB_POWER_LOOK_H

#include <string>

#include "tests/rocksdb/power/life.h"
#include "tests/rocksdb/power/replay.h"

enum class Crash {
    kProcess, /* kill -9: all that was appended, all names as they were */
    kPower,
    /* On a file system that may make a size durable before the data, which leaves zeros, and a name
     * before an older one. */
    kPowerUnordered,
};

/* Names, and files that are the kernel's: CURRENT is whole, and the MANIFEST that it names has not
 * a byte that was not written. */
std::string LookAtNames(struct machine *machine, const Moment &moment, Crash crash);

/* Streams, as they are read through the plug-in, which recovers them. */
std::string LookAtStreams(struct machine *machine, rocksdb::FileSystem *fs, const Moment &moment,
                          Crash crash);

/* Of Kind::kPlain: the machine's files, copied to `directory`, are a database that RocksDB without
 * the plug-in opens, and it is what the last promised operation left, or a later one. */
std::string LookAtDatabase(struct machine *machine, const Moment &moment, Crash crash,
                           const std::string &directory);

#endif
