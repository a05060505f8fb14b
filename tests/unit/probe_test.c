/* medium: which one a file gets, for every file system, every wish and every PMEM_IS_PMEM_FORCE. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/medium.h"

/* ---- a file system that answers what the test wants ------------------------------------------ */

static struct {
    enum nv_fs_kind kind;
    const char *name;
    bool map_sync, read_only;
    int maps; /* not unmapped */
} place;

static enum nv_fs_kind fake_kind(struct nv_file *file, char *name, size_t name_bytes)
{
    (void)file;
    snprintf(name, name_bytes, "%s", place.name);
    return place.kind;
}

static int fake_map(struct nv_file *file, size_t bytes, bool writable, bool sync, void **address)
{
    static char page[4096];
    (void)file;
    expect(bytes == sizeof(page) && sync);
    if (place.read_only && writable)
        return -EACCES;
    if (!place.map_sync)
        return -EOPNOTSUPP;
    *address = page;
    place.maps++;
    return 0;
}

static int fake_unmap(struct nv_file *file, void *address, size_t bytes)
{
    (void)file;
    (void)address;
    (void)bytes;
    place.maps--;
    return 0;
}

static const struct nv_os fake_os = {
    .name = "fake", .map = fake_map, .unmap = fake_unmap, .fs_kind = fake_kind};

#define AUTO NVMMIO_MEDIUM_AUTO
#define DAX NVMMIO_MEDIUM_DAX
#define PAGE NVMMIO_MEDIUM_PAGE
#define RAM NVMMIO_MEDIUM_RAM
#define NONE NULL
#define REFUSED (-EOPNOTSUPP)

struct rule {
    enum nv_fs_kind kind;
    const char *name;
    bool map_sync;
    const char *force; /* PMEM_IS_PMEM_FORCE */
    enum nvmmio_medium wanted;
    int status;
    const struct nv_medium_ops *ops;
    bool forced, survives_power;
    const char *why; /* a part of it */
};

static const struct rule rules[] = {
    /* Persistent memory. */
    {NV_FS_DISK, "ext4", true, NULL, AUTO, 0, &nv_medium_dax, false, true, "MAP_SYNC works"},
    {NV_FS_DISK, "xfs", true, "1", AUTO, 0, &nv_medium_dax, false, true, "xfs maps persistent"},
    {NV_FS_DISK, "ext4", true, "0", AUTO, 0, &nv_medium_page, false, true, "FORCE=0 forbids it"},
    {NV_FS_DISK, "ext4", true, NULL, DAX, 0, &nv_medium_dax, false, true, "MAP_SYNC works"},
    {NV_FS_DISK, "ext4", true, "0", DAX, REFUSED, NONE, false, false, "FORCE=0 forbids"},
    {NV_FS_DISK, "ext4", true, NULL, PAGE, 0, &nv_medium_page, false, true, "demanded, on ext4"},
    {NV_FS_DISK, "ext4", true, NULL, RAM, 0, &nv_medium_ram, false, false, "nothing is synced"},
    {NV_FS_UNKNOWN, "file system 0x1", true, NULL, AUTO, 0, &nv_medium_dax, false, true,
     "MAP_SYNC works"},
    {NV_FS_UNKNOWN, "file system 0x1", true, "0", AUTO, 0, &nv_medium_page, false, true,
     "FORCE=0 forbids it"},
    /* Memory. */
    {NV_FS_MEMORY, "tmpfs", false, NULL, AUTO, 0, &nv_medium_ram, false, false, "tmpfs is in mem"},
    {NV_FS_MEMORY, "tmpfs", false, "0", AUTO, 0, &nv_medium_ram, false, false, "power loss"},
    {NV_FS_MEMORY, "tmpfs", false, "2", AUTO, 0, &nv_medium_ram, false, false, "power loss"},
    {NV_FS_MEMORY, "tmpfs", false, "", AUTO, 0, &nv_medium_ram, false, false, "power loss"},
    {NV_FS_MEMORY, "tmpfs", false, "1", AUTO, 0, &nv_medium_dax, true, false, "power loss"},
    {NV_FS_MEMORY, "ramfs", false, "1", DAX, 0, &nv_medium_dax, true, false, "FORCE=1"},
    {NV_FS_MEMORY, "tmpfs", false, NULL, DAX, REFUSED, NONE, false, false, "FORCE=1 treats"},
    {NV_FS_MEMORY, "tmpfs", false, "0", DAX, REFUSED, NONE, false, false, "FORCE=0 forbids"},
    {NV_FS_MEMORY, "tmpfs", false, "1", RAM, 0, &nv_medium_ram, false, false, "power loss"},
    {NV_FS_MEMORY, "tmpfs", false, "1", PAGE, 0, &nv_medium_page, false, false, "power loss"},
    /* Disks. */
    {NV_FS_DISK, "ext4", false, NULL, AUTO, 0, &nv_medium_page, false, true, "ext4"},
    {NV_FS_DISK, "ext4", false, "0", AUTO, 0, &nv_medium_page, false, true, "ext4"},
    {NV_FS_DISK, "ext4", false, "1", AUTO, 0, &nv_medium_page, false, true,
     "counts on memory file systems only"},
    {NV_FS_DISK, "ext4", false, "1", DAX, REFUSED, NONE, false, false,
     "counts on memory file systems only"},
    {NV_FS_DISK, "ext4", false, NULL, DAX, REFUSED, NONE, false, false, "no MAP_SYNC"},
    {NV_FS_DISK, "ext4", false, NULL, PAGE, 0, &nv_medium_page, false, true, "demanded"},
    {NV_FS_DISK, "ext4", false, NULL, RAM, 0, &nv_medium_ram, false, false, "nothing is synced"},
    {NV_FS_DISK, "btrfs", false, NULL, AUTO, 0, &nv_medium_page, false, true, "btrfs"},
    {NV_FS_DISK, "btrfs", false, NULL, RAM, 0, &nv_medium_ram_unmapped, false, false, "not mapped"},
    {NV_FS_DISK, "overlayfs over zfs", false, NULL, RAM, 0, &nv_medium_ram_unmapped, false, false,
     "not mapped"},
    /* Local, but who knows what it is made of. */
    {NV_FS_LOCAL, "overlayfs (mounted volatile)", false, NULL, AUTO, 0, &nv_medium_page, false,
     false, "mounted volatile); not known to survive"},
    {NV_FS_LOCAL, "overlayfs (mounted volatile)", false, "1", AUTO, 0, &nv_medium_page, false,
     false, "not known to survive"},
    {NV_FS_LOCAL, "overlayfs (x)", false, NULL, RAM, 0, &nv_medium_ram_unmapped, false, false,
     "not mapped"},
    {NV_FS_LOCAL, "ext4 on a RAM disk", false, NULL, PAGE, 0, &nv_medium_page, false, false,
     "not known to survive"},
    {NV_FS_LOCAL, "ext4 on a RAM disk", false, "1", DAX, REFUSED, NONE, false, false, "MAP_SYNC"},
    /* The rest. */
    {NV_FS_UNKNOWN, "NFS", false, NULL, AUTO, REFUSED, NONE, false, false, "NFS"},
    {NV_FS_UNKNOWN, "NFS", false, "1", DAX, REFUSED, NONE, false, false, "coherent"},
    {NV_FS_UNKNOWN, "NFS", false, NULL, PAGE, REFUSED, NONE, false, false, "coherent"},
    {NV_FS_UNKNOWN, "NFS", false, NULL, RAM, REFUSED, NONE, false, false, "coherent"},
    {NV_FS_DISK, "ext4", false, NULL, NVMMIO_MEDIUM_SIM, -EINVAL, NONE, false, false, "demanded"},
    {NV_FS_DISK, "ext4", false, NULL, (enum nvmmio_medium)77, -EINVAL, NONE, false, false,
     "demanded"},
};

static void set_force(const char *value)
{
    if (value)
        setenv("PMEM_IS_PMEM_FORCE", value, 1);
    else
        unsetenv("PMEM_IS_PMEM_FORCE");
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *rule = &rules[i / 2];
        struct nv_file file = {.os = &fake_os, .fd = -1};
        struct nv_probe probe;
        place.kind = rule->kind;
        place.name = rule->name;
        place.map_sync = rule->map_sync;
        place.read_only = i % 2; /* which changes nothing */
        set_force(rule->force);
        const int status = nv_medium_probe(&file, rule->wanted, &probe);
        if (status != rule->status || probe.ops != rule->ops || probe.forced != rule->forced ||
            probe.survives_power != rule->survives_power || !strstr(probe.why, rule->why)) {
            print_error("rule %zu: %s, PMEM_IS_PMEM_FORCE=%s, wanted %d: %d, forced %d, "
                        "survives %d: %s\n",
                        i / 2, rule->name, rule->force ? rule->force : "(unset)", rule->wanted,
                        status, probe.forced, probe.survives_power, probe.why);
            fail();
        }
        expect_eq(place.maps, 0);
    }
    set_force(NULL);
}

static const struct nv_medium_ops simulated = {.kind = NVMMIO_MEDIUM_SIM};

static const struct nv_medium_ops *fake_medium(struct nv_file *file)
{
    (void)file;
    return &simulated;
}

static void test_simulated(void **state)
{
    (void)state;
    struct nv_os os = fake_os;
    struct nv_file file = {.os = &os, .fd = -1};
    struct nv_probe probe;
    os.medium = fake_medium;
    expect_eq(nv_medium_probe(&file, AUTO, &probe), 0);
    expect(probe.ops == &simulated);
    expect(probe.survives_power && !probe.forced);
}

/* The longest names fit, or are cut; nothing is written behind `why`. */
static void test_long_name(void **state)
{
    (void)state;
    char name[200];
    struct nv_file file = {.os = &fake_os, .fd = -1};
    struct nv_probe probe;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    place.name = name;
    for (int kind = NV_FS_UNKNOWN; kind <= NV_FS_MEMORY; kind++)
        for (int wanted = AUTO; wanted <= NVMMIO_MEDIUM_SIM; wanted++)
            for (int i = 0; i < 6; i++) {
                static const char *const forces[3] = {NULL, "0", "1"};
                place.kind = (enum nv_fs_kind)kind;
                place.map_sync = i % 2;
                set_force(forces[i / 2]);
                const int status = nv_medium_probe(&file, (enum nvmmio_medium)wanted, &probe);
                expect_eq(!status, probe.ops != NULL);
                expect(strlen(probe.why) > 0 && strlen(probe.why) < sizeof(probe.why));
            }
    set_force(NULL);
}

/* ---- the real system ------------------------------------------------------------------------- */

static void expect_real(struct unit_dir *dir, const char *force, int flags,
                        const struct nv_medium_ops *want)
{
    struct nv_file file;
    struct nv_probe probe;
    struct nv_medium medium;
    const bool writable = flags & NV_OPEN_WRITE;
    set_force(force);
    unit_open(&file, unit_path(dir, "a"), flags);
    expect_eq(nv_medium_probe(&file, AUTO, &probe), 0);
    expect(probe.ops == want);
    expect_eq(unit_size(&file), 0); /* it only looks */
    expect_eq(nv_medium_open(&medium, probe.ops, &file, writable, 4096), 0);
    expect_eq(nv_medium_reserve(&medium, 1), writable ? 0 : -EINVAL);
    if (writable)
        expect_eq(medium.ops->shrink(&medium, 0), 0);
    nv_medium_close(&medium);
    nv_os_posix.close(&file);
    set_force(NULL);
}

static void test_real_memory(void **state)
{
    (void)state;
    struct unit_dir dir;
    unit_dir_memory(&dir);
    expect_real(&dir, NULL, NV_OPEN_WRITE | NV_OPEN_CREATE, &nv_medium_ram);
    expect_real(&dir, "1", NV_OPEN_WRITE, &nv_medium_dax);
    expect_real(&dir, "0", NV_OPEN_WRITE, &nv_medium_ram);
    expect_real(&dir, NULL, 0, &nv_medium_ram);
    expect_real(&dir, "1", 0, &nv_medium_dax);
    unit_dir_remove(&dir);
}

static void test_real_disk(void **state)
{
    (void)state;
    struct unit_dir dir;
    struct nv_file file;
    char name[64];
    void *address;
    unit_dir_disk(&dir);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE | NV_OPEN_CREATE);
    const enum nv_fs_kind kind = nv_os_posix.fs_kind(&file, name, sizeof(name));
    const bool dax = nv_os_posix.map(&file, 4096, true, true, &address) == 0;
    if (dax)
        nv_os_posix.unmap(&file, address, 4096);
    nv_os_posix.close(&file);
    if (kind == NV_FS_DISK || kind == NV_FS_LOCAL) {
        expect_real(&dir, NULL, NV_OPEN_WRITE, dax ? &nv_medium_dax : &nv_medium_page);
        expect_real(&dir, NULL, 0, dax ? &nv_medium_dax : &nv_medium_page);
        expect_real(&dir, "1", NV_OPEN_WRITE, dax ? &nv_medium_dax : &nv_medium_page);
        expect_real(&dir, "0", NV_OPEN_WRITE, &nv_medium_page);
    } else {
        print_message("skipped: %s is on %s\n", dir.path, name);
    }
    unit_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),     cmocka_unit_test(test_simulated),
        cmocka_unit_test(test_long_name), cmocka_unit_test(test_real_memory),
        cmocka_unit_test(test_real_disk),
    };
    unit_begin();
    return cmocka_run_group_tests_name("medium, probe", tests, NULL, NULL);
}
