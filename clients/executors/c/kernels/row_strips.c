#include "row_strips.h"

/* The first entry that `entry` waits for, or -1: all rows that its next row needs are there. */
static int32_t missing(const struct memplan_strip_entry *entries, int32_t entry,
                       const int32_t *next) {
    const struct memplan_strip_entry *e = &entries[entry];
    const int32_t last = next[entry] * e->stride + e->reach;
    for (int32_t i = 0; i < e->source_count; ++i) {
        const int32_t source = e->sources[i];
        if (next[source] <= last && next[source] < entries[source].height) {
            return source;
        }
    }
    return -1;
}

void memplan_row_strips(const struct memplan_strip_entry *entries, int32_t count, int32_t samples,
                        int32_t *next) {
    const int32_t end = count - 1;
    for (int32_t sample = 0; sample < samples; ++sample) {
        for (int32_t i = 0; i < count; ++i) {
            next[i] = 0;
        }
        while (next[end] < entries[end].height) {
            /* From the result back to an entry that waits for nothing.  This is the recursion's
             * order without its stack: what is missing on the way is missing until it is there. */
            int32_t entry = end;
            for (int32_t source = end; source >= 0; source = missing(entries, entry, next)) {
                entry = source;
            }
            entries[entry].compute(sample, next[entry]);
            ++next[entry];
        }
    }
}
