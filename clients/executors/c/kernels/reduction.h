/* Sums and means over some dimensions of a tensor, float32. */
#ifndef MEMPLAN_REDUCTION_H
#define MEMPLAN_REDUCTION_H

#include <stdint.h>

/* Up to three dimensions that stay and up to three that are summed up, outermost first; unused
 * ones have size 1.  Results are dense. */
struct memplan_reduction {
    int32_t kept[3], kept_stride[3];
    int32_t summed[3], summed_stride[3];
};

/* y = sum of x, divided by `divisor`. */
void memplan_sum(const struct memplan_reduction *g, const float *x, float divisor, float *y);

#endif
