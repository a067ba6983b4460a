#include "int8_in_place_depthwise.h"

#include "bytes.h"

/* Row `oy` of a channel, whose weights `w` are. */
static void compute_row(const struct memplan_conv_int8 *g,
                        const struct memplan_conv_int8_weights *w, const int8_t *plane, int32_t oy,
                        int8_t *y, const int8_t *ring) {
    const struct memplan_convolution *s = &g->shape;
    const int8_t *lines[MEMPLAN_IN_PLACE_MOST_ROWS];
    for (int32_t ky = 0; ky < s->kernel_height; ++ky) {
        const struct memplan_in_place_row row = memplan_in_place_row(s, oy, ky);
        lines[ky] = row.slot >= 0    ? ring + row.slot * s->input_width
                    : row.image >= 0 ? plane + row.image * s->input.row
                                     : NULL;
    }
    memplan_conv_int8_row(g, w, lines, 0, y + oy * s->output.row, 0);
}

void memplan_depthwise_int8_in_place(const struct memplan_conv_int8_in_place *g,
                                     const struct memplan_conv_int8_weights *w, const int8_t *x,
                                     int8_t *y, int8_t *ring) {
    const struct memplan_convolution *s = &g->channel.shape;
    const int32_t ring_rows = memplan_in_place_ring(s);
    for (int32_t n = 0; n < g->samples; ++n) {
        for (int32_t c = 0; c < g->channels; ++c) {
            const struct memplan_conv_int8_weights own = {
                .weight = {.frozen = memplan_int8_kernel(&w->weight, c, 0, 1,
                                                         s->kernel_height * s->kernel_width)},
                .bias = w->bias != NULL ? w->bias + c : NULL,
                .multipliers = w->multipliers + c,
                .shifts = w->shifts + c,
            };
            const int8_t *plane = x + n * s->input.sample + c * s->input.channel;
            int8_t *out = y + n * s->output.sample + c * s->output.channel;
            for (int32_t oy = 0; oy < s->output_height; ++oy) {
                memplan_copy_bytes(ring + oy % ring_rows * s->input_width,
                                   plane + oy * s->input.row, s->input_width);
                compute_row(&g->channel, &own, plane, oy, out, ring);
            }
        }
    }
}
