/*
 * load_grow: one file that only grows, a block a transaction.  Nothing but the commits
 * makes anything durable meanwhile: what a first store to a page changes in the file
 * system has to be by itself, which is what MAP_SYNC is for.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/dax/load.h"

#define BLOCK 4096
/* Then the file begins anew, in one commit. */
#define BLOCKS_MAX 4000

static void block_make(uint64_t *block, uint64_t seed, uint64_t number)
{
    for (uint64_t i = 0; i < BLOCK / sizeof(*block); i++)
        block[i] = number * UINT64_C(0x9e3779b97f4a7c15) + seed + i;
    block[0] = number;
}

/* Blocks that transaction `number` leaves. */
static uint64_t blocks_of(uint64_t number)
{
    return number ? (number - 1) % BLOCKS_MAX + 1 : 0;
}

static uint64_t grow_check(struct nvmmio *handle, uint64_t seed)
{
    uint64_t want[BLOCK / sizeof(uint64_t)], got[BLOCK / sizeof(uint64_t)];
    int64_t bytes = nvmmio_size(handle);
    uint64_t blocks, number;

    check_ok(bytes);
    check_eq(bytes % BLOCK, 0);
    blocks = (uint64_t)bytes / BLOCK;
    if (blocks == 0)
        return 0;
    check_eq(nvmmio_pread(handle, got, BLOCK, (blocks - 1) * BLOCK), BLOCK);
    number = got[0];
    check_note("grow, transaction %llu in the last of %llu blocks", (unsigned long long)number,
               (unsigned long long)blocks);
    check_eq(blocks_of(number), blocks);
    for (uint64_t i = 0; i < blocks; i++) {
        block_make(want, seed, number - (blocks - 1) + i);
        check_eq(nvmmio_pread(handle, got, BLOCK, i * BLOCK), BLOCK);
        if (memcmp(got, want, BLOCK) != 0)
            check_fail("block %llu of %llu is not what transaction %llu wrote",
                       (unsigned long long)i, (unsigned long long)blocks,
                       (unsigned long long)(number - (blocks - 1) + i));
    }
    return number;
}

static _Noreturn void grow_run(const char *directory, uint64_t seed, load_acknowledge *acknowledge,
                               void *context)
{
    struct nvmmio *handle = engine_open(load_path(directory, load_grow.files[0]));
    uint64_t block[BLOCK / sizeof(uint64_t)];
    uint64_t number = grow_check(handle, seed);

    for (;;) {
        acknowledge(context, number++);
        if (blocks_of(number) == 1)
            check_ok(nvmmio_truncate(handle, 0));
        block_make(block, seed, number);
        engine_write(handle, block, BLOCK, (blocks_of(number) - 1) * BLOCK);
        check_ok(nvmmio_sync(handle));
    }
}

static uint64_t grow_verify(const char *directory, uint64_t seed)
{
    const char *path = load_path(directory, load_grow.files[0]);
    struct nvmmio *handle = engine_open(path);
    uint64_t number = grow_check(handle, seed);

    engine_close(handle);
    engine_check_plain(path);
    return number;
}

const struct load load_grow = {"grow", grow_run, grow_verify, {"grow.dat"}};
