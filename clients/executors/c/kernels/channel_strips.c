#include "channel_strips.h"

#include "meeting.h"

/* Weights that are taken out of a matrix at once. */
#define FACTORS 16
/* Places of the largest int8 kernel that is converted once per channel: 7 x 7. */
#define TAPS 49
/* What has an array on the stack by itself has it only while it runs. */
#define APART __attribute__((noinline))

/* Where weights are: in `frozen`, `slice` or both; floats or `integers`. */
struct storage {
    const void *frozen, *slice;
    const int16_t *position;
    int32_t axis, count;
};

MEMPLAN_INLINE float number_at(const void *from, const int integers, int32_t place, float scale) {
    return integers ? (float)((const int8_t *)from)[place] * scale : ((const float *)from)[place];
}

/* `count` weights of a matrix, below each other (down) or behind each other, from this one on.
 * `scales` are those of the rows of integers. */
MEMPLAN_INLINE void take_from(struct storage w, const int integers, const float *scales,
                              int32_t columns, int32_t row, int32_t column, const int down,
                              int32_t count, float *factors) {
    int32_t place = row * columns + column, step = down ? columns : 1;
    const float *scale = integers ? scales + row : NULL;
    if (w.slice != NULL && (w.axis == 0) == (down != 0)) {
        /* Each is here or there. */
        const int16_t *position = w.position + (down ? row : column);
        const int32_t first = down ? column : row * w.count, far = down ? columns : 1;
        for (int32_t i = 0; i < count; ++i) {
            const int here = position[i] < 0;
            factors[i] = number_at(here ? w.frozen : w.slice, integers,
                                   here ? place : first + position[i] * far,
                                   integers ? *scale : 1.0f);
            place += step;
            scale += integers ? down : 0;
        }
        return;
    }
    if (w.slice != NULL && w.position[down ? column : row] >= 0) {
        const int32_t position = w.position[down ? column : row];
        w.frozen = w.slice;
        place = down ? row * w.count + position : position * columns + column;
        step = down ? w.count : 1;
    }
    for (int32_t i = 0; i < count; ++i) {
        factors[i] = number_at(w.frozen, integers, place, integers ? *scale : 1.0f);
        place += step;
        scale += integers ? down : 0;
    }
}

/* The same of any weight. */
MEMPLAN_INLINE void take(const struct memplan_strips_weight *w, int32_t columns, int32_t row,
                         int32_t column, const int down, int32_t count, float *factors) {
    if (w->real != NULL) {
        const struct memplan_split_weight *from = w->real;
        const struct storage storage = {from->frozen, from->slice, from->position, from->axis,
                                        from->count};
        take_from(storage, 0, NULL, columns, row, column, down, count, factors);
    } else {
        const struct memplan_split_int8 *from = w->integers;
        const struct storage storage = {from->frozen, from->slice, from->position, from->axis,
                                        from->count};
        take_from(storage, 1, w->scales, columns, row, column, down, count, factors);
    }
}

/* y[p] += the sum of factor i times x[i][p], for 1, 4 or 8 pixels, which follow each other. */
MEMPLAN_INLINE void sum_pixels(const float *factors, int32_t count, const float *x, int32_t channel,
                               const int pixels, float *y) {
    float sum0 = y[0], sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    float sum4 = 0.0f, sum5 = 0.0f, sum6 = 0.0f, sum7 = 0.0f;
    if (pixels >= 4) {
        sum1 = y[1], sum2 = y[2], sum3 = y[3];
    }
    if (pixels == 8) {
        sum4 = y[4], sum5 = y[5], sum6 = y[6], sum7 = y[7];
    }
    for (int32_t i = 0; i < count; ++i) {
        const float factor = factors[i];
        sum0 += factor * x[0];
        if (pixels >= 4) {
            sum1 += factor * x[1], sum2 += factor * x[2], sum3 += factor * x[3];
        }
        if (pixels == 8) {
            sum4 += factor * x[4], sum5 += factor * x[5];
            sum6 += factor * x[6], sum7 += factor * x[7];
        }
        x += channel;
    }
    y[0] = sum0;
    if (pixels >= 4) {
        y[1] = sum1, y[2] = sum2, y[3] = sum3;
    }
    if (pixels == 8) {
        y[4] = sum4, y[5] = sum5, y[6] = sum6, y[7] = sum7;
    }
}

/* The gradient behind the depthwise convolution: gy times a column of the projecting weight. */
APART static void project(const struct memplan_strips *g,
                          const struct memplan_strips_operands *v, int32_t sample,
                          int32_t channel, float *plane) {
    const int32_t count = g->lines * g->pixels;
    for (int32_t p = 0; p < count; ++p) {
        plane[p] = 0.0f;
    }
    for (int32_t first = 0; first < g->outputs; first += FACTORS) {
        float factors[FACTORS];
        const int32_t some = smaller(FACTORS, g->outputs - first);
        take(&v->project, g->channels, first, channel, 1, some, factors);
        for (int32_t line = 0; line < g->lines; ++line) {
            const float *x = v->gy + sample * g->gy_sample + first * g->gy_channel +
                             line * g->gy_line;
            float *y = plane + line * g->pixels;
            int32_t p = 0;
            if (g->gy_pixel == 1) {
                for (; p + 8 <= g->pixels; p += 8) {
                    sum_pixels(factors, some, x + p, g->gy_channel, 8, y + p);
                }
                for (; p + 4 <= g->pixels; p += 4) {
                    sum_pixels(factors, some, x + p, g->gy_channel, 4, y + p);
                }
            }
            for (; p < g->pixels; ++p) {
                sum_pixels(factors, some, x + p * g->gy_pixel, g->gy_channel, 1, y + p);
            }
        }
    }
    /* Where all pixels are the same, only one was computed. */
    for (int32_t p = count; p < g->window.output_height * g->window.output_width; ++p) {
        plane[p] = plane[0];
    }
}

/* y[k][p] += factor k times b[p], for 1, 4 or 8 pixels. */
MEMPLAN_INLINE void add_pixels(const float *factors, int32_t count, const float *b, int32_t channel,
                               const int pixels, float *y) {
    const float b0 = b[0], b1 = b[pixels >= 4 ? 1 : 0], b2 = b[pixels >= 4 ? 2 : 0],
                b3 = b[pixels >= 4 ? 3 : 0], b4 = b[pixels == 8 ? 4 : 0],
                b5 = b[pixels == 8 ? 5 : 0], b6 = b[pixels == 8 ? 6 : 0],
                b7 = b[pixels == 8 ? 7 : 0];
    for (int32_t k = 0; k < count; ++k) {
        const float factor = factors[k];
        y[0] += factor * b0;
        if (pixels >= 4) {
            y[1] += factor * b1, y[2] += factor * b2, y[3] += factor * b3;
        }
        if (pixels == 8) {
            y[4] += factor * b4, y[5] += factor * b5, y[6] += factor * b6, y[7] += factor * b7;
        }
        y += channel;
    }
}

/* A channel's part of gx: the plane times a row of the expanding weight. */
APART static void expand(const struct memplan_strips *g, const struct memplan_strips_operands *v,
                         int32_t channel, const float *plane, float *gx) {
    const int32_t pixels = g->window.height * g->window.width;
    for (int32_t first = 0; first < g->inputs; first += FACTORS) {
        float factors[FACTORS];
        const int32_t some = smaller(FACTORS, g->inputs - first);
        take(&v->expand, g->inputs, channel, first, 0, some, factors);
        float *y = gx + first * pixels;
        int32_t p = 0;
        for (; p + 8 <= pixels; p += 8) {
            add_pixels(factors, some, plane + p, pixels, 8, y + p);
        }
        for (; p + 4 <= pixels; p += 4) {
            add_pixels(factors, some, plane + p, pixels, 4, y + p);
        }
        for (; p < pixels; ++p) {
            add_pixels(factors, some, plane + p, pixels, 1, y + p);
        }
    }
}

/* An element of x; of an int8 one without its scale. */
MEMPLAN_INLINE float saved(const void *x, const int integers, int32_t place, int32_t zero_point) {
    return integers ? (float)(((const int8_t *)x)[place] - zero_point) : ((const float *)x)[place];
}

/* row[k] += the sum of x[k][p] * b[p], for 1, 4 or 8 pixels from number p. */
MEMPLAN_INLINE void correlate_pixels(const struct memplan_strips *g, const void *x, int32_t p,
                                     const int integers, const float *b, const int pixels,
                                     float *row) {
    const float b0 = b[0], b1 = b[pixels >= 4 ? 1 : 0], b2 = b[pixels >= 4 ? 2 : 0],
                b3 = b[pixels >= 4 ? 3 : 0], b4 = b[pixels == 8 ? 4 : 0],
                b5 = b[pixels == 8 ? 5 : 0], b6 = b[pixels == 8 ? 6 : 0],
                b7 = b[pixels == 8 ? 7 : 0];
    const int32_t channel = g->window.height * g->window.width, zero = g->x_zero_point;
    for (int32_t k = 0; k < g->saved; ++k) {
        float sum = row[k] + saved(x, integers, p, zero) * b0;
        if (pixels >= 4) {
            sum += saved(x, integers, p + 1, zero) * b1;
            sum += saved(x, integers, p + 2, zero) * b2;
            sum += saved(x, integers, p + 3, zero) * b3;
        }
        if (pixels == 8) {
            sum += saved(x, integers, p + 4, zero) * b4;
            sum += saved(x, integers, p + 5, zero) * b5;
            sum += saved(x, integers, p + 6, zero) * b6;
            sum += saved(x, integers, p + 7, zero) * b7;
        }
        row[k] = sum;
        p += channel;
    }
}

/* The row of the expanding weight's gradient: the plane with each saved channel. */
MEMPLAN_INLINE void correlate(const struct memplan_strips *g, const void *x, const int integers,
                              const float *plane, float *row) {
    const int32_t pixels = g->window.height * g->window.width;
    int32_t p = 0;
    for (; p + 8 <= pixels; p += 8) {
        correlate_pixels(g, x, p, integers, plane + p, 8, row);
    }
    for (; p + 4 <= pixels; p += 4) {
        correlate_pixels(g, x, p, integers, plane + p, 4, row);
    }
    for (; p < pixels; ++p) {
        correlate_pixels(g, x, p, integers, plane + p, 1, row);
    }
}

/* Put 0 where the gradient does not pass, and return the sum of the plane. */
static float pass(const uint8_t *bits, int32_t channels, int32_t sample, int32_t channel,
                  int32_t pixels, float *plane) {
    float sum = 0.0f;
    if (bits == NULL) {
        for (int32_t p = 0; p < pixels; ++p) {
            sum += plane[p];
        }
        return sum;
    }
    const int32_t start = channel * pixels;
    bits += sample * ((channels * pixels + 7) / 8) + start / 8;
    int32_t skip = start % 8;
    for (int32_t p = 0; p < pixels;) {
        /* What this byte says of the plane. */
        uint32_t byte = (uint32_t)*bits++ >> skip;
        const float *end = plane + smaller(8 - skip, pixels - p);
        p += 8 - skip;
        skip = 0;
        for (; plane < end; ++plane) {
            if ((byte & 1u) != 0) {
                sum += *plane;
            } else {
                *plane = 0.0f;
            }
            byte >>= 1;
        }
    }
    return sum;
}

/* The depthwise convolution's kernel of a channel; an int8 one is converted where it has room. */
static struct memplan_strips_kernel kernel_of(const struct memplan_strips_weight *w, int32_t size,
                                              int32_t channel, float *room) {
    struct memplan_strips_kernel kernel = {NULL, NULL, 1.0f};
    if (w->real != NULL) {
        kernel.real = memplan_weight_kernel(w->real, channel, 0, 1, size);
        return kernel;
    }
    kernel.integers = memplan_int8_kernel(w->integers, channel, 0, 1, size);
    kernel.scale = w->scales[channel];
    if (size <= TAPS) {
        for (int32_t i = 0; i < size; ++i) {
            room[i] = (float)kernel.integers[i] * kernel.scale;
        }
        kernel.real = room;
    }
    return kernel;
}

struct memplan_strips_biases memplan_channel_strip(const struct memplan_strips *g,
                                                   const struct memplan_strips_operands *v,
                                                   int32_t channel) {
    const struct memplan_strips_window *window = &g->window;
    const int32_t inner_pixels = window->output_height * window->output_width;
    const int32_t pixels = window->height * window->width;
    float *inner = v->workspace + g->plane, *outer = v->workspace, *row = v->workspace + g->row;
    float room[TAPS];
    const struct memplan_strips_kernel kernel = kernel_of(
        &v->depthwise, window->kernel_height * window->kernel_width, channel, room);
    struct memplan_strips_biases biases = {0.0f, 0.0f};
    for (int32_t k = 0; k < g->saved; ++k) {
        row[k] = 0.0f;
    }
    for (int32_t n = 0; n < g->samples; ++n) {
        float *gx = v->gx + n * g->inputs * pixels;
        for (int32_t i = 0; channel == 0 && i < g->inputs * pixels; ++i) {
            gx[i] = 0.0f;
        }
        project(g, v, n, channel, inner);
        biases.depthwise += pass(v->depthwise_bits, g->channels, n, channel, inner_pixels, inner);
        memplan_strips_depthwise(window, &kernel, inner, v->workspace + window->ring, outer);
        biases.expand += pass(v->expand_bits, g->channels, n, channel, pixels, outer);
        if (g->saved > 0 && g->x_scale != 0.0f) {
            correlate(g, (const int8_t *)v->x + n * g->saved * pixels, 1, outer, row);
        } else if (g->saved > 0) {
            correlate(g, (const float *)v->x + n * g->saved * pixels, 0, outer, row);
        }
        expand(g, v, channel, outer, gx);
    }
    for (int32_t k = 0; k < g->saved && g->x_scale != 0.0f; ++k) {
        row[k] *= g->x_scale;
    }
    return biases;
}
