#include "row_convolution.h"

#include "depthwise_line.h"
#include "window_add.h"

/* Rows [first, last) of the kernel are not padding. */
struct inside {
    int32_t first, last;
};

static struct inside inside_of(const struct memplan_convolution *g, const float *const *lines) {
    struct inside found = {0, g->kernel_height};
    while (found.first < found.last && lines[found.first] == NULL) {
        ++found.first;
    }
    while (found.last > found.first && lines[found.last - 1] == NULL) {
        --found.last;
    }
    return found;
}

/* Two channels at four pixels, or four at one: few shapes of the loops, each in registers. */
static void add(const struct memplan_window *v, const struct memplan_window_weight *w,
                const float *const *lines, int32_t r, int32_t together, int32_t pixels,
                float *sums) {
    if (pixels == 4 && together == 2) {
        memplan_window_add(v, w, NULL, lines, 1, r, 2, 4, 1, sums);
    } else if (pixels == 4) {
        memplan_window_add(v, w, NULL, lines, 1, r, 1, 4, 1, sums);
    } else if (together == 4) {
        memplan_window_add(v, w, NULL, lines, 1, r, 4, 1, 1, sums);
    } else {
        memplan_window_add(v, w, NULL, lines, 1, r, 1, 1, 1, sums);
    }
}

/* All result channels of a group at one pixel, or at four neighbours that meet the same window. */
static void results(const struct memplan_window *v, const struct memplan_window_weight *w,
                    const float *const *lines, int32_t count, int32_t pixels, const float *bias,
                    float *y, const struct memplan_image_strides *strides) {
    const int32_t most = pixels == 4 ? 2 : 4;
    for (int32_t r = 0, together; r < count; r += together) {
        together = r + most <= count ? most : 1;
        float sums[8];
        for (int32_t i = 0; i < together * pixels; ++i) {
            sums[i] = bias != NULL ? bias[r + i / pixels] : 0.0f;
        }
        add(v, w, lines, r, together, pixels, sums);
        for (int32_t i = 0; i < together * pixels; ++i) {
            y[(r + i / pixels) * strides->channel + i % pixels * strides->pixel] = sums[i];
        }
    }
}

void memplan_convolution_row(const struct memplan_convolution *g, const float *const *lines,
                             const struct memplan_split_weight *w, const float *bias, float *y) {
    const int32_t inputs = g->inputs / g->groups, outputs = g->outputs / g->groups;
    const int32_t size = g->kernel_height * g->kernel_width;
    const struct inside rows = inside_of(g, lines);
    /* Outputs [inner, outer) do not reach over the left or right edge. */
    const int32_t inner = ceiling(g->padding_x, g->stride_x);
    const int32_t room = g->input_width + g->padding_x - (g->kernel_width - 1) * g->dilation_x;
    const int32_t outer = smaller(g->output_width, ceiling(room, g->stride_x));
    for (int32_t group = 0; group < g->groups; ++group) {
        const struct memplan_window_weight weight = {
            w, inputs * size, size, group * outputs, 0, inputs, size, 1};
        int32_t ox = 0;
        while (ox < g->output_width) {
            const int32_t pixels = ox >= inner && ox + 4 <= outer ? 4 : 1;
            const int32_t left = ox * g->stride_x - g->padding_x;
            const int32_t first = left < 0 ? ceiling(-left, g->dilation_x) : 0;
            const int32_t last =
                smaller(g->kernel_width, ceiling(g->input_width - left, g->dilation_x));
            const struct memplan_window v = {
                .rows = rows.last - rows.first,
                .columns = last - first,
                .kernel_first = rows.first * g->kernel_width + first,
                .kernel_row = g->kernel_width,
                .kernel_column = 1,
                .image_first = group * inputs * g->input.channel +
                               (left + first * g->dilation_x) * g->input.pixel,
                .image_column = g->dilation_x * g->input.pixel,
                .channels = last > first ? inputs : 0,
                .image_channel = g->input.channel,
                .image_next = g->stride_x * g->input.pixel,
            };
            results(&v, &weight, lines + rows.first, outputs, pixels,
                    bias != NULL ? bias + group * outputs : NULL,
                    y + group * outputs * g->output.channel + ox * g->output.pixel, &g->output);
            ox += pixels;
        }
    }
}

void memplan_depthwise_row(const struct memplan_convolution *g, const float *const *lines,
                           const struct memplan_split_weight *w, const float *bias, float *y) {
    const struct inside rows = inside_of(g, lines);
    for (int32_t c = 0; c < g->outputs; ++c) {
        const float *kernel = memplan_weight_kernel(w, c, 0, 1, g->kernel_height * g->kernel_width);
        memplan_depthwise_line(g, kernel, bias != NULL ? bias[c] : 0.0f, NULL, lines, 1,
                               c * g->input.channel, 0, rows.first, rows.last,
                               y + c * g->output.channel);
    }
}
