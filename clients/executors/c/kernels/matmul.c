#include "matmul.h"

/* Where row r of the weight begins, if it stands in one piece; else NULL. */
struct row {
    const float *start;
    int32_t step;
};

static struct row row_of(const struct memplan_matmul *g, const struct memplan_split_weight *w,
                         int32_t n, int32_t r) {
    struct row found = {w->frozen + n * g->w_sample + r * g->w_row, g->w_column};
    if (w->slice != NULL) {
        if (!g->cuts_rows) {
            found.start = NULL;
        } else if (w->position[r] >= 0) {
            found.start = w->slice + w->position[r] * g->slice_row;
            found.step = g->slice_column;
        }
    }
    return found;
}

MEMPLAN_INLINE float element(const struct memplan_matmul *g, const struct memplan_split_weight *w,
                             int32_t r, int32_t c) {
    const int32_t place = w->position[c];
    return place >= 0 ? w->slice[r * g->slice_row + place * g->slice_column]
                      : w->frozen[r * g->w_row + c * g->w_column];
}

/* Two rows by four pixels at once: each x is read once for two products, each weight for four. */
MEMPLAN_INLINE void tile(const struct memplan_matmul *g, const struct memplan_split_weight *w,
                         struct row row0, struct row row1, const int split, int32_t r,
                         const float *x, const float *bias, float *y) {
    float a0 = 0.0f, a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
    float b0 = 0.0f, b1 = 0.0f, b2 = 0.0f, b3 = 0.0f;
    if (bias != NULL) {
        const float *low = bias + g->bias_row;
        const int32_t next = g->bias_pixel;
        a0 = bias[0], a1 = bias[next], a2 = bias[2 * next], a3 = bias[3 * next];
        b0 = low[0], b1 = low[next], b2 = low[2 * next], b3 = low[3 * next];
    }
    const int32_t next = g->x_pixel;
    const float *w0 = row0.start, *w1 = row1.start;
    for (int32_t c = 0; c < g->columns; ++c) {
        float u, v;
        if (split) {
            u = element(g, w, r, c);
            v = element(g, w, r + 1, c);
        } else {
            u = *w0, v = *w1;
            w0 += row0.step, w1 += row1.step;
        }
        const float x0 = x[0], x1 = x[next], x2 = x[2 * next], x3 = x[3 * next];
        a0 += u * x0, a1 += u * x1, a2 += u * x2, a3 += u * x3;
        b0 += v * x0, b1 += v * x1, b2 += v * x2, b3 += v * x3;
        x += g->x_column;
    }
    const int32_t step = g->y_pixel;
    y[0] = a0, y[step] = a1, y[2 * step] = a2, y[3 * step] = a3;
    y += g->y_row;
    y[0] = b0, y[step] = b1, y[2 * step] = b2, y[3 * step] = b3;
}

/* One row by four pixels. */
MEMPLAN_INLINE void tile_of_one(const struct memplan_matmul *g,
                                const struct memplan_split_weight *w, struct row row, int32_t r,
                                const float *x, const float *bias, float *y) {
    float a0 = 0.0f, a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
    if (bias != NULL) {
        const int32_t next = g->bias_pixel;
        a0 = bias[0], a1 = bias[next], a2 = bias[2 * next], a3 = bias[3 * next];
    }
    const int32_t next = g->x_pixel;
    const float *from = row.start;
    for (int32_t c = 0; c < g->columns; ++c) {
        float u;
        if (from == NULL) {
            u = element(g, w, r, c);
        } else {
            u = *from;
            from += row.step;
        }
        a0 += u * x[0], a1 += u * x[next], a2 += u * x[2 * next], a3 += u * x[3 * next];
        x += g->x_column;
    }
    const int32_t step = g->y_pixel;
    y[0] = a0, y[step] = a1, y[2 * step] = a2, y[3 * step] = a3;
}

MEMPLAN_INLINE float single(const struct memplan_matmul *g, const struct memplan_split_weight *w,
                            struct row row, int32_t r, const float *x, float sum) {
    if (row.start == NULL) {
        for (int32_t c = 0; c < g->columns; ++c, x += g->x_column) {
            sum += element(g, w, r, c) * *x;
        }
        return sum;
    }
    for (int32_t c = 0; c < g->columns; ++c, x += g->x_column, row.start += row.step) {
        sum += *row.start * *x;
    }
    return sum;
}

void memplan_matmul(const struct memplan_matmul *g, const float *x,
                    const struct memplan_split_weight *w, const float *bias, float *y) {
    for (int32_t n = 0; n < g->samples; ++n) {
        const float *in = x + n * g->x_sample;
        float *out = y + n * g->y_sample;
        for (int32_t r = 0; r < g->rows; r += 2) {
            const int both = r + 1 < g->rows;
            const struct row row0 = row_of(g, w, n, r);
            const struct row row1 = row_of(g, w, n, both ? r + 1 : r);
            int32_t p = 0;
            for (; p + 4 <= g->pixels; p += 4) {
                const float *start =
                    bias != NULL ? bias + r * g->bias_row + p * g->bias_pixel : NULL;
                float *place = out + r * g->y_row + p * g->y_pixel;
                if (!both) {
                    tile_of_one(g, w, row0, r, in + p * g->x_pixel, start, place);
                } else if (row0.start != NULL) {
                    tile(g, w, row0, row1, 0, r, in + p * g->x_pixel, start, place);
                } else {
                    tile(g, w, row0, row1, 1, r, in + p * g->x_pixel, start, place);
                }
            }
            for (; p < g->pixels; ++p) {
                for (int32_t s = r; s <= r + both; ++s) {
                    const float start =
                        bias != NULL ? bias[s * g->bias_row + p * g->bias_pixel] : 0.0f;
                    out[s * g->y_row + p * g->y_pixel] =
                        single(g, w, s == r ? row0 : row1, s, in + p * g->x_pixel, start);
                }
            }
        }
    }
}

void memplan_outer_product(const struct memplan_outer_product *g, const float *gy, const float *x,
                           const struct memplan_channels *outputs,
                           const struct memplan_channels *inputs, float *gw) {
    for (int32_t r = 0; r < outputs->count; ++r) {
        const float *left = gy + memplan_channel(outputs, r) * g->gy_channel;
        int32_t c = 0;
        for (; c + 4 <= inputs->count; c += 4) {
            const float *right0 = x + memplan_channel(inputs, c) * g->x_channel;
            const float *right1 = x + memplan_channel(inputs, c + 1) * g->x_channel;
            const float *right2 = x + memplan_channel(inputs, c + 2) * g->x_channel;
            const float *right3 = x + memplan_channel(inputs, c + 3) * g->x_channel;
            float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
            for (int32_t n = 0; n < g->samples; ++n) {
                const float *from = left + n * g->gy_sample;
                int32_t place = n * g->x_sample;
                for (int32_t p = 0; p < g->pixels; ++p) {
                    const float factor = *from;
                    sum0 += factor * right0[place];
                    sum1 += factor * right1[place];
                    sum2 += factor * right2[place];
                    sum3 += factor * right3[place];
                    from += g->gy_pixel;
                    place += g->x_pixel;
                }
            }
            *gw++ = sum0;
            *gw++ = sum1;
            *gw++ = sum2;
            *gw++ = sum3;
        }
        for (; c < inputs->count; ++c) {
            const float *right = x + memplan_channel(inputs, c) * g->x_channel;
            float sum = 0.0f;
            for (int32_t n = 0; n < g->samples; ++n) {
                for (int32_t p = 0; p < g->pixels; ++p) {
                    sum += left[n * g->gy_sample + p * g->gy_pixel] *
                           right[n * g->x_sample + p * g->x_pixel];
                }
            }
            *gw++ = sum;
        }
    }
}
