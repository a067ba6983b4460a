#include "convolution.h"

#include "meeting.h"
#include "overlap.h"
#include "window.h"

/* Places [first, last) of a kernel that lie in the image where the kernel begins at `start`. */
struct reach {
    int32_t first, last;
};

static struct reach reach_of(int32_t start, int32_t kernel, int32_t dilation, int32_t size) {
    const struct reach found = {start < 0 ? ceiling(-start, dilation) : 0,
                                smaller(kernel, ceiling(size - start, dilation))};
    return found;
}

/* Result channels [0, count) at one pixel, or at four neighbours that meet the same window. */
static void results(const struct memplan_window *v, const struct memplan_window_weight *w,
                    const float *image, int32_t count, int32_t pixels, const float *bias, float *y,
                    int32_t channel, int32_t next) {
    int32_t r = 0;
    while (r < count) {
        const int32_t most = pixels == 4 ? 2 : 4;
        const int32_t together = r + most <= count ? most : 1;
        float sums[8];
        for (int32_t t = 0; t < together; ++t) {
            for (int32_t p = 0; p < pixels; ++p) {
                sums[t * pixels + p] = bias != NULL ? bias[r + t] : 0.0f;
            }
        }
        if (pixels == 4) {
            memplan_window_pixels(v, w, image, r, together, sums);
        } else {
            memplan_window_channels(v, w, image, r, together, sums);
        }
        for (int32_t t = 0; t < together; ++t) {
            for (int32_t p = 0; p < pixels; ++p) {
                y[(r + t) * channel + p * next] = sums[t * pixels + p];
            }
        }
        r += together;
    }
}

void memplan_convolution(const struct memplan_convolution *g, const float *x,
                         const struct memplan_split_weight *w, const float *bias, float *y) {
    const int32_t inputs = g->inputs / g->groups;
    const int32_t outputs = g->outputs / g->groups;
    const int32_t size = g->kernel_height * g->kernel_width;
    /* Outputs [inner, outer) do not reach over the left or right edge. */
    const int32_t inner = ceiling(g->padding_x, g->stride_x);
    const int32_t room = g->input_width + g->padding_x - (g->kernel_width - 1) * g->dilation_x;
    const int32_t outer = smaller(g->output_width, ceiling(room, g->stride_x));
    for (int32_t n = 0; n < g->samples * g->groups; ++n) {
        const int32_t sample = n / g->groups, group = n % g->groups;
        const struct memplan_window_weight weight = {
            w, inputs * size, size, group * outputs, 0, inputs, size, 1};
        const float *image = x + sample * g->input.sample + group * inputs * g->input.channel;
        float *out = y + sample * g->output.sample + group * outputs * g->output.channel;
        const float *start = bias != NULL ? bias + group * outputs : NULL;
        for (int32_t oy = 0; oy < g->output_height; ++oy) {
            const int32_t top = oy * g->stride_y - g->padding_y;
            const struct reach rows = reach_of(top, g->kernel_height, g->dilation_y, g->input_height);
            int32_t ox = 0;
            while (ox < g->output_width) {
                const int32_t pixels = ox >= inner && ox + 4 <= outer ? 4 : 1;
                const int32_t left = ox * g->stride_x - g->padding_x;
                const struct reach columns =
                    reach_of(left, g->kernel_width, g->dilation_x, g->input_width);
                const struct memplan_window v = {
                    .rows = rows.last - rows.first,
                    .columns = columns.last - columns.first,
                    .kernel_first = rows.first * g->kernel_width + columns.first,
                    .kernel_row = g->kernel_width,
                    .kernel_column = 1,
                    .image_first = (top + rows.first * g->dilation_y) * g->input.row +
                                   (left + columns.first * g->dilation_x) * g->input.pixel,
                    .image_row = g->dilation_y * g->input.row,
                    .image_column = g->dilation_x * g->input.pixel,
                    .channels = columns.last > columns.first ? inputs : 0,
                    .image_channel = g->input.channel,
                    .image_next = g->stride_x * g->input.pixel,
                };
                results(&v, &weight, image, outputs, pixels, start,
                        out + oy * g->output.row + ox * g->output.pixel, g->output.channel,
                        g->output.pixel);
                ox += pixels;
            }
        }
    }
}

void memplan_convolution_input_gradient(const struct memplan_convolution *g, const float *gy,
                                        const struct memplan_split_weight *w, const float *bias,
                                        float *gx) {
    const int32_t inputs = g->inputs / g->groups;
    const int32_t outputs = g->outputs / g->groups;
    const int32_t size = g->kernel_height * g->kernel_width;
    for (int32_t n = 0; n < g->samples * g->groups; ++n) {
        const int32_t sample = n / g->groups, group = n % g->groups;
        const struct memplan_window_weight weight = {
            w, size, inputs * size, group * outputs, 0, inputs, size, 0};
        const float *image = gy + sample * g->output.sample + group * outputs * g->output.channel;
        float *out = gx + sample * g->input.sample + group * inputs * g->input.channel;
        const float *start = bias != NULL ? bias + group * inputs : NULL;
        for (int32_t iy = 0; iy < g->input_height; ++iy) {
            const struct meeting down =
                meet(iy, g->kernel_height, g->stride_y, g->padding_y, g->dilation_y);
            const struct met rows =
                met_outputs(down, g->kernel_height, down.output, g->output_height);
            /* Inputs that are a stride apart meet the same places of the kernel. */
            for (int32_t phase = 0; phase < smaller(g->stride_x, g->input_width); ++phase) {
                const struct meeting across =
                    meet(phase, g->kernel_width, g->stride_x, g->padding_x, g->dilation_x);
                const int32_t count = (g->input_width - phase + g->stride_x - 1) / g->stride_x;
                const int32_t steps =
                    (g->kernel_width - across.first + across.step - 1) / across.step;
                /* Inputs [inner, outer) of the phase have all their outputs in the image. */
                const int32_t inner = larger(0, (steps - 1) * across.back - across.output);
                const int32_t outer = smaller(count, g->output_width - across.output);
                int32_t j = 0;
                while (j < count) {
                    const int32_t pixels = steps > 0 && j >= inner && j + 4 <= outer ? 4 : 1;
                    const struct met columns =
                        met_outputs(across, g->kernel_width, across.output + j, g->output_width);
                    const struct memplan_window v = {
                        .rows = rows.count,
                        .columns = columns.count,
                        .kernel_first = rows.first * g->kernel_width + columns.first,
                        .kernel_row = down.step * g->kernel_width,
                        .kernel_column = across.step,
                        .image_first =
                            rows.output * g->output.row + columns.output * g->output.pixel,
                        .image_row = -down.back * g->output.row,
                        .image_column = -across.back * g->output.pixel,
                        .channels = rows.count > 0 && columns.count > 0 ? outputs : 0,
                        .image_channel = g->output.channel,
                        .image_next = g->output.pixel,
                    };
                    results(&v, &weight, image, inputs, pixels, start,
                            out + iy * g->input.row + (phase + j * g->stride_x) * g->input.pixel,
                            g->input.channel, g->stride_x * g->input.pixel);
                    j += pixels;
                }
            }
        }
    }
}

/* Sums over all pixels of gy times the x that they meet: of one channel with one, of four channels
 * of gy with one of x, or of one with four.  `gy_count` and `x_count` are constants where this is
 * called. */
MEMPLAN_INLINE void correlate(const struct memplan_convolution *g, const struct overlap *v,
                              const float *const *gy, const int gy_count, const float *const *x,
                              const int x_count, float *sums) {
    const int32_t next = g->stride_x * g->input.pixel, step = g->output.pixel;
    const int four = gy_count == 4 || x_count == 4;
    float total0 = 0.0f, total1 = 0.0f, total2 = 0.0f, total3 = 0.0f;
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t oy = v->top; oy < v->bottom; ++oy) {
            const int32_t place =
                n * g->output.sample + oy * g->output.row + v->left * g->output.pixel;
            const int32_t met = n * g->input.sample +
                                (oy * g->stride_y + v->down) * g->input.row +
                                (v->left * g->stride_x + v->right) * g->input.pixel;
            const float *a0 = gy[0] + place, *b0 = x[0] + met;
            const float *a1 = gy[gy_count == 4 ? 1 : 0] + place;
            const float *a2 = gy[gy_count == 4 ? 2 : 0] + place;
            const float *a3 = gy[gy_count == 4 ? 3 : 0] + place;
            const float *b1 = x[x_count == 4 ? 1 : 0] + met;
            const float *b2 = x[x_count == 4 ? 2 : 0] + met;
            const float *b3 = x[x_count == 4 ? 3 : 0] + met;
            float line0 = 0.0f, line1 = 0.0f, line2 = 0.0f, line3 = 0.0f;
            for (int32_t ox = 0; ox < v->width; ++ox) {
                line0 += *a0 * *b0;
                if (gy_count == 4) {
                    line1 += *a1 * *b0, line2 += *a2 * *b0, line3 += *a3 * *b0;
                    a1 += step, a2 += step, a3 += step;
                } else if (x_count == 4) {
                    line1 += *a0 * *b1, line2 += *a0 * *b2, line3 += *a0 * *b3;
                    b1 += next, b2 += next, b3 += next;
                }
                a0 += step;
                b0 += next;
            }
            total0 += line0, total1 += line1, total2 += line2, total3 += line3;
        }
    }
    sums[0] = total0;
    if (four) {
        sums[1] = total1, sums[2] = total2, sums[3] = total3;
    }
}

void memplan_convolution_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                         const float *x, const struct memplan_channels *outputs,
                                         const struct memplan_channels *inputs, float *gw) {
    const int32_t group_inputs = g->inputs / g->groups;
    const int32_t group_outputs = g->outputs / g->groups;
    const int32_t size = g->kernel_height * g->kernel_width;
    const int32_t row = inputs->count * size;
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
        for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
            for (int32_t kx = 0; kx < g->kernel_width; ++kx) {
                const struct overlap v = overlap_of(g, ky, kx);
                int32_t c = 0;
                while (c < inputs->count) {
                    const int32_t wide = together == 1 && c + 4 <= inputs->count ? 4 : 1;
                    const float *met[4];
                    for (int32_t t = 0; t < wide; ++t) {
                        met[t] = x + (group * group_inputs + memplan_channel(inputs, c + t)) *
                                         g->input.channel;
                    }
                    float sums[4];
                    if (together == 4) {
                        correlate(g, &v, from, 4, met, 1, sums);
                    } else if (wide == 4) {
                        correlate(g, &v, from, 1, met, 4, sums);
                    } else {
                        correlate(g, &v, from, 1, met, 1, sums);
                    }
                    float *place = gw + r * row + c * size + ky * g->kernel_width + kx;
                    for (int32_t t = 0; t < together * wide; ++t) {
                        place[t * (wide == 4 ? size : row)] = sums[t];
                    }
                    c += wide;
                }
            }
        }
        r += together;
    }
}
