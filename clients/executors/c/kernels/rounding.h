/* Rounding of floats to whole numbers without a library. */
#ifndef MEMPLAN_ROUNDING_H
#define MEMPLAN_ROUNDING_H

#include "inline.h"

/* The nearest whole number, of two the even one.  Floats of 2^23 and more have no fraction. */
MEMPLAN_INLINE float memplan_round(float value) {
    const float most = 8388608.0f;
    if (value >= 0.0f) {
        return value < most ? (value + most) - most : value;
    }
    return value > -most ? (value - most) + most : value;
}

#endif
