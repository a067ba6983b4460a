/* Convolutions over two dimensions (one dimension: height 1) and their gradients, float32.
 *
 * Tensors are [samples][channels][height][width] with any strides, weights
 * [outputs][inputs / groups][kernel_height][kernel_width], dense.
 */
#ifndef MEMPLAN_CONVOLUTION_H
#define MEMPLAN_CONVOLUTION_H

#include "channels.h"
#include "weight.h"

/* Strides of an image tensor, in elements. */
struct memplan_image_strides {
    int32_t sample, channel, row, pixel;
};

struct memplan_convolution {
    int32_t samples;
    int32_t inputs, input_height, input_width;
    int32_t outputs, output_height, output_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
    int32_t groups;
    /* Of the input or its gradient, and of the output or its gradient. */
    struct memplan_image_strides input, output;
};

/* y = bias + w * x.  `bias` may be NULL. */
void memplan_convolution(const struct memplan_convolution *g, const float *x,
                         const struct memplan_split_weight *w, const float *bias, float *y);

/* Gradient of x, which is also a transposed convolution of gy; its `bias` may be NULL. */
void memplan_convolution_input_gradient(const struct memplan_convolution *g, const float *gy,
                                        const struct memplan_split_weight *w, const float *bias,
                                        float *gx);

/* Gradient of the weights between these output channels and these input channels of each group,
 * dense [outputs][inputs][kernel].  `x` may be a tensor of chosen channels only: then
 * `g->inputs` counts these. */
void memplan_convolution_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                         const float *x, const struct memplan_channels *outputs,
                                         const struct memplan_channels *inputs, float *gw);

#endif
