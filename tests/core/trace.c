/* trace: see trace.h. */
#include "tests/core/trace.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/core/check.h"

struct trace_start {
    child_main *main;
    void *argument;
};

static bool trace_on; /* in a child that nobody traces the marks mean nothing */

void trace_begin(void)
{
    if (trace_on)
        raise(SIGSTOP);
}

void trace_end(void)
{
    if (trace_on)
        raise(SIGSTOP);
}

static void trace_child(void *argument)
{
    struct trace_start *start = argument;

    check_eq(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
    trace_on = true;
    start->main(start->argument);
}

/* Tracer and tracee on one processor: a step is then one switch, not two wake-ups. */
static void trace_pin(cpu_set_t *before)
{
    cpu_set_t one;
    int cpu = sched_getcpu();

    check_eq(sched_getaffinity(0, sizeof(*before), before), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)(cpu < 0 ? 0 : cpu), &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
}

/* Let it run on; signals other than the marks are delivered. */
static void trace_resume(enum __ptrace_request how, pid_t pid, int status)
{
    int signal = WSTOPSIG(status) & 0x7f;

    if (signal == SIGTRAP || signal == SIGSTOP)
        signal = 0;
    check(ptrace(how, pid, NULL, (void *)(intptr_t)signal) == 0 || errno == ESRCH);
}

static bool trace_stopped(int status, int signal)
{
    return WIFSTOPPED(status) && WSTOPSIG(status) == signal;
}

/* Whether the child ended by itself; a test that waits for no death fails otherwise. */
static void trace_ended(struct child *child, int status)
{
    close(child->socket);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        check_fail("a traced child ended with %s %d", WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* Count steps up to the end mark; true when the n-th was reached, and the child killed before it.
 */
static bool trace_count(struct child *child, enum trace_step step, uint64_t n, uint64_t *count,
                        int *status)
{
    enum __ptrace_request how = step == TRACE_CALL ? PTRACE_SYSCALL : PTRACE_SINGLESTEP;
    bool entering = true;

    for (;;) {
        bool counts = true;

        if (step == TRACE_INSTRUCTION && n && *count + 1 == n)
            break;
        trace_resume(how, child->pid, *status);
        check_eq(waitpid(child->pid, status, 0), child->pid);
        if (!WIFSTOPPED(*status) || trace_stopped(*status, SIGSTOP))
            return false;
        if (step == TRACE_CALL) {
            counts = trace_stopped(*status, SIGTRAP | 0x80) && entering;
            if (trace_stopped(*status, SIGTRAP | 0x80))
                entering = !entering;
        }
        *count += counts;
        if (step == TRACE_CALL && counts && *count == n)
            break;
    }
    child_kill(child);
    return true;
}

bool trace_kill(child_main *main, void *argument, enum trace_step step, uint64_t n, uint64_t *steps)
{
    struct trace_start start = {main, argument};
    struct child child;
    uint64_t count = 0;
    cpu_set_t before;
    bool killed;
    int status;

    trace_pin(&before);
    child_start(&child, trace_child, &start);
    check_eq(waitpid(child.pid, &status, 0), child.pid);
    while (WIFSTOPPED(status) && !trace_stopped(status, SIGSTOP)) {
        trace_resume(PTRACE_CONT, child.pid, status);
        check_eq(waitpid(child.pid, &status, 0), child.pid);
    }
    if (!WIFSTOPPED(status)) {
        trace_ended(&child, status);
        check_fail("a traced child never came to trace_begin");
    }
    check_eq(ptrace(PTRACE_SETOPTIONS, child.pid, NULL,
                    (void *)(intptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)),
             0);
    killed = trace_count(&child, step, n, &count, &status);
    while (!killed && WIFSTOPPED(status)) {
        trace_resume(PTRACE_CONT, child.pid, status);
        check_eq(waitpid(child.pid, &status, 0), child.pid);
    }
    if (!killed)
        trace_ended(&child, status);
    (void)sched_setaffinity(0, sizeof(before), &before);
    if (steps)
        *steps = count;
    return killed;
}

/* The entry of a system call, as the kernel describes it. */
static bool trace_entry(pid_t pid, struct trace_call *call)
{
    struct __ptrace_syscall_info info;
    long got = ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info);

    if (got <= 0 || info.op != PTRACE_SYSCALL_INFO_ENTRY)
        return false;
    call->thread = pid;
    call->number = info.entry.nr;
    for (size_t i = 0; i < 6; i++)
        call->arguments[i] = info.entry.args[i];
    return true;
}

void trace_calls(child_main *main, void *argument, trace_seen *seen, void *context)
{
    struct trace_start start = {main, argument};
    bool counting = false, entered = false;
    struct child child;
    int status;
    pid_t pid;

    child_start(&child, trace_child, &start);
    check_eq(waitpid(child.pid, &status, 0), child.pid);
    check(trace_stopped(status, SIGSTOP));
    check_eq(
        ptrace(PTRACE_SETOPTIONS, child.pid, NULL,
               (void *)(intptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE)),
        0);
    for (pid = child.pid;;) {
        struct trace_call call;

        if (WIFSTOPPED(status)) {
            if (pid == child.pid && trace_stopped(status, SIGSTOP)) {
                counting = !entered || !counting;
                entered = true;
            } else if (trace_stopped(status, SIGTRAP | 0x80) && counting &&
                       trace_entry(pid, &call)) {
                seen(context, &call);
            }
            trace_resume(PTRACE_SYSCALL, pid, status);
        } else if (pid == child.pid) {
            break;
        }
        pid = waitpid(-1, &status, __WALL);
        check(pid > 0);
    }
    trace_ended(&child, status);
}

void trace_path(const struct trace_call *call, uint64_t fd, char *path, size_t path_bytes)
{
    char link[64];
    ssize_t length;

    (void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)call->thread, (int)fd);
    length = readlink(link, path, path_bytes - 1);
    path[length < 0 ? 0 : length] = '\0';
}
