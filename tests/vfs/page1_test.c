/*
 * The mark on a database's header: what a stock SQLite makes of it, and that it
 * can be told from every header that SQLite itself writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "sqlite_vfs/internal.h"

/* Home = content XOR mask, and the nonce, as nvmmio.h says. */
static void mark(struct nv_page1 *page1)
{
    for (unsigned i = 0; i < nv_page1_mark.bytes; i++)
        page1->bytes[i] ^= nv_page1_mark.mask[i];
    for (unsigned i = 0; i < NVMMIO_NONCE_BYTES; i++)
        page1->bytes[nv_page1_mark.nonce_at + i] ^= (uint8_t)(i * 37 + 1);
}

static struct nv_page1 content(uint8_t version)
{
    struct nv_page1 page1 = {{0}, false, false};

    memcpy(page1.bytes, "SQLite format 3", 16);
    page1.bytes[16] = 16;
    page1.bytes[18] = version;
    page1.bytes[19] = version;
    for (int i = 20; i < 72; i++)
        page1.bytes[i] = (uint8_t)(i * 3);
    for (int i = 92; i < 100; i++)
        page1.bytes[i] = (uint8_t)(i * 5);
    nv_page1_parse(&page1);
    return page1;
}

static void a_stock_sqlite_refuses_it(void **state)
{
    (void)state;
    for (uint8_t version = 1; version <= 2; version++) {
        struct nv_page1 plain = content(version);
        struct nv_page1 page1 = plain;

        mark(&page1);
        /* Above 2 it cannot write (18), cannot read (19). */
        assert_true(page1.bytes[18] > 2 && page1.bytes[19] > 2);
        /* One that has page 1 cached reads it again when these 16 bytes change. */
        assert_memory_not_equal(page1.bytes + 24, plain.bytes + 24, 16);
        /* The page count of the header counts when these agree. */
        assert_int_equal(page1.bytes[24] ^ plain.bytes[24], page1.bytes[92] ^ plain.bytes[92]);
    }
    assert_memory_equal(nv_page1_mark.empty, "SQLite format 3", 16);
    assert_true(nv_page1_mark.empty[18] > 2 && nv_page1_mark.empty[19] > 2);
    assert_true(nv_page1_mark.nonce_at + NVMMIO_NONCE_BYTES <= 92);
}

static void it_is_told_from_a_plain_one(void **state)
{
    struct nv_page1 page1;

    (void)state;
    for (uint8_t version = 0; version <= 2; version++) {
        page1 = content(version);
        assert_false(page1.marked);
        assert_int_equal(page1.wal, version == 2);
        mark(&page1);
        nv_page1_parse(&page1);
        assert_true(page1.marked);
        assert_false(page1.wal);
    }
    memcpy(page1.bytes, nv_page1_mark.empty, sizeof page1.bytes);
    nv_page1_parse(&page1);
    assert_true(page1.marked);
    memset(&page1, 0, sizeof page1);
    nv_page1_parse(&page1);
    assert_false(page1.marked || page1.wal);
    memset(page1.bytes, 5, sizeof page1.bytes); /* no database */
    nv_page1_parse(&page1);
    assert_false(page1.marked || page1.wal);
    page1 = content(3); /* of an SQLite yet to come */
    assert_false(page1.marked);
}

static void reads_without_a_lock_do_not_show_it(void **state)
{
    struct nv_page1 plain = content(1);
    struct nv_page1 page1 = plain;
    uint8_t buffer[NV_PAGE1_BYTES + 28];

    (void)state;
    mark(&page1);
    nv_page1_parse(&page1);
    for (int offset = 0; offset <= NV_PAGE1_BYTES; offset++) {
        for (int bytes = 1; offset + bytes <= NV_PAGE1_BYTES + 28; bytes += 9) {
            uint8_t expected[NV_PAGE1_BYTES + 28];

            memset(expected, 0xee, sizeof expected);
            memcpy(expected, page1.bytes, NV_PAGE1_BYTES);
            memcpy(buffer, expected + offset, (size_t)bytes);
            memcpy(expected, plain.bytes, NV_PAGE1_BYTES);
            nv_page1_unmark(&page1, buffer, bytes, offset);
            assert_memory_equal(buffer, expected + offset, (size_t)bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stock_sqlite_refuses_it),
        cmocka_unit_test(it_is_told_from_a_plain_one),
        cmocka_unit_test(reads_without_a_lock_do_not_show_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
