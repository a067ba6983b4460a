/* The windows of averages. */
#ifndef MEMPLAN_POOL_WINDOW_H
#define MEMPLAN_POOL_WINDOW_H

#include "meeting.h"
#include "pooling.h"

/* The part of a window that lies in the image, and what its sum is divided by. */
struct memplan_pool_window {
    int32_t top, bottom, left, right;
    float divisor;
};

MEMPLAN_INLINE struct memplan_pool_window memplan_pool_window(const struct memplan_pool *g,
                                                              int32_t oy, int32_t ox) {
    const int32_t top = oy * g->stride_y - g->padding_y;
    const int32_t left = ox * g->stride_x - g->padding_x;
    /* Windows may reach over the padding where sizes are rounded up. */
    const int32_t bottom = smaller(top + g->kernel_height, g->input_height + g->padding_y);
    const int32_t right = smaller(left + g->kernel_width, g->input_width + g->padding_x);
    struct memplan_pool_window w = {larger(top, 0), smaller(bottom, g->input_height),
                                    larger(left, 0), smaller(right, g->input_width), 0.0f};
    int32_t count = (w.bottom - w.top) * (w.right - w.left);
    if (g->divisor != 0) {
        count = g->divisor;
    } else if (g->counts_padding) {
        count = (bottom - top) * (right - left);
    }
    w.divisor = (float)count;
    return w;
}

#endif
