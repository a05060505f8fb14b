/* log: logs as inputs describe them.  See fuzz.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base.h"
#include "tests/fuzz/fuzz.h"

enum { /* what is not as it should be in a record */
       WILD_SIZE = 1 << 0,
       ZERO_FROM = 1 << 1,
       OTHER_SEQ = 1 << 2,
       OTHER_EPOCH = 1 << 3,
       BACKS = 1 << 4,
       BAD_BODY = 1 << 5,
       BAD_LINE = 1 << 6,
       WILD_COUNTS = 1 << 7,
};

struct state {
    uint64_t head[NV_SEGMENTS];
    uint64_t chain[NV_SEGMENTS];
    uint32_t epoch;
    uint64_t seq;
    bool open;
};

static size_t names_make(struct fuzz_input *input, uint8_t *to)
{
    const char *names[] = {FUZZ_SUPER, FUZZ_CHILD, ""};
    uint8_t which = fuzz_u8(input);
    uint8_t raw = fuzz_u8(input) % 128;

    memset(to, 0, 256);
    if (which & 1) { /* names of somebody else's making */
        fuzz_bytes(input, to, raw);
    } else {
        const char *child = names[which & 2 ? 2 : 1];

        memcpy(to, names[0], strlen(names[0]) + 1);
        memcpy(to + strlen(names[0]) + 1, child, strlen(child) + 1);
    }
    return which & 4 ? NV_LINE_BYTES : 256;
}

/* Behind the line: descriptors and lines.  The bytes that they take. */
static size_t blocks_make(struct fuzz_input *input, struct nv_record *line, uint8_t *to)
{
    struct nv_descriptor *descriptors = (struct nv_descriptor *)(void *)to;
    unsigned blocks = fuzz_u8(input) % 9;
    uint64_t lines = 0;

    for (unsigned i = 0; i < blocks; i++) {
        uint8_t kind = fuzz_u8(input);

        descriptors[i].block = fuzz_number(input, kind & 0x80 ? 8 : 1);
        descriptors[i].lines = kind & 0x40 ? fuzz_number(input, 8) : (uint64_t)(kind & 0x3f) + 1;
        lines += (uint64_t)__builtin_popcountll(descriptors[i].lines);
    }
    line->block_count = blocks;
    line->line_count = (uint32_t)lines;
    size_t front = (size_t)nv_descriptors_bytes(blocks);
    memset(to + front, fuzz_u8(input), (size_t)lines * NV_LINE_BYTES);
    return front + (size_t)lines * NV_LINE_BYTES;
}

static uint64_t body_hash(const struct nv_record *line, const uint8_t *body, uint64_t seed)
{
    uint64_t names = nv_record_names_bytes(line);
    uint64_t front = names + nv_descriptors_bytes(line->block_count);
    const struct nv_descriptor *descriptors =
        (const struct nv_descriptor *)(const void *)(body + names);
    uint64_t hash = nv_hash(body, (size_t)front, seed);
    const uint8_t *at = body + front;

    for (uint32_t i = 0; i < line->block_count; i++) {
        size_t bytes = (size_t)__builtin_popcountll(descriptors[i].lines) * NV_LINE_BYTES;

        hash = nv_hash(at, bytes, hash);
        at += bytes;
    }
    return hash;
}

static void record_make(struct fuzz_log *log, struct fuzz_input *input, struct state *state)
{
    static uint8_t body[256 + 256 + 9 * 4096];
    uint32_t segment = fuzz_u8(input) % NV_SEGMENTS;
    uint64_t at = state->head[segment];
    uint8_t flags = fuzz_u8(input);
    struct nv_record line = {.kind = fuzz_u8(input) % 7, .size = fuzz_number(input, 2)};

    if (!state->open)
        state->seq++;
    line.seq = flags & OTHER_SEQ ? fuzz_number(input, 8) : state->seq;
    line.epoch = flags & OTHER_EPOCH ? (uint32_t)fuzz_number(input, 4) : state->epoch + segment;
    if (flags & WILD_SIZE)
        line.size = fuzz_number(input, 8);
    line.zero_from = flags & ZERO_FROM ? fuzz_number(input, 2) : NV_NO_ZERO;
    line.tail_back = flags & BACKS ? (uint32_t)fuzz_number(input, 2) : (uint32_t)line.seq;
    line.durable_back = flags & BACKS ? (uint32_t)fuzz_number(input, 2) : 1;
    size_t bytes = 0;
    if (line.kind == NV_RECORD_PREPARE) {
        bytes = names_make(input, body);
        line.name_lines = (uint16_t)(bytes / NV_LINE_BYTES);
    }
    bytes += blocks_make(input, &line, body + bytes);
    line.body_hash = body_hash(
        &line, body, nv_record_body_seed(log->header.nonce, at, &line, state->chain[segment]));
    if (flags & WILD_COUNTS) {
        line.block_count = (uint32_t)fuzz_number(input, 4);
        line.line_count = (uint32_t)fuzz_number(input, 4);
        line.name_lines = (uint16_t)fuzz_number(input, 2);
    }
    line.body_hash ^= flags & BAD_BODY ? 1 : 0;
    nv_record_finish(&line, log->header.nonce, at);
    line.line_hash ^= flags & BAD_LINE ? 1 : 0;
    if (at + NV_LINE_BYTES + bytes > FUZZ_LOG_BYTES)
        return;
    memcpy(log->bytes + at, &line, sizeof(line));
    memcpy(log->bytes + at + NV_LINE_BYTES, body, bytes);
    state->head[segment] = at + NV_LINE_BYTES + bytes;
    state->chain[segment] = line.kind == NV_RECORD_SPILL ? line.body_hash : 0;
    state->open = line.kind == NV_RECORD_SPILL || line.kind == NV_RECORD_PREPARE;
    log->used = (size_t)nv_max(log->used, state->head[segment]);
}

static void header_make(struct fuzz_log *log, struct fuzz_input *input,
                        const struct nv_file_id *home)
{
    uint8_t changes = fuzz_u8(input);

    log->header = (struct nv_header){
        .magic = NV_LOG_MAGIC,
        .version = NV_LOG_VERSION,
        .state = 1 + changes % 3,
        .generation = 1,
        .home_inode = home->inode,
        .home_birth_ns = home->birth_ns,
        .segment_bytes = changes & 0x40 ? 8192 : 16384,
        .base_bytes = fuzz_number(input, 2),
        .file_bytes = NV_HEADER_BYTES,
        .mark_bytes = changes & 0x80 ? NVMMIO_MARK_BYTES : 0,
        .nonce_at = 72,
    };
    memset(log->header.nonce, 0x11, sizeof(log->header.nonce));
    if (log->header.mark_bytes)
        memset(log->header.mask, 0x5a, 8);
    for (unsigned i = (changes >> 2) % 8; i; i--) { /* anything, anywhere */
        uint16_t at = (uint16_t)(fuzz_number(input, 2) % offsetof(struct nv_header, hash));

        ((uint8_t *)&log->header)[at] = fuzz_u8(input);
    }
    nv_header_finish(&log->header);
}

void fuzz_log_make(struct fuzz_log *log, struct fuzz_input *input, const struct nv_file_id *home)
{
    uint8_t form = fuzz_u8(input);

    memset(log->bytes, 0, FUZZ_LOG_BYTES);
    log->used = NV_HEADER_BYTES;
    if (form & 1) { /* nothing but what is given */
        log->used = input->left < FUZZ_LOG_BYTES ? input->left : FUZZ_LOG_BYTES;
        fuzz_bytes(input, log->bytes, log->used);
    } else {
        struct state state = {.epoch = 1};
        uint64_t segment;

        header_make(log, input, home);
        segment = nv_min(log->header.segment_bytes, FUZZ_LOG_BYTES);
        for (unsigned i = 0; i < NV_SEGMENTS; i++)
            state.head[i] = NV_HEADER_BYTES + i * segment;
        memcpy(log->bytes + (form & 2 ? 4096 : 0), &log->header, sizeof(log->header));
        while (input->left)
            record_make(log, input, &state);
        log->used = (size_t)nv_max(log->used, nv_min(state.head[0] + 65536, FUZZ_LOG_BYTES));
    }
    log->file_bytes = log->used;
    if (form & 4) /* a hole behind it, up to 2 TiB */
        log->file_bytes = nv_max(log->used, UINT64_C(1024) << (form >> 3));
}

void fuzz_log_write(const struct fuzz_log *log, const char *path)
{
    fuzz_write(path, log->bytes, log->used);
    if (truncate(path, (off_t)nv_max(log->file_bytes, log->used)) != 0)
        fuzz_fail("%s cannot be made long", path);
}
