/*
 * The writer whose power is cut:
 *   writer medium DIRECTORY             files there are on DAX and survive it
 *   writer live DIRECTORY HOST SEED     verify what is there, then write for ever
 *   writer verify DIRECTORY HOST SEED   verify what is there
 *   writer reseed                       take what was written to /dev/urandom into account
 *
 * A write(2) to a file in HOST returns when the host of the machine has it, so
 * what was said there before a cut is known after it, and nothing is begun before
 * the acknowledgement of what was done is there:
 *   HOST/said           what goes on, for people and for ./run
 *   HOST/<load>         acknowledged transactions, a number a line; where that cannot
 *                       be read, being a channel to the host,
 *   HOST/<load>.before  holds the last one
 *
 * With NVMMIO_TEST_RECOVER=tool in the environment, crashed files are recovered in
 * the tool's way first, else by those who open them.
 *
 * A file must hold the last acknowledged transaction, or the one after it.  Each
 * load (load.h) has a process; in half of the lives it is killed, time and
 * again, and started anew, so that the cut meets opens and recoveries too.  In a
 * third of the lives there is load_grow alone, for a sync by any of the others
 * makes all of the file system's journal durable.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/random.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/core/child.h"
#include "tests/core/engine.h"
#include "tests/core/place.h"
#include "tests/dax/load.h"

static const struct load *const loads[] = {&load_core, &load_sql, &load_grow};
#define LOADS (sizeof(loads) / sizeof(loads[0]))

static struct {
    const char *directory, *host;
    uint64_t seed;
    int said;
} writer;

/* What the process of a load and the one that kills it share. */
struct life {
    const struct load *load;
    int acks; /* the file on the host */
    _Atomic uint64_t acknowledged;
    uint64_t random;
    bool storm;
};

static double seconds(void)
{
    struct timespec now;

    check_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One line, in one write, with the time. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char line[500];
    int length = snprintf(line, sizeof(line), "%.2f ", seconds());
    va_list arguments;

    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, arguments);
    va_end(arguments);
    check(length > 0 && (size_t)length < sizeof(line) - 1);
    line[length++] = '\n';
    check_eq(write(writer.said, line, (size_t)length), length);
}

static int host_open(const char *name)
{
    int fd = open(load_path(writer.host, name), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    check(fd >= 0);
    return fd;
}

#define ACK_BYTES 21 /* a line */

static uint64_t acks_before(const struct load *load)
{
    char name[32];
    uint64_t number;
    FILE *before;
    int error;

    (void)snprintf(name, sizeof(name), "%s.before", load->name);
    before = fopen(load_path(writer.host, name), "re");
    check(before != NULL);
    check_eq(fscanf(before, "%20" SCNu64, &number), 1);
    error = fclose(before);
    check_eq(error, 0);
    return number;
}

/* The last one.  One that the machine was stopped in was not given yet. */
static uint64_t acks_read(const struct load *load, int fd)
{
    char line[ACK_BYTES + 1] = "";
    struct stat status;
    uint64_t number;
    off_t end;

    check_eq(fstat(fd, &status), 0);
    if (!S_ISREG(status.st_mode))
        return acks_before(load);
    end = status.st_size - status.st_size % ACK_BYTES;
    if (end < status.st_size)
        check_eq(ftruncate(fd, end), 0);
    if (end == 0)
        return 0;
    check_eq(pread(fd, line, ACK_BYTES, end - ACK_BYTES), ACK_BYTES);
    check_eq(sscanf(line, "%20" SCNu64, &number), 1);
    return number;
}

static void acknowledge(struct life *life, uint64_t number)
{
    char line[32];
    int length = snprintf(line, sizeof(line), "%20" PRIu64 "\n", number);

    check_eq(length, ACK_BYTES);
    check_eq(write(life->acks, line, ACK_BYTES), ACK_BYTES);
    life->acknowledged = number;
}

static void judge(const struct life *life, uint64_t number)
{
    if (number < life->acknowledged)
        check_fail("%s: LOST: transaction %" PRIu64 " was acknowledged, the files hold %" PRIu64,
                   life->load->name, life->acknowledged, number);
    if (number > life->acknowledged + 1)
        check_fail("%s: transaction %" PRIu64 " was never begun, only %" PRIu64 " was acknowledged",
                   life->load->name, number, life->acknowledged);
}

static void on_durable(void *context, uint64_t number)
{
    struct life *life = context;

    judge(life, number);
    acknowledge(life, number);
}

/* What there is to recover, before anybody does. */
static void say_state(const struct load *load)
{
    static const char *const states[] = {"plain", "live", "crashed", "damaged", "log missing"};

    for (unsigned i = 0; load->files[i]; i++) {
        struct nvmmio_report report = {.struct_bytes = sizeof(report)};
        int result = nvmmio_check(load_path(writer.directory, load->files[i]), NULL, &report);

        if (result == -ENOENT)
            say("state %s absent", load->files[i]);
        else if (result < 0)
            check_fail("%s: check: %s: %s", load->files[i], nvmmio_strerror(result),
                       nvmmio_last_error());
        else
            say("state %s %s records %" PRIu64 " bytes %" PRIu64 "%s", load->files[i],
                states[report.state], report.records, report.replay_bytes,
                report.prepared ? " prepared" : "");
        if (result == 0 && report.state >= NVMMIO_STATE_DAMAGED)
            check_fail("%s: %s", load->files[i], report.detail);
    }
}

/* Slowly, so that a cut meets it. */
static void on_replay(void *context, uint64_t done, uint64_t total)
{
    const struct timespec wait = {0, 20000000};

    (void)context;
    (void)done;
    (void)total;
    check_eq(nanosleep(&wait, NULL), 0);
}

/* As the tool does, which knows neither the format of a file nor what belongs to it. */
static void recover(const struct load *load)
{
    for (unsigned i = 0; load->files[i]; i++) {
        struct nvmmio_report report = {.struct_bytes = sizeof(report)};
        int result;

        result = nvmmio_check(load_path(writer.directory, load->files[i]), NULL, &report);
        if (result < 0 || report.state != NVMMIO_STATE_CRASHED)
            continue; /* as say_state has told */
        say("recovering %s", load->files[i]);
        result = nvmmio_recover(load_path(writer.directory, load->files[i]), NULL, on_replay, NULL,
                                &report);
        if (result < 0)
            check_fail("%s: recover: %s: %s", load->files[i], nvmmio_strerror(result),
                       nvmmio_last_error());
    }
    say("recovered %s", load->name);
}

/* What deaths within a commit over two databases leave: files that SQLite ignores. */
static void say_litter(void)
{
    DIR *directory = opendir(writer.directory);
    unsigned supers = 0, journals = 0;

    check(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory));) {
        supers += strstr(entry->d_name, "-mj") != NULL;
        journals += strstr(entry->d_name, "-journal") != NULL;
    }
    closedir(directory);
    say("litter super-journals %u cold journals %u", supers, journals);
}

static void verify_all(struct life *lives, bool tool)
{
    int parent;

    say("begun");
    if (mkdir(writer.directory, 0755) == 0) {
        parent = open(load_path(writer.directory, ".."), O_RDONLY | O_DIRECTORY);
        check(parent >= 0);
        check_eq(syncfs(parent), 0);
        close(parent);
    } else {
        check_eq(errno, EEXIST);
    }
    for (unsigned i = 0; i < LOADS; i++) {
        struct life *life = &lives[i];
        uint64_t number;

        life->load = loads[i];
        life->acks = host_open(life->load->name);
        life->acknowledged = acks_read(life->load, life->acks);
        say_state(life->load);
        if (tool)
            recover(life->load);
        say("verifying %s", life->load->name);
        number = life->load->verify(writer.directory, writer.seed);
        judge(life, number);
        say("verified %s acknowledged %" PRIu64 " found %" PRIu64, life->load->name,
            life->acknowledged, number);
        /* What was read must never be gone either. */
        if (number > life->acknowledged)
            acknowledge(life, number);
    }
    say_litter();
}

static void load_main(void *argument)
{
    struct life *life = argument;

    life->load->run(writer.directory, writer.seed, on_durable, life);
}

/* It has not ended by itself, which it does only by a failure. */
static void check_runs(const struct child *child)
{
    siginfo_t ended = {0};

    check_eq(waitid(P_PID, (id_t)child->pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
    check_eq(ended.si_pid, 0);
}

/* Start the load's process; in a storm, kill it after a while and start another. */
static void life_main(void *argument)
{
    struct life *life = argument;
    struct child child;

    while (life->storm) {
        uint64_t milliseconds = 20 + random_below(&life->random, 600);
        struct timespec wait = {0, (long)milliseconds * 1000000};
        const struct timespec moment = {0, 5000000};
        bool progress = random_below(&life->random, 2) == 1;
        uint64_t before = life->acknowledged;

        child_start(&child, load_main, life);
        /* Half of them get something done, however slow the machine is. */
        while (progress && life->acknowledged == before) {
            check_runs(&child);
            check_eq(nanosleep(&moment, NULL), 0);
        }
        check_eq(nanosleep(&wait, NULL), 0);
        check_runs(&child);
        child_kill(&child);
        say("killed %s at %" PRIu64 " after %" PRIu64 " ms, at %" PRIu64 " before",
            life->load->name, life->acknowledged, milliseconds, before);
    }
    child_start(&child, load_main, life);
    child_join(&child);
}

/* A first life, and a third of the others. */
static bool begins_alone(const struct life *lives)
{
    uint64_t acknowledged = 0, random;

    for (unsigned i = 0; i < LOADS; i++)
        acknowledged += lives[i].acknowledged;
    random = (writer.seed ^ (acknowledged * UINT64_C(0x9e3779b97f4a7c15))) | 1;
    return acknowledged == 0 || random_below(&random, 3) == 0;
}

static int live(void)
{
    struct life *lives = child_memory(LOADS * sizeof(*lives));
    struct child children[LOADS];
    const char *way = getenv("NVMMIO_TEST_RECOVER");
    bool alone;

    verify_all(lives, way && strcmp(way, "tool") == 0);
    alone = begins_alone(lives);
    for (unsigned i = 0; i < LOADS; i++) {
        if (alone && lives[i].load != &load_grow)
            continue;
        /* Every life is another one: the acknowledged number is part of its seed. */
        lives[i].random =
            (writer.seed ^ (lives[0].acknowledged * UINT64_C(0x9e3779b97f4a7c15) + i)) | 1;
        lives[i].storm = random_below(&lives[i].random, 2) == 1 && !alone;
        say("writing %s %s", lives[i].load->name, lives[i].storm ? "storm" : "steady");
        child_start(&children[i], life_main, &lives[i]);
    }
    for (unsigned i = 0; i < LOADS; i++)
        if (!alone || lives[i].load == &load_grow)
            child_join(&children[i]); /* ends only by a failure */
    return 1;
}

static int medium(const char *directory)
{
    struct nvmmio_info info = {.struct_bytes = sizeof(info)};
    struct nvmmio_info file = {.struct_bytes = sizeof(file)};
    char path[600];
    struct nvmmio *handle;

    (void)snprintf(path, sizeof(path), "%s/medium.dat", directory);
    check_ok(nvmmio_probe(directory, &info));
    handle = engine_open(path);
    engine_fill(handle, 0, 5000, 7);
    check_ok(nvmmio_sync(handle));
    check_ok(nvmmio_info(handle, &file));
    engine_close(handle);
    check_eq(unlink(path), 0);
    printf("probe: home %s, survives power %s: %s\n", nvmmio_medium_name(info.home_medium),
           info.survives_power ? "yes" : "no", info.why);
    printf("file: home %s, log %s, survives power %s: %s\n", nvmmio_medium_name(file.home_medium),
           nvmmio_medium_name(file.log_medium), file.survives_power ? "yes" : "no", file.why);
    check_eq(info.home_medium, NVMMIO_MEDIUM_DAX);
    check(info.survives_power && info.survives_process && !info.forced);
    check_eq(file.home_medium, NVMMIO_MEDIUM_DAX);
    check_eq(file.log_medium, NVMMIO_MEDIUM_DAX);
    check(file.survives_power && file.survives_process && !file.forced);
    return 0;
}

/* A machine that goes on where another one did would draw the same numbers. */
static int reseed(void)
{
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);

    check(fd >= 0);
    check_eq(ioctl(fd, RNDRESEEDCRNG), 0);
    close(fd);
    return 0;
}

int main(int argc, char **argv)
{
    check_enter_child();
    if (argc == 2 && strcmp(argv[1], "reseed") == 0)
        return reseed();
    if (argc == 3 && strcmp(argv[1], "medium") == 0)
        return medium(argv[2]);
    if (argc != 5 || (strcmp(argv[1], "live") != 0 && strcmp(argv[1], "verify") != 0)) {
        fprintf(stderr, "usage: writer medium DIRECTORY\n"
                        "       writer live|verify DIRECTORY HOST SEED\n"
                        "       writer reseed\n");
        return 2;
    }
    writer.directory = argv[2];
    writer.host = argv[3];
    writer.seed = strtoull(argv[4], NULL, 0);
    writer.said = host_open("said");
    if (strcmp(argv[1], "live") == 0)
        return live();
    verify_all(child_memory(LOADS * sizeof(struct life)), false);
    say("ended");
    return 0;
}
