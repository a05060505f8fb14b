/* inject_sqlite: see inject_sqlite.h. */
#include "tests/faults/inject_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/faults/inject.h"

static _Atomic bool in_stock, read_failed;
static char logged[4096];
static _Atomic size_t logged_bytes;

/* ---- memory: SQLite's own allocator, with failures ------------------------------------------ */

static sqlite3_mem_methods below;

static void *memory_take(int bytes)
{
    void *memory = inject_memory("sqlite3_malloc") ? NULL : below.xMalloc(bytes);

    if (memory)
        inject_count(1);
    return memory;
}

static void memory_give(void *memory)
{
    if (memory)
        inject_count(-1);
    below.xFree(memory);
}

static void *memory_resize(void *memory, int bytes)
{
    return inject_memory("sqlite3_realloc") ? NULL : below.xRealloc(memory, bytes);
}

/* ---- the unix VFS's system calls ------------------------------------------------------------ */

/* Make a call, which in this file is one of inject.c's, and note whether it was the first to fail.
 */
#define STOCK(call)                                                                                \
    do {                                                                                           \
        const bool hit_before = inject_hit();                                                      \
        const __typeof__(call) result = call;                                                      \
        if (!hit_before && inject_hit())                                                           \
            atomic_store(&in_stock, true);                                                         \
        return result;                                                                             \
    } while (0)

static int stock_open(const char *path, int flags, int mode)
{
    STOCK(open(path, flags, mode));
}

static int stock_close(int fd)
{
    return close(fd);
}

static int stock_access(const char *path, int mode)
{
    STOCK(access(path, mode));
}

static int stock_fstat(int fd, struct stat *out)
{
    STOCK(fstat(fd, out));
}

static int stock_ftruncate(int fd, off_t bytes)
{
    STOCK(ftruncate(fd, bytes));
}

static ssize_t pread_noted(int fd, void *buffer, size_t bytes, off_t offset)
{
    STOCK(pread(fd, buffer, bytes, offset));
}

static ssize_t stock_pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    ssize_t got = pread_noted(fd, buffer, bytes, offset);

    if (got < 0)
        atomic_store(&read_failed, true);
    return got;
}

static ssize_t stock_pwrite(int fd, const void *buffer, size_t bytes, off_t offset)
{
    STOCK(pwrite(fd, buffer, bytes, offset));
}

static int stock_unlink(const char *path)
{
    STOCK(unlink(path));
}

static int stock_fcntl(int fd, int command, struct flock *lock)
{
    STOCK(fcntl(fd, command, lock));
}

/* libsqlite3 calls these two by name, and finds them here; so do inject.c's own. */
extern const char __executable_start[];
extern const char etext[];
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);

static bool ours(const void *caller)
{
    return (const char *)caller >= __executable_start && (const char *)caller < etext;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): libc's names are its own. */
__attribute__((visibility("default"))) int fsync(int fd)
{
    if (ours(__builtin_return_address(0)))
        return (int)syscall(SYS_fsync, fd);
    STOCK(__wrap_fsync(fd));
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    if (ours(__builtin_return_address(0)))
        return (int)syscall(SYS_fdatasync, fd);
    STOCK(__wrap_fdatasync(fd));
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

static void set_call(sqlite3_vfs *vfs, const char *name, sqlite3_syscall_ptr call)
{
    if (vfs->xSetSystemCall(vfs, name, call) != SQLITE_OK) {
        fprintf(stderr, "this SQLite has no %s to replace\n", name);
        abort();
    }
}

/* ---- words ---------------------------------------------------------------------------------- */

static void take_words(void *context, int code, const char *words)
{
    size_t bytes = strlen(words) + 1, at = atomic_fetch_add(&logged_bytes, bytes);

    (void)context;
    (void)code;
    if (at + bytes < sizeof(logged))
        memcpy(logged + at, words, bytes);
}

bool inject_named_nothing(const char *name)
{
    size_t bytes = atomic_exchange(&logged_bytes, 0);

    if (bytes >= sizeof(logged))
        return false; /* it said a great deal */
    return memmem(logged, bytes, name, strlen(name)) == NULL;
}

void inject_sqlite_begin(void)
{
    atomic_store(&in_stock, false);
    atomic_store(&read_failed, false);
    atomic_store(&logged_bytes, 0);
}

bool inject_in_stock(void)
{
    return atomic_load(&in_stock);
}

bool inject_read_failed(void)
{
    return atomic_load(&read_failed);
}

/* SQLite sleeps between its attempts at a lock that fails. */
static int wait_for_nothing(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

void inject_into_sqlite(void)
{
    static sqlite3_mem_methods above;
    sqlite3_vfs *vfs;

    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &below) != SQLITE_OK)
        abort();
    above = below;
    above.xMalloc = memory_take;
    above.xFree = memory_give;
    above.xRealloc = memory_resize;
    /* No pools that would serve without asking. */
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &above) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOG, take_words, NULL) != SQLITE_OK ||
        sqlite3_initialize() != SQLITE_OK)
        abort();
    vfs = sqlite3_vfs_find("unix");
    vfs->xSleep = wait_for_nothing;
    set_call(vfs, "open", (sqlite3_syscall_ptr)stock_open);
    set_call(vfs, "close", (sqlite3_syscall_ptr)stock_close);
    set_call(vfs, "access", (sqlite3_syscall_ptr)stock_access);
    set_call(vfs, "fstat", (sqlite3_syscall_ptr)stock_fstat);
    set_call(vfs, "ftruncate", (sqlite3_syscall_ptr)stock_ftruncate);
    set_call(vfs, "fcntl", (sqlite3_syscall_ptr)stock_fcntl);
    set_call(vfs, "unlink", (sqlite3_syscall_ptr)stock_unlink);
    set_call(vfs, "pread", (sqlite3_syscall_ptr)stock_pread);
    set_call(vfs, "pread64", (sqlite3_syscall_ptr)stock_pread);
    set_call(vfs, "pwrite", (sqlite3_syscall_ptr)stock_pwrite);
    set_call(vfs, "pwrite64", (sqlite3_syscall_ptr)stock_pwrite);
}

const char *inject_log(void)
{
    return logged;
}
