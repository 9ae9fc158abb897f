// How many instructions of a kind a core begins in a second, in the loop of the kernels' products: 12 rows of 2 vectors.
#include <immintrin.h>

#include <chrono>
#include <cstdio>
#include <cstring>

enum Kind { FMA, BF16, FP16, INT8 };

template <int KIND>
double rate() {
    constexpr long REPEATS = 30000, DEPTH = 64, ROWS = 12;
    alignas(64) static float a[ROWS * DEPTH], b[DEPTH * 32];
    const _Float16 half[2] = {_Float16(0.05f), _Float16(0.05f)};  // products far smaller would take longer in 16 bits
    for (float& x : a) x = 0.001f;
    for (float& x : b) x = 0.002f;
    if (KIND == FP16) {
        for (float& x : a) std::memcpy(&x, half, sizeof x);
        for (float& x : b) std::memcpy(&x, half, sizeof x);
    }
    __m512 sums[ROWS][2]{};
    const auto begin = std::chrono::steady_clock::now();
    for (long r = 0; r < REPEATS; r++)
        for (long k = 0; k < DEPTH; k++) {
            const __m512 right[2] = {_mm512_load_ps(b + k * 32), _mm512_load_ps(b + k * 32 + 16)};
#pragma GCC unroll 12
            for (long i = 0; i < ROWS; i++) {
                const __m512 left = _mm512_set1_ps(a[i * DEPTH + k]);
                for (int h = 0; h < 2; h++) {
                    __m512& sum = sums[i][h];
                    if (KIND == FMA) sum = _mm512_fmadd_ps(left, right[h], sum);
                    if (KIND == BF16) sum = _mm512_dpbf16_ps(sum, (__m512bh)left, (__m512bh)right[h]);
                    if (KIND == FP16)
                        sum = (__m512)_mm512_fmadd_ph((__m512h)left, (__m512h)right[h], (__m512h)sum);
                    if (KIND == INT8) sum = (__m512)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)left, (__m512i)right[h]);
                }
            }
        }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    volatile float used = 0;
    for (auto& row : sums) used = used + row[0][0] + row[1][0];
    return REPEATS * DEPTH * ROWS * 2 / seconds / 1e9;
}

int main() { std::printf("%.3f %.3f %.3f %.3f\n", rate<FMA>(), rate<BF16>(), rate<FP16>(), rate<INT8>()); }
