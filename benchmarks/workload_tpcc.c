/*
 * A mix after TPC-C, on one small warehouse: new-order 45 %, payment 43 %,
 * order-status 12 %, with the tables, indexes and statements that these three
 * have in TPC-C; 1 % of the new orders name an item that does not exist and are
 * rolled back, 60 % of the customers are found by their last name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/measure.h"
#include "benchmarks/sqlite_workload.h"
#include "sqlite_vfs/demo/database.h"

#define DISTRICTS 10u
#define CUSTOMERS 100u /* of a district */
#define LAST_NAMES 30u
#define ITEMS 1000u
#define SEED 19920723u

static const char schema[] =
    "CREATE TABLE warehouse(w_id INTEGER PRIMARY KEY, w_name, w_tax, w_ytd);"
    "CREATE TABLE district(d_w_id, d_id, d_name, d_tax, d_ytd, d_next_o_id,"
    " PRIMARY KEY(d_w_id, d_id));"
    "CREATE TABLE customer(c_w_id, c_d_id, c_id, c_first, c_last, c_credit, c_discount, c_balance,"
    " c_ytd_payment, c_payment_cnt, c_data, PRIMARY KEY(c_w_id, c_d_id, c_id));"
    "CREATE INDEX customer_last ON customer(c_w_id, c_d_id, c_last, c_first);"
    "CREATE TABLE history(h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data);"
    "CREATE TABLE item(i_id INTEGER PRIMARY KEY, i_name, i_price, i_data);"
    "CREATE TABLE stock(s_w_id, s_i_id, s_quantity, s_dist, s_ytd, s_order_cnt, s_data,"
    " PRIMARY KEY(s_w_id, s_i_id));"
    "CREATE TABLE orders(o_w_id, o_d_id, o_id, o_c_id, o_entry_d, o_carrier_id, o_ol_cnt,"
    " PRIMARY KEY(o_w_id, o_d_id, o_id));"
    "CREATE INDEX orders_customer ON orders(o_w_id, o_d_id, o_c_id, o_id);"
    "CREATE TABLE new_order(no_w_id, no_d_id, no_o_id, PRIMARY KEY(no_w_id, no_d_id, no_o_id));"
    "CREATE TABLE order_line(ol_w_id, ol_d_id, ol_o_id, ol_number, ol_i_id, ol_quantity,"
    " ol_amount, ol_dist_info, PRIMARY KEY(ol_w_id, ol_d_id, ol_o_id, ol_number));";

/* %u: districts, customers of each, last names, items. */
static const char contents[] =
    "BEGIN;"
    "INSERT INTO warehouse VALUES(1, 'main', 0.07, 0);"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%u)"
    " INSERT INTO district SELECT 1, i, 'district '||i, i*0.01, 0, 1 FROM n;"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%u)"
    " INSERT INTO customer SELECT 1, d_id, i, 'first '||i, 'LAST'||(i%%%u), 'GC', 0.1, -10, 10, 1,"
    " hex(zeroblob(125)) FROM district, n;"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%u)"
    " INSERT INTO item SELECT i, 'item '||i, 1+i%%100, hex(zeroblob(20)) FROM n;"
    "INSERT INTO stock SELECT 1, i_id, 50, hex(zeroblob(12)), 0, 0, hex(zeroblob(20)) FROM item;"
    "COMMIT;";

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    GET_WAREHOUSE,
    GET_DISTRICT,
    NEXT_ORDER,
    GET_CUSTOMER,
    ADD_ORDER,
    ADD_NEW_ORDER,
    GET_ITEM,
    GET_STOCK,
    SET_STOCK,
    ADD_LINE,
    PAY_WAREHOUSE,
    PAY_DISTRICT,
    FIND_CUSTOMER,
    PAY_CUSTOMER,
    ADD_HISTORY,
    LAST_ORDER,
    GET_LINES,
    STATEMENTS
};

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [GET_WAREHOUSE] = "SELECT w_tax FROM warehouse WHERE w_id=?1",
    [GET_DISTRICT] = "SELECT d_tax, d_next_o_id FROM district WHERE d_w_id=?1 AND d_id=?2",
    [NEXT_ORDER] = "UPDATE district SET d_next_o_id=d_next_o_id+1 WHERE d_w_id=?1 AND d_id=?2",
    [GET_CUSTOMER] = "SELECT c_discount, c_last, c_credit, c_balance FROM customer"
                     " WHERE c_w_id=?1 AND c_d_id=?2 AND c_id=?3",
    [ADD_ORDER] = "INSERT INTO orders VALUES(?1, ?2, ?3, ?4, ?5, NULL, ?6)",
    [ADD_NEW_ORDER] = "INSERT INTO new_order VALUES(?1, ?2, ?3)",
    [GET_ITEM] = "SELECT i_price, i_name, i_data FROM item WHERE i_id=?1",
    [GET_STOCK] = "SELECT s_quantity, s_dist, s_data FROM stock WHERE s_w_id=?1 AND s_i_id=?2",
    [SET_STOCK] = "UPDATE stock SET s_quantity=?3, s_ytd=s_ytd+?4, s_order_cnt=s_order_cnt+1"
                  " WHERE s_w_id=?1 AND s_i_id=?2",
    [ADD_LINE] = "INSERT INTO order_line VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [PAY_WAREHOUSE] = "UPDATE warehouse SET w_ytd=w_ytd+?2 WHERE w_id=?1",
    [PAY_DISTRICT] = "UPDATE district SET d_ytd=d_ytd+?3 WHERE d_w_id=?1 AND d_id=?2",
    [FIND_CUSTOMER] = "SELECT c_id FROM customer WHERE c_w_id=?1 AND c_d_id=?2 AND c_last=?3"
                      " ORDER BY c_first",
    [PAY_CUSTOMER] = "UPDATE customer SET c_balance=c_balance-?4, c_ytd_payment=c_ytd_payment+?4,"
                     " c_payment_cnt=c_payment_cnt+1 WHERE c_w_id=?1 AND c_d_id=?2 AND c_id=?3",
    [ADD_HISTORY] = "INSERT INTO history VALUES(?1, ?2, 1, ?2, 1, ?3, ?4, 'main    district')",
    [LAST_ORDER] = "SELECT o_id, o_entry_d, o_carrier_id FROM orders"
                   " WHERE o_w_id=?1 AND o_d_id=?2 AND o_c_id=?3 ORDER BY o_id DESC LIMIT 1",
    [GET_LINES] = "SELECT ol_i_id, ol_quantity, ol_amount FROM order_line"
                  " WHERE ol_w_id=?1 AND ol_d_id=?2 AND ol_o_id=?3",
};

struct nv_workload {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    uint64_t random;
    int64_t clock;
    int64_t orders, payments; /* that were committed */
};

static void tpcc_close(struct nv_workload *workload)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(workload->statements[i]);
    free(workload);
}

static int tpcc_open(sqlite3 *db, struct nv_workload **out)
{
    char fill[sizeof(contents) + 64];
    snprintf(fill, sizeof(fill), contents, DISTRICTS, CUSTOMERS, LAST_NAMES, ITEMS);
    struct nv_workload *workload = calloc(1, sizeof(*workload));
    if (!workload)
        return nv_database_fail(NULL, "opening a workload");
    workload->db = db;
    workload->random = SEED;
    int error = nv_database_execute(db, schema);
    if (!error)
        error = nv_database_execute(db, fill);
    for (int i = 0; i < STATEMENTS && !error; i++)
        error = nv_database_prepare(db, sql[i], &workload->statements[i]);
    if (error)
        tpcc_close(workload);
    else
        *out = workload;
    return error;
}

static int64_t tpcc_refill(struct nv_workload *workload, uint32_t transactions)
{
    (void)workload;
    return transactions;
}

/* Bind `count` integers and step.  For a statement without rows, to its end. */
static int ask(struct nv_workload *workload, enum statement which, int count, const int64_t *values)
{
    sqlite3_stmt *statement = workload->statements[which];
    for (int i = 0; i < count; i++)
        sqlite3_bind_int64(statement, i + 1, values[i]);
    int result = sqlite3_step(statement);
    if (result != SQLITE_ROW)
        sqlite3_reset(statement);
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        return nv_database_fail(workload->db, sql[which]);
    return result;
}

#define ASK(workload, which, ...)                                                                  \
    ask(workload, which, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                \
        (int64_t[]){__VA_ARGS__})

/* A column of the row that was asked for, and the end of that statement. */
static int64_t take(struct nv_workload *workload, enum statement which, int column)
{
    int64_t value = sqlite3_column_int64(workload->statements[which], column);
    sqlite3_reset(workload->statements[which]);
    return value;
}

static int64_t pick(struct nv_workload *workload, uint32_t bound)
{
    return 1 + nv_random_below(&workload->random, bound);
}

/* 60 % by last name: the one in the middle of those who have it, by first name. */
static int pick_customer(struct nv_workload *workload, int64_t district, int64_t *customer)
{
    *customer = pick(workload, CUSTOMERS);
    if (nv_random_below(&workload->random, 100) >= 60)
        return 0;
    char name[32];
    int64_t found[CUSTOMERS];
    size_t count = 0;
    sqlite3_stmt *statement = workload->statements[FIND_CUSTOMER];
    snprintf(name, sizeof(name), "LAST%u", nv_random_below(&workload->random, LAST_NAMES));
    sqlite3_bind_text(statement, 3, name, -1, SQLITE_STATIC);
    int result = ASK(workload, FIND_CUSTOMER, 1, district);
    for (; result == SQLITE_ROW; result = sqlite3_step(statement))
        found[count++ % CUSTOMERS] = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    if (result != SQLITE_DONE || !count)
        return nv_database_fail(workload->db, sql[FIND_CUSTOMER]);
    *customer = found[count / 2];
    return 0;
}

static int order_line(struct nv_workload *workload, int64_t district, int64_t order, int64_t number,
                      int64_t item)
{
    int64_t quantity = pick(workload, 10);
    if (ASK(workload, GET_ITEM, item) != SQLITE_ROW)
        return -1;
    int64_t price = take(workload, GET_ITEM, 0);
    if (ASK(workload, GET_STOCK, 1, item) != SQLITE_ROW)
        return -1;
    char info[25];
    const char *dist = (const char *)sqlite3_column_text(workload->statements[GET_STOCK], 1);
    snprintf(info, sizeof(info), "%s", dist ? dist : "");
    int64_t left = take(workload, GET_STOCK, 0);
    left = left >= quantity + 10 ? left - quantity : left - quantity + 91;
    if (ASK(workload, SET_STOCK, 1, item, left, quantity) != SQLITE_DONE)
        return -1;
    sqlite3_bind_text(workload->statements[ADD_LINE], 8, info, -1, SQLITE_STATIC);
    int result =
        ASK(workload, ADD_LINE, 1, district, order, number, item, quantity, price * quantity);
    return result == SQLITE_DONE ? 0 : -1;
}

static int new_order(struct nv_workload *workload)
{
    int64_t district = pick(workload, DISTRICTS), customer = pick(workload, CUSTOMERS);
    int64_t lines = 4 + pick(workload, 11), now = ++workload->clock;
    bool unknown_item = nv_random_below(&workload->random, 100) == 0;
    if (ASK(workload, GET_WAREHOUSE, 1) != SQLITE_ROW)
        return -1;
    take(workload, GET_WAREHOUSE, 0);
    if (ASK(workload, GET_DISTRICT, 1, district) != SQLITE_ROW)
        return -1;
    int64_t order = take(workload, GET_DISTRICT, 1);
    if (ASK(workload, NEXT_ORDER, 1, district) != SQLITE_DONE ||
        ASK(workload, GET_CUSTOMER, 1, district, customer) != SQLITE_ROW)
        return -1;
    take(workload, GET_CUSTOMER, 0);
    if (ASK(workload, ADD_ORDER, 1, district, order, customer, now, lines) != SQLITE_DONE ||
        ASK(workload, ADD_NEW_ORDER, 1, district, order) != SQLITE_DONE)
        return -1;
    for (int64_t number = 1; number <= lines; number++) {
        if (unknown_item && number == lines)
            return ASK(workload, GET_ITEM, ITEMS + 1) == SQLITE_DONE
                       ? nv_workload_step(workload->statements[ROLLBACK])
                       : -1;
        if (order_line(workload, district, order, number, pick(workload, ITEMS)) != 0)
            return -1;
    }
    workload->orders++;
    return nv_workload_step(workload->statements[COMMIT]);
}

static int payment(struct nv_workload *workload)
{
    int64_t district = pick(workload, DISTRICTS), amount = pick(workload, 5000), customer;
    int64_t now = ++workload->clock;
    if (ASK(workload, PAY_WAREHOUSE, 1, amount) != SQLITE_DONE ||
        ASK(workload, PAY_DISTRICT, 1, district, amount) != SQLITE_DONE ||
        pick_customer(workload, district, &customer) != 0 ||
        ASK(workload, GET_CUSTOMER, 1, district, customer) != SQLITE_ROW)
        return -1;
    take(workload, GET_CUSTOMER, 3);
    if (ASK(workload, PAY_CUSTOMER, 1, district, customer, amount) != SQLITE_DONE ||
        ASK(workload, ADD_HISTORY, customer, district, now, amount) != SQLITE_DONE)
        return -1;
    workload->payments++;
    return nv_workload_step(workload->statements[COMMIT]);
}

static int order_status(struct nv_workload *workload)
{
    int64_t district = pick(workload, DISTRICTS), customer;
    if (pick_customer(workload, district, &customer) != 0 ||
        ASK(workload, GET_CUSTOMER, 1, district, customer) != SQLITE_ROW)
        return -1;
    take(workload, GET_CUSTOMER, 3);
    int result = ASK(workload, LAST_ORDER, 1, district, customer);
    if (result == SQLITE_ROW) { /* a new customer may have none */
        result = ASK(workload, GET_LINES, 1, district, take(workload, LAST_ORDER, 0));
        while (result == SQLITE_ROW)
            result = sqlite3_step(workload->statements[GET_LINES]);
        sqlite3_reset(workload->statements[GET_LINES]);
    }
    return result == SQLITE_DONE ? nv_workload_step(workload->statements[COMMIT]) : -1;
}

static int tpcc_run(struct nv_workload *workload, uint32_t transactions)
{
    for (uint32_t i = 0; i < transactions; i++) {
        uint32_t kind = nv_random_below(&workload->random, 100);
        int error = nv_workload_step(workload->statements[BEGIN]);
        if (!error)
            error = kind < 45   ? new_order(workload)
                    : kind < 88 ? payment(workload)
                                : order_status(workload);
        if (error) {
            fprintf(stderr, "sqlite_bench: a transaction of the mix failed\n");
            return -1;
        }
    }
    return 0;
}

static int tpcc_check(struct nv_workload *workload)
{
    static const char lines[] = "SELECT count(*) FROM orders WHERE o_ol_cnt <>"
                                " (SELECT count(*) FROM order_line WHERE ol_w_id=o_w_id AND"
                                " ol_d_id=o_d_id AND ol_o_id=o_id)";
    if (nv_workload_number(workload->db, "SELECT count(*) FROM orders") == workload->orders &&
        nv_workload_number(workload->db, "SELECT count(*) FROM history") == workload->payments &&
        nv_workload_number(workload->db, "SELECT w_ytd FROM warehouse") ==
            nv_workload_number(workload->db, "SELECT coalesce(sum(h_amount), 0) FROM history") &&
        nv_workload_number(workload->db, "SELECT sum(d_next_o_id-1) FROM district") ==
            workload->orders &&
        nv_workload_number(workload->db, lines) == 0)
        return 0;
    fprintf(stderr, "sqlite_bench: the database does not hold what was done: the mix\n");
    return -1;
}

const struct nv_workload_ops nv_workload_tpcc = {
    .name = "tpcc",
    .open = tpcc_open,
    .refill = tpcc_refill,
    .run = tpcc_run,
    .check = tpcc_check,
    .close = tpcc_close,
};
