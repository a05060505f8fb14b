/* fuzz: see fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 64
#define NAMES_MAX 16
#define FILE_BYTES_MAX ((rlim_t)16 << 20)

static char directory[128];
static int open_fds[DESCRIPTORS_MAX];
static unsigned open_count;

void fuzz_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)fputs("fuzz: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    abort();
}

/* ---- files --------------------------------------------------------------------------------- */

void fuzz_clear(void)
{
    DIR *list = opendir(directory);

    for (struct dirent *entry; list && (entry = readdir(list)) != NULL;)
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(list), entry->d_name, 0);
    if (list)
        (void)closedir(list);
}

static void remove_directory(void)
{
    fuzz_clear();
    (void)rmdir(directory);
}

const char *fuzz_path(const char *name)
{
    static char *paths[NAMES_MAX];
    static unsigned count;
    char *path = NULL;

    if (!directory[0]) {
        (void)snprintf(directory, sizeof(directory), "/dev/shm/nvmmio-fuzz-XXXXXX");
        if (!mkdtemp(directory))
            fuzz_fail("%s: %s", directory, strerror(errno));
        (void)atexit(remove_directory);
    }
    for (unsigned i = 0; i < count; i++)
        if (strcmp(strrchr(paths[i], '/') + 1, name) == 0)
            return paths[i];
    if (count == NAMES_MAX || asprintf(&path, "%s/%s", directory, name) < 0)
        fuzz_fail("too many names");
    return paths[count++] = path;
}

void fuzz_write(const char *path, const void *content, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, content, bytes) != (ssize_t)bytes || close(fd) != 0)
        fuzz_fail("%s: %s", path, strerror(errno));
}

struct fuzz_file fuzz_read(const char *path)
{
    struct fuzz_file file = {NULL, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;

    if (fd < 0)
        return file;
    if (fstat(fd, &stat) == 0 && (file.content = malloc((size_t)stat.st_size + 1)) != NULL &&
        read(fd, file.content, (size_t)stat.st_size) == stat.st_size)
        file.bytes = (size_t)stat.st_size;
    (void)close(fd);
    return file;
}

/* ---- the guarded system -------------------------------------------------------------------- */

static void guard(const char *what, const char *path)
{
    size_t bytes = strlen(directory);

    if (strncmp(path, directory, bytes) != 0 || path[bytes] != '/' || strstr(path, "/../"))
        fuzz_fail("%s of %s, which is outside of %s", what, path, directory);
}

static void opened(const struct nv_file *file)
{
    if (open_count == DESCRIPTORS_MAX)
        fuzz_fail("too many open files");
    open_fds[open_count++] = file->fd;
}

static int guarded_open(const struct nv_os *os, const char *path, int flags, uint32_t mode,
                        struct nv_file *file)
{
    if (flags & (NV_OPEN_WRITE | NV_OPEN_CREATE))
        guard("an open for writing", path);
    int error = nv_os_posix.open(os, path, flags, mode, file);
    if (!error)
        opened(file);
    return error;
}

static int guarded_reopen_direct(struct nv_file *file, struct nv_file *direct)
{
    int error = nv_os_posix.reopen_direct(file, direct);
    if (!error)
        opened(direct);
    return error;
}

static int guarded_close(struct nv_file *file)
{
    for (unsigned i = 0; i < open_count; i++)
        if (open_fds[i] == file->fd) {
            open_fds[i] = open_fds[--open_count];
            return nv_os_posix.close(file);
        }
    fuzz_fail("descriptor %d is closed, and was not open", file->fd);
}

static int guarded_unlink(const struct nv_os *os, const char *path)
{
    guard("a removal", path);
    return nv_os_posix.unlink(os, path);
}

static int guarded_rename(const struct nv_os *os, const char *from, const char *to)
{
    guard("a renaming", from);
    guard("a renaming", to);
    return nv_os_posix.rename(os, from, to);
}

/* A commit may say that the content has any size, and space is taken for it: not all that there is.
 */
static void limit_files(bool on)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) != 0)
        fuzz_fail("no limits");
    limit.rlim_cur = on ? FILE_BYTES_MAX : limit.rlim_max;
    (void)signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        fuzz_fail("no limit");
}

struct nv_os fuzz_os;

struct nv_process *fuzz_begin(void)
{
    struct nv_process *process = NULL;

    limit_files(true);
    fuzz_os = nv_os_posix;
    fuzz_os.open = guarded_open;
    fuzz_os.reopen_direct = guarded_reopen_direct;
    fuzz_os.close = guarded_close;
    fuzz_os.unlink = guarded_unlink;
    fuzz_os.rename = guarded_rename;
    fuzz_os.threads = false;
    if (nv_process_create(&fuzz_os, &process) != 0)
        fuzz_fail("out of memory");
    return process;
}

void fuzz_end(struct nv_process *process)
{
    if (process)
        nv_process_destroy(process);
    while (open_count)
        (void)close(open_fds[--open_count]);
    limit_files(false);
}

/* ---- inputs -------------------------------------------------------------------------------- */

uint8_t fuzz_u8(struct fuzz_input *input)
{
    if (!input->left)
        return 0;
    input->left--;
    return *input->at++;
}

uint64_t fuzz_number(struct fuzz_input *input, unsigned bytes)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)fuzz_u8(input) << (8 * i);
    return number;
}

void fuzz_bytes(struct fuzz_input *input, void *to, size_t bytes)
{
    uint8_t *at = to;

    while (bytes--)
        *at++ = fuzz_u8(input);
}
