/* sql_life: see sql_life.h. */
#include "tests/faults/sql_life.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/faults/inject.h"
#include "tests/faults/inject_sqlite.h"

#define CHANGES 40
#define SUMMARY_BYTES 200

struct scratch life_scratch;
struct life lives[FILES];
bool life_both, life_in_wal, life_in_silence;
static bool ended; /* nobody has them open any more */
static const char *const schemas[FILES] = {"main", "second"};

/* What the database is after each change, by a stock SQLite that nobody disturbs. */
static struct {
    char summary[SUMMARY_BYTES];
    uint64_t digest;
} states[CHANGES + 1];

/* ---- what is done --------------------------------------------------------------------------- */

/* The n-th change of a database. */
static char *change(const char *schema, int n)
{
    if (n == 1)
        return sqlite3_mprintf("CREATE TABLE %s.t(id INTEGER PRIMARY KEY, v);"
                               "CREATE TABLE %s.meta(n); INSERT INTO %s.meta VALUES(1);"
                               "INSERT INTO %s.t VALUES(1, zeroblob(3000)), (2, 'two'), (3, 3)",
                               schema, schema, schema, schema);
    return sqlite3_mprintf("UPDATE %s.t SET v = zeroblob(%d) WHERE id %% 3 = %d;"
                           "INSERT OR REPLACE INTO %s.t VALUES(%d, zeroblob(%d));"
                           "UPDATE %s.meta SET n = %d",
                           schema, n * 137 % 700, n % 3, schema, 3 + n % 5, n * 911 % 6000, schema,
                           n);
}

/* What a reader can see of a change in one row. */
static char *summary_query(const char *schema)
{
    return sqlite3_mprintf("SELECT (SELECT n FROM %s.meta) || ' ' || count(*) || ' ' || sum(id)"
                           " || ' ' || sum(length(v)) || ' ' || sum(id * length(v)) FROM %s.t",
                           schema, schema);
}

static void compute_states(void)
{
    sqlite3 *db = stock_open(":memory:", NULL);

    if (states[1].digest)
        goto out;
    (void)snprintf(states[0].summary, SUMMARY_BYTES, "nothing");
    states[0].digest = sql_digest(db);
    for (int n = 1; n <= CHANGES; n++) {
        char *sql = change("main", n), *query = summary_query("main");

        sql_do(db, "%s", sql);
        (void)snprintf(states[n].summary, SUMMARY_BYTES, "%s", sql_text(db, "%s", query));
        states[n].digest = sql_digest(db);
        sqlite3_free(sql);
        sqlite3_free(query);
    }
out:
    sql_close(db);
}

/* A failure: a code that SQLite has for such things, and, unless there was no memory to say it,
 * words that name the file. */
static int told(sqlite3 *db, const char *what, int code)
{
    const char *words = db ? sqlite3_errmsg(db) : "out of memory";

    switch (code & 0xff) {
    case SQLITE_OK:
        return SQLITE_OK;
    case SQLITE_NOMEM:
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_BUSY:
        break;
    case SQLITE_CORRUPT: /* what SQLite makes of a read by the unix VFS that fails */
        check(inject_read_failed());
        break;
    case SQLITE_PROTOCOL: /* and of locks of a WAL that fail again and again */
        check(life_in_wal);
        break;
    default:
        check_fail("%s: %d, %s; log: %s", what, code, words, inject_log());
    }
    if (!words || !*words)
        check_fail("%s: %d, and no words", what, code);
    if (inject_named_nothing(life_scratch.directory))
        life_in_silence = true;
    return code;
}

/* Run statements, as an application does that asks for the result alone. */
int life_run(sqlite3 *db, const char *sql)
{
    return told(db, sql, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

/* The first column of the first row, or "" and the code. */
int life_ask(sqlite3 *db, const char *sql, char *answer, size_t bytes)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    answer[0] = '\0';
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(statement, 0);

        code = text ? SQLITE_OK : SQLITE_NOMEM;
        (void)snprintf(answer, bytes, "%s", text ? (const char *)text : "");
    }
    if (code == SQLITE_DONE)
        code = SQLITE_OK;
    code = told(db, sql, code);
    (void)sqlite3_finalize(statement);
    return code;
}

static char *without_failures(char *text)
{
    check(text != NULL);
    return text;
}

/* Which change a connection shows; -1: it shows an error.  Whatever it shows is a whole one. */
static int shown(sqlite3 *db, size_t i)
{
    char answer[SUMMARY_BYTES], *query;
    int n = -1, code;

    inject_pause();
    query = without_failures(
        lives[i].acknowledged || lives[i].doubt
            ? summary_query(schemas[i])
            : sqlite3_mprintf("SELECT count(*) FROM %s.sqlite_schema", schemas[i]));
    inject_resume();
    code = life_ask(db, query, answer, sizeof(answer));
    inject_pause();
    sqlite3_free(query);
    inject_resume();
    if (code != SQLITE_OK)
        return -1;
    if (strcmp(answer, "0") == 0)
        return 0;
    for (n = CHANGES; n > 0 && strcmp(answer, states[n].summary) != 0; n--)
        ;
    if (n == 0)
        check_fail("%s shows \"%s\", which is no state", lives[i].path, answer);
    return n;
}

/* What is shown is what was acknowledged, or settles a doubt for good. */
static void settle(size_t i, int n)
{
    struct life *life = &lives[i];

    if (n != life->acknowledged && !(life->doubt && n == life->acknowledged + 1))
        check_fail("%s shows change %d; %d was acknowledged%s", life->path, n, life->acknowledged,
                   life->doubt ? ", and the next is in doubt" : "");
    /* A commit whose sync failed is in the WAL, for whoever reads that anew. */
    if (life->doubt && life_in_wal && !ended && n == life->acknowledged)
        return;
    if (life->doubt && life_both) {
        struct life *other = &lives[1 - i];

        other->acknowledged += n - life->acknowledged;
        other->doubt = life_both = false;
    }
    life->acknowledged = n;
    life->doubt = false;
}

void life_look(sqlite3 *db, size_t i)
{
    int n;

    if (lives[i].doubt && lives[i].acknowledged == 0) {
        char answer[SUMMARY_BYTES], sql[100];

        (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s.sqlite_schema", schemas[i]);
        if (life_ask(db, sql, answer, sizeof(answer)) != SQLITE_OK)
            return;
        if (answer[0] == '0') {
            settle(i, 0);
            return;
        }
    }
    n = shown(db, i);
    if (n >= 0)
        settle(i, n);
}

static void end_transaction(sqlite3 *db)
{
    if (!sqlite3_get_autocommit(db))
        (void)life_run(db, "ROLLBACK");
    inject_pause(); /* there was no memory to read the word */
    if (!sqlite3_get_autocommit(db))
        (void)life_run(db, "ROLLBACK");
    inject_resume();
    if (!sqlite3_get_autocommit(db))
        check_fail("a ROLLBACK leaves a transaction open: %s", sqlite3_errmsg(db));
}

/* One transaction over the first `files` databases from `first` on, with statements before and
 * after the change of each. */
void life_commit(sqlite3 *db, size_t first, size_t files, const char *before, const char *after)
{
    int code = SQLITE_OK;
    bool ends = false;

    for (size_t i = first; db && i < first + files; i++)
        life_look(db, i);
    for (size_t i = first; i < first + files; i++) {
        if (!db || lives[i].doubt)
            return;
    }
    code = life_run(db, "BEGIN");
    if (code == SQLITE_OK)
        code = life_run(db, before);
    for (size_t i = first; i < first + files && code == SQLITE_OK; i++) {
        char *sql;

        inject_pause();
        check(lives[i].acknowledged < CHANGES);
        sql = without_failures(change(schemas[i], lives[i].acknowledged + 1));
        inject_resume();
        code = life_run(db, sql);
        inject_pause();
        sqlite3_free(sql);
        inject_resume();
    }
    if (code == SQLITE_OK)
        code = life_run(db, after);
    if (code == SQLITE_OK) {
        ends = true;
        code = life_run(db, "COMMIT");
    }
    if (code == SQLITE_OK) {
        for (size_t i = first; i < first + files; i++)
            lives[i].acknowledged++;
        return;
    }
    end_transaction(db);
    /* Only where the device failed in a COMMIT may it have happened. */
    if (ends && code == SQLITE_IOERR) {
        for (size_t i = first; i < first + files; i++)
            lives[i].doubt = true;
        life_both = files > 1;
    }
    for (size_t i = first; i < first + files; i++)
        life_look(db, i);
}

void life_roll_back(sqlite3 *db, const char *sql)
{
    if (!db || lives[0].doubt || lives[0].acknowledged == 0)
        return;
    if (life_run(db, "BEGIN") == SQLITE_OK)
        (void)life_run(db, sql);
    end_transaction(db);
    life_look(db, 0);
}

sqlite3 *life_open(size_t i)
{
    sqlite3 *db = NULL;
    char *uri;
    int code;

    inject_pause();
    uri =
        without_failures(sqlite3_mprintf("file:%s?vfs=%s&log_bytes=256K", lives[i].path, sql_vfs));
    inject_resume();
    code = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                           NULL);
    inject_pause();
    sqlite3_free(uri);
    inject_resume();
    if (told(db, "open", code) != SQLITE_OK) {
        (void)sqlite3_close(db);
        return NULL;
    }
    return db;
}

void life_close(sqlite3 *db)
{
    check_eq(sqlite3_close(db), SQLITE_OK);
}

bool life_attach(sqlite3 *db)
{
    char *sql;
    int code;

    if (!db)
        return false;
    inject_pause();
    sql = without_failures(sqlite3_mprintf("ATTACH 'file:%s?vfs=%s&log_bytes=256K' AS second",
                                           lives[1].path, sql_vfs));
    inject_resume();
    code = life_run(db, sql);
    inject_pause();
    sqlite3_free(sql);
    inject_resume();
    return code == SQLITE_OK;
}

/* ---- one run -------------------------------------------------------------------------------- */

void life_begin(void)
{
    static const char *const names[FILES] = {"db", "second"};
    sqlite3 *db;
    char *sql;

    compute_states();
    scratch_empty(&life_scratch);
    life_both = life_in_silence = life_in_wal = ended = false;
    for (size_t i = 0; i < FILES; i++) {
        lives[i] = (struct life){.acknowledged = 0};
        (void)snprintf(lives[i].path, sizeof(lives[i].path), "%s",
                       scratch_file(&life_scratch, names[i]));
    }
    db = stock_open(lives[1].path, NULL);
    sql = change("main", 1);
    sql_do(db, "%s", sql);
    sqlite3_free(sql);
    sql_close(db);
    lives[1].acknowledged = 1;
}

/* Without failures: the state is one of those that may be, both files have the same commits, and
 * they work. */
void life_verify(void)
{
    sqlite3 *db;

    ended = true;
    for (size_t i = 0; i < FILES; i++) {
        db = sql_open(lives[FILES - 1 - i].path, NULL);
        sql_sound(db);
        sql_close(db);
    }
    db = sql_open(lives[0].path, NULL);
    check(life_attach(db));
    for (size_t i = 0; i < FILES; i++) {
        life_look(db, i);
        check(!lives[i].doubt);
    }
    check(!life_both);
    sql_close(db);
    for (size_t i = 0; i < FILES; i++) {
        db = sql_open(lives[i].path, NULL);
        check(sql_digest(db) == states[lives[i].acknowledged].digest);
        sql_close(db);
    }
    db = sql_open(lives[0].path, NULL);
    check(life_attach(db));
    life_commit(db, 0, 2, "", "");
    sql_close(db);
    for (size_t i = 0; i < FILES; i++) {
        /* Of WAL mode: the unix VFS leaves it when it cannot be removed, and makes nothing of it.
         */
        if (life_in_wal && inject_in_stock())
            (void)unlink(scratch_file(&life_scratch, i ? "second-shm" : "db-shm"));
        check_ordinary(lives[i].path);
        db = stock_open(lives[i].path, NULL);
        sql_sound(db);
        check(sql_digest(db) == states[lives[i].acknowledged].digest);
        sql_close(db);
    }
}
