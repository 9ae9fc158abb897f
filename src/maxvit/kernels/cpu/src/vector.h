// Vectors of LANES floats, in the notation of GCC and Clang: the compiler makes NEON (4), AVX2 (8) or AVX-512 (16) of them.
// LANES is given to the compiler; with more than the processor's vectors hold, GCC keeps them in memory.
#pragma once
#include <cstdint>
#include <cstring>
#if LANES == 16 && defined(__AVX512F__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))  // small and hot: a call would cost more than its work

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));

constexpr int WIDTH = 2 * LANES;  // columns of a panel of weights

INLINE Vec load(const float* p) { Vec v; std::memcpy(&v, p, sizeof v); return v; }
INLINE void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
INLINE Vec all(float x) { return x - Vec{}; }

INLINE Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

#if LANES == 16 && defined(__AVX512F__)  // by halves: one after the other, each would wait for the last
INLINE float sum(Vec v) { return _mm512_reduce_add_ps((__m512)v); }
INLINE float highest(Vec v) { return _mm512_reduce_max_ps((__m512)v); }
#else
inline float sum(Vec v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}
inline float highest(Vec v) {
    float most = v[0];
    for (int i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
    return most;
}
#endif

// 2^x to 1e-7 of itself, for x from -126 to 126; beyond it stays at the ends.
INLINE Vec exp2(Vec x) {
    x = larger(smaller(x, all(126.0f)), all(-126.0f));
    const Vec shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    Vec whole = x + shift;
    IntVec exponent, bits;
    std::memcpy(&exponent, &whole, sizeof whole);
    const Vec f = x - (whole - shift);  // from -0.5 to 0.5
    Vec p = all(1.3276466849e-3f);      // a polynomial fitted to 2^f, least relative error
    p = p * f + 9.6755412934e-3f;
    p = p * f + 5.5507132894e-2f;
    p = p * f + 2.4022119725e-1f;
    p = p * f + 6.9314696706e-1f;
    p = p * f + 1.0f;
    std::memcpy(&bits, &p, sizeof p);
    bits += exponent << 23;
    std::memcpy(&p, &bits, sizeof p);
    return p;
}

constexpr float LOG2_E = 1.44269504f;
INLINE Vec exp(Vec x) { return exp2(x * LOG2_E); }

INLINE Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }

// GELU. The tanh formula is x * sigmoid(2u), which needs one exponential and no tanh.
INLINE Vec gelu_tanh(Vec x) {
    const Vec minus_twice = x * (-2.3022082f - 0.10294324f * x * x);  // -2 sqrt(2 / pi) (x + 0.044715 x^3) / ln 2
    return x / (1.0f + exp2(minus_twice));
}

// The erf formula, with erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
INLINE Vec gelu_erf(Vec x) {
    const Vec magnitude = (x < 0.0f ? -x : x) * 0.70710678118f;
    const Vec t = 1.0f / (1.0f + 0.3275911f * magnitude);
    Vec p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const Vec tail = 0.5f * p * t * exp(-magnitude * magnitude);  // (1 - erf) / 2
    return x * (x < 0.0f ? tail : 1.0f - tail);
}

INLINE Vec silu(Vec x) { return x / (1.0f + exp(-x)); }

enum Activation { NONE, TANH, ERF, SILU };

INLINE Vec activate(Vec x, int kind) {
    return kind == NONE ? x : kind == TANH ? gelu_tanh(x) : kind == ERF ? gelu_erf(x) : silu(x);
}
