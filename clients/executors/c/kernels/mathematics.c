/* Elementary functions without a C library; see mathematics.h for their errors.
 *
 * exp and log: argument reduction by powers of two and the minimax polynomials of Cephes
 * (S. Moshier, single precision).  erf: Abramowitz and Stegun, 7.1.26.
 */
#include "mathematics.h"

#include <stdint.h>

static float from_bits(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } both;
    both.bits = bits;
    return both.value;
}

static uint32_t to_bits(float value) {
    union {
        uint32_t bits;
        float value;
    } both;
    both.value = value;
    return both.bits;
}

/* value * 2^power for normal results and, in two steps, for subnormal ones. */
static float scale(float value, int32_t power) {
    if (power < -126) {
        return value * from_bits((uint32_t)(power + 24 + 127) << 23) * 0x1p-24f;
    }
    if (power > 127) {
        return value * 0x1p127f * from_bits((uint32_t)(power - 127 + 127) << 23);
    }
    return value * from_bits((uint32_t)(power + 127) << 23);
}

float memplan_exp(float x) {
    if (x != x) {
        return x;
    }
    if (x > 88.73f) {
        return __builtin_inff();
    }
    if (x < -104.0f) {
        return 0.0f;
    }
    const float turns = x * 1.44269504088896341f;
    const int32_t power = (int32_t)(turns < 0.0f ? turns - 0.5f : turns + 0.5f);
    const float n = (float)power;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return scale(p * (r * r) + r + 1.0f, power);
}

float memplan_log(float x) {
    if (x != x || x < 0.0f) {
        return __builtin_nanf("");
    }
    if (x == 0.0f) {
        return -__builtin_inff();
    }
    if (x > 0x1.fffffep127f) {
        return x;
    }
    int32_t power = 0;
    if (x < 0x1p-126f) {
        x *= 0x1p24f;
        power = -24;
    }
    const uint32_t bits = to_bits(x);
    power += (int32_t)(bits >> 23) - 126;
    float m = from_bits((bits & 0x007FFFFFu) | 0x3F000000u); /* in [0.5, 1) */
    if (m < 0.707106781186547524f) {
        m += m;
        power -= 1;
    }
    m -= 1.0f;
    const float square = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const float n = (float)power;
    float y = p * m * square;
    y += n * -2.12194440e-4f;
    y -= 0.5f * square;
    return (m + y) + n * 0.693359375f;
}

float memplan_tanh(float x) {
    const float size = x < 0.0f ? -x : x;
    if (size < 0.625f) {
        const float square = x * x;
        float p = -5.70498872745e-3f;
        p = p * square + 2.06390887954e-2f;
        p = p * square - 5.37397155531e-2f;
        p = p * square + 1.33314422036e-1f;
        p = p * square - 3.33332819422e-1f;
        return p * square * x + x;
    }
    const float y = size > 9.1f ? 1.0f : 1.0f - 2.0f / (memplan_exp(size + size) + 1.0f);
    return x != x ? x : (x < 0.0f ? -y : y);
}

float memplan_sigmoid(float x) {
    if (x >= 0.0f) {
        return 1.0f / (1.0f + memplan_exp(-x));
    }
    const float e = memplan_exp(x);
    return e / (1.0f + e);
}

float memplan_erf(float x) {
    const float size = x < 0.0f ? -x : x;
    const float t = 1.0f / (1.0f + 0.3275911f * size);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const float y = 1.0f - p * t * memplan_exp(-size * size);
    return x < 0.0f ? -y : y;
}

float memplan_sqrt(float x) {
    return __builtin_sqrtf(x); /* one instruction wherever there is a floating-point unit */
}

double memplan_power(double base, long long exponent) {
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1) {
            result *= base;
        }
        base *= base;
    }
    return result;
}
