#include "tests/sim/program.h"

#include <stdio.h>
#include <string.h>

#include "core/nvmmio.h"
#include "tests/sim/sim.h"

/* What the generator believes of a handle: enough to make sense most of the time. */
struct belief {
    bool open, staged, sealed, prepared, locked;
    uint32_t file;
};

struct maker {
    struct program *program;
    struct program_plan plan;
    uint64_t random;
    struct belief handles[PROGRAM_HANDLES];
    uint32_t bytes_max;
    uint64_t stream_random; /* apart, so that the files' operations are the same without it */
};

static uint32_t pick(struct maker *maker, uint32_t below)
{
    return (uint32_t)(sim_random(&maker->random) % below);
}

/* Small numbers often, large ones now and then, and what lies around a block's edge. */
static uint32_t pick_bytes(struct maker *maker, uint32_t limit)
{
    static const uint32_t edges[] = {1,   63,  64,   65,   127,  128, 129,
                                     511, 512, 4095, 4096, 4097, 8192};
    switch (pick(maker, 6)) {
    case 0:
        return edges[pick(maker, sizeof edges / sizeof edges[0])] % (limit + 1);
    case 1:
        return pick(maker, limit + 1);
    case 2:
        return pick(maker, limit + 1) / 4096 * 4096;
    default:
        return pick(maker, limit / 8 + 2);
    }
}

static struct op *add(struct maker *maker, enum op_kind kind, uint32_t handle)
{
    struct program *program = maker->program;
    struct op *op = &program->ops[program->op_count++];
    *op = (struct op){.kind = kind, .handle = handle, .seed = sim_random(&maker->random)};
    return op;
}

/* ---- steps that belong together ------------------------------------------------------ */

static void make_open(struct maker *maker, uint32_t handle)
{
    struct belief *belief = &maker->handles[handle];
    struct op *op = add(maker, OP_OPEN, handle);
    op->other = pick(maker, maker->program->files);
    op->number = pick(maker, 8);
    *belief = (struct belief){.open = true, .file = op->other};
}

static void make_write(struct maker *maker, uint32_t handle)
{
    bool large = maker->plan.kind == PROGRAM_LARGE && pick(maker, 2);
    struct op *op;
    if (pick(maker, 8) == 0) {
        op = add(maker, OP_TRUNCATE, handle);
        op->bytes = pick_bytes(maker, maker->bytes_max);
    } else if (pick(maker, 24) == 0) {
        op = add(maker, OP_ALLOCATE, handle);
        op->bytes = pick_bytes(maker, maker->bytes_max);
    } else {
        op = add(maker, OP_WRITE, handle);
        op->offset = pick_bytes(maker, maker->bytes_max);
        op->bytes = large ? 60000 + pick(maker, 100000) : pick_bytes(maker, 9000);
    }
    maker->handles[handle].staged = true;
    maker->handles[handle].sealed = false;
}

/* A handle of the same process on the other file, opened if there is none. */
static uint32_t make_partner(struct maker *maker, uint32_t handle)
{
    uint32_t processes = maker->program->processes;
    uint32_t unused = PROGRAM_HANDLES;
    for (uint32_t i = handle % processes; i < PROGRAM_HANDLES; i += processes) {
        const struct belief *other = &maker->handles[i];
        if (other->open && other->file != maker->handles[handle].file && !other->prepared)
            return i;
        if (!other->open)
            unused = i;
    }
    if (unused == PROGRAM_HANDLES)
        return PROGRAM_HANDLES;
    make_open(maker, unused);
    struct op *op = &maker->program->ops[maker->program->op_count - 1];
    op->other = maker->handles[unused].file = !maker->handles[handle].file;
    op->number |= 2; /* neither read-only nor deferred */
    return unused;
}

/* A commit over two files: something is staged in both. */
static void make_many(struct maker *maker, uint32_t handle, enum op_kind kind)
{
    uint32_t other = make_partner(maker, handle);
    if (other == PROGRAM_HANDLES)
        return;
    if (!maker->handles[other].staged)
        make_write(maker, other);
    struct op *op = add(maker, kind, handle);
    op->other = other;
    op->number = pick(maker, 4);
    maker->handles[other].staged = maker->handles[handle].staged = false;
    maker->handles[other].prepared = maker->handles[handle].prepared = kind == OP_PREPARE;
}

static void make_end(struct maker *maker, uint32_t handle)
{
    struct belief *belief = &maker->handles[handle];
    uint32_t way = pick(maker, 16);
    if (belief->prepared) {
        add(maker, OP_RESOLVE, handle)->number = pick(maker, 4) != 0;
        for (uint32_t i = 0; i < PROGRAM_HANDLES; i++)
            maker->handles[i].prepared = maker->handles[i].staged = false;
        return;
    }
    if (belief->sealed) {
        static const enum op_kind ends[] = {OP_COMMIT,   OP_COMMIT, OP_COMMIT, OP_APPLY,
                                            OP_ROLLBACK, OP_UNLOCK, OP_CLOSE};
        enum op_kind end = ends[pick(maker, sizeof ends / sizeof ends[0])];
        add(maker, end, handle);
        belief->open = end != OP_CLOSE;
        belief->locked = belief->locked && end != OP_UNLOCK;
        belief->sealed = belief->staged = false;
        return;
    }
    if (way < 4) {
        add(maker, OP_SEAL, handle);
        belief->sealed = true;
    } else if (way == 4) {
        add(maker, OP_ROLLBACK, handle);
        belief->staged = false;
    } else if (maker->program->files > 1 && way < 10) {
        make_many(maker, handle, way < 8 ? OP_SYNC_MANY : OP_PREPARE);
    } else if (way == 5) {
        struct op *op = add(maker, OP_PREPARE, handle);
        op->other = handle;
        op->number = pick(maker, 4);
        belief->prepared = true;
    } else {
        add(maker, OP_SYNC, handle);
        belief->staged = false;
    }
}

static void make_quiet(struct maker *maker, uint32_t handle)
{
    struct belief *belief = &maker->handles[handle];
    struct op *op;
    switch (pick(maker, 13)) {
    case 12:
        op = add(maker, OP_FOREIGN, handle);
        op->other = pick(maker, maker->program->files);
        op->number = pick(maker, 4);
        op->offset = pick_bytes(maker, maker->bytes_max);
        op->bytes = pick_bytes(maker, 5000);
        break;
    case 0:
    case 1:
        (void)add(maker, OP_READ_ALL, handle);
        break;
    case 2:
    case 3:
        op = add(maker, pick(maker, 3) ? OP_READ : OP_VIEW, handle);
        op->offset = pick_bytes(maker, maker->bytes_max);
        op->bytes = pick_bytes(maker, 9000);
        break;
    case 4:
    case 5:
        add(maker, OP_LOCK, handle)->number = NVMMIO_SHARED + pick(maker, 3);
        belief->locked = true;
        break;
    case 6:
    case 7:
        add(maker, OP_UNLOCK, handle)->number = pick(maker, 3) == 0;
        *belief = (struct belief){.open = belief->open, .file = belief->file};
        break;
    case 8:
        (void)add(maker, OP_FLUSH, handle);
        break;
    case 9:
        (void)add(maker, OP_CLOSE, handle);
        belief->open = false;
        break;
    default:
        (void)add(maker, OP_STEP, handle);
        break;
    }
}

static void make_trouble(struct maker *maker, uint32_t handle)
{
    if (!maker->plan.no_deaths && pick(maker, 3) == 0) {
        (void)add(maker, OP_KILL, handle);
        for (uint32_t i = handle % maker->program->processes; i < PROGRAM_HANDLES;
             i += maker->program->processes)
            maker->handles[i] = (struct belief){.open = false};
    } else if (!maker->plan.no_faults) {
        struct op *op = add(maker, pick(maker, 3) ? OP_FAULT : OP_SPACE, handle);
        op->number = pick(maker, 1024);
        op->bytes = pick(maker, 8);
    }
}

/* Something on the stream: most of it by one process. */
static void make_stream(struct maker *maker)
{
    static const uint32_t most[] = {10, 100, 1000, 4096, 4097, 20000};
    struct program *program = maker->program;
    uint64_t random = maker->stream_random;
    uint32_t handle = sim_random(&random) % 4 ? 0 : (uint32_t)(sim_random(&random) % 3);
    struct op op = {.kind = OP_STREAM, .handle = handle, .seed = sim_random(&random)};
    op.number = (uint32_t)(sim_random(&random) % STREAM_NUMBERS);
    op.offset = (uint32_t)sim_random(&random);
    op.bytes = 1 + (uint32_t)(sim_random(&random) % most[sim_random(&random) % 6]);
    /* Larger than a step of its size. */
    if (maker->plan.kind == PROGRAM_LARGE && sim_random(&random) % 8 == 0)
        op.bytes = 2100000;
    if (op.number == STREAM_SYNC_MORE)
        op.number = STREAM_SYNC;
    maker->stream_random = random;
    if (program->op_count < PROGRAM_OPS_MAX / 2)
        program->ops[program->op_count++] = op;
}

/* Some operations kill their process half way. */
static void add_death(struct maker *maker, uint32_t from)
{
    struct program *program = maker->program;
    if (maker->plan.no_deaths || from == program->op_count || pick(maker, 10) != 0)
        return;
    struct op *op = &program->ops[from + pick(maker, program->op_count - from)];
    op->die_at_sync = pick(maker, 2);
    op->die_at = 1 + pick(maker, op->die_at_sync ? 4 : pick(maker, 2) ? 12 : 60);
    op->die_part = pick(maker, 257);
}

static void make_setup(struct maker *maker)
{
    struct program *program = maker->program;
    static const uint32_t file_bytes[] = {3000, 12000, 20000, 400000};
    program->files = 1 + (pick(maker, 4) == 0);
    program->processes = 1 + pick(maker, program->files > 1 ? 2 : PROGRAM_PROCESSES);
    program->elsewhere = program->files > 1 && pick(maker, 3) == 0;
    program->log_bytes = (uint32_t)NVMMIO_LOG_BYTES_MIN;
    if (maker->plan.kind == PROGRAM_LARGE) {
        maker->bytes_max = file_bytes[3];
        program->stage_bytes = 4096u << pick(maker, 7);
    } else {
        maker->bytes_max = file_bytes[pick(maker, 3)];
        program->stage_bytes = pick(maker, 6) ? 0 : 4096u << pick(maker, 2);
    }
    for (uint32_t i = 0; i < program->files; i++) {
        program->marked[i] = pick(maker, 2) && !maker->plan.no_marks;
        program->apart[i] = pick(maker, 8) == 0 && !maker->plan.no_aparts;
        if (maker->plan.aparts)
            program->apart[i] = pick(maker, 8) != 0;
        program->absent[i] = pick(maker, 3) == 0 && !maker->plan.no_makes;
        if (!program->absent[i] && pick(maker, 4))
            program->bytes[i] = pick_bytes(maker, maker->bytes_max);
    }
}

/* Which kind of program a seed makes, and what it goes without besides. */
static void choose_plan(struct maker *maker, const struct program_plan *plan)
{
    uint64_t way = maker->random * UINT64_C(0x9e3779b97f4a7c15);
    way = sim_random(&way);
    maker->plan = *plan;
    if (plan->kind == PROGRAM_ANY)
        maker->plan.kind = way % 32 == 0   ? PROGRAM_LARGE
                           : way % 32 < 10 ? PROGRAM_MIXED
                                           : PROGRAM_SMALL;
    maker->plan.no_deaths |= way / 32 % 2 == 0;
    maker->plan.no_faults |= way / 64 % 4 != 0;
    maker->plan.no_streams |= way / 256 % 4 != 1 && !plan->streams;
}

void program_make(struct program *program, uint64_t seed, const struct program_plan *plan)
{
    struct maker maker = {.program = program, .random = seed};
    memset(program, 0, sizeof *program);
    program->seed = seed;
    choose_plan(&maker, plan);
    make_setup(&maker);
    maker.stream_random = ~seed;
    program->stream = !maker.plan.no_streams;
    program->stream_elsewhere = seed % 2;
    program->stream_size = (enum nvmmio_size)(seed / 2 % 3);
    bool small = maker.plan.kind == PROGRAM_SMALL;
    uint32_t length = small ? 4 + pick(&maker, 9) : 8 + pick(&maker, 50);
    uint32_t handles = small ? 3 : PROGRAM_HANDLES;
    while (program->op_count < length) {
        uint32_t from = program->op_count;
        uint32_t handle = pick(&maker, pick(&maker, 2) ? 2 : handles);
        const struct belief *belief = &maker.handles[handle];
        uint32_t way = pick(&maker, 16);
        if (!belief->open)
            make_open(&maker, handle);
        else if (way == 0 && (!maker.plan.no_deaths || !maker.plan.no_faults))
            make_trouble(&maker, handle);
        else if (belief->sealed || belief->prepared || (belief->staged && way < 8))
            make_end(&maker, handle);
        else if (way < 12)
            make_write(&maker, handle);
        else
            make_quiet(&maker, handle);
        for (uint32_t i = 0; program->stream && i < 2; i++)
            make_stream(&maker);
        add_death(&maker, from);
    }
}

void program_drop(struct program *program, uint32_t at)
{
    if (at >= program->op_count)
        return;
    program->dropped[program->dropped_count++] = at;
    program->op_count--;
    memmove(&program->ops[at], &program->ops[at + 1],
            (program->op_count - at) * sizeof program->ops[0]);
}

/* ---- in words ------------------------------------------------------------------------ */

void program_describe_setup(const struct program *program, char *text, size_t bytes)
{
    size_t at = (size_t)snprintf(text, bytes, "%u processes, stage_bytes %u;", program->processes,
                                 program->stage_bytes);
    for (uint32_t i = 0; i < program->files && at < bytes; i++) {
        char size[32] = "absent";
        if (!program->absent[i])
            snprintf(size, sizeof size, "%u bytes", program->bytes[i]);
        at += (size_t)snprintf(text + at, bytes - at, " file %u: %s%s%s%s", i, size,
                               program->marked[i] ? ", marked" : "",
                               program->apart[i] ? ", log apart" : "",
                               i && program->elsewhere ? ", elsewhere" : "");
    }
    static const char *const sizes[] = {"auto", "exact", "ahead"};
    if (program->stream && at < bytes)
        (void)snprintf(text + at, bytes - at, " stream in %s, %s",
                       program->stream_elsewhere ? "/l" : "/d", sizes[program->stream_size]);
}

void program_describe(const struct program *program, uint32_t at, char *text, size_t bytes)
{
    static const char *const names[OP_KINDS] = {
        "open",     "close",  "read",     "read all", "view",      "write", "truncate",
        "allocate", "sync",   "rollback", "seal",     "commit",    "apply", "flush",
        "lock",     "unlock", "prepare",  "resolve",  "sync many", "step",  "foreign",
        "kill",     "fault",  "space",    "stream",
    };
    const struct op *op = &program->ops[at];
    char more[64] = "";
    switch (op->kind) {
    case OP_OPEN:
        snprintf(more, sizeof more, " file %u (%u)", op->other, op->number);
        break;
    case OP_READ:
    case OP_VIEW:
    case OP_WRITE:
    case OP_FOREIGN:
        snprintf(more, sizeof more, " [%u, +%u)", op->offset, op->bytes);
        break;
    case OP_TRUNCATE:
    case OP_ALLOCATE:
        snprintf(more, sizeof more, " %u", op->bytes);
        break;
    case OP_PREPARE:
    case OP_SYNC_MANY:
        snprintf(more, sizeof more, " with handle %u (%u)", op->other, op->number);
        break;
    case OP_STREAM: {
        static const char *const what[STREAM_NUMBERS] = {"read", "close", "cut", "sync", "sync"};
        const char *named = what[op->number % STREAM_NUMBERS];
        snprintf(more, sizeof more, " %s %u", named ? named : "append", op->bytes);
        break;
    }
    case OP_LOCK:
    case OP_UNLOCK:
    case OP_RESOLVE:
    case OP_FAULT:
    case OP_SPACE:
        snprintf(more, sizeof more, " %u, %u", op->number, op->bytes);
        break;
    default:
        break;
    }
    int used = snprintf(text, bytes, "%u: handle %u (process %u) %s%s", at, op->handle,
                        op->handle % program->processes, names[op->kind], more);
    if (op->die_at && used > 0 && (size_t)used < bytes)
        snprintf(text + used, bytes - (size_t)used, ", dies in %s %u (%u/256 of a store)",
                 op->die_at_sync ? "sync" : "call", op->die_at, op->die_part);
}
