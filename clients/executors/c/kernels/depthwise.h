/* Depthwise convolutions, one kernel per channel, and their gradients, float32. */
#ifndef MEMPLAN_DEPTHWISE_H
#define MEMPLAN_DEPTHWISE_H

#include "convolution.h"

/* As memplan_convolution where groups = inputs = outputs. */
void memplan_depthwise(const struct memplan_convolution *g, const float *x,
                       const struct memplan_split_weight *w, const float *bias, float *y);

/* Gradient of x. */
void memplan_depthwise_input_gradient(const struct memplan_convolution *g, const float *gy,
                                      const struct memplan_split_weight *w, float *gx);

/* Gradient of the kernels of chosen channels: `in_gy` says where they are in gy, `in_x` where in
 * x, which may be a tensor of chosen channels only. */
void memplan_depthwise_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                       const float *x, const struct memplan_channels *in_gy,
                                       const struct memplan_channels *in_x, float *gw);

#endif
