/*
 * fast_disk: where the tests of this folder have their files.  On the place `page`
 * that is an ext4 of their own, in memory: a disk makes each of some thousand runs
 * wait for dozens of fdatasyncs, and what is called is the same.  It is mounted in a
 * name space of the process and goes with it.  Without the right to mount, it is the
 * disk.
 */
#ifndef TESTS_FAULTS_FAST_DISK_H
#define TESTS_FAULTS_FAST_DISK_H

#include "tests/core/place.h"

/* Make a scratch directory there.  Before there are threads. */
void fast_disk_scratch(struct scratch *scratch);

#endif
