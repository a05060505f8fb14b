#include "sqlite_vfs/demo/package_index.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES ((size_t)1 << 20)

const char *const nv_package_fields[NV_PACKAGE_FIELDS] = {
    "Package",  "Version", "Architecture", "Section",  "Priority", "Maintainer",  "Installed-Size",
    "Filename", "Size",    "SHA256",       "Homepage", "Tag",      "Description",
};
static const char *const depends_fields[2] = {"Pre-Depends", "Depends"};

static int read_file(const char *path, char **text, size_t *bytes)
{
    int error = 0;
    size_t used = 0, space = 0;
    char *buffer = NULL;
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    for (;;) {
        if (space - used < READ_BYTES) {
            space = space * 2 + READ_BYTES;
            char *larger = realloc(buffer, space);
            if (!larger) {
                error = -ENOMEM;
                goto out;
            }
            buffer = larger;
        }
        size_t got = fread(buffer + used, 1, space - used, file);
        used += got;
        if (!got)
            break;
    }
    if (ferror(file))
        error = -EIO;
out:
    fclose(file);
    if (error) {
        free(buffer);
        return error;
    }
    *text = buffer;
    *bytes = used;
    return 0;
}

static bool line_is(const char *line, size_t bytes, const char *name)
{
    size_t length = strlen(name);
    return bytes > length && line[length] == ':' && memcmp(line, name, length) == 0;
}

static struct nv_slice *find_field(struct nv_package *package, const char *line, size_t bytes)
{
    for (size_t i = 0; i < NV_PACKAGE_FIELDS; i++) {
        if (line_is(line, bytes, nv_package_fields[i]))
            return &package->field[i];
    }
    for (size_t i = 0; i < 2; i++) {
        if (line_is(line, bytes, depends_fields[i]))
            return &package->depends[i];
    }
    return NULL;
}

static void set_field(struct nv_slice *field, const char *line, size_t bytes)
{
    const char *value = memchr(line, ':', bytes);
    const char *end = line + bytes;
    for (value++; value < end && *value == ' '; value++)
        ;
    *field = (struct nv_slice){value, (int)(end - value)};
}

static int add(struct nv_package_index *index, size_t *space, const struct nv_package *package)
{
    if (!package->field[0].text)
        return 0;
    if (index->count == *space) {
        *space = *space * 2 + 4096;
        struct nv_package *larger = realloc(index->packages, *space * sizeof(*larger));
        if (!larger)
            return -ENOMEM;
        index->packages = larger;
    }
    index->packages[index->count++] = *package;
    return 0;
}

int nv_package_index_read(const char *path, struct nv_package_index *index)
{
    size_t bytes = 0, space = 0;
    memset(index, 0, sizeof(*index));
    int error = read_file(path, &index->text, &bytes);
    if (error)
        return error;

    struct nv_package package = {0};
    struct nv_slice *field = NULL;
    const char *end = index->text + bytes;
    for (const char *line = index->text; line < end && !error;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop ? stop : end) - line);
        if (!length) {
            error = add(index, &space, &package);
            memset(&package, 0, sizeof(package));
            field = NULL;
        } else if (*line == ' ' || *line == '\t') { /* more of the field above */
            if (field)
                field->bytes = (int)(line + length - field->text);
        } else {
            field = find_field(&package, line, length);
            if (field)
                set_field(field, line, length);
        }
        line += length + 1;
    }
    if (!error)
        error = add(index, &space, &package);
    if (error)
        nv_package_index_free(index);
    return error;
}

void nv_package_index_free(struct nv_package_index *index)
{
    free(index->text);
    free(index->packages);
    memset(index, 0, sizeof(*index));
}

static bool blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

struct nv_slice nv_package_next_dependency(struct nv_slice *rest)
{
    const char *at = rest->text;
    const char *end = at ? at + rest->bytes : NULL;
    while (at < end && (blank(*at) || *at == ','))
        at++;
    if (at == end)
        return (struct nv_slice){NULL, 0};
    const char *comma = memchr(at, ',', (size_t)(end - at));
    const char *stop = comma ? comma : end;
    *rest = (struct nv_slice){stop, (int)(end - stop)};
    while (blank(stop[-1]))
        stop--;
    return (struct nv_slice){at, (int)(stop - at)};
}

uint64_t nv_content_hash_add(uint64_t hash, struct nv_slice value)
{
    const uint64_t prime = UINT64_C(0x100000001b3);
    for (int i = 0; i < value.bytes; i++)
        hash = (hash ^ (unsigned char)value.text[i]) * prime;
    /* An end that no text contains, and another one for a field that is not there. */
    return (hash ^ (value.text ? 0x100u : 0x101u)) * prime;
}
