#include "depthwise.h"

#include "depthwise_line.h"

void memplan_depthwise(const struct memplan_convolution *g, const float *x,
                       const struct memplan_split_weight *w, const float *bias, float *y) {
    const int32_t step = g->dilation_y * g->input.row;
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t c = 0; c < g->outputs; ++c) {
            const float *kernel =
                memplan_weight_kernel(w, c, 0, 1, g->kernel_height * g->kernel_width);
            const float start = bias != NULL ? bias[c] : 0.0f;
            for (int32_t oy = 0; oy < g->output_height; ++oy) {
                const int32_t top = oy * g->stride_y - g->padding_y;
                const int32_t first = top < 0 ? ceiling(-top, g->dilation_y) : 0;
                const int32_t last =
                    smaller(g->kernel_height, ceiling(g->input_height - top, g->dilation_y));
                const int32_t place =
                    n * g->input.sample + c * g->input.channel + top * g->input.row;
                float *row = y + n * g->output.sample + c * g->output.channel + oy * g->output.row;
                memplan_depthwise_line(g, kernel, start, x, NULL, 0, place, step, first, last, row);
            }
        }
    }
}

/* One input of a row: what it met, cut at the edges. */
static float met_by(const struct memplan_convolution *g, const float *kernel, struct meeting down,
                    struct met rows, struct meeting across, struct met columns, const float *gy) {
    float sum = 0.0f;
    for (int32_t y = 0; y < rows.count; ++y) {
        const float *factors =
            kernel + (rows.first + y * down.step) * g->kernel_width + columns.first;
        const float *from = gy + (rows.output - y * down.back) * g->output.row +
                            columns.output * g->output.pixel;
        for (int32_t x = 0; x < columns.count; ++x) {
            sum += *factors * *from;
            factors += across.step;
            from -= across.back * g->output.pixel;
        }
    }
    return sum;
}

void memplan_depthwise_input_gradient(const struct memplan_convolution *g, const float *gy,
                                      const struct memplan_split_weight *w, float *gx) {
    const int32_t next = g->output.pixel, step = g->stride_x * g->input.pixel;
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t c = 0; c < g->inputs; ++c) {
            const float *plane = gy + n * g->output.sample + c * g->output.channel;
            const float *kernel =
                memplan_weight_kernel(w, c, 0, 1, g->kernel_height * g->kernel_width);
            for (int32_t iy = 0; iy < g->input_height; ++iy) {
                const struct meeting down =
                    meet(iy, g->kernel_height, g->stride_y, g->padding_y, g->dilation_y);
                const struct met rows =
                    met_outputs(down, g->kernel_height, down.output, g->output_height);
                float *row = gx + n * g->input.sample + c * g->input.channel + iy * g->input.row;
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
                    float *place = row + phase * g->input.pixel;
                    int32_t j = 0;
                    while (j < count) {
                        if (steps == 0 || j < inner || j + 4 > outer) {
                            const struct met columns = met_outputs(
                                across, g->kernel_width, across.output + j, g->output_width);
                            *place = met_by(g, kernel, down, rows, across, columns, plane);
                            place += step;
                            j += 1;
                            continue;
                        }
                        float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
                        for (int32_t y = 0; y < rows.count; ++y) {
                            const float *factors =
                                kernel + (rows.first + y * down.step) * g->kernel_width +
                                across.first;
                            const float *from = plane +
                                                (rows.output - y * down.back) * g->output.row +
                                                (across.output + j) * next;
                            for (int32_t x = 0; x < steps; ++x) {
                                const float factor = *factors;
                                sum0 += factor * from[0];
                                sum1 += factor * from[next];
                                sum2 += factor * from[2 * next];
                                sum3 += factor * from[3 * next];
                                factors += across.step;
                                from -= across.back * next;
                            }
                        }
                        place[0] = sum0;
                        place[step] = sum1;
                        place[2 * step] = sum2;
                        place[3 * step] = sum3;
                        place += 4 * step;
                        j += 4;
                    }
                }
            }
        }
    }
}

void memplan_depthwise_weight_gradient(const struct memplan_convolution *g, const float *gy,
                                       const float *x, const struct memplan_channels *in_gy,
                                       const struct memplan_channels *in_x, float *gw) {
    const int32_t next = g->stride_x * g->input.pixel;
    for (int32_t c = 0; c < in_gy->count; ++c) {
        const int32_t o = memplan_channel(in_gy, c);
        const int32_t i = memplan_channel(in_x, c);
        for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
            const int32_t down = ky * g->dilation_y - g->padding_y;
            const int32_t top = larger(0, ceiling(-down, g->stride_y));
            const int32_t bottom =
                smaller(g->output_height, ceiling(g->input_height - down, g->stride_y));
            for (int32_t kx = 0; kx < g->kernel_width; ++kx) {
                const int32_t right = kx * g->dilation_x - g->padding_x;
                const int32_t left = larger(0, ceiling(-right, g->stride_x));
                const int32_t width =
                    smaller(g->output_width, ceiling(g->input_width - right, g->stride_x)) - left;
                float total = 0.0f;
                for (int32_t n = 0; n < g->samples; ++n) {
                    for (int32_t oy = top; oy < bottom; ++oy) {
                        const float *from = gy + n * g->output.sample + o * g->output.channel +
                                            oy * g->output.row + left * g->output.pixel;
                        const float *met = x + n * g->input.sample + i * g->input.channel +
                                           (oy * g->stride_y + down) * g->input.row +
                                           (left * g->stride_x + right) * g->input.pixel;
                        float line = 0.0f;
                        for (int32_t ox = 0; ox < width; ++ox) {
                            line += *from * *met;
                            from += g->output.pixel;
                            met += next;
                        }
                        total += line;
                    }
                }
                *gw++ = total;
            }
        }
    }
}
