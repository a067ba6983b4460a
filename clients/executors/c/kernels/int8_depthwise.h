/* Rows of depthwise convolutions: one kernel per channel. */
#ifndef MEMPLAN_INT8_DEPTHWISE_H
#define MEMPLAN_INT8_DEPTHWISE_H

#include "int8_convolution.h"

/* Whether the function below does it: kernels are small, and neighbours are taken together. */
int memplan_int8_depthwise_does(const struct memplan_convolution *shape);

/* As memplan_conv_int8_row. */
void memplan_int8_depthwise_row(const struct memplan_conv_int8 *g,
                                const struct memplan_conv_int8_weights *w,
                                const int8_t *const *rows, int32_t x_channel, int8_t *y,
                                int32_t y_channel);

#endif
