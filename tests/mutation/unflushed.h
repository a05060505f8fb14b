/*
 * unflushed: what tests/mutation/run puts around a store of the engine, to leave
 * out its flush: it is visible, and no fence makes it durable.  Included by the
 * compiler's command line.
 */
#ifndef TESTS_MUTATION_UNFLUSHED_H
#define TESTS_MUTATION_UNFLUSHED_H

#include <stdbool.h>

extern bool sim_unflushed; /* tests/sim/sim_medium.c */

#define UNFLUSHED(store)                                                                           \
    __extension__({                                                                                \
        sim_unflushed = true;                                                                      \
        __typeof__(store) result_ = (store);                                                       \
        sim_unflushed = false;                                                                     \
        result_;                                                                                   \
    })

#endif
