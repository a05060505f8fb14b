/*
 * sqlite_bench: transactions of SQLite in a second, through nvmmio and through
 * the stock VFS.  Each mode is a process of its own, with databases of its own,
 * and works in short slices that take turns; what counts is the median of the
 * slices.  Nothing but the VFS, journal_mode and synchronous differs.
 */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "benchmarks/measure.h"
#include "benchmarks/sqlite_workload.h"
#include "core/nvmmio.h"
#include "sqlite_vfs/demo/database.h"

#define ROUNDS_MAX 64u
#define DISK_TRANSACTIONS_MIN 3000u

static const struct mode {
    const char *name;
    const char *journal_mode; /* NULL: SQLite's default */
    const char *synchronous;
    bool nvmmio;
    bool rare; /* on a disk so slow that it gets a tenth of the transactions */
} modes[] = {
    {"nvmmio", NULL, "FULL", true, false},
    {"unix WAL", "wal", "FULL", false, false},
    {"unix DELETE", NULL, "FULL", false, true},
    {"nvmmio, synchronous=OFF", NULL, "OFF", true, false},
    {"unix DELETE, synchronous=OFF", NULL, "OFF", false, false},
};
enum { NVMMIO, WAL, DELETE, NVMMIO_OFF, DELETE_OFF, MODES };

static const struct nv_workload_ops *const workloads[] = {&nv_workload_insert, &nv_workload_update,
                                                          &nv_workload_delete, &nv_workload_tpcc};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

/* What it is measured by: a medium in memory by CPU time, a disk by the clock. */
static const struct target {
    unsigned workload, mode, other;
    bool memory, disk;
    double ratio;
} targets[] = {
    {0, NVMMIO, WAL, true, false, 2.0},           {0, NVMMIO, DELETE, true, false, 7.0},
    {1, NVMMIO, WAL, true, false, 1.8},           {2, NVMMIO, WAL, true, false, 1.8},
    {3, NVMMIO, WAL, true, false, 1.5},           {0, NVMMIO, WAL, false, true, 1.0},
    {1, NVMMIO, WAL, false, true, 1.0},           {2, NVMMIO, WAL, false, true, 1.0},
    {3, NVMMIO, WAL, false, true, 1.0},           {0, NVMMIO, DELETE, false, true, 3.0},
    {1, NVMMIO, DELETE, false, true, 3.0},        {2, NVMMIO, DELETE, false, true, 3.0},
    {3, NVMMIO, DELETE, false, true, 3.0},        {0, NVMMIO_OFF, DELETE_OFF, true, true, 1.0},
    {1, NVMMIO_OFF, DELETE_OFF, true, true, 1.0}, {2, NVMMIO_OFF, DELETE_OFF, true, true, 1.0},
    {3, NVMMIO_OFF, DELETE_OFF, true, true, 1.0},
};

static struct settings {
    const char *directory, *extension, *json_path;
    unsigned rounds;
    double slice_seconds; /* of the slowest mode */
} settings = {.rounds = 7, .slice_seconds = 0.4};

/* What the parent asks of a child, and its answer.  transactions 0: check, close and end. */
struct order {
    uint32_t workload, transactions;
};
struct answer {
    int32_t error;
    uint32_t transactions;
    double cpu_seconds, wall_seconds;
};

struct child {
    pid_t pid;
    int orders, answers;
};
static struct child children[MODES];
static struct answer slices[WORKLOADS][MODES][ROUNDS_MAX];

/* ---- a mode's process ---------------------------------------------------------------------- */

struct worker {
    const struct mode *mode;
    sqlite3 *db[WORKLOADS];
    struct nv_workload *workload[WORKLOADS];
    double cpu_mark; /* so that work in the background after a slice counts for the next */
};

static int open_workload(struct worker *worker, unsigned i, unsigned mode)
{
    char path[4096], sql[64];
    snprintf(path, sizeof(path), "%s/%s-%u.db", settings.directory, workloads[i]->name, mode);
    sqlite3 **db = &worker->db[i];
    if (nv_database_open(path, worker->mode->nvmmio, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                         db) != 0)
        return -1;
    snprintf(sql, sizeof(sql), "PRAGMA synchronous=%s", worker->mode->synchronous);
    if (nv_database_execute(*db, sql) != 0)
        return -1;
    snprintf(sql, sizeof(sql), "PRAGMA journal_mode=%s", worker->mode->journal_mode);
    if (worker->mode->journal_mode && nv_database_execute(*db, sql) != 0)
        return -1;
    if (workloads[i]->open(*db, &worker->workload[i]) != 0)
        return -1;
    return nv_workload_settle(*db);
}

static int run_slice(struct worker *worker, const struct order *order, struct answer *answer)
{
    const struct nv_workload_ops *ops = workloads[order->workload];
    struct nv_workload *workload = worker->workload[order->workload];
    while (answer->transactions < order->transactions) {
        double before = nv_cpu_seconds();
        int64_t some = ops->refill(workload, order->transactions - answer->transactions);
        if (some < 0)
            return -1;
        worker->cpu_mark += nv_cpu_seconds() - before;
        double wall = nv_wall_seconds();
        if (ops->run(workload, (uint32_t)some) != 0)
            return -1;
        answer->wall_seconds += nv_wall_seconds() - wall;
        answer->transactions += (uint32_t)some;
    }
    double now = nv_cpu_seconds();
    answer->cpu_seconds = now - worker->cpu_mark;
    worker->cpu_mark = now;
    return 0;
}

static int finish(struct worker *worker)
{
    int error = 0;
    for (unsigned i = 0; i < WORKLOADS; i++) {
        sqlite3_stmt *statement = NULL;
        if (workloads[i]->check(worker->workload[i]) != 0)
            error = -1;
        workloads[i]->close(worker->workload[i]);
        if (nv_database_prepare(worker->db[i], "PRAGMA integrity_check", &statement) != 0 ||
            sqlite3_step(statement) != SQLITE_ROW ||
            strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
            error = nv_database_fail(worker->db[i], "PRAGMA integrity_check");
        sqlite3_finalize(statement);
        if (sqlite3_close(worker->db[i]) != SQLITE_OK)
            error = -1;
    }
    return error;
}

static int work(unsigned mode, int orders, int answers)
{
    struct worker worker = {.mode = &modes[mode]};
    if (worker.mode->nvmmio && nv_database_load(settings.extension) != 0)
        return 1;
    for (unsigned i = 0; i < WORKLOADS; i++) {
        if (open_workload(&worker, i, mode) != 0)
            return 1;
    }
    worker.cpu_mark = nv_cpu_seconds();
    for (;;) {
        struct order order;
        struct answer answer = {0};
        if (read(orders, &order, sizeof(order)) != sizeof(order))
            return 1;
        answer.error = order.transactions ? run_slice(&worker, &order, &answer) : finish(&worker);
        if (write(answers, &answer, sizeof(answer)) != sizeof(answer))
            return 1;
        if (!order.transactions || answer.error)
            return answer.error ? 1 : 0;
    }
}

/* ---- the parent ------------------------------------------------------------------------------ */

static void die(const char *what)
{
    fprintf(stderr, "sqlite_bench: %s\n", what);
    exit(1);
}

static void start(unsigned mode)
{
    int orders[2], answers[2];
    if (pipe(orders) != 0 || pipe(answers) != 0)
        die("cannot make a pipe");
    fflush(NULL);
    children[mode].pid = fork();
    if (children[mode].pid < 0)
        die("cannot fork");
    if (children[mode].pid == 0) {
        close(orders[1]);
        close(answers[0]);
        for (unsigned i = 0; i < mode; i++) {
            close(children[i].orders);
            close(children[i].answers);
        }
        _exit(work(mode, orders[0], answers[1]));
    }
    close(orders[0]);
    close(answers[1]);
    children[mode].orders = orders[1];
    children[mode].answers = answers[0];
}

static struct answer request(unsigned mode, unsigned workload, uint32_t transactions)
{
    struct order order = {.workload = workload, .transactions = transactions};
    struct answer answer;
    if (write(children[mode].orders, &order, sizeof(order)) != sizeof(order) ||
        read(children[mode].answers, &answer, sizeof(answer)) != sizeof(answer) || answer.error) {
        fprintf(stderr, "sqlite_bench: %s, %s failed\n", modes[mode].name,
                workloads[workload]->name);
        exit(1);
    }
    return answer;
}

static void take_turns(unsigned workload, bool disk)
{
    struct answer probe = request(DELETE, workload, 64);
    double each = probe.wall_seconds / probe.transactions;
    uint32_t rare = (uint32_t)(settings.slice_seconds / each);
    rare = rare < 16 ? 16 : rare;
    /* On a disk a slice must hold some WAL checkpoints, or their median leaves them out. */
    uint32_t usual = rare;
    if (disk)
        usual = rare * 10 < DISK_TRANSACTIONS_MIN ? DISK_TRANSACTIONS_MIN : rare * 10;
    for (unsigned round = 0; round <= settings.rounds; round++) {
        for (unsigned i = 0; i < MODES; i++) {
            unsigned mode = (i + round) % MODES;
            struct answer answer = request(mode, workload, modes[mode].rare ? rare : usual);
            if (round) /* the one before the first warms up */
                slices[workload][mode][round - 1] = answer;
        }
    }
}

static double rate(const struct answer *slice, bool cpu)
{
    return slice->transactions / (cpu ? slice->cpu_seconds : slice->wall_seconds);
}

static double median_rate(unsigned workload, unsigned mode, bool cpu)
{
    double rates[ROUNDS_MAX];
    for (unsigned i = 0; i < settings.rounds; i++)
        rates[i] = rate(&slices[workload][mode][i], cpu);
    return nv_median(rates, settings.rounds);
}

/* Median of the ratios of the slices of one round: neighbours in time are compared. */
static double median_ratio(unsigned workload, unsigned mode, unsigned other, bool cpu)
{
    double ratios[ROUNDS_MAX];
    for (unsigned i = 0; i < settings.rounds; i++)
        ratios[i] = rate(&slices[workload][mode][i], cpu) / rate(&slices[workload][other][i], cpu);
    return nv_median(ratios, settings.rounds);
}

static void report(unsigned workload, json_t *results)
{
    printf("\n%-10s %-30s %12s %8s %12s %8s %8s\n", workloads[workload]->name, "", "tx/CPU s",
           "to WAL", "tx/s", "to WAL", "tx/slice");
    for (unsigned mode = 0; mode < MODES; mode++) {
        double cpu = median_rate(workload, mode, true), wall = median_rate(workload, mode, false);
        double cpu_ratio = median_ratio(workload, mode, WAL, true);
        double wall_ratio = median_ratio(workload, mode, WAL, false);
        printf("%-10s %-30s %12.0f %8.2f %12.0f %8.2f %8u\n", "", modes[mode].name, cpu, cpu_ratio,
               wall, wall_ratio, slices[workload][mode][0].transactions);
        json_array_append_new(results, json_pack("{s:s, s:s, s:f, s:f, s:f, s:f}", "workload",
                                                 workloads[workload]->name, "mode",
                                                 modes[mode].name, "transactions_per_cpu_second",
                                                 cpu, "transactions_per_second", wall, "to_wal_cpu",
                                                 cpu_ratio, "to_wal_wall", wall_ratio));
    }
    fflush(stdout);
}

static void report_targets(bool disk, json_t *results)
{
    printf("\n%-62s %8s %8s\n", disk ? "ratios by the clock" : "ratios by CPU time", "ratio",
           "target");
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        const struct target *target = &targets[i];
        if (!(disk ? target->disk : target->memory))
            continue;
        double ratio = median_ratio(target->workload, target->mode, target->other, !disk);
        char name[128];
        snprintf(name, sizeof(name), "%s: %s / %s", workloads[target->workload]->name,
                 modes[target->mode].name, modes[target->other].name);
        printf("%-62s %8.2f  >= %4.1f%s\n", name, ratio, target->ratio,
               ratio >= target->ratio ? "" : "  (missed)");
        json_array_append_new(results, json_pack("{s:s, s:f, s:f, s:b}", "name", name, "ratio",
                                                 ratio, "target", target->ratio, "met",
                                                 (int)(ratio >= target->ratio)));
    }
}

enum { KEY_JSON = 0x100, KEY_ROUNDS, KEY_SLICE };

static const struct argp_option options[] = {
    {"extension", 'e', "SO", 0, "nvmmio's loadable extension", 0},
    {"json", KEY_JSON, "FILE", 0, "Write the figures to FILE too", 0},
    {"rounds", KEY_ROUNDS, "COUNT", 0, "Slices of each mode, 5 to 64 (default 7)", 0},
    {"slice", KEY_SLICE, "SECONDS", 0, "About how long one of the slowest mode is (default 0.4)",
     0},
    {0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    char *end;
    switch (key) {
    case 'e':
        settings.extension = text;
        return 0;
    case KEY_JSON:
        settings.json_path = text;
        return 0;
    case KEY_ROUNDS:
        settings.rounds = (unsigned)strtoul(text, &end, 10);
        if (*end || settings.rounds < 5 || settings.rounds > ROUNDS_MAX)
            argp_error(state, "--rounds: not a number from 5 to %u: %s", ROUNDS_MAX, text);
        return 0;
    case KEY_SLICE:
        settings.slice_seconds = strtod(text, &end);
        if (*end || settings.slice_seconds <= 0)
            argp_error(state, "--slice: not a number above 0: %s", text);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num)
            argp_error(state, "too many arguments: %s", text);
        settings.directory = text;
        return 0;
    case ARGP_KEY_END:
        if (!settings.directory || !settings.extension)
            argp_error(state, "DIR or --extension is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {.options = options,
                                     .parser = parse,
                                     .args_doc = "DIR",
                                     .doc = "Measure SQLite in DIR, an empty directory"};
    argp_err_exit_status = 2;
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0)
        return 2;
    struct nvmmio_info place = {.struct_bytes = sizeof(place)};
    if (nvmmio_probe(settings.directory, &place) != 0)
        die(nvmmio_last_error());
    bool disk = place.home_medium == NVMMIO_MEDIUM_PAGE;
    json_t *results = json_array(), *met = json_array();
    for (unsigned mode = 0; mode < MODES; mode++)
        start(mode);
    for (unsigned i = 0; i < WORKLOADS; i++) {
        take_turns(i, disk);
        report(i, results);
    }
    for (unsigned mode = 0; mode < MODES; mode++) {
        int status;
        request(mode, 0, 0);
        if (waitpid(children[mode].pid, &status, 0) < 0 || status != 0)
            die("a process ended with an error");
    }
    report_targets(disk, met);
    printf("every database holds what was done, and its integrity_check says ok\n");
    json_t *all = json_pack("{s:s, s:o, s:o}", "medium", nvmmio_medium_name(place.home_medium),
                            "rates", results, "targets", met);
    if (settings.json_path && json_dump_file(all, settings.json_path, JSON_INDENT(1)) != 0)
        die("the JSON file cannot be written");
    json_decref(all);
    return 0;
}
