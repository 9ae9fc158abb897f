// Matrix products in 8-bit integers. A row of the left matrix is quantised when it comes, to 7 bits between its own
// smallest and largest number; weights beforehand, to 8 bits and a scale for each column. 7 bits, as two products of
// 8 bits would overflow the 16-bit sums of processors without VNNI.
#pragma once
#include "team.h"
#include "vector.h"
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

typedef uint8_t ByteVec __attribute__((vector_size(LANES)));
constexpr float LEVELS = 127;

// Rows in fewer bits: row m is step[m] * its numbers, in int8 with low[m] added.
struct Coarse {
    void* data;
    float *low, *step;
    long depth;
};

inline void quantise(const float* x, const Coarse& to, long m) {
    Vec low = load(x), high = low;
    for (long k = LANES; k < to.depth; k += LANES) low = smaller(low, load(x + k)), high = larger(high, load(x + k));
    const float least = -highest(-low), step = std::max(highest(high) - least, 1e-30f) / LEVELS, inverse = 1 / step;
    for (long k = 0; k < to.depth; k += LANES) {
        const Vec level = (load(x + k) - least) * inverse + 0.5f;
        const ByteVec bytes = __builtin_convertvector(__builtin_convertvector(level, IntVec), ByteVec);
        std::memcpy(static_cast<uint8_t*>(to.data) + m * to.depth + k, &bytes, sizeof bytes);
    }
    to.low[m] = least;
    to.step[m] = step;
}

// sums + a . b over groups of four bytes, a without sign and below 128.
INLINE IntVec dot4(IntVec sums, IntVec a, const int8_t* b) {
    IntVec weights;
    std::memcpy(&weights, b, sizeof weights);
#if LANES == 16 && defined(__AVX512VNNI__)
    return (IntVec)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)a, (__m512i)weights);
#elif LANES == 16 && defined(__AVX512BW__)
    return sums + (IntVec)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)a, (__m512i)weights), _mm512_set1_epi16(1));
#elif LANES == 8 && defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return (IntVec)_mm256_dpbusd_epi32((__m256i)sums, (__m256i)a, (__m256i)weights);
#elif LANES == 8 && defined(__AVXVNNI__)
    return (IntVec)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)a, (__m256i)weights);
#elif LANES == 8 && defined(__AVX2__)
    return sums + (IntVec)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)a, (__m256i)weights), _mm256_set1_epi16(1));
#elif LANES == 4 && defined(__ARM_FEATURE_DOTPROD)
    return (IntVec)vdotq_s32((int32x4_t)sums, (int8x16_t)a, (int8x16_t)weights);
#else
    for (int i = 0; i < 4; i++) sums += ((a >> (8 * i)) & 255) * (weights << (24 - 8 * i) >> 24);
    return sums;
#endif
}

template <int ROWS>
__attribute__((noinline)) void multiply(const uint8_t* a, long depth, const int8_t* b, int32_t* to) {
    IntVec sums[ROWS][2]{};
#pragma GCC unroll 1
    for (long k = 0; k < depth; k += 4, b += 8 * LANES) {
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++) {
            int32_t four;
            std::memcpy(&four, a + i * depth + k, sizeof four);
            const IntVec all_lanes = four - IntVec{};
            sums[i][0] = dot4(sums[i][0], all_lanes, b);
            sums[i][1] = dot4(sums[i][1], all_lanes, b + 4 * LANES);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
        for (int h = 0; h < 2; h++) std::memcpy(to + (2 * i + h) * LANES, &sums[i][h], sizeof sums[i][h]);
}

template <int ROWS>
inline void multiply_some(long rows, const uint8_t* a, long depth, const int8_t* b, int32_t* to) {
    if (rows == ROWS) multiply<ROWS>(a, depth, b, to);
    else if constexpr (ROWS > 1) multiply_some<ROWS - 1>(rows, a, depth, b, to);
}
