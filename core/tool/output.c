#include "core/tool/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/tool/progress.h"

#define NAME_COLUMNS 20

void nv_output_start(struct nv_output *output, FILE *stream, bool json)
{
    memset(output, 0, sizeof(*output));
    output->stream = stream;
    if (json) {
        output->object = json_object();
        output->failed = !output->object;
    }
}

/* A string of JSON; bytes that are not UTF-8 (a path may hold any) become U+FFFD. */
static json_t *text(const char *value)
{
    json_t *string = json_string(value);
    if (string)
        return string;
    size_t bytes = strlen(value);
    char *clean = malloc(3 * bytes + 1);
    if (!clean)
        return NULL;
    size_t used = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (byte < 0x80) {
            clean[used++] = (char)byte;
        } else {
            memcpy(clean + used, "\xEF\xBF\xBD", 3);
            used += 3;
        }
    }
    clean[used] = '\0';
    string = json_string(clean);
    free(clean);
    return string;
}

static void set(struct nv_output *output, const char *name, json_t *value)
{
    if (output->failed || !value || json_object_set_new(output->object, name, value) != 0)
        output->failed = true;
}

static void print_name(struct nv_output *output, const char *name)
{
    int column = 0;
    for (const char *c = name; *c; c++, column++)
        fputc(*c == '_' ? ' ' : *c, output->stream);
    fprintf(output->stream, "%*s", column < NAME_COLUMNS ? NAME_COLUMNS - column : 1, "");
}

void nv_output_text(struct nv_output *output, const char *name, const char *value)
{
    if (output->object) {
        set(output, name, text(value));
        return;
    }
    print_name(output, name);
    fprintf(output->stream, "%s\n", value);
}

void nv_output_count(struct nv_output *output, const char *name, uint64_t value)
{
    if (output->object) {
        set(output, name, json_integer((json_int_t)value));
        return;
    }
    print_name(output, name);
    fprintf(output->stream, "%" PRIu64 "\n", value);
}

void nv_output_bytes(struct nv_output *output, const char *name, uint64_t value)
{
    if (output->object || value < 1024) {
        nv_output_count(output, name, value);
        return;
    }
    char human[32];
    print_name(output, name);
    fprintf(output->stream, "%" PRIu64 " (%s)\n", value,
            nv_progress_bytes(value, human, sizeof(human)));
}

void nv_output_flag(struct nv_output *output, const char *name, bool value)
{
    if (output->object) {
        set(output, name, json_boolean(value));
        return;
    }
    print_name(output, name);
    fprintf(output->stream, "%s\n", value ? "yes" : "no");
}

void nv_output_error(struct nv_output *output, int error, const char *message)
{
    if (!output->object)
        return;
    json_t *object = json_object();
    if (object && (json_object_set_new(object, "code", json_integer(error)) != 0 ||
                   json_object_set_new(object, "message", text(message)) != 0)) {
        json_decref(object);
        object = NULL;
    }
    set(output, "error", object);
}

bool nv_output_finish(struct nv_output *output, int exit_code)
{
    if (output->object) {
        set(output, "exit_code", json_integer(exit_code));
        if (!output->failed) {
            json_dumpf(output->object, output->stream, JSON_INDENT(2));
            fputc('\n', output->stream);
        }
        json_decref(output->object);
        output->object = NULL;
    }
    return fflush(output->stream) == 0 && !ferror(output->stream) && !output->failed;
}
