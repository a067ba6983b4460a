#include "row_pooling.h"

#include <stddef.h>

#include "pool_window.h"

/* Places [first, last) of a window that lie between the left and the right edge. */
struct reach {
    int32_t left, first, last;
};

static struct reach reach_at(const struct memplan_pool *g, int32_t ox) {
    const int32_t left = ox * g->stride_x - g->padding_x;
    const struct reach found = {
        left, left < 0 ? ceiling(-left, g->dilation_x) : 0,
        smaller(g->kernel_width, ceiling(g->input_width - left, g->dilation_x))};
    return found;
}

void memplan_average_pool_row(const struct memplan_pool *g, const float *const *lines,
                              int32_t x_channel, int32_t oy, float *y, int32_t y_channel) {
    const int32_t top = oy * g->stride_y - g->padding_y;
    for (int32_t ox = 0; ox < g->output_width; ++ox) {
        const struct memplan_pool_window w = memplan_pool_window(g, oy, ox);
        for (int32_t c = 0; c < g->planes; ++c) {
            float sum = 0.0f;
            for (int32_t iy = w.top; iy < w.bottom; ++iy) {
                const float *x = lines[iy - top] + c * x_channel;
                for (int32_t ix = w.left; ix < w.right; ++ix) {
                    sum += x[ix];
                }
            }
            y[c * y_channel + ox] = sum / w.divisor;
        }
    }
}

void memplan_max_pool_row(const struct memplan_pool *g, const float *const *lines,
                          int32_t x_channel, float *y, int32_t y_channel) {
    for (int32_t ox = 0; ox < g->output_width; ++ox) {
        const struct reach r = reach_at(g, ox);
        for (int32_t c = 0; c < g->planes; ++c) {
            float best = -__builtin_inff();
            for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
                for (int32_t kx = r.first; kx < r.last && lines[ky] != NULL; ++kx) {
                    const float value = lines[ky][c * x_channel + r.left + kx * g->dilation_x];
                    /* Of several NaN the last. */
                    best = value > best || value != value ? value : best;
                }
            }
            y[c * y_channel + ox] = best;
        }
    }
}

void memplan_max_pool_int8_row(const struct memplan_pool *g, const int8_t *const *lines,
                               int32_t x_channel, int8_t *y, int32_t y_channel) {
    for (int32_t ox = 0; ox < g->output_width; ++ox) {
        const struct reach r = reach_at(g, ox);
        for (int32_t c = 0; c < g->planes; ++c) {
            int8_t best = INT8_MIN;
            for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
                for (int32_t kx = r.first; kx < r.last && lines[ky] != NULL; ++kx) {
                    const int8_t value = lines[ky][c * x_channel + r.left + kx * g->dilation_x];
                    best = value > best ? value : best;
                }
            }
            y[c * y_channel + ox] = best;
        }
    }
}

void memplan_average_pool_int8_row(const struct memplan_pool *g,
                                   const struct memplan_mean_int8 *mean,
                                   const int8_t *const *lines, int32_t x_channel, int8_t *y,
                                   int32_t y_channel) {
    for (int32_t ox = 0; ox < g->output_width; ++ox) {
        const struct reach r = reach_at(g, ox);
        for (int32_t c = 0; c < g->planes; ++c) {
            int32_t sum = 0;
            for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
                for (int32_t kx = r.first; kx < r.last && lines[ky] != NULL; ++kx) {
                    sum += lines[ky][c * x_channel + r.left + kx] - mean->x_zero_point;
                }
            }
            y[c * y_channel + ox] =
                memplan_requantize(sum, mean->multiplier, mean->shift, &mean->y);
        }
    }
}
