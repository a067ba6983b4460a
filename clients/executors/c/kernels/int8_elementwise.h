/* Functions of single int8 elements; the plan's own code loops over them. */
#ifndef MEMPLAN_INT8_ELEMENTWISE_H
#define MEMPLAN_INT8_ELEMENTWISE_H

#include "fixed_point.h"
#include "rounding.h"

/* A real number as an int8; `scale` is the size of a unit. */
MEMPLAN_INLINE int8_t memplan_quantize(float x, float scale, const struct memplan_int8_range *range) {
    const float value = memplan_round(x / scale) + (float)range->zero_point;
    /* In this order NaN gives the lowest. */
    return (int8_t)(value >= (float)range->low
                        ? value <= (float)range->high ? (int32_t)value : range->high
                        : range->low);
}

MEMPLAN_INLINE float memplan_dequantize(int8_t x, float scale, int32_t zero_point) {
    return (float)(x - zero_point) * scale;
}

/* A sum of two rescaled operands, rounded once; 32 bits hold every intermediate value. */
struct memplan_add_int8 {
    int32_t a_zero_point, b_zero_point;
    int32_t a_multiplier, b_multiplier, shift;
    struct memplan_int8_range y;
};

MEMPLAN_INLINE int8_t memplan_add_int8(const struct memplan_add_int8 *g, int8_t a, int8_t b) {
    const int32_t sum =
        (a - g->a_zero_point) * g->a_multiplier + (b - g->b_zero_point) * g->b_multiplier;
    return memplan_to_int8((sum + (1 << (g->shift - 1))) >> g->shift, &g->y);
}

/* Where y lies between the limits, the gradient passes. */
MEMPLAN_INLINE float memplan_range_gradient(float gy, int8_t y, int32_t low, int32_t high) {
    return y > low && y < high ? gy : 0.0f;
}

#endif
