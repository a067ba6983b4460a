/* Updates of parameters in their own bytes, and accumulators, float32, dense. */
#ifndef MEMPLAN_UPDATE_H
#define MEMPLAN_UPDATE_H

#include <stdint.h>

void memplan_clear(float *accumulator, int32_t count);
/* accumulator += factor * gradient. */
void memplan_accumulate(float *accumulator, const float *gradient, int32_t count, float factor);
/* w -= rate * gradient. */
void memplan_sgd(float *w, const float *gradient, int32_t count, float rate);
/* velocity = decay * velocity + gradient; w -= rate * velocity. */
void memplan_momentum(float *w, const float *gradient, float *velocity, int32_t count, float rate,
                      float decay);

struct memplan_adam {
    double rate, beta1, beta2;
    float epsilon;
};

/* As torch.optim.Adam; `step` counts from 1. */
void memplan_adam(const struct memplan_adam *g, float *w, const float *gradient, float *first,
                  float *second, int64_t step, int32_t count);

#endif
