#include "channel_strips_depthwise.h"

#include <stddef.h>

#include "meeting.h"

/* What a row of inputs meets. */
struct line {
    /* Rows of outputs, and the row of the kernel's places that meets the first of them; the next
     * one is `place_step` behind it. */
    const float *rows[MEMPLAN_STRIPS_MOST_ROWS];
    int32_t count, place, place_step;
    struct meeting across;
    int32_t kernel_width, output_width;
    /* From an input to the next one of those that meet the same columns of the kernel. */
    int32_t stride;
};

/* Kinds of kernels: real and met column by column, real, integers. */
enum kind { UNIT, REAL, INTEGERS };

MEMPLAN_INLINE float dot(const float *factor, int32_t next, const float *from, int32_t back,
                         int32_t count, float sum) {
    for (; count >= 2; count -= 2) {
        sum += factor[0] * from[0];
        sum += factor[next] * from[-back];
        factor += 2 * next;
        from -= 2 * back;
    }
    return count > 0 ? sum + *factor * *from : sum;
}

/* One input; the first column that it meets is output number `column`. */
MEMPLAN_INLINE float pixel(const struct line *v, const struct memplan_strips_kernel *kernel,
                           const enum kind kind, int32_t column) {
    const int32_t next = v->across.step, back = v->across.back;
    const struct met met = met_outputs(v->across, v->kernel_width, column, v->output_width);
    int32_t place = v->place + met.first;
    float sum = 0.0f;
    for (int32_t y = 0; y < v->count; ++y) {
        const float *from = v->rows[y] + met.output;
        if (kind == UNIT) {
            sum = dot(kernel->real + place, 1, from, 1, met.count, sum);
        } else if (kind == REAL) {
            sum = dot(kernel->real + place, next, from, back, met.count, sum);
        } else {
            for (int32_t x = 0; x < met.count; ++x) {
                sum += (float)kernel->integers[place + x * next] * kernel->scale *
                       from[-x * back];
            }
        }
        place += v->place_step;
    }
    return sum;
}

/* 4 or 8 inputs, all of whose outputs are there. */
MEMPLAN_INLINE void tile(const struct line *v, const float *kernel, const int pixels,
                         int32_t column, float *gx) {
    const int32_t next = v->across.step, back = v->across.back, step = v->stride;
    const int32_t columns = (v->kernel_width - v->across.first + next - 1) / next;
    float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    float sum4 = 0.0f, sum5 = 0.0f, sum6 = 0.0f, sum7 = 0.0f;
    kernel += v->place + v->across.first;
    for (int32_t y = 0; y < v->count; ++y) {
        const float *factor = kernel, *from = v->rows[y] + column;
        for (int32_t x = 0; x < columns; ++x) {
            sum0 += *factor * from[0], sum1 += *factor * from[1];
            sum2 += *factor * from[2], sum3 += *factor * from[3];
            if (pixels == 8) {
                sum4 += *factor * from[4], sum5 += *factor * from[5];
                sum6 += *factor * from[6], sum7 += *factor * from[7];
            }
            factor += next;
            from -= back;
        }
        kernel += v->place_step;
    }
    gx[0] = sum0, gx[step] = sum1, gx[2 * step] = sum2, gx[3 * step] = sum3;
    if (pixels == 8) {
        gx += 4 * step;
        gx[0] = sum4, gx[step] = sum5, gx[2 * step] = sum6, gx[3 * step] = sum7;
    }
}

/* `count` inputs of a row; those in [inner, outer) meet all that the kernel reaches. */
static void row_of_inputs(const struct line *v, const struct memplan_strips_kernel *kernel,
                          int32_t count, int32_t inner, int32_t outer, float *gx) {
    const int32_t column = v->across.output, step = v->stride;
    int32_t j = 0;
    while (j < count) {
        const int32_t inside = j == inner && kernel->real != NULL ? outer - inner : 0;
        /* The last tile begins where it fits: what two tiles compute is the same. */
        if (inside >= 8) {
            for (; j < outer; j += 8) {
                const int32_t first = smaller(j, outer - 8);
                tile(v, kernel->real, 8, column + first, gx + first * step);
            }
            j = outer;
        } else if (inside >= 4) {
            for (; j < outer; j += 4) {
                const int32_t first = smaller(j, outer - 4);
                tile(v, kernel->real, 4, column + first, gx + first * step);
            }
            j = outer;
        } else {
            if (kernel->real == NULL) {
                gx[j * step] = pixel(v, kernel, INTEGERS, column + j);
            } else if (v->across.step == 1 && v->across.back == 1) {
                gx[j * step] = pixel(v, kernel, UNIT, column + j);
            } else {
                gx[j * step] = pixel(v, kernel, REAL, column + j);
            }
            ++j;
        }
    }
}

void memplan_strips_depthwise(const struct memplan_strips_window *g,
                              const struct memplan_strips_kernel *kernel, const float *gy,
                              float *ring, float *gx) {
    const int32_t width = g->output_width;
    struct line v = {
        .kernel_width = g->kernel_width, .output_width = width, .stride = g->stride_x};
    /* Inputs that are a stride apart meet the same columns of the kernel.  A ring goes with a
     * stride of 1, so its rows are visited once. */
    for (int32_t phase = 0; phase < smaller(g->stride_x, g->width); ++phase) {
        v.across = meet(phase, g->kernel_width, g->stride_x, g->padding_x, g->dilation_x);
        const int32_t count = (g->width - phase + g->stride_x - 1) / g->stride_x;
        const int32_t columns =
            (g->kernel_width - v.across.first + v.across.step - 1) / v.across.step;
        const int32_t inner = larger(0, (columns - 1) * v.across.back - v.across.output);
        const int32_t outer = smaller(count, width - v.across.output);
        for (int32_t r = 0; r < g->height; ++r) {
            const struct meeting down =
                meet(r, g->kernel_height, g->stride_y, g->padding_y, g->dilation_y);
            const struct met met =
                met_outputs(down, g->kernel_height, down.output, g->output_height);
            v.count = met.count;
            v.place = met.first * g->kernel_width;
            v.place_step = down.step * g->kernel_width;
            if (g->ring_rows > 0) {
                float *kept = ring + (r % g->ring_rows) * width;
                for (int32_t i = 0; i < width; ++i) {
                    kept[i] = gy[r * width + i];
                }
            }
            for (int32_t y = 0; y < met.count; ++y) {
                /* With a ring, rows up to this one are not in the plane any more. */
                const int32_t row = met.output - y * down.back;
                v.rows[y] = g->ring_rows == 0 || row > r ? gy + row * width
                                                         : ring + (row % g->ring_rows) * width;
            }
            row_of_inputs(&v, kernel, count, inner, outer, gx + r * g->width + phase);
        }
    }
}
