/* Layer norm over rows of `length` elements and its gradients, float32, dense. */
#ifndef MEMPLAN_NORMALIZATION_H
#define MEMPLAN_NORMALIZATION_H

#include <stddef.h>
#include <stdint.h>

/* `weight` and `bias` may be NULL. */
void memplan_layer_norm(const float *x, const float *weight, const float *bias, int32_t rows,
                        int32_t length, float epsilon, float *y, float *mean, float *rstd);
void memplan_layer_norm_input_gradient(const float *gy, const float *x, const float *mean,
                                       const float *rstd, const float *weight, int32_t rows,
                                       int32_t length, float *gx);
void memplan_layer_norm_weight_gradient(const float *gy, const float *x, const float *mean,
                                        const float *rstd, int32_t rows, int32_t length,
                                        float *gw);

#endif
