#include "normalization.h"

#include "mathematics.h"

void memplan_layer_norm(const float *x, const float *weight, const float *bias, int32_t rows,
                        int32_t length, float epsilon, float *y, float *mean, float *rstd) {
    for (int32_t r = 0; r < rows; ++r) {
        float sum = 0.0f, squares = 0.0f;
        for (int32_t i = 0; i < length; ++i) {
            sum += x[i];
        }
        const float middle = sum / (float)length;
        for (int32_t i = 0; i < length; ++i) {
            squares += (x[i] - middle) * (x[i] - middle);
        }
        const float inverse = 1.0f / memplan_sqrt(squares / (float)length + epsilon);
        for (int32_t i = 0; i < length; ++i) {
            const float normal = (x[i] - middle) * inverse;
            y[i] = normal * (weight != NULL ? weight[i] : 1.0f) + (bias != NULL ? bias[i] : 0.0f);
        }
        mean[r] = middle;
        rstd[r] = inverse;
        x += length;
        y += length;
    }
}

void memplan_layer_norm_input_gradient(const float *gy, const float *x, const float *mean,
                                       const float *rstd, const float *weight, int32_t rows,
                                       int32_t length, float *gx) {
    for (int32_t r = 0; r < rows; ++r) {
        float sum = 0.0f, product = 0.0f;
        for (int32_t i = 0; i < length; ++i) {
            const float g = gy[i] * (weight != NULL ? weight[i] : 1.0f);
            sum += g;
            product += g * (x[i] - mean[r]) * rstd[r];
        }
        const float level = sum / (float)length, slope = product / (float)length;
        for (int32_t i = 0; i < length; ++i) {
            const float g = gy[i] * (weight != NULL ? weight[i] : 1.0f);
            gx[i] = rstd[r] * (g - level - (x[i] - mean[r]) * rstd[r] * slope);
        }
        gy += length;
        x += length;
        gx += length;
    }
}

void memplan_layer_norm_weight_gradient(const float *gy, const float *x, const float *mean,
                                        const float *rstd, int32_t rows, int32_t length,
                                        float *gw) {
    for (int32_t i = 0; i < length; ++i) {
        float sum = 0.0f;
        for (int32_t r = 0; r < rows; ++r) {
            sum += gy[r * length + i] * (x[r * length + i] - mean[r]) * rstd[r];
        }
        gw[i] = sum;
    }
}
