/*
 * functions: the SQL functions that the library adds to a connection.
 *
 *   nvmmio_default_vfs(1)   make nvmmio the default VFS of the process; (0): unix
 *   nvmmio_info([schema])   about a database ("main"), or what can be said without
 *   nvmmio_stats([schema])  its counters
 *
 * They reach the database by a file control, so that it does not matter which
 * other VFSes stand between, or whether another copy of this library opened it.
 */
#include "sqlite_vfs/internal.h"

static void function_default_vfs(sqlite3_context *context, int count, sqlite3_value **values)
{
    sqlite3_vfs *vfs = sqlite3_value_int(values[0]) ? nv_vfs_find() : sqlite3_vfs_find("unix");
    int code = vfs ? sqlite3_vfs_register(vfs, 1) : SQLITE_ERROR;

    (void)count;
    if (code != SQLITE_OK)
        sqlite3_result_error_code(context, code);
    else
        sqlite3_result_text(context, vfs->zName, -1, SQLITE_TRANSIENT);
}

static void function_report(sqlite3_context *context, int count, sqlite3_value **values,
                            int operation)
{
    sqlite3 *connection = sqlite3_context_db_handle(context);
    const char *schema = "main";
    char *text = NULL;
    int code;

    if (count > 0)
        schema = (const char *)sqlite3_value_text(values[0]);
    code = sqlite3_file_control(connection, schema, operation, &text);
    if (code == SQLITE_OK && text) {
        sqlite3_result_text(context, text, -1, sqlite3_free);
        return;
    }
    sqlite3_free(text);
    if (count > 0) {
        text = sqlite3_mprintf("no nvmmio database is attached as \"%s\"", schema ? schema : "");
        sqlite3_result_error(context, text ? text : "out of memory", -1);
        sqlite3_free(text);
        return;
    }
    text = nv_report_general_text(connection);
    if (text)
        sqlite3_result_text(context, text, -1, sqlite3_free);
    else
        sqlite3_result_error_nomem(context);
}

static void function_info(sqlite3_context *context, int count, sqlite3_value **values)
{
    function_report(context, count, values, NV_FCNTL_INFO);
}

static void function_stats(sqlite3_context *context, int count, sqlite3_value **values)
{
    function_report(context, count, values, NV_FCNTL_STATS);
}

int nv_functions_register(sqlite3 *db)
{
    static const struct {
        const char *name;
        int arguments;
        void (*function)(sqlite3_context *, int, sqlite3_value **);
    } all[] = {
        {"nvmmio_default_vfs", 1, function_default_vfs},
        {"nvmmio_info", 0, function_info},
        {"nvmmio_info", 1, function_info},
        {"nvmmio_stats", 0, function_stats},
        {"nvmmio_stats", 1, function_stats},
    };
    int code = SQLITE_OK;

    /* Not from a schema or a trigger: a database must not bring such calls with it. */
    for (size_t i = 0; code == SQLITE_OK && i < sizeof all / sizeof all[0]; i++)
        code = sqlite3_create_function(db, all[i].name, all[i].arguments,
                                       SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL, all[i].function, NULL,
                                       NULL);
    return code;
}
