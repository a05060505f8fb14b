#include "core/base.h"

#include <string.h>

#include <xxh_x86dispatch.h>
#include <xxhash.h>

uint64_t nv_hash(const void *data, size_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed_dispatch(data, bytes, seed);
}

/* The state of XXH3 has an alignment that only its own allocator knows. */
static XXH3_state_t *state_of(const struct nv_hasher *hasher)
{
    return (XXH3_state_t *)(uintptr_t)hasher;
}

struct nv_hasher *nv_hasher_create(void)
{
    return (struct nv_hasher *)(void *)XXH3_createState();
}

void nv_hasher_free(struct nv_hasher *hasher)
{
    if (hasher)
        (void)XXH3_freeState(state_of(hasher));
}

void nv_hasher_begin(struct nv_hasher *hasher, uint64_t seed)
{
    (void)XXH3_64bits_reset_withSeed(state_of(hasher), seed);
}

void nv_hasher_add(struct nv_hasher *hasher, const void *data, size_t bytes)
{
    (void)XXH3_64bits_update_dispatch(state_of(hasher), data, bytes);
}

uint64_t nv_hasher_sum(const struct nv_hasher *hasher)
{
    return XXH3_64bits_digest(state_of(hasher));
}

void nv_text_copy(char *to, size_t bytes, const char *text)
{
    size_t length = strnlen(text, bytes - 1);
    memcpy(to, text, length);
    to[length] = 0;
}

typedef uint64_t vector __attribute__((vector_size(64), aligned(1), may_alias));

/* A sanitizer's run time is not there yet when the loader picks a clone. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CLONES
#else
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#endif

CLONES uint64_t nv_lines_differing(const uint8_t *a, const uint8_t *b)
{
    uint64_t lines = 0;
    for (unsigned i = 0; i < 64; i++) {
        const vector *va = (const vector *)(const void *)(a + i * 64u);
        const vector *vb = (const vector *)(const void *)(b + i * 64u);
        vector x = *va ^ *vb;
        uint64_t any = (x[0] | x[1]) | (x[2] | x[3]) | ((x[4] | x[5]) | (x[6] | x[7]));
        lines |= (uint64_t)(any != 0) << i;
    }
    return lines;
}
