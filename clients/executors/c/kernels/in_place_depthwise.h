/* Depthwise convolutions that keep the size of an image, in the image's own bytes.
 *
 * Stride 1, result and image of one size and in the same order, rows dense.  Channel by channel,
 * rows from the top: of the rows up to the one that is computed a ring holds the last
 * `padding_y + 1` (at most the height), those below are still in the image.  The result may also lie
 * elsewhere.  Bits are those of the convolution by itself.
 */
#ifndef MEMPLAN_IN_PLACE_DEPTHWISE_H
#define MEMPLAN_IN_PLACE_DEPTHWISE_H

#include "convolution.h"

/* Most rows of a kernel. */
#define MEMPLAN_IN_PLACE_MOST_ROWS 32

/* Where row `row` of the window of result row `oy` lies: in the ring (slot), in the image (row), or
 * nowhere (both -1: padding). */
struct memplan_in_place_row {
    int32_t slot, image;
};

MEMPLAN_INLINE int32_t memplan_in_place_ring(const struct memplan_convolution *g) {
    return g->padding_y + 1 < g->input_height ? g->padding_y + 1 : g->input_height;
}

MEMPLAN_INLINE struct memplan_in_place_row memplan_in_place_row(const struct memplan_convolution *g,
                                                                int32_t oy, int32_t row) {
    const int32_t iy = oy - g->padding_y + row * g->dilation_y;
    struct memplan_in_place_row found = {-1, -1};
    if (iy >= 0 && iy <= oy) {
        found.slot = iy % memplan_in_place_ring(g);
    } else if (iy > oy && iy < g->input_height) {
        found.image = iy;
    }
    return found;
}

/* `ring`: memory for the ring's rows.  `bias` may be NULL. */
void memplan_depthwise_in_place(const struct memplan_convolution *g, const float *x,
                                const struct memplan_split_weight *w, const float *bias, float *y,
                                float *ring);

#endif
