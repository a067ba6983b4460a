/* Chosen channels of a tensor, side by side. */
#ifndef MEMPLAN_GATHER_H
#define MEMPLAN_GATHER_H

#include "channels.h"

/* A tensor [outer][channels][inner], with strides in elements. */
struct memplan_gather {
    int32_t outer, outer_stride, channel_stride, inner, inner_stride;
};

/* y[o][k][i] = x[o][channels[k]][i], dense. */
void memplan_gather(const struct memplan_gather *g, const float *x,
                    const struct memplan_channels *channels, float *y);
void memplan_gather_int8(const struct memplan_gather *g, const int8_t *x,
                         const struct memplan_channels *channels, int8_t *y);

#endif
