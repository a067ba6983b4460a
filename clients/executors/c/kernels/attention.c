#include "attention.h"

#include <stddef.h>

#include "inline.h"
#include "mathematics.h"

MEMPLAN_INLINE int32_t start(const struct memplan_head_strides *s, int32_t n, int32_t h) {
    return n * s->sample + h * s->head;
}

MEMPLAN_INLINE float product(const float *a, int32_t a_step, const float *b, int32_t b_step,
                             int32_t count) {
    float sum = 0.0f;
    for (int32_t i = 0; i < count; ++i) {
        sum += a[i * a_step] * b[i * b_step];
    }
    return sum;
}

/* y += factor * x. */
MEMPLAN_INLINE void add(float factor, const float *x, int32_t x_step, float *y, int32_t y_step,
                        int32_t count) {
    for (int32_t i = 0; i < count; ++i) {
        y[i * y_step] += factor * x[i * x_step];
    }
}

static void clear(float *x, const struct memplan_head_strides *s, int32_t places, int32_t width) {
    for (int32_t i = 0; i < places; ++i) {
        for (int32_t e = 0; e < width; ++e) {
            x[i * s->place + e * s->element] = 0.0f;
        }
    }
}

/* Score of a query and key number j; `mask` points to the row of the query. */
MEMPLAN_INLINE float score_of(const struct memplan_attention *g, const float *q, const float *k,
                              const float *mask, int32_t j) {
    const float score = g->scale * product(q, g->query.element, k, g->key.element, g->width);
    return mask != NULL ? score + mask[j * g->mask.element] : score;
}

MEMPLAN_INLINE int32_t seen(const struct memplan_attention *g, int32_t query) {
    return g->causal && query + 1 < g->keys ? query + 1 : g->keys;
}

void memplan_attention(const struct memplan_attention *g, const float *query, const float *key,
                       const float *value, const float *mask, float *output, float *sums) {
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t h = 0; h < g->heads; ++h) {
            const float *keys = key + start(&g->key, n, h);
            const float *values = value + start(&g->value, n, h);
            float *outputs = output + start(&g->output, n, h);
            clear(outputs, &g->output, g->queries, g->value_width);
            for (int32_t i = 0; i < g->queries; ++i) {
                const float *q = query + start(&g->query, n, h) + i * g->query.place;
                float *y = outputs + i * g->output.place;
                const int32_t count = seen(g, i);
                const float *row =
                    mask != NULL ? mask + start(&g->mask, n, h) + i * g->mask.place : NULL;
                float top = -__builtin_inff(), sum = 0.0f;
                for (int32_t j = 0; j < count; ++j) {
                    const float score = score_of(g, q, keys + j * g->key.place, row, j);
                    top = score > top || score != score ? score : top;
                }
                for (int32_t j = 0; j < count; ++j) {
                    const float score = score_of(g, q, keys + j * g->key.place, row, j);
                    const float share = memplan_exp(score - top);
                    sum += share;
                    add(share, values + j * g->value.place, g->value.element, y,
                        g->output.element, g->value_width);
                }
                for (int32_t e = 0; e < g->value_width; ++e) {
                    y[e * g->output.element] /= sum;
                }
                sums[start(&g->sums, n, h) + i * g->sums.place] = top + memplan_log(sum);
            }
        }
    }
}

void memplan_attention_gradient(const struct memplan_attention *g, const float *output_gradient,
                                const float *query, const float *key, const float *value,
                                const float *mask, const float *output, const float *sums,
                                float *query_gradient, float *key_gradient,
                                float *value_gradient) {
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t h = 0; h < g->heads; ++h) {
            float *gqs = query_gradient + start(&g->query_gradient, n, h);
            float *gks = key_gradient + start(&g->key_gradient, n, h);
            float *gvs = value_gradient + start(&g->value_gradient, n, h);
            clear(gqs, &g->query_gradient, g->queries, g->width);
            clear(gks, &g->key_gradient, g->keys, g->width);
            clear(gvs, &g->value_gradient, g->keys, g->value_width);
            for (int32_t i = 0; i < g->queries; ++i) {
                const float *q = query + start(&g->query, n, h) + i * g->query.place;
                const float *y = output + start(&g->output, n, h) + i * g->output.place;
                const float *gy = output_gradient + start(&g->output_gradient, n, h) +
                                  i * g->output_gradient.place;
                const float *row =
                    mask != NULL ? mask + start(&g->mask, n, h) + i * g->mask.place : NULL;
                const float total = sums[start(&g->sums, n, h) + i * g->sums.place];
                const float level = product(gy, g->output_gradient.element, y, g->output.element,
                                            g->value_width);
                for (int32_t j = 0; j < seen(g, i); ++j) {
                    const float *k = key + start(&g->key, n, h) + j * g->key.place;
                    const float *v = value + start(&g->value, n, h) + j * g->value.place;
                    const float share = memplan_exp(score_of(g, q, k, row, j) - total);
                    const float slope = product(gy, g->output_gradient.element, v,
                                                g->value.element, g->value_width);
                    const float change = share * (slope - level) * g->scale;
                    add(share, gy, g->output_gradient.element, gvs + j * g->value_gradient.place,
                        g->value_gradient.element, g->value_width);
                    add(change, k, g->key.element, gqs + i * g->query_gradient.place,
                        g->query_gradient.element, g->width);
                    add(change, q, g->query.element, gks + j * g->key_gradient.place,
                        g->key_gradient.element, g->width);
                }
            }
        }
    }
}
