/* small_disk: see small_disk.h. */
#include "tests/core/small_disk.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/core/check.h"

#define CANNOT_MOUNT 77

void small_disk_make(struct small_disk *disk, const struct scratch *scratch)
{
    disk->scratch = scratch->directory;
    (void)snprintf(disk->path, sizeof(disk->path), "%s/mnt", scratch->directory);
    (void)snprintf(disk->ballast, sizeof(disk->ballast), "%s/ballast", disk->path);
    check_eq(mkdir(disk->path, 0755), 0);
}

void small_disk_run(child_main *main)
{
    struct child child;

    child_start(&child, main, NULL);
    const int result = child_wait(&child);
    if (result == CANNOT_MOUNT) {
        printf("cannot mount here: not run\n");
        skip();
    }
    check_eq(result, 0);
}

static bool mount_ext4(const struct small_disk *disk)
{
    char image[640], command[3000], output[1024];
    const char *const shell[] = {"/bin/sh", "-c", command, NULL};

    (void)snprintf(image, sizeof(image), "%s/image", disk->scratch);
    (void)snprintf(
        command, sizeof(command),
        "PATH=$PATH:/sbin:/usr/sbin; truncate -s %uM '%s' && mkfs.ext4 -q -m 0 -F '%s' &&"
        " mount -o loop '%s' '%s' 2>&1",
        disk->ext4_mib, image, image, image, disk->path);
    return child_exec(shell, output, sizeof(output)) == 0;
}

void small_disk_mount(const struct small_disk *disk)
{
    char options[32];
    bool mounted =
        unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;

    (void)snprintf(options, sizeof(options), "size=%um", disk->tmpfs_mib);
    if (mounted && place_kind() == PLACE_PAGE)
        mounted = mount_ext4(disk);
    else if (mounted)
        mounted = mount("none", disk->path, "tmpfs", 0, options) == 0;
    if (!mounted)
        _exit(CANNOT_MOUNT);
}

void small_disk_make_read_only(const struct small_disk *disk)
{
    check_eq(mount("none", disk->path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
}

void small_disk_fill(const struct small_disk *disk, uint64_t left)
{
    static char block[4096];
    struct statvfs status;
    const int fd = open(disk->ballast, O_WRONLY | O_CREAT | O_APPEND, 0644);

    check(fd >= 0);
    for (;;) {
        check_eq(statvfs(disk->path, &status), 0);
        if ((uint64_t)status.f_bavail * status.f_frsize <= left ||
            write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
            break;
    }
    check(fsync(fd) == 0 || left == 0);
    close(fd);
}

void small_disk_drop(const struct small_disk *disk)
{
    (void)unlink(disk->ballast);
}
