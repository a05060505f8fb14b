/*
 * output: what the tool answers, as lines for people or as one JSON object.
 *
 * A field has one name, the JSON key; people see it with spaces for the
 * underscores.  In JSON nothing is written before nv_output_finish.
 */
#ifndef NV_TOOL_OUTPUT_H
#define NV_TOOL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct nv_output {
    FILE *stream;
    json_t *object; /* NULL: lines */
    bool failed;    /* out of memory while building the object */
};

void nv_output_start(struct nv_output *output, FILE *stream, bool json);
void nv_output_text(struct nv_output *output, const char *name, const char *value);
void nv_output_count(struct nv_output *output, const char *name, uint64_t value);
void nv_output_bytes(struct nv_output *output, const char *name, uint64_t value);
void nv_output_flag(struct nv_output *output, const char *name, bool value);
/* Only in JSON: what people read on the other stream. */
void nv_output_error(struct nv_output *output, int error, const char *message);
/* false: not all of it could be written. */
bool nv_output_finish(struct nv_output *output, int exit_code);

#endif
