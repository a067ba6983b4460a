/* Two products in one instruction: pairs of 16-bit numbers in a word (SMLAD and its kin).
 *
 * Where the processor has none of these instructions, C computes the same bits. */
#ifndef MEMPLAN_PACKED_H
#define MEMPLAN_PACKED_H

#include <stdint.h>

#include "inline.h"

#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN)
#define MEMPLAN_DSP 1
#else
#define MEMPLAN_DSP 0
#endif

/* Four neighbouring bytes, the first one lowest; at any address. */
MEMPLAN_INLINE uint32_t memplan_four(const int8_t *x) {
#if MEMPLAN_DSP
    uint32_t word;
    __builtin_memcpy(&word, x, 4);
    return word;
#else
    const uint8_t *bytes = (const uint8_t *)x;
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
#endif
}

/* A pair of two numbers that fit 16 bits. */
MEMPLAN_INLINE uint32_t memplan_pair(int32_t low, int32_t high) {
    return (uint16_t)low | (uint32_t)high << 16;
}

/* Bytes 0 and 2 of four, with their signs. */
MEMPLAN_INLINE uint32_t memplan_even(uint32_t four) {
#if MEMPLAN_DSP
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(four));
    return pair;
#else
    return memplan_pair((int8_t)four, (int8_t)(four >> 16));
#endif
}

/* Bytes 1 and 3. */
MEMPLAN_INLINE uint32_t memplan_odd(uint32_t four) {
#if MEMPLAN_DSP
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(four));
    return pair;
#else
    return memplan_pair((int8_t)(four >> 8), (int8_t)(four >> 24));
#endif
}

/* Low halves of two words, and high halves: those of `a` lowest. */
MEMPLAN_INLINE uint32_t memplan_low_halves(uint32_t a, uint32_t b) {
#if MEMPLAN_DSP
    uint32_t found;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(found) : "r"(a), "r"(b));
    return found;
#else
    return (a & 0xffffu) | b << 16;
#endif
}

MEMPLAN_INLINE uint32_t memplan_high_halves(uint32_t a, uint32_t b) {
#if MEMPLAN_DSP
    uint32_t found;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(found) : "r"(b), "r"(a));
    return found;
#else
    return a >> 16 | (b & 0xffff0000u);
#endif
}

/* Both differences of two pairs; each fits 16 bits. */
MEMPLAN_INLINE uint32_t memplan_minus(uint32_t a, uint32_t b) {
#if MEMPLAN_DSP
    uint32_t found;
    __asm__("ssub16 %0, %1, %2" : "=r"(found) : "r"(a), "r"(b));
    return found;
#else
    return memplan_pair((int16_t)a - (int16_t)b, (int16_t)(a >> 16) - (int16_t)(b >> 16));
#endif
}

/* sum + both products of two pairs. */
MEMPLAN_INLINE int32_t memplan_dot(uint32_t a, uint32_t b, int32_t sum) {
#if MEMPLAN_DSP
    int32_t found;
    __asm__("smlad %0, %1, %2, %3" : "=r"(found) : "r"(a), "r"(b), "r"(sum));
    return found;
#else
    return sum + (int16_t)a * (int16_t)b + (int16_t)(a >> 16) * (int16_t)(b >> 16);
#endif
}

#endif
