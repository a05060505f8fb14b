/*
 * share_door: how processes come and go.  PROTOCOL of the door: joining, making
 * the page anew, recovery, leaving and removing the sidecars exclude each other,
 * so nobody can open a sidecar that somebody else is about to remove.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/error.h"
#include "core/share.h"

#define PAGE_MAGIC UINT64_C(0x0a6d68736d766e) /* "nvmshm\n" */
#define PAGE_VERSION 1u
#define PAUSE_US 500u
#define DOOR_WAIT_MIN_MS 500 /* joins and leaves of others are waited for at least so long */

static int cannot_lock(const struct nv_share *share, int error)
{
    return nv_fail(error, "cannot lock %s: %s", share->path, nvmmio_strerror(error));
}

/* Wait for the door.  A stock SQLite that holds it is waited for within the time-out only. */
static int door_lock(struct nv_share *share, int timeout_ms)
{
    struct nv_file *home = share->home;
    const struct nv_os *os = home->os;
    uint64_t start = os->clock_ns(os);
    for (;;) {
        int error = os->lock(home, NV_BYTE_DOOR, 1);
        if (error != -EAGAIN)
            return error ? cannot_lock(share, error) : 0;
        enum nv_lock_holder holder = NV_HOLDER_NONE;
        uint64_t where;
        error = os->lock_holder(home, NV_BYTE_DOOR, 1, &holder, &where);
        if (error)
            return cannot_lock(share, error);
        uint64_t waited_ms = (os->clock_ns(os) - start) / 1000000;
        uint64_t limit_ms = (uint64_t)(timeout_ms < 0 ? INT32_MAX : timeout_ms);
        if (holder != NV_HOLDER_POSIX)
            limit_ms = nv_max(limit_ms, DOOR_WAIT_MIN_MS);
        if (waited_ms >= limit_ms)
            return nv_fail(-EBUSY,
                           holder == NV_HOLDER_POSIX
                               ? "a program without nvmmio is locking %s; try again"
                               : "another process is recovering or closing %s; try again",
                           share->path);
        os->pause(os, PAUSE_US);
    }
}

/* Whether a live process other than this one holds a byte.  `page` (may be NULL) knows of
 * processes that are gone while a forked child still holds their byte. */
static int find_others(struct nv_share *share, const struct nv_shared *page, bool *others)
{
    struct nv_file *home = share->home;
    const struct nv_os *os = home->os;
    uint64_t offset = NV_BYTE_PROCESS;
    uint64_t end = NV_BYTE_PROCESS + NV_PROCESSES_MAX;
    *others = false;
    while (offset < end) {
        enum nv_lock_holder holder = NV_HOLDER_NONE;
        uint64_t where = offset;
        int error = os->lock_holder(home, offset, end - offset, &holder, &where);
        if (error)
            return cannot_lock(share, error);
        if (holder == NV_HOLDER_NONE)
            return 0;
        if (holder == NV_HOLDER_POSIX)
            return nv_fail(-EBUSY,
                           "a program without nvmmio is using %s; close it there, or try again",
                           share->path);
        where = nv_max(where, offset);
        const struct nv_resident *resident =
            page ? &page->residents[where - NV_BYTE_PROCESS] : NULL;
        uint64_t pid = resident ? atomic_load(&resident->pid) : 0;
        if (pid == 0 ||
            os->process_alive(os, pid, resident->start_time, resident->pid_namespace) != 0) {
            *others = true;
            return 0;
        }
        offset = where + 1;
    }
    return 0;
}

/* Take a byte.  In a page with others in it, a place that somebody left by dying is cleared
 * first, unless he was the writer: his heir must be a handle, which this process has not yet. */
static int take_byte(struct nv_share *share)
{
    const struct nv_os *os = share->home->os;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < NV_PROCESSES_MAX; i++) {
            bool vacant = !share->shared || atomic_load(&share->shared->residents[i].pid) == 0;
            if (vacant != (pass == 0))
                continue;
            int error = os->lock(share->home, NV_BYTE_PROCESS + i, 1);
            if (error == -EAGAIN)
                continue;
            if (error)
                return cannot_lock(share, error);
            if (vacant || nv_share_clear_reader(share, i)) {
                share->process = i;
                return 0;
            }
            (void)os->unlock(share->home, NV_BYTE_PROCESS + i, 1);
        }
    }
    return nv_fail(
        -EBUSY,
        "no place left for this process: %u have %s open, or a program without nvmmio is "
        "reading it",
        NV_PROCESSES_MAX, share->path);
}

static bool page_valid(const struct nv_shared *page, const struct nv_file_id *home)
{
    return page->magic == PAGE_MAGIC && page->version == PAGE_VERSION &&
           page->home_inode == home->inode && page->home_birth_ns == home->birth_ns &&
           page->mark_bytes <= NVMMIO_MARK_BYTES && atomic_load(&page->ready) == 1;
}

static int page_map(const struct nv_os *os, const char *path, bool writable, struct nv_file *file,
                    struct nv_shared **shared)
{
    int error = os->open(os, path, NV_OPEN_NOFOLLOW | (writable ? NV_OPEN_WRITE : 0), 0, file);
    if (error == -ELOOP)
        return nv_fail(error, "%s is a symbolic link: remove it, nvmmio keeps a file there", path);
    if (error)
        return nv_fail(error, "cannot open %s: %s", path, nvmmio_strerror(error));
    struct nv_file_stat stat;
    void *address = NULL;
    error = os->stat(file, &stat);
    if (!error && stat.bytes < sizeof(struct nv_shared))
        error = nv_fail(-EUCLEAN, "%s is not a shared page of nvmmio, or of another version", path);
    if (!error)
        error = os->map(file, sizeof(struct nv_shared), writable, false, &address);
    if (error) {
        (void)os->close(file);
        return error;
    }
    *shared = address;
    return 0;
}

int nv_share_peek(const struct nv_os *os, const char *page_path, const struct nv_file_id *home,
                  struct nv_file *file, const struct nv_shared **shared)
{
    struct nv_shared *page = NULL;
    int error = page_map(os, page_path, false, file, &page);
    if (error)
        return error;
    *shared = page;
    if (page_valid(page, home))
        return 0;
    nv_share_unpeek(file, page);
    return nv_fail(-EUCLEAN, "%s belongs to another file or another version of nvmmio", page_path);
}

void nv_share_unpeek(struct nv_file *file, const struct nv_shared *shared)
{
    (void)file->os->unmap(file, (void *)(uintptr_t)shared, sizeof *shared);
    (void)file->os->close(file);
}

/* Nobody else is there: whatever page lies about is stale. */
static int page_create(struct nv_share *share, const char *path, const struct nv_file_stat *home)
{
    const struct nv_os *os = share->home->os;
    struct nv_file old;
    int error = os->open(os, path, NV_OPEN_NOFOLLOW, 0, &old);
    if (error == -ELOOP)
        return nv_fail(error, "%s is a symbolic link: remove it, nvmmio keeps a file there", path);
    if (error && error != -ENOENT)
        return nv_fail(error, "%s, where nvmmio keeps a file, cannot be used: %s; remove it", path,
                       nvmmio_strerror(error));
    if (error == 0) {
        (void)os->close(&old);
        error = os->unlink(os, path);
        if (error)
            return nv_fail(error, "cannot remove the stale %s: %s", path, nvmmio_strerror(error));
    }
    error =
        os->open(os, path, NV_OPEN_WRITE | NV_OPEN_CREATE | NV_OPEN_EXCLUSIVE | NV_OPEN_NOFOLLOW,
                 home->mode & 0777, &share->file);
    if (error)
        return nv_fail(error, "cannot create %s: %s", path, nvmmio_strerror(error));
    error = os->set_owner(&share->file, home->uid, home->gid, home->mode & 0777);
    if (error == -EPERM)
        error = 0;
    void *address = NULL;
    if (!error)
        error = os->allocate(&share->file, 0, sizeof(struct nv_shared), true);
    if (!error)
        error = os->map(&share->file, sizeof(struct nv_shared), true, false, &address);
    if (error) {
        (void)os->close(&share->file);
        (void)os->unlink(os, path);
        return nv_fail(error, "cannot make %s: %s", path, nvmmio_strerror(error));
    }
    share->shared = address;
    share->shared->magic = PAGE_MAGIC;
    share->shared->version = PAGE_VERSION;
    share->shared->home_inode = home->id.inode;
    share->shared->home_birth_ns = home->id.birth_ns;
    return 0;
}

static int page_join(struct nv_share *share, const char *path, const struct nv_file_stat *home)
{
    int error = page_map(share->home->os, path, true, &share->file, &share->shared);
    if (error == -ENOENT)
        return nv_fail(-EBUSY,
                       "%s is in use by a reader without permission to write it, or %s was removed "
                       "while others use it; close it there",
                       share->path, path);
    if (error)
        return error;
    if (page_valid(share->shared, &home->id))
        return 0;
    nv_share_unpeek(&share->file, share->shared);
    share->shared = NULL;
    return nv_fail(-EUCLEAN,
                   "%s, which other processes use, belongs to another file or another version of "
                   "nvmmio; close the file there",
                   path);
}

static struct nv_resident *copy_residents(const struct nv_shared *page)
{
    struct nv_resident *copy = aligned_alloc(alignof(struct nv_resident), sizeof page->residents);
    if (copy)
        memcpy(copy, page->residents, sizeof page->residents);
    return copy;
}

/* A byte that is locked though its owner is gone (a forked child has it): the new page must know
 * whose it was, or everybody takes him for alive. */
static void remember_gone(struct nv_share *share, const struct nv_resident *gone)
{
    const struct nv_os *os = share->home->os;
    for (uint32_t i = 0; i < NV_PROCESSES_MAX; i++) {
        enum nv_lock_holder holder = NV_HOLDER_NONE;
        uint64_t where;
        if (i == share->process || atomic_load(&gone[i].pid) == 0 ||
            os->lock_holder(share->home, NV_BYTE_PROCESS + i, 1, &holder, &where) != 0 ||
            holder != NV_HOLDER_OFD)
            continue;
        struct nv_resident *resident = &share->shared->residents[i];
        atomic_store(&resident->start_time, atomic_load(&gone[i].start_time));
        atomic_store(&resident->pid_namespace, atomic_load(&gone[i].pid_namespace));
        atomic_store(&resident->pid, atomic_load(&gone[i].pid));
    }
}

static void settle(struct nv_share *share)
{
    const struct nv_os *os = share->home->os;
    struct nv_shared *shared = share->shared;
    uint64_t pid = 0;
    uint64_t start = 0;
    uint64_t namespace = 0;
    if (os->process_self(os, &pid, &start, &namespace) != 0)
        pid = start = namespace = UINT64_MAX; /* nobody can tell whether it lives: the byte does */
    struct nv_resident *mine = &shared->residents[share->process];
    atomic_store(&mine->start_time, start);
    atomic_store(&mine->pid_namespace, namespace);
    atomic_store(&mine->pid, pid);
}

int nv_share_join(struct nv_share *share, struct nv_file *home, const char *path,
                  const char *page_path, int timeout_ms, bool *first)
{
    const struct nv_os *os = home->os;
    struct nv_file_stat stat;
    struct nv_file page_file;
    const struct nv_shared *page = NULL;
    bool others = false;
    *share = (struct nv_share){.home = home, .path = path};
    int error = os->stat(home, &stat);
    if (error)
        return nv_fail(error, "cannot look at %s: %s", path, nvmmio_strerror(error));
    error = door_lock(share, timeout_ms);
    if (error)
        return error;
    if (nv_share_peek(os, page_path, &stat.id, &page_file, &page) != 0)
        page = NULL;
    struct nv_resident *gone = NULL;
    error = find_others(share, page, &others);
    if (!error && !others && page)
        gone = copy_residents(page);
    if (page)
        nv_share_unpeek(&page_file, page);
    if (!error && others)
        error = page_join(share, page_path, &stat);
    if (!error)
        error = take_byte(share);
    if (!error && !others) {
        error = page_create(share, page_path, &stat);
        if (error)
            (void)os->unlock(home, NV_BYTE_PROCESS + share->process, 1);
        else if (gone)
            remember_gone(share, gone);
    }
    free(gone);
    if (error)
        goto shut;
    *first = !others;
    settle(share);
    return 0;
shut:
    if (share->shared)
        nv_share_unpeek(&share->file, share->shared);
    share->shared = NULL;
    nv_share_door_unlock(share);
    return error;
}

void nv_share_enter(struct nv_share *share)
{
    atomic_store(&share->shared->ready, 1);
    nv_share_door_unlock(share);
}

int nv_share_door_lock(struct nv_share *share, int timeout_ms, bool *alone)
{
    *alone = true;
    if (share->alone)
        return 0;
    int error = door_lock(share, timeout_ms);
    if (error)
        return error;
    bool others = false;
    error = find_others(share, share->shared, &others);
    if (error)
        nv_share_door_unlock(share);
    *alone = !others;
    return error;
}

void nv_share_door_unlock(struct nv_share *share)
{
    if (!share->alone)
        (void)share->home->os->unlock(share->home, NV_BYTE_DOOR, 1);
}

int nv_share_leave(struct nv_share *share, const char *page_path, bool last)
{
    int error = 0;
    if (share->alone) {
        free(share->shared);
    } else {
        atomic_store(&share->shared->residents[share->process].pid, 0);
        nv_share_unpeek(&share->file, share->shared);
        if (last)
            error = share->home->os->unlink(share->home->os, page_path);
    }
    share->shared = NULL;
    return error && error != -ENOENT
               ? nv_fail(error, "cannot remove %s, which is of no use now: %s", page_path,
                         nvmmio_strerror(error))
               : 0;
}

int nv_share_private(struct nv_share *share)
{
    struct nv_shared *page = aligned_alloc(alignof(struct nv_shared), sizeof *page);
    if (!page)
        return -ENOMEM;
    memset(page, 0, sizeof *page);
    share->shared = page;
    share->alone = true;
    return 0;
}
