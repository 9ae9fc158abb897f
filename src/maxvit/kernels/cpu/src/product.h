// Matrix products with packed weights, whose results go to a function while they are in registers.
#pragma once
#include "bytes.h"
#include "team.h"
#include "vector.h"

constexpr int WIDTH = 2 * LANES;                // columns of a panel
constexpr int HEIGHT = LANES == 16 ? 12 : 6;    // rows of a tile: HEIGHT * 2 sums fill the registers

INLINE void store2(float* p, Vec low, Vec high) { store(p, low), store(p + LANES, high); }

// Weights as Python gives them: panels of WIDTH columns, in each panel row by row. With `scale` they are int8, four rows
// together, and `scale` holds a factor for each column, then the sum of each column.
struct Weights {
    const void* data;
    const float *bias, *scale;
};

// A (depth, columns) matrix of them.
struct Packed {
    Weights weights;
    long depth, columns;
};

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

// The left matrix of a product: rows, and the same quantised where the weights are.
struct Left {
    Rows rows;
    Bytes bytes{};
};

// `rows` rows of `a` times the panel of w at column c: use(row, column, first half, second half) of WIDTH columns.
template <class Use>
inline void panel(const Left& a, long rows, const Packed& w, long c, Use use) {
    const float* bias = w.weights.bias + c;
    if (!w.weights.scale)
        return columns(a.rows, rows, static_cast<const float*>(w.weights.data) + c * w.depth, WIDTH, w.depth, bias,
                       [&](long m, Vec low, Vec high) { use(m, c, low, high); });
    alignas(64) int32_t sums[HEIGHT * WIDTH];
    const int8_t* weights = static_cast<const int8_t*>(w.weights.data) + c * w.depth;
    const float *scale = w.weights.scale + c, *column_sum = scale + w.columns;
    const Bytes& b = a.bytes;
    for (long m = 0; m < rows; m += HEIGHT) {
        const long some = std::min<long>(HEIGHT, rows - m);
        multiply_some<HEIGHT>(some, b.data + m * b.depth, b.depth, weights, sums);
        for (long i = 0; i < some; i++) {
            Vec halves[2];
            for (int h = 0; h < 2; h++) {
                IntVec whole;
                std::memcpy(&whole, sums + i * WIDTH + h * LANES, sizeof whole);
                const Vec product = __builtin_convertvector(whole, Vec) * load(scale + h * LANES);
                halves[h] = product * b.step[m + i] + (load(column_sum + h * LANES) * b.low[m + i] + load(bias + h * LANES));
            }
            use(m + i, c, halves[0], halves[1]);
        }
    }
}

// Quantise rows if the weights are, into `memory` for byte_memory(rows, depth) floats.
inline Left left(Team& team, Rows a, long rows, const Packed& w, float* memory) {
    if (!w.weights.scale) return {a};
    const Left found{a, bytes_in(memory, rows, w.depth)};
    team.rows(rows, [&](long m) { quantise(a.data + m * a.stride, found.bytes, m); });
    return found;
}

// `rows` rows of `a` times all panels of w.
template <class Use>
inline void product(Team& team, Rows a, long rows, const Packed& w, float* memory, Use use) {
    const Left found = left(team, a, rows, w, memory);
    team.each(w.columns / WIDTH, [&](long k) { panel(found, rows, w, k * WIDTH, use); });
}
