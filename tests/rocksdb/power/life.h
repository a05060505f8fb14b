/*
 * life: a database whose contents can be foretold.  After its first n operations
 * it holds what Contents(n) says; that n stands in it, too.
 */
#ifndef TESTS_ROCKSDB_POWER_LIFE_H
#define TESTS_ROCKSDB_POWER_LIFE_H

#include <cstdint>
#include <map>
#include <string>

#include <rocksdb/db.h>

enum class Kind {
    kPlain,    /* WALs are made and deleted; blobs; a table is ingested */
    kRecycled, /* WALs are used again */
};

rocksdb::Options LifeOptions(Kind kind);

/* The key under which the number of the last operation stands. */
extern const char kLast[];

/* What operation `number`, from 1 on, puts. */
std::map<std::string, std::string> Puts(uint64_t number);
std::map<std::string, std::string> Contents(uint64_t operations);

#endif
