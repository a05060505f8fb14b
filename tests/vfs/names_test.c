/*
 * Names of journals and the databases that they belong to, more of them than
 * the table has places.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sqlite_vfs/internal.h"

#define DATABASES 5000

struct entry {
    struct nv_database db;
    char journal_name[32], wal_name[32];
};

static struct entry *entries;

static void entries_add(int from, int to)
{
    for (int i = from; i < to; i++) {
        struct entry *entry = &entries[i];

        (void)snprintf(entry->journal_name, sizeof entry->journal_name, "/%d-journal", i);
        (void)snprintf(entry->wal_name, sizeof entry->wal_name, "/%d-wal", i);
        entry->db.journal_name = entry->journal_name;
        entry->db.wal_name = entry->wal_name;
        entry->db.device = 1;
        entry->db.inode = (uint64_t)i / 2 + 1; /* two handles on each file */
        nv_names_add(&entry->db);
    }
}

static void found(int i, bool there)
{
    struct nv_database *db = there ? &entries[i].db : NULL;

    assert_ptr_equal(nv_names_find(entries[i].journal_name), db);
    assert_ptr_equal(nv_names_find(entries[i].wal_name), db);
}

static void finds_each_by_its_address(void **state)
{
    char copy[] = "/0-journal";

    (void)state;
    entries_add(0, DATABASES);
    for (int i = 0; i < DATABASES; i++)
        found(i, true);
    assert_null(nv_names_find(copy)); /* the text is the same, the address is not */
    assert_null(nv_names_find(NULL));
    for (int i = 0; i < DATABASES; i += 2)
        nv_names_remove(&entries[i].db);
    for (int i = 0; i < DATABASES; i++)
        found(i, i % 2 == 1);
    for (int i = 1; i < DATABASES; i += 2)
        nv_names_remove(&entries[i].db);
    for (int i = 0; i < DATABASES; i++)
        found(i, false);
}

static void finds_the_writer_by_text(void **state)
{
    char copy[] = "/1-journal";

    (void)state;
    entries_add(0, 4);
    assert_null(nv_names_search(copy));
    nv_level_set(&entries[1].db, SQLITE_LOCK_RESERVED);
    assert_null(nv_names_search(copy)); /* delegated: its journal is a file */
    atomic_store(&entries[1].db.native, true);
    assert_ptr_equal(nv_names_search(copy), &entries[1].db);
    nv_level_set(&entries[1].db, SQLITE_LOCK_SHARED);
    assert_null(nv_names_search(copy));
    for (int i = 0; i < 4; i++)
        nv_names_remove(&entries[i].db);
}

static struct nv_database *visited;
static int visits;

static void visit(struct nv_database *other)
{
    visited = other;
    visits++;
}

static void visits_handles_on_the_same_file(void **state)
{
    (void)state;
    entries_add(0, 6);
    nv_names_others(&entries[2].db, visit);
    assert_int_equal(visits, 1);
    assert_ptr_equal(visited, &entries[3].db);
    for (int i = 0; i < 6; i++)
        nv_names_remove(&entries[i].db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_each_by_its_address),
        cmocka_unit_test(finds_the_writer_by_text),
        cmocka_unit_test(visits_handles_on_the_same_file),
    };
    int failed;

    entries = calloc(DATABASES, sizeof *entries);
    if (!entries)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(entries);
    return failed;
}
