/*
 * base: arithmetic and hashing that every layer needs.  No state; any thread.
 */
#ifndef NV_BASE_H
#define NV_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline uint64_t nv_align_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static inline uint64_t nv_align_down(uint64_t value, uint64_t unit)
{
    return value / unit * unit;
}

static inline uint64_t nv_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t nv_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* As much of `text` as fits, always ended. */
void nv_text_copy(char *to, size_t bytes, const char *text);

/* XXH3, 64 bits (Collet, xxHash); `seed` chains pieces and ties a hash to its place. */
uint64_t nv_hash(const void *data, size_t bytes, uint64_t seed);

/* The same over pieces that come one after the other.  Not for several threads at once. */
struct nv_hasher;
struct nv_hasher *nv_hasher_create(void); /* NULL: no memory */
void nv_hasher_free(struct nv_hasher *hasher);
void nv_hasher_begin(struct nv_hasher *hasher, uint64_t seed);
void nv_hasher_add(struct nv_hasher *hasher, const void *data, size_t bytes);
uint64_t nv_hasher_sum(const struct nv_hasher *hasher); /* of what was added so far */

/* Bit i is set where the 64-byte lines i of a and b differ; both are 4096 bytes. */
uint64_t nv_lines_differing(const uint8_t *a, const uint8_t *b);

#endif
