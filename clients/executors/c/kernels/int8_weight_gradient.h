/* Gradient of the weights of convolutions of int8 images: float32, in real numbers.
 *
 * Images and their gradients have any strides.  The real input is (x - zero_point) * scale, and 0
 * where it is padding. */
#ifndef MEMPLAN_INT8_WEIGHT_GRADIENT_H
#define MEMPLAN_INT8_WEIGHT_GRADIENT_H

#include "channels.h"
#include "convolution.h"

struct memplan_int8_image {
    const int8_t *x;
    float scale;
    int32_t zero_point;
};

/* Gradient of the weights between these output channels and these input channels of each group,
 * as memplan_convolution_weight_gradient. */
void memplan_conv_int8_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                       const struct memplan_int8_image *image,
                                       const struct memplan_channels *outputs,
                                       const struct memplan_channels *inputs, float *gw);

/* Of the kernels of chosen channels, as memplan_depthwise_weight_gradient. */
void memplan_depthwise_int8_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                            const struct memplan_int8_image *image,
                                            const struct memplan_channels *in_gy,
                                            const struct memplan_channels *in_x, float *gw);

#endif
