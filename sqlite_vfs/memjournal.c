/*
 * memjournal: a file in the memory of this process, for the rollback journal of
 * a native database.  Nobody needs it after a crash, since what it would undo
 * was never in home; SQLite reads it back on ROLLBACK.
 *
 * Four MiB stay in memory; what lies beyond goes to a temporary file, without a
 * name, through a window of one chunk: a VACUUM must not need a database's size
 * in memory.
 *
 * Threads: used by its database's only.
 */
#include <string.h>

#include "sqlite_vfs/internal.h"

#define NV_MEMORY_BYTES ((int64_t)NV_CHUNK_BYTES * NV_CHUNKS_MAX)

struct nv_spill {
    sqlite3_file *file; /* the unix VFS's; its memory follows this struct */
    int64_t file_bytes; /* written so far */
    int64_t index;      /* of the chunk in the window, the first spilled one being 0; -1: none */
    bool dirty;
    uint8_t window[NV_CHUNK_BYTES];
};

static void spill_close(struct nv_memjournal *journal)
{
    struct nv_spill *spill = journal->spill;

    if (!spill)
        return;
    journal->spill = NULL;
    if (spill->file->pMethods)
        spill->file->pMethods->xClose(spill->file);
    sqlite3_free(spill);
}

static int spill_open(struct nv_memjournal *journal)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE |
                      SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_TEMP_JOURNAL;
    sqlite3_vfs *base = nv_vfs_base();
    struct nv_spill *spill;
    int code;

    spill = sqlite3_malloc64(sizeof *spill + (sqlite3_uint64)base->szOsFile);
    if (!spill)
        return SQLITE_IOERR_NOMEM;
    memset(spill + 1, 0, (size_t)base->szOsFile);
    spill->file = (sqlite3_file *)(spill + 1);
    spill->file_bytes = 0;
    spill->index = -1;
    spill->dirty = false;
    journal->spill = spill;
    code = base->xOpen(base, NULL, spill->file, flags, NULL);
    if (code != SQLITE_OK)
        spill_close(journal);
    return code;
}

/* Have chunk `index` of the spilled ones in the window. */
static int spill_turn(struct nv_spill *spill, int64_t index)
{
    const sqlite3_io_methods *methods = spill->file->pMethods;
    int code;

    if (spill->index == index)
        return SQLITE_OK;
    if (spill->dirty) {
        int64_t at = spill->index * NV_CHUNK_BYTES;

        code = methods->xWrite(spill->file, spill->window, NV_CHUNK_BYTES, at);
        if (code != SQLITE_OK)
            return code;
        if (spill->file_bytes < at + NV_CHUNK_BYTES)
            spill->file_bytes = at + NV_CHUNK_BYTES;
        spill->dirty = false;
    }
    spill->index = -1;
    if (index * NV_CHUNK_BYTES < spill->file_bytes) {
        code = methods->xRead(spill->file, spill->window, NV_CHUNK_BYTES, index * NV_CHUNK_BYTES);
        if (code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ)
            return code;
    } else {
        memset(spill->window, 0, NV_CHUNK_BYTES);
    }
    spill->index = index;
    return SQLITE_OK;
}

/* The bytes of chunk `index`, to be read; NULL: zeros, it was never written. */
static int chunk_for_read(struct nv_memjournal *journal, int64_t index, const uint8_t **chunk)
{
    int code;

    *chunk = NULL;
    if (index < NV_CHUNKS_MAX) {
        *chunk = journal->chunks[index];
        return SQLITE_OK;
    }
    if (!journal->spill)
        return SQLITE_OK;
    code = spill_turn(journal->spill, index - NV_CHUNKS_MAX);
    if (code == SQLITE_OK)
        *chunk = journal->spill->window;
    return code;
}

static int chunk_for_write(struct nv_memjournal *journal, int64_t index, uint8_t **chunk)
{
    int code;

    if (index < NV_CHUNKS_MAX) {
        if (NV_UNLIKELY(!journal->chunks[index])) {
            journal->chunks[index] = sqlite3_malloc(NV_CHUNK_BYTES);
            if (!journal->chunks[index])
                return SQLITE_IOERR_NOMEM;
        }
        *chunk = journal->chunks[index];
        return SQLITE_OK;
    }
    if (!journal->spill) {
        code = spill_open(journal);
        if (code != SQLITE_OK)
            return code;
    }
    code = spill_turn(journal->spill, index - NV_CHUNKS_MAX);
    if (code != SQLITE_OK)
        return code;
    journal->spill->dirty = true;
    *chunk = journal->spill->window;
    return SQLITE_OK;
}

/* Put `bytes` bytes at `offset`; zeros if `data` is NULL.  The size is the caller's affair. */
static int put(struct nv_memjournal *journal, const uint8_t *data, int64_t bytes, int64_t offset)
{
    while (bytes > 0) {
        int64_t within = offset % NV_CHUNK_BYTES;
        int64_t part = NV_CHUNK_BYTES - within < bytes ? NV_CHUNK_BYTES - within : bytes;
        uint8_t *chunk;
        int code = chunk_for_write(journal, offset / NV_CHUNK_BYTES, &chunk);

        if (NV_UNLIKELY(code != SQLITE_OK))
            return code;
        if (data) {
            memcpy(chunk + within, data, (size_t)part);
            data += part;
        } else {
            memset(chunk + within, 0, (size_t)part);
        }
        offset += part;
        bytes -= part;
    }
    return SQLITE_OK;
}

int nv_memjournal_write(struct nv_memjournal *journal, const void *data, int bytes, int64_t offset)
{
    int code;

    if (NV_UNLIKELY(offset > journal->bytes)) { /* chunks are kept: a gap holds old bytes */
        code = put(journal, NULL, offset - journal->bytes, journal->bytes);
        if (code != SQLITE_OK)
            return code;
        journal->bytes = offset;
    }
    code = put(journal, data, bytes, offset);
    if (NV_LIKELY(code == SQLITE_OK) && journal->bytes < offset + bytes)
        journal->bytes = offset + bytes;
    return code;
}

int nv_memjournal_read(struct nv_memjournal *journal, void *buffer, int bytes, int64_t offset)
{
    uint8_t *out = buffer;
    int64_t left = offset < journal->bytes ? journal->bytes - offset : 0;

    if (left > bytes)
        left = bytes;
    memset(out + left, 0, (size_t)(bytes - left));
    for (int64_t done = 0; done < left;) {
        int64_t at = offset + done;
        int64_t within = at % NV_CHUNK_BYTES;
        int64_t part =
            NV_CHUNK_BYTES - within < left - done ? NV_CHUNK_BYTES - within : left - done;
        const uint8_t *chunk;
        int code = chunk_for_read(journal, at / NV_CHUNK_BYTES, &chunk);

        if (code != SQLITE_OK)
            return code;
        if (chunk)
            memcpy(out + done, chunk + within, (size_t)part);
        else
            memset(out + done, 0, (size_t)part);
        done += part;
    }
    return left == bytes ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int nv_memjournal_truncate(struct nv_memjournal *journal, int64_t bytes)
{
    if (bytes > journal->bytes) {
        int code = put(journal, NULL, bytes - journal->bytes, journal->bytes);

        if (code != SQLITE_OK)
            return code;
    }
    journal->bytes = bytes;
    if (bytes <= NV_MEMORY_BYTES)
        spill_close(journal);
    return SQLITE_OK;
}

void nv_memjournal_reset(struct nv_memjournal *journal)
{
    bool large = journal->bytes > (int64_t)NV_CHUNK_BYTES * NV_CHUNKS_KEPT;

    journal->bytes = 0;
    if (NV_LIKELY(!large))
        return;
    spill_close(journal);
    for (int i = NV_CHUNKS_KEPT; i < NV_CHUNKS_MAX; i++) {
        sqlite3_free(journal->chunks[i]);
        journal->chunks[i] = NULL;
    }
}

void nv_memjournal_free(struct nv_memjournal *journal)
{
    spill_close(journal);
    for (int i = 0; i < NV_CHUNKS_MAX; i++) {
        sqlite3_free(journal->chunks[i]);
        journal->chunks[i] = NULL;
    }
    journal->bytes = 0;
}
