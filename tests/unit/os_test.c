/* os: names, descriptors, byte locks, time and chance, on the real system. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct nv_os *const os = &nv_os_posix;
static struct unit_dir dir;

static int setup(void **state)
{
    (void)state;
    unit_dir_disk(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unit_dir_remove(&dir);
    return 0;
}

static int try_open(const char *name, int flags)
{
    struct nv_file file;
    const int status = os->open(os, unit_path(&dir, name), flags, 0600, &file);
    if (!status)
        os->close(&file);
    return status;
}

/* ---- open ---------------------------------------------------------------------------------- */

static void test_open(void **state)
{
    (void)state;
    expect_eq(try_open("a", 0), -ENOENT);
    expect_eq(try_open("a", NV_OPEN_WRITE), -ENOENT);
    expect_eq(try_open("none/a", NV_OPEN_WRITE | NV_OPEN_CREATE), -ENOENT);
    expect_eq(try_open("a", NV_OPEN_WRITE | NV_OPEN_CREATE | NV_OPEN_EXCLUSIVE), 0);
    expect_eq(try_open("a", NV_OPEN_WRITE | NV_OPEN_CREATE | NV_OPEN_EXCLUSIVE), -EEXIST);
    expect_eq(try_open("a", NV_OPEN_WRITE | NV_OPEN_CREATE), 0);
    expect_eq(try_open("a/b", NV_OPEN_WRITE), -ENOTDIR);

    struct nv_file file;
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE);
    expect(file.os == os);
    expect(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
    expect_eq(os->close(&file), 0);
    expect_eq(os->close(&file), -EBADF); /* it does not close another's descriptor */
}

static void test_open_special(void **state)
{
    (void)state;
    expect_eq(try_open(".", 0), -EISDIR);
    expect_eq(try_open(".", NV_OPEN_WRITE), -EISDIR);
    expect_eq(mkfifo(unit_path(&dir, "pipe"), 0600), 0);
    expect_eq(try_open("pipe", 0), -EINVAL); /* and does not wait for a writer */
    expect_eq(try_open("pipe", NV_OPEN_WRITE | NV_OPEN_CREATE), -EINVAL);

    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof(name.sun_path), "%.90s/socket", dir.path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect(fd >= 0);
    if (!bind(fd, (struct sockaddr *)&name, sizeof(name))) /* the name may be too long */
        expect_eq(try_open("socket", NV_OPEN_WRITE), -EINVAL);
    close(fd);

    struct nv_file file;
    expect_eq(os->open(os, "/dev/null", NV_OPEN_WRITE, 0, &file), -EINVAL);
}

static void test_open_link(void **state)
{
    (void)state;
    unit_make_file(unit_path(&dir, "real"), 1);
    expect_eq(symlink("real", unit_path(&dir, "link")), 0);
    expect_eq(symlink("nothing", unit_path(&dir, "dangling")), 0);
    expect_eq(try_open("link", NV_OPEN_WRITE), 0);
    expect_eq(try_open("link", NV_OPEN_WRITE | NV_OPEN_NOFOLLOW), -ELOOP);
    expect_eq(try_open("dangling", NV_OPEN_WRITE | NV_OPEN_CREATE | NV_OPEN_NOFOLLOW), -ELOOP);
    expect_eq(try_open("nothing", 0), -ENOENT); /* nothing was created behind the link */
    expect_eq(try_open("dangling", NV_OPEN_WRITE | NV_OPEN_CREATE | NV_OPEN_EXCLUSIVE), -EEXIST);
    expect_eq(try_open("real", NV_OPEN_WRITE | NV_OPEN_NOFOLLOW), 0);
}

/* A program without standard descriptors must not print into its database. */
static void open_without_standard(void *path)
{
    struct nv_file file;
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    expect_eq(os->open(os, path, NV_OPEN_WRITE | NV_OPEN_CREATE, 0600, &file), 0);
    expect(file.fd > STDERR_FILENO);
    printf("this goes nowhere\n");
    fflush(stdout);
    expect_eq(unit_size(&file), 0);
}

static void test_open_standard(void **state)
{
    (void)state;
    unit_in_child(open_without_standard, (void *)(uintptr_t)unit_path(&dir, "a"));
}

/* ---- stat, owner --------------------------------------------------------------------------- */

static void test_stat(void **state)
{
    (void)state;
    const char *path = unit_path(&dir, "a");
    struct nv_file file;
    struct nv_file_stat open_stat, path_stat;
    unit_make_file(path, 5000);
    unit_open(&file, path, NV_OPEN_WRITE);
    expect_eq(os->stat(&file, &open_stat), 0);
    expect_eq(os->stat_path(os, path, &path_stat), 0);
    expect_eq(open_stat.bytes, 5000);
    expect_eq(open_stat.links, 1);
    expect(S_ISREG(open_stat.mode));
    expect_eq(open_stat.mode & 0777, 0600);
    expect_eq(open_stat.uid, geteuid());
    expect(memcmp(&open_stat.id, &path_stat.id, sizeof(open_stat.id)) == 0);
    struct stat plain;
    expect_eq(fstat(file.fd, &plain), 0);
    expect_eq(open_stat.id.device, plain.st_dev);
    expect_eq(open_stat.id.inode, plain.st_ino);

    /* The same name, another file. */
    expect_eq(os->unlink(os, path), 0);
    unit_make_file(path, 1);
    expect_eq(os->stat_path(os, path, &path_stat), 0);
    expect(memcmp(&open_stat.id, &path_stat.id, sizeof(open_stat.id)) != 0);
    expect_eq(os->stat(&file, &open_stat), 0);
    expect_eq(open_stat.links, 0);
    os->close(&file);

    expect_eq(symlink("a", unit_path(&dir, "link")), 0);
    expect_eq(os->stat_path(os, unit_path(&dir, "link"), &open_stat), 0);
    expect(memcmp(&open_stat.id, &path_stat.id, sizeof(open_stat.id)) == 0);
    expect_eq(os->stat_path(os, unit_path(&dir, "none"), &open_stat), -ENOENT);
    expect_eq(os->stat_path(os, "", &open_stat), -ENOENT);
    expect_eq(os->stat_path(os, dir.path, &open_stat), 0);
    expect(S_ISDIR(open_stat.mode));
}

static void test_stat_space(void **state)
{
    (void)state;
    struct nv_file file;
    struct nv_file_stat stat;
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE | NV_OPEN_CREATE);
    expect_eq(os->truncate(&file, 1 << 20), 0);
    expect_eq(os->stat(&file, &stat), 0);
    expect(stat.space_bytes < stat.bytes);
    expect_eq(os->allocate(&file, 0, 1 << 20, true), 0);
    expect_eq(os->stat(&file, &stat), 0);
    expect(stat.space_bytes >= stat.bytes);
    os->close(&file);
}

static void test_set_owner(void **state)
{
    (void)state;
    struct nv_file file;
    struct nv_file_stat stat;
    const mode_t umask_before = umask(077);
    unit_open(&file, unit_path(&dir, "a"), NV_OPEN_WRITE | NV_OPEN_CREATE);
    expect_eq(os->stat(&file, &stat), 0);
    expect_eq(os->set_owner(&file, stat.uid, stat.gid, S_IFREG | 04664), 0);
    umask(umask_before);
    expect_eq(os->stat(&file, &stat), 0);
    expect_eq(stat.mode & 07777, 0664); /* whatever the umask; never setuid */
    /* As root, and where other users exist (not in a user namespace), it becomes another's. */
    const int status = os->set_owner(&file, 65534, 65533, 0640);
    if (status) {
        expect(status == -EPERM || status == -EINVAL);
    } else {
        expect_eq(os->stat(&file, &stat), 0);
        expect_eq(stat.uid, 65534);
        expect_eq(stat.gid, 65533);
        expect_eq(stat.mode & 07777, 0640);
    }
    os->close(&file);
}

/* ---- names --------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    (void)state;
    char from[512], to[512];
    snprintf(from, sizeof(from), "%s", unit_path(&dir, "from"));
    snprintf(to, sizeof(to), "%s", unit_path(&dir, "to"));
    expect_eq(os->unlink(os, from), -ENOENT);
    expect_eq(os->rename(os, from, to), -ENOENT);
    unit_make_file(from, 10);
    unit_make_file(to, 20);
    expect_eq(os->rename(os, from, to), 0);
    struct nv_file_stat stat;
    expect_eq(os->stat_path(os, to, &stat), 0);
    expect_eq(stat.bytes, 10);
    expect_eq(os->sync_directory(os, to), 0);
    expect_eq(os->sync_directory(os, "/none"), 0);
    expect_eq(os->sync_directory(os, "file-in-the-working-directory"), 0);
    expect_eq(os->sync_directory(os, unit_path(&dir, "none/file")), -ENOENT);
    expect_eq(os->sync_directory(os, unit_path(&dir, "to/file")), -ENOTDIR);
    expect_eq(os->unlink(os, to), 0);
}

static void expect_resolved(const char *path, const char *want)
{
    char out[PATH_MAX];
    expect_eq(os->resolve(os, path, out, sizeof(out)), 0);
    if (strcmp(out, want) != 0) {
        print_error("%s resolved to %s, not %s\n", path, out, want);
        fail();
    }
}

static void test_resolve(void **state)
{
    (void)state;
    char top[PATH_MAX], want[PATH_MAX + 32], out[PATH_MAX], cwd[PATH_MAX];
    expect(realpath(dir.path, top) != NULL);
    expect(getcwd(cwd, sizeof(cwd)) != NULL);
    expect_eq(mkdir(unit_path(&dir, "sub"), 0700), 0);
    expect_eq(symlink("sub", unit_path(&dir, "way")), 0);
    expect_eq(symlink("way/real", unit_path(&dir, "link")), 0);
    expect_eq(symlink(unit_path(&dir, "link"), unit_path(&dir, "sub/absolute")), 0);
    expect_eq(symlink("round", unit_path(&dir, "round")), 0);

    snprintf(want, sizeof(want), "%s/sub/real", top);
    for (int exists = 0; exists < 2; exists++) {
        expect_resolved(unit_path(&dir, "sub/real"), want);
        expect_resolved(unit_path(&dir, "way/real"), want);
        expect_resolved(unit_path(&dir, "sub//../way/./real"), want);
        expect_resolved(unit_path(&dir, "link"), want); /* at first a link to nothing */
        expect_resolved(unit_path(&dir, "way/absolute"), want);
        unit_make_file(unit_path(&dir, "sub/real"), 1);
    }
    snprintf(want, sizeof(want), "%s/no-such-file", cwd);
    expect_resolved("no-such-file", want);
    expect_resolved("/no-such-file", "/no-such-file");
    expect_resolved("/", "/");
    expect_resolved(dir.path, top);

    expect_eq(os->resolve(os, unit_path(&dir, "round"), out, sizeof(out)), -ELOOP);
    expect_eq(os->resolve(os, unit_path(&dir, "none/file"), out, sizeof(out)), -ENOENT);
    expect_eq(os->resolve(os, unit_path(&dir, "none/"), out, sizeof(out)), -ENOENT);
    expect_eq(os->resolve(os, unit_path(&dir, "none/.."), out, sizeof(out)), -ENOENT);
    expect_eq(os->resolve(os, "", out, sizeof(out)), -ENOENT);
    expect_eq(os->resolve(os, unit_path(&dir, "sub/real/x"), out, sizeof(out)), -ENOTDIR);
    expect_eq(os->resolve(os, unit_path(&dir, "link"), out, strlen(top)), -ENAMETOOLONG);
    char name[NAME_MAX + 2];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    expect_eq(os->resolve(os, unit_path(&dir, name), out, sizeof(out)), -ENAMETOOLONG);
}

/* Links to links to nothing, without end. */
static void test_resolve_endless(void **state)
{
    (void)state;
    char name[16], next[16], out[PATH_MAX];
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "l%d", i);
        snprintf(next, sizeof(next), "l%d", i + 1);
        expect_eq(symlink(next, unit_path(&dir, name)), 0);
    }
    expect_eq(os->resolve(os, unit_path(&dir, "l0"), out, sizeof(out)), -ELOOP);
    expect_eq(os->resolve(os, unit_path(&dir, "l55"), out, sizeof(out)), 0);
}

/* ---- locks --------------------------------------------------------------------------------- */

static void expect_holder(struct nv_file *file, uint64_t offset, uint64_t bytes,
                          enum nv_lock_holder want, uint64_t want_where)
{
    enum nv_lock_holder holder;
    uint64_t where;
    expect_eq(os->lock_holder(file, offset, bytes, &holder, &where), 0);
    expect_eq(holder, want);
    if (want != NV_HOLDER_NONE)
        expect_eq(where, want_where);
}

static void test_lock(void **state)
{
    (void)state;
    struct nv_file a, b;
    const char *path = unit_path(&dir, "a");
    unit_open(&a, path, NV_OPEN_WRITE | NV_OPEN_CREATE);
    unit_open(&b, path, NV_OPEN_WRITE);
    expect_eq(os->lock(&a, 100, 10), 0);
    expect_eq(os->lock(&a, 100, 10), 0); /* one's own is no hindrance */
    expect_eq(os->lock(&b, 109, 1), -EAGAIN);
    expect_eq(os->lock(&b, 110, 1), 0);
    expect_eq(os->lock(&a, 105, 6), -EAGAIN);
    expect_holder(&b, 0, 200, NV_HOLDER_OFD, 100);
    expect_holder(&b, 104, 2, NV_HOLDER_OFD, 104); /* its first byte in the range */
    expect_holder(&a, 0, 200, NV_HOLDER_OFD, 110);
    expect_holder(&a, 0, 110, NV_HOLDER_NONE, 0);
    expect_eq(os->unlock(&a, 105, 1), 0);
    expect_eq(os->lock(&b, 105, 1), 0);
    expect_eq(os->lock(&b, 104, 1), -EAGAIN);
    expect_eq(os->unlock(&a, 0, 1000), 0);
    expect_eq(os->lock(&b, 100, 5), 0);
    os->close(&b);
    expect_eq(os->lock(&a, 0, 1000), 0); /* a closed descriptor holds nothing */

    expect_eq(os->lock(&a, UINT64_MAX, 1), -EINVAL);
    expect_eq(os->lock(&a, 0, 0), -EINVAL); /* for fcntl: everything */
    os->close(&a);
}

/* Who may not write shares with others like him, and nobody else. */
static void test_lock_reader(void **state)
{
    (void)state;
    struct nv_file writer, readers[2];
    const char *path = unit_path(&dir, "a");
    unit_open(&writer, path, NV_OPEN_WRITE | NV_OPEN_CREATE);
    for (int i = 0; i < 2; i++) {
        unit_open(&readers[i], path, 0);
        expect_eq(os->lock(&readers[i], 100, 10), 0);
    }
    expect_eq(os->lock(&writer, 109, 1), -EAGAIN);
    expect_holder(&writer, 0, 1000, NV_HOLDER_OFD, 100);
    expect_eq(os->lock(&writer, 110, 1), 0);
    expect_eq(os->lock(&readers[0], 110, 1), -EAGAIN);
    os->close(&readers[0]);
    expect_eq(os->lock(&writer, 109, 1), -EAGAIN);
    expect_eq(os->unlock(&readers[1], 0, 1000), 0);
    expect_eq(os->lock(&writer, 109, 1), 0);
    os->close(&readers[1]);
    os->close(&writer);
}

/* The kernel lists locks by owner; the lowest is named whoever came first. */
static void test_lock_lowest(void **state)
{
    (void)state;
    struct nv_file file[4];
    static const uint64_t at[4] = {30, 10, 40, 20};
    for (int i = 0; i < 4; i++) {
        unit_open(&file[i], unit_path(&dir, "a"), NV_OPEN_WRITE | NV_OPEN_CREATE);
        expect_eq(os->lock(&file[i], at[i], 1), 0);
    }
    expect_holder(&file[0], 0, 100, NV_HOLDER_OFD, 10);
    expect_holder(&file[1], 0, 100, NV_HOLDER_OFD, 20);
    expect_holder(&file[3], 15, 100, NV_HOLDER_OFD, 30);
    for (int i = 0; i < 4; i++)
        os->close(&file[i]);
}

struct locker {
    const char *path;
    int ready[2], go[2]; /* pipes */
};

static void tell(int fd)
{
    expect_eq(write(fd, "x", 1), 1);
}

static void await(int fd)
{
    char byte;
    expect_eq(read(fd, &byte, 1), 1);
}

static void lock_as_sqlite(void *argument)
{
    struct locker *locker = argument;
    const int fd = open(locker->path, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 64, .l_len = 510};
    expect_eq(fcntl(fd, F_SETLK, &lock), 0);
    tell(locker->ready[1]);
    await(locker->go[0]);
}

static void test_lock_other_process(void **state)
{
    (void)state;
    struct nv_file file;
    struct locker locker = {.path = unit_path(&dir, "a")};
    unit_open(&file, locker.path, NV_OPEN_WRITE | NV_OPEN_CREATE);
    expect_eq(pipe(locker.ready), 0);
    expect_eq(pipe(locker.go), 0);
    const pid_t child = unit_fork(lock_as_sqlite, &locker);
    await(locker.ready[0]);
    expect_eq(os->lock(&file, 100, 1), -EAGAIN);
    expect_holder(&file, 0, 1000, NV_HOLDER_POSIX, 64);
    expect_eq(os->lock(&file, 63, 1), 0);
    tell(locker.go[1]);
    unit_join(child);
    expect_eq(os->lock(&file, 100, 1), 0);
    os->close(&file);
}

static void wait_with_lock(void *argument)
{
    struct locker *locker = argument;
    tell(locker->ready[1]);
    await(locker->go[0]);
}

/* A child shares the open file description: the lock outlives the parent's descriptor. */
static void test_lock_forked(void **state)
{
    (void)state;
    struct nv_file file, other;
    struct locker locker = {.path = unit_path(&dir, "a")};
    unit_open(&file, locker.path, NV_OPEN_WRITE | NV_OPEN_CREATE);
    unit_open(&other, locker.path, NV_OPEN_WRITE);
    expect_eq(os->lock(&file, 7, 1), 0);
    expect_eq(pipe(locker.ready), 0);
    expect_eq(pipe(locker.go), 0);
    const pid_t child = unit_fork(wait_with_lock, &locker);
    await(locker.ready[0]);
    os->close(&file);
    expect_eq(os->lock(&other, 7, 1), -EAGAIN);
    tell(locker.go[1]);
    unit_join(child);
    expect_eq(os->lock(&other, 7, 1), 0);
    os->close(&other);
}

/* ---- time, chance -------------------------------------------------------------------------- */

static void test_clock_random(void **state)
{
    (void)state;
    uint64_t last = os->clock_ns(os);
    expect(last > 0);
    for (int i = 0; i < 1000; i++) {
        const uint64_t now = os->clock_ns(os);
        expect(now >= last);
        last = now;
    }
    uint8_t a[4096] = {0}, b[4096] = {0};
    expect_eq(os->random(os, a, sizeof(a)), 0);
    expect_eq(os->random(os, b, sizeof(b)), 0);
    expect(memcmp(a, b, sizeof(a)) != 0);
    expect(!unit_is_zero(a + sizeof(a) - 32, 32)); /* to the last byte */
    expect_eq(os->random(os, a, 0), 0);
}

static void on_alarm(int signal)
{
    (void)signal;
}

/* A pause that signals interrupt lasts as long as one that none do. */
static void test_pause(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_alarm}, before;
    const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    struct timespec from, to;
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &often, NULL);
    clock_gettime(CLOCK_MONOTONIC, &from);
    os->pause(os, 20000);
    clock_gettime(CLOCK_MONOTONIC, &to);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    expect((to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec >= 20000000);
    os->pause(os, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_open),        test(test_open_special),
        test(test_open_link),   test(test_open_standard),
        test(test_stat),        test(test_stat_space),
        test(test_set_owner),   test(test_names),
        test(test_resolve),     test(test_resolve_endless),
        test(test_lock),        test(test_lock_reader),
        test(test_lock_lowest), test(test_lock_other_process),
        test(test_lock_forked), test(test_clock_random),
        test(test_pause),
    };
    unit_begin();
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
