/*
 * format: what lies in a log file, and nothing else does.  core/FORMAT.md is the
 * same in words.  All numbers are little-endian; every structure is verified by
 * the functions here before anything in it is believed.
 *
 *   0      header, copy 0 (4096 bytes)
 *   4096   header, copy 1: the valid one with the higher generation counts
 *   8192   segment 0 (segment_bytes)
 *   ...    segment 1 (segment_bytes)
 *   ...    segment 2, to the end of the file: transactions too large for the others
 *
 * A segment holds records one behind the other, each beginning on a line:
 *   commit line (64 bytes) | names | descriptors, 16 bytes each, padded to a line | lines | padding
 * Records of one segment have one epoch and ascending sequence numbers; what
 * follows the last one is older, and does not verify in its place.
 */
#ifndef NV_FORMAT_H
#define NV_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "core/medium.h"
#include "core/nvmmio.h"

#define NV_LOG_MAGIC UINT64_C(0x0a316f696d6d766e) /* "nvmmio1\n" */
#define NV_LOG_VERSION 1u
#define NV_HEADER_COPY_BYTES 4096u
#define NV_HEADER_BYTES 8192u
#define NV_SEGMENTS 3u
#define NV_SEGMENT_OVERFLOW 2u

enum nv_header_state {
    NV_HEADER_NEW = 1,   /* records may follow */
    NV_HEADER_USED = 2,  /* records follow: a log in which none is found is damaged */
    NV_HEADER_EMPTY = 3, /* home has everything; what follows counts for nothing */
};

struct nv_header {
    uint64_t magic;
    uint32_t version;
    uint32_t state; /* enum nv_header_state */
    uint64_t generation;
    uint8_t nonce[NVMMIO_NONCE_BYTES]; /* of this log, random; also the salt of its checksums */
    uint64_t home_inode;
    uint64_t home_birth_ns;
    uint64_t segment_bytes;
    uint64_t base_bytes; /* size of home's content when the log was made, or emptied */
    uint64_t file_bytes; /* the log was so long, durably: a shorter one was cut off */
    uint32_t mark_bytes;
    uint32_t nonce_at;
    uint8_t mask[NVMMIO_MARK_BYTES];
    uint8_t empty[NVMMIO_MARK_BYTES];
    uint8_t sign[NVMMIO_MARK_BYTES];
    /* NEW, EMPTY: first bytes of the content, so that a mark that was half put on or off can be
     * undone.  USED: of these, the ones in whose place the nonce stands. */
    uint8_t head[NVMMIO_MARK_BYTES];
    uint64_t tail; /* home was durable up to this commit; the last record may say more */
    uint64_t hash; /* of everything before it */
};
_Static_assert(sizeof(struct nv_header) == 88 + 384 + 128 + 16, "no padding");

enum nv_record_kind {
    NV_RECORD_COMMIT = 1,  /* a transaction, or the end of one that spilled */
    NV_RECORD_SPILL = 2,   /* part of a transaction; counts only with its commit or prepare */
    NV_RECORD_PREPARE = 3, /* counts with the resolve of the same sequence number */
    NV_RECORD_RESOLVE_COMMIT = 4,
    NV_RECORD_RESOLVE_ABORT = 5,
};

#define NV_NO_ZERO UINT64_MAX

/* The commit line.  Counts are believed only when line_hash is right. */
struct nv_record {
    uint8_t kind;
    uint8_t pad_lines;   /* zeros behind the record, so that the next one begins as it likes best */
    uint16_t name_lines; /* PREPARE: two NUL-terminated paths, super and child */
    uint32_t epoch;      /* +1 each time that a segment is begun again */
    uint64_t seq;
    uint64_t size;      /* of the content after this record */
    uint64_t zero_from; /* content from here on becomes zeros first; NV_NO_ZERO: none */
    uint32_t block_count;
    uint32_t line_count;
    uint32_t tail_back;    /* seq - this: home was durable up to there when it was written */
    uint32_t durable_back; /* seq - this: the log was durable up to there */
    uint64_t body_hash;    /* names, descriptors and lines; of a record after spills, chained */
    uint64_t line_hash;    /* of this line before it */
};
_Static_assert(sizeof(struct nv_record) == NV_LINE_BYTES, "one line");

/* The lines of a block that follow, lowest first. */
struct nv_descriptor {
    uint64_t block; /* number: offset in home / 4096 */
    uint64_t lines; /* bit i: bytes [64 i, 64 i + 64) */
};
_Static_assert(sizeof(struct nv_descriptor) == 16, "four to a line");

/* Where the hash of something in a log starts: ties it to its log and its place. */
uint64_t nv_format_seed(const uint8_t nonce[NVMMIO_NONCE_BYTES], uint64_t offset);

void nv_header_finish(struct nv_header *header);
bool nv_header_valid(const struct nv_header *header);
/* The mark described in a header; bytes is 0 where there is none. */
void nv_header_mark(const struct nv_header *header, struct nvmmio_mark *mark);

/* The bytes of a record behind its line: names, descriptors, lines. */
static inline uint64_t nv_record_names_bytes(const struct nv_record *record)
{
    return (uint64_t)record->name_lines * NV_LINE_BYTES;
}

static inline uint64_t nv_descriptors_bytes(uint64_t block_count)
{
    return (block_count * sizeof(struct nv_descriptor) + NV_LINE_BYTES - 1) / NV_LINE_BYTES *
           NV_LINE_BYTES;
}

static inline uint64_t nv_record_body_bytes(const struct nv_record *record)
{
    return nv_record_names_bytes(record) + nv_descriptors_bytes(record->block_count) +
           (uint64_t)record->line_count * NV_LINE_BYTES;
}

/* What is between the beginnings of this record and of the next one. */
static inline uint64_t nv_record_bytes(const struct nv_record *record)
{
    return NV_LINE_BYTES + nv_record_body_bytes(record) +
           (uint64_t)record->pad_lines * NV_LINE_BYTES;
}

void nv_record_finish(struct nv_record *record, const uint8_t nonce[NVMMIO_NONCE_BYTES],
                      uint64_t offset);
/* The line itself verifies at `offset`, and its counts agree with one another. */
bool nv_record_line_valid(const struct nv_record *record, const uint8_t nonce[NVMMIO_NONCE_BYTES],
                          uint64_t offset);

/* Start of the hash over a record's body; `chain` is the body hash of the spill before it, or 0. */
uint64_t nv_record_body_seed(const uint8_t nonce[NVMMIO_NONCE_BYTES], uint64_t offset,
                             const struct nv_record *record, uint64_t chain);

/* ---- The size block of a stream -------------------------------------------------------------- */

/*
 * A stream whose file's size is ahead of it ends with a block of this:
 *   0     slot
 *   512   slot
 * rest zeros.  Each change of the stream's size goes to the slot that the last
 * one did not take.
 */
#define NV_SIZE_MAGIC UINT64_C(0x0a7a6973696d766e) /* "nvmisiz\n" */
#define NV_SIZE_BLOCK_BYTES 4096u
#define NV_SIZE_SLOT_BYTES 512u /* from one slot to the other: a sector, that may be torn */
#define NV_SIZE_STEP_BYTES ((uint64_t)2 << 20) /* the block ends at a multiple of this */

struct nv_size_slot {
    uint64_t magic;
    uint64_t inode, birth_ns; /* of the file */
    uint64_t seq;             /* of the two slots the one with the higher number is newer */
    uint64_t bytes;           /* size of the stream */
    uint64_t durable;         /* of it, certainly there when this was written */
    uint64_t data_hash;       /* of the bytes from `durable` to `bytes` */
    uint64_t line_hash;       /* of this line before it */
};
_Static_assert(sizeof(struct nv_size_slot) == NV_LINE_BYTES, "one line");

/* `end` is where the size block ends: the file's size. */
void nv_size_slot_finish(struct nv_size_slot *slot, uint64_t end);
/* The line is what was written for this file and this place; its data may still be lacking. */
bool nv_size_slot_valid(const struct nv_size_slot *slot, const struct nv_file_id *id, uint64_t end);

#endif
