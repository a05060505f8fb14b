/*
 * stream_size: the size of a stream whose file is ahead of it, as the file tells
 * it.
 *
 * Nothing is believed before its hash is right.  A slot whose data did not all
 * get to the medium still says how much was durable before it.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"
#include "core/stream.h"

#define CHUNK_BYTES ((size_t)256 << 10)
#define TRIES 4 /* a live writer may be at one slot, and then at the other */

/* Whether the bytes between slot->durable and slot->bytes are those that it speaks of. */
static int data_there(struct nv_file *file, const struct nv_size_slot *slot, bool *there)
{
    *there = slot->durable == slot->bytes;
    if (*there)
        return 0;
    struct nv_hasher *hasher = nv_hasher_create();
    uint8_t *buffer = malloc((size_t)nv_min(CHUNK_BYTES, slot->bytes - slot->durable));
    int error = hasher && buffer ? 0 : -ENOMEM;
    if (hasher)
        nv_hasher_begin(hasher, slot->durable);
    for (uint64_t at = slot->durable; !error && at < slot->bytes;) {
        const size_t part = (size_t)nv_min(CHUNK_BYTES, slot->bytes - at);
        const ssize_t got = file->os->pread(file, buffer, part, at);
        if (got < 0)
            error = (int)got;
        else if ((size_t)got < part)
            break; /* cut meanwhile */
        else
            nv_hasher_add(hasher, buffer, part);
        at += part;
    }
    if (!error)
        *there = nv_hasher_sum(hasher) == slot->data_hash;
    free(buffer);
    nv_hasher_free(hasher);
    return error;
}

/* The size block that ends at `end`, if there is one: sets found->ahead. */
static int look(struct nv_file *file, const struct nv_file_id *id, uint64_t end,
                struct nv_size_found *found)
{
    uint8_t block[NV_SIZE_SLOT_BYTES + sizeof(struct nv_size_slot)];
    const ssize_t got = file->os->pread(file, block, sizeof(block), end - NV_SIZE_BLOCK_BYTES);
    if (got < 0)
        return (int)got;
    struct nv_size_slot slot[2] = {{.seq = 0}, {.seq = 0}};
    bool valid[2] = {false, false};
    for (unsigned i = 0; i < 2 && (size_t)got == sizeof(block); i++) {
        memcpy(&slot[i], block + (size_t)i * NV_SIZE_SLOT_BYTES, sizeof(slot[i]));
        valid[i] = nv_size_slot_valid(&slot[i], id, end);
    }
    if (!valid[0] && !valid[1])
        return 0;
    const unsigned newer = valid[1] && (!valid[0] || slot[1].seq > slot[0].seq);
    const unsigned older = 1 - newer;
    bool there = false;
    int error = data_there(file, &slot[newer], &there);
    found->ahead = true;
    found->end = end;
    found->durable = slot[newer].durable;
    found->bytes = there ? slot[newer].bytes : slot[newer].durable;
    if (error || there || !valid[older] || slot[older].bytes <= found->bytes)
        return error;
    error = data_there(file, &slot[older], &there);
    if (there)
        found->bytes = slot[older].bytes;
    return error;
}

int nv_size_find(struct nv_file *file, struct nv_size_found *found)
{
    struct nv_file_stat stat;
    *found = (struct nv_size_found){.ahead = false};
    int error = file->os->stat(file, &stat);
    for (int i = 0; !error && !found->ahead && i < TRIES; i++) {
        found->bytes = found->file_bytes = stat.bytes;
        if (stat.bytes == 0 || stat.bytes % NV_SIZE_STEP_BYTES)
            return 0;
        /* A writer that died while it grew left the block where the file ended before. */
        for (uint64_t end = stat.bytes; !error && !found->ahead && end; end -= NV_SIZE_STEP_BYTES)
            error = look(file, &stat.id, end, found);
        if (!error && !found->ahead) {
            const uint64_t before = stat.bytes;
            error = file->os->stat(file, &stat);
            if (stat.bytes == before && i)
                break;
        }
    }
    return error;
}

int nv_size_write_again(struct nv_file *file, uint64_t from, uint64_t to)
{
    if (from == to)
        return 0;
    uint8_t *buffer = malloc((size_t)nv_min(CHUNK_BYTES, to - from));
    int error = buffer ? 0 : -ENOMEM;
    while (!error && from < to) {
        const size_t part = (size_t)nv_min(CHUNK_BYTES, to - from);
        const ssize_t got = file->os->pread(file, buffer, part, from);
        const struct iovec iov = {.iov_base = buffer, .iov_len = part};
        if (got < 0)
            error = (int)got;
        else if ((size_t)got < part)
            error = -EIO;
        else
            error = file->os->pwritev(file, &iov, 1, from);
        from += part;
    }
    free(buffer);
    return error;
}

int nv_size_recover(struct nv_file *file, struct nv_size_found *found)
{
    int error = nv_size_find(file, found);
    if (error || !found->ahead)
        return error;
    /* What was accepted is written again: whoever died may not have come to its fence, or died in
     * it.  The data before the size: one that is durable without them would end in zeros. */
    error = nv_size_write_again(file, found->durable, found->bytes);
    if (!error)
        error = file->os->sync_data(file);
    if (!error)
        error = file->os->truncate(file, found->bytes);
    if (!error)
        error = file->os->sync_data(file);
    if (!error)
        found->file_bytes = found->bytes;
    return error;
}
