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

/* The ring of rows while result row `row` is computed: that row of the image is in slot `slot`. */
struct memplan_in_place_ring {
    int32_t rows, row, slot;
};

/* Where a row of the window lies: in the ring (slot), in the image (row), or nowhere, in the padding
 * (both -1). */
struct memplan_in_place_row {
    int32_t slot, image;
};

MEMPLAN_INLINE struct memplan_in_place_ring memplan_in_place_start(
    const struct memplan_convolution *g) {
    const int32_t rows = g->padding_y + 1 < g->input_height ? g->padding_y + 1 : g->input_height;
    const struct memplan_in_place_ring ring = {rows, 0, 0};
    return ring;
}

MEMPLAN_INLINE void memplan_in_place_next(struct memplan_in_place_ring *ring) {
    ring->row += 1;
    ring->slot = ring->slot + 1 == ring->rows ? 0 : ring->slot + 1;
}

MEMPLAN_INLINE struct memplan_in_place_row memplan_in_place_row(
    const struct memplan_convolution *g, const struct memplan_in_place_ring *ring, int32_t ky) {
    const int32_t back = g->padding_y - ky * g->dilation_y;
    struct memplan_in_place_row found = {-1, -1};
    if (back >= 0 && back <= ring->row) {
        /* Not further back than the ring is long. */
        found.slot = ring->slot - back + (back > ring->slot ? ring->rows : 0);
    } else if (back < 0 && ring->row - back < g->input_height) {
        found.image = ring->row - back;
    }
    return found;
}

/* `kept`: memory for the ring's rows.  `bias` may be NULL. */
void memplan_depthwise_in_place(const struct memplan_convolution *g, const float *x,
                                const struct memplan_split_weight *w, const float *bias, float *y,
                                float *kept);

#endif
