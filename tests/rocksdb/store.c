#include "tests/rocksdb/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rocksdb_env/nvmmio_rocksdb.h"
#include "tests/core/check.h"

/* Small files, so that flushes, compactions and changes of the WAL are many. */
static const char common[] = "create_if_missing=true;write_buffer_size=65536;"
                             "target_file_size_base=65536;max_bytes_for_level_base=262144;"
                             "level0_file_num_compaction_trigger=2;max_open_files=50;"
                             "info_log_level=WARN_LEVEL;";

static size_t value_bytes(uint64_t n)
{
    return 16 + n * 37 % 900;
}

static void value_make(char *value, uint64_t n)
{
    size_t bytes = value_bytes(n);

    memcpy(value, &n, sizeof n);
    for (size_t i = sizeof n; i < bytes; i++)
        value[i] = (char)(n * 31 + i * 7);
}

static char *options_make(rocksdb_options_t *options, const struct store_options *wanted)
{
    char text[1024], *error = NULL, *message;

    (void)snprintf(text, sizeof text, "%s%s", common, wanted->extra);
    if (wanted->uri)
        nvmmio_rocksdb_options_set(options, wanted->uri, &error);
    if (!error)
        rocksdb_get_options_from_string(options, text, options, &error);
    message = error ? strdup(error) : NULL;
    rocksdb_free(error);
    return message;
}

char *store_try_open(struct store *store, const char *path, const struct store_options *options)
{
    rocksdb_options_t *made = rocksdb_options_create();
    char *message = options_make(made, options), *error = NULL;

    store->db = NULL;
    if (!message)
        store->db = rocksdb_open(made, path, &error);
    rocksdb_options_destroy(made);
    if (error)
        message = strdup(error);
    rocksdb_free(error);
    if (!store->db)
        return message;
    free(message);
    store->read = rocksdb_readoptions_create();
    store->write = rocksdb_writeoptions_create();
    return NULL;
}

void store_open(struct store *store, const char *path, const struct store_options *options)
{
    char *message = store_try_open(store, path, options);

    if (message)
        check_fail("open by %s: %s", options->uri ? options->uri : "posix", message);
}

void store_close(struct store *store)
{
    rocksdb_close(store->db);
    rocksdb_readoptions_destroy(store->read);
    rocksdb_writeoptions_destroy(store->write);
}

char *store_try_put(struct store *store, uint64_t n, bool sync)
{
    char key[32], value[1024], *error = NULL, *message = NULL;
    int key_bytes = snprintf(key, sizeof key, "key%06d", (int)(n % STORE_KEYS));

    value_make(value, n);
    rocksdb_writeoptions_set_sync(store->write, sync);
    rocksdb_put(store->db, store->write, key, (size_t)key_bytes, value, value_bytes(n), &error);
    if (error)
        message = strdup(error);
    rocksdb_free(error);
    return message;
}

void store_put(struct store *store, uint64_t n, bool sync)
{
    char *message = store_try_put(store, n, sync);

    if (message)
        check_fail("put %llu: %s", (unsigned long long)n, message);
}

void store_flush(struct store *store)
{
    char *error = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();

    rocksdb_flush(store->db, options, &error);
    rocksdb_flushoptions_destroy(options);
    if (error)
        check_fail("flush: %s", error);
}

/* Which write the value at a key came from; 0: there is none (writes count from 1). */
static uint64_t store_get(struct store *store, uint64_t key_number)
{
    char key[32], want[1024], *error = NULL, *value;
    int key_bytes = snprintf(key, sizeof key, "key%06d", (int)key_number);
    size_t bytes = 0;
    uint64_t n = 0;

    value = rocksdb_get(store->db, store->read, key, (size_t)key_bytes, &bytes, &error);
    if (error)
        check_fail("get %s: %s", key, error);
    if (!value)
        return 0;
    check(bytes >= sizeof n);
    memcpy(&n, value, sizeof n);
    check_eq(n % STORE_KEYS, key_number);
    check_eq(bytes, value_bytes(n));
    value_make(want, n);
    check(memcmp(value, want, bytes) == 0);
    rocksdb_free(value);
    return n;
}

uint64_t store_check(struct store *store, uint64_t least, uint64_t most)
{
    uint64_t found[STORE_KEYS], writes = 0;

    for (uint64_t key = 0; key < STORE_KEYS; key++) {
        found[key] = store_get(store, key);
        if (found[key] > writes)
            writes = found[key];
    }
    if (writes < least || writes > most)
        check_fail("%llu writes are there, not %llu to %llu", (unsigned long long)writes,
                   (unsigned long long)least, (unsigned long long)most);
    /* The last write to each key, of all up to `writes`. */
    for (uint64_t key = 0; key < STORE_KEYS; key++) {
        uint64_t behind = (writes + STORE_KEYS - key) % STORE_KEYS;

        check_eq(found[key], writes > behind ? writes - behind : 0);
    }
    return writes;
}
