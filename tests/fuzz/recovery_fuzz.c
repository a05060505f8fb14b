/*
 * Recovery: a home and a log of any bytes.  It ends in an ordinary file that
 * works, or in a refusal; a refusal for damage leaves both files as they were,
 * and comes again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define READ_BYTES 65536

static struct nv_file_id home_make(struct fuzz_input *input, uint8_t form)
{
    static uint8_t content[8192];
    size_t bytes = (size_t)fuzz_number(input, 2) % sizeof(content);
    struct nv_file file;
    struct nv_file_stat stat;

    memset(content, fuzz_u8(input), bytes);
    for (size_t i = 0; i < 8 && i < bytes && form & 2; i++)
        content[i] ^= 0x5a;
    if (form & 4 && bytes >= 72 + NVMMIO_NONCE_BYTES) /* marked by the log that is made */
        memset(content + 72, 0x11, NVMMIO_NONCE_BYTES);
    fuzz_write(FUZZ_HOME, content, bytes);
    if (nv_os_posix.open(&nv_os_posix, FUZZ_HOME, 0, 0, &file) != 0 ||
        nv_os_posix.stat(&file, &stat) != 0 || nv_os_posix.close(&file) != 0)
        fuzz_fail("no home");
    return stat.id;
}

/* Read it, write, commit, close. */
static int use(const char *path, const struct nvmmio_options *options)
{
    static uint8_t buffer[READ_BYTES];
    struct nv_process *process = fuzz_begin();
    struct nvmmio *handle = NULL;
    int error = nv_open(process, path, options, &handle);

    if (!error) {
        int64_t size = nvmmio_size(handle);
        ssize_t got = nvmmio_pread(handle, buffer, sizeof(buffer), 0);

        if (size < 0 || got < 0 || got != (size < READ_BYTES ? size : READ_BYTES))
            fuzz_fail("a recovered file cannot be read: %s", nvmmio_last_error());
        if (nvmmio_pwrite(handle, "written", 7, 100) == 7)
            (void)!nvmmio_sync(handle);
        error = nvmmio_close(handle);
        if (error)
            fuzz_fail("a recovered file cannot be closed: %s", nvmmio_last_error());
    }
    fuzz_end(process);
    return error;
}

static void check_same(const char *path, const struct fuzz_file *before)
{
    struct fuzz_file after = fuzz_read(path);

    if (after.bytes != before->bytes || (after.bytes && !before->content) ||
        (after.bytes && memcmp(after.content, before->content, after.bytes) != 0))
        fuzz_fail("%s was changed by a refusal (%s)", path, nvmmio_last_error());
    free(after.content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t image[FUZZ_LOG_BYTES];
    struct fuzz_input input = {data, bytes};
    struct fuzz_log made = {.bytes = image};
    struct nvmmio_options options = NVMMIO_OPTIONS_INIT;
    uint8_t form = fuzz_u8(&input);
    struct nv_file_id home;

    (void)FUZZ_HOME;
    options.medium = form & 1 ? NVMMIO_MEDIUM_PAGE : NVMMIO_MEDIUM_RAM;
    options.timeout_ms = 0;
    options.log_bytes = NVMMIO_LOG_BYTES_MIN;
    home = home_make(&input, form);
    if (form & 8)
        fuzz_write(FUZZ_SUPER, FUZZ_CHILD, strlen(FUZZ_CHILD) + 1);
    if (form & 16)
        fuzz_write(FUZZ_CHILD, FUZZ_SUPER, strlen(FUZZ_SUPER) + 1);
    fuzz_log_make(&made, &input, &home);
    fuzz_log_write(&made, FUZZ_LOG);
    bool small = made.file_bytes <= FUZZ_LOG_BYTES;
    struct fuzz_file home_before = fuzz_read(FUZZ_HOME);
    struct fuzz_file log_before = small ? fuzz_read(FUZZ_LOG) : (struct fuzz_file){NULL, 0};
    int error = use(FUZZ_HOME, &options);
    if (error == -EUCLEAN && small) {
        check_same(FUZZ_HOME, &home_before);
        check_same(FUZZ_LOG, &log_before);
    }
    bool again = form & 32; /* not always: most of the time goes into making files */
    if (again && error == -EUCLEAN && use(FUZZ_HOME, &options) != error)
        fuzz_fail("what was refused is taken the next time");
    if (!error && access(FUZZ_LOG, F_OK) == 0)
        fuzz_fail("a closed file has a log");
    if (again && !error && use(FUZZ_HOME, &options) != 0)
        fuzz_fail("what was recovered is refused: %s", nvmmio_last_error());
    free(home_before.content);
    free(log_before.content);
    fuzz_clear();
    return 0;
}
