/* The backup API, from ours to stock and back, with other page sizes and sources in WAL mode. */
#include <stdio.h>
#include <string.h>

#include "tests/sql/harness.h"

static void fill(sqlite3 *db, int page_bytes, const char *mode, int rows)
{
    sql_do(db, "PRAGMA page_size = %d; PRAGMA journal_mode = %s", page_bytes, mode);
    sql_do(db, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)");
    sql_do(db,
           "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT %d)"
           " INSERT INTO t(v) SELECT printf('%%.*c', x %% 900, 'b') FROM c",
           rows);
}

/* The content alone: another page size is not another content. */
static int64_t content(sqlite3 *db)
{
    return sql_int(db, "SELECT sum(id * 31 + length(v)) + 1000003 * count(*) FROM t");
}

static int copy(sqlite3 *from, sqlite3 *to, int pages)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    int result;

    if (!backup)
        return sqlite3_errcode(to) & 0xff;
    do
        result = sqlite3_backup_step(backup, pages);
    while (result == SQLITE_OK);
    (void)sqlite3_backup_finish(backup);
    return result & 0xff;
}

/* The same copy with both on the stock VFS: what is to be expected. */
static int copy_on_stock(int from_bytes, const char *mode, int to_bytes)
{
    sqlite3 *from = stock_open(scratch_file(&scratch, "stock-from"), NULL);
    sqlite3 *to = stock_open(scratch_file(&scratch, "stock-to"), NULL);
    int result;

    fill(from, from_bytes, mode, 500);
    if (to_bytes)
        fill(to, to_bytes, "delete", 900);
    result = copy(from, to, 11);
    sql_close(from);
    sql_close(to);
    return result;
}

static void a_backup_of_every_kind(void **state)
{
    static const char *const modes[] = {"delete", "wal"};
    static const int to_sizes[] = {0, 512, 4096, 65536};
    static const int from_sizes[] = {512, 4096, 65536};

    (void)state;
    for (int direction = 0; direction < 3; direction++) {
        for (size_t i = 0; i < 3 * 4 * 2; i++) {
            const char *mode = modes[i % 2], *to_path = scratch_file(&scratch, "to");
            const char *from_path = scratch_file(&scratch, "from");
            int from_bytes = from_sizes[i / 2 % 3], to_bytes = to_sizes[i / 6], want, got;
            sqlite3 *from, *to;

            scratch_empty(&scratch);
            check_note("direction %d, %s, page size %d to %d", direction, mode, from_bytes,
                       to_bytes);
            want = copy_on_stock(from_bytes, mode, to_bytes);
            from = direction == 1 ? stock_open(from_path, NULL) : sql_open(from_path, NULL);
            to = direction == 0 ? stock_open(to_path, NULL) : sql_open(to_path, NULL);
            fill(from, from_bytes, mode, 500);
            if (to_bytes)
                fill(to, to_bytes, "delete", 900);
            got = copy(from, to, 11);
            check_eq(got, want);
            if (got == SQLITE_DONE) {
                check_eq(content(to), content(from));
                sql_do(to, "INSERT INTO t(v) VALUES('on it goes')");
                sql_sound(to);
            } else {
                sql_sound(to);
                check_eq(sql_int(to, "SELECT count(*) FROM t"), 900);
            }
            sql_close(from);
            sql_close(to);
            stock_reads(to_path, 0);
            stock_reads(from_path, 0);
        }
    }
    check_note("%s", "");
}

static void a_source_that_changes_under_the_backup(void **state)
{
    sqlite3 *from = sql_open(scratch.path, NULL), *writer = sql_open(scratch.path, NULL);
    sqlite3 *to = sql_open(scratch_file(&scratch, "to"), NULL);
    sqlite3_backup *backup;
    int result, steps = 0;

    (void)state;
    fill(from, 1024, "delete", 1000);
    backup = sqlite3_backup_init(to, "main", from, "main");
    check(backup != NULL);
    while ((result = sqlite3_backup_step(backup, 20)) == SQLITE_OK) {
        if (steps++ % 5 == 0 && steps < 40)
            sql_do(writer, "UPDATE t SET v = v || 'x' WHERE id %% 7 = %d", steps % 7);
        if (steps % 7 == 0 && steps < 40)
            sql_do(from, "UPDATE t SET v = v || 'y' WHERE id %% 11 = %d", steps % 11);
    }
    check_eq(result, SQLITE_DONE);
    check_eq(sqlite3_backup_finish(backup), SQLITE_OK);
    check(steps > 10);
    check_eq(content(to), content(from));
    sql_sound(to);
    sql_close(writer);
    sql_close(from);
    sql_close(to);
    stock_reads(scratch.path, 0);
    stock_reads(scratch_file(&scratch, "to"), 0);
}

/* An unfinished backup leaves the destination what it was. */
static void a_backup_that_is_given_up(void **state)
{
    sqlite3 *from = sql_open(scratch.path, NULL);
    sqlite3 *to = sql_open(scratch_file(&scratch, "to"), NULL);
    sqlite3_backup *backup;
    uint64_t digest;

    (void)state;
    fill(from, 4096, "delete", 3000);
    fill(to, 4096, "delete", 100);
    sql_do(to, "PRAGMA cache_size = 5");
    digest = sql_digest(to);
    backup = sqlite3_backup_init(to, "main", from, "main");
    check(backup != NULL);
    check_eq(sqlite3_backup_step(backup, 200), SQLITE_OK);
    check_eq(sqlite3_backup_finish(backup), SQLITE_OK);
    check(sql_digest(to) == digest);
    sql_sound(to);
    sql_close(from);
    sql_close(to);
    stock_reads(scratch_file(&scratch, "to"), digest);
}

static void a_backup_meets_a_reader(void **state)
{
    sqlite3 *from = sql_open(scratch.path, NULL);
    sqlite3 *to = sql_open(scratch_file(&scratch, "to"), NULL);
    sqlite3 *reader = sql_open(scratch_file(&scratch, "to"), NULL);

    (void)state;
    fill(from, 4096, "delete", 100);
    fill(to, 4096, "delete", 50);
    sql_do(reader, "BEGIN; SELECT * FROM t");
    check_eq(copy(from, to, -1), SQLITE_BUSY);
    check_eq(sql_int(reader, "SELECT count(*) FROM t"), 50);
    sql_do(reader, "COMMIT");
    check_eq(copy(from, to, -1), SQLITE_DONE);
    check_eq(sql_int(reader, "SELECT count(*) FROM t"), 100);
    sql_close(from);
    sql_close(to);
    sql_close(reader);
    stock_reads(scratch_file(&scratch, "to"), 0);
}

static void from_memory_and_serialized(void **state)
{
    sqlite3 *memory, *db = sql_open(scratch.path, NULL);
    sqlite3_int64 bytes = 0;
    unsigned char *image;

    (void)state;
    fill(db, 4096, "delete", 300);
    image = sqlite3_serialize(db, "main", &bytes, 0);
    check(image != NULL);
    check_eq(bytes, sql_int(db, "PRAGMA page_count") * 4096);
    check_eq(image[18], 1); /* the mark, and there is one now, is not to be seen */
    check_eq(image[19], 1);
    check_eq(sqlite3_open(":memory:", &memory), SQLITE_OK);
    check_eq(
        sqlite3_deserialize(memory, "main", image, bytes, bytes, SQLITE_DESERIALIZE_FREEONCLOSE),
        SQLITE_OK);
    check_eq(content(memory), content(db));
    sql_do(memory, "DELETE FROM t WHERE id > 10");
    check_eq(copy(memory, db, 3), SQLITE_DONE);
    check_eq(content(memory), content(db));
    sql_close(memory);
    sql_close(db);
    stock_reads(scratch.path, 0);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)
        T(a_backup_of_every_kind),     T(a_source_that_changes_under_the_backup),
        T(a_backup_that_is_given_up),  T(a_backup_meets_a_reader),
        T(from_memory_and_serialized),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return sql_main(argc, argv, run, NULL);
}
