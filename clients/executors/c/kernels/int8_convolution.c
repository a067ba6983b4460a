#include "int8_convolution.h"

#include "int8_depthwise.h"
#include "int8_pointwise.h"
#include "int8_window.h"

void memplan_conv_int8_row(const struct memplan_conv_int8 *g,
                           const struct memplan_conv_int8_weights *w, const int8_t *const *rows,
                           int32_t x_channel, int8_t *y, int32_t y_channel) {
    const struct memplan_convolution *s = &g->shape;
    if (s->kernel_height * s->kernel_width * s->groups * s->stride_x == 1 && s->padding_x == 0 &&
        rows[0] != NULL) {
        memplan_int8_pointwise_row(g, w, rows[0], x_channel, y, y_channel);
    } else if (memplan_int8_depthwise_does(s)) {
        memplan_int8_depthwise_row(g, w, rows, x_channel, y, y_channel);
    } else {
        memplan_int8_window_row(g, w, rows, x_channel, y, y_channel);
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
