/*
 * flush: home made durable off the commit path, where that takes a system call.
 * One thread for each home of a process, made when it is first needed.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/home.h"

struct nv_flusher {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t wanted; /* make home durable up to this commit; 0: nothing to do */
    bool busy, stop, running;
};

/* Advance, never back: flushes of several processes may end in any order. */
static void advance(struct nv_shared *shared, uint64_t seq)
{
    uint64_t known = atomic_load(&shared->home_durable);
    while (known < seq && !atomic_compare_exchange_weak(&shared->home_durable, &known, seq))
        ;
}

int nv_flush_log(struct nv_home *home)
{
    struct nv_shared *shared = home->share.shared;
    const uint64_t applied = atomic_load(&shared->applied);
    if (shared->log_durable >= applied)
        return 0;
    const int error = nv_medium_fence(&home->log.medium);
    if (error) {
        atomic_store(&shared->health, NV_HEALTH_NO_WRITES);
        return nv_fail(-EIO,
                       "the log %s could not be written to its medium (%s). Close the file in "
                       "every process and open it again to recover",
                       home->log_path, nvmmio_strerror(error));
    }
    shared->log_durable = applied;
    return 0;
}

int nv_flush_home(struct nv_home *home, uint64_t seq)
{
    struct nv_shared *shared = home->share.shared;
    if (atomic_load(&shared->home_durable) >= seq)
        return 0;
    /* One at a time: the kernel tells of a failed write once for each descriptor, and who is not
     * told must not take the silence for success. */
    pthread_mutex_lock(&home->flushing);
    int error = atomic_load(&shared->health) == NV_HEALTH_GOOD ? 0 : -EIO;
    /* Commits up to here are in home's page cache, whichever process put them there. */
    uint64_t applied = atomic_load(&shared->applied);
    /* Commits that were applied without waiting: the log must not end before what home holds. */
    if (!error && applied > shared->log_durable)
        error = nv_medium_fence(&home->log.medium);
    if (!error)
        error = nv_medium_fence(&home->medium);
    if (error && atomic_load(&shared->health) == NV_HEALTH_GOOD)
        atomic_store(&shared->health, NV_HEALTH_NO_WRITES);
    pthread_mutex_unlock(&home->flushing);
    if (error) {
        /* The kernel may have dropped what it could not write: only the log has it now. */
        return nv_fail(-EIO,
                       "%s could not be written to its medium (%s); committed data is in the log. "
                       "Close the file everywhere and open it again to recover",
                       home->path, nvmmio_strerror(error));
    }
    atomic_fetch_add(&shared->counters.flushes, 1);
    advance(shared, applied);
    return 0;
}

static void *flusher_main(void *argument)
{
    struct nv_home *home = argument;
    struct nv_flusher *flusher = home->flusher;
    pthread_mutex_lock(&flusher->mutex);
    while (!flusher->stop) {
        if (flusher->wanted == 0) {
            pthread_cond_wait(&flusher->changed, &flusher->mutex);
            continue;
        }
        uint64_t wanted = flusher->wanted;
        flusher->wanted = 0;
        flusher->busy = true;
        pthread_mutex_unlock(&flusher->mutex);
        (void)nv_flush_home(home, wanted); /* a failure shows in the shared page */
        pthread_mutex_lock(&flusher->mutex);
        flusher->busy = false;
        pthread_cond_broadcast(&flusher->changed);
    }
    pthread_mutex_unlock(&flusher->mutex);
    return NULL;
}

static struct nv_flusher *flusher_get(struct nv_home *home)
{
    if (home->flusher)
        return home->flusher;
    struct nv_flusher *flusher = calloc(1, sizeof *flusher);
    if (!flusher)
        return NULL;
    pthread_mutex_init(&flusher->mutex, NULL);
    pthread_cond_init(&flusher->changed, NULL);
    home->flusher = flusher;
    if (nv_process_os(home->process)->threads) {
        /* The program's signals are for threads of its own. */
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        flusher->running = pthread_create(&flusher->thread, NULL, flusher_main, home) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    return flusher;
}

void nv_flush_later(struct nv_home *home, uint64_t seq)
{
    pthread_mutex_lock(&home->mutex);
    struct nv_flusher *flusher = flusher_get(home);
    pthread_mutex_unlock(&home->mutex);
    if (!flusher)
        return; /* no memory: whoever needs the space flushes then */
    pthread_mutex_lock(&flusher->mutex);
    if (flusher->wanted < seq)
        flusher->wanted = seq;
    pthread_cond_broadcast(&flusher->changed);
    pthread_mutex_unlock(&flusher->mutex);
}

int nv_flush_step(struct nv_home *home)
{
    struct nv_flusher *flusher = home->flusher;
    if (!flusher || flusher->running || flusher->wanted == 0 || !home->members)
        return 0;
    uint64_t wanted = flusher->wanted;
    flusher->wanted = 0;
    int error = nv_flush_home(home, wanted);
    return error ? error : 1;
}

void nv_flusher_stop(struct nv_home *home)
{
    struct nv_flusher *flusher = home->flusher;
    if (!flusher)
        return;
    pthread_mutex_lock(&flusher->mutex);
    flusher->stop = true;
    pthread_cond_broadcast(&flusher->changed);
    pthread_mutex_unlock(&flusher->mutex);
    if (flusher->running)
        pthread_join(flusher->thread, NULL);
    pthread_cond_destroy(&flusher->changed);
    pthread_mutex_destroy(&flusher->mutex);
    free(flusher);
    home->flusher = NULL;
}
