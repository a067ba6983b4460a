#include "in_place_depthwise.h"

#include "depthwise_line.h"

/* Row `oy` of a channel. */
static void compute_row(const struct memplan_convolution *g, const float *plane,
                        const float *kernel, float bias, int32_t oy, float *y, const float *ring) {
    const float *lines[MEMPLAN_IN_PLACE_MOST_ROWS];
    int32_t first = g->kernel_height, last = 0;
    for (int32_t ky = 0; ky < g->kernel_height; ++ky) {
        const struct memplan_in_place_row row = memplan_in_place_row(g, oy, ky);
        if (row.slot >= 0) {
            lines[ky] = ring + row.slot * g->input_width;
        } else if (row.image >= 0) {
            lines[ky] = plane + row.image * g->input.row;
        } else {
            continue;
        }
        first = smaller(first, ky);
        last = ky + 1;
    }
    memplan_depthwise_line(g, kernel, bias, NULL, lines, 1, 0, 0, first, last,
                           y + oy * g->output.row);
}

void memplan_depthwise_in_place(const struct memplan_convolution *g, const float *x,
                                const struct memplan_split_weight *w, const float *bias, float *y,
                                float *ring) {
    const int32_t ring_rows = memplan_in_place_ring(g);
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t c = 0; c < g->outputs; ++c) {
            const float *plane = x + n * g->input.sample + c * g->input.channel;
            float *out = y + n * g->output.sample + c * g->output.channel;
            const float *kernel =
                memplan_weight_kernel(w, c, 0, 1, g->kernel_height * g->kernel_width);
            for (int32_t oy = 0; oy < g->output_height; ++oy) {
                float *kept = ring + oy % ring_rows * g->input_width;
                for (int32_t ix = 0; ix < g->input_width; ++ix) {
                    kept[ix] = plane[oy * g->input.row + ix];
                }
                compute_row(g, plane, kernel, bias != NULL ? bias[c] : 0.0f, oy, out, ring);
            }
        }
    }
}
