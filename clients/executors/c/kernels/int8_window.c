#include "int8_window.h"

#include "meeting.h"
#include "packed.h"

/* Columns of one row of an image that four outputs at its edge meet. */
#define MOST_COLUMNS 64

/* One output channel, or two of one group, at four neighbouring outputs. */
struct window {
    const struct memplan_convolution *shape;
    const struct memplan_split_int8 *weight;
    /* Rows of the image; NULL: padding. */
    const int8_t *const *rows;
    int32_t output, inputs;
    /* From the start of a row to the group's first channel, and to the next one. */
    int32_t first_channel, x_channel;
    int32_t zero_point;
};

/* Sums of a channel at four neighbouring outputs. */
struct sums {
    int32_t a, b, c, d;
};

MEMPLAN_INLINE const int8_t *kernel_of(const struct window *v, int32_t t, int32_t c) {
    return memplan_int8_kernel(v->weight, v->output + t, c, v->inputs,
                               v->shape->kernel_height * v->shape->kernel_width);
}

/* Sum of the weights that do not meet rows of padding. */
static int32_t sum_of_weights(const struct window *v, int32_t t) {
    const int32_t width = v->shape->kernel_width;
    int32_t sum = 0;
    for (int32_t c = 0; c < v->inputs; ++c) {
        const int8_t *k = kernel_of(v, t, c);
        for (int32_t ky = 0; ky < v->shape->kernel_height; ++ky, k += width) {
            for (int32_t i = 0; v->rows[ky] != NULL && i < width; ++i) {
                sum += k[i];
            }
        }
    }
    return sum;
}

/* Four neighbours of a row of a kernel, times what they meet at four outputs that are `step` pixels
 * apart.  `outputs` (how many kernels there are, 1 or 2) is a constant where this is called. */
MEMPLAN_INLINE void four_columns(const int8_t *x, int32_t step, const int8_t *k, const int8_t *l,
                                 const int outputs, struct sums *s, struct sums *t) {
    const uint32_t k4 = memplan_four(k), l4 = outputs == 2 ? memplan_four(l) : 0;
    const uint32_t k02 = memplan_even(k4), k13 = memplan_odd(k4);
    const uint32_t l02 = memplan_even(l4), l13 = memplan_odd(l4);
    const uint32_t a = memplan_four(x), b = memplan_four(x + step);
    s->a = memplan_dot(memplan_odd(a), k13, memplan_dot(memplan_even(a), k02, s->a));
    s->b = memplan_dot(memplan_odd(b), k13, memplan_dot(memplan_even(b), k02, s->b));
    if (outputs == 2) {
        t->a = memplan_dot(memplan_odd(a), l13, memplan_dot(memplan_even(a), l02, t->a));
        t->b = memplan_dot(memplan_odd(b), l13, memplan_dot(memplan_even(b), l02, t->b));
    }
    const uint32_t c = memplan_four(x + 2 * step), d = memplan_four(x + 3 * step);
    s->c = memplan_dot(memplan_odd(c), k13, memplan_dot(memplan_even(c), k02, s->c));
    s->d = memplan_dot(memplan_odd(d), k13, memplan_dot(memplan_even(d), k02, s->d));
    if (outputs == 2) {
        t->c = memplan_dot(memplan_odd(c), l13, memplan_dot(memplan_even(c), l02, t->c));
        t->d = memplan_dot(memplan_odd(d), l13, memplan_dot(memplan_even(d), l02, t->d));
    }
}

/* The same of three.  No byte outside of them is read: the last output's begin one pixel before. */
MEMPLAN_INLINE void three_columns(const int8_t *x, int32_t step, const int8_t *k, const int8_t *l,
                                  const int outputs, struct sums *s, struct sums *t) {
    const uint32_t k02 = memplan_pair(k[0], k[2]), k1 = memplan_pair(k[1], 0);
    const uint32_t l02 = memplan_pair(l[0], l[2]), l1 = memplan_pair(l[1], 0);
    const uint32_t a = memplan_four(x), b = memplan_four(x + step);
    s->a = memplan_dot(memplan_odd(a), k1, memplan_dot(memplan_even(a), k02, s->a));
    s->b = memplan_dot(memplan_odd(b), k1, memplan_dot(memplan_even(b), k02, s->b));
    if (outputs == 2) {
        t->a = memplan_dot(memplan_odd(a), l1, memplan_dot(memplan_even(a), l02, t->a));
        t->b = memplan_dot(memplan_odd(b), l1, memplan_dot(memplan_even(b), l02, t->b));
    }
    const uint32_t c = memplan_four(x + 2 * step), d = memplan_four(x + 3 * step - 1);
    s->c = memplan_dot(memplan_odd(c), k1, memplan_dot(memplan_even(c), k02, s->c));
    s->d = memplan_dot(memplan_even(d), k1 << 16, memplan_dot(memplan_odd(d), k02, s->d));
    if (outputs == 2) {
        t->c = memplan_dot(memplan_odd(c), l1, memplan_dot(memplan_even(c), l02, t->c));
        t->d = memplan_dot(memplan_even(d), l1 << 16, memplan_dot(memplan_odd(d), l02, t->d));
    }
}

MEMPLAN_INLINE void one_column(const int8_t *x, int32_t step, int32_t k, struct sums *s) {
    s->a += k * x[0];
    s->b += k * x[step];
    s->c += k * x[2 * step];
    s->d += k * x[3 * step];
}

/* A row of a kernel. */
MEMPLAN_INLINE void all_columns(const struct memplan_convolution *g, const int8_t *x,
                                const int8_t *k, const int8_t *l, const int outputs,
                                struct sums *s, struct sums *t) {
    int32_t left = g->kernel_width;
    if (g->dilation_x == 1) {
        for (; left >= 4; left -= 4, x += 4, k += 4, l += 4) {
            four_columns(x, g->stride_x, k, l, outputs, s, t);
        }
        if (left == 3) {
            three_columns(x, g->stride_x, k, l, outputs, s, t);
            return;
        }
    }
    for (; left > 0; --left, x += g->dilation_x) {
        one_column(x, g->stride_x, *k++, s);
        if (outputs == 2) {
            one_column(x, g->stride_x, *l++, t);
        }
    }
}

/* Columns [left, left + count) of a row, the zero point where they are padding. */
static void with_padding(const int8_t *row, int32_t left, int32_t count, int32_t width,
                         int32_t zero_point, int8_t *columns) {
    int32_t i = 0;
    for (; i < count && left + i < 0; ++i) {
        columns[i] = (int8_t)zero_point;
    }
    for (; i < count && left + i < width; ++i) {
        columns[i] = row[left + i];
    }
    for (; i < count; ++i) {
        columns[i] = (int8_t)zero_point;
    }
}

/* result[4 t + p] += output channel t at outputs ox + p; x as it is, with its zero point.
 *
 * `edge`: some of the windows reach over the left or right edge. */
MEMPLAN_INLINE void four_outputs(const struct window *v, int32_t ox, const int edge,
                                 const int outputs, int32_t *result) {
    const struct memplan_convolution *g = v->shape;
    const int32_t first = ox * g->stride_x - g->padding_x;
    const int32_t count = (g->kernel_width - 1) * g->dilation_x + 1 + 3 * g->stride_x;
    int8_t columns[MOST_COLUMNS];
    struct sums s = {result[0], result[1], result[2], result[3]};
    struct sums t = {result[4], result[5], result[6], result[7]};
    for (int32_t c = 0; c < v->inputs; ++c) {
        const int8_t *k = kernel_of(v, 0, c);
        const int8_t *l = outputs == 2 ? kernel_of(v, 1, c) : k;
        for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
            if (v->rows[ky] != NULL) {
                const int8_t *x = v->rows[ky] + v->first_channel + c * v->x_channel;
                if (edge) {
                    with_padding(x, first, count, g->input_width, v->zero_point, columns);
                }
                all_columns(g, edge ? columns : x + first, k, l, outputs, &s, &t);
            }
            k += g->kernel_width;
            l += g->kernel_width;
        }
    }
    result[0] = s.a, result[1] = s.b, result[2] = s.c, result[3] = s.d;
    result[4] = t.a, result[5] = t.b, result[6] = t.c, result[7] = t.d;
}

/* The same of windows that are too wide for `four_outputs` at an edge. */
static void wide_window(const struct window *v, int32_t ox, int32_t outputs, int32_t *result) {
    const struct memplan_convolution *g = v->shape;
    for (int32_t i = 0; i < 4 * outputs * v->inputs; ++i) {
        const int32_t p = i % 4, t = i / 4 % outputs, c = i / 4 / outputs;
        const int8_t *k = kernel_of(v, t, c);
        const int32_t left = (ox + p) * g->stride_x - g->padding_x;
        for (int32_t j = 0; j < g->kernel_height * g->kernel_width; ++j) {
            const int8_t *row = v->rows[j / g->kernel_width];
            if (row != NULL) {
                const int32_t place = left + j % g->kernel_width * g->dilation_x;
                const int inside = place >= 0 && place < g->input_width;
                result[4 * t + p] +=
                    k[j] * (inside ? row[v->first_channel + c * v->x_channel + place]
                                   : v->zero_point);
            }
        }
    }
}

void memplan_int8_window_row(const struct memplan_conv_int8 *g,
                             const struct memplan_conv_int8_weights *w, const int8_t *const *rows,
                             int32_t x_channel, int8_t *y, int32_t y_channel) {
    const struct memplan_convolution *s = &g->shape;
    const int32_t group_outputs = s->outputs / s->groups, inputs = s->inputs / s->groups;
    /* Outputs [inner, outer) do not reach over the left or right edge. */
    const int32_t inner = ceiling(s->padding_x, s->stride_x);
    const int32_t room = s->input_width + s->padding_x - (s->kernel_width - 1) * s->dilation_x;
    const int32_t outer = smaller(s->output_width, ceiling(room, s->stride_x));
    const int wide = (s->kernel_width - 1) * s->dilation_x + 1 + 3 * s->stride_x > MOST_COLUMNS;
    int32_t together = 1;
    for (int32_t o = 0; o < s->outputs; o += together) {
        const int32_t group = o / group_outputs;
        together = o + 1 < (group + 1) * group_outputs ? 2 : 1;
        const struct window v = {
            s, &w->weight, rows, o, inputs, group * inputs * x_channel, x_channel, g->x_zero_point};
        int32_t starts[2] = {0, 0};
        for (int32_t t = 0; t < together; ++t) {
            /* The zero point of x is taken off all products at once. */
            starts[t] = (w->bias != NULL ? w->bias[o + t] : 0) -
                        g->x_zero_point * sum_of_weights(&v, t);
        }
        int32_t count;
        for (int32_t ox = 0; ox < s->output_width; ox += count) {
            int32_t sums[8] = {starts[0], starts[0], starts[0], starts[0],
                               starts[1], starts[1], starts[1], starts[1]};
            const int edge = ox < inner || ox + 4 > outer;
            count = smaller(4, s->output_width - ox);
            if (edge && wide) {
                wide_window(&v, ox, together, sums);
            } else if (edge && together == 2) {
                four_outputs(&v, ox, 1, 2, sums);
            } else if (edge) {
                four_outputs(&v, ox, 1, 1, sums);
            } else if (together == 2) {
                four_outputs(&v, ox, 0, 2, sums);
            } else {
                four_outputs(&v, ox, 0, 1, sums);
            }
            for (int32_t t = 0; t < together; ++t) {
                int8_t *place = y + (o + t) * y_channel + ox;
                if (count == 4) {
                    memplan_requantize_four(sums + 4 * t, w->multipliers[o + t], w->shifts[o + t],
                                            &g->y, place);
                    continue;
                }
                for (int32_t p = 0; p < count; ++p) {
                    place[p] = memplan_requantize(sums[4 * t + p], w->multipliers[o + t],
                                                  w->shifts[o + t], &g->y);
                }
            }
        }
    }
}
