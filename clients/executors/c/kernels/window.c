#include "window_add.h"

void memplan_window_channels(const struct memplan_window *v, const struct memplan_window_weight *w,
                             const float *image, int32_t r, int32_t count, float *sums) {
    if (count != 4) {
        memplan_window_add(v, w, image, NULL, 0, r, 1, 1, 0, sums);
    } else if (v->kernel_column == 1) {
        memplan_window_add(v, w, image, NULL, 0, r, 4, 1, 1, sums);
    } else {
        memplan_window_add(v, w, image, NULL, 0, r, 4, 1, 0, sums);
    }
}

void memplan_window_pixels(const struct memplan_window *v, const struct memplan_window_weight *w,
                           const float *image, int32_t r, int32_t count, float *sums) {
    if (count != 2) {
        memplan_window_add(v, w, image, NULL, 0, r, 1, 4, 0, sums);
    } else if (v->kernel_column == 1) {
        memplan_window_add(v, w, image, NULL, 0, r, 2, 4, 1, sums);
    } else {
        memplan_window_add(v, w, image, NULL, 0, r, 2, 4, 0, sums);
    }
}
