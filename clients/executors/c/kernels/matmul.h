/* Matrix products: linear layers, pointwise convolutions, and the gradients of both, float32. */
#ifndef MEMPLAN_MATMUL_H
#define MEMPLAN_MATMUL_H

#include "channels.h"
#include "weight.h"

/* y[n][r][p] = bias[r][p] + sum over c of w[n][r][c] * x[n][c][p]; strides in elements.
 *
 * A pointwise convolution: r output channel, c input channel, p pixel.  Gradient of its input:
 * the same with r and c exchanged.  A linear layer: p is the row of the matrix. */
struct memplan_matmul {
    int32_t samples, rows, columns, pixels;
    int32_t w_sample, w_row, w_column;
    int32_t x_sample, x_column, x_pixel;
    int32_t y_sample, y_row, y_pixel;
    int32_t bias_row, bias_pixel;
    /* Of a partly updated weight: strides of the slice, and whether rows are cut (or columns). */
    int32_t slice_row, slice_column, cuts_rows;
};

/* `bias` may be NULL. */
void memplan_matmul(const struct memplan_matmul *g, const float *x,
                    const struct memplan_split_weight *w, const float *bias, float *y);

/* gw[o][i] = sum over n and p of gy[n][o][p] * x[n][i][p], dense, for chosen channels. */
struct memplan_outer_product {
    int32_t samples, pixels;
    int32_t gy_sample, gy_channel, gy_pixel;
    int32_t x_sample, x_channel, x_pixel;
};

void memplan_outer_product(const struct memplan_outer_product *g, const float *gy, const float *x,
                           const struct memplan_channels *outputs,
                           const struct memplan_channels *inputs, float *gw);

#endif
