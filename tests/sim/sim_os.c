/* sim_os: the operating system that a simulated process sees. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base.h"
#include "tests/sim/sim.h"

#define TYPE_FILE 0100000u

static struct sim_file *file_of(struct nv_file *file)
{
    return &sim_process_of(file)->sim->files[sim_descriptor_of(file)->file];
}

/* A call begins: the process may die here, the call may fail. */
static int enter(struct sim_process *process, enum sim_call call)
{
    bool syncs = call == SIM_CALL_SYNC_DATA || call == SIM_CALL_SYNC_DIRECTORY;
    (void)sim_tick(process, syncs ? SIM_TICK_SYNC : SIM_TICK_CALL);
    return sim_fault(process->sim, call);
}

/* Directories are part of names here: those that there are. */
static bool directory_exists(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t bytes = slash ? (size_t)(slash - path) : 0;
    return (bytes == 2 && memcmp(path, "/d", 2) == 0) || (bytes == 2 && memcmp(path, "/l", 2) == 0);
}

/* ---- names and descriptors ----------------------------------------------------------- */

static int os_open(const struct nv_os *os, const char *path, int flags, uint32_t mode,
                   struct nv_file *file)
{
    struct sim_process *process = os->context;
    struct sim *sim = process->sim;
    int error = enter(process, SIM_CALL_OPEN);
    if (error)
        return error;
    uint32_t found = sim_find(sim, path);
    if (found != SIM_NONE && (flags & NV_OPEN_CREATE) && (flags & NV_OPEN_EXCLUSIVE))
        return -EEXIST;
    if (found == SIM_NONE && (!(flags & NV_OPEN_CREATE) || !directory_exists(path)))
        return -ENOENT;
    uint32_t descriptor = 0;
    while (descriptor < SIM_DESCRIPTORS_MAX && sim->descriptors[descriptor].used)
        descriptor++;
    if (descriptor == SIM_DESCRIPTORS_MAX)
        return -EMFILE;
    if (found == SIM_NONE) {
        found = sim_record_make(process, path, TYPE_FILE | (mode & 07777));
        if (found == SIM_NONE)
            return -ENOSPC;
        if (!sim_record_name(process, path, found))
            return -ENOSPC;
    }
    sim->descriptors[descriptor] = (struct sim_descriptor){
        .used = true,
        .writable = flags & NV_OPEN_WRITE,
        .file = found,
        .process = process->index,
    };
    *file = (struct nv_file){.os = os, .fd = -1, .object = &sim->descriptors[descriptor]};
    return 0;
}

static int os_close(struct nv_file *file)
{
    struct sim_process *process = sim_process_of(file);
    struct sim *sim = process->sim;
    struct sim_descriptor *descriptor = sim_descriptor_of(file);
    (void)sim_tick(process, SIM_TICK_CALL);
    if (!descriptor->used || descriptor->process != process->index)
        return -EBADF;
    for (uint32_t i = 0; i < SIM_LOCKS_MAX; i++)
        if (sim->locks[i].descriptor == (uint32_t)(descriptor - sim->descriptors))
            sim->locks[i].descriptor = SIM_NONE;
    descriptor->used = false;
    return 0;
}

static void fill_stat(const struct sim_file *file, struct nv_file_stat *stat)
{
    *stat = (struct nv_file_stat){
        .id = {.device = 1, .inode = file->inode, .birth_ns = file->birth_ns},
        .bytes = file->bytes,
        .space_bytes = nv_align_up(file->bytes, NV_BLOCK_BYTES),
        .links = file->links,
        .mode = file->mode,
        .uid = file->uid,
        .gid = file->gid,
    };
}

static int os_stat(struct nv_file *file, struct nv_file_stat *stat)
{
    int error = enter(sim_process_of(file), SIM_CALL_STAT);
    if (!error)
        fill_stat(file_of(file), stat);
    return error;
}

static int os_stat_path(const struct nv_os *os, const char *path, struct nv_file_stat *stat)
{
    struct sim_process *process = os->context;
    int error = enter(process, SIM_CALL_STAT);
    uint32_t found = sim_find(process->sim, path);
    if (error)
        return error;
    if (found == SIM_NONE)
        return -ENOENT;
    fill_stat(&process->sim->files[found], stat);
    return 0;
}

static int os_set_owner(struct nv_file *file, uint32_t uid, uint32_t gid, uint32_t mode)
{
    (void)sim_tick(sim_process_of(file), SIM_TICK_CALL);
    struct sim_file *at = file_of(file);
    at->uid = uid;
    at->gid = gid;
    at->mode = TYPE_FILE | (mode & 07777);
    return 0;
}

static int os_unlink(const struct nv_os *os, const char *path)
{
    struct sim_process *process = os->context;
    int error = enter(process, SIM_CALL_UNLINK);
    if (error)
        return error;
    if (sim_find(process->sim, path) == SIM_NONE)
        return -ENOENT;
    (void)sim_record_name(process, path, SIM_NONE);
    return 0;
}

static int os_rename(const struct nv_os *os, const char *from, const char *to)
{
    struct sim_process *process = os->context;
    int error = enter(process, SIM_CALL_RENAME);
    if (error)
        return error;
    if (sim_find(process->sim, from) == SIM_NONE || !directory_exists(to))
        return -ENOENT;
    if (strlen(to) >= SIM_PATH_BYTES)
        return -ENAMETOOLONG;
    sim_record_rename(process, from, to);
    return 0;
}

static int os_sync_directory(const struct nv_os *os, const char *path)
{
    struct sim_process *process = os->context;
    int error = enter(process, SIM_CALL_SYNC_DIRECTORY);
    if (error)
        return error;
    if (sim_step(process->sim, SIM_STEP_DIRECTORY))
        sim_record_directory(process, path);
    return 0;
}

static int os_resolve(const struct nv_os *os, const char *path, char *out, size_t out_bytes)
{
    (void)sim_tick(os->context, SIM_TICK_CALL);
    if (path[0] != '/')
        return -ENOENT;
    return snprintf(out, out_bytes, "%s", path) >= (int)out_bytes ? -ENAMETOOLONG : 0;
}

/* ---- bytes --------------------------------------------------------------------------- */

static ssize_t os_pread(struct nv_file *file, void *buffer, size_t bytes, uint64_t offset)
{
    struct sim_process *process = sim_process_of(file);
    int error = enter(process, SIM_CALL_PREAD);
    if (error)
        return error;
    const struct sim_file *at = file_of(file);
    if (offset >= at->bytes)
        return 0;
    size_t got = (size_t)nv_min(bytes, at->bytes - offset);
    size_t stored = offset < at->high ? (size_t)nv_min(got, at->high - offset) : 0;
    if (at->raw)
        stored = got;
    memcpy(buffer, process->sim->memory[sim_descriptor_of(file)->file] + offset, stored);
    memset((uint8_t *)buffer + stored, 0, got - stored);
    return (ssize_t)got;
}

/* Whether the file may grow to `bytes`. */
static int check_space(struct nv_file *file, uint64_t bytes)
{
    const struct sim *sim = sim_process_of(file)->sim;
    if (bytes > SIM_FILE_BYTES_MAX)
        return -EFBIG;
    if (sim->space_bytes == UINT64_MAX)
        return 0;
    uint64_t taken = bytes;
    for (uint32_t i = 0; i < SIM_FILES_MAX; i++)
        if (sim->files[i].used && sim->files[i].links && &sim->files[i] != file_of(file))
            taken += sim->files[i].bytes;
    return taken > sim->space_bytes ? -ENOSPC : 0;
}

static int os_reopen_direct(struct nv_file *file, struct nv_file *direct)
{
    (void)file;
    (void)direct;
    return -EOPNOTSUPP;
}

static int os_pwritev(struct nv_file *file, const struct iovec *parts, int count, uint64_t offset)
{
    struct sim_process *process = sim_process_of(file);
    const struct sim_descriptor *descriptor = sim_descriptor_of(file);
    uint64_t end = offset;
    for (int i = 0; i < count; i++)
        end += parts[i].iov_len;
    if (!descriptor->writable)
        return -EBADF;
    int error = sim_fault(process->sim, SIM_CALL_PWRITEV);
    const int kept = 1 + process->sim->fault.parts;
    if (error && count > kept) /* a short write: the first part is there */
        sim_record_store(process, descriptor->file, offset, parts, kept, COVER_SYNC);
    if (!error && end > file_of(file)->bytes)
        error = check_space(file, end);
    if (error)
        return error;
    sim_record_store(process, descriptor->file, offset, parts, count, COVER_SYNC);
    return 0;
}

static int os_sync_data(struct nv_file *file)
{
    struct sim_process *process = sim_process_of(file);
    uint32_t at = sim_descriptor_of(file)->file;
    int error = enter(process, SIM_CALL_SYNC_DATA);
    if (!error && !sim_step(process->sim, SIM_STEP_SYNC))
        return 0;
    sim_record(process, error ? TRACE_SYNC_FAILED : TRACE_SYNC, at);
    return error;
}

static int os_truncate(struct nv_file *file, uint64_t bytes)
{
    struct sim_process *process = sim_process_of(file);
    int error = enter(process, SIM_CALL_TRUNCATE);
    if (!error && !sim_descriptor_of(file)->writable)
        error = -EINVAL;
    if (!error && bytes > file_of(file)->bytes)
        error = check_space(file, bytes);
    if (!error)
        sim_record_size(process, sim_descriptor_of(file)->file, bytes);
    return error;
}

static int os_allocate(struct nv_file *file, uint64_t offset, uint64_t bytes, bool extend)
{
    struct sim_process *process = sim_process_of(file);
    int error = enter(process, SIM_CALL_ALLOCATE);
    if (!error && !sim_descriptor_of(file)->writable)
        error = -EBADF;
    if (!error && offset + bytes > file_of(file)->bytes)
        error = check_space(file, offset + bytes);
    if (!error && extend && offset + bytes > file_of(file)->bytes)
        sim_record_size(process, sim_descriptor_of(file)->file, offset + bytes);
    return error;
}

/* Of what is zeros already nothing is recorded: it makes no image that was not there before. */
static int os_write_zeros(struct nv_file *file, uint64_t offset, uint64_t bytes)
{
    static const uint8_t zeros[NV_BLOCK_BYTES];
    const uint64_t end = nv_min(offset + bytes, file_of(file)->high);
    for (uint64_t at = offset; at < end;) {
        struct iovec part = {.iov_base = (void *)(uintptr_t)zeros,
                             .iov_len = (size_t)nv_min(sizeof zeros, end - at)};
        uint8_t there[sizeof zeros];
        int error = os_pread(file, there, part.iov_len, at) < 0 ? -EIO : 0;
        if (!error && memcmp(there, zeros, part.iov_len) != 0)
            error = os_pwritev(file, &part, 1, at);
        if (error)
            return error;
        at += part.iov_len;
    }
    return 0;
}

static int os_map(struct nv_file *file, size_t bytes, bool writable, bool sync, void **address)
{
    struct sim_process *process = sim_process_of(file);
    int error = enter(process, SIM_CALL_MAP);
    uint32_t at = sim_descriptor_of(file)->file;
    if (error)
        return error;
    if (sync) /* the medium with dax semantics does not map through here */
        return -EOPNOTSUPP;
    if (bytes > SIM_FILE_BYTES_MAX)
        return -ENOMEM;
    if (writable && !sim_descriptor_of(file)->writable)
        return -EACCES;
    if (writable)
        sim_set_raw(process->sim, at, bytes);
    *address = process->sim->memory[at];
    return 0;
}

static int os_unmap(struct nv_file *file, void *address, size_t bytes)
{
    (void)file;
    (void)address;
    (void)bytes;
    return 0;
}

static enum nv_fs_kind os_fs_kind(struct nv_file *file, char *name, size_t name_bytes)
{
    (void)file;
    snprintf(name, name_bytes, "a simulated disk");
    return NV_FS_DISK;
}

static const struct nv_medium_ops *os_medium(struct nv_file *file)
{
    return file_of(file)->dax ? &sim_medium_dax : &nv_medium_page;
}

/* ---- byte locks ---------------------------------------------------------------------- */

static const struct sim_lock *find_lock(struct nv_file *file, uint64_t first, uint64_t end)
{
    const struct sim *sim = sim_process_of(file)->sim;
    const struct sim_descriptor *mine = sim_descriptor_of(file);
    const struct sim_lock *found = NULL;
    for (uint32_t i = 0; i < SIM_LOCKS_MAX; i++) {
        const struct sim_lock *lock = &sim->locks[i];
        if (lock->descriptor == SIM_NONE || &sim->descriptors[lock->descriptor] == mine ||
            sim->descriptors[lock->descriptor].file != mine->file || lock->first >= end ||
            lock->end <= first)
            continue;
        if (!found || lock->first < found->first)
            found = lock;
    }
    return found;
}

static struct sim_lock *free_lock(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_LOCKS_MAX; i++)
        if (sim->locks[i].descriptor == SIM_NONE)
            return &sim->locks[i];
    return NULL;
}

static int drop_lock(struct nv_file *file, uint64_t first, uint64_t end)
{
    struct sim *sim = sim_process_of(file)->sim;
    uint32_t mine = (uint32_t)(sim_descriptor_of(file) - sim->descriptors);
    for (uint32_t i = 0; i < SIM_LOCKS_MAX; i++) {
        struct sim_lock *lock = &sim->locks[i];
        if (lock->descriptor != mine || lock->first >= end || lock->end <= first)
            continue;
        struct sim_lock behind = {mine, lock->posix, end, lock->end};
        if (lock->first < first)
            lock->end = first;
        else
            lock->descriptor = SIM_NONE;
        if (behind.first < behind.end) {
            struct sim_lock *more = free_lock(sim);
            if (!more)
                return -ENOLCK;
            *more = behind;
        }
    }
    return 0;
}

static int os_lock(struct nv_file *file, uint64_t offset, uint64_t bytes)
{
    struct sim_process *process = sim_process_of(file);
    (void)sim_tick(process, SIM_TICK_CALL);
    if (!sim_descriptor_of(file)->writable)
        return -EBADF;
    if (find_lock(file, offset, offset + bytes))
        return -EAGAIN;
    int error = drop_lock(file, offset, offset + bytes);
    struct sim_lock *lock = error ? NULL : free_lock(process->sim);
    if (!lock)
        return -ENOLCK;
    *lock = (struct sim_lock){
        .descriptor = (uint32_t)(sim_descriptor_of(file) - process->sim->descriptors),
        .first = offset,
        .end = offset + bytes,
    };
    return 0;
}

static int os_unlock(struct nv_file *file, uint64_t offset, uint64_t bytes)
{
    (void)sim_tick(sim_process_of(file), SIM_TICK_CALL);
    return drop_lock(file, offset, offset + bytes);
}

static int os_lock_holder(struct nv_file *file, uint64_t offset, uint64_t bytes,
                          enum nv_lock_holder *holder, uint64_t *where)
{
    (void)sim_tick(sim_process_of(file), SIM_TICK_CALL);
    const struct sim_lock *lock = find_lock(file, offset, offset + bytes);
    *holder = !lock ? NV_HOLDER_NONE : lock->posix ? NV_HOLDER_POSIX : NV_HOLDER_OFD;
    if (lock)
        *where = lock->first;
    return 0;
}

/* ---- the rest ------------------------------------------------------------------------ */

static int os_process_self(const struct nv_os *os, uint64_t *pid, uint64_t *start_time,
                           uint64_t *pid_namespace)
{
    const struct sim_process *process = os->context;
    *pid = process->pid;
    *start_time = process->pid * 7;
    *pid_namespace = 1;
    return 0;
}

static int os_process_alive(const struct nv_os *os, uint64_t pid, uint64_t start_time,
                            uint64_t pid_namespace)
{
    const struct sim_process *self = os->context;
    if (pid_namespace != 1)
        return -ESRCH;
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
        const struct sim_process *process = &self->sim->processes[i];
        if (process->alive && process->pid == pid && process->pid * 7 == start_time)
            return 1;
    }
    return 0;
}

/* Time passes with the asking, so that every wait ends. */
static uint64_t os_clock_ns(const struct nv_os *os)
{
    struct sim_process *process = os->context;
    return process->sim->clock_ns += 1000;
}

static int os_random(const struct nv_os *os, void *buffer, size_t bytes)
{
    struct sim_process *process = os->context;
    uint8_t *to = buffer;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)sim_random(&process->sim->random);
    return 0;
}

static void os_pause(const struct nv_os *os, uint64_t microseconds)
{
    struct sim_process *process = os->context;
    process->sim->clock_ns += microseconds * 1000;
}

void sim_os_init(struct sim_process *process)
{
    process->os = (struct nv_os){
        .name = "sim",
        .context = process,
        .open = os_open,
        .reopen_direct = os_reopen_direct,
        .close = os_close,
        .stat = os_stat,
        .stat_path = os_stat_path,
        .set_owner = os_set_owner,
        .unlink = os_unlink,
        .rename = os_rename,
        .sync_directory = os_sync_directory,
        .resolve = os_resolve,
        .pread = os_pread,
        .pwritev = os_pwritev,
        .sync_data = os_sync_data,
        .truncate = os_truncate,
        .allocate = os_allocate,
        .write_zeros = os_write_zeros,
        .map = os_map,
        .unmap = os_unmap,
        .fs_kind = os_fs_kind,
        .lock = os_lock,
        .unlock = os_unlock,
        .lock_holder = os_lock_holder,
        .process_self = os_process_self,
        .process_alive = os_process_alive,
        .clock_ns = os_clock_ns,
        .random = os_random,
        .pause = os_pause,
        .medium = os_medium,
        .threads = false,
    };
}
