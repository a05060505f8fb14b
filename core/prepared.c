/*
 * prepared: transactions that another file decides, after a crash: finding out
 * the decision, writing it down, and removing the files that held it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/home.h"

/* Whether `path` speaks of `super` in its last bytes, as a journal's trailer does: 1, 0, or an
 * error. */
static int names_super(const struct nv_os *os, const char *path, const char *super)
{
    struct nv_file file;
    struct nv_file_stat stat;
    uint8_t tail[4096];
    int error = os->open(os, path, NV_OPEN_NOFOLLOW, 0, &file);
    if (error) /* a link, a directory, a pipe: no child of anybody's */
        return error == -ENOENT || error == -ENOTDIR || error == -ELOOP || error == -EISDIR ||
                       error == -EINVAL
                   ? 0
                   : error;
    error = os->stat(&file, &stat);
    if (!error) {
        uint64_t at = stat.bytes > sizeof tail ? stat.bytes - sizeof tail : 0;
        ssize_t got = os->pread(&file, tail, sizeof tail, at);
        error = got < 0 ? (int)got : memmem(tail, (size_t)got, super, strlen(super)) != NULL;
    }
    (void)os->close(&file);
    return error;
}

/* The list of children that a super file is, NUL after each, to be freed; NULL: there is none.  An
 * error: it cannot be read. */
static int read_list(const struct nv_os *os, const char *super, char **list, size_t *bytes)
{
    struct nv_file file;
    struct nv_file_stat stat = {.bytes = 0};
    *list = NULL;
    int error = os->open(os, super, NV_OPEN_NOFOLLOW, 0, &file);
    if (error)
        return nv_os_exists(os, super) == 0 ? 0 : error;
    error = os->stat(&file, &stat);
    *bytes = (size_t)stat.bytes;
    if (!error && stat.bytes <= ((uint64_t)1 << 20)) {
        *list = calloc(1, *bytes + 1);
        ssize_t got = *list ? os->pread(&file, *list, *bytes, 0) : -ENOMEM;
        if (got != (ssize_t)*bytes) {
            error = got < 0 ? (int)got : -EIO;
            free(*list);
            *list = NULL;
        }
    }
    (void)os->close(&file);
    return error;
}

/* `child` is about to go.  When no other child names the super file, that goes first; but only one
 * that lists this child: any other file is none of ours.  An error: it may still have to go, and is
 * found again through the child. */
static int remove_orphan_super(const struct nv_os *os, const char *super, const char *child)
{
    size_t bytes = 0;
    char *list = NULL;
    bool listed = false;
    bool needed = false;
    int error = read_list(os, super, &list, &bytes);
    for (size_t at = 0; list && at < bytes && !error; at += strlen(list + at) + 1) {
        if (strcmp(list + at, child) == 0) {
            listed = true;
            continue;
        }
        int names = names_super(os, list + at, super);
        needed = needed || names > 0;
        error = names < 0 ? names : 0;
    }
    /* One of nvmmio_sync_many's that holds no list was cut short before anything was prepared. */
    bool unwritten = list && (bytes == 0 || list[0] == 0) && strstr(super, NV_MULTI_INFIX) != NULL;
    free(list);
    if (error || !((listed && !needed) || unwritten))
        return error;
    error = os->unlink(os, super);
    return error ? error : os->sync_directory(os, super);
}

/* A part of a commit over several files that was cut short before this home was prepared, or after
 * its outcome was known. */
static void remove_stale_part(const struct nv_os *os, const char *part)
{
    struct nv_file file;
    char super[4096] = "";
    if (os->open(os, part, NV_OPEN_NOFOLLOW, 0, &file) != 0)
        return;
    ssize_t got = os->pread(&file, super, sizeof super - 1, 0);
    (void)os->close(&file);
    if (got < 0)
        return;
    super[got] = 0;
    if (super[0] != '/' || remove_orphan_super(os, super, part) == 0)
        (void)os->unlink(os, part);
}

void nv_remove_leftovers(struct nv_home *home)
{
    const struct nv_os *os = home->file.os;
    char *aside = nv_log_aside(home->log_path);
    char *part = nv_multi_part(home->path);
    if (aside)
        (void)os->unlink(os, aside);
    if (part)
        remove_stale_part(os, part);
    free(aside);
    free(part);
}

char *nv_multi_part(const char *path)
{
    char *name = NULL;
    return asprintf(&name, "%s-nvmmio-part", path) < 0 ? NULL : name;
}

static void remove_child(const struct nv_os *os, const char *super, const char *child, bool commit)
{
    if (!*child)
        return;
    if (!commit && remove_orphan_super(os, super, child) != 0)
        return;
    if (names_super(os, child, super) == 1 && os->unlink(os, child) == 0)
        (void)os->sync_directory(os, child);
}

static int decide(struct nv_home *home, const struct nv_parsed *prepare, bool *commit)
{
    const struct nv_os *os = home->file.os;
    *commit = false;
    int super = nv_os_exists(os, prepare->super);
    int child = *prepare->child && super == 0 ? nv_os_exists(os, prepare->child) : 1;
    if (super < 0 || child < 0)
        return nv_fail(super < 0 ? super : child,
                       "cannot look for %s, which decides a transaction of %s: %s",
                       super < 0 ? prepare->super : prepare->child, home->path,
                       nvmmio_strerror(super < 0 ? super : child));
    if (super)
        return 0;
    if (!child)
        return nv_fail(-EUCLEAN,
                       "%s holds a transaction over several files whose outcome is lost: both %s "
                       "and %s are gone. Put back the one that was there (an empty file %s rolls "
                       "it back, %s commits it)",
                       home->path, prepare->super, prepare->child, prepare->super, prepare->child);
    /* Who removed it may have died before that was durable: it must not come back once this file
     * is committed. */
    int error = os->sync_directory(os, prepare->super);
    if (error && error != -ENOENT)
        return nv_fail(error, "cannot make the removal of %s durable: %s", prepare->super,
                       nvmmio_strerror(error));
    *commit = true;
    return 0;
}

/* The chain that leads to the record at `offset`: hash of the spill before it. */
static int chain_before(struct nv_home *home, uint32_t segment, uint64_t offset, uint64_t *chain)
{
    *chain = 0;
    for (uint64_t at = nv_segment_start(&home->log, segment); at < offset;) {
        struct nv_record line;
        int error = nv_medium_load(&home->log.medium, at, &line, sizeof line);
        if (error)
            return error;
        if (!nv_record_line_valid(&line, home->log.header.nonce, at))
            return nv_fail(-EUCLEAN, "the log of %s changed while it was read", home->path);
        *chain = line.kind == NV_RECORD_SPILL ? line.body_hash : 0;
        at += nv_record_bytes(&line);
    }
    return 0;
}

/* Write the decision of a transaction that was prepared, and look at the log again.  It is durable
 * when the caller has made all records so, which he does before he repeats any. */
int nv_prepared_resolve(struct nv_home *home, struct nv_scan *scan)
{
    struct nv_parsed prepare = {.body = NULL};
    uint64_t chain = 0;
    bool commit = false;
    if (!scan->prepare)
        return 0;
    int error = chain_before(home, scan->prepare_segment, scan->prepare, &chain);
    if (!error)
        error = nv_log_read(&home->log, scan->prepare, scan->prepare_end, chain, &prepare);
    if (!error)
        error = decide(home, &prepare, &commit);
    if (error)
        goto out;
    struct nv_record record = prepare.line;
    record.kind = commit ? NV_RECORD_RESOLVE_COMMIT : NV_RECORD_RESOLVE_ABORT;
    record.name_lines = 0;
    record.pad_lines = 0;
    record.block_count = record.line_count = 0;
    record.zero_from = NV_NO_ZERO;
    if (!commit)
        record.size = scan->any ? scan->last_size : home->log.header.base_bytes;
    struct nv_cursor cursor = {.placed = true,
                               .segment = scan->prepare_segment,
                               .epoch = prepare.line.epoch,
                               .head = scan->prepare_end};
    struct iovec part = {&record, sizeof record};
    error = nv_medium_reserve(&home->log.medium, cursor.head + sizeof record);
    if (!error)
        error = nv_log_append(&home->log, &cursor, &record, &part, 1, true);
    if (!error)
        error = nv_log_scan(&home->log, scan);
out:
    free(prepare.body);
    return error;
}

/* After home holds the outcome: the files that held the decision are not needed any more. */
void nv_prepared_clear(struct nv_home *home, const struct nv_scan *scan)
{
    struct nv_parsed prepare = {.body = NULL};
    uint64_t chain = 0;
    if (!scan->any || !scan->resolved)
        return;
    uint64_t end = scan->runs[scan->last_segment].end;
    if (chain_before(home, scan->last_segment, scan->resolved, &chain) == 0 &&
        nv_log_read(&home->log, scan->resolved, end, chain, &prepare) == 0 && prepare.super) {
        struct nv_record last;
        uint64_t at = scan->resolved + nv_record_bytes(&prepare.line);
        if (nv_medium_load(&home->log.medium, at, &last, sizeof last) == 0)
            remove_child(home->file.os, prepare.super, prepare.child,
                         last.kind == NV_RECORD_RESOLVE_COMMIT);
    }
    free(prepare.body);
}
