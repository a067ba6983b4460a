#include "int8_pooling.h"

static int32_t sum_of(const struct memplan_reduction *g, const int8_t *x) {
    int32_t total = 0;
    for (int32_t i = 0; i < g->summed[0]; ++i) {
        for (int32_t j = 0; j < g->summed[1]; ++j) {
            const int8_t *from = x + i * g->summed_stride[0] + j * g->summed_stride[1];
            for (int32_t k = 0; k < g->summed[2]; ++k) {
                total += *from;
                from += g->summed_stride[2];
            }
        }
    }
    return total;
}

void memplan_mean_int8(const struct memplan_reduction *g, const struct memplan_mean_int8 *mean,
                       const int8_t *x, int8_t *y) {
    const int32_t count = g->summed[0] * g->summed[1] * g->summed[2];
    for (int32_t i = 0; i < g->kept[0]; ++i) {
        for (int32_t j = 0; j < g->kept[1]; ++j) {
            for (int32_t k = 0; k < g->kept[2]; ++k) {
                const int32_t sum = sum_of(g, x + i * g->kept_stride[0] + j * g->kept_stride[1] +
                                                  k * g->kept_stride[2]);
                *y++ = memplan_requantize(sum - count * mean->x_zero_point, mean->multiplier,
                                          mean->shift, &mean->y);
            }
        }
    }
}

/* Places [first, last) of a window that begins at `start` and lie in the image. */
struct places {
    int32_t first, last;
};

static struct places places_of(int32_t start, int32_t kernel, int32_t dilation, int32_t size) {
    struct places found = {0, kernel};
    while (found.first < kernel && start + found.first * dilation < 0) {
        ++found.first;
    }
    while (found.last > found.first && start + (found.last - 1) * dilation >= size) {
        --found.last;
    }
    return found;
}

void memplan_average_pool_int8(const struct memplan_pool *g, const struct memplan_mean_int8 *mean,
                               const int8_t *x, int8_t *y) {
    for (int32_t plane = 0; plane < g->planes; ++plane) {
        for (int32_t oy = 0; oy < g->output_height; ++oy) {
            const int32_t top = oy * g->stride_y - g->padding_y;
            const struct places rows = places_of(top, g->kernel_height, 1, g->input_height);
            for (int32_t ox = 0; ox < g->output_width; ++ox) {
                const int32_t left = ox * g->stride_x - g->padding_x;
                const struct places columns = places_of(left, g->kernel_width, 1, g->input_width);
                int32_t sum = 0;
                for (int32_t ky = rows.first; ky < rows.last; ++ky) {
                    const int8_t *row = x + (top + ky) * g->input_width + left;
                    for (int32_t kx = columns.first; kx < columns.last; ++kx) {
                        sum += row[kx] - mean->x_zero_point;
                    }
                }
                *y++ = memplan_requantize(sum, mean->multiplier, mean->shift, &mean->y);
            }
        }
        x += g->input_height * g->input_width;
    }
}

/* Largest element of a window, and its position. */
static int8_t largest(const struct memplan_pool *g, const int8_t *x, int32_t oy, int32_t ox,
                      int32_t *position) {
    const int32_t top = oy * g->stride_y - g->padding_y;
    const int32_t left = ox * g->stride_x - g->padding_x;
    const struct places rows = places_of(top, g->kernel_height, g->dilation_y, g->input_height);
    const struct places columns = places_of(left, g->kernel_width, g->dilation_x, g->input_width);
    int32_t best = INT8_MIN - 1;
    for (int32_t ky = rows.first; ky < rows.last; ++ky) {
        const int8_t *row = x + (top + ky * g->dilation_y) * g->input_width;
        for (int32_t kx = columns.first; kx < columns.last; ++kx) {
            const int32_t value = row[left + kx * g->dilation_x];
            if (value > best) {
                best = value;
                *position = ky * g->kernel_width + kx;
            }
        }
    }
    return (int8_t)best;
}

void memplan_max_pool_int8(const struct memplan_pool *g, const int8_t *x, int8_t *y) {
    for (int32_t plane = 0; plane < g->planes; ++plane) {
        for (int32_t oy = 0; oy < g->output_height; ++oy) {
            for (int32_t ox = 0; ox < g->output_width; ++ox) {
                int32_t position = 0;
                *y++ = largest(g, x, oy, ox, &position);
            }
        }
        x += g->input_height * g->input_width;
    }
}

void memplan_max_pool_positions_int8(const struct memplan_pool *g, const int8_t *x,
                                     uint8_t *positions) {
    for (int32_t plane = 0; plane < g->planes; ++plane) {
        for (int32_t oy = 0; oy < g->output_height; ++oy) {
            for (int32_t ox = 0; ox < g->output_width; ++ox) {
                int32_t position = 0;
                (void)largest(g, x, oy, ox, &position);
                *positions++ = (uint8_t)position;
            }
        }
        x += g->input_height * g->input_width;
    }
}
