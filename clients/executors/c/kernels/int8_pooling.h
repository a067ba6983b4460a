/* Averages and maxima of int8 elements. */
#ifndef MEMPLAN_INT8_POOLING_H
#define MEMPLAN_INT8_POOLING_H

#include "fixed_point.h"
#include "pooling.h"
#include "reduction.h"

/* requantize(sum of (x - x_zero_point)); the multiplier has the divisor in it. */
struct memplan_mean_int8 {
    int32_t x_zero_point;
    int32_t multiplier, shift;
    struct memplan_int8_range y;
};

/* Over dimensions of a tensor. */
void memplan_mean_int8(const struct memplan_reduction *g, const struct memplan_mean_int8 *mean,
                       const int8_t *x, int8_t *y);
/* Over windows; padding adds nothing. */
void memplan_average_pool_int8(const struct memplan_pool *g, const struct memplan_mean_int8 *mean,
                               const int8_t *x, int8_t *y);

/* Padding is never the maximum; of equal values the first is. */
void memplan_max_pool_int8(const struct memplan_pool *g, const int8_t *x, int8_t *y);
void memplan_max_pool_positions_int8(const struct memplan_pool *g, const int8_t *x,
                                     uint8_t *positions);

#endif
