/*
 * sql_life: what the tests of faults do with two databases on ours, and what they
 * know of them: which changes were acknowledged, which one may be there besides.
 * Whatever a connection shows in between is checked, and what is there at the end.
 *
 * Threads: one.
 */
#ifndef TESTS_FAULTS_SQL_LIFE_H
#define TESTS_FAULTS_SQL_LIFE_H

#include "tests/sql/harness.h"

#define FILES 2

/* One of the databases, and what may be in it. */
struct life {
    char path[700];
    int acknowledged; /* changes */
    bool doubt;       /* the next one may be there as well */
};

extern struct life lives[FILES];
extern struct scratch life_scratch;
extern bool life_both;       /* the changes in doubt are of one commit */
extern bool life_in_wal;     /* some of it was in WAL mode */
extern bool life_in_silence; /* a failure had no words that name a file */

/* Databases of which one has its first change. */
void life_begin(void);
/* Without failures: the state is one of those that may be, both files have the same commits, they
 * work, and a stock SQLite reads them. */
void life_verify(void);

/* NULL: it failed, as it may. */
sqlite3 *life_open(size_t i);
void life_close(sqlite3 *db);
bool life_attach(sqlite3 *db);

/* Statements, for the code alone; for the first column of the first row. */
int life_run(sqlite3 *db, const char *sql);
int life_ask(sqlite3 *db, const char *sql, char *answer, size_t bytes);
/* What is shown is what was acknowledged, or settles a doubt for good. */
void life_look(sqlite3 *db, size_t i);
/* One transaction with the next change of each of `files` databases from `first` on, and with
 * statements before and after. */
void life_commit(sqlite3 *db, size_t first, size_t files, const char *before, const char *after);
void life_roll_back(sqlite3 *db, const char *sql);

#endif
