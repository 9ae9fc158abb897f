// Matrix products with packed weights, whose results go to a function while they are in registers.
#pragma once
#include "team.h"
#include "vector.h"

constexpr int WIDTH = 2 * LANES;                // columns of a panel
constexpr int HEIGHT = LANES == 16 ? 12 : 6;    // rows of a tile: HEIGHT * 2 sums fill the registers

// A (depth, columns) matrix as panels of WIDTH columns: panel, then row, then column.
struct Packed {
    const float* data;
    const float* bias;  // or null
    long depth, columns;
    long panels() const { return columns / WIDTH; }
};

// Rows of the left matrix: row m starts at data + m * stride. A depth in several segments, `hop` apart, makes a
// convolution of it: each segment is a row of its kernel.
struct Rows {
    const float* data;
    long stride;
    long segments = 1, hop = 0;
};

template <int ROWS, class Use>
inline __attribute__((always_inline)) void tile(Rows a, long m, const float* b, long ldb, long depth, const float* bias, Use& use) {
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
    for (int i = 0; i < ROWS; i++) use(m + i, sums[i][0], sums[i][1]);
}

template <int ROWS, class Use>
inline void last_tile(long left, Rows a, long m, const float* b, long ldb, long depth, const float* bias, Use& use) {
    if (left == ROWS) tile<ROWS>(a, m, b, ldb, depth, bias, use);
    else if constexpr (ROWS > 1) last_tile<ROWS - 1>(left, a, m, b, ldb, depth, bias, use);
}

// `rows` rows of `a` times WIDTH columns of b, whose rows are `ldb` apart: use(row, first half, second half).
template <class Use>
inline void columns(Rows a, long rows, const float* b, long ldb, long depth, const float* bias, Use use) {
    long m = 0;
    for (; m + HEIGHT <= rows; m += HEIGHT) tile<HEIGHT>(a, m, b, ldb, depth, bias, use);
    if (m < rows) last_tile<HEIGHT - 1>(rows - m, a, m, b, ldb, depth, bias, use);
}

// `rows` rows of `a` times all of w: use(row, column, first half, second half) of WIDTH columns.
template <class Use>
inline void product(Team team, Rows a, long rows, const Packed& w, Use use) {
    for (long panel = team.rank; panel < w.panels(); panel += team.size) {
        const long column = panel * WIDTH;
        columns(a, rows, w.data + column * w.depth, WIDTH, w.depth, w.bias ? w.bias + column : nullptr,
                [&](long m, Vec low, Vec high) { use(m, column, low, high); });
    }
}

inline void store2(float* p, Vec low, Vec high) { store(p, low), store(p + LANES, high); }
