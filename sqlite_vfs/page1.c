/* page1: the head of a database, read with and without its mark (mark.h). */
#include <string.h>

#include "sqlite_vfs/internal.h"

#define NV_PAGE1_MAGIC_BYTES 16

static const char magic[NV_PAGE1_MAGIC_BYTES] = "SQLite format 3";

void nv_page1_parse(struct nv_page1 *page1)
{
    const uint8_t *bytes = page1->bytes;
    bool ours = memcmp(bytes, magic, sizeof magic) == 0;
    unsigned write_version = bytes[NV_PAGE1_WRITE_VERSION] ^ NV_MARK_VERSION_MASK;
    unsigned read_version = bytes[NV_PAGE1_READ_VERSION] ^ NV_MARK_VERSION_MASK;

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
