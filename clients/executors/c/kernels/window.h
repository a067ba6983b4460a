/* Sums over windows of images: what convolutions and the gradients of their inputs share. */
#ifndef MEMPLAN_WINDOW_H
#define MEMPLAN_WINDOW_H

#include "weight.h"

/* The part of a kernel that meets one pixel, and where; all in elements. */
struct memplan_window {
    /* Elements of the kernel: rows and columns, the first one's place, and steps to the next. */
    int32_t rows, columns;
    int32_t kernel_first, kernel_row, kernel_column;
    /* What they meet in the image: the first, and steps to the next. */
    int32_t image_first, image_row, image_column;
    /* Channels that are summed over, and the step from one to the next. */
    int32_t channels, image_channel;
    /* To the neighbouring pixel of the image. */
    int32_t image_next;
};

/* Kernels [result channel][summed channel], each `size` elements. */
struct memplan_window_weight {
    const struct memplan_split_weight *weight;
    int32_t result_step, channel_step;
    /* For a split weight: number of the first output and input channel, the input channels of an
     * output, the size of a kernel, and whether result channels are outputs (else inputs). */
    int32_t first_output, first_input, inputs, size, results_are_outputs;
};

/* sums[t] += the window of the image with the kernels of result channel r + t, for `count` of 1 or
 * 4 channels at one pixel. */
void memplan_window_channels(const struct memplan_window *v, const struct memplan_window_weight *w,
                             const float *image, int32_t r, int32_t count, float *sums);

/* sums[4 t + p] += the same at four neighbouring pixels p that meet the whole window, for `count`
 * of 1 or 2 channels. */
void memplan_window_pixels(const struct memplan_window *v, const struct memplan_window_weight *w,
                           const float *image, int32_t r, int32_t count, float *sums);

#endif
