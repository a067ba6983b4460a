/* Bytes that move, four at a time where they can. */
#ifndef MEMPLAN_BYTES_H
#define MEMPLAN_BYTES_H

#include <stdint.h>

#include "inline.h"

/* From the first byte on: `to` may lie in front of `from`. */
MEMPLAN_INLINE void memplan_copy_bytes(void *to, const void *from, int32_t size) {
    uint8_t *target = to;
    const uint8_t *source = from;
    int32_t i = 0;
    for (uint32_t word; i + 4 <= size; i += 4) {
        __builtin_memcpy(&word, source + i, 4);
        __builtin_memcpy(target + i, &word, 4);
    }
    for (; i < size; ++i) {
        target[i] = source[i];
    }
}

#endif
