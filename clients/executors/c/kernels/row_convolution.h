/* One row of a convolution of one sample, float32, from rows that each lie somewhere.
 *
 * `lines` has one pointer per row of the kernel, to the first channel of that row of the input;
 * NULL: the row is padding.  Of the geometry the heights, samples and strides over rows and samples
 * are not read.  Sums go in the order of the convolution by itself, so the bits are the same.
 */
#ifndef MEMPLAN_ROW_CONVOLUTION_H
#define MEMPLAN_ROW_CONVOLUTION_H

#include "convolution.h"

/* `bias` may be NULL. */
void memplan_convolution_row(const struct memplan_convolution *g, const float *const *lines,
                             const struct memplan_split_weight *w, const float *bias, float *y);

/* The same where groups = inputs = outputs. */
void memplan_depthwise_row(const struct memplan_convolution *g, const float *const *lines,
                           const struct memplan_split_weight *w, const float *bias, float *y);

#endif
