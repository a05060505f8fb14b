/*
 * The VFS driven directly, without SQLite above it: what commits and what does
 * not (PROTOCOL 7), file controls, device characteristics.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sql/harness.h"
#include "tests/sql/step.h"

#define PAGE 4096

static int setup(void **state)
{
    sqlite3 *db;

    (void)state;
    scratch_make(&scratch);
    db = stock_open(scratch.path, NULL);
    sql_do(db, "PRAGMA page_size = 4096; CREATE TABLE t(v); INSERT INTO t VALUES(zeroblob(40000))");
    sql_close(db);
    return 0;
}

/* A main database file of the VFS.  SQLite's own open gives the name with its parameters. */
struct direct {
    sqlite3 *db;
    sqlite3_file *file;
};

static struct direct direct_open(void)
{
    struct direct direct = {sql_open(scratch.path, NULL), NULL};

    direct.file = sql_file(direct.db);
    return direct;
}

static int lock(struct direct *direct, int level)
{
    /* Step by step, as SQLite does. */
    int result = direct->file->pMethods->xLock(direct->file, SQLITE_LOCK_SHARED);

    if (result == SQLITE_OK && level > SQLITE_LOCK_SHARED)
        result = direct->file->pMethods->xLock(direct->file, SQLITE_LOCK_RESERVED);
    if (result == SQLITE_OK && level > SQLITE_LOCK_RESERVED)
        result = direct->file->pMethods->xLock(direct->file, level);
    return result;
}

static void unlock(struct direct *direct, int level)
{
    check_eq(direct->file->pMethods->xUnlock(direct->file, level), SQLITE_OK);
}

static int write_page(struct direct *direct, int page, int value)
{
    char data[PAGE];

    memset(data, value, sizeof(data));
    return direct->file->pMethods->xWrite(direct->file, data, PAGE, (sqlite3_int64)page * PAGE);
}

/* The first byte of a page; -1 behind the end. */
static int read_page(struct direct *direct, int page)
{
    unsigned char data[PAGE];
    int result =
        direct->file->pMethods->xRead(direct->file, data, PAGE, (sqlite3_int64)page * PAGE);

    if (result == SQLITE_IOERR_SHORT_READ)
        return -1;
    check_eq(result, SQLITE_OK);
    for (size_t i = 4; i < PAGE; i++) /* before that, a blob's page names the next one */
        check_eq(data[i], data[PAGE - 1]);
    return data[PAGE - 1];
}

static int64_t size_of(struct direct *direct)
{
    sqlite3_int64 bytes;

    check_eq(direct->file->pMethods->xFileSize(direct->file, &bytes), SQLITE_OK);
    return bytes;
}

static int control(struct direct *direct, int operation, void *argument)
{
    return direct->file->pMethods->xFileControl(direct->file, operation, argument);
}

/* The stock VFS knows nothing of these two. */
static void tell(struct direct *direct, int operation)
{
    int result = control(direct, operation, NULL);

    check(result == SQLITE_OK || (result == SQLITE_NOTFOUND && !sql_on_nvmmio()));
}

static int sync_file(struct direct *direct)
{
    return direct->file->pMethods->xSync(direct->file, SQLITE_SYNC_NORMAL);
}

/* Begin a transaction that writes `value` to page 3, up to EXCLUSIVE. */
static void begin_and_write(struct direct *direct, int value)
{
    check_eq(lock(direct, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
    check_eq(write_page(direct, 3, value), SQLITE_OK);
    check_eq(read_page(direct, 3), value);
}

/* What another connection finds in page 3. */
static int seen(void)
{
    struct direct other = direct_open();
    int value;

    check_eq(lock(&other, SQLITE_LOCK_SHARED), SQLITE_OK);
    value = read_page(&other, 3);
    unlock(&other, SQLITE_LOCK_NONE);
    sql_close(other.db);
    return value;
}

static void rule_7_sealed_and_synced_is_committed(void **state)
{
    struct direct direct = direct_open();

    (void)state;
    begin_and_write(&direct, 11);
    tell(&direct, SQLITE_FCNTL_SYNC);
    check_eq(sync_file(&direct), SQLITE_OK);
    tell(&direct, SQLITE_FCNTL_COMMIT_PHASETWO);
    unlock(&direct, SQLITE_LOCK_NONE);
    check_eq(seen(), 11);
    sql_close(direct.db);
    check_ordinary(scratch.path);
}

/* synchronous=OFF, and every playback: there is no xSync, or no PHASETWO, or neither. */
static void rule_7_sealed_is_applied_where_no_sync_comes(void **state)
{
    struct direct direct = direct_open();

    (void)state;
    for (int i = 0; i < 3; i++) {
        begin_and_write(&direct, 20 + i);
        tell(&direct, SQLITE_FCNTL_SYNC);
        if (i == 1)
            tell(&direct, SQLITE_FCNTL_COMMIT_PHASETWO);
        if (i == 2)
            unlock(&direct, SQLITE_LOCK_SHARED);
        unlock(&direct, SQLITE_LOCK_NONE);
        check_eq(seen(), 20 + i);
    }
    sql_close(direct.db);
    check_ordinary(scratch.path);
}

static void rule_7_the_rest_is_dropped_at_unlock(void **state)
{
    struct direct direct = direct_open();
    int64_t bytes;

    (void)state;
    SKIP_UNLESS_NVMMIO(); /* the stock VFS has written it by then */
    check_eq(lock(&direct, SQLITE_LOCK_SHARED), SQLITE_OK);
    bytes = size_of(&direct);
    unlock(&direct, SQLITE_LOCK_NONE);
    for (int i = 0; i < 3; i++) {
        begin_and_write(&direct, 30);
        check_eq(write_page(&direct, 100, 31), SQLITE_OK);
        check_eq(direct.file->pMethods->xTruncate(direct.file, 50 * PAGE), SQLITE_OK);
        if (i == 1) { /* a write after the seal takes the seal back */
            tell(&direct, SQLITE_FCNTL_SYNC);
            check_eq(write_page(&direct, 3, 32), SQLITE_OK);
        }
        unlock(&direct, i == 2 ? SQLITE_LOCK_SHARED : SQLITE_LOCK_NONE);
        if (i == 2)
            unlock(&direct, SQLITE_LOCK_NONE);
        check_eq(seen(), 0);
        check_eq(lock(&direct, SQLITE_LOCK_SHARED), SQLITE_OK);
        check_eq(size_of(&direct), bytes);
        unlock(&direct, SQLITE_LOCK_NONE);
    }
    sql_close(direct.db);
    stock_reads(scratch.path, 0);
}

/* VACUUM truncates between the sync and PHASETWO. */
static void rule_7_a_truncate_after_the_sync_is_committed_by_phase_two(void **state)
{
    struct direct direct = direct_open();
    int64_t bytes;

    (void)state;
    for (int without_phase_two = 0; without_phase_two < (sql_on_nvmmio() ? 2 : 1);
         without_phase_two++) {
        begin_and_write(&direct, 40);
        bytes = size_of(&direct);
        tell(&direct, SQLITE_FCNTL_SYNC);
        check_eq(sync_file(&direct), SQLITE_OK);
        check_eq(direct.file->pMethods->xTruncate(direct.file, 5 * PAGE), SQLITE_OK);
        if (!without_phase_two)
            tell(&direct, SQLITE_FCNTL_COMMIT_PHASETWO);
        unlock(&direct, SQLITE_LOCK_NONE);
        check_eq(seen(), 40);
        check_eq(lock(&direct, SQLITE_LOCK_SHARED), SQLITE_OK);
        check_eq(size_of(&direct), without_phase_two ? bytes : 5 * PAGE);
        unlock(&direct, SQLITE_LOCK_NONE);
    }
    sql_close(direct.db);
    check_ordinary(scratch.path);
    check_eq(file_bytes(scratch.path), 5 * PAGE);
}

static void rule_7_batch_atomic_only_reserves(void **state)
{
    struct direct direct = direct_open();

    (void)state;
    SKIP_UNLESS_NVMMIO();
    check_eq(lock(&direct, SQLITE_LOCK_SHARED), SQLITE_OK);
    check(direct.file->pMethods->xDeviceCharacteristics(direct.file) & SQLITE_IOCAP_BATCH_ATOMIC);
    unlock(&direct, SQLITE_LOCK_NONE);
    for (int how = 0; how < 3; how += 2) {
        check_eq(lock(&direct, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
        check_eq(control(&direct, SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, NULL), SQLITE_OK);
        check_eq(write_page(&direct, 3, 50 + how), SQLITE_OK);
        if (how == 0) {
            check_eq(control(&direct, SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE, NULL), SQLITE_OK);
            check_eq(read_page(&direct, 3), 0);
        } else {
            check_eq(control(&direct, SQLITE_FCNTL_COMMIT_ATOMIC_WRITE, NULL), SQLITE_OK);
        }
        if (how == 2) {
            tell(&direct, SQLITE_FCNTL_SYNC);
            check_eq(sync_file(&direct), SQLITE_OK);
            tell(&direct, SQLITE_FCNTL_COMMIT_PHASETWO);
        }
        unlock(&direct, SQLITE_LOCK_NONE);
        check_eq(seen(), how == 2 ? 52 : 0);
    }
    sql_close(direct.db);
    check_ordinary(scratch.path);
}

static void commit_batch_and_wait(void *argument)
{
    struct direct direct = direct_open();

    check_eq(lock(&direct, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
    check_eq(control(&direct, SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, NULL), SQLITE_OK);
    check_eq(write_page(&direct, 3, 55), SQLITE_OK);
    check_eq(control(&direct, SQLITE_FCNTL_COMMIT_ATOMIC_WRITE, NULL), SQLITE_OK);
    if (argument) {
        tell(&direct, SQLITE_FCNTL_SYNC);
        check_eq(sync_file(&direct), SQLITE_OK);
    }
    parent_send('k');
    (void)parent_receive();
}

/* SQLite may still have a page to write then: the sync after it is the commit. */
static void rule_7_killed_after_batch_atomic(void **state)
{
    (void)state;
    SKIP_UNLESS_NVMMIO();
    for (int synced = 0; synced < 2; synced++) {
        struct child child;

        child_start(&child, commit_batch_and_wait, synced ? &scratch : NULL);
        child_expect(&child, 'k');
        child_kill(&child);
        check_eq(seen(), synced ? 55 : 0);
        check_ordinary(scratch.path);
    }
}

static void a_write_is_seen_by_its_writer_alone(void **state)
{
    struct direct direct = direct_open(), reader = direct_open();

    (void)state;
    check_eq(lock(&reader, SQLITE_LOCK_SHARED), SQLITE_OK);
    check_eq(lock(&direct, SQLITE_LOCK_RESERVED), SQLITE_OK);
    if (sql_on_nvmmio()) { /* staged, even before EXCLUSIVE */
        check_eq(write_page(&direct, 3, 60), SQLITE_OK);
        check_eq(read_page(&reader, 3), 0);
    }
    check_eq(direct.file->pMethods->xLock(direct.file, SQLITE_LOCK_EXCLUSIVE), SQLITE_BUSY);
    check_eq(read_page(&reader, 3), 0);
    unlock(&reader, SQLITE_LOCK_NONE);
    check_eq(lock(&reader, SQLITE_LOCK_SHARED), SQLITE_BUSY); /* PENDING is there */
    check_eq(direct.file->pMethods->xLock(direct.file, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
    unlock(&direct, SQLITE_LOCK_NONE);
    sql_close(direct.db);
    sql_close(reader.db);
    stock_reads(scratch.path, 0);
}

static void rule_11_from_shared_to_exclusive_without_reserved(void **state)
{
    struct direct direct = direct_open(), other = direct_open();

    (void)state;
    check_eq(lock(&direct, SQLITE_LOCK_SHARED), SQLITE_OK);
    check_eq(direct.file->pMethods->xLock(direct.file, SQLITE_LOCK_EXCLUSIVE), SQLITE_OK);
    check_eq(lock(&other, SQLITE_LOCK_SHARED), SQLITE_BUSY);
    unlock(&direct, SQLITE_LOCK_SHARED);
    check_eq(lock(&other, SQLITE_LOCK_SHARED), SQLITE_OK);
    unlock(&direct, SQLITE_LOCK_NONE);
    unlock(&other, SQLITE_LOCK_NONE);
    sql_close(direct.db);
    sql_close(other.db);
    stock_reads(scratch.path, 0);
}

static void reserved_is_told(void **state)
{
    struct direct direct = direct_open(), other = direct_open();
    int reserved = -1;

    (void)state;
    check_eq(lock(&direct, SQLITE_LOCK_SHARED), SQLITE_OK);
    check_eq(lock(&other, SQLITE_LOCK_SHARED), SQLITE_OK);
    check_eq(other.file->pMethods->xCheckReservedLock(other.file, &reserved), SQLITE_OK);
    check_eq(reserved, 0);
    check_eq(direct.file->pMethods->xLock(direct.file, SQLITE_LOCK_RESERVED), SQLITE_OK);
    check_eq(other.file->pMethods->xCheckReservedLock(other.file, &reserved), SQLITE_OK);
    check_eq(reserved, 1);
    check_eq(other.file->pMethods->xLock(other.file, SQLITE_LOCK_RESERVED), SQLITE_BUSY);
    unlock(&direct, SQLITE_LOCK_NONE);
    check_eq(other.file->pMethods->xCheckReservedLock(other.file, &reserved), SQLITE_OK);
    check_eq(reserved, 0);
    unlock(&other, SQLITE_LOCK_NONE);
    sql_close(direct.db);
    sql_close(other.db);
    stock_reads(scratch.path, 0);
}

/* What is fetched is a committed page, or nothing; a page under way is not mapped. */
static void a_fetched_page(void **state)
{
    struct direct direct = direct_open();
    sqlite3_int64 limit = 1 << 20;
    void *page = NULL;

    (void)state;
    begin_and_write(&direct, 70);
    tell(&direct, SQLITE_FCNTL_SYNC);
    check_eq(sync_file(&direct), SQLITE_OK);
    tell(&direct, SQLITE_FCNTL_COMMIT_PHASETWO);
    unlock(&direct, SQLITE_LOCK_SHARED);
    check_eq(control(&direct, SQLITE_FCNTL_MMAP_SIZE, &limit), SQLITE_OK);
    if (direct.file->pMethods->iVersion >= 3) {
        check_eq(direct.file->pMethods->xFetch(direct.file, 3 * PAGE, PAGE, &page), SQLITE_OK);
        if (page) {
            check_eq(((unsigned char *)page)[PAGE - 1], 70);
            check_eq(direct.file->pMethods->xUnfetch(direct.file, 3 * PAGE, page), SQLITE_OK);
        }
        check_eq(direct.file->pMethods->xFetch(direct.file, 1000 * PAGE, PAGE, &page), SQLITE_OK);
        check(page == NULL);
        if (sql_on_nvmmio()) {
            check_eq(direct.file->pMethods->xLock(direct.file, SQLITE_LOCK_RESERVED), SQLITE_OK);
            check_eq(write_page(&direct, 3, 71), SQLITE_OK);
            check_eq(direct.file->pMethods->xFetch(direct.file, 3 * PAGE, PAGE, &page), SQLITE_OK);
            check(page == NULL);
        }
    }
    unlock(&direct, SQLITE_LOCK_NONE);
    sql_close(direct.db);
}

static void the_mark_is_not_to_be_seen(void **state)
{
    struct direct direct = direct_open();
    unsigned char header[100], raw[100];
    void *content;

    (void)state;
    SKIP_UNLESS_NVMMIO();
    begin_and_write(&direct, 80);
    tell(&direct, SQLITE_FCNTL_SYNC);
    check_eq(sync_file(&direct), SQLITE_OK);
    unlock(&direct, SQLITE_LOCK_SHARED);
    check_eq(direct.file->pMethods->xRead(direct.file, header, sizeof(header), 0), SQLITE_OK);
    check(header[18] == 1 && header[19] == 1);
    for (int i = 72; i < 92; i++)
        check_eq(header[i], 0);
    check(file_read(scratch.path, &content) > 100);
    memcpy(raw, content, sizeof(raw));
    free(content);
    check(raw[18] > 2 && raw[19] > 2);
    check_eq(raw[24] ^ header[24], 0x80);
    check_eq(raw[92] ^ header[92], 0x80);
    check(memcmp(raw + 72, header + 72, 20) != 0);
    /* Part reads across the mark are translated, too. */
    check_eq(direct.file->pMethods->xRead(direct.file, raw, 16, 24), SQLITE_OK);
    check(memcmp(raw, header + 24, 16) == 0);
    check_eq(direct.file->pMethods->xRead(direct.file, raw, 1, 19), SQLITE_OK);
    check_eq(raw[0], 1);
    unlock(&direct, SQLITE_LOCK_NONE);
    sql_close(direct.db);
}

static void file_controls(void **state)
{
    sqlite3 *db = sql_open(scratch.path, NULL);
    char *name = NULL;
    int number = 64 * 1024;
    sqlite3_int64 hint = 10 << 20;
    unsigned version = 0;

    (void)state;
    sql_do(db, "INSERT INTO t VALUES(1)");
    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name), SQLITE_OK);
    check(name && strstr(name, sql_on_nvmmio() ? "nvmmio" : "unix"));
    sqlite3_free(name);
    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_CHUNK_SIZE, &number), SQLITE_OK);
    sql_do(db, "BEGIN; INSERT INTO t VALUES(2)");
    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_SIZE_HINT, &hint), SQLITE_OK);
    sql_do(db, "COMMIT");
    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &number), SQLITE_OK);
    check_eq(number, 0);
    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &number), SQLITE_OK);
    number = -1;
    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &number), SQLITE_OK);
    check_eq(number, 0);
    number = -1;
    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_POWERSAFE_OVERWRITE, &number),
             SQLITE_OK);
    check_eq(number, 1);
    check_eq(sqlite3_file_control(db, "main", SQLITE_FCNTL_DATA_VERSION, &version), SQLITE_OK);
    check_eq(sqlite3_file_control(db, "main", 987654, &number), SQLITE_NOTFOUND);
    check(sql_file(db)->pMethods->xSectorSize(sql_file(db)) >= 512);
    check(sql_file(db)->pMethods->xDeviceCharacteristics(sql_file(db)) &
          SQLITE_IOCAP_POWERSAFE_OVERWRITE);
    check_eq(sql_file(db)->pMethods->xDeviceCharacteristics(sql_file(db)) & SQLITE_IOCAP_IMMUTABLE,
             0);
    sql_do(db, "DELETE FROM t; VACUUM");
    check_eq(sql_int(db, "PRAGMA page_count"), 2);
    sql_close(db);
    /* Neither chunk nor hint is to be found in the file. */
    if (sql_on_nvmmio())
        check_eq(file_bytes(scratch.path), 2 * PAGE);
    stock_reads(scratch.path, 0);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, scratch_teardown)
        T(rule_7_sealed_and_synced_is_committed),
        T(rule_7_sealed_is_applied_where_no_sync_comes),
        T(rule_7_the_rest_is_dropped_at_unlock),
        T(rule_7_a_truncate_after_the_sync_is_committed_by_phase_two),
        T(rule_7_batch_atomic_only_reserves),
        T(rule_7_killed_after_batch_atomic),
        T(a_write_is_seen_by_its_writer_alone),
        T(rule_11_from_shared_to_exclusive_without_reserved),
        T(reserved_is_told),
        T(a_fetched_page),
        T(the_mark_is_not_to_be_seen),
        T(file_controls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
