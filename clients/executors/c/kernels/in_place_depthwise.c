#include "in_place_depthwise.h"

#include "bytes.h"
#include "depthwise_line.h"

/* The row of a channel that `ring` is at. */
static void compute_row(const struct memplan_convolution *g,
                        const struct memplan_in_place_ring *ring, const float *plane,
                        const float *kernel, float bias, const float *kept, float *y) {
    const float *lines[MEMPLAN_IN_PLACE_MOST_ROWS];
    int32_t first = g->kernel_height, last = 0;
    for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
        const struct memplan_in_place_row row = memplan_in_place_row(g, ring, ky);
        if (row.slot >= 0) {
            lines[ky] = kept + row.slot * g->input_width;
        } else if (row.image >= 0) {
            lines[ky] = plane + row.image * g->input.row;
        } else {
            continue;
        }
        first = smaller(first, ky);
        last = ky + 1;
    }
    memplan_depthwise_line(g, kernel, bias, NULL, lines, 1, 0, 0, first, last,
                           y + ring->row * g->output.row);
}

void memplan_depthwise_in_place(const struct memplan_convolution *g, const float *x,
                                const struct memplan_split_weight *w, const float *bias, float *y,
                                float *kept) {
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t c = 0; c < g->outputs; ++c) {
            const float *plane = x + n * g->input.sample + c * g->input.channel;
            float *out = y + n * g->output.sample + c * g->output.channel;
            const float *kernel =
                memplan_weight_kernel(w, c, 0, 1, g->kernel_height * g->kernel_width);
            struct memplan_in_place_ring ring = memplan_in_place_start(g);
            for (; ring.row < g->output_height; memplan_in_place_next(&ring)) {
                memplan_copy_bytes(kept + ring.slot * g->input_width,
                                   plane + ring.row * g->input.row,
                                   g->input_width * (int32_t)sizeof(float));
                compute_row(g, &ring, plane, kernel, bias != NULL ? bias[c] : 0.0f, kept, out);
            }
        }
    }
}
