/*
 * managed: a database with what RocksDB's C interface does not have: an
 * SstFileManager, which looks for space to return, and a listener that hears when
 * the database has resumed.  Write n puts n and much text behind it at key n.
 *
 * RocksDB starts threads; so all of this is called in children only.
 */
#ifndef TESTS_ROCKSDB_MANAGED_H
#define TESTS_ROCKSDB_MANAGED_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum managed_result { MANAGED_OK, MANAGED_NO_SPACE, MANAGED_OTHER };

struct managed_options {
    const char *uri; /* NULL: RocksDB's own posix */
    const char *wal_dir;
    bool manager; /* with an SstFileManager */
};

struct managed;

/* NULL: what was wrong was printed; so with MANAGED_OTHER. */
struct managed *managed_open(const char *path, const struct managed_options *wanted);
void managed_close(struct managed *managed);
enum managed_result managed_put(struct managed *managed, uint64_t n);
enum managed_result managed_flush(struct managed *managed);
/* Until RocksDB has resumed by itself; false: not in a minute. */
bool managed_wait(struct managed *managed);
/* Whether writes 1 to n are there, and no other. */
bool managed_holds(struct managed *managed, uint64_t n);

#ifdef __cplusplus
}
#endif
#endif
