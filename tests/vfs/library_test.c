/*
 * The library in its process: registered twice, loaded and linked at once, and
 * under a VFS shim that copies names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
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

static void registers_any_number_of_times(void **state)
{
    const char *before = sqlite3_vfs_find(NULL)->zName;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(nvmmio_vfs_register(0), SQLITE_OK);
    assert_string_equal(sqlite3_vfs_find(NULL)->zName, before);
    assert_int_equal(nvmmio_vfs_register(1), SQLITE_OK);
    assert_string_equal(sqlite3_vfs_find(NULL)->zName, "nvmmio");
    assert_int_equal(sqlite3_vfs_register(sqlite3_vfs_find("unix"), 1), SQLITE_OK);
    setenv("NVMMIO_DEFAULT_VFS", "1", 1);
    assert_int_equal(nvmmio_vfs_register(0), SQLITE_OK);
    assert_string_equal(sqlite3_vfs_find(NULL)->zName, "nvmmio");
    unsetenv("NVMMIO_DEFAULT_VFS");
    assert_int_equal(sqlite3_vfs_register(sqlite3_vfs_find("unix"), 1), SQLITE_OK);
}

/* The linked copy has the name; the loaded one must leave it alone, and its functions must work. */
static void loaded_and_linked(void **state)
{
    sqlite3_vfs *linked = sqlite3_vfs_find("nvmmio");
    sqlite3 *db = place_open("a.db", "nvmmio");
    char *message = NULL;
    int code;

    (void)state;
    place_do(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL),
                     SQLITE_OK);
    code = sqlite3_load_extension(db, "sqlite_vfs/nvmmio", NULL, &message);
    if (code != SQLITE_OK)
        fail_msg("%s", message);
    assert_ptr_equal(sqlite3_vfs_find("nvmmio"), linked);
    place_do(db, "INSERT INTO t VALUES(2)");
    assert_int_equal(place_int(db, "SELECT nvmmio_info() ->> 'mode' = 'native'"), 1);
    assert_int_equal(place_int(db, "SELECT nvmmio_stats('main') ->> 'commits'"), 3);
    assert_int_equal(place_int(db, "SELECT nvmmio_default_vfs(1) = 'nvmmio'"), 1);
    assert_ptr_equal(sqlite3_vfs_find(NULL), linked);
    assert_int_equal(place_int(db, "SELECT nvmmio_default_vfs(0) = 'unix'"), 1);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(place_count(), 1);
}

/* ---- A shim that hands down copies of the names that it gets ------------------------------- */

static sqlite3_vfs shim;

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    static char copies[64][PLACE_PATH_BYTES];
    static int next;
    sqlite3_vfs *below = vfs->pAppData;

    if (name && (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL))) {
        char *copy = copies[next++ % 64];

        sqlite3_snprintf(PLACE_PATH_BYTES, copy, "%s", name);
        name = copy;
    }
    return below->xOpen(below, name, file, flags, out);
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
    sqlite3_vfs *below = vfs->pAppData;
    char copy[PLACE_PATH_BYTES];

    sqlite3_snprintf(PLACE_PATH_BYTES, copy, "%s", name);
    return below->xDelete(below, copy, sync_directory);
}

static int shim_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    sqlite3_vfs *below = vfs->pAppData;
    char copy[PLACE_PATH_BYTES];

    sqlite3_snprintf(PLACE_PATH_BYTES, copy, "%s", name);
    return below->xAccess(below, copy, flags, result);
}

static int shim_full_pathname(sqlite3_vfs *vfs, const char *name, int bytes, char *out)
{
    sqlite3_vfs *below = vfs->pAppData;

    return below->xFullPathname(below, name, bytes, out);
}

static void names_are_copied_on_the_way(void **state)
{
    sqlite3 *db;

    (void)state;
    shim = *sqlite3_vfs_find("nvmmio");
    shim.pAppData = sqlite3_vfs_find("nvmmio");
    shim.zName = "copying";
    shim.pNext = NULL;
    shim.iVersion = 1;
    shim.xOpen = shim_open;
    shim.xDelete = shim_delete;
    shim.xAccess = shim_access;
    shim.xFullPathname = shim_full_pathname;
    assert_int_equal(sqlite3_vfs_register(&shim, 0), SQLITE_OK);
    db = place_open("b.db", "copying");
    place_do(db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    place_do(db, "BEGIN; INSERT INTO t VALUES(2)");
    assert_int_not_equal(access(place_path("b.db-journal"), F_OK), 0);
    place_do(db, "ROLLBACK; BEGIN; INSERT INTO t VALUES(3); COMMIT");
    assert_int_equal(place_int(db, "SELECT sum(a) FROM t"), 4);
    assert_int_equal(place_try(db, "PRAGMA journal_mode = TRUNCATE"), SQLITE_OK);
    place_do(db, "INSERT INTO t VALUES(4)");
    assert_int_equal(place_try(db, "PRAGMA journal_mode = WAL"), SQLITE_OK);
    place_do(db, "INSERT INTO t VALUES(5)");
    assert_int_equal(access(place_path("b.db-wal"), F_OK), 0);
    assert_int_equal(place_int(db, "SELECT sum(a) FROM t"), 13);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(place_count(), 1);
    assert_int_equal(sqlite3_vfs_unregister(&shim), SQLITE_OK);
}

/* ---- Handles of one process, and WAL mode -------------------------------------------------- */

static void idle_handles_make_way_for_wal(void **state)
{
    sqlite3 *all[8];

    (void)state;
    for (int i = 0; i < 8; i++) {
        all[i] = place_open("c.db", "nvmmio");
        place_do(all[i], "CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1)");
    }
    place_do(all[3], "PRAGMA journal_mode = WAL; INSERT INTO t VALUES(1)");
    assert_int_equal(access(place_path("c.db-wal"), F_OK), 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(place_int(all[i], "SELECT count(*) FROM t"), 9 + i);
        place_do(all[i], "INSERT INTO t VALUES(1)");
    }
    for (int i = 0; i < 8; i++) {
        if (i != 3)
            assert_int_equal(sqlite3_close(all[i]), SQLITE_OK);
    }
    assert_int_equal(place_int(all[3], "SELECT count(*) FROM t"), 17);
    place_do(all[3], "PRAGMA journal_mode = DELETE; INSERT INTO t VALUES(1)");
    assert_int_equal(access(place_path("c.db-nvmmio"), F_OK), 0);
    assert_int_equal(place_int(all[3], "SELECT count(*) FROM t"), 18);
    assert_int_equal(sqlite3_close(all[3]), SQLITE_OK);
    assert_int_equal(place_count(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(registers_any_number_of_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loaded_and_linked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_are_copied_on_the_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(idle_handles_make_way_for_wal, set_up, tear_down),
    };

    if (nvmmio_vfs_register(0) != SQLITE_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
