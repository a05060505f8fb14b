/*
 * The reader of a shared page that lies about, or that somebody else has made:
 * looked at from outside, found by the first to come, and joined while another
 * has a byte.  No crash, and home is not lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/share.h"
#include "tests/fuzz/fuzz.h"

#define CONTENT "what the file holds"

/* Somebody else of whom only his byte is known. */
static int take_byte(uint64_t byte)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)(NV_BYTE_PROCESS + byte),
                         .l_len = 1};
    int fd = open(FUZZ_HOME, O_RDWR | O_CLOEXEC);

    if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) != 0)
        fuzz_fail("no byte");
    return fd;
}

static void page_make(struct fuzz_input *input, uint8_t form, const struct nv_file_id *home)
{
    static union {
        struct nv_shared page;
        uint8_t bytes[sizeof(struct nv_shared)];
    } made;

    memset(&made, 0, sizeof(made));
    if (form & 1) {
        made.page.magic = UINT64_C(0x0a6d68736d766e);
        made.page.version = 1;
        made.page.home_inode = home->inode;
        made.page.home_birth_ns = home->birth_ns;
        made.page.ready = 1;
        made.page.content_bytes = sizeof(CONTENT);
        (void)snprintf(made.page.log_path, sizeof(made.page.log_path), "%s", FUZZ_LOG);
    }
    while (input->left) { /* anything, anywhere */
        size_t at = (size_t)fuzz_number(input, 4) % sizeof(made);
        size_t bytes = fuzz_u8(input) % 32;

        if (form & 2) /* among what is looked at, mostly */
            at %= offsetof(struct nv_shared, residents) + 256;
        if (at + bytes > sizeof(made))
            bytes = sizeof(made) - at;
        fuzz_bytes(input, made.bytes + at, bytes);
    }
    fuzz_write(FUZZ_PAGE, &made, form & 4 ? sizeof(made) / 2 : sizeof(made));
}

static void use(struct nvmmio *handle)
{
    struct nvmmio_info info;
    struct nvmmio_stats stats;
    char buffer[64];

    (void)!nvmmio_info(handle, &info);
    (void)!nvmmio_stats(handle, &stats);
    (void)!nvmmio_pread(handle, buffer, sizeof(buffer), 0);
    (void)!nvmmio_lock(handle, NVMMIO_SHARED, 0);
    (void)!nvmmio_unlock(handle, NVMMIO_UNLOCKED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    struct nvmmio_stats stats;
    struct nvmmio *handle = NULL;
    struct nv_file_stat stat;
    uint8_t form = fuzz_u8(&input);
    int other = -1;

    options.timeout_ms = 0;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    fuzz_write(FUZZ_HOME, CONTENT, sizeof(CONTENT));
    if (nv_os_posix.stat_path(&nv_os_posix, FUZZ_HOME, &stat) != 0)
        fuzz_fail("no home");
    page_make(&input, form, &stat.id);
    (void)!nvmmio_stats_live(FUZZ_HOME, &stats);
    struct nv_process *process = fuzz_begin();
    if (form & 8)
        other = take_byte((form >> 4) % 4 ? 0 : 509);
    int error = nv_open(process, FUZZ_HOME, &options, &handle);
    if (!error) {
        if (other >= 0)
            use(handle);
        else if (nvmmio_pwrite(handle, "x", 1, sizeof(CONTENT)) != 1 || nvmmio_sync(handle) != 0)
            fuzz_fail("a file with a stale page does not work: %s", nvmmio_last_error());
        (void)nvmmio_close(handle);
    }
    if (other >= 0)
        (void)close(other);
    fuzz_end(process);
    struct fuzz_file home = fuzz_read(FUZZ_HOME);
    if (home.bytes < sizeof(CONTENT) - 1 || memcmp(home.content, CONTENT, sizeof(CONTENT) - 1) != 0)
        fuzz_fail("home was changed");
    free(home.content);
    fuzz_clear();
    return 0;
}
