/* Gradient of the input of convolutions with int8 weights: float32, in real numbers.
 *
 * Gradients of images have any strides.  The real weight is w * scales[o]. */
#ifndef MEMPLAN_INT8_INPUT_GRADIENT_H
#define MEMPLAN_INT8_INPUT_GRADIENT_H

#include "convolution.h"

struct memplan_scaled_int8 {
    struct memplan_split_int8 weight;
    /* One per output channel. */
    const float *scales;
};

/* Gradient of x. */
void memplan_conv_int8_input_gradient(const struct memplan_convolution *g, const float *gy,
                                      const struct memplan_scaled_int8 *w, float *gx);

/* The same where groups = inputs = outputs. */
void memplan_depthwise_int8_input_gradient(const struct memplan_convolution *g, const float *gy,
                                           const struct memplan_scaled_int8 *w, float *gx);

/* Most elements of a channel's kernel in the function above. */
#define MEMPLAN_DEPTHWISE_INT8_MOST 64

#endif
