/*
 * os_posix_process: who this process is, and whether another one still lives.
 *
 * Only a backstop: death is established by taking the byte lock of the dead.
 * So every doubt is answered as a doubt (-errno), never as a death.
 */
#include "core/os_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAT_BYTES_MAX 2048 /* /proc/<pid>/stat: 52 numbers and a name of at most 64 bytes */

enum { FIELD_STATE = 3, FIELD_THREADS = 20, FIELD_START_TIME = 22 }; /* as proc(5) counts */

struct process_stat {
    char state;
    uint64_t threads;
    uint64_t start_time;
};

ssize_t nv_posix_read_small(const char *path, char *out, size_t out_bytes)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct nv_file file = {.os = &nv_os_posix, .fd = fd};
    const ssize_t got = nv_posix_pread(&file, out, out_bytes - 1, 0);
    close(fd);
    out[got > 0 ? got : 0] = '\0';
    return got;
}

/* `name`: "self" or a number. */
static int read_process(const char *name, struct process_stat *out)
{
    char path[64], text[STAT_BYTES_MAX];
    snprintf(path, sizeof(path), "/proc/%s/stat", name);
    const ssize_t got = nv_posix_read_small(path, text, sizeof(text));
    if (got < 0)
        return (int)got;
    /* The second field is the program's name in parentheses, and may itself hold anything. */
    char *at = strrchr(text, ')');
    if (!at)
        return -EIO;
    char *save;
    int field = FIELD_STATE;
    for (char *word = strtok_r(at + 1, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (field == FIELD_STATE)
            out->state = word[0];
        else if (field == FIELD_THREADS)
            out->threads = strtoull(word, NULL, 10);
        else if (field == FIELD_START_TIME) {
            out->start_time = strtoull(word, NULL, 10);
            return 0;
        }
        field++;
    }
    return -EIO;
}

/*
 * In which numbers and times mean the same: the namespace of pids and, since start times are
 * shifted by it, that of time, 32 bits of each.
 */
static int own_namespace(uint64_t *out)
{
    struct stat pids, times;
    if (stat("/proc/self/ns/pid", &pids) < 0)
        return -errno;
    if (stat("/proc/self/ns/time", &times) < 0)
        times.st_ino = 0; /* a kernel without them */
    *out = (uint64_t)pids.st_ino | (uint64_t)times.st_ino << 32;
    return 0;
}

int nv_posix_process_self(const struct nv_os *os, uint64_t *pid, uint64_t *start_time,
                          uint64_t *pid_namespace)
{
    (void)os;
    struct process_stat self;
    int status = read_process("self", &self);
    if (status)
        return status;
    status = own_namespace(pid_namespace);
    if (status)
        return status;
    *pid = (uint64_t)getpid();
    *start_time = self.start_time;
    return 0;
}

static bool exists(uint64_t pid)
{
    return !kill((pid_t)pid, 0) || errno != ESRCH;
}

int nv_posix_process_alive(const struct nv_os *os, uint64_t pid, uint64_t start_time,
                           uint64_t pid_namespace)
{
    (void)os;
    if (!pid || pid > INT32_MAX) /* kill(2) takes 0 and -1 for groups */
        return -EINVAL;
    uint64_t here = 0;
    int status = own_namespace(&here);
    if (status)
        return status;
    if (here != pid_namespace)
        return -EXDEV;
    /* Asked first: a /proc mounted with hidepid, or of another namespace, shows less. */
    if (!exists(pid))
        return 0;
    char name[24];
    snprintf(name, sizeof(name), "%" PRIu64, pid);
    struct process_stat other;
    status = read_process(name, &other);
    if (status == -ENOENT || status == -ESRCH)
        return exists(pid) ? -EACCES : 0;
    if (status)
        return status;
    if (other.start_time != start_time)
        return 0;
    /* A first thread that ended before the others is a zombie too; its process lives. */
    if ((other.state == 'Z' || other.state == 'X') && other.threads <= 1)
        return 0;
    return 1;
}
