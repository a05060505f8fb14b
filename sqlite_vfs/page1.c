/*
 * page1: the head of a database, and the mark that it carries while a log of
 * the engine lives.
 *
 * The mark makes a stock SQLite refuse the file, whatever it has cached:
 *  - the read and write versions (18, 19) turn into numbers that it does not
 *    know, for both values that they have (1, rollback journal; 2, WAL): a mask
 *    of 2, which makes 3 of the first, would turn the second into an innocent 0;
 *  - the change counter (24) and its copy (92) change, so that a connection which
 *    has page 1 in its cache reads it again;
 *  - 16 of the reserved bytes (72) take the log's nonce, which ties home to its
 *    log.
 * An empty database has no page 1; its home begins with an empty header then.
 */
#include <string.h>

#include "sqlite_vfs/internal.h"

#define NV_PAGE1_MAGIC_BYTES 16
#define NV_PAGE1_MASK 4
#define NV_PAGE1_COUNTER_MASK 0x80
enum { NV_PAGE1_COUNTER = 24, NV_PAGE1_NONCE = 72, NV_PAGE1_RESERVED_END = 92 };

static const char magic[NV_PAGE1_MAGIC_BYTES] = "SQLite format 3";

const struct nvmmio_mark nv_page1_mark = {
    .bytes = NV_PAGE1_BYTES,
    .nonce_at = NV_PAGE1_NONCE,
    .mask =
        {
            [NV_PAGE1_WRITE_VERSION] = NV_PAGE1_MASK,
            [NV_PAGE1_READ_VERSION] = NV_PAGE1_MASK,
            [NV_PAGE1_COUNTER] = NV_PAGE1_COUNTER_MASK,
            [NV_PAGE1_RESERVED_END] = NV_PAGE1_COUNTER_MASK,
        },
    /* No page size: who reads this before it is gone shall not take it for his own. */
    .empty = "SQLite format 3\0"
             "\0\0" /* page size */
             "\5\5" /* versions, masked */
             "\0\100\40\40",
    .sign = "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1"
            "\0\0"
            "\1\1",
};

void nv_page1_parse(struct nv_page1 *page1)
{
    const uint8_t *bytes = page1->bytes;
    bool ours = memcmp(bytes, magic, sizeof magic) == 0;
    unsigned write_version = bytes[NV_PAGE1_WRITE_VERSION] ^ NV_PAGE1_MASK;
    unsigned read_version = bytes[NV_PAGE1_READ_VERSION] ^ NV_PAGE1_MASK;

    page1->marked = ours && write_version <= 2 && read_version <= 2;
    page1->wal = ours && bytes[NV_PAGE1_READ_VERSION] == 2;
}

int nv_page1_read(struct nv_database *db, struct nv_page1 *page1)
{
    int code = db->file->pMethods->xRead(db->file, page1->bytes, NV_PAGE1_BYTES, 0);

    if (code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ)
        return code;
    nv_page1_parse(page1);
    return SQLITE_OK;
}

void nv_page1_unmark(const struct nv_page1 *page1, void *buffer, int bytes, int64_t offset)
{
    uint8_t *out = buffer;

    if (!page1->marked)
        return;
    for (int64_t at = offset; at < offset + bytes && at < NV_PAGE1_BYTES; at++) {
        uint8_t *byte = &out[at - offset];

        if (at >= NV_PAGE1_NONCE && at < NV_PAGE1_RESERVED_END)
            *byte = 0; /* reserved: a database has zeros there */
        else
            *byte ^= nv_page1_mark.mask[at];
    }
}
