#include "core/format.h"

#include "core/base.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

uint64_t nv_format_seed(const uint8_t nonce[NVMMIO_NONCE_BYTES], uint64_t offset)
{
    uint64_t low;
    uint64_t high;
    memcpy(&low, nonce, sizeof low);
    memcpy(&high, nonce + sizeof low, sizeof high);
    return (low ^ (offset * GOLDEN)) + (high << 1 | high >> 63);
}

void nv_header_finish(struct nv_header *header)
{
    header->hash = nv_hash(header, offsetof(struct nv_header, hash), NV_LOG_MAGIC);
}

bool nv_header_valid(const struct nv_header *header)
{
    if (header->magic != NV_LOG_MAGIC ||
        header->hash != nv_hash(header, offsetof(struct nv_header, hash), NV_LOG_MAGIC))
        return false;
    if (header->version != NV_LOG_VERSION)
        return true; /* whole, but for another program: the caller refuses it by its version */
    return header->state >= NV_HEADER_NEW && header->state <= NV_HEADER_EMPTY &&
           header->segment_bytes >= NV_BLOCK_BYTES &&
           header->segment_bytes <= NVMMIO_LOG_BYTES_MAX &&
           header->segment_bytes % NV_LINE_BYTES == 0 && header->base_bytes <= INT64_MAX &&
           header->mark_bytes <= NVMMIO_MARK_BYTES &&
           (header->mark_bytes == 0 ||
            (header->nonce_at <= header->mark_bytes &&
             header->mark_bytes - header->nonce_at >= NVMMIO_NONCE_BYTES));
}

void nv_header_mark(const struct nv_header *header, struct nvmmio_mark *mark)
{
    mark->bytes = header->mark_bytes;
    mark->nonce_at = header->nonce_at;
    memcpy(mark->mask, header->mask, sizeof mark->mask);
    memcpy(mark->empty, header->empty, sizeof mark->empty);
    memcpy(mark->sign, header->sign, sizeof mark->sign);
}

void nv_record_finish(struct nv_record *record, const uint8_t nonce[NVMMIO_NONCE_BYTES],
                      uint64_t offset)
{
    record->line_hash =
        nv_hash(record, offsetof(struct nv_record, line_hash), nv_format_seed(nonce, offset));
}

bool nv_record_line_valid(const struct nv_record *record, const uint8_t nonce[NVMMIO_NONCE_BYTES],
                          uint64_t offset)
{
    if (record->kind < NV_RECORD_COMMIT || record->kind > NV_RECORD_RESOLVE_ABORT ||
        record->line_hash !=
            nv_hash(record, offsetof(struct nv_record, line_hash), nv_format_seed(nonce, offset)))
        return false;
    return record->size <= INT64_MAX && record->tail_back <= record->seq &&
           record->durable_back <= record->seq &&
           record->line_count <= (uint64_t)record->block_count * 64 &&
           (record->kind == NV_RECORD_PREPARE) == (record->name_lines > 0);
}

uint64_t nv_record_body_seed(const uint8_t nonce[NVMMIO_NONCE_BYTES], uint64_t offset,
                             const struct nv_record *record, uint64_t chain)
{
    return nv_format_seed(nonce, offset) ^ (record->seq * GOLDEN) ^
           ((uint64_t)record->epoch << 32) ^ chain;
}

void nv_size_slot_finish(struct nv_size_slot *slot, uint64_t end)
{
    slot->line_hash = nv_hash(slot, offsetof(struct nv_size_slot, line_hash), end * GOLDEN);
}

bool nv_size_slot_valid(const struct nv_size_slot *slot, const struct nv_file_id *id, uint64_t end)
{
    return slot->magic == NV_SIZE_MAGIC && slot->inode == id->inode &&
           slot->birth_ns == id->birth_ns &&
           slot->line_hash ==
               nv_hash(slot, offsetof(struct nv_size_slot, line_hash), end * GOLDEN) &&
           slot->durable <= slot->bytes && slot->bytes <= end - NV_SIZE_BLOCK_BYTES;
}
