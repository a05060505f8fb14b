/*
 * broken: the calls on which durability rests, not done.  Linked into broken_writer
 * (--wrap), to show which of them a loss of power in the virtual machine finds
 * missing: map_sync alone.
 * NVMMIO_TEST_BROKEN says which:
 *   map_sync   mappings without MAP_SYNC: what a page fault changes in the file
 *              system is durable some time later
 *   sync       fsync and fdatasync do nothing
 *   fence      no write-back, no non-temporal store, no fence
 * Only the writer's own file system calls are left as they are.
 */
#include <libpmem.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
void *__real_pmem_memcpy(void *to, const void *from, size_t bytes, unsigned flags);
void __real_pmem_drain(void);

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
void *__wrap_pmem_memcpy(void *to, const void *from, size_t bytes, unsigned flags);
void __wrap_pmem_drain(void);

static bool broken(const char *what)
{
    const char *which = getenv("NVMMIO_TEST_BROKEN");

    return which && strcmp(which, what) == 0;
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (broken("map_sync"))
        flags &= ~MAP_SYNC;
    return __real_mmap(at, bytes, protection, flags, fd, offset);
}

int __wrap_fsync(int fd)
{
    return broken("sync") ? 0 : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    return broken("sync") ? 0 : __real_fdatasync(fd);
}

void *__wrap_pmem_memcpy(void *to, const void *from, size_t bytes, unsigned flags)
{
    return broken("fence") ? memcpy(to, from, bytes) : __real_pmem_memcpy(to, from, bytes, flags);
}

void __wrap_pmem_drain(void)
{
    if (!broken("fence"))
        __real_pmem_drain();
}
