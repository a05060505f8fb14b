/* fast_disk: see fast_disk.h. */
#include "tests/faults/fast_disk.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/core/check.h"
#include "tests/core/child.h"

static char directory[100];
static pid_t owner;

static bool mount_ext4(void)
{
    char command[2000], output[1024];
    const char *const shell[] = {"sh", "-c", command, NULL};

    (void)snprintf(command, sizeof(command),
                   "PATH=$PATH:/sbin:/usr/sbin; truncate -s 128M '%s.image' &&"
                   " mkfs.ext4 -q -m 0 '%s.image' && mount -o loop '%s.image' '%s' 2>&1;"
                   " status=$?; rm -f '%s.image'; exit $status",
                   directory, directory, directory, directory, directory);
    return child_exec(shell, output, sizeof(output)) == 0;
}

static void leave(void)
{
    if (getpid() != owner)
        return;
    (void)umount2(directory, MNT_DETACH);
    (void)rmdir(directory);
}

static const char *fast_disk(void)
{
    if (directory[0] || place_kind() != PLACE_PAGE || geteuid() != 0)
        return directory;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return directory;
    (void)snprintf(directory, sizeof(directory), "/dev/shm/nvmmio-disk-%d", (int)getpid());
    check_eq(mkdir(directory, 0755), 0);
    owner = getpid();
    if (mount_ext4() && atexit(leave) == 0)
        return directory;
    leave();
    directory[0] = '\0';
    return directory;
}

void fast_disk_scratch(struct scratch *scratch)
{
    if (*fast_disk())
        scratch_make_in(scratch, directory);
    else
        scratch_make(scratch);
}
