// Matrix products in 16-bit floats, where the processor multiplies them. A row of the left matrix is rounded when it comes,
// divided by a power of two so that nothing overflows; weights beforehand, their columns likewise. Up to CHAIN / 2 products
// are summed in 16 bits, and these sums in float32: for sums of mixed signs closer than products of bfloat16.
#pragma once
#include "bytes.h"

#if defined(__AVX512FP16__) || defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#define HALVES 1
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#include <arm_neon.h>
#endif

#if defined(__AVX512FP16__) || defined(__clang__)
typedef _Float16 Half;
#else
typedef __fp16 Half;  // GCC 12 has no other on ARM; clang would round it after each product
#endif
typedef Half HalfVec __attribute__((vector_size(2 * LANES)));   // as many as floats in a Vec
typedef Half Halves __attribute__((vector_size(4 * LANES)));    // as wide as a Vec
typedef uint16_t Bits __attribute__((vector_size(2 * LANES)));

// Between the two: GCC 12 makes of its own conversion one number at a time.
#if defined(__AVX512FP16__) && LANES == 16
INLINE Vec widened(HalfVec v) { return (Vec)_mm512_cvtph_ps((__m256i)v); }
INLINE HalfVec narrowed(Vec v) { return (HalfVec)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT); }
#elif defined(__AVX512FP16__) && LANES == 8
INLINE Vec widened(HalfVec v) { return (Vec)_mm256_cvtph_ps((__m128i)v); }
INLINE HalfVec narrowed(Vec v) { return (HalfVec)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT); }
#elif LANES == 4 && defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
INLINE Vec widened(HalfVec v) { return (Vec)vcvt_f32_f16((float16x4_t)v); }
INLINE HalfVec narrowed(Vec v) { return (HalfVec)vcvt_f16_f32((float32x4_t)v); }
#else
INLINE Vec widened(HalfVec v) { return __builtin_convertvector(v, Vec); }
INLINE HalfVec narrowed(Vec v) { return __builtin_convertvector(v, HalfVec); }
#endif

constexpr long CHAIN = 256;
constexpr int HALF_HEIGHT = LANES == 4 ? 8 : 12;  // rows of a tile, as HEIGHT: these processors have 32 registers

// The largest one that is not above x, a normal number above 0: x without its fraction.
INLINE float power_of_two_below(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits &= 0x7f800000;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

inline void halve(const float* x, const Coarse& to, long m) {
    Vec most{};
    for (long k = 0; k < to.depth; k += LANES) {
        const Vec value = load(x + k);
        most = larger(most, larger(value, -value));
    }
    const float step = power_of_two_below(std::max(highest(most), 1e-30f)), inverse = 1 / step;
    for (long k = 0; k < to.depth; k += LANES) {
        const HalfVec rounded = narrowed(load(x + k) * inverse);
        std::memcpy(static_cast<Half*>(to.data) + m * to.depth + k, &rounded, sizeof rounded);
    }
    to.step[m] = step;
}

// Sums of pairs of 16-bit floats that lie side by side, in float32.
INLINE Vec pair_sums(Halves pairs) {
    typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
    Words words;
    std::memcpy(&words, &pairs, sizeof words);
    words = words << 16 | words >> 16;
    Halves swapped;
    std::memcpy(&swapped, &words, sizeof swapped);
    pairs += swapped;
    std::memcpy(&words, &pairs, sizeof words);
    const Bits bits = __builtin_convertvector(words, Bits);
    HalfVec sums;
    std::memcpy(&sums, &bits, sizeof sums);
    return widened(sums);
}

// ROWS rows of `a` times a panel whose rows lie together by twos, so that each vector makes two products of a column.
template <int ROWS>
__attribute__((noinline)) void multiply(const Half* a, long depth, const Half* b, float* to) {
    for (long begin = 0; begin < depth; begin += CHAIN) {
        Halves sums[ROWS][2]{};
        const long end = std::min(depth, begin + CHAIN);
#pragma GCC unroll 1
        for (long k = begin; k < end; k += 2, b += 2 * WIDTH) {
            Halves low, high;
            std::memcpy(&low, b, sizeof low), std::memcpy(&high, b + WIDTH, sizeof high);
#pragma GCC unroll 12
            for (int i = 0; i < ROWS; i++) {
                int32_t two;
                std::memcpy(&two, a + i * depth + k, sizeof two);
                const IntVec all_lanes = two - IntVec{};
                Halves left;
                std::memcpy(&left, &all_lanes, sizeof left);
                sums[i][0] += left * low;
                sums[i][1] += left * high;
            }
        }
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++)
            for (int h = 0; h < 2; h++) {
                float* total = to + (2 * i + h) * LANES;
                const Vec part = pair_sums(sums[i][h]);
                store(total, begin ? load(total) + part : part);
            }
    }
}

template <int ROWS>
inline void multiply_some(long rows, const Half* a, long depth, const Half* b, float* to) {
    if (rows == ROWS) multiply<ROWS>(a, depth, b, to);
    else if constexpr (ROWS > 1) multiply_some<ROWS - 1>(rows, a, depth, b, to);
}
#endif
