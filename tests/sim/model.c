#include "tests/sim/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"

#define PREALLOCATED_BYTES ((size_t)2 << 20) /* a home grows in steps of it */

/* ---- content ------------------------------------------------------------------------- */

static void content_reserve(struct content *content, uint32_t bytes)
{
    if (bytes <= content->capacity)
        return;
    uint32_t capacity = (uint32_t)nv_align_up(bytes + bytes / 4, 4096);
    uint8_t *data = realloc(content->data, capacity);
    if (!data) {
        fputs("sim: out of memory\n", stderr);
        abort();
    }
    content->data = data;
    content->capacity = capacity;
}

void content_free(struct content *content)
{
    free(content->data);
    *content = (struct content){.data = NULL};
}

void content_copy(struct content *to, const struct content *from)
{
    content_reserve(to, from->bytes);
    if (from->bytes)
        memcpy(to->data, from->data, from->bytes);
    to->bytes = from->bytes;
}

void content_truncate(struct content *content, uint32_t bytes)
{
    content_reserve(content, bytes);
    if (bytes > content->bytes)
        memset(content->data + content->bytes, 0, bytes - content->bytes);
    content->bytes = bytes;
}

void content_write(struct content *content, const void *data, uint32_t bytes, uint32_t offset)
{
    if (bytes == 0)
        return;
    if (offset + bytes > content->bytes)
        content_truncate(content, offset + bytes);
    memcpy(content->data + offset, data, bytes);
}

void content_fill(uint8_t *to, uint32_t bytes, uint64_t seed, const struct content *content,
                  uint32_t offset)
{
    uint64_t style = sim_random(&seed) % 8;
    for (uint32_t i = 0; i < bytes; i++)
        to[i] = style == 0 ? 0 : (uint8_t)(sim_random(&seed) >> 13);
    if (style > 3 || bytes == 0)
        return;
    /* Much as it was: a few bytes differ. */
    uint32_t there = offset < content->bytes ? (uint32_t)nv_min(bytes, content->bytes - offset) : 0;
    if (there)
        memcpy(to, content->data + offset, there);
    for (uint32_t i = 0; i < style; i++)
        to[sim_random(&seed) % bytes] = (uint8_t)sim_random(&seed);
}

bool content_equal(const struct content *content, const uint8_t *data, size_t bytes)
{
    return content->bytes == bytes && (bytes == 0 || memcmp(content->data, data, bytes) == 0);
}

/* ---- set-up -------------------------------------------------------------------------- */

/* As SQLite's: a few bytes changed, and a nonce. */
static void make_mark(struct nvmmio_mark *mark, uint64_t seed)
{
    *mark = (struct nvmmio_mark){.bytes = 100, .nonce_at = 72};
    for (uint32_t i = 0; i < mark->bytes; i++)
        mark->empty[i] = (uint8_t)sim_random(&seed);
    mark->mask[18] = 7;
    mark->mask[19] = 0x31;
    mark->mask[24] = 0x80;
    mark->mask[92] = 0x80;
}

void model_init(struct model *model, const struct program *program)
{
    memset(model, 0, sizeof *model);
    model->program = program;
    make_mark(&model->mark, program->seed);
    for (uint32_t i = 0; i < program->files; i++) {
        struct model_file *file = &model->files[i];
        struct content content = {.data = NULL};
        snprintf(file->path, sizeof file->path, "/%c/%c", i && program->elsewhere ? 'l' : 'd',
                 'a' + (int)i);
        if (!program->absent[i])
            content_truncate(&content, program->bytes[i]);
        uint64_t random = program->seed + i;
        for (uint32_t b = 0; b < content.bytes; b++)
            content.data[b] = (uint8_t)(sim_random(&random) >> 20);
        (void)model_state(model, i, &content);
        content_free(&content);
        file->visible = 1;
        model->now.files[i].states = model->now.files[i].states_super = 1;
        model->now.files[i].absent = program->absent[i];
    }
    if (program->stream)
        snprintf(model->stream.path, sizeof model->stream.path, "/%c/w",
                 program->stream_elsewhere ? 'l' : 'd');
    model->now.stream.content = &model->stream.versions[0];
}

void model_free(struct model *model)
{
    for (uint32_t i = 0; i < MODEL_VERSIONS; i++)
        content_free(&model->stream.versions[i]);
    for (uint32_t i = 0; i < PROGRAM_FILES; i++)
        for (uint32_t s = 0; s < MODEL_STATES; s++)
            content_free(&model->files[i].states[s]);
    free(model->notes);
}

void model_lay_out(struct model *model, struct sim *sim)
{
    for (uint32_t i = 0; i < model->program->files; i++) {
        const struct content *content = &model->files[i].states[0];
        if (model->program->absent[i])
            continue;
        uint32_t file = sim_file_make(sim, model->files[i].path, 0100640);
        sim_resize(sim, file, content->bytes);
        sim_store(sim, file, 0, content->data, content->bytes);
        (void)sim_name(sim, model->files[i].path, file);
    }
    if (model->program->stream)
        (void)sim_name(sim, model->stream.path, sim_file_make(sim, model->stream.path, 0100640));
}

void model_options(const struct model *model, uint32_t file, struct nvmmio_options *options)
{
    const struct program *program = model->program;
    *options = (struct nvmmio_options)NVMMIO_OPTIONS_INIT;
    options->timeout_ms = 0;
    options->log_bytes = program->log_bytes;
    options->stage_bytes = program->stage_bytes;
    if (program->marked[file])
        options->mark = &model->mark;
    if (program->apart[file])
        options->log_dir = file && program->elsewhere ? "/d" : "/l";
}

static bool same_allowed(const struct allowed *a, const struct allowed *b)
{
    for (uint32_t f = 0; f < PROGRAM_FILES; f++) {
        const struct allowed_file *x = &a->files[f], *y = &b->files[f];
        if (x->states != y->states || x->states_super != y->states_super || x->torn != y->torn ||
            x->absent != y->absent || x->exact != y->exact)
            return false;
    }
    return a->joints == b->joints && a->stream.content == b->stream.content &&
           a->stream.low == b->stream.low && a->stream.high == b->stream.high &&
           a->stream.cut == b->stream.cut;
}

void model_note(struct model *model, struct sim *sim)
{
    if (model->note_count && same_allowed(&model->notes[model->note_count - 1], &model->now))
        return;
    if (model->note_count == model->note_capacity) {
        model->note_capacity = model->note_capacity ? 2 * model->note_capacity : 64;
        model->notes = realloc(model->notes, model->note_capacity * sizeof *model->notes);
        if (!model->notes) {
            fputs("sim: out of memory\n", stderr);
            abort();
        }
    }
    model->notes[model->note_count] = model->now;
    sim_record_note(sim, model->note_count++);
}

/* ---- states -------------------------------------------------------------------------- */

uint32_t model_state(struct model *model, uint32_t file, const struct content *content)
{
    struct model_file *at = &model->files[file];
    if (at->count == MODEL_STATES)
        return MODEL_STATES;
    content_copy(&at->states[at->count], content);
    return at->count++;
}

uint64_t model_match(const struct model_file *file, uint64_t states, const uint8_t *data,
                     size_t bytes)
{
    uint64_t matches = 0;
    for (uint32_t i = 0; i < file->count; i++)
        if ((states >> i & 1) && content_equal(&file->states[i], data, bytes))
            matches |= UINT64_C(1) << i;
    return matches;
}

/* Whether bytes [from, from + count) are as in a state; past its end it has zeros. */
static bool block_matches(const struct content *state, const uint8_t *data, size_t from,
                          size_t count)
{
    static const uint8_t zeros[NV_BLOCK_BYTES];
    size_t there = from < state->bytes ? (size_t)nv_min(count, state->bytes - from) : 0;
    return (there == 0 || memcmp(data, state->data + from, there) == 0) &&
           memcmp(data + there, zeros, count - there) == 0;
}

bool model_match_torn(const struct model_file *file, uint64_t states, const uint8_t *data,
                      size_t bytes)
{
    bool size_known = bytes > 0 && bytes % PREALLOCATED_BYTES == 0;
    for (uint32_t i = 0; i < file->count; i++)
        size_known |= (states >> i & 1) && file->states[i].bytes == bytes;
    for (size_t from = 0; from < bytes && size_known; from += NV_BLOCK_BYTES) {
        size_t count = (size_t)nv_min(NV_BLOCK_BYTES, bytes - from);
        bool all = true;
        bool any = false;
        bool differ = false;
        uint8_t first[NV_BLOCK_BYTES] = {0};
        bool have = false;
        for (uint32_t i = 0; i < file->count; i++) {
            if (!(states >> i & 1))
                continue;
            const struct content *state = &file->states[i];
            bool same = block_matches(state, data + from, from, count);
            all &= same;
            any |= same;
            if (have && !block_matches(state, first, from, count))
                differ = true;
            if (!have && from < state->bytes)
                memcpy(first, state->data + from, (size_t)nv_min(count, state->bytes - from));
            have = true;
        }
        if (!differ && !(all && any))
            return false;
    }
    return size_known;
}

bool model_joint(const struct model *model, const struct allowed *allowed,
                 const uint64_t states[PROGRAM_FILES])
{
    for (uint32_t a = 0; a < model->files[0].count; a++) {
        if (!(states[0] >> a & 1))
            continue;
        for (uint32_t b = 0; b < model->files[1].count; b++) {
            bool fits = states[1] >> b & 1;
            for (uint32_t j = 0; j < model->joint_count && fits; j++)
                if (allowed->joints >> j & 1)
                    fits = (a >= model->joints[j].states[0]) == (b >= model->joints[j].states[1]);
            if (fits)
                return true;
        }
    }
    return false;
}

void model_explain(const struct model_file *file, uint64_t states, const uint8_t *data,
                   size_t bytes, char *text, size_t text_bytes)
{
    size_t at = (size_t)snprintf(text, text_bytes, "%s has %zu bytes", file->path, bytes);
    for (uint32_t i = 0; i < file->count && at < text_bytes; i++) {
        const struct content *state = &file->states[i];
        const char *whose = states >> i & 1 ? "allowed" : "not allowed";
        if (!(states >> i & 1) && !content_equal(state, data, bytes))
            continue;
        size_t common = nv_min(state->bytes, bytes);
        size_t first = 0;
        size_t differing = 0;
        for (size_t b = common; b-- > 0;) {
            if (state->data[b] == data[b])
                continue;
            first = b;
            differing++;
        }
        if (differing == 0 && state->bytes == bytes)
            at += (size_t)snprintf(text + at, text_bytes - at, "; is state %u, %s", i, whose);
        else
            at += (size_t)snprintf(text + at, text_bytes - at,
                                   "; state %u, %s: %u bytes, %zu differ, the first at %zu", i,
                                   whose, state->bytes, differing, first);
    }
}
