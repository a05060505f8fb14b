/*
 * small_disk: a small file system of the test's own, to be filled: ext4 on a
 * loop device where the place is a disk, else tmpfs.  It is mounted in a child's
 * own name space, and gone with the child.
 *
 * Threads: the test's own.
 */
#ifndef TESTS_CORE_SMALL_DISK_H
#define TESTS_CORE_SMALL_DISK_H

#include <stdint.h>

#include "tests/core/child.h"
#include "tests/core/place.h"

struct small_disk {
    unsigned ext4_mib, tmpfs_mib; /* how large */
    const char *scratch;
    char path[640];    /* where it is mounted */
    char ballast[700]; /* a file that takes what space there is */
};

/* Make the directory to mount on, in `scratch`. */
void small_disk_make(struct small_disk *disk, const struct scratch *scratch);
/* In a test: run `main` in a child, where it mounts the disk.  Skips the test where nothing can
 * be mounted. */
void small_disk_run(child_main *main);
/* In that child. */
void small_disk_mount(const struct small_disk *disk);
void small_disk_make_read_only(const struct small_disk *disk);
/* Fill it up to `left` bytes; give the space back. */
void small_disk_fill(const struct small_disk *disk, uint64_t left);
void small_disk_drop(const struct small_disk *disk);

#endif
