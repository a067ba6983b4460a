/* Which outputs of a convolution meet its image through one place of the kernel. */
#ifndef MEMPLAN_OVERLAP_H
#define MEMPLAN_OVERLAP_H

#include "convolution.h"
#include "meeting.h"

/* Outputs [top, bottom), and `width` of each from `left` on. */
struct overlap {
    int32_t top, bottom, left, width;
    /* From an output to the input that it meets. */
    int32_t down, right;
};

MEMPLAN_INLINE struct overlap overlap_of(const struct memplan_convolution *g, int32_t ky,
                                         int32_t kx) {
    struct overlap v;
    v.down = ky * g->dilation_y - g->padding_y;
    v.right = kx * g->dilation_x - g->padding_x;
    v.top = larger(0, ceiling(-v.down, g->stride_y));
    v.bottom = smaller(g->output_height, ceiling(g->input_height - v.down, g->stride_y));
    v.left = larger(0, ceiling(-v.right, g->stride_x));
    v.width =
        smaller(g->output_width, ceiling(g->input_width - v.right, g->stride_x)) - v.left;
    return v;
}

#endif
