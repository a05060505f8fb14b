/*
 * Instructions, where the clock of the machine ticks once for each (dax-vm --accel
 * icount): a task's time on the processor is then their number.
 *   instructions run COMMAND...   run it; the last line printed is
 *                                 "instructions OF-IT OF-OTHERS", the second number being
 *                                 that of all other tasks meanwhile, kernel threads for one
 *   instructions spin N           N of them, and a few to start and end
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of all tasks that there are. */
static uint64_t all_tasks(void)
{
    DIR *tasks = opendir("/proc");
    uint64_t sum = 0;

    if (!tasks)
        exit(2);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        char path[300];
        uint64_t nanoseconds;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/%s/schedstat", entry->d_name);
        if (strspn(entry->d_name, "0123456789") == 0 || !(file = fopen(path, "re")))
            continue;
        if (fscanf(file, "%" SCNu64, &nanoseconds) == 1)
            sum += nanoseconds;
        (void)fclose(file);
    }
    (void)closedir(tasks);
    return sum;
}

static uint64_t nanoseconds_of(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_usec * 1000;
}

static int run(char **command)
{
    uint64_t others = all_tasks();
    struct rusage usage;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
        return 2;
    others = all_tasks() - others;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return 1;
    printf("instructions %" PRIu64 " %" PRIu64 "\n",
           nanoseconds_of(usage.ru_utime) + nanoseconds_of(usage.ru_stime), others);
    return 0;
}

static int spin(uint64_t count)
{
    uint64_t rounds = count / 2;

    __asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(rounds) : : "cc");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "run") == 0)
        return run(argv + 2);
    if (argc == 3 && strcmp(argv[1], "spin") == 0 && strtoull(argv[2], NULL, 0) >= 2)
        return spin(strtoull(argv[2], NULL, 0));
    fprintf(stderr, "usage: instructions run COMMAND...\n       instructions spin N\n");
    return 2;
}
