/*
 * image: what a crash of every process, at this moment, would leave of a database.
 *
 *   image copy FROM TO  the file and its log as TO and TO-nvmmio; recovered, so that
 *                       TO is an ordinary file, unless it waits for the outcome of a
 *                       commit over several files
 *   image size FROM     the size of the content after a recovery
 *
 * The suite copies databases that are open, and looks at their bytes.  It means what
 * SQLite would find there after a crash; that is in file and log together.  A log
 * knows its file by inode and time of birth, so the copy's names the copy's.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/format.h"
#include "core/os.h"

static void give_up(const char *what, int error)
{
    fprintf(stderr, "image: %s: %s\n", what, nvmmio_strerror(error));
    exit(1);
}

static void copy_bytes(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    struct stat status;

    if (in < 0 || fstat(in, &status) != 0)
        give_up(from, -errno);
    if (out < 0)
        give_up(to, -errno);
    while (lseek(out, 0, SEEK_CUR) < status.st_size) {
        ssize_t count = sendfile(out, in, NULL, (size_t)status.st_size);

        if (count <= 0)
            give_up(to, count < 0 ? -errno : -EIO);
    }
    close(in);
    if (close(out) != 0)
        give_up(to, -errno);
}

/* Both copies of the header of the log name `home` from now on. */
static void adopt(const char *log, const char *home)
{
    struct nv_header header;
    struct nv_file_stat stat;
    int error = nv_os_posix.stat_path(&nv_os_posix, home, &stat);
    int file = open(log, O_RDWR | O_CLOEXEC);

    if (error)
        give_up(home, error);
    for (off_t at = 0; at < NV_HEADER_BYTES; at += NV_HEADER_COPY_BYTES) {
        if (pread(file, &header, sizeof header, at) != sizeof header)
            give_up(log, -EIO);
        if (!nv_header_valid(&header))
            continue;
        header.home_inode = stat.id.inode;
        header.home_birth_ns = stat.id.birth_ns;
        nv_header_finish(&header);
        if (pwrite(file, &header, sizeof header, at) != sizeof header)
            give_up(log, -EIO);
    }
    close(file);
}

static struct nvmmio_report check(const char *path)
{
    struct nvmmio_report report = {.struct_bytes = sizeof report};
    int error = nvmmio_check(path, NULL, &report);

    if (error)
        give_up(path, error);
    return report;
}

static void copy(const char *from, const char *to)
{
    char from_log[PATH_MAX], to_log[PATH_MAX];
    int error;

    snprintf(from_log, sizeof from_log, "%s-nvmmio", from);
    snprintf(to_log, sizeof to_log, "%s-nvmmio", to);
    copy_bytes(from, to);
    if (access(from_log, F_OK) != 0)
        return;
    copy_bytes(from_log, to_log);
    adopt(to_log, to);
    /* A recovery would decide it now, and remove the files of the original that decide. */
    if (check(to).prepared)
        return;
    error = nvmmio_recover(to, NULL, NULL, NULL, NULL);
    if (error)
        give_up(to, error);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "copy") == 0)
        copy(argv[2], argv[3]);
    else if (argc == 3 && strcmp(argv[1], "size") == 0)
        printf("%" PRIu64 "\n", check(argv[2]).home_bytes);
    else
        return 2;
    return 0;
}
