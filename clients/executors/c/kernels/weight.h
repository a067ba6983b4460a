/* A weight of which a part is updated.
 *
 * Frozen weights are constants (flash).  Of a weight that is updated in part, the arena holds the
 * updated channels alone, in ascending order; all others are read from the constant.
 */
#ifndef MEMPLAN_WEIGHT_H
#define MEMPLAN_WEIGHT_H

#include <stddef.h>
#include <stdint.h>

#include "inline.h"

struct memplan_split_weight {
    /* All of the weight; of a partly updated one these are the values before the first update,
     * and the updated channels are not read from here. */
    const float *frozen;
    /* The updated channels; NULL: none, everything is read from `frozen`. */
    const float *slice;
    /* For each channel along the axis its place in `slice`, or -1. */
    const int16_t *position;
    /* The dimension of the weight that is cut. */
    int32_t axis;
    /* How many channels `slice` has. */
    int32_t count;
};

/* Kernel (`size` elements) between output channel `output` and input channel `input` of a
 * weight [outputs][inputs][size]. */
MEMPLAN_INLINE const float *memplan_weight_kernel(const struct memplan_split_weight *weight,
                                                  int32_t output, int32_t input, int32_t inputs,
                                                  int32_t size) {
    if (weight->slice != NULL) {
        const int32_t place = weight->position[weight->axis == 0 ? output : input];
        if (place >= 0) {
            return weight->axis == 0 ? weight->slice + (place * inputs + input) * size
                                     : weight->slice + (output * weight->count + place) * size;
        }
    }
    return weight->frozen + (output * inputs + input) * size;
}

/* The same of int8. */
struct memplan_split_int8 {
    const int8_t *frozen, *slice;
    const int16_t *position;
    int32_t axis, count;
};

MEMPLAN_INLINE const int8_t *memplan_int8_kernel(const struct memplan_split_int8 *weight,
                                                 int32_t output, int32_t input, int32_t inputs,
                                                 int32_t size) {
    if (weight->slice != NULL) {
        const int32_t place = weight->position[weight->axis == 0 ? output : input];
        if (place >= 0) {
            return weight->axis == 0 ? weight->slice + (place * inputs + input) * size
                                     : weight->slice + (output * weight->count + place) * size;
        }
    }
    return weight->frozen + (output * inputs + input) * size;
}

#endif
