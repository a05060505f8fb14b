#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FAILED 99

static bool in_child;
static bool can_mount;

void unit_failed(const char *file, int line, const char *what, int64_t got, int64_t want)
{
    if (in_child) {
        fprintf(stderr, "%s:%d: in a child: %s: %lld, not %lld\n", file, line, what, (long long)got,
                (long long)want);
        _exit(CHILD_FAILED);
    }
    print_error("%s: %lld, not %lld\n", what, (long long)got, (long long)want);
    _fail(file, line);
    abort(); /* not reached: _fail jumps */
}

static void write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        const ssize_t ignored = write(fd, text, strlen(text));
        (void)ignored;
        close(fd);
    }
}

/* As root in a mount namespace, else in a user namespace in which we are. */
static bool enter_namespace(void)
{
    char map[64];
    const unsigned uid = getuid(), gid = getgid();
    if (unshare(CLONE_NEWNS)) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
            return false;
        write_text("/proc/self/setgroups", "deny");
        snprintf(map, sizeof(map), "0 %u 1", uid);
        write_text("/proc/self/uid_map", map);
        snprintf(map, sizeof(map), "0 %u 1", gid);
        write_text("/proc/self/gid_map", map);
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

void unit_begin(void)
{
    can_mount = enter_namespace();
}

/* ---- Directories and files ----------------------------------------------------------------- */

static void make_dir(struct unit_dir *dir, const char *root)
{
    snprintf(dir->path, sizeof(dir->path), "%.200s/nvmmio-unit-XXXXXX", root);
    expect(mkdtemp(dir->path) != NULL);
}

void unit_dir_memory(struct unit_dir *dir)
{
    make_dir(dir, "/dev/shm");
}

void unit_dir_medium(struct unit_dir *dir)
{
    const char *root = getenv("NVMMIO_UNIT_DIR");
    make_dir(dir, root ? root : "/dev/shm");
}

void unit_dir_disk(struct unit_dir *dir)
{
    const char *root = getenv("TEST_TMPDIR");
    if (!root)
        root = getenv("TMPDIR");
    make_dir(dir, root ? root : "/tmp");
}

int unit_mount(const char *type, const char *path, const char *options)
{
    if (!can_mount)
        return -EPERM;
    return mount("none", path, type, 0, options) ? -errno : 0;
}

bool unit_dir_small(struct unit_dir *dir, size_t bytes)
{
    char options[64];
    unit_dir_memory(dir);
    snprintf(options, sizeof(options), "size=%zu", bytes);
    const int status = unit_mount("tmpfs", dir->path, options);
    if (status) {
        print_message("skipped: no tmpfs can be mounted here: %s\n", strerror(-status));
        unit_dir_remove(dir);
    }
    return !status;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

void unit_dir_remove(struct unit_dir *dir)
{
    umount2(dir->path, MNT_DETACH);
    nftw(dir->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *unit_path(const struct unit_dir *dir, const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir->path, name);
    return path;
}

void unit_open(struct nv_file *file, const char *path, int flags)
{
    expect_eq(nv_os_posix.open(&nv_os_posix, path, flags, 0600, file), 0);
}

void unit_pattern(void *buffer, size_t bytes, uint64_t offset)
{
    uint8_t *out = buffer;
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)((offset + i) * 167 + ((offset + i) >> 9) + 1);
}

bool unit_is_pattern(const void *buffer, size_t bytes, uint64_t offset)
{
    const uint8_t *in = buffer;
    for (size_t i = 0; i < bytes; i++)
        if (in[i] != (uint8_t)((offset + i) * 167 + ((offset + i) >> 9) + 1))
            return false;
    return true;
}

bool unit_is_zero(const void *buffer, size_t bytes)
{
    const uint8_t *in = buffer;
    for (size_t i = 0; i < bytes; i++)
        if (in[i])
            return false;
    return true;
}

void unit_make_file(const char *path, uint64_t bytes)
{
    uint8_t chunk[4096];
    struct nv_file file;
    unit_open(&file, path, NV_OPEN_WRITE | NV_OPEN_CREATE);
    for (uint64_t at = 0; at < bytes; at += sizeof(chunk)) {
        const size_t now = bytes - at < sizeof(chunk) ? (size_t)(bytes - at) : sizeof(chunk);
        const struct iovec part = {.iov_base = chunk, .iov_len = now};
        unit_pattern(chunk, now, at);
        expect_eq(nv_os_posix.pwritev(&file, &part, 1, at), 0);
    }
    expect_eq(nv_os_posix.close(&file), 0);
}

int64_t unit_size(struct nv_file *file)
{
    struct nv_file_stat stat;
    expect_eq(file->os->stat(file, &stat), 0);
    return (int64_t)stat.bytes;
}

void unit_fill_disk(const char *path)
{
    static const uint8_t chunk[4096];
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    expect(fd >= 0);
    while (write(fd, chunk, sizeof(chunk)) > 0)
        ;
    expect_eq(errno, ENOSPC);
    close(fd);
}

/* ---- Processes ----------------------------------------------------------------------------- */

pid_t unit_fork(void (*body)(void *), void *argument)
{
    fflush(NULL);
    const pid_t pid = fork();
    expect(pid >= 0);
    if (!pid) {
        in_child = true;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that failed leaves nothing waiting */
        body(argument);
        _exit(0);
    }
    return pid;
}

void unit_join(pid_t pid)
{
    int status;
    expect_eq(waitpid(pid, &status, 0), pid);
    expect_eq(WIFSIGNALED(status) ? WTERMSIG(status) : 0, 0);
    expect_eq(WEXITSTATUS(status), 0);
}

void unit_in_child(void (*body)(void *), void *argument)
{
    unit_join(unit_fork(body, argument));
}

void unit_break_call(long number, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    expect(in_child);
    expect_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    expect_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}
