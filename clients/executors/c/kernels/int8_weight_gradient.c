#include "int8_weight_gradient.h"

#include "overlap.h"

/* sums[2 t + u] += one row of gy, channel t, times the row of x that it meets, channel u, zero
 * points taken off.  `gy_count` of 1 or 4 and `x_count` of 1 or 2 are constants where this is
 * called. */
MEMPLAN_INLINE void line(const float *const *gy, const int gy_count, int32_t gy_step,
                         const int8_t *const *x, const int x_count, int32_t x_step,
                         int32_t zero_point, int32_t width, float *sums) {
    const float *g0 = gy[0], *g1 = g0, *g2 = g0, *g3 = g0;
    const int8_t *x0 = x[0], *x1 = x0;
    float a0 = 0.0f, a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
    float b0 = 0.0f, b1 = 0.0f, b2 = 0.0f, b3 = 0.0f;
    if (gy_count == 4) {
        g1 = gy[1], g2 = gy[2], g3 = gy[3];
    }
    if (x_count == 2) {
        x1 = x[1];
    }
    for (int32_t i = 0; i < width; ++i) {
        const float u = (float)(*x0 - zero_point);
        const float v = x_count == 2 ? (float)(*x1 - zero_point) : 0.0f;
        a0 += *g0 * u;
        if (x_count == 2) {
            b0 += *g0 * v;
        }
        if (gy_count == 4) {
            a1 += *g1 * u, a2 += *g2 * u, a3 += *g3 * u;
            if (x_count == 2) {
                b1 += *g1 * v, b2 += *g2 * v, b3 += *g3 * v;
            }
            g1 += gy_step, g2 += gy_step, g3 += gy_step;
        }
        g0 += gy_step, x0 += x_step, x1 += x_step;
    }
    sums[0] += a0, sums[1] += b0;
    if (gy_count == 4) {
        sums[2] += a1, sums[3] += b1, sums[4] += a2, sums[5] += b2, sums[6] += a3, sums[7] += b3;
    }
}

/* Sums over all pixels, `gy` and `x` being the channels' first pixels. */
static void correlate(const struct memplan_convolution *g, const struct overlap *v,
                      const float *const *gy, int32_t gy_count, const int8_t *const *x,
                      int32_t x_count, int32_t zero_point, float *sums) {
    const int32_t step = g->output.pixel, next = g->stride_x * g->input.pixel;
    for (int32_t i = 0; i < 8; ++i) {
        sums[i] = 0.0f;
    }
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t oy = v->top; oy < v->bottom; ++oy) {
            const int32_t from = n * g->output.sample + oy * g->output.row + v->left * step;
            const int32_t met = n * g->input.sample +
                                (oy * g->stride_y + v->down) * g->input.row +
                                (v->left * g->stride_x + v->right) * g->input.pixel;
            const float *rows[4] = {gy[0] + from};
            const int8_t *lines[2] = {x[0] + met};
            for (int32_t t = 1; t < gy_count; ++t) {
                rows[t] = gy[t] + from;
            }
            if (x_count == 2) {
                lines[1] = x[1] + met;
            }
            if (gy_count == 4 && x_count == 2) {
                line(rows, 4, step, lines, 2, next, zero_point, v->width, sums);
            } else if (gy_count == 4) {
                line(rows, 4, step, lines, 1, next, zero_point, v->width, sums);
            } else if (x_count == 2) {
                line(rows, 1, step, lines, 2, next, zero_point, v->width, sums);
            } else {
                line(rows, 1, step, lines, 1, next, zero_point, v->width, sums);
            }
        }
    }
}

void memplan_conv_int8_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                       const struct memplan_int8_image *image,
                                       const struct memplan_channels *outputs,
                                       const struct memplan_channels *inputs, float *gw) {
    const int32_t group_inputs = g->inputs / g->groups, group_outputs = g->outputs / g->groups;
    const int32_t size = g->kernel_height * g->kernel_width, row = inputs->count * size;
    int32_t r = 0;
    while (r < outputs->count) {
        const int32_t group = memplan_channel(outputs, r) / group_outputs;
        /* Four output channels of one group see the same inputs. */
        const int32_t together =
            r + 4 <= outputs->count && memplan_channel(outputs, r + 3) / group_outputs == group
                ? 4
                : 1;
        const float *from[4];
        for (int32_t t = 0; t < together; ++t) {
            from[t] = gy + memplan_channel(outputs, r + t) * g->output.channel;
        }
        for (int32_t c = 0; c < inputs->count; c += 2) {
            const int32_t wide = smaller(2, inputs->count - c);
            const int8_t *met[2];
            for (int32_t t = 0; t < wide; ++t) {
                met[t] = image->x + (group * group_inputs + memplan_channel(inputs, c + t)) *
                                        g->input.channel;
            }
            for (int32_t k = 0; k < size; ++k) {
                const struct overlap v = overlap_of(g, k / g->kernel_width, k % g->kernel_width);
                float sums[8];
                correlate(g, &v, from, together, met, wide, image->zero_point, sums);
                for (int32_t t = 0; t < together; ++t) {
                    for (int32_t u = 0; u < wide; ++u) {
                        gw[(r + t) * row + (c + u) * size + k] = sums[2 * t + u] * image->scale;
                    }
                }
            }
        }
        r += together;
    }
}

void memplan_depthwise_int8_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                            const struct memplan_int8_image *image,
                                            const struct memplan_channels *in_gy,
                                            const struct memplan_channels *in_x, float *gw) {
    const int32_t size = g->kernel_height * g->kernel_width;
    for (int32_t c = 0; c < in_gy->count; ++c) {
        const float *from = gy + memplan_channel(in_gy, c) * g->output.channel;
        const int8_t *met = image->x + memplan_channel(in_x, c) * g->input.channel;
        for (int32_t k = 0; k < size; ++k) {
            const struct overlap v = overlap_of(g, k / g->kernel_width, k % g->kernel_width);
            float sums[8];
            correlate(g, &v, &from, 1, &met, 1, image->zero_point, sums);
            *gw++ = sums[0] * image->scale;
        }
    }
}
