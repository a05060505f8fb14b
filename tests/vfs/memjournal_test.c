/*
 * The journal in memory against an array of bytes: random reads, writes, gaps,
 * truncates and resets, small ones and such as need the temporary file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "sqlite_vfs/internal.h"
#include "sqlite_vfs/nvmmio_vfs.h"

#define MODEL_BYTES (7 << 20)

struct model {
    uint8_t *data;
    int64_t bytes;
};

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int64_t random_below(int64_t limit)
{
    return (int64_t)(random_next() % (uint64_t)limit);
}

/* As SQLite writes a journal: mostly at the end, sometimes over what is there or past the end. */
static int64_t random_offset(const struct model *model, int64_t bytes)
{
    int64_t offset = model->bytes;

    if (random_below(4) == 0)
        offset = random_below(model->bytes + 1);
    else if (random_below(8) == 0)
        offset = model->bytes + random_below(200000);
    return offset + bytes > MODEL_BYTES ? MODEL_BYTES - bytes : offset;
}

static void step_write(struct nv_memjournal *journal, struct model *model, uint8_t *buffer)
{
    int bytes = (int)(random_below(3) ? random_below(9000) + 1 : random_below(300000) + 1);
    int64_t offset = random_offset(model, bytes);

    for (int i = 0; i < bytes; i++)
        buffer[i] = (uint8_t)random_next();
    assert_int_equal(nv_memjournal_write(journal, buffer, bytes, offset), SQLITE_OK);
    if (offset > model->bytes)
        memset(model->data + model->bytes, 0, (size_t)(offset - model->bytes));
    memcpy(model->data + offset, buffer, (size_t)bytes);
    if (model->bytes < offset + bytes)
        model->bytes = offset + bytes;
}

static void step_read(struct nv_memjournal *journal, const struct model *model, uint8_t *buffer)
{
    int bytes = (int)random_below(200000) + 1;
    int64_t offset = random_below(model->bytes + 5000);
    int64_t there = offset < model->bytes ? model->bytes - offset : 0;
    int code;

    if (there > bytes)
        there = bytes;
    memset(buffer, 0xee, (size_t)bytes);
    code = nv_memjournal_read(journal, buffer, bytes, offset);
    assert_int_equal(code, there == bytes ? SQLITE_OK : SQLITE_IOERR_SHORT_READ);
    assert_memory_equal(buffer, model->data + offset, (size_t)there);
    for (int64_t i = there; i < bytes; i++)
        assert_int_equal(buffer[i], 0);
}

static void step_truncate(struct nv_memjournal *journal, struct model *model)
{
    int64_t bytes =
        random_below(2) ? random_below(model->bytes + 1) : random_below(MODEL_BYTES - 300000);

    if (random_below(4) == 0)
        bytes = 0;
    assert_int_equal(nv_memjournal_truncate(journal, bytes), SQLITE_OK);
    if (bytes > model->bytes)
        memset(model->data + model->bytes, 0, (size_t)(bytes - model->bytes));
    model->bytes = bytes;
}

static void run(uint64_t seed, int steps, int *spills)
{
    struct nv_memjournal journal = {0};
    struct model model = {malloc(MODEL_BYTES + 8192), 0};
    uint8_t *buffer = malloc(300001);

    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (int i = 0; i < steps; i++) {
        switch (random_below(16)) {
        case 0:
            step_truncate(&journal, &model);
            break;
        case 1:
            if (random_below(8) == 0) {
                nv_memjournal_reset(&journal);
                model.bytes = 0;
            }
            break;
        case 2:
        case 3:
        case 4:
        case 5:
            step_read(&journal, &model, buffer);
            break;
        default:
            step_write(&journal, &model, buffer);
            break;
        }
        assert_int_equal(journal.bytes, model.bytes);
        *spills += journal.spill != NULL;
    }
    nv_memjournal_free(&journal);
    free(model.data);
    free(buffer);
}

static void equals_an_array(void **state)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    int spills = 0;

    (void)state;
    print_message("seed %llu; replay: SEED=%llu tests/vfs/memjournal_test\n",
                  (unsigned long long)seed, (unsigned long long)seed);
    for (int i = 0; i < 12; i++)
        run(seed + (uint64_t)i, 400, &spills);
    assert_true(spills > 0); /* or it has not tested the temporary file */
}

static void keeps_little_memory(void **state)
{
    struct nv_memjournal journal = {0};
    char byte = 1;

    (void)state;
    for (int64_t at = 0; at < 5 << 20; at += 1000)
        assert_int_equal(nv_memjournal_write(&journal, &byte, 1, at), SQLITE_OK);
    assert_non_null(journal.spill);
    assert_non_null(journal.chunks[NV_CHUNKS_MAX - 1]);
    nv_memjournal_reset(&journal);
    assert_null(journal.spill);
    assert_null(journal.chunks[NV_CHUNKS_KEPT]);
    assert_non_null(journal.chunks[NV_CHUNKS_KEPT - 1]);
    assert_int_equal(nv_memjournal_read(&journal, &byte, 1, 0), SQLITE_IOERR_SHORT_READ);
    nv_memjournal_free(&journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_an_array),
        cmocka_unit_test(keeps_little_memory),
    };

    if (nvmmio_vfs_register(0) != SQLITE_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
