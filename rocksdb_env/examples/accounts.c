/*
 * accounts: a small store of balances on nvmmio, by RocksDB's C interface.
 *
 *     cc -I. accounts.c -lrocksdb -Lbazel-bin/rocksdb_env -lnvmmio_rocksdb
 *     ./a.out DIR [URI]
 *
 * The first run gives each account its money.  Every run moves some of it, each
 * move one synchronous write of two keys, and finds before and after that no
 * money was made or lost: kill one at any time, and run it again.
 * Exit status: 0 fine, 1 the sum is wrong, 2 usage, 5 input/output error.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rocksdb/c.h>

#include "rocksdb_env/nvmmio_rocksdb.h"

enum { ACCOUNTS = 100, MOVES = 2000, OPENING_BALANCE = 1000 };
enum { FINE = 0, WRONG_SUM = 1, USAGE = 2, INPUT_OUTPUT = 5 };

/* Print what RocksDB said, if it did, and give the message back. */
static int failed(const char *doing, char **error)
{
    if (!*error)
        return 0;
    fprintf(stderr, "accounts: %s: %s\n", doing, *error);
    rocksdb_free(*error);
    *error = NULL;
    return 1;
}

static rocksdb_t *open_store(const char *dir, const char *uri)
{
    char *error = NULL;
    rocksdb_t *db = NULL;
    rocksdb_options_t *options = rocksdb_options_create();

    rocksdb_options_set_create_if_missing(options, 1);
    nvmmio_rocksdb_options_set(options, uri, &error);
    if (!failed("options", &error)) {
        db = rocksdb_open(options, dir, &error);
        failed("open", &error);
    }
    rocksdb_options_destroy(options);
    return db;
}

static void name(char key[16], unsigned account)
{
    snprintf(key, 16, "account%03u", account);
}

static void batch_balance(rocksdb_writebatch_t *batch, unsigned account, int64_t balance)
{
    char key[16];

    name(key, account);
    rocksdb_writebatch_put(batch, key, strlen(key), (const char *)&balance, sizeof balance);
}

enum { FAILED = -1, NO_ACCOUNT = -2 };

/* The balance of an account, or one of these. */
static int64_t read_balance(rocksdb_t *db, const rocksdb_readoptions_t *options, unsigned account)
{
    char key[16], *error = NULL, *value;
    size_t bytes;
    int64_t balance = FAILED;

    name(key, account);
    value = rocksdb_get(db, options, key, strlen(key), &bytes, &error);
    if (failed("get", &error))
        return FAILED;
    if (!value)
        return NO_ACCOUNT;
    if (bytes == sizeof balance)
        memcpy(&balance, value, sizeof balance);
    rocksdb_free(value);
    return balance;
}

static int write_batch(rocksdb_t *db, rocksdb_writebatch_t *batch)
{
    char *error = NULL;
    rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();

    rocksdb_writeoptions_set_sync(options, 1);
    rocksdb_write(db, options, batch, &error);
    rocksdb_writeoptions_destroy(options);
    rocksdb_writebatch_clear(batch);
    return failed("write", &error) ? -1 : 0;
}

/* Synchronous: when this returns, the batch is durable, all of it. */
static int move_one(rocksdb_t *db, rocksdb_writebatch_t *batch,
                    const rocksdb_readoptions_t *options, unsigned from, unsigned to)
{
    int64_t balance = read_balance(db, options, from), other = read_balance(db, options, to);

    if (balance < 0 || other < 0)
        return -1;
    if (from == to || balance == 0)
        return 0;
    batch_balance(batch, from, balance - 1);
    batch_balance(batch, to, other + 1);
    return write_batch(db, batch);
}

static int move_money(rocksdb_t *db, const rocksdb_readoptions_t *options)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    int error = 0;

    for (unsigned i = 0; i < MOVES && !error; i++) {
        error = move_one(db, batch, options, i * 7 % ACCOUNTS, (i * 13 + 1) % ACCOUNTS);
        if (i % 200 == 0) {
            printf("%u of %u moves\n", i, (unsigned)MOVES);
            fflush(stdout);
        }
    }
    rocksdb_writebatch_destroy(batch);
    return error;
}

static int give_money(rocksdb_t *db)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    int error;

    for (unsigned account = 0; account < ACCOUNTS; account++)
        batch_balance(batch, account, OPENING_BALANCE);
    error = write_batch(db, batch);
    rocksdb_writebatch_destroy(batch);
    return error;
}

/* What all accounts hold, or FAILED. */
static int64_t sum(rocksdb_t *db, const rocksdb_readoptions_t *options)
{
    int64_t total = 0;

    for (unsigned account = 0; account < ACCOUNTS; account++) {
        int64_t balance = read_balance(db, options, account);

        if (balance == FAILED)
            return FAILED;
        if (balance != NO_ACCOUNT) /* else its money is missing from the sum */
            total += balance;
    }
    return total;
}

static int check_sum(rocksdb_t *db, const rocksdb_readoptions_t *options)
{
    int64_t total = sum(db, options);

    if (total < 0)
        return INPUT_OUTPUT;
    printf("%d accounts hold %" PRId64 "\n", ACCOUNTS, total);
    return total == (int64_t)ACCOUNTS * OPENING_BALANCE ? FINE : WRONG_SUM;
}

static int work(rocksdb_t *db, const rocksdb_readoptions_t *options)
{
    int status;

    if (read_balance(db, options, 0) == NO_ACCOUNT && give_money(db) != 0)
        return INPUT_OUTPUT;
    status = check_sum(db, options);
    if (status == FINE && move_money(db, options) != 0)
        status = INPUT_OUTPUT;
    return status;
}

int main(int argc, char **argv)
{
    const char *uri = argc > 2 ? argv[2] : "nvmmio://";
    struct nvmmio_rocksdb_statistics statistics;
    rocksdb_readoptions_t *options;
    rocksdb_t *db;
    int status = INPUT_OUTPUT;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: accounts DIR [URI]\n");
        return USAGE;
    }
    options = rocksdb_readoptions_create();
    db = open_store(argv[1], uri);
    if (db) {
        status = work(db, options);
        rocksdb_close(db);
    }
    if (status == FINE) {
        db = open_store(argv[1], uri);
        status = db ? check_sum(db, options) : INPUT_OUTPUT;
        if (db)
            rocksdb_close(db);
    }
    rocksdb_readoptions_destroy(options);
    nvmmio_rocksdb_statistics(&statistics);
    printf("nvmmio took %" PRIu64 " appends and %" PRIu64 " syncs\n", statistics.appends,
           statistics.syncs);
    return status;
}
