/* child: see child.h. */
#include "tests/core/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/core/check.h"

static int child_parent = -1; /* in a child: its socket to the test */

void child_start(struct child *child, child_main *main, void *argument)
{
    int sockets[2];
    pid_t parent = getpid();

    check_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    fflush(stdout);
    fflush(stderr);
    child->pid = fork();
    check(child->pid >= 0);
    if (child->pid == 0) {
        check_enter_child();
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(2);
        close(sockets[0]);
        child_parent = sockets[1];
        main(argument);
        fflush(stdout);
        _exit(0);
    }
    close(sockets[1]);
    child->socket = sockets[0];
}

static char byte_receive(int socket)
{
    char byte;
    ssize_t got;

    do
        got = recv(socket, &byte, 1, 0);
    while (got < 0 && errno == EINTR);
    return got == 1 ? byte : '\0';
}

void child_send(struct child *child, char byte)
{
    /* A child that died is found by whoever waits for it. */
    (void)!send(child->socket, &byte, 1, MSG_NOSIGNAL);
}

char child_receive(struct child *child)
{
    return byte_receive(child->socket);
}

void child_expect(struct child *child, char byte)
{
    char got = child_receive(child);

    if (got != byte)
        check_fail("the child says '%c' (%d), not '%c'", got ? got : '0', got, byte);
}

void parent_send(char byte)
{
    (void)!send(child_parent, &byte, 1, MSG_NOSIGNAL);
}

char parent_receive(void)
{
    return byte_receive(child_parent);
}

int child_wait(struct child *child)
{
    int status;
    pid_t pid;

    do
        pid = waitpid(child->pid, &status, 0);
    while (pid < 0 && errno == EINTR);
    check_eq(pid, child->pid);
    close(child->socket);
    child->pid = -1;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void child_kill(struct child *child)
{
    check_eq(kill(child->pid, SIGKILL), 0);
    (void)child_wait(child);
}

void child_join(struct child *child)
{
    int result = child_wait(child);

    if (result != 0)
        check_fail("a child ended with %d", result);
}

void child_run(child_main *main, void *argument)
{
    struct child child;

    child_start(&child, main, argument);
    child_join(&child);
}

void *child_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    check(memory != MAP_FAILED);
    return memory;
}

static int output_collect(int fd, char *output, size_t output_bytes)
{
    size_t used = 0;
    ssize_t got;
    char rest[256];

    while ((got = used + 1 < output_bytes ? read(fd, output + used, output_bytes - used - 1)
                                          : read(fd, rest, sizeof(rest))) != 0) {
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0 && used + 1 < output_bytes)
            used += (size_t)got;
    }
    output[used] = '\0';
    return 0;
}

static int exec_collect(const char *program, const char *const arguments[], char *output,
                        size_t output_bytes)
{
    int pipes[2], status;
    pid_t pid;

    check_eq(pipe2(pipes, O_CLOEXEC), 0);
    fflush(stdout);
    fflush(stderr);
    pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(pipes[1], STDOUT_FILENO);
        execvp(program, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(pipes[1]);
    check_eq(output_collect(pipes[0], output, output_bytes), 0);
    close(pipes[0]);
    check_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int child_exec(const char *const arguments[], char *output, size_t output_bytes)
{
    return exec_collect(arguments[0], arguments, output, output_bytes);
}

int child_role(const char *const arguments[], char *output, size_t output_bytes)
{
    const char *all[16] = {"test", "--role"};

    for (size_t i = 0; arguments[i]; i++) {
        check(i + 3 < sizeof(all) / sizeof(all[0]));
        all[i + 2] = arguments[i];
    }
    return exec_collect("/proc/self/exe", all, output, output_bytes);
}
