// How many instructions of a kind a core begins in a second, in the loop of the kernels' products: 12 rows of 2 vectors.
#include <immintrin.h>

#include <chrono>
#include <cstdio>
#include <cstring>

struct Float32 {
    typedef __m512 Vector;
    static Vector add(Vector sum, Vector left, Vector right) { return _mm512_fmadd_ps(left, right, sum); }
};
struct BFloat16 : Float32 {
    static Vector add(Vector sum, Vector left, Vector right) {
        return _mm512_dpbf16_ps(sum, (__m512bh)left, (__m512bh)right);
    }
};
struct Float16 {
    typedef __m512h Vector;
    static Vector add(Vector sum, Vector left, Vector right) { return _mm512_fmadd_ph(left, right, sum); }
};
struct Int8 {
    typedef __m512i Vector;
    static Vector add(Vector sum, Vector left, Vector right) { return _mm512_dpbusd_epi32(sum, left, right); }
};

template <class Kind>
double rate() {
    typedef typename Kind::Vector Vector;
    constexpr long REPEATS = 30000, DEPTH = 64, ROWS = 12;
    alignas(64) static int a[ROWS * DEPTH], b[DEPTH * 32];
    for (int& x : a) x = 0x2a002a00;  // as two 16-bit floats 0.047 each: products far smaller take longer
    for (int& x : b) x = 0x2a002a00;
    Vector sums[ROWS][2]{};
    const auto begin = std::chrono::steady_clock::now();
    for (long r = 0; r < REPEATS; r++)
        for (long k = 0; k < DEPTH; k++) {
            const Vector low = (Vector)_mm512_load_si512(b + k * 32), high = (Vector)_mm512_load_si512(b + k * 32 + 16);
#pragma GCC unroll 12
            for (long i = 0; i < ROWS; i++) {
                const Vector left = (Vector)_mm512_set1_epi32(a[i * DEPTH + k]);
                sums[i][0] = Kind::add(sums[i][0], left, low);
                sums[i][1] = Kind::add(sums[i][1], left, high);
            }
        }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    alignas(64) static volatile char used[sizeof sums];
    std::memcpy(const_cast<char*>(used), sums, sizeof sums);
    return REPEATS * DEPTH * ROWS * 2 / seconds / 1e9;
}

int main() { std::printf("%.3f %.3f %.3f %.3f\n", rate<Float32>(), rate<BFloat16>(), rate<Float16>(), rate<Int8>()); }
