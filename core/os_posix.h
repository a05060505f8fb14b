/*
 * os_posix.h: what the files of os_posix share.  For them alone.
 *
 * Threads and crashes: as core/os.h says.
 */
#ifndef NV_OS_POSIX_H
#define NV_OS_POSIX_H

#include "core/os.h"

/* os_posix_file.c: data, space, mappings */
ssize_t nv_posix_pread(struct nv_file *file, void *buffer, size_t bytes, uint64_t offset);
int nv_posix_pwritev(struct nv_file *file, const struct iovec *parts, int count, uint64_t offset);
int nv_posix_sync_data(struct nv_file *file);
int nv_posix_write_back(struct nv_file *file, uint64_t offset, uint64_t bytes);
int nv_posix_truncate(struct nv_file *file, uint64_t bytes);
int nv_posix_allocate(struct nv_file *file, uint64_t offset, uint64_t bytes, bool extend);
int nv_posix_write_zeros(struct nv_file *file, uint64_t offset, uint64_t bytes);
int nv_posix_next_data(struct nv_file *file, uint64_t offset, uint64_t *where);
int nv_posix_map(struct nv_file *file, size_t bytes, bool writable, bool sync, void **address);
int nv_posix_unmap(struct nv_file *file, void *address, size_t bytes);
/* Look at RLIMIT_FSIZE again, by which the two writing calls above are kept from its signal. */
void nv_posix_read_limits(void);

/* os_posix_fs.c */
enum nv_fs_kind nv_posix_fs_kind(struct nv_file *file, char *name, size_t name_bytes);

/* os_posix_process.c */
int nv_posix_process_self(const struct nv_os *os, uint64_t *pid, uint64_t *start_time,
                          uint64_t *pid_namespace);
int nv_posix_process_alive(const struct nv_os *os, uint64_t pid, uint64_t start_time,
                           uint64_t pid_namespace);
/* A small file of /proc or /sys, whole, NUL-terminated: its length or -errno. */
ssize_t nv_posix_read_small(const char *path, char *out, size_t out_bytes);

#endif
