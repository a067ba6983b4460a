/* One row of a pool of one sample, from rows that each lie somewhere.
 *
 * `lines` has one pointer per row of the window, to the first channel of that row of the input; NULL:
 * the row is padding.  `g->planes` counts channels; `x_channel` and `y_channel` go from one to the
 * next, in elements.
 */
#ifndef MEMPLAN_ROW_POOLING_H
#define MEMPLAN_ROW_POOLING_H

#include "int8_pooling.h"

/* Row `oy` of the result: how much of a window counts depends on where it is. */
void memplan_average_pool_row(const struct memplan_pool *g, const float *const *lines,
                              int32_t x_channel, int32_t oy, float *y, int32_t y_channel);

void memplan_max_pool_row(const struct memplan_pool *g, const float *const *lines,
                          int32_t x_channel, float *y, int32_t y_channel);
void memplan_max_pool_int8_row(const struct memplan_pool *g, const int8_t *const *lines,
                               int32_t x_channel, int8_t *y, int32_t y_channel);

void memplan_average_pool_int8_row(const struct memplan_pool *g,
                                   const struct memplan_mean_int8 *mean,
                                   const int8_t *const *lines, int32_t x_channel, int8_t *y,
                                   int32_t y_channel);

#endif
