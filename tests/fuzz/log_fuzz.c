/*
 * The reader of a log: header, scan, records.  Whatever is in the file, it stays
 * within its bounds, and what the scan says of itself is consistent.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/log.h"
#include "tests/fuzz/fuzz.h"

static void check_scan(const struct nv_log *log, const struct nv_scan *scan, uint64_t file_bytes)
{
    if (scan->any && (scan->tail > scan->last_seq || scan->last_segment >= NV_SEGMENTS ||
                      scan->runs[scan->last_segment].last_seq != scan->last_seq))
        fuzz_fail("the scan contradicts itself");
    for (uint32_t i = 0; i < NV_SEGMENTS; i++)
        if (scan->runs[i].last_seq &&
            (scan->runs[i].first != nv_segment_start(log, i) ||
             scan->runs[i].end > nv_segment_end(log, i) || scan->runs[i].end > file_bytes))
            fuzz_fail("a run leaves its segment");
}

static void read_all(struct nv_log *log, const struct nv_scan *scan)
{
    struct nv_parsed parsed = {.body = NULL};
    uint64_t sum = 0;

    for (uint32_t i = 0; i < NV_SEGMENTS; i++) {
        uint64_t chain = 0;

        for (uint64_t at = scan->runs[i].first; at < scan->runs[i].end;) {
            if (nv_log_read(log, at, scan->runs[i].end, chain, &parsed) != 0)
                fuzz_fail("a record that the scan accepted is refused");
            chain = parsed.line.kind == NV_RECORD_SPILL ? parsed.line.body_hash : 0;
            for (uint64_t b = 0; b < nv_record_body_bytes(&parsed.line); b++)
                sum += parsed.body[b];
            at += nv_record_bytes(&parsed.line);
        }
    }
    free(parsed.body);
    *(volatile uint64_t *)&sum = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t image[FUZZ_LOG_BYTES];
    struct fuzz_input input = {data, bytes};
    struct fuzz_log made = {.bytes = image};
    const struct nv_file_id home = {.inode = 42, .birth_ns = 43};
    enum nvmmio_medium medium = fuzz_u8(&input) & 1 ? NVMMIO_MEDIUM_PAGE : NVMMIO_MEDIUM_RAM;
    bool writable = bytes & 1;
    struct nv_process *process;
    struct nv_log log;
    struct nv_scan scan;

    fuzz_log_make(&made, &input, &home);
    fuzz_log_write(&made, FUZZ_LOG);
    process = fuzz_begin();
    if (nv_log_open(&log, &fuzz_os, FUZZ_LOG, &home, writable, medium) == 0) {
        if (nv_log_scan(&log, &scan) == 0) {
            check_scan(&log, &scan, made.file_bytes);
            read_all(&log, &scan);
        }
        nv_log_close(&log);
    }
    fuzz_end(process);
    fuzz_clear();
    return 0;
}
