/* Softmax, cross entropy and squared error, float32, dense tensors. */
#ifndef MEMPLAN_LOSS_H
#define MEMPLAN_LOSS_H

#include <stdint.h>

/* A tensor [outer][length][inner]; softmax goes over `length`. */
struct memplan_softmax {
    int32_t outer, length, inner;
};

void memplan_softmax(const struct memplan_softmax *g, const float *x, float *y);
void memplan_softmax_gradient(const struct memplan_softmax *g, const float *gy, const float *y,
                              float *gx);
void memplan_log_softmax(const struct memplan_softmax *g, const float *x, float *y);
void memplan_log_softmax_gradient(const struct memplan_softmax *g, const float *gy, const float *y,
                                  float *gx);

/* Mean (or sum) over all places of -log_probability of the label; labels equal to `ignored` do not
 * count.  Log-probabilities are [samples][classes][inner]. */
struct memplan_cross_entropy {
    int32_t samples, classes, inner;
    int64_t ignored;
    int32_t takes_mean;
};

/* `count` becomes the number of labels that count. */
void memplan_cross_entropy(const struct memplan_cross_entropy *g, const float *log_probability,
                           const int64_t *labels, float *loss, float *count);
void memplan_cross_entropy_gradient(const struct memplan_cross_entropy *g, const float *gy,
                                    const int64_t *labels, const float *count, float *gx);

/* Sum of squared differences, divided by `divisor`. */
void memplan_squared_error(const float *x, const float *y, int32_t count, float divisor,
                           float *loss);

#endif
