#include "loss.h"

#include "mathematics.h"

static float maximum(const float *x, int32_t length, int32_t step) {
    float best = *x;
    for (int32_t i = 1; i < length; ++i) {
        const float value = x[i * step];
        best = value > best || value != value ? value : best;
    }
    return best;
}

void memplan_softmax(const struct memplan_softmax *g, const float *x, float *y) {
    for (int32_t o = 0; o < g->outer; ++o) {
        for (int32_t k = 0; k < g->inner; ++k) {
            const int32_t start = o * g->length * g->inner + k;
            const float top = maximum(x + start, g->length, g->inner);
            float sum = 0.0f;
            for (int32_t i = 0; i < g->length; ++i) {
                const float part = memplan_exp(x[start + i * g->inner] - top);
                y[start + i * g->inner] = part;
                sum += part;
            }
            for (int32_t i = 0; i < g->length; ++i) {
                y[start + i * g->inner] /= sum;
            }
        }
    }
}

void memplan_softmax_gradient(const struct memplan_softmax *g, const float *gy, const float *y,
                              float *gx) {
    for (int32_t o = 0; o < g->outer; ++o) {
        for (int32_t k = 0; k < g->inner; ++k) {
            const int32_t start = o * g->length * g->inner + k;
            float sum = 0.0f;
            for (int32_t i = 0; i < g->length; ++i) {
                sum += gy[start + i * g->inner] * y[start + i * g->inner];
            }
            for (int32_t i = 0; i < g->length; ++i) {
                const int32_t at = start + i * g->inner;
                gx[at] = (gy[at] - sum) * y[at];
            }
        }
    }
}

void memplan_log_softmax(const struct memplan_softmax *g, const float *x, float *y) {
    for (int32_t o = 0; o < g->outer; ++o) {
        for (int32_t k = 0; k < g->inner; ++k) {
            const int32_t start = o * g->length * g->inner + k;
            const float top = maximum(x + start, g->length, g->inner);
            float sum = 0.0f;
            for (int32_t i = 0; i < g->length; ++i) {
                sum += memplan_exp(x[start + i * g->inner] - top);
            }
            const float normalizer = memplan_log(sum);
            for (int32_t i = 0; i < g->length; ++i) {
                y[start + i * g->inner] = x[start + i * g->inner] - top - normalizer;
            }
        }
    }
}

void memplan_log_softmax_gradient(const struct memplan_softmax *g, const float *gy, const float *y,
                                  float *gx) {
    for (int32_t o = 0; o < g->outer; ++o) {
        for (int32_t k = 0; k < g->inner; ++k) {
            const int32_t start = o * g->length * g->inner + k;
            float sum = 0.0f;
            for (int32_t i = 0; i < g->length; ++i) {
                sum += gy[start + i * g->inner];
            }
            for (int32_t i = 0; i < g->length; ++i) {
                const int32_t at = start + i * g->inner;
                gx[at] = gy[at] - memplan_exp(y[at]) * sum;
            }
        }
    }
}

/* A label that is no class counts as ignored: nothing is read outside of the tensor. */
static int counts(const struct memplan_cross_entropy *g, int64_t label) {
    return label != g->ignored && label >= 0 && label < g->classes;
}

void memplan_cross_entropy(const struct memplan_cross_entropy *g, const float *log_probability,
                           const int64_t *labels, float *loss, float *count) {
    float sum = 0.0f, number = 0.0f;
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t k = 0; k < g->inner; ++k) {
            const int64_t label = labels[n * g->inner + k];
            if (counts(g, label)) {
                sum -= log_probability[(n * g->classes + (int32_t)label) * g->inner + k];
                number += 1.0f;
            }
        }
    }
    *loss = g->takes_mean ? sum / number : sum;
    *count = number;
}

void memplan_cross_entropy_gradient(const struct memplan_cross_entropy *g, const float *gy,
                                    const int64_t *labels, const float *count, float *gx) {
    const float slope = g->takes_mean ? -*gy / *count : -*gy;
    for (int32_t i = 0; i < g->samples * g->classes * g->inner; ++i) {
        gx[i] = 0.0f;
    }
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t k = 0; k < g->inner; ++k) {
            const int64_t label = labels[n * g->inner + k];
            if (counts(g, label)) {
                gx[(n * g->classes + (int32_t)label) * g->inner + k] = slope;
            }
        }
    }
}

void memplan_squared_error(const float *x, const float *y, int32_t count, float divisor,
                           float *loss) {
    float total = 0.0f;
    for (int32_t start = 0; start < count; start += 64) {
        float part = 0.0f;
        for (int32_t i = start; i < count && i < start + 64; ++i) {
            const float difference = x[i] - y[i];
            part += difference * difference;
        }
        total += part;
    }
    *loss = total / divisor;
}
