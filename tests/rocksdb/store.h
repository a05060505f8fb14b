/*
 * store: a RocksDB database whose contents a test can foretell.  Write number n
 * puts a value made from n at key n % STORE_KEYS, so the state after any number
 * of writes is known, and what is found tells how many there were.
 *
 * RocksDB starts threads; so all of this is called in children only, each of
 * which has opened nothing before.
 */
#ifndef TESTS_ROCKSDB_STORE_H
#define TESTS_ROCKSDB_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include <rocksdb/c.h>

enum { STORE_KEYS = 997 };

struct store_options {
    const char *uri;   /* NULL: RocksDB's own posix */
    const char *extra; /* options in RocksDB's text form; may be "" */
};

struct store {
    rocksdb_t *db;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
};

/* NULL, or a message to free(): what RocksDB said. */
char *store_try_open(struct store *store, const char *path, const struct store_options *options);
void store_open(struct store *store, const char *path, const struct store_options *options);
void store_close(struct store *store);

/* Write number n; NULL, or a message to free(). */
char *store_try_put(struct store *store, uint64_t n, bool sync);
void store_put(struct store *store, uint64_t n, bool sync);
void store_flush(struct store *store);

/*
 * The number of writes after which the store looks like this: `least` at the
 * least, `most` at the most; anything else fails the test.
 */
uint64_t store_check(struct store *store, uint64_t least, uint64_t most);

#endif
