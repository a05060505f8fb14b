/*
 * nvmmio_multi: one commit over several files.  Two-phase commit with presumed commit:
 * a file names the participants; while it exists, recovery rolls back, once it
 * is gone, it commits (SQLite's super-journal, Gray's presumed outcome).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/handle.h"

struct multi {
    struct nvmmio *const *handles;
    size_t count;
    char *super;
    char **children;
};

static int write_file(const struct nv_os *os, const char *path, const void *data, size_t bytes)
{
    struct nv_file file;
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    int error =
        os->open(os, path, NV_OPEN_WRITE | NV_OPEN_CREATE | NV_OPEN_EXCLUSIVE | NV_OPEN_NOFOLLOW,
                 0600, &file);
    if (error)
        return nv_fail(error, "cannot create %s: %s", path, nvmmio_strerror(error));
    error = os->pwritev(&file, &part, 1, 0);
    if (!error)
        error = os->sync_data(&file);
    (void)os->close(&file);
    if (!error)
        error = os->sync_directory(os, path);
    if (error) {
        (void)os->unlink(os, path);
        return nv_fail(error, "cannot write %s: %s", path, nvmmio_strerror(error));
    }
    return 0;
}

/* Every participant has a child file that names the super file, so that the last one to be
 * rolled back after a crash can be told. */
static int write_decision(const struct nv_os *os, struct multi *multi)
{
    size_t bytes = 0;
    for (size_t i = 0; i < multi->count; i++)
        bytes += strlen(multi->children[i]) + 1;
    char *list = calloc(1, bytes + 1);
    if (!list)
        return nv_fail(-ENOMEM, "out of memory");
    char *end = list;
    for (size_t i = 0; i < multi->count; i++)
        end = stpcpy(end, multi->children[i]) + 1;
    /* The children first: through them every super file is found again. */
    int error = 0;
    for (size_t i = 0; i < multi->count && !error; i++)
        error = write_file(os, multi->children[i], multi->super, strlen(multi->super) + 1);
    if (!error)
        error = write_file(os, multi->super, list, bytes);
    free(list);
    return error;
}

static int make_names(const struct nv_os *os, struct multi *multi)
{
    uint64_t token = 0;
    int error = os->random(os, &token, sizeof token);
    if (error)
        return error;
    multi->children = calloc(multi->count, sizeof(char *));
    /* Never the same name again: an older transaction of one of the others may still ask for it. */
    if (asprintf(&multi->super, "%s" NV_MULTI_INFIX "%016llx", multi->handles[0]->home->path,
                 (unsigned long long)token) < 0)
        multi->super = NULL;
    bool made = multi->children && multi->super;
    for (size_t i = 0; i < multi->count && made; i++) {
        multi->children[i] = nv_multi_part(multi->handles[i]->home->path);
        made = multi->children[i] != NULL;
    }
    if (!made)
        return nv_fail(-ENOMEM, "out of memory");
    /* Left by somebody who died.  The locks are ours, so what he prepared here is settled. */
    for (size_t i = 0; i < multi->count; i++)
        (void)os->unlink(os, multi->children[i]);
    return 0;
}

static void roll_back(struct nvmmio *handle)
{
    if (nvmmio_rollback(handle) != 0)
        return; /* the error that led here is the one to report */
}

/* Whether recovery may find one of them prepared: its record, or its outcome, is in doubt. */
static bool in_doubt(const struct multi *multi)
{
    bool doubt = false;
    for (size_t i = 0; i < multi->count; i++)
        doubt |= atomic_load(&multi->handles[i]->home->share.shared->health) != NV_HEALTH_GOOD;
    return doubt;
}

/* All are rolled back, durably.  The super file goes first: through the children it is found again,
 * and children without it are found through their homes. */
static void remove_decision(const struct nv_os *os, const struct multi *multi)
{
    int error = os->unlink(os, multi->super);
    if (!error || error == -ENOENT)
        error = os->sync_directory(os, multi->super);
    if (error)
        return; /* whoever opens the files next does it */
    for (size_t i = 0; i < multi->count; i++)
        (void)os->unlink(os, multi->children[i]);
}

static int commit_many(const struct nv_os *os, struct multi *multi)
{
    bool decided = false;
    int error = write_decision(os, multi);
    for (size_t i = 0; i < multi->count && !error; i++)
        error = nvmmio_prepare(multi->handles[i], multi->super, multi->children[i]);
    if (!error) {
        error = os->unlink(os, multi->super);
        decided = !error;
        /* The commit point.  A failing sync leaves it in doubt, but this process has seen it go. */
        if (decided)
            error = os->sync_directory(os, multi->super);
    }
    for (size_t i = 0; i < multi->count; i++) {
        if (nvmmio_stage(multi->handles[i]) != NVMMIO_PREPARED)
            continue;
        int resolved = nvmmio_resolve(multi->handles[i], decided);
        error = error ? error : resolved;
    }
    if (!decided) {
        for (size_t i = 0; i < multi->count; i++)
            roll_back(multi->handles[i]); /* all, lest a part of it is committed later */
        /* In doubt, it is the super file by which recovery rolls back: that removes it then. */
        if (!in_doubt(multi))
            remove_decision(os, multi);
    }
    return error;
}

int nvmmio_sync_many(struct nvmmio *const handles[], size_t count)
{
    struct nvmmio **staged = calloc(count + 1, sizeof(void *));
    struct multi multi = {.handles = staged};
    int error = 0;
    if (!staged)
        return nv_fail(-ENOMEM, "out of memory");
    for (size_t i = 0; i < count && !error; i++) {
        for (size_t j = 0; j < i; j++)
            if (handles[j]->home == handles[i]->home && handles[j]->stage != NVMMIO_CLEAN)
                error = nv_fail(-EINVAL, "%s is named twice", handles[i]->home->path);
        if (!nv_process_here(handles[i]->process))
            error = nv_fail(-ECHILD, "this handle belongs to the parent process");
        else if (handles[i]->stage == NVMMIO_PREPARED)
            error = nv_fail(-EBUSY, "%s has a prepared transaction", handles[i]->home->path);
        if (handles[i]->stage != NVMMIO_CLEAN)
            staged[multi.count++] = handles[i];
    }
    if (error || multi.count == 0)
        goto out;
    if (multi.count == 1) {
        error = nvmmio_sync(staged[0]);
        goto out;
    }
    const struct nv_os *os = nv_process_os(staged[0]->process);
    for (size_t i = 0; i < multi.count && !error; i++)
        error = nv_lock_raise(staged[i], NV_LEVEL_EXCLUSIVE, staged[i]->timeout_ms);
    if (!error)
        error = make_names(os, &multi);
    if (!error)
        error = commit_many(os, &multi);
out:
    for (size_t i = 0; multi.children && i < multi.count; i++)
        free(multi.children[i]);
    free(multi.children);
    free(multi.super);
    free(staged);
    return error;
}
