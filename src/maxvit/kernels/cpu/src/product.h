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

// Columns `begin` to `end` of a (depth, columns) matrix of them.
struct Packed {
    Weights weights;
    long depth, columns, begin, end;
    Packed(const Weights& w, long depth, long columns) : weights(w), depth(depth), columns(columns), begin(0), end(columns) {}
    Packed(const Packed& all, long begin, long end) : Packed(all) { this->begin = begin, this->end = end; }
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

// `rows` rows of `a` times w: use(row, column, first half, second half) of WIDTH columns.
template <class Use>
inline void product(Team team, Rows a, long rows, const Packed& w, Use use) {
    for (long c = w.begin + team.rank * WIDTH; c < w.end; c += team.size * WIDTH)
        columns(a, rows, static_cast<const float*>(w.weights.data) + c * w.depth, WIDTH, w.depth, w.weights.bias + c,
                [&](long m, Vec low, Vec high) { use(m, c, low, high); });
}

// The same for quantised rows and weights.
template <class Use>
inline void product(Team team, const Bytes& a, long rows, const Packed& w, Use use) {
    alignas(64) int32_t sums[HEIGHT * WIDTH];
    for (long c = w.begin + team.rank * WIDTH; c < w.end; c += team.size * WIDTH) {
        const int8_t* panel = static_cast<const int8_t*>(w.weights.data) + c * w.depth;
        const float *bias = w.weights.bias + c, *scale = w.weights.scale + c, *column_sum = scale + w.columns;
        for (long m = 0; m < rows; m += HEIGHT) {
            const long some = std::min<long>(HEIGHT, rows - m);
            multiply_some<HEIGHT>(some, a.data + m * a.depth, a.depth, panel, sums);
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
}

// The same for rows that are quantised first if the weights are, into `memory` for byte_memory(rows, depth) floats.
template <class Use>
inline void product(Team team, Rows a, long rows, const Packed& w, float* memory, Use use) {
    if (!w.weights.scale) return product(team, a, rows, w, use);
    const Bytes bytes = bytes_in(memory, rows, w.depth);
    for (long m = team.rank; m < rows; m += team.size) quantise(a.data + m * a.stride, bytes, m);
    team.wait();
    product(team, bytes, rows, w, use);
}
