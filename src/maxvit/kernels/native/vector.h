// Vectors of floats, in the notation of GCC and Clang: the compiler makes AVX2, AVX-512 or NEON of them.
#pragma once
#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));

inline Vec load(const float* p) { Vec v; std::memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
inline Vec all(float x) { return x - Vec{}; }

inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

inline float sum(Vec v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

// e^x, 1 unit in the last place; below -87 it stays at e^-87, above 88 at e^88.
inline Vec exp(Vec x) {
    x = larger(smaller(x, all(88.0f)), all(-87.0f));
    const Vec shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    Vec n = x * 1.44269504f + shift;
    IntVec exponent;
    std::memcpy(&exponent, &n, sizeof n);
    n -= shift;
    Vec r = x - n * 0.693359375f;
    r -= n * -2.12194440e-4f;  // ln 2 in two parts
    Vec p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    IntVec bits;
    std::memcpy(&bits, &p, sizeof p);
    bits += exponent << 23;
    std::memcpy(&p, &bits, sizeof p);
    return p;
}

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }

// GELU. The tanh formula is x * sigmoid(2u), which needs one exponential and no tanh.
inline Vec gelu_tanh(Vec x) {
    const Vec twice = x * (1.5957691216f + 0.0713548163f * x * x);  // 2 sqrt(2 / pi) (x + 0.044715 x^3)
    return x / (1.0f + exp(-twice));
}

// The erf formula, with erf to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
inline Vec gelu_erf(Vec x) {
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

inline Vec gelu(Vec x, bool erf) { return erf ? gelu_erf(x) : gelu_tanh(x); }
