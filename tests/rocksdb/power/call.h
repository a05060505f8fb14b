/*
 * call: what RocksDB asked of its FileSystem in one life of a database, as lines
 * of text: record writes them, power_test reads them.
 */
#ifndef TESTS_ROCKSDB_POWER_CALL_H
#define TESTS_ROCKSDB_POWER_CALL_H

#include <cstdint>
#include <string>
#include <vector>

enum class Verb {
    kBegin, /* operation `number` of the life begins; with `synced`, its end is a promise */
    kEnd,
    kNew, /* `file` is a number that only this handle has; `name` is without its directory */
    kReopen,
    kReuse, /* `other` becomes `name` */
    kBlock, /* a hint of how much to allocate at once */
    kPrepare,
    kAppend,
    kSync,
    kFsync,
    kRange,
    kTruncate,
    kClose,
    kDrop,   /* the handle goes */
    kRename, /* `other` becomes `name` */
    kLink,   /* `name` is `other` too */
    kDelete,
    kCut, /* the file of that name, to `number` bytes */
    kSyncDirectory,
};

struct Call {
    explicit Call(Verb what, uint32_t which = 0) : verb(what), file(which)
    {
    }

    Verb verb;
    uint32_t file;
    std::string name, other;
    uint64_t number = 0, bytes = 0;
    std::string data;
    bool synced = false;
};

/* One line, without its end. */
std::string Print(const Call &call);

/* False, and why, if there is no such file or a line of it is not one. */
bool ReadCalls(const std::string &path, std::vector<Call> *calls, std::string *error);

/* Which bits of a call its line has. */
bool HasFile(Verb verb);

#endif
