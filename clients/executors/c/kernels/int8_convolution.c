#include "int8_convolution.h"

#include "meeting.h"

/* Sum of one output channel at one pixel, columns of padding left out. */
static int32_t sum_at(const struct memplan_conv_int8 *g, const struct memplan_split_int8 *w,
                      const int8_t *const *rows, int32_t x_channel, int32_t o, int32_t ox) {
    const struct memplan_convolution *s = &g->shape;
    const int32_t inputs = s->inputs / s->groups;
    const int32_t first = o / (s->outputs / s->groups) * inputs;
    const int32_t left = ox * s->stride_x - s->padding_x;
    const int32_t begin = left < 0 ? ceiling(-left, s->dilation_x) : 0;
    const int32_t end = smaller(s->kernel_width, ceiling(s->input_width - left, s->dilation_x));
    int32_t sum = 0;
    for (int32_t c = 0; c < inputs; ++c) {
        const int8_t *kernel =
            memplan_int8_kernel(w, o, c, inputs, s->kernel_height * s->kernel_width);
        for (int32_t ky = 0; ky < s->kernel_height; ++ky) {
            if (rows[ky] == NULL) {
                continue;
            }
            const int8_t *x = rows[ky] + (first + c) * x_channel + left;
            for (int32_t kx = begin; kx < end; ++kx) {
                sum += kernel[ky * s->kernel_width + kx] * (x[kx * s->dilation_x] - g->x_zero_point);
            }
        }
    }
    return sum;
}

void memplan_conv_int8_row(const struct memplan_conv_int8 *g,
                           const struct memplan_conv_int8_weights *w, const int8_t *const *rows,
                           int32_t x_channel, int8_t *y, int32_t y_channel) {
    const struct memplan_convolution *s = &g->shape;
    for (int32_t o = 0; o < s->outputs; ++o) {
        const int32_t start = w->bias != NULL ? w->bias[o] : 0;
        for (int32_t ox = 0; ox < s->output_width; ++ox) {
            const int32_t sum = start + sum_at(g, &w->weight, rows, x_channel, o, ox);
            y[o * y_channel + ox] = memplan_requantize(sum, w->multipliers[o], w->shifts[o], &g->y);
        }
    }
}

void memplan_conv_int8(const struct memplan_conv_int8 *g, const struct memplan_conv_int8_weights *w,
                       const int8_t *x, int8_t *y) {
    const struct memplan_convolution *s = &g->shape;
    const int8_t *rows[MEMPLAN_CONV_INT8_MOST_ROWS];
    for (int32_t n = 0; n < s->samples; ++n) {
        for (int32_t oy = 0; oy < s->output_height; ++oy) {
            for (int32_t ky = 0; ky < s->kernel_height; ++ky) {
                const int32_t iy = oy * s->stride_y - s->padding_y + ky * s->dilation_y;
                rows[ky] = iy < 0 || iy >= s->input_height
                               ? NULL
                               : x + n * s->input.sample + iy * s->input.row;
            }
            memplan_conv_int8_row(g, w, rows, s->input.channel,
                                  y + n * s->output.sample + oy * s->output.row,
                                  s->output.channel);
        }
    }
}
