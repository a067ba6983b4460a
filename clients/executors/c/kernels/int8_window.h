/* Rows of convolutions over windows, depthwise and others. */
#ifndef MEMPLAN_INT8_WINDOW_H
#define MEMPLAN_INT8_WINDOW_H

#include "int8_convolution.h"

/* As memplan_conv_int8_row. */
void memplan_int8_window_row(const struct memplan_conv_int8 *g,
                             const struct memplan_conv_int8_weights *w, const int8_t *const *rows,
                             int32_t x_channel, int8_t *y, int32_t y_channel);

#endif
