#include "int8_depthwise.h"

#include "meeting.h"
#include "packed.h"

/* Rows of a kernel, and groups of up to four neighbours in a row. */
#define MOST_ROWS 7
#define MOST_GROUPS 2
/* Columns of the image that four outputs meet, and three more. */
#define MOST_COLUMNS 24

/* A channel's kernel in pairs, and what it meets, without rows of padding. */
struct channel {
    /* Weights 0 and 2, 1 and 3 of each group of four; missing ones are 0. */
    uint32_t pairs[MOST_ROWS * MOST_GROUPS * 2];
    const int8_t *rows[MOST_ROWS];
    int32_t count, sum;
};

int memplan_int8_depthwise_does(const struct memplan_convolution *g) {
    return g->groups == g->inputs && g->groups == g->outputs && g->dilation_x == 1 &&
           g->kernel_height <= MOST_ROWS && g->kernel_width <= 4 * MOST_GROUPS &&
           4 * MOST_GROUPS + 3 * g->stride_x <= MOST_COLUMNS;
}

static void take_channel(const struct memplan_convolution *g, const int8_t *kernel,
                         const int8_t *const *rows, int32_t place, struct channel *channel) {
    uint32_t *pairs = channel->pairs;
    channel->count = 0;
    channel->sum = 0;
    for (int32_t ky = 0; ky < g->kernel_height; ++ky, kernel += g->kernel_width) {
        if (rows[ky] == NULL) {
            continue;
        }
        channel->rows[channel->count++] = rows[ky] + place;
        for (int32_t kx = 0; kx < g->kernel_width; kx += 4) {
            const int32_t left = g->kernel_width - kx;
            const int32_t k0 = kernel[kx], k1 = left > 1 ? kernel[kx + 1] : 0;
            const int32_t k2 = left > 2 ? kernel[kx + 2] : 0, k3 = left > 3 ? kernel[kx + 3] : 0;
            channel->sum += k0 + k1 + k2 + k3;
            *pairs++ = memplan_pair(k0, k2);
            *pairs++ = memplan_pair(k1, k3);
        }
    }
}

/* sums[p] += one group of weights with what it meets at four outputs p. */
MEMPLAN_INLINE void group(const int8_t *x, int32_t step, const uint32_t *pairs, int32_t *sums) {
    const uint32_t k02 = pairs[0], k13 = pairs[1];
    const uint32_t a = memplan_four(x), b = memplan_four(x + step);
    const uint32_t c = memplan_four(x + 2 * step), d = memplan_four(x + 3 * step);
    sums[0] = memplan_dot(memplan_odd(a), k13, memplan_dot(memplan_even(a), k02, sums[0]));
    sums[1] = memplan_dot(memplan_odd(b), k13, memplan_dot(memplan_even(b), k02, sums[1]));
    sums[2] = memplan_dot(memplan_odd(c), k13, memplan_dot(memplan_even(c), k02, sums[2]));
    sums[3] = memplan_dot(memplan_odd(d), k13, memplan_dot(memplan_even(d), k02, sums[3]));
}

/* sums[p] = four outputs whose windows begin at `first`, `first` + stride, ... in each row.  `groups`
 * is a constant where this is called. */
MEMPLAN_INLINE void four_outputs(const struct channel *channel, int32_t first, int32_t step,
                                 const int groups, int32_t start, int32_t *sums) {
    const uint32_t *pairs = channel->pairs;
    int32_t found[4] = {start, start, start, start};
    for (int32_t i = 0; i < channel->count; ++i) {
        const int8_t *x = channel->rows[i] + first;
        group(x, step, pairs, found);
        if (groups == 2) {
            group(x + 4, step, pairs + 2, found);
        }
        pairs += 2 * groups;
    }
    sums[0] = found[0], sums[1] = found[1], sums[2] = found[2], sums[3] = found[3];
}

/* The same near the edges of the image: each row's columns are copied, with padding. */
static void at_edge(const struct memplan_convolution *g, const struct channel *channel,
                    int32_t first, int32_t groups, int32_t zero_point, int32_t start,
                    int32_t *sums) {
    const int32_t count = 4 * groups + 3 * g->stride_x;
    const int32_t begin = larger(0, -first), end = smaller(count, g->input_width - first);
    const uint32_t *pairs = channel->pairs;
    int8_t columns[MOST_COLUMNS];
    for (int32_t i = 0; i < count; ++i) {
        columns[i] = (int8_t)zero_point;
    }
    sums[0] = sums[1] = sums[2] = sums[3] = start;
    for (int32_t i = 0; i < channel->count; ++i) {
        const int8_t *x = channel->rows[i] + first;
        for (int32_t j = begin; j < end; ++j) {
            columns[j] = x[j];
        }
        for (int32_t k = 0; k < groups; ++k, pairs += 2) {
            group(columns + 4 * k, g->stride_x, pairs, sums);
        }
    }
}

void memplan_int8_depthwise_row(const struct memplan_conv_int8 *g,
                                const struct memplan_conv_int8_weights *w,
                                const int8_t *const *rows, int32_t x_channel, int8_t *y,
                                int32_t y_channel) {
    const struct memplan_convolution *s = &g->shape;
    const int32_t groups = (s->kernel_width + 3) / 4, step = s->stride_x;
    /* From `first` on, what four outputs read lies in the row where first is in [0, last]. */
    const int32_t last = s->input_width - 4 * groups - 3 * step;
    struct channel channel;
    for (int32_t c = 0; c < s->outputs; ++c) {
        const int8_t *kernel =
            memplan_int8_kernel(&w->weight, c, 0, 1, s->kernel_height * s->kernel_width);
        take_channel(s, kernel, rows, c * x_channel, &channel);
        /* The zero point of x is taken off all products at once. */
        const int32_t start =
            (w->bias != NULL ? w->bias[c] : 0) - g->x_zero_point * channel.sum;
        const int32_t multiplier = w->multipliers[c], shift = w->shifts[c];
        for (int32_t ox = 0; ox < s->output_width; ox += 4) {
            const int32_t first = ox * step - s->padding_x;
            int8_t *place = y + c * y_channel + ox;
            int32_t sums[4];
            if (first < 0 || first > last) {
                at_edge(s, &channel, first, groups, g->x_zero_point, start, sums);
            } else if (groups == 2) {
                four_outputs(&channel, first, step, 2, start, sums);
            } else {
                four_outputs(&channel, first, step, 1, start, sums);
            }
            if (ox + 4 <= s->output_width) {
                memplan_requantize_four(sums, multiplier, shift, &g->y, place);
                continue;
            }
            for (int32_t p = 0; p < s->output_width - ox; ++p) {
                place[p] = memplan_requantize(sums[p], multiplier, shift, &g->y);
            }
        }
    }
}
