/* step: see step.h. */
#include "tests/sql/step.h"

#include <fnmatch.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/core/check.h"
#include "tests/core/trace.h"
#include "tests/sql/harness.h"

struct step_vfs {
    sqlite3_vfs vfs;
    sqlite3_vfs *base;
};

struct step_file {
    sqlite3_file file;
    const char *name;
    sqlite3_file *base; /* behind this struct */
};

static struct {
    atomic_uint_fast64_t count;
    uint64_t die_at;
    const char *method, *pattern;
    int result, passes, failed;
} step;

void step_arm(uint64_t n)
{
    atomic_store(&step.count, 0);
    step.die_at = n;
}

uint64_t step_count(void)
{
    return atomic_load(&step.count);
}

void step_fail(const char *method, const char *pattern, int result, int passes)
{
    step.method = method;
    step.pattern = pattern;
    step.result = result;
    step.passes = passes;
    step.failed = 0;
}

int step_failed(void)
{
    return step.failed;
}

static int step_take(const char *method, const char *name)
{
    if (atomic_fetch_add(&step.count, 1) + 1 == step.die_at)
        (void)kill(getpid(), SIGKILL);
    if (!step.method || strcmp(method, step.method) != 0 || !name)
        return SQLITE_OK;
    if (fnmatch(step.pattern, name, 0) != 0 || step.passes-- > 0)
        return SQLITE_OK;
    if (step.result == STEP_KILL)
        (void)kill(getpid(), SIGKILL);
    step.failed++;
    return step.result;
}

#define FILE_CALL(method, ...)                                                                     \
    struct step_file *self = (struct step_file *)file;                                             \
    int result = step_take(#method, self->name);                                                   \
    return result ? result : self->base->pMethods->method(self->base, ##__VA_ARGS__)

static int step_close(sqlite3_file *file)
{
    struct step_file *self = (struct step_file *)file;

    (void)step_take("xClose", self->name);
    return self->base->pMethods ? self->base->pMethods->xClose(self->base) : SQLITE_OK;
}

static int step_read(sqlite3_file *file, void *buffer, int bytes, sqlite3_int64 offset)
{
    FILE_CALL(xRead, buffer, bytes, offset);
}

static int step_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    FILE_CALL(xWrite, data, bytes, offset);
}

static int step_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    FILE_CALL(xTruncate, bytes);
}

static int step_sync(sqlite3_file *file, int flags)
{
    FILE_CALL(xSync, flags);
}

static int step_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    FILE_CALL(xFileSize, bytes);
}

static int step_lock(sqlite3_file *file, int level)
{
    FILE_CALL(xLock, level);
}

static int step_unlock(sqlite3_file *file, int level)
{
    FILE_CALL(xUnlock, level);
}

static int step_reserved(sqlite3_file *file, int *reserved)
{
    FILE_CALL(xCheckReservedLock, reserved);
}

static int step_control(sqlite3_file *file, int operation, void *argument)
{
    FILE_CALL(xFileControl, operation, argument);
}

static int step_sector(sqlite3_file *file)
{
    struct step_file *self = (struct step_file *)file;

    return self->base->pMethods->xSectorSize(self->base);
}

static int step_characteristics(sqlite3_file *file)
{
    struct step_file *self = (struct step_file *)file;

    return self->base->pMethods->xDeviceCharacteristics(self->base);
}

static int step_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **at)
{
    FILE_CALL(xShmMap, page, bytes, extend, at);
}

static int step_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    FILE_CALL(xShmLock, offset, count, flags);
}

static void step_shm_barrier(sqlite3_file *file)
{
    struct step_file *self = (struct step_file *)file;

    self->base->pMethods->xShmBarrier(self->base);
}

static int step_shm_unmap(sqlite3_file *file, int erase)
{
    FILE_CALL(xShmUnmap, erase);
}

static int step_fetch(sqlite3_file *file, sqlite3_int64 offset, int bytes, void **at)
{
    FILE_CALL(xFetch, offset, bytes, at);
}

static int step_unfetch(sqlite3_file *file, sqlite3_int64 offset, void *at)
{
    FILE_CALL(xUnfetch, offset, at);
}

static const sqlite3_io_methods step_methods[3] = {
#define STEP_METHODS(version)                                                                      \
    {                                                                                              \
        version, step_close, step_read, step_write, step_truncate, step_sync, step_size,           \
            step_lock, step_unlock, step_reserved, step_control, step_sector,                      \
            step_characteristics, step_shm_map, step_shm_lock, step_shm_barrier, step_shm_unmap,   \
            step_fetch, step_unfetch                                                               \
    }
    STEP_METHODS(1),
    STEP_METHODS(2),
    STEP_METHODS(3),
};

static sqlite3_vfs *step_base(sqlite3_vfs *vfs)
{
    return ((struct step_vfs *)vfs)->base;
}

static int step_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct step_file *self = (struct step_file *)file;
    int result = step_take("xOpen", name);

    self->file.pMethods = NULL;
    self->name = name;
    self->base = (sqlite3_file *)(self + 1);
    if (result)
        return result;
    result = step_base(vfs)->xOpen(step_base(vfs), name, self->base, flags, out);
    if (self->base->pMethods) {
        int version = self->base->pMethods->iVersion;

        self->file.pMethods = &step_methods[(version > 3 ? 3 : version) - 1];
    }
    return result;
}

static int step_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    int result = step_take("xDelete", name);

    return result ? result : step_base(vfs)->xDelete(step_base(vfs), name, sync);
}

static int step_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    int result = step_take("xAccess", name);

    return result ? result : step_base(vfs)->xAccess(step_base(vfs), name, flags, out);
}

static int step_path(sqlite3_vfs *vfs, const char *name, int bytes, char *out)
{
    return step_base(vfs)->xFullPathname(step_base(vfs), name, bytes, out);
}

void step_register(const char *name, const char *base)
{
    static struct step_vfs all[4];
    static size_t count;
    struct step_vfs *self = &all[count++];

    check(count <= sizeof(all) / sizeof(all[0]));
    self->base = sqlite3_vfs_find(base);
    check(self->base != NULL);
    self->vfs = *self->base; /* what is not ours goes to the base's own functions */
    self->vfs.zName = name;
    self->vfs.pNext = NULL;
    self->vfs.szOsFile = (int)sizeof(struct step_file) + self->base->szOsFile;
    self->vfs.xOpen = step_open;
    self->vfs.xDelete = step_delete;
    self->vfs.xAccess = step_access;
    self->vfs.xFullPathname = step_path;
    check_eq(sqlite3_vfs_register(&self->vfs, 0), SQLITE_OK);
}

struct step_start {
    const struct step_sweep *sweep;
    uint64_t n;
};

void step_enter(void)
{
    sql_load();
    step_register("step", sql_vfs);
    step_register("step_stock", stock_vfs);
    sql_vfs = "step";
    stock_vfs = "step_stock";
}

static void step_child(void *argument)
{
    struct step_start *start = argument;

    step_enter();
    step_arm(start->n);
    start->sweep->main(start->sweep->argument);
    step_arm(0);
}

uint64_t step_run(const struct step_sweep *sweep)
{
    struct step_start start = {sweep, 1};

    for (;; start.n += place_stride()) {
        struct child child;
        int result;

        check_note("killed before VFS call %llu", (unsigned long long)start.n);
        sweep->prepare();
        child_start(&child, step_child, &start);
        result = child_wait(&child);
        if (result != 0 && result != -SIGKILL)
            check_fail("the child ended with %d", result);
        sweep->verify(result != 0);
        if (result == 0)
            break;
    }
    check_note("%s", "");
    printf("%llu VFS calls\n", (unsigned long long)start.n - 1);
    check(start.n > 5);
    return start.n;
}

uint64_t step_run_calls(const struct step_sweep *sweep)
{
    bool killed = true;
    uint64_t n = 1;

    sql_load(); /* here: loading is none of the steps */
    for (; killed; n += place_stride()) {
        check_note("killed before system call %llu", (unsigned long long)n);
        sweep->prepare();
        killed = trace_kill(sweep->main, sweep->argument, TRACE_CALL, n, NULL);
        sweep->verify(killed);
    }
    n -= place_stride(); /* the one that was not reached */
    check_note("%s", "");
    printf("%llu system calls\n", (unsigned long long)n - 1);
    return n;
}
