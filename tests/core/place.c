/* place: see place.h. */
#include "tests/core/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/core/check.h"

static struct {
    enum place_kind kind;
    char root[400];
    char program[512];
    uint64_t seed;
    uint64_t percent;
    uint64_t stride;
    unsigned scratches;
} place;

enum place_kind place_kind(void)
{
    return place.kind;
}

const char *place_root(void)
{
    return place.root;
}

static const char *place_name(enum place_kind kind)
{
    static const char *const names[] = {"ram", "dax", "page"};

    return kind == PLACE_OTHER ? place.root : names[kind];
}

uint64_t place_seed(const char *test)
{
    fprintf(stderr, "replay: %s --place %s --test %s --seed %llu\n", place.program,
            place_name(place.kind), test, (unsigned long long)place.seed);
    check_note("seed %llu, replay: %s --place %s --test %s --seed %llu",
               (unsigned long long)place.seed, place.program, place_name(place.kind), test,
               (unsigned long long)place.seed);
    return place.seed;
}

uint64_t place_times(uint64_t count)
{
    uint64_t scaled = count * place.percent / 100;

    return scaled ? scaled : 1;
}

uint64_t place_stride(void)
{
    return place.stride;
}

/* What libpmem is told must be there before its constructor runs. */
static void place_set_force(char **argv)
{
    const char *now = getenv("PMEM_IS_PMEM_FORCE");
    bool forced = now && strcmp(now, "1") == 0;

    if (place.kind == PLACE_OTHER || forced == (place.kind == PLACE_DAX))
        return;
    if (place.kind == PLACE_DAX)
        setenv("PMEM_IS_PMEM_FORCE", "1", 1);
    else
        unsetenv("PMEM_IS_PMEM_FORCE");
    execv("/proc/self/exe", argv);
    perror("execv");
    exit(2);
}

static void place_choose(const char *name)
{
    const char *disk = getenv("NVMMIO_TEST_DISK");

    /* Not Bazel's own directory first: other user ids have no way into it. */
    if (!disk && access("/var/tmp", W_OK) != 0)
        disk = getenv("TEST_TMPDIR");
    if (!disk)
        disk = "/var/tmp";
    if (strcmp(name, "ram") == 0 || strcmp(name, "dax") == 0) {
        place.kind = name[0] == 'r' ? PLACE_RAM : PLACE_DAX;
        name = "/dev/shm";
    } else if (strcmp(name, "page") == 0) {
        place.kind = PLACE_PAGE;
        name = disk;
    } else {
        place.kind = PLACE_OTHER;
    }
    (void)snprintf(place.root, sizeof(place.root), "%s", name);
}

/* The same program once for each place. */
static int place_run_all(int argc, char **argv)
{
    static const char *const names[] = {"ram", "dax", "page"};
    int failures = 0;

    for (size_t i = 0; i < 3; i++) {
        int status;
        pid_t pid;

        printf("==== %s ====\n", names[i]);
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            char **arguments = calloc((size_t)argc + 3, sizeof(char *));

            if (!arguments)
                _exit(2);
            memcpy(arguments, argv, (size_t)argc * sizeof(char *));
            arguments[argc] = (char *)(uintptr_t) "--place";
            arguments[argc + 1] = (char *)(uintptr_t)names[i];
            execv("/proc/self/exe", arguments);
            _exit(2);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
            WEXITSTATUS(status) != 0)
            failures++;
    }
    return failures ? 1 : 0;
}

static int place_run_role(int argc, char **argv, const struct place_role *roles)
{
    check_enter_child();
    for (const struct place_role *role = roles; role && role->name; role++) {
        if (strcmp(role->name, argv[2]) == 0)
            return role->main(argc - 3, argv + 3);
    }
    fprintf(stderr, "no role %s\n", argv[2]);
    return 2;
}

int place_main(int argc, char **argv, int (*tests)(void), const struct place_role *roles)
{
    const char *where = NULL;
    ssize_t length = readlink("/proc/self/exe", place.program, sizeof(place.program) - 1);

    if (length < 0)
        (void)snprintf(place.program, sizeof(place.program), "%s", argv[0]);
    place.percent = PLACE_SANITIZED ? 20 : 100;
    place.stride = PLACE_SANITIZED ? 5 : 1;
    if (getrandom(&place.seed, sizeof(place.seed), 0) != (ssize_t)sizeof(place.seed))
        return 2;
    place.seed |= 1;
    if (argc >= 3 && strcmp(argv[1], "--role") == 0)
        return place_run_role(argc, argv, roles);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--place") == 0)
            where = argv[i + 1];
        else if (strcmp(argv[i], "--test") == 0)
            cmocka_set_test_filter(argv[i + 1]);
        else if (strcmp(argv[i], "--seed") == 0)
            place.seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--times") == 0)
            place.percent = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--stride") == 0 && strtoull(argv[i + 1], NULL, 0) > 0)
            place.stride *= strtoull(argv[i + 1], NULL, 0);
        else
            argc = 0;
    }
    if (argc % 2 == 0) {
        fprintf(stderr,
                "usage: %s [--place ram|dax|page|DIRECTORY] [--test PATTERN] [--seed N]"
                " [--times PERCENT] [--stride N]\n",
                argv[0]);
        return 2;
    }
    if (!where)
        return place_run_all(argc, argv);
    place_choose(where);
    place_set_force(argv);
    return tests();
}

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat;
    (void)type;
    return walk->level == 0 ? 0 : remove(path);
}

struct scratch scratch;

int scratch_setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    return 0;
}

int scratch_teardown(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

void scratch_empty(struct scratch *scratch)
{
    (void)nftw(scratch->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void scratch_make_in(struct scratch *scratch, const char *root)
{
    int length = snprintf(scratch->directory, sizeof(scratch->directory), "%s/nvmmio-test-%d-%u",
                          root, (int)getpid(), place.scratches++);

    check(length > 0 && (size_t)length < sizeof(scratch->directory));
    check_note("%s", "");
    (void)snprintf(scratch->path, sizeof(scratch->path), "%s/db", scratch->directory);
    if (mkdir(scratch->directory, 0755) == 0)
        return;
    check(errno == EEXIST);
    scratch_empty(scratch);
}

void scratch_make(struct scratch *scratch)
{
    scratch_make_in(scratch, place.root);
}

void scratch_remove(struct scratch *scratch)
{
    if (getenv("NVMMIO_TEST_KEEP"))
        return;
    scratch_empty(scratch);
    (void)rmdir(scratch->directory);
}

static int by_name(const void *left, const void *right)
{
    return strcmp(left, right);
}

const char *scratch_list(const struct scratch *scratch)
{
    static char text[8192];
    static char names[64][128];
    size_t count = 0, used = 0;
    DIR *directory = opendir(scratch->directory);

    check(directory != NULL);
    for (struct dirent *entry; count < 64 && (entry = readdir(directory));) {
        if (entry->d_name[0] != '.')
            (void)snprintf(names[count++], sizeof(names[0]), "%.127s", entry->d_name);
    }
    closedir(directory);
    qsort(names, count, sizeof(names[0]), by_name);
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s ", names[i]);
    return text;
}

const char *scratch_file(const struct scratch *scratch, const char *name)
{
    static char paths[4][700];
    static unsigned next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", scratch->directory, name);
    return path;
}

int64_t file_read(const char *path, void **content)
{
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int64_t got = 0;

    *content = NULL;
    if (fd < 0)
        return -errno;
    check_eq(fstat(fd, &stat), 0);
    *content = malloc((size_t)stat.st_size + 1);
    check(*content != NULL);
    while (got < stat.st_size) {
        ssize_t part = pread(fd, (char *)*content + got, (size_t)(stat.st_size - got), got);

        check(part > 0);
        got += part;
    }
    close(fd);
    return got;
}

void file_write(const char *path, const void *content, uint64_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    uint64_t done = 0;

    check(fd >= 0);
    while (done < bytes) {
        ssize_t part = write(fd, (const char *)content + done, (size_t)(bytes - done));

        check(part > 0);
        done += (uint64_t)part;
    }
    check_eq(close(fd), 0);
}

void file_copy(const char *from, const char *to)
{
    void *content;
    int64_t bytes = file_read(from, &content);

    check(bytes >= 0);
    file_write(to, content, (uint64_t)bytes);
    free(content);
}

bool file_exists(const char *path)
{
    struct stat stat;

    return lstat(path, &stat) == 0;
}

int64_t file_bytes(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? (int64_t)status.st_size : -errno;
}

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_next(state) % limit;
}
