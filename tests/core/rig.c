/* rig: see rig.h. */
#include "tests/core/rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/engine.h"

struct nv_process *rig_process(const struct nv_os *os)
{
    struct nv_process *process = NULL;

    check_eq(nv_process_create(os, &process), 0);
    return process;
}

struct nvmmio_options rig_options(void)
{
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;

    options.flags = NVMMIO_CREATE;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    return options;
}

struct nvmmio *rig_open(struct nv_process *process, const char *path,
                        const struct nvmmio_options *options)
{
    struct nvmmio *handle = NULL;

    check_ok(nv_open(process, path, options, &handle));
    check(handle != NULL);
    return handle;
}

bool rig_is(const struct nv_file *file, const char *end)
{
    char link[64], name[1024];
    size_t bytes = strlen(end);
    ssize_t length;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", file->fd);
    length = readlink(link, name, sizeof(name));
    check(length > 0 && (size_t)length < sizeof(name));
    return (size_t)length >= bytes && memcmp(name + length - bytes, end, bytes) == 0;
}

void rig_die(void)
{
    (void)kill(getpid(), SIGKILL);
    abort(); /* not reached */
}

void rig_faults_kill(void)
{
    check(signal(SIGBUS, SIG_DFL) != SIG_ERR);
    check(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
}

const struct nvmmio_mark *rig_mark(void)
{
    static struct nvmmio_mark mark;

    mark = (struct nvmmio_mark){.bytes = NVMMIO_MARK_BYTES, .nonce_at = RIG_MARK_NONCE_AT};
    memset(mark.mask, 0x5a, NVMMIO_NONCE_BYTES);
    memset(mark.empty, 0x33, sizeof(mark.empty));
    mark.sign[0] = 1;
    return &mark;
}

uint8_t rig_plain_byte(const char *path, uint64_t offset)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    check(fd >= 0);
    check_eq(pread(fd, &byte, 1, (off_t)offset), 1);
    check_eq(close(fd), 0);
    return byte;
}
