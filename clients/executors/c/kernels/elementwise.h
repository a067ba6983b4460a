/* Functions of single elements; the plan's own code loops over them. */
#ifndef MEMPLAN_ELEMENTWISE_H
#define MEMPLAN_ELEMENTWISE_H

#include "inline.h"
#include "mathematics.h"

MEMPLAN_INLINE float memplan_relu(float x) { return x < 0.0f ? 0.0f : x; }

MEMPLAN_INLINE float memplan_clamp(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}

/* The gradient passes where y > threshold. */
MEMPLAN_INLINE float memplan_threshold_gradient(float gy, float y, float threshold) {
    return y <= threshold ? 0.0f : gy;
}

MEMPLAN_INLINE float memplan_clamp_gradient(float gy, float x, float low, float high) {
    return x <= low || x >= high ? 0.0f : gy;
}

MEMPLAN_INLINE float memplan_leaky_relu(float x, float slope) { return x > 0.0f ? x : x * slope; }

MEMPLAN_INLINE float memplan_leaky_relu_gradient(float gy, float x, float slope) {
    return x > 0.0f ? gy : gy * slope;
}

MEMPLAN_INLINE float memplan_elu(float x, float low, float high, float inner) {
    return x > 0.0f ? x * high : (memplan_exp(x * inner) - 1.0f) * low;
}

MEMPLAN_INLINE float memplan_elu_gradient(float gy, float x, float alpha) {
    return x > 0.0f ? gy : gy * alpha * memplan_exp(x);
}

/* The same of y = elu(x). */
MEMPLAN_INLINE float memplan_elu_gradient_of_result(float gy, float y, float alpha) {
    return y > 0.0f ? gy : gy * (y + alpha);
}

MEMPLAN_INLINE float memplan_hard_sigmoid(float x) {
    return memplan_clamp(x + 3.0f, 0.0f, 6.0f) / 6.0f;
}

MEMPLAN_INLINE float memplan_hard_sigmoid_gradient(float gy, float x) {
    return x > -3.0f && x < 3.0f ? gy * (1.0f / 6.0f) : 0.0f;
}

MEMPLAN_INLINE float memplan_hard_swish(float x) {
    return x * memplan_clamp(x + 3.0f, 0.0f, 6.0f) / 6.0f;
}

MEMPLAN_INLINE float memplan_hard_swish_gradient(float gy, float x) {
    return x <= -3.0f ? 0.0f : x < 3.0f ? gy * (x / 3.0f + 0.5f) : gy;
}

MEMPLAN_INLINE float memplan_silu(float x) { return x * memplan_sigmoid(x); }

MEMPLAN_INLINE float memplan_silu_gradient(float gy, float x) {
    const float s = memplan_sigmoid(x);
    return gy * s * (1.0f + x * (1.0f - s));
}

MEMPLAN_INLINE float memplan_gelu(float x) {
    return 0.5f * x * (1.0f + memplan_erf(x * 0.707106781186547524f));
}

MEMPLAN_INLINE float memplan_gelu_gradient(float gy, float x) {
    const float cumulative = 0.5f * (1.0f + memplan_erf(x * 0.707106781186547524f));
    const float density = 0.398942280401432678f * memplan_exp(-0.5f * x * x);
    return gy * (cumulative + x * density);
}

/* The approximation of GELU by tanh. */
MEMPLAN_INLINE float memplan_gelu_tanh(float x) {
    const float inner = 0.797884560802865356f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (1.0f + memplan_tanh(inner));
}

MEMPLAN_INLINE float memplan_gelu_tanh_gradient(float gy, float x) {
    const float inner = 0.797884560802865356f * (x + 0.044715f * x * x * x);
    const float t = memplan_tanh(inner);
    const float slope = 0.797884560802865356f * (1.0f + 3.0f * 0.044715f * x * x);
    return gy * (0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * slope);
}

#endif
