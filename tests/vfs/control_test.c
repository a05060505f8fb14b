/*
 * File controls: each answers on a native database as it does on the unix VFS,
 * but for the VFS's name; the batch-atomic ones, which Debian's SQLite never
 * uses, are called by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sqlite_vfs/internal.h"
#include "sqlite_vfs/nvmmio_vfs.h"
#include "tests/vfs/place.h"

static int set_up(void **state)
{
    (void)state;
    place_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    place_remove();
    return 0;
}

static sqlite3_file *file_of(sqlite3 *db)
{
    sqlite3_file *file = NULL;

    assert_int_equal(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file), SQLITE_OK);
    return file;
}

static int control(sqlite3 *db, int operation, void *argument)
{
    sqlite3_file *file = file_of(db);

    return file->pMethods->xFileControl(file, operation, argument);
}

static int control_int(sqlite3 *db, int operation, int value)
{
    assert_int_equal(control(db, operation, &value), SQLITE_OK);
    return value;
}

static sqlite3_int64 control_int64(sqlite3 *db, int operation, sqlite3_int64 value)
{
    assert_int_equal(control(db, operation, &value), SQLITE_OK);
    return value;
}

static void same_answers(sqlite3 *ours, sqlite3 *stock)
{
    static const int bits[] = {SQLITE_FCNTL_PERSIST_WAL, SQLITE_FCNTL_POWERSAFE_OVERWRITE};
    static const int unknown[] = {SQLITE_FCNTL_ZIPVFS, SQLITE_FCNTL_RBU, SQLITE_FCNTL_OVERWRITE,
                                  SQLITE_FCNTL_CKPT_DONE, 123456};
    char *name = NULL;

    for (int i = 0; i < 2; i++) {
        for (int value = -1; value <= 1; value++)
            assert_int_equal(control_int(ours, bits[i], value), control_int(stock, bits[i], value));
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        sqlite3_int64 nothing = 0;

        assert_int_equal(control(ours, unknown[i], &nothing), control(stock, unknown[i], &nothing));
    }
    assert_int_equal(control_int(ours, SQLITE_FCNTL_LAST_ERRNO, 7), 0);
    assert_int_equal(control_int(ours, SQLITE_FCNTL_EXTERNAL_READER, 7), 0);
    assert_int_equal(control_int(ours, SQLITE_FCNTL_CHUNK_SIZE, 65536), 65536);
    assert_int_equal(control_int64(ours, SQLITE_FCNTL_SIZE_HINT, 100000), 100000);
    assert_int_equal(control_int(ours, SQLITE_FCNTL_LOCK_TIMEOUT, 3), 0);
    assert_int_equal(control_int(ours, SQLITE_FCNTL_LOCK_TIMEOUT, 0), 3);
    for (sqlite3_int64 limit = -1; limit < 300000; limit = limit * 3 + 4) {
        assert_int_equal(control_int64(ours, SQLITE_FCNTL_MMAP_SIZE, limit),
                         control_int64(stock, SQLITE_FCNTL_MMAP_SIZE, limit));
    }
    assert_int_equal(control(ours, SQLITE_FCNTL_TEMPFILENAME, &name), SQLITE_OK);
    assert_non_null(name);
    sqlite3_free(name);
}

static void answers_like_the_unix_vfs(void **state)
{
    sqlite3 *ours = place_open("ours.db", "nvmmio");
    sqlite3 *stock = place_open("stock.db", "unix");
    char *name = NULL;

    (void)state;
    same_answers(ours, stock); /* before anything is decided */
    place_do(ours, "CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)");
    place_do(stock, "CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)");
    same_answers(ours, stock);
    assert_int_equal(control_int(ours, SQLITE_FCNTL_LOCKSTATE, -1), SQLITE_LOCK_RESERVED);
    place_do(ours, "COMMIT");
    place_do(stock, "COMMIT");
    same_answers(ours, stock);
    assert_int_equal(control_int(ours, SQLITE_FCNTL_LOCKSTATE, -1), SQLITE_LOCK_NONE);
    assert_int_equal(control(ours, SQLITE_FCNTL_VFSNAME, &name), SQLITE_OK);
    assert_string_equal(name, "nvmmio");
    sqlite3_free(name);
    place_do(ours, "PRAGMA journal_mode = WAL; BEGIN; SELECT * FROM t");
    assert_int_equal(control(ours, SQLITE_FCNTL_VFSNAME, &name), SQLITE_OK);
    assert_string_equal(name, "nvmmio/unix");
    sqlite3_free(name);
    assert_int_equal(sqlite3_close(ours), SQLITE_OK);
    assert_int_equal(sqlite3_close(stock), SQLITE_OK);
}

static void a_failed_exclusive_is_pending(void **state)
{
    sqlite3 *reader = place_open("a.db", "nvmmio");
    sqlite3 *writer = place_open("a.db", "nvmmio");

    (void)state;
    place_do(writer, "CREATE TABLE t(a)");
    place_do(reader, "BEGIN; SELECT * FROM t");
    place_do(writer, "BEGIN; INSERT INTO t VALUES(1)");
    assert_int_equal(place_try(writer, "COMMIT"), SQLITE_BUSY);
    assert_int_equal(control_int(writer, SQLITE_FCNTL_LOCKSTATE, -1), SQLITE_LOCK_PENDING);
    place_do(reader, "COMMIT");
    assert_int_equal(place_try(reader, "SELECT * FROM t"), SQLITE_BUSY); /* no new readers */
    place_do(writer, "COMMIT");
    assert_int_equal(place_int(reader, "SELECT count(*) FROM t"), 1);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    assert_int_equal(sqlite3_close(writer), SQLITE_OK);
}

/* 16 looks are in stock, which is more than this needs; then one every 50 ms. */
static void a_renamed_file_is_noticed(void **state)
{
    sqlite3 *db = place_open("a.db", "nvmmio");

    (void)state;
    place_do(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    assert_int_equal(rename(place_path("a.db"), place_path("b.db")), 0);
    assert_int_equal(place_try(db, "INSERT INTO t VALUES(2)"), SQLITE_READONLY_DBMOVED);
    assert_int_equal(rename(place_path("b.db"), place_path("a.db")), 0);
    place_do(db, "INSERT INTO t VALUES(3)");
    assert_int_equal(place_int(db, "SELECT sum(a) FROM t"), 4);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void lock_up(sqlite3_file *file)
{
    for (int level = SQLITE_LOCK_SHARED; level <= SQLITE_LOCK_EXCLUSIVE; level++) {
        if (level != SQLITE_LOCK_PENDING)
            assert_int_equal(file->pMethods->xLock(file, level), SQLITE_OK);
    }
}

static void expect_at(sqlite3_file *file, sqlite3_int64 offset, char byte)
{
    char found = 0;

    assert_int_equal(file->pMethods->xRead(file, &found, 1, offset), SQLITE_OK);
    assert_int_equal(found, byte);
}

static void writes_in_a_batch(void **state)
{
    sqlite3 *db = place_open("a.db", "nvmmio");
    sqlite3_file *file = file_of(db);
    char page[4096];
    FILE *plain;

    (void)state;
    place_do(db, "CREATE TABLE t(a)"); /* two pages; the bytes at the end of page 2 are free */
    memset(page, 'x', sizeof page);
    lock_up(file);
    assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, NULL),
                     SQLITE_OK);
    assert_int_equal(file->pMethods->xWrite(file, page, 100, 4096 + 1000), SQLITE_OK);
    expect_at(file, 4096 + 1000, 'x');
    assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE, NULL),
                     SQLITE_OK);
    expect_at(file, 4096 + 1000, 0);
    assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, NULL),
                     SQLITE_OK);
    assert_int_equal(file->pMethods->xWrite(file, page, 100, 4096 + 2000), SQLITE_OK);
    assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, NULL),
                     SQLITE_IOERR_BEGIN_ATOMIC); /* what is staged could not be taken back apart */
    assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_COMMIT_ATOMIC_WRITE, NULL),
                     SQLITE_OK);
    assert_int_equal(file->pMethods->xWrite(file, page, 4096, 8192), SQLITE_OK);
    assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_SYNC, NULL), SQLITE_OK);
    assert_int_equal(file->pMethods->xSync(file, SQLITE_SYNC_NORMAL), SQLITE_OK);
    assert_int_equal(file->pMethods->xFileControl(file, SQLITE_FCNTL_COMMIT_PHASETWO, NULL),
                     SQLITE_OK);
    /* Not committed by anything, so dropped. */
    assert_int_equal(file->pMethods->xWrite(file, page, 100, 4096 + 3000), SQLITE_OK);
    assert_int_equal(file->pMethods->xUnlock(file, SQLITE_LOCK_NONE), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    plain = fopen(place_path("a.db"), "rb");
    assert_non_null(plain);
    assert_int_equal(fseek(plain, 4096 + 2000, SEEK_SET), 0);
    assert_int_equal(fgetc(plain), 'x');
    assert_int_equal(fseek(plain, 4096 + 3000, SEEK_SET), 0);
    assert_int_equal(fgetc(plain), 0);
    assert_int_equal(fseek(plain, 0, SEEK_END), 0);
    assert_int_equal(ftell(plain), 12288);
    (void)fclose(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_like_the_unix_vfs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_exclusive_is_pending, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_renamed_file_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_in_a_batch, set_up, tear_down),
    };

    if (nvmmio_vfs_register(0) != SQLITE_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
