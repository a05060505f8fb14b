/*
 * medium_probe: which medium a file gets, why, and what that survives.
 *
 * The file system is asked, and its answer is never stretched: what is not known
 * to survive a power loss is reported as not surviving it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/medium.h"

/* PMEM_IS_PMEM_FORCE, as libpmem reads it. */
enum pmem_force { PMEM_ASK, PMEM_NEVER, PMEM_ALWAYS };

static enum pmem_force pmem_force(void)
{
    const char *text = getenv("PMEM_IS_PMEM_FORCE");
    if (!text)
        return PMEM_ASK;
    const long value = strtol(text, NULL, 10);
    return value == 0 ? PMEM_NEVER : value == 1 ? PMEM_ALWAYS : PMEM_ASK;
}

/* What is known about the place of a file. */
struct place {
    enum nv_fs_kind kind;
    char name[64];
    bool map_sync;
    enum pmem_force force;
};

static bool map_sync_works(struct nv_file *file)
{
    void *address;
    int status = file->os->map(file, NV_BLOCK_BYTES, true, true, &address);
    if (status == -EACCES) /* the descriptor is read-only */
        status = file->os->map(file, NV_BLOCK_BYTES, false, true, &address);
    if (status)
        return false;
    file->os->unmap(file, address, NV_BLOCK_BYTES);
    return true;
}

/*
 * Whether every store to a mapping of space that was allocated is safe.  Not where each overwrite
 * takes new space, nor where holes can neither be seen nor filled.
 */
static bool maps_safely(const struct place *place)
{
    static const char *const unsafe[] = {"btrfs", "zfs", "bcachefs", "jfs", "reiserfs"};
    for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
        if (strstr(place->name, unsafe[i]))
            return false;
    return !strstr(place->name, "overlayfs (");
}

static void choose(struct nv_probe *probe, const struct nv_medium_ops *ops, bool survives_power)
{
    probe->ops = ops;
    probe->survives_power = survives_power;
}

static void choose_dax(struct nv_probe *probe, const struct place *place)
{
    if (place->force == PMEM_NEVER) {
        snprintf(probe->why, sizeof(probe->why),
                 "PMEM_IS_PMEM_FORCE=0 forbids to treat memory as persistent");
    } else if (place->map_sync) {
        choose(probe, &nv_medium_dax, true);
        snprintf(probe->why, sizeof(probe->why), "%s maps persistent memory (MAP_SYNC works)",
                 place->name);
    } else if (place->kind != NV_FS_MEMORY) {
        snprintf(probe->why, sizeof(probe->why),
                 "%s does not map persistent memory (no MAP_SYNC)%s", place->name,
                 place->force == PMEM_ALWAYS
                     ? "; PMEM_IS_PMEM_FORCE=1 counts on memory file systems only"
                     : "");
    } else if (place->force == PMEM_ALWAYS) {
        choose(probe, &nv_medium_dax, false);
        probe->forced = true;
        snprintf(
            probe->why, sizeof(probe->why),
            "%s is treated as persistent memory (PMEM_IS_PMEM_FORCE=1); a power loss empties it",
            place->name);
    } else {
        snprintf(probe->why, sizeof(probe->why),
                 "%s is not persistent memory (PMEM_IS_PMEM_FORCE=1 treats it as such)",
                 place->name);
    }
}

static void choose_ram(struct nv_probe *probe, const struct place *place, bool demanded)
{
    const bool mapped = maps_safely(place);
    choose(probe, mapped ? &nv_medium_ram : &nv_medium_ram_unmapped, false);
    if (place->kind == NV_FS_MEMORY)
        snprintf(probe->why, sizeof(probe->why), "%s is in memory; a power loss empties it",
                 place->name);
    else
        snprintf(probe->why, sizeof(probe->why), "%son %s: nothing is synced%s",
                 demanded ? "demanded, " : "", place->name,
                 mapped ? "" : "; not mapped, since a store there could need space");
}

static void choose_page(struct nv_probe *probe, const struct place *place, bool demanded)
{
    choose(probe, &nv_medium_page, place->kind == NV_FS_DISK || place->map_sync);
    const char *note = "";
    if (place->kind == NV_FS_LOCAL)
        note = "; not known to survive a power loss";
    else if (place->kind == NV_FS_MEMORY)
        note = "; a power loss empties it";
    else if (place->map_sync && place->force == PMEM_NEVER)
        note = "; MAP_SYNC works, but PMEM_IS_PMEM_FORCE=0 forbids it";
    else if (!demanded && place->force == PMEM_ALWAYS)
        note = "; PMEM_IS_PMEM_FORCE=1 counts on memory file systems only";
    snprintf(probe->why, sizeof(probe->why), "%s%s%s", demanded ? "demanded, on " : "", place->name,
             note);
}

static void choose_auto(struct nv_probe *probe, const struct place *place)
{
    const bool pretend = place->kind == NV_FS_MEMORY && place->force == PMEM_ALWAYS;
    if ((place->map_sync && place->force != PMEM_NEVER) || pretend)
        choose_dax(probe, place);
    else if (place->kind == NV_FS_MEMORY)
        choose_ram(probe, place, false);
    else
        choose_page(probe, place, false);
}

int nv_medium_probe(struct nv_file *file, enum nvmmio_medium wanted, struct nv_probe *probe)
{
    const struct nv_os *os = file->os;
    *probe = (struct nv_probe){.ops = NULL};
    if (os->medium) {
        const struct nv_medium_ops *ops = os->medium(file);
        if (ops) {
            choose(probe, ops, true);
            snprintf(probe->why, sizeof(probe->why), "a simulated machine");
            return 0;
        }
    }

    struct place place = {.force = pmem_force()};
    place.kind = os->fs_kind(file, place.name, sizeof(place.name));
    place.map_sync = map_sync_works(file);
    /* MAP_SYNC is a promise of its own, also by a file system that is not on the list. */
    if (place.kind == NV_FS_UNKNOWN && !place.map_sync) {
        snprintf(probe->why, sizeof(probe->why),
                 "shared mappings on %s are not known to be coherent between processes",
                 place.name);
        return -EOPNOTSUPP;
    }
    switch (wanted) {
    case NVMMIO_MEDIUM_AUTO:
        choose_auto(probe, &place);
        break;
    case NVMMIO_MEDIUM_DAX:
        choose_dax(probe, &place);
        break;
    case NVMMIO_MEDIUM_PAGE:
        choose_page(probe, &place, true);
        break;
    case NVMMIO_MEDIUM_RAM:
        choose_ram(probe, &place, true);
        break;
    case NVMMIO_MEDIUM_SIM:
    default:
        snprintf(probe->why, sizeof(probe->why), "no such medium can be demanded");
        return -EINVAL;
    }
    return probe->ops ? 0 : -EOPNOTSUPP;
}
