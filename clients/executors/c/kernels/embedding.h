/* Tables of rows, float32. */
#ifndef MEMPLAN_EMBEDDING_H
#define MEMPLAN_EMBEDDING_H

#include "channels.h"
#include "weight.h"

/* y[i] = row indices[i] of the table. */
void memplan_embedding(const struct memplan_split_weight *table, const int64_t *indices,
                       int32_t count, int32_t rows, int32_t width, float *y);

/* A gradient of `count` looked-up rows. */
struct memplan_table_gradient {
    int32_t count;
    /* Row i begins at element (i / block) * block_stride + (i % block) * row_stride. */
    int32_t block, block_stride, row_stride;
    /* The table's row that gets no gradient; negative: none. */
    int64_t padding;
};

/* Gradient of rows [first, first + rows) of the table, dense: for chosen columns, the sum of the
 * rows of gy whose index it is. */
void memplan_embedding_gradient(const struct memplan_table_gradient *g, const float *gy,
                                const int64_t *indices, const struct memplan_channels *columns,
                                int32_t first, int32_t rows, float *gw);

#endif
