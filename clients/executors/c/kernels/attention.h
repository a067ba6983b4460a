/* Scaled dot-product attention and its gradient, float32, without a table of scores.
 *
 * Scores are computed again where they are needed, so no memory beside the operands is used. */
#ifndef MEMPLAN_ATTENTION_H
#define MEMPLAN_ATTENTION_H

#include <stdint.h>

/* Strides of [samples][heads][length][width], in elements. */
struct memplan_head_strides {
    int32_t sample, head, place, element;
};

struct memplan_attention {
    int32_t samples, heads, queries, keys, width, value_width;
    /* 1: query i sees the keys up to i. */
    int32_t causal;
    float scale;
    /* `sums`: of logarithms of the sums of exponentials; its `element` is not used. */
    struct memplan_head_strides query, key, value, output, sums;
    /* Of what is added to the score of (query, key); `place` goes over queries. */
    struct memplan_head_strides mask;
    /* Of the gradients; not used by memplan_attention. */
    struct memplan_head_strides output_gradient, query_gradient, key_gradient, value_gradient;
};

/* `mask` may be NULL. */
void memplan_attention(const struct memplan_attention *g, const float *query, const float *key,
                       const float *value, const float *mask, float *output, float *sums);

void memplan_attention_gradient(const struct memplan_attention *g, const float *output_gradient,
                                const float *query, const float *key, const float *value,
                                const float *mask, const float *output, const float *sums,
                                float *query_gradient, float *key_gradient,
                                float *value_gradient);

#endif
