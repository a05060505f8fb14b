/*
 * trouble: failures, in SQLite's codes and in words.
 *
 * SQLite's codes are few, so the words go where an application can have them:
 * to the callback of SQLITE_CONFIG_LOG at once, and to nvmmio_info() as the last
 * failure of the process.
 *
 * Threads: any.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include "sqlite_vfs/internal.h"

#define NV_TROUBLE_BYTES 512

static pthread_mutex_t trouble_mutex = PTHREAD_MUTEX_INITIALIZER;
static char trouble_text[NV_TROUBLE_BYTES]; /* under trouble_mutex */

static void trouble_keep(int code, const char *text)
{
    pthread_mutex_lock(&trouble_mutex);
    sqlite3_snprintf(NV_TROUBLE_BYTES, trouble_text, "%s", text);
    pthread_mutex_unlock(&trouble_mutex);
    sqlite3_log(code, "nvmmio: %s", text);
}

static int trouble_code(int error, int otherwise)
{
    switch (error) {
    case EBUSY:
        return SQLITE_BUSY;
    case ENOMEM:
        return (otherwise & 0xff) == SQLITE_IOERR ? SQLITE_IOERR_NOMEM : SQLITE_NOMEM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return SQLITE_FULL;
    case EROFS:
        return (otherwise & 0xff) == SQLITE_IOERR ? SQLITE_READONLY : otherwise;
    default:
        return otherwise;
    }
}

int nv_trouble(struct nv_database *db, int error, int otherwise, const char *what)
{
    int number = error < 0 ? -error : error;
    int code = trouble_code(number, otherwise);
    const char *words;
    char text[NV_TROUBLE_BYTES];

    db->last_errno = number;
    if (code == SQLITE_BUSY)
        return code;
    words = nvmmio_last_error();
    if (!words || !words[0])
        words = nvmmio_strerror(error);
    sqlite3_snprintf(NV_TROUBLE_BYTES, text, "%s: cannot %s: %s", db->name, what, words);
    trouble_keep(code, text);
    return code;
}

int nv_trouble_say(int code, const char *format, ...)
{
    char text[NV_TROUBLE_BYTES];
    va_list arguments;

    va_start(arguments, format);
    sqlite3_vsnprintf(NV_TROUBLE_BYTES, text, format, arguments);
    va_end(arguments);
    trouble_keep(code, text);
    return code;
}

void nv_trouble_last(char *text, size_t bytes)
{
    pthread_mutex_lock(&trouble_mutex);
    sqlite3_snprintf((int)bytes, text, "%s", trouble_text);
    pthread_mutex_unlock(&trouble_mutex);
}
