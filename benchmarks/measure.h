/*
 * measure: clocks, medians and repeatable random numbers.
 */
#ifndef NV_BENCH_MEASURE_H
#define NV_BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>

double nv_wall_seconds(void);
/* User and system time of the process, all its threads together. */
double nv_cpu_seconds(void);
double nv_thread_seconds(void); /* of the calling thread alone */

/* Does not change the order of `values`. */
double nv_median(const double *values, size_t count);

/* xorshift64*: cheap beside what is measured, the same everywhere.  Never seed it with 0. */
static inline uint64_t nv_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

/* In [0, bound). */
static inline uint32_t nv_random_below(uint64_t *state, uint32_t bound)
{
    return (uint32_t)(((nv_random(state) >> 32) * bound) >> 32);
}

#endif
