#include "int8_pointwise.h"

#include "packed.h"

/* Weights of one output. */
struct row {
    /* All in one piece; NULL: cut along the inputs. */
    const int8_t *start;
    int32_t output;
};

static struct row row_of(const struct memplan_split_int8 *w, int32_t o, int32_t inputs) {
    const int cut = w->slice != NULL && w->axis == 1;
    return (struct row){cut ? NULL : memplan_int8_kernel(w, o, 0, inputs, 1), o};
}

MEMPLAN_INLINE int32_t weight_at(const struct memplan_split_int8 *w, struct row row, int32_t c,
                                 int32_t inputs) {
    return row.start != NULL ? row.start[c] : *memplan_int8_kernel(w, row.output, c, inputs, 1);
}

MEMPLAN_INLINE uint32_t with_byte(uint32_t four, int32_t i, int8_t byte) {
    return (four & ~(0xffu << 8 * i)) | (uint32_t)(uint8_t)byte << 8 * i;
}

/* Weights of channels c to c + 3 of `outputs` neighbouring rows, where they are cut along the
 * inputs: the frozen ones, with those that are updated put in. */
MEMPLAN_INLINE void four_cut_weights(const struct memplan_split_int8 *w, int32_t output,
                                     const int outputs, int32_t c, int32_t inputs, uint32_t *u,
                                     uint32_t *v) {
    const int8_t *frozen = w->frozen + output * inputs + c;
    const int8_t *slice = w->slice + output * w->count;
    *u = memplan_four(frozen);
    *v = outputs == 2 ? memplan_four(frozen + inputs) : 0;
#pragma GCC unroll 4
    for (int32_t i = 0; i < 4; ++i) {
        const int32_t place = w->position[c + i];
        if (place >= 0) {
            *u = with_byte(*u, i, slice[place]);
            *v = outputs == 2 ? with_byte(*v, i, slice[place + w->count]) : 0;
        }
    }
}

/* sums[4 t + p] += products of output t at four neighbouring pixels p, for one or two outputs.
 * `outputs` and `cut` are constants where this is called.
 *
 * Of four channels at a time, x is turned from four pixels of a channel into pairs of two channels
 * of a pixel, in the order in which weights come out of a word: channels 0 and 2, 1 and 3. */
MEMPLAN_INLINE void four_pixels(const struct memplan_split_int8 *w, const struct row *rows,
                                const int outputs, const int cut, int32_t inputs, const int8_t *x,
                                int32_t x_channel, int32_t *sums) {
    int32_t a0 = sums[0], a1 = sums[1], a2 = sums[2], a3 = sums[3];
    int32_t b0 = sums[4], b1 = sums[5], b2 = sums[6], b3 = sums[7];
    int32_t c = 0;
    for (; c + 4 <= inputs; c += 4) {
        uint32_t u, v;
        if (cut) {
            four_cut_weights(w, rows[0].output, outputs, c, inputs, &u, &v);
        } else {
            u = memplan_four(rows[0].start + c);
            v = outputs == 2 ? memplan_four(rows[1].start + c) : 0;
        }
        const uint32_t even = memplan_four(x), even_next = memplan_four(x + 2 * x_channel);
        const uint32_t left = memplan_low_halves(even, even_next);
        const uint32_t right = memplan_high_halves(even, even_next);
        const uint32_t u02 = memplan_even(u), v02 = memplan_even(v);
        const uint32_t e0 = memplan_even(left), e1 = memplan_odd(left);
        const uint32_t e2 = memplan_even(right), e3 = memplan_odd(right);
        a0 = memplan_dot(e0, u02, a0), a1 = memplan_dot(e1, u02, a1);
        a2 = memplan_dot(e2, u02, a2), a3 = memplan_dot(e3, u02, a3);
        if (outputs == 2) {
            b0 = memplan_dot(e0, v02, b0), b1 = memplan_dot(e1, v02, b1);
            b2 = memplan_dot(e2, v02, b2), b3 = memplan_dot(e3, v02, b3);
        }
        x += x_channel;
        const uint32_t odd = memplan_four(x), odd_next = memplan_four(x + 2 * x_channel);
        const uint32_t left_odd = memplan_low_halves(odd, odd_next);
        const uint32_t right_odd = memplan_high_halves(odd, odd_next);
        const uint32_t u13 = memplan_odd(u), v13 = memplan_odd(v);
        const uint32_t o0 = memplan_even(left_odd), o1 = memplan_odd(left_odd);
        const uint32_t o2 = memplan_even(right_odd), o3 = memplan_odd(right_odd);
        a0 = memplan_dot(o0, u13, a0), a1 = memplan_dot(o1, u13, a1);
        a2 = memplan_dot(o2, u13, a2), a3 = memplan_dot(o3, u13, a3);
        if (outputs == 2) {
            b0 = memplan_dot(o0, v13, b0), b1 = memplan_dot(o1, v13, b1);
            b2 = memplan_dot(o2, v13, b2), b3 = memplan_dot(o3, v13, b3);
        }
        x += 3 * x_channel;
    }
    for (; c < inputs; ++c) {
        const int32_t u = weight_at(w, rows[0], c, inputs);
        a0 += u * x[0], a1 += u * x[1], a2 += u * x[2], a3 += u * x[3];
        if (outputs == 2) {
            const int32_t v = weight_at(w, rows[1], c, inputs);
            b0 += v * x[0], b1 += v * x[1], b2 += v * x[2], b3 += v * x[3];
        }
        x += x_channel;
    }
    sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3;
    sums[4] = b0, sums[5] = b1, sums[6] = b2, sums[7] = b3;
}

void memplan_int8_pointwise_row(const struct memplan_conv_int8 *g,
                                const struct memplan_conv_int8_weights *w, const int8_t *x,
                                int32_t x_channel, int8_t *y, int32_t y_channel) {
    const int32_t inputs = g->shape.inputs, outputs = g->shape.outputs;
    const int32_t width = g->shape.output_width;
    for (int32_t o = 0; o < outputs; o += 2) {
        const int32_t together = o + 2 <= outputs ? 2 : 1;
        struct row rows[2];
        int32_t starts[2] = {0, 0};
        for (int32_t t = 0; t < together; ++t) {
            rows[t] = row_of(&w->weight, o + t, inputs);
            /* The zero point of x is taken off all products at once. */
            int32_t total = 0;
            for (int32_t c = 0; c < inputs; ++c) {
                total += weight_at(&w->weight, rows[t], c, inputs);
            }
            starts[t] = (w->bias != NULL ? w->bias[o + t] : 0) - g->x_zero_point * total;
        }
        int8_t *out = y + o * y_channel;
        int32_t p = 0;
        for (; p + 4 <= width; p += 4) {
            int32_t sums[8] = {starts[0], starts[0], starts[0], starts[0],
                               starts[1], starts[1], starts[1], starts[1]};
            if (together == 1 && rows[0].start == NULL) {
                four_pixels(&w->weight, rows, 1, 1, inputs, x + p, x_channel, sums);
            } else if (together == 1) {
                four_pixels(&w->weight, rows, 1, 0, inputs, x + p, x_channel, sums);
            } else if (rows[0].start == NULL) {
                four_pixels(&w->weight, rows, 2, 1, inputs, x + p, x_channel, sums);
            } else {
                four_pixels(&w->weight, rows, 2, 0, inputs, x + p, x_channel, sums);
            }
            for (int32_t t = 0; t < together; ++t) {
                memplan_requantize_four(sums + 4 * t, w->multipliers[o + t], w->shifts[o + t],
                                        &g->y, out + t * y_channel + p);
            }
        }
        for (; p < width; ++p) {
            for (int32_t t = 0; t < together; ++t) {
                int32_t sum = starts[t];
                for (int32_t c = 0; c < inputs; ++c) {
                    sum += weight_at(&w->weight, rows[t], c, inputs) * x[c * x_channel + p];
                }
                out[t * y_channel + p] =
                    memplan_requantize(sum, w->multipliers[o + t], w->shifts[o + t], &g->y);
            }
        }
    }
}
