/* walk_private: what walk.c and walk_image.c share. */
#ifndef TESTS_SIM_WALK_PRIVATE_H
#define TESTS_SIM_WALK_PRIVATE_H

#include "tests/sim/walk.h"

/* Put units [first, end) of a store, or something else that is pending, into the machine. */
void walk_put_units(struct walk *walk, const struct pending *pending, uint32_t first, uint32_t end);
void walk_put_other(struct walk *walk, const struct pending *pending);

/* Whether two paths are of names in one directory. */
bool walk_same_directory(const char *a, const char *b);

static inline bool walk_hidden(const struct pending *pending, uint32_t unit)
{
    return pending->hidden && (pending->hidden[unit / 64] >> (unit % 64) & 1);
}

#endif
