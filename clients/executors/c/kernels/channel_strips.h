/* The backward pass of an expanding pointwise, a depthwise and a projecting pointwise convolution
 * with clamps between them, one channel at a time: the wide gradients never exist whole.
 *
 * Gradients are float32; each weight and x are float32 or int8.
 */
#ifndef MEMPLAN_CHANNEL_STRIPS_H
#define MEMPLAN_CHANNEL_STRIPS_H

#include "channel_strips_depthwise.h"
#include "weight.h"

/* A weight, `real` or else `integers` times the scale of their row (the first dimension). */
struct memplan_strips_weight {
    const struct memplan_split_weight *real;
    const struct memplan_split_int8 *integers;
    const float *scales;
};

/* Of a block; what is narrow has `outputs` channels behind it and `inputs` before it. */
struct memplan_strips {
    int32_t samples, outputs, channels, inputs;
    /* Channels of x, which may be some of the inputs; 0: no gradient of the expanding weight. */
    int32_t saved;
    struct memplan_strips_window window;
    /* gy is `lines` lines of `pixels` pixels: where its rows follow each other, one line; where all
     * pixels are the same (the gradient of a mean), one pixel.  Steps in elements. */
    int32_t lines, pixels;
    int32_t gy_sample, gy_channel, gy_line, gy_pixel;
    /* Places in the workspace: of the gradient behind the depthwise convolution (its input's is at
     * 0), and of a row of the expanding weight's gradient. */
    int32_t plane, row;
    /* An int8 x is (x - x_zero_point) * x_scale; a scale of 0: x is float32. */
    float x_scale;
    int32_t x_zero_point;
};

struct memplan_strips_operands {
    const float *gy;
    /* [outputs][channels], [channels][kernel], [channels][inputs]. */
    struct memplan_strips_weight project, depthwise, expand;
    /* Where a gradient passes behind the depthwise convolution, and before it: one bit per element
     * of [channels][rows][columns], samples begin with a byte; NULL: everywhere. */
    const uint8_t *depthwise_bits, *expand_bits;
    /* [samples][saved][rows][columns], or NULL. */
    const void *x;
    float *workspace;
    /* [samples][inputs][rows][columns] */
    float *gx;
};

/* Gradients of one channel's two biases. */
struct memplan_strips_biases {
    float depthwise, expand;
};

/* Add one channel's part of gx; the first channel, 0, begins it.  Row `channel` of the expanding
 * weight's gradient ([saved]) is in the workspace then.  No later channel reads the weights of this
 * one: they may be updated between the calls. */
struct memplan_strips_biases memplan_channel_strip(const struct memplan_strips *g,
                                                   const struct memplan_strips_operands *v,
                                                   int32_t channel);

#endif
