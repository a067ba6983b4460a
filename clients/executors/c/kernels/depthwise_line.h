/* One row of one channel of a depthwise convolution: of planes, and of rows that each lie somewhere. */
#ifndef MEMPLAN_DEPTHWISE_LINE_H
#define MEMPLAN_DEPTHWISE_LINE_H

#include "convolution.h"
#include "meeting.h"

/* The channel's `kernel` on rows [first, last) of the window, from `start`.  `apart` is a constant
 * where this is called: row ky of the window is `lines[ky] + place`; else it is `image + place + ky *
 * step`. */
MEMPLAN_INLINE void memplan_depthwise_line(const struct memplan_convolution *g, const float *kernel,
                                           float start, const float *image,
                                           const float *const *lines, const int apart,
                                           int32_t place, int32_t step, int32_t first, int32_t last,
                                           float *y) {
    /* Outputs [inner, outer) do not reach over the left or right edge. */
    const int32_t inner = ceiling(g->padding_x, g->stride_x);
    const int32_t room = g->input_width + g->padding_x - (g->kernel_width - 1) * g->dilation_x;
    const int32_t outer = smaller(g->output_width, ceiling(room, g->stride_x));
    const int32_t next = g->stride_x * g->input.pixel;
    const int32_t column = g->dilation_x * g->input.pixel;
    int32_t ox = 0;
    while (ox < g->output_width) {
        const int32_t left = ox * g->stride_x - g->padding_x;
        if (ox >= inner && ox + 4 <= outer) {
            float sum0 = start, sum1 = start, sum2 = start, sum3 = start;
            const float *factors = kernel + first * g->kernel_width;
            for (int32_t ky = first; ky < last; ++ky) {
                const int32_t corner = place + left * g->input.pixel;
                const float *from = apart ? lines[ky] + corner : image + (corner + ky * step);
                for (int32_t kx = 0; kx < g->kernel_width; ++kx) {
                    const float factor = *factors++;
                    sum0 += factor * from[0];
                    sum1 += factor * from[next];
                    sum2 += factor * from[2 * next];
                    sum3 += factor * from[3 * next];
                    from += column;
                }
            }
            y[0] = sum0;
            y[g->output.pixel] = sum1;
            y[2 * g->output.pixel] = sum2;
            y[3 * g->output.pixel] = sum3;
            y += 4 * g->output.pixel;
            ox += 4;
        } else {
            float sum = start;
            const int32_t begin = left < 0 ? ceiling(-left, g->dilation_x) : 0;
            const int32_t end =
                smaller(g->kernel_width, ceiling(g->input_width - left, g->dilation_x));
            for (int32_t ky = first; ky < last; ++ky) {
                const float *from = apart ? lines[ky] + place : image + (place + ky * step);
                for (int32_t kx = begin; kx < end; ++kx) {
                    sum += kernel[ky * g->kernel_width + kx] *
                           from[left * g->input.pixel + kx * column];
                }
            }
            *y = sum;
            y += g->output.pixel;
            ox += 1;
        }
    }
}

#endif
