#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/nvmmio.h"

static _Thread_local char last_error[512];

void nv_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
}

const char *nvmmio_last_error(void)
{
    return last_error;
}

const char *nvmmio_strerror(int error)
{
    int code = error < 0 ? -error : error;
    switch (code) {
    case 0:
        return "success";
    case EUCLEAN:
        return "log damaged or of another file";
    case EBUSY:
        return "locked by another user of the file";
    case ECHILD:
        return "handle of a parent process used after fork";
    case EOPNOTSUPP:
        return "not supported by this medium or file system";
    default:
        break;
    }
    const char *text = strerrordesc_np(code);
    return text ? text : "unknown error";
}

const char *nvmmio_version(void)
{
    return NVMMIO_VERSION;
}
