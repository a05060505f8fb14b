/* os: which file system a file is on, and which processes live. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct nv_os *const os = &nv_os_posix;

/* ---- file systems -------------------------------------------------------------------------- */

static void expect_kind(const char *path, enum nv_fs_kind want, const char *want_name)
{
    struct nv_file file = {.os = os, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    char name[64];
    expect(file.fd >= 0);
    const enum nv_fs_kind kind = os->fs_kind(&file, name, sizeof(name));
    if (kind != want || strcmp(name, want_name) != 0) {
        print_error("%s is on %s, kind %d; not %s, kind %d\n", path, name, kind, want_name, want);
        fail();
    }
    os->close(&file);
}

static void test_memory(void **state)
{
    (void)state;
    struct unit_dir dir;
    unit_dir_memory(&dir);
    unit_make_file(unit_path(&dir, "a"), 1);
    expect_kind(unit_path(&dir, "a"), NV_FS_MEMORY, "tmpfs");
    unit_dir_remove(&dir);
}

static void test_disk(void **state)
{
    (void)state;
    struct unit_dir dir;
    struct statfs fs;
    unit_dir_disk(&dir);
    unit_make_file(unit_path(&dir, "a"), 1);
    expect_eq(statfs(dir.path, &fs), 0);
    if (fs.f_type == 0xef53)
        expect_kind(unit_path(&dir, "a"), NV_FS_DISK, "ext4");
    else
        skip();
    unit_dir_remove(&dir);
}

static void test_unknown(void **state)
{
    (void)state;
    expect_kind("/proc/self/stat", NV_FS_UNKNOWN, "file system 0x9fa0");
    struct nv_file closed = {.os = os, .fd = -1};
    char name[64];
    expect_eq(os->fs_kind(&closed, name, sizeof(name)), NV_FS_UNKNOWN);
    char tiny[4];
    struct nv_file file = {.os = os, .fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC)};
    expect_eq(os->fs_kind(&file, tiny, sizeof(tiny)), NV_FS_UNKNOWN);
    expect_eq(strlen(tiny), 3);
    os->close(&file);
}

/* An overlay at <dir>/o with a file in its upper layer, which is in `upper`; false: skipped. */
static bool make_overlay(const struct unit_dir *dir, const char *upper, struct unit_dir *mounted,
                         const char *more)
{
    char options[1024];
    static const char *const names[] = {"lower", "o"};
    for (int i = 0; i < 2; i++)
        mkdir(unit_path(dir, names[i]), 0700);
    snprintf(options, sizeof(options), "%s/u p", upper); /* a blank is escaped in mountinfo */
    expect_eq(mkdir(options, 0700), 0);
    snprintf(options, sizeof(options), "%s/work", upper);
    expect_eq(mkdir(options, 0700), 0);
    snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/u p,workdir=%s/work%s",
             dir->path, upper, upper, more);
    snprintf(mounted->path, sizeof(mounted->path), "%.250s/o", dir->path);
    const int status = unit_mount("overlay", mounted->path, options);
    if (status) {
        print_message("skipped: no overlay can be mounted here: %s\n", strerror(-status));
        return false;
    }
    unit_make_file(unit_path(mounted, "a"), 1);
    return true;
}

static void test_overlay_on_memory(void **state)
{
    (void)state;
    struct unit_dir dir, mounted;
    unit_dir_memory(&dir);
    if (make_overlay(&dir, dir.path, &mounted, "")) {
        expect_kind(unit_path(&mounted, "a"), NV_FS_MEMORY, "overlayfs over tmpfs");
        unit_dir_remove(&mounted);
    }
    unit_dir_remove(&dir);
}

static void test_overlay_on_disk(void **state)
{
    (void)state;
    struct unit_dir dir, mounted;
    struct statfs fs;
    unit_dir_disk(&dir);
    expect_eq(statfs(dir.path, &fs), 0);
    if (fs.f_type == 0xef53 && make_overlay(&dir, dir.path, &mounted, "")) {
        expect_kind(unit_path(&mounted, "a"), NV_FS_DISK, "overlayfs over ext4");
        unit_dir_remove(&mounted);
    }
    unit_dir_remove(&dir);
}

/* Its syncs do nothing. */
static void test_overlay_volatile(void **state)
{
    (void)state;
    struct unit_dir dir, mounted;
    unit_dir_disk(&dir);
    if (make_overlay(&dir, dir.path, &mounted, ",volatile")) {
        expect_kind(unit_path(&mounted, "a"), NV_FS_LOCAL, "overlayfs (mounted volatile)");
        unit_dir_remove(&mounted);
    }
    unit_dir_remove(&dir);
}

/* As in a container: the path of the upper layer means something else here, or nothing. */
static void test_overlay_hidden(void **state)
{
    (void)state;
    struct unit_dir dir, upper, mounted;
    if (!unit_dir_small(&upper, 1 << 20)) {
        skip();
        return;
    }
    unit_dir_disk(&dir);
    if (make_overlay(&dir, upper.path, &mounted, "")) {
        unit_dir_remove(&upper);
        expect_kind(unit_path(&mounted, "a"), NV_FS_LOCAL, "overlayfs (upper layer not visible)");
        char path[512];
        snprintf(path, sizeof(path), "%s/u p", upper.path);
        expect_eq(mkdir(upper.path, 0700), 0);
        expect_eq(mkdir(path, 0700), 0); /* the name is there again, on another file system */
        expect_kind(unit_path(&mounted, "a"), NV_FS_LOCAL, "overlayfs (upper layer not visible)");
        unit_dir_remove(&mounted);
    }
    unit_dir_remove(&upper);
    unit_dir_remove(&dir);
}

/* A file system of a disk, but its disk is a file in memory. */
static void test_loop_in_memory(void **state)
{
    (void)state;
    char command[1200];
    struct unit_dir dir, mounted;
    unit_dir_memory(&dir);
    snprintf(command, sizeof(command),
             "cd '%s' && mkdir m && truncate -s 8M image && mkfs.ext4 -q image 2>/dev/null && "
             "mount -o loop image m",
             dir.path);
    if (system(command) == 0) {
        snprintf(mounted.path, sizeof(mounted.path), "%.240s/m", dir.path);
        unit_make_file(unit_path(&mounted, "a"), 1);
        expect_kind(unit_path(&mounted, "a"), NV_FS_LOCAL, "ext4 on a loop device in memory");
        unit_dir_remove(&mounted);
    } else {
        print_message("skipped: no ext4 image can be mounted here\n");
    }
    unit_dir_remove(&dir);
}

/* ---- processes ----------------------------------------------------------------------------- */

struct who {
    uint64_t pid, start_time, pid_namespace;
};

/* In a page that parent and child share. */
static struct who *shared;

static int alive(const struct who *who)
{
    return os->process_alive(os, who->pid, who->start_time, who->pid_namespace);
}

static void tell_who(void *argument)
{
    const int *pipes = argument; /* ready to write, go to read */
    char byte = 'x';
    expect_eq(os->process_self(os, &shared->pid, &shared->start_time, &shared->pid_namespace), 0);
    expect_eq(write(pipes[0], &byte, 1), 1);
    expect_eq(read(pipes[1], &byte, 1), 1);
}

static pid_t start_child(void (*body)(void *), int *go)
{
    int ready[2], wait[2];
    char byte;
    expect_eq(pipe(ready), 0);
    expect_eq(pipe(wait), 0);
    int pipes[2] = {ready[1], wait[0]};
    const pid_t pid = unit_fork(body, pipes);
    expect_eq(read(ready[0], &byte, 1), 1);
    *go = wait[1];
    return pid;
}

static void test_alive(void **state)
{
    (void)state;
    struct who self, other;
    siginfo_t info;
    int go;
    expect_eq(os->process_self(os, &self.pid, &self.start_time, &self.pid_namespace), 0);
    expect_eq(self.pid, getpid());
    expect(self.start_time && self.pid_namespace);
    expect_eq(alive(&self), 1);

    const pid_t child = start_child(tell_who, &go);
    expect_eq(shared->pid, child);
    expect_eq(shared->pid_namespace, self.pid_namespace);
    expect_eq(alive(shared), 1);
    other = *shared;
    other.start_time++; /* its number, given again */
    expect_eq(alive(&other), 0);
    other = *shared;
    other.pid_namespace++;
    expect_eq(alive(&other), -EXDEV);
    expect_eq(kill(child, SIGSTOP), 0);
    expect_eq(waitid(P_PID, (id_t)child, &info, WSTOPPED), 0);
    expect_eq(alive(shared), 1); /* stopped is not dead */

    expect_eq(kill(child, SIGKILL), 0);
    expect_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    expect_eq(alive(shared), 0); /* a zombie */
    expect_eq(waitpid(child, NULL, 0), child);
    expect_eq(alive(shared), 0);

    other = self;
    other.pid = 0; /* for kill(2): a group */
    expect_eq(alive(&other), -EINVAL);
    other.pid = UINT64_MAX;
    expect_eq(alive(&other), -EINVAL);
}

/* What the name of a program may hold: the fields begin behind its last parenthesis. */
static void odd_name(void *argument)
{
    expect_eq(prctl(PR_SET_NAME, ") Z 1 1 (x"), 0);
    tell_who(argument);
}

static void test_alive_odd_name(void **state)
{
    (void)state;
    int go;
    const pid_t child = start_child(odd_name, &go);
    expect(shared->start_time > 1);
    expect_eq(alive(shared), 1);
    expect_eq(write(go, "x", 1), 1);
    unit_join(child);
    expect_eq(alive(shared), 0);
}

static void *second_thread(void *argument)
{
    const int *pipes = argument;
    char path[64], text[512] = "", byte = 'x';
    snprintf(path, sizeof(path), "/proc/%d/stat", getpid());
    /* Once the first thread is a zombie. */
    while (!strstr(text, ") Z ")) {
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        const ssize_t got = read(fd, text, sizeof(text) - 1);
        text[got > 0 ? got : 0] = '\0';
        close(fd);
        sched_yield();
    }
    if (write(pipes[0], &byte, 1) != 1 || read(pipes[1], &byte, 1) != 1)
        _exit(1);
    _exit(0);
}

static void end_first_thread(void *argument)
{
    pthread_t thread;
    static int pipes[2];
    memcpy(pipes, argument, sizeof(pipes));
    expect_eq(os->process_self(os, &shared->pid, &shared->start_time, &shared->pid_namespace), 0);
    expect_eq(pthread_create(&thread, NULL, second_thread, pipes), 0);
    pthread_exit(NULL);
}

static void test_alive_without_first_thread(void **state)
{
    (void)state;
    int go;
    const pid_t child = start_child(end_first_thread, &go);
    expect_eq(alive(shared), 1);
    expect_eq(write(go, "x", 1), 1);
    unit_join(child);
    expect_eq(alive(shared), 0);
}

static void look_without_proc(void *who)
{
    struct who self;
    expect_eq(unit_mount("tmpfs", "/proc", "size=4k"), 0);
    expect(alive(who) < 0);
    expect(os->process_self(os, &self.pid, &self.start_time, &self.pid_namespace) < 0);
    expect_eq(umount2("/proc", MNT_DETACH), 0);
}

/* What cannot be seen is not dead. */
static void test_alive_without_proc(void **state)
{
    (void)state;
    struct who self;
    struct unit_dir small;
    expect_eq(os->process_self(os, &self.pid, &self.start_time, &self.pid_namespace), 0);
    if (!unit_dir_small(&small, 1 << 20)) {
        skip();
        return;
    }
    unit_dir_remove(&small);
    unit_in_child(look_without_proc, &self);
    expect_eq(alive(&self), 1);
}

/* As another user, to whom /proc shows only what is that user's own. */
static void look_with_hidepid(void *who)
{
    struct who self;
    if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) {
        fprintf(stderr, "skipped: there is no other user here\n");
        return;
    }
    expect_eq(os->process_self(os, &self.pid, &self.start_time, &self.pid_namespace), 0);
    expect_eq(alive(&self), 1);
    expect_eq(alive(who), -EACCES);
}

static void test_alive_hidden(void **state)
{
    (void)state;
    struct who self;
    expect_eq(os->process_self(os, &self.pid, &self.start_time, &self.pid_namespace), 0);
    if (unit_mount("proc", "/proc", "hidepid=2")) {
        print_message("skipped: /proc cannot be mounted here\n");
        skip();
        return;
    }
    const pid_t child = unit_fork(look_with_hidepid, &self);
    int status;
    expect_eq(waitpid(child, &status, 0), child);
    expect_eq(umount2("/proc", MNT_DETACH), 0);
    expect_eq(status, 0);
    expect_eq(alive(&self), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_disk),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_overlay_on_memory),
        cmocka_unit_test(test_overlay_on_disk),
        cmocka_unit_test(test_overlay_volatile),
        cmocka_unit_test(test_overlay_hidden),
        cmocka_unit_test(test_loop_in_memory),
        cmocka_unit_test(test_alive),
        cmocka_unit_test(test_alive_odd_name),
        cmocka_unit_test(test_alive_without_first_thread),
        cmocka_unit_test(test_alive_without_proc),
        cmocka_unit_test(test_alive_hidden),
    };
    unit_begin();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests_name("os, machine", tests, NULL, NULL);
}
