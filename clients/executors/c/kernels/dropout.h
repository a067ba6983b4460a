/* Dropout whose mask is a function of (seed, salt, element), float32, dense.
 *
 * Element e of the whole batch (row-major) is dropped if hash(e) < threshold, where, in 32 bits:
 *
 *   mix(h)   h ^= h >> 16; h *= 0x85EBCA6B; h ^= h >> 13; h *= 0xC2B2AE35; h ^= h >> 16
 *   key      mix(mix(seed + 0x9E3779B9) ^ salt)
 *   hash(e)  mix(mix(low(e) ^ key) + mix(high(e) + key))
 *
 * mix is the finalizer of MurmurHash3 (Appleby), low and high the halves of 64 bits.  So each
 * micro-batch and each recomputation sees the same mask. */
#ifndef MEMPLAN_DROPOUT_H
#define MEMPLAN_DROPOUT_H

#include <stdint.h>

struct memplan_dropout {
    /* Dense rows of the tensor, and how far they are apart in the whole batch. */
    int32_t rows, length;
    uint64_t batch_stride;
    /* probability * 2^32; from 2^32 on nothing is kept. */
    uint64_t threshold;
    /* 1 / (1 - probability). */
    float scale;
    /* The halves of the operation's salt, one xor the other. */
    uint32_t salt;
};

/* `y` may be `x`. */
void memplan_dropout(const struct memplan_dropout *g, uint32_t seed, uint32_t trip, const float *x,
                     float *y);

#endif
