/* Convolutions of int8 images with int8 weights, in exact integer arithmetic.
 *
 * y = requantize(bias[o] + sum of (x - x_zero_point) * w), with a factor per output channel;
 * padding adds nothing.  Results are the same bits everywhere.  Images are
 * [samples][channels][height][width], weights [outputs][inputs / groups][kernel_height]
 * [kernel_width], dense.
 */
#ifndef MEMPLAN_INT8_CONVOLUTION_H
#define MEMPLAN_INT8_CONVOLUTION_H

#include "convolution.h"
#include "fixed_point.h"

struct memplan_conv_int8 {
    /* Pixels of a row are neighbours: the strides of a pixel are 1. */
    struct memplan_convolution shape;
    int32_t x_zero_point;
    struct memplan_int8_range y;
};

/* What a convolution multiplies and rescales with. */
struct memplan_conv_int8_weights {
    struct memplan_split_int8 weight;
    /* One per output channel; `bias` may be NULL. */
    const int32_t *bias;
    const int32_t *multipliers;
    const int8_t *shifts;
};

void memplan_conv_int8(const struct memplan_conv_int8 *g, const struct memplan_conv_int8_weights *w,
                       const int8_t *x, int8_t *y);

/* One row of the result, all channels.
 *
 * rows: for each row of the kernel the row of the image that it meets, first pixel of the first
 *   channel; NULL: padding.
 * x_channel, y_channel: from a channel to the next, in elements.  Samples, heights and strides of
 *   `g->shape` are not looked at. */
void memplan_conv_int8_row(const struct memplan_conv_int8 *g,
                           const struct memplan_conv_int8_weights *w, const int8_t *const *rows,
                           int32_t x_channel, int8_t *y, int32_t y_channel);

/* Most rows of a kernel. */
#define MEMPLAN_CONV_INT8_MOST_ROWS 32

#endif
