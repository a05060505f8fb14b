/*
 * os_posix_fs: what kind of file system a file is on.
 *
 * A list of what is allowed: shared mappings of a network file system (NFS,
 * CIFS, 9p, virtiofs, FUSE) are not coherent between machines, and nobody can
 * know what an unlisted one does.  DISK is only said where a power loss is known
 * to leave what was synced: not of an overlay whose upper layer cannot be seen,
 * nor of a RAM disk or of a loop device over a file in memory.
 */
#include "core/os_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#define RAM_DISK_MAJOR 1u /* block devices /dev/ram*: Documentation/admin-guide/devices.txt */
#define MAGIC_OVERLAY 0x794c7630u

static const struct known_fs {
    uint32_t magic; /* statfs(2) f_type */
    enum nv_fs_kind kind;
    const char *name;
} known[] = {
    {0x0000ef53, NV_FS_DISK, "ext4"}, /* ext2 and ext3 answer the same */
    {0x58465342, NV_FS_DISK, "xfs"},
    {0x9123683e, NV_FS_DISK, "btrfs"},
    {0xf2f52010, NV_FS_DISK, "f2fs"},
    {0x3153464a, NV_FS_DISK, "jfs"},
    {0x52654973, NV_FS_DISK, "reiserfs"},
    {0x2fc12fc1, NV_FS_DISK, "zfs"},
    {0xca451a4e, NV_FS_DISK, "bcachefs"},
    {0x01021994, NV_FS_MEMORY, "tmpfs"},
    {0x858458f6, NV_FS_MEMORY, "ramfs"},
    {MAGIC_OVERLAY, NV_FS_LOCAL, "overlayfs"},
    /* Named for the message only. */
    {0x00006969, NV_FS_UNKNOWN, "NFS"},
    {0xff534d42, NV_FS_UNKNOWN, "CIFS"},
    {0xfe534d42, NV_FS_UNKNOWN, "SMB"},
    {0x01021997, NV_FS_UNKNOWN, "9p"},
    {0x65735546, NV_FS_UNKNOWN, "FUSE or virtiofs"},
    {0x00c36400, NV_FS_UNKNOWN, "Ceph"},
    {0x01161970, NV_FS_UNKNOWN, "GFS2"},
    {0x7461636f, NV_FS_UNKNOWN, "OCFS2"},
    {0x00004d44, NV_FS_UNKNOWN, "FAT"},
    {0x2011bab0, NV_FS_UNKNOWN, "exFAT"},
};

static const struct known_fs *find_fs(uint32_t magic)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].magic == magic)
            return &known[i];
    return NULL;
}

/* Whether the block device under `device` is memory: a RAM disk, zram, or a loop over tmpfs. */
static const char *memory_device(dev_t device)
{
    char path[PATH_MAX], target[PATH_MAX];
    if (major(device) == RAM_DISK_MAJOR)
        return "RAM disk";
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device), minor(device));
    if (!realpath(path, target))
        return NULL; /* not a block device (btrfs, zfs), or no /sys */
    if (strstr(target, "/zram"))
        return "zram";
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/loop/backing_file", major(device),
             minor(device));
    const ssize_t got = nv_posix_read_small(path, target, sizeof(target));
    if (got <= 0)
        return NULL;
    target[strcspn(target, "\n")] = '\0';
    struct statfs fs;
    if (statfs(target, &fs) < 0)
        return NULL;
    const struct known_fs *below = find_fs((uint32_t)fs.f_type);
    return below && below->kind == NV_FS_MEMORY ? "loop device in memory" : NULL;
}

/* A number in octal or a plain byte: mountinfo escapes blanks and backslashes in paths. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from;) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

/* The line of /proc/self/mountinfo of mount `id`; `line` is to be freed in any case. */
static bool mount_line(uint64_t id, char **line)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    size_t size = 0;
    bool found = false;
    while (mounts && !found && getline(line, &size, mounts) > 0)
        found = strtoull(*line, NULL, 10) == id;
    if (mounts)
        fclose(mounts);
    return found;
}

/*
 * The upper layer of an overlay, from the options of its mount; NULL where it cannot be told, as
 * in a container that does not see it, or where the mount is volatile (its syncs do nothing).
 */
static const struct known_fs *overlay_upper(int fd, const struct statfs *overlay, dev_t *device,
                                            bool *is_volatile)
{
    struct statx stx;
    *is_volatile = false;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0 || !(stx.stx_mask & STATX_MNT_ID))
        return NULL;
    char *line = NULL;
    char *options = mount_line(stx.stx_mnt_id, &line) ? strstr(line, " - overlay ") : NULL;
    const struct known_fs *upper = NULL;
    char *save;
    for (char *word = options ? strtok_r(options, ", \n", &save) : NULL; word;
         word = strtok_r(NULL, ", \n", &save)) {
        struct statfs fs;
        struct stat st;
        if (!strcmp(word, "volatile") || !strncmp(word, "fsync=volatile", 14)) {
            *is_volatile = true;
        } else if (!strncmp(word, "upperdir=", 9)) {
            unescape(word + 9);
            /* The path is one of the mounter's: it must show the same store as the overlay does. */
            if (word[9] == '/' && !statfs(word + 9, &fs) && !stat(word + 9, &st) &&
                fs.f_blocks == overlay->f_blocks && fs.f_files == overlay->f_files) {
                upper = find_fs((uint32_t)fs.f_type);
                *device = st.st_dev;
            }
        }
    }
    free(line);
    return upper;
}

enum nv_fs_kind nv_posix_fs_kind(struct nv_file *file, char *name, size_t name_bytes)
{
    struct statfs fs;
    struct stat st;
    if (fstatfs(file->fd, &fs) < 0 || fstat(file->fd, &st) < 0) {
        snprintf(name, name_bytes, "a file system that does not answer");
        return NV_FS_UNKNOWN;
    }
    const struct known_fs *found = find_fs((uint32_t)fs.f_type);
    if (!found) {
        snprintf(name, name_bytes, "file system 0x%lx", (unsigned long)fs.f_type);
        return NV_FS_UNKNOWN;
    }

    const char *over = ""; /* "overlayfs over " */
    dev_t device = st.st_dev;
    if (found->magic == MAGIC_OVERLAY) {
        bool is_volatile;
        const struct known_fs *upper = overlay_upper(file->fd, &fs, &device, &is_volatile);
        if (!upper || is_volatile) {
            snprintf(name, name_bytes, "overlayfs (%s)",
                     is_volatile ? "mounted volatile" : "upper layer not visible");
            return NV_FS_LOCAL;
        }
        found = upper;
        over = "overlayfs over ";
    }
    const char *memory = found->kind == NV_FS_DISK ? memory_device(device) : NULL;
    if (memory) {
        snprintf(name, name_bytes, "%s%s on a %s", over, found->name, memory);
        return NV_FS_LOCAL;
    }
    snprintf(name, name_bytes, "%s%s", over, found->name);
    return found->kind;
}
