/* Chains of operations row by row: of what lies between their ends only some rows exist.
 *
 * Each entry is one operation of the chain; its result lies in a ring of rows (row h in slot h modulo
 * the ring's length), or where the chain's output has it.
 */
#ifndef MEMPLAN_ROW_STRIPS_H
#define MEMPLAN_ROW_STRIPS_H

#include <stdint.h>

struct memplan_strip_entry {
    /* Computes one row of the result for one sample. */
    void (*compute)(int32_t sample, int32_t row);
    /* Entries that it reads; all stand before it. */
    const uint8_t *sources;
    int32_t source_count;
    /* Its row r needs the rows up to r * stride + reach of what it reads, as far as there are. */
    int32_t stride, reach;
    /* Rows of its result. */
    int32_t height;
};

/* Compute all rows of the last entry, in order; before each, the rows that it needs and that are not
 * there yet, by the same rule.  No row is computed twice.  `next` is memory for `count` numbers. */
void memplan_row_strips(const struct memplan_strip_entry *entries, int32_t count, int32_t samples,
                        int32_t *next);

#endif
