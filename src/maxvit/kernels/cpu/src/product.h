// Matrix products with packed weights, whose results go to a function while they are in registers.
#pragma once
#include "bytes.h"
#include "halves.h"
#include "team.h"
#include "vector.h"

// Rows of a tile, whose HEIGHT * 2 sums stay in registers: x86 has 16 below AVX-512, else there are 32, of which GCC uses
// less on ARM.
#if defined(__aarch64__)
constexpr int HEIGHT = 8;
#else
constexpr int HEIGHT = LANES == 16 ? 12 : 6;
#endif

INLINE void store2(float* p, Vec low, Vec high) { store(p, low), store(p + LANES, high); }

// Weights as Python gives them: panels of WIDTH columns, in each panel row by row. With `scale`, a factor for each column,
// they are 16-bit floats, two rows together; with `sum`, that of each column, too they are int8, four rows together.
struct Weights {
    const void* data;
    const float *bias, *scale, *sum;
};

// A (depth, columns) matrix of them.
struct Packed {
    Weights weights;
    long depth, columns;
};

inline long number_bytes(const Weights& w) { return w.sum ? 1 : w.scale ? 2 : 4; }

// Matrix k of several that lie one after the other.
inline Weights part(const Weights& w, long k, long depth, long columns) {
    const long c = k * columns;
    return {static_cast<const char*>(w.data) + c * depth * number_bytes(w), w.bias + c, w.scale ? w.scale + c : nullptr,
            w.sum ? w.sum + c : nullptr};
}

// Rows of the left matrix: row m starts at data + m * stride. A depth in several segments, `hop` apart, makes a
// convolution of it: each segment is a row of its kernel.
struct Rows {
    const float* data;
    long stride;
    long segments = 1, hop = 0;
};

// ROWS rows of `a`, from row m on, times WIDTH columns of b: the sums go to `sums` (ROWS, WIDTH). Not inlined, as the
// compiler would give the registers of the sums to what comes after.
template <int ROWS>
__attribute__((noinline)) void multiply(Rows a, long m, const float* b, long ldb, long depth, const float* bias, float* to) {
    Vec sums[ROWS][2];
    const Vec start[2] = {bias ? load(bias) : Vec{}, bias ? load(bias + LANES) : Vec{}};
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++) sums[i][0] = start[0], sums[i][1] = start[1];
    const float* row = a.data + m * a.stride;
    const long length = depth / a.segments, stride = a.stride;
    for (long s = 0; s < a.segments; s++, row += a.hop) {
#pragma GCC unroll 1
        for (long k = 0; k < length; k++, b += ldb) {
            const Vec low = load(b), high = load(b + LANES);
#pragma GCC unroll 12
            for (int i = 0; i < ROWS; i++) {
                const float x = row[i * stride + k];
                sums[i][0] += x * low;
                sums[i][1] += x * high;
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++) store2(to + i * WIDTH, sums[i][0], sums[i][1]);
}

// The same for `rows` of them, from 1 to ROWS.
template <int ROWS>
inline void multiply_some(long rows, Rows a, long m, const float* b, long ldb, long depth, const float* bias, float* to) {
    if (rows == ROWS) multiply<ROWS>(a, m, b, ldb, depth, bias, to);
    else if constexpr (ROWS > 1) multiply_some<ROWS - 1>(rows, a, m, b, ldb, depth, bias, to);
}

// `rows` rows of `a` times WIDTH columns of b, whose rows are `ldb` apart: use(row, first half, second half).
template <class Use>
inline void columns(Rows a, long rows, const float* b, long ldb, long depth, const float* bias, Use use) {
    alignas(64) float sums[HEIGHT * WIDTH];
    for (long m = 0; m < rows; m += HEIGHT) {
        const long some = std::min<long>(HEIGHT, rows - m);
        multiply_some<HEIGHT>(some, a, m, b, ldb, depth, bias, sums);
        for (long i = 0; i < some; i++) use(m + i, load(sums + i * WIDTH), load(sums + i * WIDTH + LANES));
    }
}

// The left matrix of a product: rows, and the same in fewer bits where the weights are.
struct Left {
    Rows rows;
    Coarse coarse{};
};

// What `coarse_in` takes, in floats.
inline size_t coarse_memory(const Weights& w, long rows, long depth) {
    return w.scale ? rows * (2 + depth * number_bytes(w) / sizeof(float)) : 0;
}

inline Coarse coarse_in(float* memory, long rows, long depth) { return {memory + 2 * rows, memory, memory + rows, depth}; }

inline Coarse coarse_from(const Weights& w, const Coarse& all, long m) {
    return {static_cast<char*>(all.data) + m * all.depth * number_bytes(w), all.low + m, all.step + m, all.depth};
}

inline void make_coarse([[maybe_unused]] const Weights& w, const float* x, const Coarse& to, long m) {
#ifdef HALVES
    if (!w.sum) return halve(x, to, m);
#endif
    quantise(x, to, m);
}

template <class Use>
inline void byte_panel(const Coarse& a, long rows, const Packed& w, long c, Use use) {
    alignas(64) int32_t sums[HEIGHT * WIDTH];
    const int8_t* weights = static_cast<const int8_t*>(w.weights.data) + c * w.depth;
    const float *bias = w.weights.bias + c, *scale = w.weights.scale + c, *column_sum = w.weights.sum + c;
    for (long m = 0; m < rows; m += HEIGHT) {
        const long some = std::min<long>(HEIGHT, rows - m);
        multiply_some<HEIGHT>(some, static_cast<uint8_t*>(a.data) + m * a.depth, a.depth, weights, sums);
        for (long i = 0; i < some; i++) {
            Vec halves[2];
            for (int h = 0; h < 2; h++) {
                IntVec whole;
                std::memcpy(&whole, sums + i * WIDTH + h * LANES, sizeof whole);
                const Vec product = __builtin_convertvector(whole, Vec) * load(scale + h * LANES);
                halves[h] = product * a.step[m + i] + (load(column_sum + h * LANES) * a.low[m + i] + load(bias + h * LANES));
            }
            use(m + i, c, halves[0], halves[1]);
        }
    }
}

#ifdef HALVES
template <class Use>
inline void half_panel(const Coarse& a, long rows, const Packed& w, long c, Use use) {
    alignas(64) float sums[HALF_HEIGHT * WIDTH];
    const Half* weights = static_cast<const Half*>(w.weights.data) + c * w.depth;
    const float *bias = w.weights.bias + c, *scale = w.weights.scale + c;
    for (long m = 0; m < rows; m += HALF_HEIGHT) {
        const long some = std::min<long>(HALF_HEIGHT, rows - m);
        multiply_some<HALF_HEIGHT>(some, static_cast<Half*>(a.data) + m * a.depth, a.depth, weights, sums);
        for (long i = 0; i < some; i++) {
            Vec halves[2];
            for (int h = 0; h < 2; h++)
                halves[h] = load(sums + i * WIDTH + h * LANES) * (load(scale + h * LANES) * a.step[m + i]) + load(bias + h * LANES);
            use(m + i, c, halves[0], halves[1]);
        }
    }
}
#endif

// `rows` rows of `a` times the panel of w at column c: use(row, column, first half, second half) of WIDTH columns.
template <class Use>
inline void panel(const Left& a, long rows, const Packed& w, long c, Use use) {
    if (w.weights.sum) return byte_panel(a.coarse, rows, w, c, use);
#ifdef HALVES
    if (w.weights.scale) return half_panel(a.coarse, rows, w, c, use);
#endif
    columns(a.rows, rows, static_cast<const float*>(w.weights.data) + c * w.depth, WIDTH, w.depth, w.weights.bias + c,
            [&](long m, Vec low, Vec high) { use(m, c, low, high); });
}

// Rows in fewer bits if the weights are, in `memory` for coarse_memory(weights, rows, depth) floats.
inline Left left(Team& team, Rows a, long rows, const Packed& w, float* memory) {
    if (!w.weights.scale) return {a};
    const Left found{a, coarse_in(memory, rows, w.depth)};
    team.rows(rows, [&](long m) { make_coarse(w.weights, a.data + m * a.stride, found.coarse, m); });
    return found;
}

// `rows` rows of `a` times all panels of w.
template <class Use>
inline void product(Team& team, Rows a, long rows, const Packed& w, float* memory, Use use) {
    const Left found = left(team, a, rows, w, memory);
    team.each(w.columns / WIDTH, [&](long k) { panel(found, rows, w, k * WIDTH, use); });
}
