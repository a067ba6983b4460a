#include "window.h"

/* Kernel of result channel r and summed channel c. */
MEMPLAN_INLINE const float *kernel_of(const struct memplan_window_weight *w, int32_t r, int32_t c) {
    if (w->weight->slice == NULL) {
        return w->weight->frozen + w->first_output * w->inputs * w->size +
               w->first_input * w->size + r * w->result_step + c * w->channel_step;
    }
    const int32_t output = w->first_output + (w->results_are_outputs ? r : c);
    const int32_t input = w->first_input + (w->results_are_outputs ? c : r);
    return memplan_weight_kernel(w->weight, output, input, w->inputs, w->size);
}

/* `results`, `pixels` and `unit` are constants where this is called: of each call only one shape of
 * the loops remains.  `unit`: the next column of the kernel is the next element. */
MEMPLAN_INLINE void add(const struct memplan_window *v, const struct memplan_window_weight *w,
                        const float *image, int32_t r, const int results, const int pixels,
                        const int unit, float *sums) {
    float a0 = sums[0], a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
    float b0 = 0.0f, b1 = 0.0f, b2 = 0.0f, b3 = 0.0f, c0 = 0.0f, d0 = 0.0f;
    if (pixels == 4) {
        a1 = sums[1], a2 = sums[2], a3 = sums[3];
        if (results == 2) {
            b0 = sums[4], b1 = sums[5], b2 = sums[6], b3 = sums[7];
        }
    } else if (results == 4) {
        b0 = sums[1], c0 = sums[2], d0 = sums[3];
    }
    const int32_t column = unit ? 1 : v->kernel_column;
    const int32_t rest = v->kernel_row - v->columns * column;
    const int32_t next = v->image_next;
    for (int32_t c = 0; c < v->channels; ++c) {
        const float *k0 = kernel_of(w, r, c) + v->kernel_first;
        const float *k1 = results > 1 ? kernel_of(w, r + 1, c) + v->kernel_first : k0;
        const float *k2 = results > 2 ? kernel_of(w, r + 2, c) + v->kernel_first : k0;
        const float *k3 = results > 2 ? kernel_of(w, r + 3, c) + v->kernel_first : k0;
        const float *row = image + v->image_first + c * v->image_channel;
        for (int32_t y = 0; y < v->rows; ++y) {
            const float *x = row;
            for (int32_t i = 0; i < v->columns; ++i) {
                const float x0 = *x;
                a0 += *k0 * x0;
                if (pixels == 4) {
                    const float x1 = x[next], x2 = x[2 * next], x3 = x[3 * next];
                    a1 += *k0 * x1, a2 += *k0 * x2, a3 += *k0 * x3;
                    if (results == 2) {
                        b0 += *k1 * x0, b1 += *k1 * x1, b2 += *k1 * x2, b3 += *k1 * x3;
                    }
                } else if (results == 4) {
                    b0 += *k1 * x0, c0 += *k2 * x0, d0 += *k3 * x0;
                }
                x += v->image_column;
                k0 += column, k1 += column, k2 += column, k3 += column;
            }
            row += v->image_row;
            k0 += rest, k1 += rest, k2 += rest, k3 += rest;
        }
    }
    sums[0] = a0;
    if (pixels == 4) {
        sums[1] = a1, sums[2] = a2, sums[3] = a3;
        if (results == 2) {
            sums[4] = b0, sums[5] = b1, sums[6] = b2, sums[7] = b3;
        }
    } else if (results == 4) {
        sums[1] = b0, sums[2] = c0, sums[3] = d0;
    }
}

void memplan_window_channels(const struct memplan_window *v, const struct memplan_window_weight *w,
                             const float *image, int32_t r, int32_t count, float *sums) {
    if (count != 4) {
        add(v, w, image, r, 1, 1, 0, sums);
    } else if (v->kernel_column == 1) {
        add(v, w, image, r, 4, 1, 1, sums);
    } else {
        add(v, w, image, r, 4, 1, 0, sums);
    }
}

void memplan_window_pixels(const struct memplan_window *v, const struct memplan_window_weight *w,
                           const float *image, int32_t r, int32_t count, float *sums) {
    if (count != 2) {
        add(v, w, image, r, 1, 4, 0, sums);
    } else if (v->kernel_column == 1) {
        add(v, w, image, r, 2, 4, 1, sums);
    } else {
        add(v, w, image, r, 2, 4, 0, sums);
    }
}
