/* One row a transaction: insert, update, delete, each in its autocommit. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "benchmarks/measure.h"
#include "benchmarks/sqlite_workload.h"
#include "sqlite_vfs/demo/database.h"

#define ROWS 10000u
#define TEXT_BYTES 100
#define SEED 20200715u

enum kind { INSERT, UPDATE, DELETE };

struct nv_workload {
    sqlite3 *db;
    sqlite3_stmt *statement;
    enum kind kind;
    uint64_t random;
    int64_t done;          /* transactions since the start */
    uint32_t order[ROWS];  /* delete: the rows in the order in which they go */
    uint32_t left;         /* delete: how many are still there */
    char text[TEXT_BYTES]; /* changes with each transaction */
};

int64_t nv_workload_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    if (nv_database_prepare(db, sql, &statement) == 0 && sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

int nv_workload_step(sqlite3_stmt *statement)
{
    int result = sqlite3_step(statement);
    sqlite3_reset(statement);
    if (result == SQLITE_DONE)
        return 0;
    return nv_database_fail(sqlite3_db_handle(statement), sqlite3_sql(statement));
}

/* Either means nothing to the other mode. */
int nv_workload_settle(sqlite3 *db)
{
    return nv_database_execute(db, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA nvmmio_flush");
}

static int fill(sqlite3 *db)
{
    char sql[256];
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%u)"
             "INSERT INTO t SELECT i, i*7, hex(randomblob(%d)) FROM n",
             ROWS, TEXT_BYTES / 2);
    return nv_database_execute(db, sql);
}

static const char *const statements[] = {
    "INSERT INTO t(number, content) VALUES(?1, ?2)",
    "UPDATE t SET number=number+1, content=?2 WHERE id=?1",
    "DELETE FROM t WHERE id=?1",
};

static int rows_open(sqlite3 *db, enum kind kind, struct nv_workload **out)
{
    struct nv_workload *workload = calloc(1, sizeof(*workload));
    if (!workload)
        return nv_database_fail(NULL, "opening a workload");
    workload->db = db;
    workload->kind = kind;
    workload->random = SEED;
    if (nv_database_execute(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, number, content)") != 0 ||
        (kind == UPDATE && fill(db) != 0) ||
        nv_database_prepare(db, statements[kind], &workload->statement) != 0) {
        free(workload);
        return -1;
    }
    for (int i = 0; i < TEXT_BYTES; i++)
        workload->text[i] = (char)('a' + i % 26);
    *out = workload;
    return 0;
}

static int insert_open(sqlite3 *db, struct nv_workload **workload)
{
    return rows_open(db, INSERT, workload);
}

static int update_open(sqlite3 *db, struct nv_workload **workload)
{
    return rows_open(db, UPDATE, workload);
}

static int delete_open(sqlite3 *db, struct nv_workload **workload)
{
    return rows_open(db, DELETE, workload);
}

static void shuffle(struct nv_workload *workload)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t j = nv_random_below(&workload->random, i + 1);
        workload->order[i] = workload->order[j];
        workload->order[j] = i + 1;
    }
    workload->left = ROWS;
}

static int64_t rows_refill(struct nv_workload *workload, uint32_t transactions)
{
    if (workload->kind != DELETE)
        return transactions;
    if (!workload->left) {
        if (fill(workload->db) != 0 || nv_workload_settle(workload->db) != 0)
            return -1;
        shuffle(workload);
    }
    return workload->left < transactions ? workload->left : transactions;
}

static int rows_run(struct nv_workload *workload, uint32_t transactions)
{
    for (uint32_t i = 0; i < transactions; i++, workload->done++) {
        int64_t first = workload->done;
        if (workload->kind == UPDATE)
            first = 1 + nv_random_below(&workload->random, ROWS);
        if (workload->kind == DELETE)
            first = workload->order[--workload->left];
        sqlite3_bind_int64(workload->statement, 1, first);
        if (workload->kind != DELETE) {
            for (int c = 0; c < 8; c++)
                workload->text[c] = (char)('a' + (workload->done >> (4 * c) & 15));
            sqlite3_bind_text(workload->statement, 2, workload->text, TEXT_BYTES, SQLITE_STATIC);
        }
        if (nv_workload_step(workload->statement) != 0)
            return -1;
    }
    return 0;
}

static int rows_check(struct nv_workload *workload)
{
    bool good;
    if (workload->kind == UPDATE) {
        /* Every update added one to a number. */
        int64_t start = (int64_t)ROWS * (ROWS + 1) / 2 * 7;
        good =
            nv_workload_number(workload->db, "SELECT sum(number) FROM t") == start + workload->done;
    } else {
        int64_t rows = workload->kind == INSERT ? workload->done : workload->left;
        good = nv_workload_number(workload->db, "SELECT count(*) FROM t") == rows;
    }
    if (good)
        return 0;
    fprintf(stderr, "sqlite_bench: the database does not hold what was done: %s\n",
            statements[workload->kind]);
    return -1;
}

static void rows_close(struct nv_workload *workload)
{
    sqlite3_finalize(workload->statement);
    free(workload);
}

#define ROWS_OPS(NAME)                                                                             \
    {                                                                                              \
        .name = #NAME, .open = NAME##_open, .refill = rows_refill, .run = rows_run,                \
        .check = rows_check, .close = rows_close                                                   \
    }
const struct nv_workload_ops nv_workload_insert = ROWS_OPS(insert);
const struct nv_workload_ops nv_workload_update = ROWS_OPS(update);
const struct nv_workload_ops nv_workload_delete = ROWS_OPS(delete);
