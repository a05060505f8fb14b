#include "tests/vfs/place.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char place[64];

void place_make(void)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    (void)snprintf(place, sizeof place, "%s/nvmmio-vfs-XXXXXX", base);
    if (!mkdtemp(place))
        fail_msg("cannot make %s", place);
}

static int each_file(const char *part, int (*action)(const char *))
{
    DIR *directory = opendir(place);
    const struct dirent *entry;
    int count = 0;

    if (!directory)
        return -1;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.' || !strstr(entry->d_name, part))
            continue;
        count++;
        if (action)
            (void)action(place_path(entry->d_name));
    }
    (void)closedir(directory);
    return count;
}

void place_remove(void)
{
    (void)each_file("", unlink);
    (void)rmdir(place);
}

const char *place_path(const char *name)
{
    static char paths[4][PLACE_PATH_BYTES];
    static unsigned next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, PLACE_PATH_BYTES, "%s/%.100s", place, name);
    return path;
}

int place_count(void)
{
    return place_count_of("");
}

int place_count_of(const char *part)
{
    return each_file(part, NULL);
}

sqlite3 *place_open(const char *name, const char *vfs)
{
    sqlite3 *db = NULL;
    int code =
        sqlite3_open_v2(place_path(name), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs);

    if (code != SQLITE_OK)
        fail_msg("%s: %s", name, db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
    return db;
}

int place_try(sqlite3 *db, const char *sql)
{
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);

    return code == SQLITE_OK ? code : sqlite3_extended_errcode(db);
}

void place_do(sqlite3 *db, const char *sql)
{
    if (place_try(db, sql) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

sqlite3_int64 place_int(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;
    sqlite3_int64 value;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}
