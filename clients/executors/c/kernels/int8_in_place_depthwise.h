/* As in_place_depthwise.h, for int8. */
#ifndef MEMPLAN_INT8_IN_PLACE_DEPTHWISE_H
#define MEMPLAN_INT8_IN_PLACE_DEPTHWISE_H

#include "in_place_depthwise.h"
#include "int8_convolution.h"

/* `channel` is the convolution of one channel by itself: of it, samples and channels are 1. */
struct memplan_conv_int8_in_place {
    struct memplan_conv_int8 channel;
    int32_t samples, channels;
};

void memplan_depthwise_int8_in_place(const struct memplan_conv_int8_in_place *g,
                                     const struct memplan_conv_int8_weights *w, const int8_t *x,
                                     int8_t *y, int8_t *ring);

#endif
