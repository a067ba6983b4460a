#include "update.h"

#include "mathematics.h"

void memplan_clear(float *accumulator, int32_t count) {
    for (int32_t i = 0; i < count; ++i) {
        accumulator[i] = 0.0f;
    }
}

void memplan_accumulate(float *accumulator, const float *gradient, int32_t count, float factor) {
    for (int32_t i = 0; i < count; ++i) {
        accumulator[i] += factor * gradient[i];
    }
}

void memplan_sgd(float *w, const float *gradient, int32_t count, float rate) {
    for (int32_t i = 0; i < count; ++i) {
        w[i] -= rate * gradient[i];
    }
}

void memplan_momentum(float *w, const float *gradient, float *velocity, int32_t count, float rate,
                      float decay) {
    for (int32_t i = 0; i < count; ++i) {
        velocity[i] = decay * velocity[i] + gradient[i];
        w[i] -= rate * velocity[i];
    }
}

void memplan_adam(const struct memplan_adam *g, float *w, const float *gradient, float *first,
                  float *second, int64_t step, int32_t count) {
    const double correction1 = 1.0 - memplan_power(g->beta1, step);
    const double correction2 = 1.0 - memplan_power(g->beta2, step);
    const float rate = (float)(g->rate / correction1);
    const float root = memplan_sqrt((float)correction2);
    const float weight1 = (float)(1.0 - g->beta1);
    const float weight2 = (float)(1.0 - g->beta2);
    const float decay2 = (float)g->beta2;
    for (int32_t i = 0; i < count; ++i) {
        first[i] += weight1 * (gradient[i] - first[i]);
        second[i] = decay2 * second[i] + weight2 * gradient[i] * gradient[i];
        w[i] -= rate * first[i] / (memplan_sqrt(second[i]) / root + g->epsilon);
    }
}
