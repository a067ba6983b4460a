/* Which channels of a tensor a gradient is computed for. */
#ifndef MEMPLAN_CHANNELS_H
#define MEMPLAN_CHANNELS_H

#include <stddef.h>
#include <stdint.h>

#include "inline.h"

struct memplan_channels {
    /* Channel numbers in ascending order; NULL: `first`, `first + 1`, ... */
    const uint16_t *table;
    /* Where in the table, or in the tensor, the first one is. */
    int32_t first;
    int32_t count;
};

MEMPLAN_INLINE int32_t memplan_channel(const struct memplan_channels *channels, int32_t index) {
    return channels->table != NULL ? channels->table[channels->first + index]
                                   : channels->first + index;
}

#endif
