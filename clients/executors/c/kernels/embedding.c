#include "embedding.h"

void memplan_embedding(const struct memplan_split_weight *table, const int64_t *indices,
                       int32_t count, int32_t rows, int32_t width, float *y) {
    for (int32_t i = 0; i < count; ++i) {
        for (int32_t c = 0; c < width; ++c) {
            /* An index outside of the table reads nothing. */
            *y++ = indices[i] >= 0 && indices[i] < rows
                       ? *memplan_weight_kernel(table, (int32_t)indices[i], c, width, 1)
                       : 0.0f;
        }
    }
}

void memplan_embedding_gradient(const struct memplan_table_gradient *g, const float *gy,
                                const int64_t *indices, const struct memplan_channels *columns,
                                int32_t first, int32_t rows, float *gw) {
    for (int32_t i = 0; i < rows * columns->count; ++i) {
        gw[i] = 0.0f;
    }
    for (int32_t i = 0; i < g->count; ++i) {
        const int64_t row = indices[i] - first;
        if (row < 0 || row >= rows || indices[i] == g->padding) {
            continue;
        }
        const float *from = gy + i / g->block * g->block_stride + i % g->block * g->row_stride;
        for (int32_t c = 0; c < columns->count; ++c) {
            gw[(int32_t)row * columns->count + c] += from[memplan_channel(columns, c)];
        }
    }
}
