/* process_private: the table of homes, shared by process.c and home.c only. */
#ifndef NV_PROCESS_PRIVATE_H
#define NV_PROCESS_PRIVATE_H

#include "core/home.h"
#include "core/stream.h"

struct nv_process {
    const struct nv_os *os;
    pthread_mutex_t mutex; /* guards the table and the references in it */
    pthread_cond_t left;   /* a home of the table is no longer leaving */
    struct nv_home *homes;
    struct nv_stream_table streams;
    uint64_t *here; /* reads as 0 in a child */
};

/* Free a home without telling anybody: its process is dead, or the child of the one it was in. */
void nv_home_abandon(struct nv_home *home);

#endif
