#include "channel_strips_depthwise.h"

#include <stddef.h>

#include "meeting.h"

/* Where the rows of the output's gradient are: those up to `last` are in the ring. */
struct rows {
    const float *plane, *ring;
    int32_t width, last, ring_rows;
};

MEMPLAN_INLINE const float *row_at(const struct rows *rows, int32_t number) {
    return number > rows->last ? rows->plane + number * rows->width
                               : rows->ring + (number % rows->ring_rows) * rows->width;
}

MEMPLAN_INLINE float tap(const struct memplan_strips_kernel *kernel, int32_t place) {
    return kernel->real != NULL ? kernel->real[place]
                                : (float)kernel->integers[place] * kernel->scale;
}

/* Four inputs of a row, a stride apart: places of the kernel, in rows and in columns, and the
 * outputs that they meet.  `column` is the output that the first input and column meet. */
struct tile {
    struct meeting down, across;
    struct met met;
    int32_t columns, column;
};

/* All that they meet is there. */
MEMPLAN_INLINE void inner_tile(const float *kernel, int32_t kernel_width, const struct rows *rows,
                               const struct tile *t, float *sums) {
    const int32_t next = t->across.step, back = t->across.back;
    float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    for (int32_t y = 0; y < t->met.count; ++y) {
        const float *factor = kernel + (t->met.first + y * t->down.step) * kernel_width +
                              t->across.first;
        const float *from = row_at(rows, t->met.output - y * t->down.back) + t->column;
        for (int32_t x = 0; x < t->columns; ++x) {
            sum0 += *factor * from[0];
            sum1 += *factor * from[1];
            sum2 += *factor * from[2];
            sum3 += *factor * from[3];
            factor += next;
            from -= back;
        }
    }
    sums[0] = sum0, sums[1] = sum1, sums[2] = sum2, sums[3] = sum3;
}

/* Some of it is outside. */
static void edge_tile(const struct memplan_strips_kernel *kernel, int32_t kernel_width,
                      const struct rows *rows, const struct tile *t, float *sums) {
    const uint32_t width = (uint32_t)rows->width;
    float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    for (int32_t y = 0; y < t->met.count; ++y) {
        int32_t place = (t->met.first + y * t->down.step) * kernel_width + t->across.first;
        const float *from = row_at(rows, t->met.output - y * t->down.back);
        int32_t column = t->column;
        for (int32_t x = 0; x < t->columns; ++x) {
            const float factor = tap(kernel, place);
            /* Columns before the first one are large as unsigned numbers. */
            const uint32_t at = (uint32_t)column;
            if (at < width) {
                sum0 += factor * from[column];
            }
            if (at + 1 < width) {
                sum1 += factor * from[column + 1];
            }
            if (at + 2 < width) {
                sum2 += factor * from[column + 2];
            }
            if (at + 3 < width) {
                sum3 += factor * from[column + 3];
            }
            place += t->across.step;
            column -= t->across.back;
        }
    }
    sums[0] = sum0, sums[1] = sum1, sums[2] = sum2, sums[3] = sum3;
}

void memplan_strips_depthwise(const struct memplan_strips_window *g,
                              const struct memplan_strips_kernel *kernel, const float *gy,
                              float *ring, float *gx) {
    struct rows rows = {gy, ring, g->output_width, -1, g->ring_rows};
    struct tile t;
    /* Inputs that are a stride apart meet the same columns of the kernel.  A ring goes with a
     * stride of 1, so its rows are visited once. */
    for (int32_t phase = 0; phase < smaller(g->stride_x, g->width); ++phase) {
        t.across = meet(phase, g->kernel_width, g->stride_x, g->padding_x, g->dilation_x);
        t.columns = (g->kernel_width - t.across.first + t.across.step - 1) / t.across.step;
        const int32_t count = (g->width - phase + g->stride_x - 1) / g->stride_x;
        /* Inputs [inner, outer) of the phase have all their outputs in the image. */
        const int32_t inner = larger(0, (t.columns - 1) * t.across.back - t.across.output);
        const int32_t outer = smaller(count, g->output_width - t.across.output);
        for (int32_t r = 0; r < g->height; ++r) {
            if (g->ring_rows > 0) {
                float *kept = ring + (r % g->ring_rows) * g->width;
                for (int32_t i = 0; i < g->width; ++i) {
                    kept[i] = gy[r * g->width + i];
                }
                rows.last = r;
            }
            t.down = meet(r, g->kernel_height, g->stride_y, g->padding_y, g->dilation_y);
            t.met = met_outputs(t.down, g->kernel_height, t.down.output, g->output_height);
            float *place = gx + r * g->width + phase;
            for (int32_t j = 0; j < count;) {
                float sums[4];
                /* The edge is done alone, so that tiles begin where everything is inside. */
                int32_t wide = smaller(4, count - j);
                t.column = t.across.output + j;
                if (kernel->real != NULL && j >= inner && j + 4 <= outer) {
                    inner_tile(kernel->real, g->kernel_width, &rows, &t, sums);
                } else {
                    wide = j < inner ? smaller(wide, inner - j) : wide;
                    edge_tile(kernel, g->kernel_width, &rows, &t, sums);
                }
                for (int32_t i = 0; i < wide; ++i) {
                    *place = sums[i];
                    place += g->stride_x;
                }
                j += wide;
            }
        }
    }
}
