#include "convolution.h"

MEMPLAN_INLINE int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
MEMPLAN_INLINE int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

/* Smallest whole number at least a / b, for b > 0. */
MEMPLAN_INLINE int32_t ceiling(int32_t a, int32_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

/* One output, with the kernel cut at the edges of the image. */
static float output_pixel(const struct memplan_convolution *g, const float *x,
                          const struct memplan_split_weight *w, int32_t o, int32_t inputs,
                          int32_t oy, int32_t ox, float sum) {
    const int32_t top = oy * g->stride_y - g->padding_y;
    const int32_t left = ox * g->stride_x - g->padding_x;
    for (int32_t i = 0; i < inputs; ++i) {
        const float *plane = x + i * g->input.channel;
        const float *kernel =
            memplan_weight_kernel(w, o, i, inputs, g->kernel_height * g->kernel_width);
        for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
            const int32_t iy = top + ky * g->dilation_y;
            if (iy < 0 || iy >= g->input_height) {
                continue;
            }
            for (int32_t kx = 0; kx < g->kernel_width; ++kx) {
                const int32_t ix = left + kx * g->dilation_x;
                if (ix >= 0 && ix < g->input_width) {
                    sum += kernel[ky * g->kernel_width + kx] *
                           plane[iy * g->input.row + ix * g->input.pixel];
                }
            }
        }
    }
    return sum;
}

/* Four outputs beside each other, none of whose kernels reaches over the left or right edge. */
static void output_pixels(const struct memplan_convolution *g, const float *x,
                          const struct memplan_split_weight *w, int32_t o, int32_t inputs,
                          int32_t oy, int32_t ox, float start, float *y) {
    const int32_t top = oy * g->stride_y - g->padding_y;
    const int32_t left = ox * g->stride_x - g->padding_x;
    const int32_t first = top < 0 ? ceiling(-top, g->dilation_y) : 0;
    const int32_t last = smaller(g->kernel_height, ceiling(g->input_height - top, g->dilation_y));
    const int32_t next = g->stride_x * g->input.pixel;
    const int32_t step = g->dilation_x * g->input.pixel;
    float sum0 = start, sum1 = start, sum2 = start, sum3 = start;
    for (int32_t i = 0; i < inputs; ++i) {
        const float *kernel =
            memplan_weight_kernel(w, o, i, inputs, g->kernel_height * g->kernel_width) +
            first * g->kernel_width;
        for (int32_t ky = first; ky < last; ++ky) {
            const float *row = x + i * g->input.channel +
                               (top + ky * g->dilation_y) * g->input.row + left * g->input.pixel;
            for (int32_t kx = 0; kx < g->kernel_width; ++kx) {
                const float factor = *kernel++;
                sum0 += factor * row[0];
                sum1 += factor * row[next];
                sum2 += factor * row[2 * next];
                sum3 += factor * row[3 * next];
                row += step;
            }
        }
    }
    y[0] = sum0;
    y[g->output.pixel] = sum1;
    y[2 * g->output.pixel] = sum2;
    y[3 * g->output.pixel] = sum3;
}

void memplan_convolution(const struct memplan_convolution *g, const float *x,
                         const struct memplan_split_weight *w, const float *bias, float *y) {
    const int32_t inputs = g->inputs / g->groups;
    const int32_t group_outputs = g->outputs / g->groups;
    /* Outputs [inner, outer) do not reach over an edge. */
    const int32_t inner = ceiling(g->padding_x, g->stride_x);
    const int32_t room =
        g->input_width + g->padding_x - (g->kernel_width - 1) * g->dilation_x;
    const int32_t outer = smaller(g->output_width, ceiling(room, g->stride_x));
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t o = 0; o < g->outputs; ++o) {
            const float *image =
                x + n * g->input.sample + o / group_outputs * inputs * g->input.channel;
            const float start = bias != NULL ? bias[o] : 0.0f;
            for (int32_t oy = 0; oy < g->output_height; ++oy) {
                float *row = y + n * g->output.sample + o * g->output.channel + oy * g->output.row;
                int32_t ox = 0;
                while (ox < g->output_width) {
                    float *place = row + ox * g->output.pixel;
                    if (ox >= inner && ox + 4 <= outer) {
                        output_pixels(g, image, w, o, inputs, oy, ox, start, place);
                        ox += 4;
                    } else {
                        *place = output_pixel(g, image, w, o, inputs, oy, ox, start);
                        ox += 1;
                    }
                }
            }
        }
    }
}

/* The kernel's places along one dimension that meet an input at `place`: first, first + step, ...
 * and the output that the first one belongs to; each step goes `back` outputs back. */
struct meeting {
    int32_t first, step, output, back;
};

static struct meeting meet(int32_t place, int32_t kernel, int32_t stride, int32_t padding,
                           int32_t dilation) {
    struct meeting found = {kernel, 1, 0, dilation};
    int32_t k = 0;
    while (k < kernel && (place + padding - k * dilation) % stride != 0) {
        ++k;
    }
    if (k < kernel) {
        found.first = k;
        found.output = (place + padding - k * dilation) / stride;
        while ((found.step * dilation) % stride != 0) {
            ++found.step;
        }
        found.back = found.step * dilation / stride;
    }
    return found;
}

void memplan_convolution_input_gradient(const struct memplan_convolution *g, const float *gy,
                                        const struct memplan_split_weight *w, const float *bias,
                                        float *gx) {
    const int32_t inputs = g->inputs / g->groups;
    const int32_t group_outputs = g->outputs / g->groups;
    const int32_t size = g->kernel_height * g->kernel_width;
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t channel = 0; channel < g->inputs; ++channel) {
            const int32_t group = channel / inputs;
            const int32_t i = channel - group * inputs;
            const float start = bias != NULL ? bias[channel] : 0.0f;
            const float *images =
                gy + n * g->output.sample + group * group_outputs * g->output.channel;
            for (int32_t iy = 0; iy < g->input_height; ++iy) {
                const struct meeting rows =
                    meet(iy, g->kernel_height, g->stride_y, g->padding_y, g->dilation_y);
                float *row = gx + n * g->input.sample + channel * g->input.channel +
                             iy * g->input.row;
                /* Inputs that are a stride apart meet the same places of the kernel. */
                for (int32_t phase = 0; phase < smaller(g->stride_x, g->input_width); ++phase) {
                    const struct meeting columns =
                        meet(phase, g->kernel_width, g->stride_x, g->padding_x, g->dilation_x);
                    const int32_t count = (g->input_width - phase + g->stride_x - 1) / g->stride_x;
                    const int32_t steps =
                        (g->kernel_width - columns.first + columns.step - 1) / columns.step;
                    /* Inputs [inner, outer) of the phase have all their outputs in the image. */
                    const int32_t inner = larger(0, (steps - 1) * columns.back - columns.output);
                    const int32_t outer = smaller(count, g->output_width - columns.output);
                    int32_t j = 0;
                    while (j < count) {
                        float *place = row + (phase + j * g->stride_x) * g->input.pixel;
                        const int tile = steps > 0 && j >= inner && j + 4 <= outer;
                        float sum0 = start, sum1 = start, sum2 = start, sum3 = start;
                        for (int32_t o = 0; o < group_outputs; ++o) {
                            const float *kernel = memplan_weight_kernel(
                                w, group * group_outputs + o, i, inputs, size);
                            const float *image = images + o * g->output.channel;
                            int32_t oy = rows.output;
                            for (int32_t ky = rows.first; ky < g->kernel_height;
                                 ky += rows.step, oy -= rows.back) {
                                if (oy < 0 || oy >= g->output_height) {
                                    continue;
                                }
                                int32_t ox = columns.output + j;
                                const float *line = image + oy * g->output.row;
                                if (tile) {
                                    const int32_t next = g->output.pixel;
                                    const float *from = line + ox * next;
                                    for (int32_t kx = columns.first; kx < g->kernel_width;
                                         kx += columns.step) {
                                        const float factor = kernel[ky * g->kernel_width + kx];
                                        sum0 += factor * from[0];
                                        sum1 += factor * from[next];
                                        sum2 += factor * from[2 * next];
                                        sum3 += factor * from[3 * next];
                                        from -= columns.back * next;
                                    }
                                } else {
                                    for (int32_t kx = columns.first; kx < g->kernel_width;
                                         kx += columns.step, ox -= columns.back) {
                                        if (ox >= 0 && ox < g->output_width) {
                                            sum0 += kernel[ky * g->kernel_width + kx] *
                                                    line[ox * g->output.pixel];
                                        }
                                    }
                                }
                            }
                        }
                        place[0] = sum0;
                        if (tile) {
                            const int32_t next = g->stride_x * g->input.pixel;
                            place[next] = sum1;
                            place[2 * next] = sum2;
                            place[3 * next] = sum3;
                        }
                        j += tile ? 4 : 1;
                    }
                }
            }
        }
    }
}

/* Sum over the pixels of one sample of gy times the x that kernel place (ky, kx) meets there. */
static float correlate(const struct memplan_convolution *g, const float *gy, const float *x,
                       int32_t ky, int32_t kx) {
    const int32_t down = ky * g->dilation_y - g->padding_y;
    const int32_t right = kx * g->dilation_x - g->padding_x;
    const int32_t top = larger(0, ceiling(-down, g->stride_y));
    const int32_t bottom =
        smaller(g->output_height, ceiling(g->input_height - down, g->stride_y));
    const int32_t left = larger(0, ceiling(-right, g->stride_x));
    const int32_t width =
        smaller(g->output_width, ceiling(g->input_width - right, g->stride_x)) - left;
    const int32_t next = g->stride_x * g->input.pixel;
    float sum = 0.0f;
    for (int32_t oy = top; oy < bottom; ++oy) {
        const float *from = gy + oy * g->output.row + left * g->output.pixel;
        const float *met = x + (oy * g->stride_y + down) * g->input.row +
                           (left * g->stride_x + right) * g->input.pixel;
        float line = 0.0f;
        for (int32_t ox = 0; ox < width; ++ox) {
            line += *from * *met;
            from += g->output.pixel;
            met += next;
        }
        sum += line;
    }
    return sum;
}

void memplan_convolution_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                         const float *x, const struct memplan_channels *outputs,
                                         const struct memplan_channels *inputs, float *gw) {
    const int32_t group_inputs = g->inputs / g->groups;
    const int32_t group_outputs = g->outputs / g->groups;
    for (int32_t r = 0; r < outputs->count; ++r) {
        const int32_t o = memplan_channel(outputs, r);
        const int32_t base = o / group_outputs * group_inputs;
        for (int32_t c = 0; c < inputs->count; ++c) {
            const int32_t i = base + memplan_channel(inputs, c);
            for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
                for (int32_t kx = 0; kx < g->kernel_width; ++kx) {
                    float sum = 0.0f;
                    for (int32_t n = 0; n < g->samples; ++n) {
                        sum += correlate(g, gy + n * g->output.sample + o * g->output.channel,
                                         x + n * g->input.sample + i * g->input.channel, ky, kx);
                    }
                    *gw++ = sum;
                }
            }
        }
    }
}
