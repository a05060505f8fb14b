/*
 * knobs: the user's options, from URI parameters (medium=, log_dir=, log_bytes=,
 * wal=) and from the environment (NVMMIO_MEDIUM, ...), which the URI overrides.
 *
 * URIs carry parameters of SQLite, of other VFSes and of applications too, so
 * only a name that can be meant for nobody else is refused as unknown.
 *
 * Threads: any, each with its own knobs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sqlite_vfs/internal.h"

static const char *const engine_options[] = {"medium", "log_dir", "log_bytes"};
#define NV_ENGINE_OPTIONS (sizeof engine_options / sizeof engine_options[0])
#define NV_OPTION_NAMES "medium, log_dir, log_bytes and wal"

static int knob_bad(int error, const char *origin, const char *option, const char *value)
{
    const char *range = "auto, dax, page or ram";

    if (error == -ENOMEM)
        return SQLITE_NOMEM;
    if (strcmp(option, "log_bytes") == 0)
        range = "a number from 256K to 64G";
    else if (strcmp(option, "log_dir") == 0)
        range = "a directory that exists";
    else if (strcmp(option, "wal") == 0)
        range = "delegate or refuse";
    return nv_trouble_say(SQLITE_CANTOPEN, "%s%s=%s: %s; it takes %s", origin, option, value,
                          error == -ERANGE ? "out of range" : "not a valid value", range);
}

static int knob_log_dir(struct nv_knobs *knobs, const char *value)
{
    struct stat status;
    char *copy = sqlite3_mprintf("%s", value);
    int error;

    if (!copy)
        return -ENOMEM;
    error = stat(value, &status) == 0 && S_ISDIR(status.st_mode) ? 0 : -EINVAL;
    if (!error)
        error = nvmmio_option_set(&knobs->options, "log_dir", copy);
    sqlite3_free(error ? copy : knobs->log_dir);
    if (!error)
        knobs->log_dir = copy;
    return error;
}

static int knob_wal(struct nv_knobs *knobs, const char *value)
{
    knobs->wal_refuse = strcmp(value, "refuse") == 0;
    return knobs->wal_refuse || strcmp(value, "delegate") == 0 ? 0 : -EINVAL;
}

/* `origin` stands before the name in a message: where the value came from. */
static int knob_set(struct nv_knobs *knobs, const char *origin, const char *option,
                    const char *value)
{
    int error;

    if (strcmp(option, "wal") == 0)
        error = knob_wal(knobs, value);
    else if (strcmp(option, "log_dir") == 0)
        error = knob_log_dir(knobs, value);
    else
        error = nvmmio_option_set(&knobs->options, option, value);
    return error ? knob_bad(error, origin, option, value) : SQLITE_OK;
}

static int knob_from_environment(struct nv_knobs *knobs, const char *variable, const char *option)
{
    const char *value = secure_getenv(variable);

    return value && value[0] ? knob_set(knobs, "environment variable for ", option, value)
                             : SQLITE_OK;
}

static int knob_from_uri(struct nv_knobs *knobs, const char *name, const char *option)
{
    const char *value = sqlite3_uri_parameter(name, option);

    return value ? knob_set(knobs, "URI parameter ", option, value) : SQLITE_OK;
}

static int knobs_check_names(const char *name)
{
    const char *key;

    for (int i = 0; (key = sqlite3_uri_key(name, i)) != NULL; i++) {
        bool known = strcmp(key, "log_dir") == 0 || strcmp(key, "log_bytes") == 0;

        if (!known && (strncmp(key, "nvmmio", 6) == 0 || strncmp(key, "log_", 4) == 0))
            return nv_trouble_say(
                SQLITE_CANTOPEN,
                "URI parameter %s: there is no such option; there are " NV_OPTION_NAMES, key);
    }
    return SQLITE_OK;
}

int nv_knobs_read(struct nv_knobs *knobs, const char *name)
{
    static const char *const variables[] = {"NVMMIO_MEDIUM", "NVMMIO_LOG_DIR", "NVMMIO_LOG_BYTES"};
    const struct nvmmio_options defaults = NVMMIO_OPTIONS_INIT;
    int code = knobs_check_names(name);

    knobs->options = defaults;
    knobs->log_dir = NULL;
    knobs->wal_refuse = false;
    for (size_t i = 0; code == SQLITE_OK && i < NV_ENGINE_OPTIONS; i++)
        code = knob_from_environment(knobs, variables[i], engine_options[i]);
    if (code == SQLITE_OK)
        code = knob_from_environment(knobs, "NVMMIO_WAL", "wal");
    for (size_t i = 0; code == SQLITE_OK && i < NV_ENGINE_OPTIONS; i++)
        code = knob_from_uri(knobs, name, engine_options[i]);
    if (code == SQLITE_OK)
        code = knob_from_uri(knobs, name, "wal");
    if (code != SQLITE_OK)
        nv_knobs_free(knobs);
    return code;
}

void nv_knobs_free(struct nv_knobs *knobs)
{
    sqlite3_free(knobs->log_dir);
    knobs->log_dir = NULL;
    knobs->options.log_dir = NULL;
}

char *nv_knobs_text(const struct nv_knobs *knobs, const char *option, bool *known)
{
    *known = true;
    if (strcmp(option, "medium") == 0)
        return sqlite3_mprintf("%s", nvmmio_medium_name(knobs->options.medium));
    if (strcmp(option, "log_dir") == 0)
        return sqlite3_mprintf("%s", knobs->log_dir ? knobs->log_dir : "");
    if (strcmp(option, "log_bytes") == 0)
        return sqlite3_mprintf("%lld", (long long)knobs->options.log_bytes);
    if (strcmp(option, "wal") == 0)
        return sqlite3_mprintf("%s", knobs->wal_refuse ? "refuse" : "delegate");
    *known = false;
    return NULL;
}
