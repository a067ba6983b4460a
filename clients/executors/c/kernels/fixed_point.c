#include "fixed_point.h"

void memplan_requantize_four(const int32_t *sums, int32_t multiplier, int32_t shift,
                             const struct memplan_int8_range *range, int8_t *y) {
    if (shift <= 32) {
        for (int32_t i = 0; i < 4; ++i) {
            y[i] = memplan_requantize(sums[i], multiplier, shift, range);
        }
        return;
    }
    /* Nearly all factors; the range is read once, as for all that C knows y could lie in it. */
    const struct memplan_int8_range kept = *range;
    const int32_t half = 1 << (shift - 33), places = shift - 32;
    for (int32_t i = 0; i < 4; ++i) {
        const int32_t upper = (int32_t)(((int64_t)sums[i] * multiplier) >> 32);
        y[i] = memplan_to_int8((upper + half) >> places, &kept);
    }
}
