/*
 * sim_medium: persistent memory with dax semantics.  A store is visible at once,
 * and on its way to the medium: the next fence, or release, by the process that
 * stored makes it durable, and no other does.
 *
 * The map of a medium is the file's memory itself, so views need no copy.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "tests/sim/sim.h"

static int dax_open(struct nv_medium *medium)
{
    struct sim_process *process = sim_process_of(medium->file);
    uint32_t file = sim_descriptor_of(medium->file)->file;
    struct nv_map *map = calloc(1, sizeof *map);
    if (!map)
        return -ENOMEM;
    *map = (struct nv_map){.base = process->sim->memory[file], .bytes = SIM_FILE_BYTES_MAX};
    uint64_t bytes = process->sim->files[file].bytes;
    atomic_store(&medium->map, map);
    atomic_store(&medium->file_bytes, bytes);
    atomic_store(&medium->ready_bytes, bytes);
    return 0;
}

static void dax_close(struct nv_medium *medium)
{
    free(atomic_exchange(&medium->map, NULL));
    atomic_store(&medium->ready_bytes, 0);
}

static int dax_reserve(struct nv_medium *medium, uint64_t bytes)
{
    if (bytes <= atomic_load(&medium->ready_bytes))
        return 0;
    int error = nv_medium_grow(medium, bytes);
    if (!error)
        atomic_store(&medium->ready_bytes, atomic_load(&medium->file_bytes));
    return error;
}

static int dax_shrink(struct nv_medium *medium, uint64_t bytes)
{
    int error = medium->file->os->truncate(medium->file, bytes);
    if (error)
        return error;
    atomic_store(&medium->file_bytes, bytes);
    atomic_store(&medium->ready_bytes, bytes);
    return 0;
}

static int dax_load(struct nv_medium *medium, uint64_t offset, void *buffer, size_t bytes)
{
    struct sim_process *process = sim_process_of(medium->file);
    uint32_t file = sim_descriptor_of(medium->file)->file;
    /* Zeros are not worth fetching: logs are mostly empty. */
    uint64_t there = nv_min(process->sim->files[file].bytes, process->sim->files[file].high);
    size_t got = offset < there ? (size_t)nv_min(bytes, there - offset) : 0;
    if (got)
        memcpy(buffer, process->sim->memory[file] + offset, got);
    memset((uint8_t *)buffer + got, 0, bytes - got);
    return 0;
}

static int dax_storev(struct nv_medium *medium, uint64_t offset, const struct iovec *parts,
                      int count)
{
    struct sim_process *process = sim_process_of(medium->file);
    const struct sim_descriptor *descriptor = sim_descriptor_of(medium->file);
    uint64_t end = offset;
    for (int i = 0; i < count; i++)
        end += parts[i].iov_len;
    /* What was not reserved, or is gone since, would be a SIGBUS. */
    if (!medium->writable || end > atomic_load(&medium->ready_bytes) ||
        end > process->sim->files[descriptor->file].bytes)
        return -EINVAL;
    enum trace_cover cover = sim_step(process->sim, SIM_STEP_FLUSH) ? COVER_FENCE : COVER_NONE;
    sim_record_store(process, descriptor->file, offset, parts, count, cover);
    return 0;
}

static int dax_store(struct nv_medium *medium, uint64_t offset, const void *data, size_t bytes)
{
    const struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    return dax_storev(medium, offset, &part, 1);
}

static void dax_warm(struct nv_medium *medium, uint64_t offset, uint64_t bytes)
{
    (void)medium->file->os->write_zeros(medium->file, offset, bytes);
}

static int dax_fence(struct nv_medium *medium)
{
    struct sim_process *process = sim_process_of(medium->file);
    (void)sim_tick(process, SIM_TICK_SYNC);
    int error = sim_fault(process->sim, SIM_CALL_FENCE);
    if (error)
        return error;
    if (sim_step(process->sim, SIM_STEP_FENCE))
        sim_record(process, TRACE_FENCE, SIM_NONE);
    return 0;
}

static void dax_release(struct nv_medium *medium)
{
    struct sim_process *process = sim_process_of(medium->file);
    (void)sim_tick(process, SIM_TICK_SYNC);
    if (sim_step(process->sim, SIM_STEP_RELEASE))
        sim_record(process, TRACE_FENCE, SIM_NONE);
}

const struct nv_medium_ops sim_medium_dax = {
    .kind = NVMMIO_MEDIUM_SIM,
    .mapped = true,
    .instant = true,
    .unit = NV_LINE_BYTES,
    .open = dax_open,
    .close = dax_close,
    .reserve = dax_reserve,
    .shrink = dax_shrink,
    .load = dax_load,
    .store = dax_store,
    .storev = dax_storev,
    .warm = dax_warm,
    .fence = dax_fence,
    .release = dax_release,
};
