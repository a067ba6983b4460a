#include "int8_input_gradient.h"

#include "depthwise.h"
#include "meeting.h"

/* What meets one input, or four that are a stride apart: places of the kernel and of gy. */
struct spot {
    struct met rows, columns;
    int32_t row_step, row_back, column_step, column_back;
};

/* Weights of one input channel, from output `first` on; where the outputs are cut, they do not
 * follow each other. */
struct column {
    const int8_t *start;
    int32_t step;
};

static struct column column_of(const struct memplan_split_int8 *w, int32_t first, int32_t i,
                               int32_t inputs) {
    const int updated = w->slice != NULL && w->axis == 1 && w->position[i] >= 0;
    return (struct column){memplan_int8_kernel(w, first, i, inputs, 1),
                           updated ? w->count : inputs};
}

/* sums[4 t + p]: input channels i and i + 1 at four inputs p whose gy are neighbours, with kernels
 * of one element.  `cut` (along the outputs) is a constant where this is called. */
MEMPLAN_INLINE void four_pointwise(const struct memplan_convolution *g, const float *x,
                                   const struct memplan_scaled_int8 *w, int32_t first,
                                   int32_t outputs, int32_t i, const int cut, float *sums) {
    const int32_t inputs = g->inputs / g->groups;
    const struct column left = column_of(&w->weight, first, i, inputs);
    const struct column right = column_of(&w->weight, first, i + 1, inputs);
    const int8_t *u = left.start, *v = right.start;
    const float *scales = w->scales + first;
    float a0 = 0.0f, a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
    float b0 = 0.0f, b1 = 0.0f, b2 = 0.0f, b3 = 0.0f;
    for (int32_t o = 0; o < outputs; ++o) {
        if (cut) {
            u = memplan_int8_kernel(&w->weight, first + o, i, inputs, 1);
            v = u + 1;
        }
        const float c = (float)*u * scales[o], d = (float)*v * scales[o];
        a0 += c * x[0], a1 += c * x[1], a2 += c * x[2], a3 += c * x[3];
        b0 += d * x[0], b1 += d * x[1], b2 += d * x[2], b3 += d * x[3];
        u += left.step, v += right.step;
        x += g->output.channel;
    }
    sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3;
    sums[4] = b0, sums[5] = b1, sums[6] = b2, sums[7] = b3;
}

/* sums[4 t + p]: input channel i + t at four inputs p.  `results` is a constant where this is
 * called. */
MEMPLAN_INLINE void four(const struct memplan_convolution *g, const struct spot *v, const float *gy,
                         const struct memplan_scaled_int8 *w, int32_t first, int32_t outputs,
                         int32_t i, const int results, float *sums) {
    const int32_t inputs = g->inputs / g->groups;
    const int32_t size = g->kernel_height * g->kernel_width;
    const int32_t next = g->output.pixel;
    const int whole = w->weight.slice == NULL;
    const int8_t *row = w->weight.frozen + (first * inputs + i) * size;
    const float *image = gy + v->rows.output * g->output.row + v->columns.output * next;
    float a0 = 0.0f, a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
    float b0 = 0.0f, b1 = 0.0f, b2 = 0.0f, b3 = 0.0f;
    for (int32_t o = first; o < first + outputs; ++o) {
        const int8_t *u = row, *s = row + size;
        if (!whole) {
            u = memplan_int8_kernel(&w->weight, o, i, inputs, size);
            s = results == 2 ? memplan_int8_kernel(&w->weight, o, i + 1, inputs, size) : u;
        }
        const float scale = w->scales[o];
        for (int32_t y = 0; y < v->rows.count; ++y) {
            const float *x = image - y * v->row_back * g->output.row;
            int32_t place = (v->rows.first + y * v->row_step) * g->kernel_width + v->columns.first;
            for (int32_t k = 0; k < v->columns.count; ++k) {
                const float c = (float)u[place] * scale;
                const float x0 = x[0], x1 = x[next], x2 = x[2 * next], x3 = x[3 * next];
                a0 += c * x0, a1 += c * x1, a2 += c * x2, a3 += c * x3;
                if (results == 2) {
                    const float d = (float)s[place] * scale;
                    b0 += d * x0, b1 += d * x1, b2 += d * x2, b3 += d * x3;
                }
                place += v->column_step;
                x -= v->column_back * next;
            }
        }
        row += inputs * size;
        image += g->output.channel;
    }
    sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3;
    if (results == 2) {
        sums[4] = b0, sums[5] = b1, sums[6] = b2, sums[7] = b3;
    }
}

/* Input channel i at one input. */
static float one(const struct memplan_convolution *g, const struct spot *v, const float *gy,
                 const struct memplan_scaled_int8 *w, int32_t first, int32_t outputs, int32_t i) {
    const int32_t inputs = g->inputs / g->groups;
    float sum = 0.0f;
    for (int32_t o = first; o < first + outputs; ++o) {
        const int8_t *kernel =
            memplan_int8_kernel(&w->weight, o, i, inputs, g->kernel_height * g->kernel_width);
        const float *image = gy + (o - first) * g->output.channel;
        for (int32_t y = 0; y < v->rows.count; ++y) {
            const int8_t *factors = kernel + (v->rows.first + y * v->row_step) * g->kernel_width;
            const float *x = image + (v->rows.output - y * v->row_back) * g->output.row;
            for (int32_t k = 0; k < v->columns.count; ++k) {
                sum += (float)factors[v->columns.first + k * v->column_step] * w->scales[o] *
                       x[(v->columns.output - k * v->column_back) * g->output.pixel];
            }
        }
    }
    return sum;
}

/* Four inputs of every channel of a group; `step` from an input to the next. */
static void all_channels(const struct memplan_convolution *g, const struct spot *v, const float *gy,
                         const struct memplan_scaled_int8 *w, int32_t group, float *gx,
                         int32_t step) {
    const int32_t inputs = g->inputs / g->groups, outputs = g->outputs / g->groups;
    const int single =
        g->kernel_height * g->kernel_width * g->output.pixel == 1 && v->rows.count == 1;
    const float *x = gy + v->rows.output * g->output.row + v->columns.output * g->output.pixel;
    for (int32_t i = 0; i < inputs; i += 2) {
        const int32_t together = smaller(2, inputs - i);
        float sums[8];
        if (together == 2 && single && w->weight.slice != NULL && w->weight.axis == 0) {
            four_pointwise(g, x, w, group * outputs, outputs, i, 1, sums);
        } else if (together == 2 && single) {
            four_pointwise(g, x, w, group * outputs, outputs, i, 0, sums);
        } else if (together == 2) {
            four(g, v, gy, w, group * outputs, outputs, i, 2, sums);
        } else {
            four(g, v, gy, w, group * outputs, outputs, i, 1, sums);
        }
        for (int32_t t = 0; t < together; ++t) {
            for (int32_t p = 0; p < 4; ++p) {
                gx[(i + t) * g->input.channel + p * step] = sums[4 * t + p];
            }
        }
    }
}

void memplan_conv_int8_input_gradient(const struct memplan_convolution *g, const float *gy,
                                      const struct memplan_scaled_int8 *w, float *gx) {
    const int32_t inputs = g->inputs / g->groups, outputs = g->outputs / g->groups;
    const int32_t step = g->stride_x * g->input.pixel;
    for (int32_t n = 0; n < g->samples * g->groups; ++n) {
        const int32_t sample = n / g->groups, group = n % g->groups;
        const float *image = gy + sample * g->output.sample + group * outputs * g->output.channel;
        for (int32_t iy = 0; iy < g->input_height; ++iy) {
            const struct meeting down =
                meet(iy, g->kernel_height, g->stride_y, g->padding_y, g->dilation_y);
            float *row = gx + sample * g->input.sample + group * inputs * g->input.channel +
                         iy * g->input.row;
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
                    const struct spot v = {
                        met_outputs(down, g->kernel_height, down.output, g->output_height),
                        met_outputs(across, g->kernel_width, across.output + j, g->output_width),
                        down.step, down.back, across.step, across.back};
                    float *place = row + phase * g->input.pixel + j * step;
                    if (steps > 0 && j >= inner && j + 4 <= outer) {
                        all_channels(g, &v, image, w, group, place, step);
                        j += 4;
                        continue;
                    }
                    for (int32_t i = 0; i < inputs; ++i) {
                        place[i * g->input.channel] =
                            one(g, &v, image, w, group * outputs, outputs, i);
                    }
                    ++j;
                }
            }
        }
    }
}

void memplan_depthwise_int8_input_gradient(const struct memplan_convolution *g, const float *gy,
                                           const struct memplan_scaled_int8 *w, float *gx) {
    /* Channel by channel, with its kernel in real numbers. */
    const int32_t size = g->kernel_height * g->kernel_width;
    float kernel[MEMPLAN_DEPTHWISE_INT8_MOST];
    const struct memplan_split_weight real = {.frozen = kernel};
    struct memplan_convolution channel = *g;
    channel.inputs = channel.outputs = channel.groups = 1;
    for (int32_t c = 0; c < g->inputs; ++c) {
        const int8_t *from = memplan_int8_kernel(&w->weight, c, 0, 1, size);
        for (int32_t i = 0; i < size; ++i) {
            kernel[i] = (float)from[i] * w->scales[c];
        }
        memplan_depthwise_input_gradient(&channel, gy + c * g->output.channel, &real,
                                         gx + c * g->input.channel);
    }
}
