#include "int8_update.h"

#include "rounding.h"

#define MOST_WEIGHT 127
#define MOST_BIAS (1 << 30)

static float rate_of(const struct memplan_sgd_int8 *g, float scale) {
    const float unit = scale * g->factor;
    return g->scaling != 0 ? g->learning_rate / unit : g->learning_rate * unit;
}

MEMPLAN_INLINE int32_t stepped(int32_t w, float step, int32_t most) {
    /* Beyond these an integer of any size is at its limit; NaN leaves it where it is. */
    if (step >= 2147483648.0f) {
        return -most;
    }
    if (step <= -2147483648.0f) {
        return most;
    }
    if (step != step) {
        return w;
    }
    const int64_t value = (int64_t)w - (int32_t)step;
    return value < -most ? -most : value > most ? most : (int32_t)value;
}

void memplan_sgd_int8(const struct memplan_sgd_int8 *g, const float *scales,
                      const struct memplan_channels *rows, int32_t row, int8_t *w,
                      const float *gradient) {
    for (int32_t r = 0; r < rows->count; ++r) {
        const float rate = rate_of(g, scales[memplan_channel(rows, r)]);
        for (int32_t i = 0; i < row; ++i) {
            *w = (int8_t)stepped(*w, memplan_round(*gradient++ * rate), MOST_WEIGHT);
            ++w;
        }
    }
}

void memplan_sgd_int32(const struct memplan_sgd_int8 *g, const float *scales,
                       const struct memplan_channels *rows, int32_t row, int32_t *w,
                       const float *gradient) {
    for (int32_t r = 0; r < rows->count; ++r) {
        const float rate = rate_of(g, scales[memplan_channel(rows, r)]);
        for (int32_t i = 0; i < row; ++i) {
            *w = stepped(*w, memplan_round(*gradient++ * rate), MOST_BIAS);
            ++w;
        }
    }
}
