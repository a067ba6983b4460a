#include "gather.h"

void memplan_gather(const struct memplan_gather *g, const float *x,
                    const struct memplan_channels *channels, float *y) {
    for (int32_t o = 0; o < g->outer; ++o) {
        for (int32_t k = 0; k < channels->count; ++k) {
            const float *from =
                x + o * g->outer_stride + memplan_channel(channels, k) * g->channel_stride;
            for (int32_t i = 0; i < g->inner; ++i) {
                *y++ = *from;
                from += g->inner_stride;
            }
        }
    }
}

void memplan_gather_int8(const struct memplan_gather *g, const int8_t *x,
                         const struct memplan_channels *channels, int8_t *y) {
    for (int32_t o = 0; o < g->outer; ++o) {
        for (int32_t k = 0; k < channels->count; ++k) {
            const int8_t *from =
                x + o * g->outer_stride + memplan_channel(channels, k) * g->channel_stride;
            for (int32_t i = 0; i < g->inner; ++i) {
                *y++ = *from;
                from += g->inner_stride;
            }
        }
    }
}
