#include "core/overlay.h"

#include <stdlib.h>
#include <string.h>

#define LINEAR_MAX 8u   /* so few blocks are searched one by one */
#define SPARE_MAX 1024u /* buffers kept between transactions: 4 MiB */

void nv_overlay_init(struct nv_overlay *overlay)
{
    *overlay = (struct nv_overlay){.zero_from = NV_NO_ZERO};
}

void nv_overlay_free(struct nv_overlay *overlay)
{
    nv_overlay_reset(overlay);
    for (size_t i = 0; i < overlay->spare_count; i++)
        free(overlay->spare[i]);
    free(overlay->spare);
    free(overlay->blocks);
    free(overlay->index);
    nv_overlay_init(overlay);
}

static uint8_t *buffer_take(struct nv_overlay *overlay)
{
    if (overlay->spare_count)
        return overlay->spare[--overlay->spare_count];
    return aligned_alloc(NV_LINE_BYTES, NV_BLOCK_BYTES);
}

static void buffer_give(struct nv_overlay *overlay, uint8_t *buffer)
{
    if (!overlay->spare)
        overlay->spare = calloc(SPARE_MAX, sizeof(uint8_t *));
    if (overlay->spare && overlay->spare_count < SPARE_MAX)
        overlay->spare[overlay->spare_count++] = buffer;
    else
        free(buffer);
}

static size_t hash_block(uint64_t block)
{
    return (size_t)(block * UINT64_C(0x9e3779b97f4a7c15) >> 20);
}

static void index_put(struct nv_overlay *overlay, size_t position)
{
    size_t mask = overlay->index_slots - 1;
    size_t at = hash_block(overlay->blocks[position].block) & mask;
    while (overlay->index[at])
        at = (at + 1) & mask;
    overlay->index[at] = (uint32_t)position + 1;
}

static void index_build(struct nv_overlay *overlay)
{
    if (!overlay->index_slots)
        return;
    memset(overlay->index, 0, overlay->index_slots * sizeof *overlay->index);
    for (size_t i = 0; i < overlay->count; i++)
        index_put(overlay, i);
}

static bool grow(struct nv_overlay *overlay)
{
    size_t capacity = overlay->capacity ? overlay->capacity * 2 : 16;
    struct nv_staged *blocks = realloc(overlay->blocks, capacity * sizeof *blocks);
    if (!blocks)
        return false;
    overlay->blocks = blocks;
    uint32_t *index = calloc(capacity * 2, sizeof *index);
    if (!index)
        return false;
    free(overlay->index);
    overlay->index = index;
    overlay->index_slots = capacity * 2;
    overlay->capacity = capacity;
    index_build(overlay);
    return true;
}

struct nv_staged *nv_overlay_find(const struct nv_overlay *overlay, uint64_t block)
{
    if (overlay->count <= LINEAR_MAX) {
        for (size_t i = overlay->count; i-- > 0;)
            if (overlay->blocks[i].block == block)
                return &overlay->blocks[i];
        return NULL;
    }
    size_t mask = overlay->index_slots - 1;
    for (size_t at = hash_block(block) & mask; overlay->index[at]; at = (at + 1) & mask) {
        struct nv_staged *staged = &overlay->blocks[overlay->index[at] - 1];
        if (staged->block == block)
            return staged;
    }
    return NULL;
}

struct nv_staged *nv_overlay_add(struct nv_overlay *overlay, uint64_t block)
{
    struct nv_staged *staged = nv_overlay_find(overlay, block);
    if (staged)
        return staged;
    if (overlay->count == overlay->capacity && !grow(overlay))
        return NULL;
    uint8_t *data = buffer_take(overlay);
    if (!data)
        return NULL;
    staged = &overlay->blocks[overlay->count++];
    *staged = (struct nv_staged){.block = block, .data = data};
    if (overlay->count > LINEAR_MAX) {
        if (overlay->count == LINEAR_MAX + 1)
            index_build(overlay);
        else
            index_put(overlay, overlay->count - 1);
    }
    overlay->in_memory++;
    return staged;
}

bool nv_overlay_unspill(struct nv_overlay *overlay, struct nv_staged *staged)
{
    staged->data = buffer_take(overlay);
    if (!staged->data)
        return false;
    overlay->in_memory++;
    return true;
}

void nv_overlay_spill(struct nv_overlay *overlay, struct nv_staged *staged, uint64_t offset)
{
    buffer_give(overlay, staged->data);
    staged->data = NULL;
    staged->dirty = NV_ALL_LINES;
    staged->spilled_at = offset;
    overlay->in_memory--;
}

static void drop(struct nv_overlay *overlay, struct nv_staged *staged)
{
    if (!staged->data)
        return;
    buffer_give(overlay, staged->data);
    staged->data = NULL;
    overlay->in_memory--;
}

void nv_overlay_cut(struct nv_overlay *overlay, uint64_t block)
{
    size_t kept = 0;
    for (size_t i = 0; i < overlay->count; i++) {
        if (overlay->blocks[i].block >= block)
            drop(overlay, &overlay->blocks[i]);
        else
            overlay->blocks[kept++] = overlay->blocks[i];
    }
    if (kept == overlay->count)
        return;
    overlay->count = kept;
    index_build(overlay);
}

static int by_block(const void *a, const void *b)
{
    uint64_t x = ((const struct nv_staged *)a)->block;
    uint64_t y = ((const struct nv_staged *)b)->block;
    return (x > y) - (x < y);
}

void nv_overlay_sort(struct nv_overlay *overlay)
{
    bool sorted = true;
    for (size_t i = 1; i < overlay->count && sorted; i++)
        sorted = overlay->blocks[i - 1].block < overlay->blocks[i].block;
    if (sorted)
        return;
    qsort(overlay->blocks, overlay->count, sizeof *overlay->blocks, by_block);
    index_build(overlay);
}

void nv_overlay_reset(struct nv_overlay *overlay)
{
    for (size_t i = 0; i < overlay->count; i++)
        drop(overlay, &overlay->blocks[i]);
    /* Few blocks leave the index unused; many are cheaper to forget than to search. */
    overlay->count = 0;
    overlay->active = false;
    overlay->zero_from = NV_NO_ZERO;
}
