/* Updates of integers by gradients of the real parameters they stand for. */
#ifndef MEMPLAN_INT8_UPDATE_H
#define MEMPLAN_INT8_UPDATE_H

#include "channels.h"

struct memplan_sgd_int8 {
    float learning_rate;
    /* A unit of row o is scales[o] * factor in real numbers. */
    float factor;
    /* Quantization-aware: the step of an integer is learning_rate * gradient / unit, else
     * learning_rate * gradient * unit. */
    int32_t scaling;
};

/* w -= step, rounded half to even, within [-127, 127]; dense rows of `row` elements.
 * `rows` says which of the scales they have; `w` and `gradient` begin with the first of them. */
void memplan_sgd_int8(const struct memplan_sgd_int8 *g, const float *scales,
                      const struct memplan_channels *rows, int32_t row, int8_t *w,
                      const float *gradient);

/* The same of a bias, within [-2^30, 2^30]. */
void memplan_sgd_int32(const struct memplan_sgd_int8 *g, const float *scales,
                       const struct memplan_channels *rows, int32_t row, int32_t *w,
                       const float *gradient);

#endif
