/*
 * open_bench: what it takes to open a database, make one transaction and close
 * it again, in each mode, taking turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/measure.h"
#include "sqlite_vfs/demo/database.h"

#define ROUNDS 31u

static const struct mode {
    const char *name, *file, *journal_mode;
    bool nvmmio;
} modes[] = {
    {"nvmmio", "nvmmio.db", NULL, true},
    {"unix WAL", "wal.db", "PRAGMA journal_mode=wal", false},
    {"unix DELETE", "delete.db", NULL, false},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static int once(const struct mode *mode, const char *directory, const char *sql)
{
    char path[4096];
    sqlite3 *db = NULL;
    snprintf(path, sizeof(path), "%s/%s", directory, mode->file);
    int error =
        nv_database_open(path, mode->nvmmio, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);
    if (!error)
        error = nv_database_execute(db, sql);
    if (sqlite3_close(db) != SQLITE_OK)
        error = -1;
    return error;
}

int main(int argc, char **argv)
{
    double seconds[MODES][ROUNDS];
    if (argc != 3) {
        fprintf(stderr, "usage: open_bench DIR EXTENSION\n");
        return 2;
    }
    if (nv_database_load(argv[2]) != 0)
        return 1;
    for (size_t m = 0; m < MODES; m++) {
        if ((modes[m].journal_mode && once(&modes[m], argv[1], modes[m].journal_mode) != 0) ||
            once(&modes[m], argv[1], "CREATE TABLE t(id INTEGER PRIMARY KEY, content)") != 0)
            return 1;
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < MODES; i++) {
            size_t m = (i + round) % MODES;
            double start = nv_wall_seconds();
            if (once(&modes[m], argv[1], "INSERT INTO t(content) VALUES('a row')") != 0)
                return 1;
            seconds[m][round] = nv_wall_seconds() - start;
        }
    }
    for (size_t m = 0; m < MODES; m++)
        printf("%-14s %10.1f us\n", modes[m].name, nv_median(seconds[m], ROUNDS) * 1e6);
    return 0;
}
