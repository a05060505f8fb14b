/*
 * process: the table of homes that one process has open.
 */
#include "core/process.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "core/process_private.h"

#define HERE UINT64_C(0x6e766d6d696f2121)

static _Atomic(struct nv_process *) default_process;
static pthread_once_t default_once = PTHREAD_ONCE_INIT;
static int default_error;

int nv_process_create(const struct nv_os *os, struct nv_process **process)
{
    struct nv_process *made = calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    void *word =
        mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (word == MAP_FAILED) {
        free(made);
        return -ENOMEM;
    }
    /* A child finds 0 here at no cost to the parent (Linux 4.14). */
    (void)madvise(word, sizeof(uint64_t), MADV_WIPEONFORK);
    made->here = word;
    *made->here = HERE;
    made->os = os;
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->left, NULL);
    nv_stream_table_init(&made->streams, os);
    *process = made;
    return 0;
}

void nv_process_destroy(struct nv_process *process)
{
    while (process->homes) {
        struct nv_home *home = process->homes;
        process->homes = home->next;
        nv_home_abandon(home);
    }
    nv_stream_table_abandon(&process->streams);
    pthread_cond_destroy(&process->left);
    pthread_mutex_destroy(&process->mutex);
    (void)munmap(process->here, sizeof(uint64_t));
    free(process);
}

/* In a child: give up the descriptors, which would keep the parent's byte locks alive after its
 * death.  Only close(2): nothing else is safe here. */
static void after_fork(void)
{
    for (struct nv_home *home = atomic_load(&default_process)->homes; home; home = home->next) {
        if (home->file.fd >= 0)
            (void)close(home->file.fd);
        if (home->older.os && home->older.fd >= 0)
            (void)close(home->older.fd);
        home->file.fd = home->older.fd = -1; /* the child of a child must not close others' */
    }
    nv_stream_table_forked(&atomic_load(&default_process)->streams);
}

static void make_default(void)
{
    struct nv_process *made = NULL;
    default_error = nv_process_create(&nv_os_posix, &made);
    atomic_store(&default_process, made); /* first: a fork may come at once */
    if (!default_error)
        default_error = -pthread_atfork(NULL, NULL, after_fork);
}

int nv_process_default(struct nv_process **process)
{
    pthread_once(&default_once, make_default);
    if (default_error)
        return nv_fail(default_error, "out of memory");
    struct nv_process *present = atomic_load(&default_process);
    /* A child starts anew: what the parent had open is not its own. */
    while (!nv_process_here(present)) {
        struct nv_process *fresh = NULL;
        int error = nv_process_create(&nv_os_posix, &fresh);
        if (error)
            return nv_fail(error, "out of memory");
        if (atomic_compare_exchange_strong(&default_process, &present, fresh))
            present = fresh;
        else /* another thread of the child was first */
            nv_process_destroy(fresh);
    }
    *process = present;
    return 0;
}

const struct nv_os *nv_process_os(const struct nv_process *process)
{
    return process->os;
}

struct nv_stream_table *nv_process_streams(struct nv_process *process)
{
    return &process->streams;
}

bool nv_process_here(const struct nv_process *process)
{
    return *process->here == HERE;
}

int nv_process_step(struct nv_process *process)
{
    int done = 0;
    pthread_mutex_lock(&process->mutex);
    for (struct nv_home *home = process->homes; home && done == 0; home = home->next)
        done = nv_flush_step(home);
    pthread_mutex_unlock(&process->mutex);
    return done;
}
