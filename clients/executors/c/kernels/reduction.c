#include "reduction.h"

static float sum_of(const struct memplan_reduction *g, const float *x) {
    float total = 0.0f;
    for (int32_t i = 0; i < g->summed[0]; ++i) {
        for (int32_t j = 0; j < g->summed[1]; ++j) {
            const float *from = x + i * g->summed_stride[0] + j * g->summed_stride[1];
            float line = 0.0f;
            for (int32_t k = 0; k < g->summed[2]; ++k) {
                line += *from;
                from += g->summed_stride[2];
            }
            total += line;
        }
    }
    return total;
}

void memplan_sum(const struct memplan_reduction *g, const float *x, float divisor, float *y) {
    for (int32_t i = 0; i < g->kept[0]; ++i) {
        for (int32_t j = 0; j < g->kept[1]; ++j) {
            for (int32_t k = 0; k < g->kept[2]; ++k) {
                *y++ = sum_of(g, x + i * g->kept_stride[0] + j * g->kept_stride[1] +
                                     k * g->kept_stride[2]) /
                       divisor;
            }
        }
    }
}
