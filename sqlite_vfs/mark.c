#include "sqlite_vfs/mark.h"

#define MASK NV_MARK_VERSION_MASK
#define COUNTER_MASK 0x80
enum { CHANGE_COUNTER = 24 };

const struct nvmmio_mark nv_page1_mark = {
    .bytes = NV_PAGE1_BYTES,
    .nonce_at = NV_PAGE1_NONCE,
    .mask =
        {
            [NV_PAGE1_WRITE_VERSION] = MASK,
            [NV_PAGE1_READ_VERSION] = MASK,
            [CHANGE_COUNTER] = COUNTER_MASK,
            [NV_PAGE1_RESERVED_END] = COUNTER_MASK,
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
