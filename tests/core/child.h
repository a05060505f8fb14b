/*
 * child: processes that a test starts, talks to and kills.  A handshake is a
 * byte over a socket; nothing waits by sleeping.
 *
 * A child is forked and runs one function; it dies with the test, by SIGKILL,
 * whatever happens to the test.
 *
 * Threads: the test's own.
 */
#ifndef TESTS_CORE_CHILD_H
#define TESTS_CORE_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef void child_main(void *argument);

struct child {
    pid_t pid;
    int socket;
};

void child_start(struct child *child, child_main *main, void *argument);

/* Between a test and its child.  A receive gives 0 when the other side is gone. */
void child_send(struct child *child, char byte);
char child_receive(struct child *child);
/* The child must say exactly this. */
void child_expect(struct child *child, char byte);

/* In the child itself. */
void parent_send(char byte);
char parent_receive(void);

/* SIGKILL, and reap. */
void child_kill(struct child *child);
/* Wait for the end; 0: the function returned; CHECK_EXIT and the like; -signal. */
int child_wait(struct child *child);
/* Wait, and fail the test unless the function returned. */
void child_join(struct child *child);
/* start and join. */
void child_run(child_main *main, void *argument);

/* Memory that a test shares with its children, zeroed, never freed. */
void *child_memory(size_t bytes);

/* Run `arguments` (NULL at its end) as a program; its output goes to `output`.  The exit status. */
int child_exec(const char *const arguments[], char *output, size_t output_bytes);
/* The same for a role of this program (place.h); arguments follow the role's name. */
int child_role(const char *const arguments[], char *output, size_t output_bytes);

#endif
