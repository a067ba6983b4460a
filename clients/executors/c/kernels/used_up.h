/* Results kept in the bytes of an operand that is used up.
 *
 * A chain goes over an image row by row (row_strips.h), and rows of the image that nothing needs any
 * more are free.  Finished rows of the result wait there; at the end they are put in order, and the
 * result goes wherever it belongs, which may be any bytes, those of the image among them.
 */
#ifndef MEMPLAN_USED_UP_H
#define MEMPLAN_USED_UP_H

#include <stdint.h>

/* One sample of an image: [channels][height] lines of `line` bytes. */
struct memplan_lines {
    int32_t channels, height, line;
};

struct memplan_used_up {
    int32_t samples;
    struct memplan_lines operand, result;
};

/* Keep row `row` of the result of one sample: `from` has its lines, channel by channel.  The rows
 * before it are kept already, and as many rows of the operand as they take together are free. */
void memplan_put_away(const struct memplan_used_up *g, int32_t sample, int32_t row,
                      const uint8_t *from, uint8_t *operand);

/* Write the result from what was put away.  Of the operand nothing remains. */
void memplan_bring_back(const struct memplan_used_up *g, uint8_t *operand, uint8_t *result);

#endif
