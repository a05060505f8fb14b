/*
 * settings: what stands in a URI, and what a file's name says about its use.
 *
 *     nvmmio://?medium=dax&streams=wal,sst
 *
 * The environment (NVMMIO_MEDIUM, ...) gives what the URI does not.
 */
#ifndef NVMMIO_ROCKSDB_SETTINGS_H
#define NVMMIO_ROCKSDB_SETTINGS_H

#include <cstdint>
#include <string>

#include <rocksdb/status.h>

#include "core/nvmmio.h"

namespace nv
{

/* Kinds of files, as bits of Settings::streams. */
enum Kind : unsigned {
    kPosix = 0, /* MANIFEST, CURRENT, OPTIONS, IDENTITY, LOG, LOCK: never a stream */
    kWal = 1U << 0,
    kSst = 1U << 1,
    kBlob = 1U << 2,
    kOther =
        1U << 3, /* what RocksDB has no name for: copies of a backup under way, other programs' */
};

struct Settings {
    nvmmio_medium medium = NVMMIO_MEDIUM_AUTO;
    unsigned streams = kWal | kSst | kBlob;
    enum nvmmio_size wal_size =
        NVMMIO_SIZE_AUTO; /* ahead: a sync leaves the journal of ext4 alone */

    /* The same for every way to write the same URI. */
    std::string Canonical() const;
};

/* What RocksDB keeps in a file of this name; `path` may have folders in it. */
Kind KindOf(const std::string &path);

/* Read a URI, and the environment.  A failure names what is wrong, and what would be right. */
rocksdb::Status ReadSettings(const std::string &uri, Settings *settings);

} // namespace nv
#endif
