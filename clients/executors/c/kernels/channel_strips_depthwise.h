/* The gradient of a depthwise convolution's input, of one channel, in one plane or in two. */
#ifndef MEMPLAN_CHANNEL_STRIPS_DEPTHWISE_H
#define MEMPLAN_CHANNEL_STRIPS_DEPTHWISE_H

#include <stdint.h>

/* Most rows of a kernel. */
#define MEMPLAN_STRIPS_MOST_ROWS 16

/* How the convolution moves over its input, of height * width, and where a gradient's rows are. */
struct memplan_strips_window {
    int32_t height, width, output_height, output_width;
    int32_t kernel_height, kernel_width, stride_y, stride_x;
    int32_t padding_y, padding_x, dilation_y, dilation_x;
    /* Rows of the ring, from `ring` in the workspace; 0: two planes. */
    int32_t ring_rows, ring;
};

/* A kernel: `real`, or else `integers` times `scale`. */
struct memplan_strips_kernel {
    const float *real;
    const int8_t *integers;
    float scale;
};

/* Gradient of the input from that of the output, `gy`; both dense.  With a ring they are the same
 * plane: a row of gy goes to the ring before it is written over. */
void memplan_strips_depthwise(const struct memplan_strips_window *g,
                              const struct memplan_strips_kernel *kernel, const float *gy,
                              float *ring, float *gx);

#endif
