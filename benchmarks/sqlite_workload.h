/*
 * sqlite_workload: what the SQLite benchmark does with a database, whichever
 * VFS and journal mode that has.  The same transactions in the same order for
 * everybody: all chance comes from a seed.
 *
 * Errors are printed on stderr and come back as -1.
 */
#ifndef NV_BENCH_SQLITE_WORKLOAD_H
#define NV_BENCH_SQLITE_WORKLOAD_H

#include <sqlite3.h>
#include <stdint.h>

struct nv_workload;

struct nv_workload_ops {
    const char *name;
    /* Make and fill the tables, and prepare the statements.  On failure there is nothing to
     * close. */
    int (*open)(sqlite3 *db, struct nv_workload **workload);
    /* Not measured: make sure that `transactions` more can follow.  How many can, or -1. */
    int64_t (*refill)(struct nv_workload *workload, uint32_t transactions);
    int (*run)(struct nv_workload *workload, uint32_t transactions);
    /* The database holds what was run: 0. */
    int (*check)(struct nv_workload *workload);
    void (*close)(struct nv_workload *workload);
};

extern const struct nv_workload_ops nv_workload_insert; /* a row of 100 bytes, at the end */
extern const struct nv_workload_ops nv_workload_update; /* a random row of 10,000 */
extern const struct nv_workload_ops nv_workload_delete; /* a random row of those left of 10,000 */
extern const struct nv_workload_ops nv_workload_tpcc;   /* see workload_tpcc.c */

/* A SELECT that answers with one number; -1 when it does not. */
int64_t nv_workload_number(sqlite3 *db, const char *sql);
/* Not measured: write back what a bulk of rows left in the log, that no slice pays for it. */
int nv_workload_settle(sqlite3 *db);
/* Step a statement that gives no rows, and reset it. */
int nv_workload_step(sqlite3_stmt *statement);

#endif
