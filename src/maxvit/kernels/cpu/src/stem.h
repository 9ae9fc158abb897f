// The stem: two 3 x 3 convolutions, the first with stride 2 and an activation; the second as Winograd's F(2 x 2, 3 x 3) (arXiv
// 1509.09308), which takes 16 products where 2 x 2 pixels take 36.
#pragma once
#include "mbconv.h"

struct Stem {
    long in, hidden, channels;
    int activation, symmetric;
    Weights first;   // (9 * in, hidden), its rows by kernel row, kernel column, channel
    Weights second;  // 16 of (hidden, channels), transformed; bias (16, channels)
};

// Images in any layout: floats from one image, channel, row and pixel to the next.
struct Images {
    long number;
    MapSize size;
    long image, channel, row, pixel;
    const float* data;
};

constexpr long SQUARES = 24;  // of 2 x 2 pixels that are convolved together

// One dimension of the transform of 4 pixels, and of that back to 2.
INLINE void forth(Vec& a, Vec& b, Vec& c, Vec& d) {
    const Vec first = a - c, last = b - d, sum = b + c;
    c -= b, a = first, b = sum, d = last;
}
INLINE void back(Vec& a, Vec& b, const Vec& c, const Vec& d) {
    const Vec second = b - c - d;
    a += b + c, b = second;
}

// 4 x 4 pixels of a map whose rows are `line` apart to 16 rows of a matrix each, which are `hop` apart.
inline void transform(const float* from, long line, long C, float* to, long hop) {
    for (long c = 0; c < C; c += LANES) {
        Vec d[4][4];
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 4; x++) d[y][x] = load(from + y * line + x * C + c);
        for (int x = 0; x < 4; x++) forth(d[0][x], d[1][x], d[2][x], d[3][x]);
        for (int y = 0; y < 4; y++) {
            forth(d[y][0], d[y][1], d[y][2], d[y][3]);
            for (int x = 0; x < 4; x++) store(to + (y * 4 + x) * hop + c, d[y][x]);
        }
    }
}

// The way back, to `height` x `width` of 2 x 2 pixels.
inline void transform_back(const float* from, long hop, long C, float* to, long line, long height, long width) {
    for (long c = 0; c < C; c += LANES) {
        Vec d[4][4];
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 4; x++) d[y][x] = load(from + (y * 4 + x) * hop + c);
        for (int x = 0; x < 4; x++) back(d[0][x], d[1][x], d[2][x], d[3][x]);
        for (long y = 0; y < height; y++) {
            back(d[y][0], d[y][1], d[y][2], d[y][3]);
            for (long x = 0; x < width; x++) store(to + y * line + x * C + c, d[y][x]);
        }
    }
}

// x (images, in, height, width) -> y (images, ceil(height / 2), ceil(width / 2), channels)
inline void stem(Team& all, const Stem& p, const Images& x, float* y) {
    const MapSize in = x.size;
    const MapSize out = strided(in, 2);
    const long left = p.symmetric ? 1 : in.width % 2, above = p.symmetric ? 1 : in.height % 2;
    const long H = p.hidden, C = p.channels, wide = (2 * out.width + 1) * p.in;
    const long across = (out.width + 1) / 2, line = (2 * across + 2) * H;  // squares of a row; floats of a padded row
    const long fitting = std::max(2L, TILE / line - 2), even = (out.height + fitting - 1) / fitting;
    const long band = ((out.height + even - 1) / even + 1) / 2 * 2, bands = (out.height + band - 1) / band;
    const Packed first{p.first, 9 * p.in, H};
    const size_t hop = SQUARES * H, leap = SQUARES * C, plain = (2 * band + 5) * wide + (band + 2) * line + 16 * (hop + leap);
    const size_t floats = plain + coarse_memory(p.second, 16 * SQUARES, H);

    share(all, x.number * bands, floats, 0, [&](long item, Team& team, float* memory) {
        const long image = item / bands, begin = item % bands * band, end = std::min(out.height, begin + band);
        float *padded_image = memory, *middle = memory + (2 * band + 5) * wide;
        float *turned = middle + (band + 2) * line, *sums = turned + 16 * hop;
        const Coarse coarse = coarse_in(memory + plain, 16 * SQUARES, H);
        const long top = 2 * (begin - 1) - above;  // of the image, for the first line of `middle`
        team.rows(2 * (end - begin) + 5, [&](long r) {
            float* to = padded_image + r * wide;
            std::fill(to, to + wide, 0.0f);
            if (top + r < 0 || top + r >= in.height) return;
            const long room = std::min(in.width, wide / p.in - left);
            for (long c = 0; c < p.in; c++) {
                const float* from = x.data + image * x.image + c * x.channel + (top + r) * x.row;
                for (long i = 0; i < room; i++) to[(left + i) * p.in + c] = from[i * x.pixel];
            }
        });
        const long pairs = (end - begin + 1) / 2, panels = H / WIDTH;
        team.each((2 * pairs + 2) * panels, [&](long piece) {
            const long r = piece / panels, column = piece % panels * WIDTH;
            float *to = middle + r * line, *after = to + (out.width + 1) * H;
            const bool outside = begin - 1 + r < 0 || begin - 1 + r >= out.height;
            if (column == 0) std::fill(to, to + (outside ? line : H), 0.0f), std::fill(after, to + line, 0.0f);
            if (outside) return;
            panel({Rows{padded_image + 2 * r * wide, 2 * p.in, 3, wide}}, out.width, first, column,
                  [&](long m, long c, Vec low, Vec high) {
                      store2(to + (m + 1) * H + c, activate(low, p.activation), activate(high, p.activation));
                  });
        });
        for (long done = 0; done < pairs * across; done += SQUARES) {
            const long some = std::min(SQUARES, pairs * across - done);
            team.rows(some, [&](long i) {
                const long row = (done + i) / across * 2, column = (done + i) % across * 2;
                transform(middle + row * line + column * H, line, H, turned + i * H, hop);
                if (p.second.scale)
                    for (long k = 0; k < 16; k++) make_coarse(p.second, turned + k * hop + i * H, coarse, k * SQUARES + i);
            });
            team.each(16 * (C / WIDTH), [&](long piece) {
                const long k = piece / (C / WIDTH), column = piece % (C / WIDTH) * WIDTH;
                const Left from{Rows{turned + k * hop, H}, coarse_from(p.second, coarse, k * SQUARES)};
                panel(from, some, Packed{part(p.second, k, H, C), H, C}, column,
                      [&](long m, long c, Vec low, Vec high) { store2(sums + k * leap + m * C + c, low, high); });
            });
            team.rows(some, [&](long i) {
                const long row = begin + (done + i) / across * 2, column = (done + i) % across * 2;
                transform_back(sums + i * C, leap, C, y + ((image * out.height + row) * out.width + column) * C,
                               out.width * C, std::min(2L, end - row), std::min(2L, out.width - column));
            });
        }
    });
}
