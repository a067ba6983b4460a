/* One bit per element instead of the element: where a gradient passes.
 *
 * Each sample starts a byte, least significant bit first. */
#ifndef MEMPLAN_BITS_H
#define MEMPLAN_BITS_H

#include <stdint.h>

/* Bit 1 where low < y < high; dense samples of `length` elements. */
void memplan_range_bits(const float *y, int32_t samples, int32_t length, float low, float high,
                        uint8_t *bits);
void memplan_range_bits_int8(const int8_t *y, int32_t samples, int32_t length, int32_t low,
                             int32_t high, uint8_t *bits);
/* gy where the bit is 1, else 0; dense samples. */
void memplan_apply_bits(const float *gy, const uint8_t *bits, int32_t samples, int32_t length,
                        float *gx);

#endif
