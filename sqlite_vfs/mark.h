/*
 * mark: what the head of a database carries while a log of the engine lives.
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
 *
 * A library of its own: the tool looks for the mark too, without SQLite.
 */
#ifndef SQLITE_VFS_MARK_H
#define SQLITE_VFS_MARK_H

#include "core/nvmmio.h"

#define NV_PAGE1_BYTES 100
#define NV_MARK_VERSION_MASK 4
enum {
    NV_PAGE1_WRITE_VERSION = 18,
    NV_PAGE1_READ_VERSION = 19,
    NV_PAGE1_NONCE = 72,
    NV_PAGE1_RESERVED_END = 92
};

extern const struct nvmmio_mark nv_page1_mark;

#endif
