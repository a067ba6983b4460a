#include "pooling.h"

#include "pool_window.h"

void memplan_average_pool(const struct memplan_pool *g, const float *x, float *y) {
    for (int32_t plane = 0; plane < g->planes; ++plane) {
        for (int32_t oy = 0; oy < g->output_height; ++oy) {
            for (int32_t ox = 0; ox < g->output_width; ++ox) {
                const struct memplan_pool_window w = memplan_pool_window(g, oy, ox);
                float sum = 0.0f;
                for (int32_t iy = w.top; iy < w.bottom; ++iy) {
                    for (int32_t ix = w.left; ix < w.right; ++ix) {
                        sum += x[iy * g->input_width + ix];
                    }
                }
                *y++ = sum / w.divisor;
            }
        }
        x += g->input_height * g->input_width;
    }
}

void memplan_average_pool_gradient(const struct memplan_pool *g, const float *gy, float *gx) {
    for (int32_t plane = 0; plane < g->planes; ++plane) {
        for (int32_t i = 0; i < g->input_height * g->input_width; ++i) {
            gx[i] = 0.0f;
        }
        for (int32_t oy = 0; oy < g->output_height; ++oy) {
            for (int32_t ox = 0; ox < g->output_width; ++ox) {
                const struct memplan_pool_window w = memplan_pool_window(g, oy, ox);
                const float share = *gy++ / w.divisor;
                for (int32_t iy = w.top; iy < w.bottom; ++iy) {
                    for (int32_t ix = w.left; ix < w.right; ++ix) {
                        gx[iy * g->input_width + ix] += share;
                    }
                }
            }
        }
        gx += g->input_height * g->input_width;
    }
}

/* Largest element of a window, and its position. */
static float largest(const struct memplan_pool *g, const float *x, int32_t oy, int32_t ox,
                     int32_t *position) {
    float best = -__builtin_inff();
    int found = 0;
    for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
        const int32_t iy = oy * g->stride_y - g->padding_y + ky * g->dilation_y;
        if (iy < 0 || iy >= g->input_height) {
            continue;
        }
        for (int32_t kx = 0; kx < g->kernel_width; ++kx) {
            const int32_t ix = ox * g->stride_x - g->padding_x + kx * g->dilation_x;
            if (ix < 0 || ix >= g->input_width) {
                continue;
            }
            const float value = x[iy * g->input_width + ix];
            if (!found || value > best || value != value) {
                best = value;
                *position = ky * g->kernel_width + kx;
                found = 1;
            }
        }
    }
    return best;
}

void memplan_max_pool(const struct memplan_pool *g, const float *x, float *y) {
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

void memplan_max_pool_positions(const struct memplan_pool *g, const float *x, uint8_t *positions) {
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

void memplan_max_pool_gradient(const struct memplan_pool *g, const float *gy,
                               const uint8_t *positions, float *gx) {
    for (int32_t plane = 0; plane < g->planes; ++plane) {
        for (int32_t i = 0; i < g->input_height * g->input_width; ++i) {
            gx[i] = 0.0f;
        }
        for (int32_t oy = 0; oy < g->output_height; ++oy) {
            for (int32_t ox = 0; ox < g->output_width; ++ox) {
                const int32_t position = *positions++;
                const int32_t ky = position / g->kernel_width;
                const int32_t kx = position - ky * g->kernel_width;
                const int32_t iy = oy * g->stride_y - g->padding_y + ky * g->dilation_y;
                const int32_t ix = ox * g->stride_x - g->padding_x + kx * g->dilation_x;
                gx[iy * g->input_width + ix] += *gy++;
            }
        }
        gx += g->input_height * g->input_width;
    }
}
