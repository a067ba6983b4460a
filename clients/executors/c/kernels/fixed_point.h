/* Rescaling of integers: value * multiplier / 2^shift, rounded half up, with no float.
 *
 * 0 <= multiplier < 2^31 and 1 <= shift <= 62, so that 64 bits hold every intermediate value. */
#ifndef MEMPLAN_FIXED_POINT_H
#define MEMPLAN_FIXED_POINT_H

#include <stdint.h>

#include "inline.h"

/* What becomes of a rescaled sum: it moves to its zero point and stays within limits. */
struct memplan_int8_range {
    int32_t zero_point, low, high;
};

MEMPLAN_INLINE int8_t memplan_to_int8(int32_t value, const struct memplan_int8_range *range) {
    value += range->zero_point;
    return (int8_t)(value < range->low ? range->low : value > range->high ? range->high : value);
}

/* A sum as an int8. */
MEMPLAN_INLINE int8_t memplan_requantize(int32_t sum, int32_t multiplier, int32_t shift,
                                         const struct memplan_int8_range *range) {
    const int64_t product = (int64_t)sum * multiplier;
    if (shift > 32) {
        /* One half is a multiple of 2^32: the upper word is enough. */
        const int32_t upper = (int32_t)(product >> 32);
        return memplan_to_int8((upper + (1 << (shift - 33))) >> (shift - 32), range);
    }
    const int64_t wide = (product + (INT64_C(1) << (shift - 1))) >> shift;
    /* Far outside of the limits of an int8 one value is as good as another. */
    return memplan_to_int8(wide < -1024 ? -1024 : wide > 1024 ? 1024 : (int32_t)wide, range);
}

/* The same of four neighbours. */
void memplan_requantize_four(const int32_t *sums, int32_t multiplier, int32_t shift,
                             const struct memplan_int8_range *range, int8_t *y);

#endif
