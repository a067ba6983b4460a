/* The loops over a window: of images that lie in one piece, and of rows that each lie somewhere. */
#ifndef MEMPLAN_WINDOW_ADD_H
#define MEMPLAN_WINDOW_ADD_H

#include "window.h"

/* Kernel of result channel r and summed channel c. */
MEMPLAN_INLINE const float *memplan_kernel_of(const struct memplan_window_weight *w, int32_t r,
                                              int32_t c) {
    if (w->weight->slice == NULL) {
        return w->weight->frozen + w->first_output * w->inputs * w->size +
               w->first_input * w->size + r * w->result_step + c * w->channel_step;
    }
    const int32_t output = w->first_output + (w->results_are_outputs ? r : c);
    const int32_t input = w->first_input + (w->results_are_outputs ? c : r);
    return memplan_weight_kernel(w->weight, output, input, w->inputs, w->size);
}

/* `results`, `pixels`, `unit` and `apart` are constants where this is called: of each call only one
 * shape of the loops remains.  `unit`: the next column of the kernel is the next element.  `apart`:
 * `lines` has where each row of the window lies, else they are a step from each other in `image`. */
MEMPLAN_INLINE void memplan_window_add(const struct memplan_window *v,
                                       const struct memplan_window_weight *w, const float *image,
                                       const float *const *lines, const int apart, int32_t r,
                                       const int results, const int pixels, const int unit,
                                       float *sums) {
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
        const float *k0 = memplan_kernel_of(w, r, c) + v->kernel_first;
        const float *k1 = results > 1 ? memplan_kernel_of(w, r + 1, c) + v->kernel_first : k0;
        const float *k2 = results > 2 ? memplan_kernel_of(w, r + 2, c) + v->kernel_first : k0;
        const float *k3 = results > 2 ? memplan_kernel_of(w, r + 3, c) + v->kernel_first : k0;
        const int32_t first = v->image_first + c * v->image_channel;
        const float *row = apart ? NULL : image + first;
        for (int32_t y = 0; y < v->rows; ++y) {
            const float *x = apart ? lines[y] + first : row;
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
            if (!apart) {
                row += v->image_row;
            }
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

#endif
