#include "bits.h"

void memplan_range_bits(const float *y, int32_t samples, int32_t length, float low, float high,
                        uint8_t *bits) {
    for (int32_t n = 0; n < samples; ++n) {
        for (int32_t start = 0; start < length; start += 8) {
            const int32_t count = length - start < 8 ? length - start : 8;
            uint32_t byte = 0;
            for (int32_t i = 0; i < count; ++i) {
                const float value = *y++;
                byte |= (uint32_t)(value > low && value < high) << i;
            }
            *bits++ = (uint8_t)byte;
        }
    }
}

void memplan_range_bits_int8(const int8_t *y, int32_t samples, int32_t length, int32_t low,
                             int32_t high, uint8_t *bits) {
    for (int32_t n = 0; n < samples; ++n) {
        for (int32_t start = 0; start < length; start += 8) {
            const int32_t count = length - start < 8 ? length - start : 8;
            uint32_t byte = 0;
            for (int32_t i = 0; i < count; ++i) {
                const int32_t value = *y++;
                byte |= (uint32_t)(value > low && value < high) << i;
            }
            *bits++ = (uint8_t)byte;
        }
    }
}

void memplan_apply_bits(const float *gy, const uint8_t *bits, int32_t samples, int32_t length,
                        float *gx) {
    for (int32_t n = 0; n < samples; ++n) {
        for (int32_t start = 0; start < length; start += 8) {
            const int32_t count = length - start < 8 ? length - start : 8;
            uint32_t byte = *bits++;
            for (int32_t i = 0; i < count; ++i) {
                *gx++ = (byte & 1u) != 0 ? *gy : 0.0f;
                ++gy;
                byte >>= 1;
            }
        }
    }
}
