/*
 * stream_write: appends, syncs, and what they need of the file.
 *
 * Exact: an append is one write, a sync one fdatasync.
 *
 * Ahead, mapped: an append is a copy, a slot of the size block, and one fence
 * for both: the slot's hash tells whether its data came along.  So each append
 * is durable as it returns, and whatever follows it cannot be without it.  From
 * HASH_BYTES_MAX on a second fence costs less than the hash.
 *
 * Ahead, not mapped: the same through the kernel, and the sync is what makes it
 * durable: the slot's hash is of all that came since the last one.
 */
#include <errno.h>

#include "core/base.h"
#include "core/error.h"
#include "core/stream.h"

#define HASH_BYTES_MAX 4096u
#define AHEAD_BYTES_MAX ((uint64_t)64 << 20) /* what one growth takes more than is needed */
#define WARM_BYTES ((uint64_t)256 << 10)     /* what is made ready for appends at once */
#define LONG_BYTES ((size_t)32 << 10)        /* an append from here on is ready by itself */
#define AHEAD_PART 8                         /* an eighth of what is there */

/* A fence that failed cannot be repeated: nothing is known of what came before it. */
static int poison(struct nv_stream_file *file, int error)
{
    atomic_store(&file->poisoned, true);
    return nv_fail(-EIO, "the stream is in doubt, close it and open it again: %s",
                   nvmmio_strerror(error));
}

static int check_sound(struct nv_stream_file *file)
{
    if (!atomic_load_explicit(&file->poisoned, memory_order_relaxed))
        return 0;
    return nv_fail(-EIO,
                   "the stream is in doubt after an earlier failure; close it, open it again");
}

static int fence(struct nv_stream_file *file)
{
    const int error = nv_medium_fence(&file->stores->medium);
    file->stats.fences++;
    return error ? poison(file, error) : 0;
}

/* ---- the size block ------------------------------------------------------------------------ */

static struct nv_size_slot next_slot(const struct nv_stream_file *file, uint64_t end,
                                     uint64_t bytes, uint64_t data_hash)
{
    struct nv_size_slot slot = {
        .magic = NV_SIZE_MAGIC,
        .inode = file->id.inode,
        .birth_ns = file->id.birth_ns,
        .seq = file->seq + 1,
        .bytes = bytes,
        .durable = file->durable,
        .data_hash = data_hash,
    };
    nv_size_slot_finish(&slot, end);
    return slot;
}

static size_t slot_place(const struct nv_size_slot *slot)
{
    return (slot->seq & 1) * NV_SIZE_SLOT_BYTES;
}

/* Durable with the next fence, which is the caller's. */
static int store_slot(struct nv_stream_file *file, uint64_t end, uint64_t bytes, uint64_t data_hash)
{
    struct nv_size_slot slot = next_slot(file, end, bytes, data_hash);
    struct nv_medium *medium = &file->stores->medium;
    const struct iovec line = {.iov_base = &slot, .iov_len = sizeof(slot)};
    const int error =
        medium->ops->storev(medium, end - NV_SIZE_BLOCK_BYTES + slot_place(&slot), &line, 1);
    if (!error)
        file->seq = slot.seq;
    return error;
}

/* The file, which did not become what it should, ends where it ended before. */
static void shorten(struct nv_stream_file *file, uint64_t bytes)
{
    if (file->writer.os->truncate(&file->writer, bytes))
        atomic_store(&file->poisoned, true);
}

/*
 * Extend the file, from `from` to `end`, by one write of the size block at its new end: whoever
 * finds the file longer finds the block.  The space in between comes after it.
 */
static int extend_by_block(struct nv_stream_file *file, uint64_t from, uint64_t end,
                           uint64_t data_hash)
{
    uint8_t block[NV_SIZE_BLOCK_BYTES] = {0};
    struct nv_file *on = &file->writer;
    const struct nv_size_slot slot = next_slot(file, end, atomic_load(&file->bytes), data_hash);
    const struct iovec part = {.iov_base = block, .iov_len = sizeof(block)};
    memcpy(block + slot_place(&slot), &slot, sizeof(slot));
    int error = on->os->pwritev(on, &part, 1, end - NV_SIZE_BLOCK_BYTES);
    if (!error)
        error = on->os->allocate(on, from, end - from, true);
    if (!error)
        error = nv_medium_reserve(&file->stores->medium, end);
    if (error) {
        shorten(file, from);
        return error;
    }
    file->seq = slot.seq;
    error = on->os->sync_data(on);
    file->stats.fences++;
    if (error)
        return poison(file, error);
    file->cut = false;
    return 0;
}

/* The same through the map.  Until the new block is there, the search for it finds the old one. */
static int extend_by_map(struct nv_stream_file *file, uint64_t end)
{
    int error = nv_medium_reserve(&file->stores->medium, end);
    if (!error)
        error = store_slot(file, end, atomic_load(&file->bytes), 0);
    return error ? error : fence(file);
}

/* Everything that was appended is durable. */
static void all_durable(struct nv_stream_file *file)
{
    file->durable = atomic_load_explicit(&file->bytes, memory_order_relaxed);
    if (file->hasher)
        nv_hasher_begin(file->hasher, file->durable);
    file->hashing_next = false;
}

/* How large the file becomes that has to hold a stream of `bytes`. */
static uint64_t size_ahead(const struct nv_stream_file *file, uint64_t bytes)
{
    const uint64_t there = atomic_load(&file->stores->medium.file_bytes);
    const uint64_t more = nv_min(bytes / AHEAD_PART, AHEAD_BYTES_MAX);
    return nv_align_up(nv_max(there, bytes + more + NV_SIZE_BLOCK_BYTES), NV_SIZE_STEP_BYTES);
}

static int extend_to(struct nv_stream_file *file, uint64_t end)
{
    struct nv_medium *medium = &file->stores->medium;
    /* On DAX a write and its fdatasync are dear where there are stores through the map. */
    if (medium->ops->mapped && file->ahead_bytes)
        return extend_by_map(file, end);
    return extend_by_block(file, atomic_load(&medium->file_bytes), end,
                           file->hasher ? nv_hasher_sum(file->hasher) : 0);
}

/* Where the file ended before it was cut there may be a size block still, should the cut be lost:
 * the new one must not go half over it. */
static int settle_cut(struct nv_stream_file *file)
{
    const int error = file->writer.os->sync_data(&file->writer);
    file->stats.fences++;
    if (error)
        return poison(file, error);
    file->cut = false;
    return 0;
}

/*
 * The size block moves to a new end of the file, which has room for a stream of `bytes`.  The old
 * one counts until the new one is durable.
 */
static int grow(struct nv_stream_file *file, uint64_t bytes)
{
    static const uint8_t zeros[NV_SIZE_SLOT_BYTES + sizeof(struct nv_size_slot)];
    struct nv_medium *medium = &file->stores->medium;
    int error = 0;
    if (bytes > (uint64_t)INT64_MAX / 2)
        return -EFBIG;
    if (!file->ahead_bytes) {
        if (!medium->ops->mapped && atomic_load(&file->bytes))
            error = fence(file);
        else if (file->cut)
            error = settle_cut(file);
        if (error)
            return error;
        all_durable(file);
        file->warm_bytes = atomic_load(&medium->file_bytes);
    }
    uint64_t end = size_ahead(file, bytes);
    error = extend_to(file, end);
    if (error == -ENOSPC || error == -EFBIG) { /* then no more than is needed */
        end = nv_align_up(nv_max(atomic_load(&medium->file_bytes), bytes + NV_SIZE_BLOCK_BYTES),
                          NV_SIZE_STEP_BYTES);
        error = extend_to(file, end);
    }
    if (error)
        return error;
    file->stats.grows++;
    all_durable(file);
    /* For programs that do not know what it is. */
    if (file->ahead_bytes)
        error =
            nv_medium_store(medium, file->ahead_bytes - NV_SIZE_BLOCK_BYTES, zeros, sizeof(zeros));
    file->ahead_bytes = end;
    return error;
}

int nv_stream_cut(struct nv_stream_file *file)
{
    struct nv_medium *medium = &file->stores->medium;
    const uint64_t bytes = atomic_load(&file->bytes);
    if (file->size == NVMMIO_SIZE_EXACT) {
        if (file->file_bytes <= bytes && file->space_bytes <= bytes)
            return 0;
    } else if (atomic_load(&file->poisoned)) {
        /* The size block stays, and recovery looks what is there; it has to be at the end. */
        shorten(file, atomic_load(&medium->file_bytes));
        return -EIO;
    } else if (atomic_load(&medium->file_bytes) == bytes) {
        return 0;
    } else if (!medium->ops->mapped && file->ahead_bytes && file->durable != bytes) {
        const int error = fence(file);
        if (error)
            return error;
    }
    int error = medium->ops->shrink(medium, bytes);
    if (error)
        return nv_fail(error, "cannot cut the file to its size: %s", nvmmio_strerror(error));
    file->ahead_bytes = 0;
    file->file_bytes = file->space_bytes = bytes;
    file->cut = true;
    if (file->synced) {
        error = file->writer.os->sync_data(&file->writer);
        if (error)
            return poison(file, error);
        file->cut = false;
    }
    return 0;
}

/* ---- appends ------------------------------------------------------------------------------- */

/* A part of it may be there: as if it were not. */
static void take_back(struct nv_stream_file *file, uint64_t end)
{
    struct nv_file_stat stat;
    int error = file->writer.os->stat(&file->writer, &stat);
    if (!error && stat.bytes > file->file_bytes)
        error = file->writer.os->truncate(&file->writer, file->file_bytes);
    if (error) {
        file->file_bytes = nv_max(file->file_bytes, end); /* the close has to cut it */
        atomic_store(&file->poisoned, true);
    }
}

static int append_exact(struct nv_stream_file *file, uint64_t at, const void *data, size_t bytes)
{
    const int error = nv_medium_store(&file->stores->medium, at, data, bytes);
    if (error)
        take_back(file, at + bytes);
    else
        file->file_bytes = nv_max(file->file_bytes, at + bytes);
    return error;
}

/* Make the file behind an append ready for the ones that follow.  A long one does not need it. */
static void warm(struct nv_stream_file *file, uint64_t append_end, bool is_long)
{
    const uint64_t block = file->ahead_bytes - NV_SIZE_BLOCK_BYTES;
    uint64_t end = nv_align_up(append_end, NV_BLOCK_BYTES);
    if (!is_long) {
        end = nv_min(end + WARM_BYTES, block);
        nv_medium_warm(&file->stores->medium, file->warm_bytes, end - file->warm_bytes);
    }
    file->warm_bytes = end;
}

static int append_mapped(struct nv_stream_file *file, uint64_t at, const void *data, size_t bytes)
{
    const bool hashed = bytes <= HASH_BYTES_MAX;
    int error = nv_medium_store(&file->stores->medium, at, data, bytes);
    if (!error && !hashed) {
        error = fence(file);
        file->durable = at + bytes;
    }
    if (!error)
        error = store_slot(file, file->ahead_bytes, at + bytes,
                           hashed ? nv_hash(data, bytes, file->durable) : 0);
    if (!error)
        error = fence(file);
    file->durable = at + bytes;
    return error;
}

static int append_unmapped(struct nv_stream_file *file, uint64_t at, const void *data, size_t bytes)
{
    int error = nv_medium_store(&file->stores->medium, at, data, bytes);
    if (error)
        return error;
    nv_hasher_add(file->hasher, data, bytes);
    if (file->hashing_next)
        nv_hasher_add(file->hasher_next, data, bytes);
    error = store_slot(file, file->ahead_bytes, at + bytes, nv_hasher_sum(file->hasher));
    /* The hash cannot be taken back. */
    return error ? poison(file, error) : 0;
}

static int append(struct nv_stream_file *file, const void *data, size_t bytes)
{
    const uint64_t at = atomic_load_explicit(&file->bytes, memory_order_relaxed);
    int error = check_sound(file);
    if (error)
        return error;
    if (bytes > (uint64_t)INT64_MAX - at)
        return -EFBIG;
    if (file->size == NVMMIO_SIZE_EXACT) {
        error = append_exact(file, at, data, bytes);
    } else {
        if (at + bytes + NV_SIZE_BLOCK_BYTES > file->ahead_bytes)
            error = grow(file, at + bytes);
        if (error)
            return error;
        if (at + bytes > file->warm_bytes)
            warm(file, at + bytes, bytes >= LONG_BYTES);
        error = file->stores->medium.ops->mapped ? append_mapped(file, at, data, bytes)
                                                 : append_unmapped(file, at, data, bytes);
    }
    if (error)
        return error;
    file->changed = true;
    file->stats.appends++;
    file->stats.appended_bytes += bytes;
    /* What is stored non-temporally was fenced: who sees the size sees the bytes. */
    atomic_store_explicit(&file->bytes, at + bytes, memory_order_release);
    return 0;
}

int nv_stream_append(struct nv_stream_file *file, const void *data, size_t bytes)
{
    pthread_mutex_lock(&file->mutex);
    const int error = bytes ? append(file, data, bytes) : check_sound(file);
    pthread_mutex_unlock(&file->mutex);
    if (error && error != -EIO)
        return nv_fail(error, "cannot append %zu bytes: %s", bytes, nvmmio_strerror(error));
    return error;
}

/* ---- sync ---------------------------------------------------------------------------------- */

/* What has to be done, under the mutex: false, nothing. */
static bool sync_begins(struct nv_stream_file *file, uint64_t *bytes)
{
    const bool instant = file->size == NVMMIO_SIZE_AHEAD && file->stores->medium.ops->mapped;
    const bool needed = file->cut || (file->changed && !instant);
    *bytes = atomic_load(&file->bytes);
    file->synced = true;
    file->stats.syncs++;
    file->changed = false;
    file->cut = false;
    if (needed && file->hasher) {
        nv_hasher_begin(file->hasher_next, *bytes);
        file->hashing_next = true;
    }
    return needed;
}

static void sync_ends(struct nv_stream_file *file, uint64_t bytes, uint64_t cuts)
{
    if (file->cuts != cuts) { /* it was for bytes that are gone */
        file->hashing_next = false;
        return;
    }
    if (file->hashing_next) {
        struct nv_hasher *hasher = file->hasher;
        file->hasher = file->hasher_next;
        file->hasher_next = hasher;
        file->hashing_next = false;
    } else if (file->size == NVMMIO_SIZE_AHEAD) {
        return; /* a growth or a cut in between: what it has done counts */
    }
    file->durable = bytes;
}

int nv_stream_sync(struct nv_stream_file *file)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&file->syncing);
    pthread_mutex_lock(&file->mutex);
    int error = check_sound(file);
    const bool needed = !error && sync_begins(file, &bytes);
    const uint64_t cuts = file->cuts;
    struct nv_stream_end *stores = file->stores;
    pthread_mutex_unlock(&file->mutex);
    if (needed) {
        error = stores->medium.ops->mapped ? file->writer.os->sync_data(&file->writer)
                                           : nv_medium_fence(&stores->medium);
        pthread_mutex_lock(&file->mutex);
        file->stats.fences++;
        if (error)
            error = poison(file, error);
        else
            sync_ends(file, bytes, cuts);
        pthread_mutex_unlock(&file->mutex);
    }
    pthread_mutex_unlock(&file->syncing);
    return error;
}

/* Not on memory, where nothing waits to be written. */
int nv_stream_flush(struct nv_stream_file *file, uint64_t offset, uint64_t bytes)
{
    struct nv_file *on = &file->writer;
    pthread_mutex_lock(&file->mutex);
    const bool disk = file->write_probe.ops->kind == NVMMIO_MEDIUM_PAGE;
    pthread_mutex_unlock(&file->mutex);
    return disk && on->os->write_back ? on->os->write_back(on, offset, bytes) : 0;
}

/* ---- size and space ------------------------------------------------------------------------ */

/* Zeros behind the stream. */
static int extend(struct nv_stream_file *file, uint64_t bytes)
{
    const uint64_t now = atomic_load(&file->bytes);
    const bool mapped = file->stores->medium.ops->mapped;
    /* A hole must not be stored to through a mapping. */
    const int error = mapped ? file->writer.os->allocate(&file->writer, now, bytes - now, true)
                             : file->writer.os->truncate(&file->writer, bytes);
    if (error)
        return error;
    atomic_store(&file->stores->medium.file_bytes, bytes);
    file->file_bytes = bytes;
    file->space_bytes = nv_max(file->space_bytes, bytes);
    atomic_store(&file->bytes, bytes);
    return 0;
}

static int set_size(struct nv_stream_file *file, uint64_t bytes)
{
    const uint64_t before = atomic_load(&file->bytes);
    int error = check_sound(file);
    if (error)
        return error;
    if (bytes < before)
        atomic_store(&file->bytes, bytes); /* readers stop there before it is cut */
    file->changed = true;
    file->cut = true;
    file->durable = nv_min(file->durable, bytes);
    file->cuts++;
    error = nv_stream_cut(file);
    if (error && bytes < before)
        atomic_store(&file->bytes, before);
    if (!error && bytes > before)
        error = extend(file, bytes);
    return error;
}

int nv_stream_truncate(struct nv_stream_file *file, uint64_t bytes)
{
    pthread_mutex_lock(&file->mutex);
    int error = bytes > (uint64_t)INT64_MAX - 2 * NV_SIZE_STEP_BYTES ? -EFBIG : 0;
    if (!error)
        error = set_size(file, bytes);
    pthread_mutex_unlock(&file->mutex);
    if (error && error != -EIO)
        return nv_fail(error, "cannot set the size to %llu: %s", (unsigned long long)bytes,
                       nvmmio_strerror(error));
    return error;
}

int nv_stream_rewind(struct nv_stream_file *file)
{
    pthread_mutex_lock(&file->mutex);
    int error = check_sound(file);
    if (!error && file->ahead_bytes)
        error = nv_stream_cut(file);
    if (!error) {
        file->durable = 0;
        file->cuts++;
        atomic_store(&file->bytes, 0);
    }
    pthread_mutex_unlock(&file->mutex);
    return error;
}

int nv_stream_allocate(struct nv_stream_file *file, uint64_t bytes)
{
    pthread_mutex_lock(&file->mutex);
    int error = check_sound(file);
    if (error || bytes > (uint64_t)INT64_MAX - 2 * NV_SIZE_STEP_BYTES) {
        error = error ? error : -EFBIG;
    } else if (file->size == NVMMIO_SIZE_AHEAD) {
        if (bytes + NV_SIZE_BLOCK_BYTES > file->ahead_bytes)
            error = grow(file, nv_max(bytes, atomic_load(&file->bytes)));
    } else if (bytes > file->space_bytes) {
        error = file->writer.os->allocate(&file->writer, file->space_bytes,
                                          bytes - file->space_bytes, false);
        if (!error)
            file->space_bytes = bytes;
        file->stats.grows++;
    }
    pthread_mutex_unlock(&file->mutex);
    if (error && error != -EIO)
        return nv_fail(error, "cannot allocate %llu bytes: %s", (unsigned long long)bytes,
                       nvmmio_strerror(error));
    return error;
}
