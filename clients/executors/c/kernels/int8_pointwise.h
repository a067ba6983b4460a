/* Rows of convolutions whose kernels have one element, stride 1, no padding and no groups. */
#ifndef MEMPLAN_INT8_POINTWISE_H
#define MEMPLAN_INT8_POINTWISE_H

#include "int8_convolution.h"

/* As memplan_conv_int8_row; `x` is the only row. */
void memplan_int8_pointwise_row(const struct memplan_conv_int8 *g,
                                const struct memplan_conv_int8_weights *w, const int8_t *x,
                                int32_t x_channel, int8_t *y, int32_t y_channel);

#endif
