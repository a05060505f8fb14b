/* sim_files: the file system of a simulated machine, and how its changes are taken back. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base.h"
#include "tests/sim/sim.h"

#define BIRTH_NS UINT64_C(1000000000)
#define RELEASE_BYTES ((uint64_t)1 << 20) /* from here on memory is given back, not cleared */

static _Noreturn void no_memory(void)
{
    fputs("sim: out of memory\n", stderr);
    abort();
}

/* ---- taking back --------------------------------------------------------------------- */

enum undo_kind {
    UNDO_BYTES, /* the bytes of a file that were there; they follow */
    UNDO_ZEROS, /* the same, zeros */
    UNDO_FILE,  /* the file as it was; it follows */
    UNDO_ENTRY, /* the entry as it was; it follows */
    UNDO_MADE,  /* a file was made */
};

/* Behind what it speaks of, so that the log is read from its end. */
struct undo {
    uint32_t kind;
    uint32_t index; /* of the file or entry */
    uint64_t offset, bytes;
};

static void *undo_add(struct sim *sim, enum undo_kind kind, uint32_t index, uint64_t offset,
                      uint64_t bytes, size_t payload)
{
    size_t room = nv_align_up(payload, 8) + sizeof(struct undo);
    if (sim->undo_capacity - sim->undo_bytes < room) {
        size_t capacity = sim->undo_capacity ? sim->undo_capacity : (size_t)1 << 20;
        while (capacity - sim->undo_bytes < room)
            capacity *= 2;
        sim->undo = realloc(sim->undo, capacity);
        if (!sim->undo)
            no_memory();
        sim->undo_capacity = capacity;
    }
    uint8_t *at = sim->undo + sim->undo_bytes;
    sim->undo_bytes += room;
    struct undo undo = {.kind = kind, .index = index, .offset = offset, .bytes = bytes};
    memcpy(sim->undo + sim->undo_bytes - sizeof undo, &undo, sizeof undo);
    return at;
}

sim_mark_t sim_mark(const struct sim *sim)
{
    return sim->undo_bytes;
}

bool sim_all_zero(const uint8_t *bytes, size_t count)
{
    static const uint8_t zeros[NV_BLOCK_BYTES];
    while (count) {
        size_t part = nv_min(count, sizeof zeros);
        if (memcmp(bytes, zeros, part) != 0)
            return false;
        bytes += part;
        count -= part;
    }
    return true;
}

/* Most of a shared page is never stored to: looking costs less than clearing. */
static void clear(uint8_t *bytes, uint64_t count)
{
    while (count) {
        size_t part = (size_t)nv_min(count, NV_BLOCK_BYTES);
        if (!sim_all_zero(bytes, part))
            memset(bytes, 0, part);
        bytes += part;
        count -= part;
    }
}

/* What a new file finds in its memory is zeros. */
static void memory_clear(struct sim *sim, uint32_t file)
{
    uint64_t bytes = nv_max(sim->files[file].high, sim->raw_bytes[file]);
    if (bytes >= RELEASE_BYTES)
        (void)madvise(sim->memory[file], nv_align_up(bytes, NV_BLOCK_BYTES), MADV_DONTNEED);
    else
        clear(sim->memory[file], bytes);
    sim->raw_bytes[file] = 0;
}

static void undo_one(struct sim *sim, const struct undo *undo, const uint8_t *payload)
{
    switch ((enum undo_kind)undo->kind) {
    case UNDO_BYTES:
        memcpy(sim->memory[undo->index] + undo->offset, payload, undo->bytes);
        break;
    case UNDO_ZEROS:
        memset(sim->memory[undo->index] + undo->offset, 0, undo->bytes);
        break;
    case UNDO_FILE:
        memcpy(&sim->files[undo->index], payload, sizeof(struct sim_file));
        break;
    case UNDO_ENTRY:
        memcpy(&sim->entries[undo->index], payload, sizeof(struct sim_entry));
        break;
    case UNDO_MADE:
        memory_clear(sim, undo->index);
        memset(&sim->files[undo->index], 0, sizeof(struct sim_file));
        sim->files_made = (uint32_t)undo->offset;
        sim->births = undo->bytes;
        break;
    }
}

void sim_undo_to(struct sim *sim, sim_mark_t mark)
{
    while (sim->undo_bytes > mark) {
        struct undo undo;
        memcpy(&undo, sim->undo + sim->undo_bytes - sizeof undo, sizeof undo);
        size_t payload = 0;
        if (undo.kind == UNDO_BYTES)
            payload = undo.bytes;
        else if (undo.kind == UNDO_FILE)
            payload = sizeof(struct sim_file);
        else if (undo.kind == UNDO_ENTRY)
            payload = sizeof(struct sim_entry);
        sim->undo_bytes -= sizeof undo + nv_align_up(payload, 8);
        undo_one(sim, &undo, sim->undo + sim->undo_bytes);
    }
    assert(sim->undo_bytes == mark);
}

static void keep_file(struct sim *sim, uint32_t file)
{
    void *at = undo_add(sim, UNDO_FILE, file, 0, 0, sizeof(struct sim_file));
    memcpy(at, &sim->files[file], sizeof(struct sim_file));
}

static void keep_entry(struct sim *sim, uint32_t entry)
{
    void *at = undo_add(sim, UNDO_ENTRY, entry, 0, 0, sizeof(struct sim_entry));
    memcpy(at, &sim->entries[entry], sizeof(struct sim_entry));
}

static void keep_bytes(struct sim *sim, uint32_t file, uint64_t offset, uint64_t bytes)
{
    uint64_t high = sim->files[file].high;
    uint64_t end = offset + bytes;
    if (offset < high) {
        uint64_t there = nv_min(end, high) - offset;
        void *at = undo_add(sim, UNDO_BYTES, file, offset, there, there);
        memcpy(at, sim->memory[file] + offset, there);
    }
    if (end > high) {
        uint64_t from = nv_max(offset, high);
        (void)undo_add(sim, UNDO_ZEROS, file, from, end - from, 0);
    }
}

/* ---- files --------------------------------------------------------------------------- */

static bool number_taken(const struct sim *sim, uint64_t inode)
{
    for (uint32_t i = 0; i < SIM_FILES_MAX; i++)
        if (sim->files[i].used && sim->files[i].links && sim->files[i].inode == inode)
            return true;
    for (uint32_t i = 0; i < SIM_DESCRIPTORS_MAX; i++)
        if (sim->descriptors[i].used && sim->files[sim->descriptors[i].file].inode == inode)
            return true;
    return false;
}

static void make(struct sim *sim, uint32_t file, const struct sim_file *like)
{
    assert(!sim->files[file].used);
    if (!sim->memory[file]) {
        void *memory = mmap(NULL, SIM_FILE_BYTES_MAX, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            no_memory();
        sim->memory[file] = memory;
    }
    (void)undo_add(sim, UNDO_MADE, file, sim->files_made, sim->births, 0);
    sim->files[file] = *like;
    sim->births = nv_max(sim->births, like->birth_ns / BIRTH_NS);
    if (file >= sim->files_made)
        sim->files_made = file + 1;
}

uint32_t sim_file_make(struct sim *sim, const char *path, uint32_t mode)
{
    uint32_t file = sim->files_made;
    if (file >= SIM_FILES_MAX)
        return SIM_NONE;
    /* Inode numbers come back, as on real file systems; the time of birth does not. */
    uint64_t inode = 100;
    while (number_taken(sim, inode))
        inode++;
    struct sim_file like = {
        .used = true,
        .dax = sim->semantics == SIM_DAX ||
               (sim->semantics == SIM_MIXED && strncmp(path, "/l/", 3) == 0),
        .mode = mode,
        .inode = inode,
        .birth_ns = (sim->births + 1) * BIRTH_NS,
    };
    make(sim, file, &like);
    return file;
}

void sim_file_make_again(struct sim *sim, uint32_t file, const struct sim_file *like)
{
    make(sim, file, like);
}

static uint32_t find_entry(const struct sim *sim, const char *path)
{
    for (uint32_t i = 0; i < SIM_ENTRIES_MAX; i++)
        if (sim->entries[i].used && strcmp(sim->entries[i].path, path) == 0)
            return i;
    return SIM_NONE;
}

uint32_t sim_find(const struct sim *sim, const char *path)
{
    uint32_t entry = find_entry(sim, path);
    return entry == SIM_NONE ? SIM_NONE : sim->entries[entry].file;
}

bool sim_name(struct sim *sim, const char *path, uint32_t file)
{
    uint32_t entry = find_entry(sim, path);
    if (entry == SIM_NONE && file == SIM_NONE)
        return true;
    if (entry == SIM_NONE) {
        for (entry = 0; entry < SIM_ENTRIES_MAX && sim->entries[entry].used;)
            entry++;
        if (entry == SIM_ENTRIES_MAX || strlen(path) >= SIM_PATH_BYTES)
            return false;
    }
    keep_entry(sim, entry);
    struct sim_entry *at = &sim->entries[entry];
    if (at->used) {
        keep_file(sim, at->file);
        sim->files[at->file].links--;
    }
    *at = (struct sim_entry){.used = file != SIM_NONE};
    if (file == SIM_NONE)
        return true;
    at->file = file;
    strcpy(at->path, path);
    keep_file(sim, file);
    sim->files[file].links++;
    return true;
}

void sim_store(struct sim *sim, uint32_t file, uint64_t offset, const void *data, size_t bytes)
{
    assert(offset <= SIM_FILE_BYTES_MAX && bytes <= SIM_FILE_BYTES_MAX - offset);
    if (bytes == 0)
        return;
    if (bytes >= NV_BLOCK_BYTES && sim_all_zero(data, bytes)) {
        sim_zero(sim, file, offset, bytes);
        return;
    }
    keep_bytes(sim, file, offset, bytes);
    if (offset + bytes > sim->files[file].high) {
        keep_file(sim, file);
        sim->files[file].high = offset + bytes;
    }
    memcpy(sim->memory[file] + offset, data, bytes);
}

void sim_zero(struct sim *sim, uint32_t file, uint64_t offset, uint64_t bytes)
{
    uint64_t high = sim->files[file].high;
    if (offset >= high || bytes == 0)
        return;
    uint64_t end = nv_min(high, offset + bytes);
    keep_bytes(sim, file, offset, end - offset);
    memset(sim->memory[file] + offset, 0, end - offset);
    if (end == high) {
        keep_file(sim, file);
        sim->files[file].high = offset;
    }
}

void sim_resize(struct sim *sim, uint32_t file, uint64_t bytes)
{
    sim_zero(sim, file, bytes, UINT64_MAX / 2);
    if (sim->files[file].bytes == bytes)
        return;
    keep_file(sim, file);
    sim->files[file].bytes = bytes;
}

const uint8_t *sim_bytes(const struct sim *sim, uint32_t file)
{
    return sim->memory[file];
}

void sim_set_raw(struct sim *sim, uint32_t file, uint64_t bytes)
{
    if (!sim->files[file].raw) {
        keep_file(sim, file);
        sim->files[file].raw = true;
    }
    sim->raw_bytes[file] = nv_max(sim->raw_bytes[file], bytes);
}
