#include "dropout.h"

static uint32_t mix(uint32_t h) {
    h ^= h >> 16;
    h *= 0x85EBCA6Bu;
    h ^= h >> 13;
    h *= 0xC2B2AE35u;
    h ^= h >> 16;
    return h;
}

void memplan_dropout(const struct memplan_dropout *g, uint32_t seed, uint32_t trip, const float *x,
                     float *y) {
    const uint32_t key = mix(mix(seed + 0x9E3779B9u) ^ g->salt);
    for (int32_t r = 0; r < g->rows; ++r) {
        const uint64_t first = (uint64_t)trip * (uint32_t)g->length + (uint64_t)r * g->batch_stride;
        for (int32_t i = 0; i < g->length; ++i) {
            const uint64_t e = first + (uint32_t)i;
            const uint32_t hash = mix(mix((uint32_t)e ^ key) + mix((uint32_t)(e >> 32) + key));
            const float value = *x++ * g->scale;
            *y++ = hash < g->threshold ? value * 0.0f : value;
        }
    }
}
