/* Average and maximum over windows, and their gradients, float32, dense tensors. */
#ifndef MEMPLAN_POOLING_H
#define MEMPLAN_POOLING_H

#include <stdint.h>

struct memplan_pool {
    /* Samples times channels. */
    int32_t planes;
    int32_t input_height, input_width, output_height, output_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
    /* Average: padding counts as zeros; else it does not count. */
    int32_t counts_padding;
    /* Average: what a sum is divided by; 0: the number of elements. */
    int32_t divisor;
};

void memplan_average_pool(const struct memplan_pool *g, const float *x, float *y);
void memplan_average_pool_gradient(const struct memplan_pool *g, const float *gy, float *gx);

/* Of equal values the first is the maximum, of several NaN the last. */
void memplan_max_pool(const struct memplan_pool *g, const float *x, float *y);
/* Where in its window each maximum stands, row by row. */
void memplan_max_pool_positions(const struct memplan_pool *g, const float *x, uint8_t *positions);
void memplan_max_pool_gradient(const struct memplan_pool *g, const float *gy,
                               const uint8_t *positions, float *gx);

#endif
