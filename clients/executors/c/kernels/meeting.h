/* Where kernels and images meet. */
#ifndef MEMPLAN_MEETING_H
#define MEMPLAN_MEETING_H

#include <stdint.h>

#include "inline.h"

MEMPLAN_INLINE int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
MEMPLAN_INLINE int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

/* Smallest whole number at least a / b, for b > 0. */
MEMPLAN_INLINE int32_t ceiling(int32_t a, int32_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

/* The kernel's places along one dimension that meet an input at `place`: first, first + step, ...
 * and the output that the first one belongs to; each step goes `back` outputs back. */
struct meeting {
    int32_t first, step, output, back;
};

MEMPLAN_INLINE struct meeting meet(int32_t place, int32_t kernel, int32_t stride, int32_t padding,
                           int32_t dilation) {
    struct meeting found = {kernel, 1, 0, dilation};
    int32_t k = 0;
    while (k < kernel && (place + padding - k * dilation) % stride != 0) {
        ++k;
    }
    if (k < kernel) {
        found.first = k;
        found.output = (place + padding - k * dilation) / stride;
        while ((found.step * dilation) % stride != 0) {
            ++found.step;
        }
        found.back = found.step * dilation / stride;
    }
    return found;
}

/* Those of a meeting's places whose outputs exist: how many, the first, and its output. */
struct met {
    int32_t count, first, output;
};

MEMPLAN_INLINE struct met met_outputs(struct meeting m, int32_t kernel, int32_t output,
                                      int32_t outputs) {
    struct met found = {0, m.first, output};
    /* Outputs fall as places rise: skip those behind the end, and count to below the start. */
    if (output >= outputs) {
        const int32_t skipped = (output - outputs) / m.back + 1;
        found.first += skipped * m.step;
        found.output -= skipped * m.back;
    }
    if (found.first < kernel && found.output >= 0) {
        found.count = smaller((kernel - found.first + m.step - 1) / m.step,
                              found.output / m.back + 1);
    }
    return found;
}

#endif
