/*
 * home_content: the bytes of home, as the engine reads and stores them, and as
 * they stand there while a log lives.
 */
#include <errno.h>

#include "core/base.h"
#include "core/error.h"
#include "core/home.h"

#define HEAD_BYTES NVMMIO_MARK_BYTES

const uint8_t *nv_home_view(struct nv_home *home, uint64_t offset, size_t bytes)
{
    const uint8_t *view = nv_medium_view(&home->medium, offset, bytes);
    if (view || !home->medium.ops->mapped)
        return view;
    pthread_mutex_lock(&home->growth);
    int error = nv_medium_reserve(&home->medium, offset + bytes);
    pthread_mutex_unlock(&home->growth);
    return error ? NULL : nv_medium_view(&home->medium, offset, bytes);
}

int nv_home_read(struct nv_home *home, uint64_t offset, void *buffer, size_t bytes)
{
    const struct nv_shared *shared = home->share.shared;
    uint8_t *to = buffer;
    if (offset < shared->mark_bytes) {
        size_t part = (size_t)nv_min(bytes, shared->mark_bytes - offset);
        memcpy(to, shared->head + offset, part);
        to += part;
        offset += part;
        bytes -= part;
    }
    if (bytes == 0)
        return 0;
    if (home->medium.ops->mapped && nv_home_view(home, offset, bytes)) {
        memcpy(to, nv_medium_view(&home->medium, offset, bytes), bytes);
        return 0;
    }
    /* Not mapped, or it cannot be: no space for its holes, no room for more of it. */
    int error = nv_medium_load(&home->medium, offset, to, bytes);
    return error ? nv_fail(error, "cannot read %s: %s", home->path, nvmmio_strerror(error)) : 0;
}

int nv_home_sync_size(struct nv_home *home)
{
    if (!home->medium.ops->mapped || !home->probe.survives_power)
        return 0;
    uint32_t good = NV_HEALTH_GOOD;
    int error = home->file.os->sync_data(&home->file);
    /* Trying again would succeed, and prove nothing. */
    if (error)
        (void)atomic_compare_exchange_strong(&home->share.shared->health, &good,
                                             NV_HEALTH_NO_WRITES);
    return error;
}

int nv_home_reserve(struct nv_home *home, uint64_t bytes)
{
    bytes = nv_align_up(bytes, NV_BLOCK_BYTES);
    if (bytes <= atomic_load_explicit(&home->medium.file_bytes, memory_order_relaxed) &&
        (!home->medium.ops->mapped || nv_medium_view(&home->medium, bytes, 0)))
        return 0;
    pthread_mutex_lock(&home->growth);
    uint64_t before = atomic_load(&home->medium.file_bytes);
    int error = nv_medium_reserve(&home->medium, bytes);
    if (!error && atomic_load(&home->medium.file_bytes) > before)
        error = nv_home_sync_size(home);
    pthread_mutex_unlock(&home->growth);
    if (error)
        return nv_fail(error, "cannot grow %s to %llu bytes: %s", home->path,
                       (unsigned long long)bytes, nvmmio_strerror(error));
    return 0;
}

void nv_home_raw_head(const struct nv_home *home, const uint8_t *head, uint64_t content_bytes,
                      uint8_t *raw)
{
    const struct nv_header *header = &home->log.header;
    for (uint32_t i = 0; i < HEAD_BYTES; i++)
        raw[i] = content_bytes ? (uint8_t)(head[i] ^ header->mask[i]) : header->empty[i];
    memcpy(raw + header->nonce_at, header->nonce, NVMMIO_NONCE_BYTES);
}

void nv_home_unmark_head(const struct nv_home *home, const uint8_t *raw, uint8_t *head)
{
    const struct nv_header *header = &home->log.header;
    for (uint32_t i = 0; i < HEAD_BYTES; i++)
        head[i] = (uint8_t)(raw[i] ^ header->mask[i]);
    memcpy(head + header->nonce_at, header->head + header->nonce_at, NVMMIO_NONCE_BYTES);
}

int nv_home_store_head(struct nv_home *home, const uint8_t *head, uint64_t content_bytes)
{
    uint8_t raw[HEAD_BYTES];
    if (!home->share.shared->mark_bytes)
        return 0;
    nv_home_raw_head(home, head, content_bytes, raw);
    /* Ordered by the fence that orders the commit it belongs to, or by the caller's. */
    return nv_medium_store(&home->medium, 0, raw, sizeof raw);
}

int nv_home_zero(struct nv_home *home, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[65536];
    int error = 0;
    while (from < to && !error) {
        size_t bytes = (size_t)nv_min(to - from, sizeof zeros - from % sizeof zeros);
        error = nv_medium_store(&home->medium, from, zeros, bytes);
        from += bytes;
    }
    return error;
}
