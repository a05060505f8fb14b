/*
 * inserts: COUNT single-row INSERT transactions with default PRAGMAs, and
 * nothing else; made to be counted from outside.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "sqlite_vfs/demo/database.h"

static int insert(sqlite3 *db, long count)
{
    static const char text[] = "a row of some length, as they are in a table of names and values, "
                               "a hundred bytes of it in each.....";
    sqlite3_stmt *statement = NULL;
    if (nv_database_execute(db, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, content)") !=
            0 ||
        nv_database_prepare(db, "INSERT INTO t(content) VALUES(?)", &statement) != 0)
        return -1;
    sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
    int error = 0;
    for (long i = 0; i < count && !error; i++) {
        if (sqlite3_step(statement) != SQLITE_DONE)
            error = nv_database_fail(db, "INSERT");
        sqlite3_reset(statement);
    }
    sqlite3_finalize(statement);
    return error;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long count = argc > 2 ? strtol(argv[2], &end, 10) : -1;
    if (argc < 3 || argc > 4 || count < 0 || *end) {
        fprintf(stderr, "usage: inserts DATABASE COUNT [EXTENSION]\n");
        return 2;
    }
    sqlite3 *db = NULL;
    if (argc == 4 && nv_database_load(argv[3]) != 0)
        return 1;
    int error =
        nv_database_open(argv[1], argc == 4, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);
    if (!error)
        error = insert(db, count);
    if (sqlite3_close(db) != SQLITE_OK)
        error = -1;
    return error ? 1 : 0;
}
