// MBConv with folded norms: expand, GELU, depthwise, GELU, squeeze and excite, project, shortcut.
#pragma once
#include <vector>

#include "product.h"

constexpr long PANELS = 2;            // panels of hidden channels that go through expand and depthwise together
constexpr long TILE = 128 * 1024;     // floats of expanded map at a time: it stays in the cache
constexpr long PIXELS = 3200;         // of as many images as are done together
constexpr long ROWS = 96;             // pixels that share one pass over the weights of `project`

struct MBConv {
    long in, hidden, out, squeezed, stride, pool;  // pool: side of the shortcut's pooling, where it strides
    int erf, symmetric;                            // symmetric: one pixel of padding on every side
    Weights expand;
    const float *depthwise, *depthwise_bias;  // (9, hidden), (hidden)
    const float *reduce, *reduce_bias;        // (squeezed, hidden)
    const float *excite, *excite_bias;        // (squeezed, hidden)
    Weights project, shortcut;                // no shortcut: null
};

struct MapSize {
    long height, width;
    long pixels() const { return height * width; }
};

// Rows `first` to `last` of WIDTH channels of a depthwise 3 x 3 convolution, then GELU. `from` holds the input's rows
// from `top` on, WIDTH channels a pixel; `to` has `hidden` floats a pixel. Adds each channel's sum to `total`. `line` is
// memory for one row of output: caches like it written to the map a whole line at a time.
inline void depthwise(const MBConv& p, MapSize in, MapSize out, const float* from, long top, long first, long last,
                      long channel, float* line, float* to, float* total) {
    const bool even = p.stride == 2 && !p.symmetric;  // an even side is padded at its end only
    const long above = even ? in.height % 2 : 1, left = even ? in.width % 2 : 1;
    Vec sums[2] = {load(total + channel), load(total + channel + LANES)};
    for (long y = first; y < last; y++) {
        const long iy = y * p.stride - above, y0 = std::max(0L, -iy), y1 = std::min(3L, in.height - iy);
        for (long half = 0; half < WIDTH; half += LANES) {
            const float* weight = p.depthwise + channel + half;
            Vec w[3][3];
            for (int t = 0; t < 9; t++) w[t / 3][t % 3] = load(weight + t * p.hidden);
            const Vec bias = load(p.depthwise_bias + channel + half);
            for (long x = 0; x < out.width; x++) {
                const long ix = x * p.stride - left, x0 = std::max(0L, -ix), x1 = std::min(3L, in.width - ix);
                const float* corner = from + ((iy - top) * in.width + ix) * WIDTH + half;
                Vec value = bias;
                if (y1 - y0 == 3 && x1 - x0 == 3) {
#pragma GCC unroll 3
                    for (int ky = 0; ky < 3; ky++)
#pragma GCC unroll 3
                        for (int kx = 0; kx < 3; kx++) value += w[ky][kx] * load(corner + (ky * in.width + kx) * WIDTH);
                } else {
                    for (long ky = y0; ky < y1; ky++)
                        for (long kx = x0; kx < x1; kx++)
                            value += load(weight + (ky * 3 + kx) * p.hidden) * load(corner + (ky * in.width + kx) * WIDTH);
                }
                store(line + x * WIDTH + half, value);
            }
        }
        float* row = to + y * out.width * p.hidden + channel;
        for (long x = 0; x < out.width; x++) {
            const Vec low = gelu(load(line + x * WIDTH), p.erf), high = gelu(load(line + x * WIDTH + LANES), p.erf);
            store2(row + x * p.hidden, low, high);
            sums[0] += low, sums[1] += high;
        }
    }
    store2(total + channel, sums[0], sums[1]);
}

// The scale of each channel, from the sums over the map.
inline void excite(const MBConv& p, const float* total, long pixels, float* scale) {
    std::memcpy(scale, p.excite_bias, p.hidden * sizeof(float));
    for (long j = 0; j < p.squeezed; j++) {
        const float* weight = p.reduce + j * p.hidden;
        Vec dots[4]{};
        for (long c = 0; c < p.hidden; c += 4 * LANES)
            for (int i = 0; i < 4; i++) dots[i] += load(total + c + i * LANES) * load(weight + c + i * LANES);
        const float x = sum(dots[0] + dots[1] + dots[2] + dots[3]) / pixels + p.reduce_bias[j];
        const float silu = x * sigmoid(all(x))[0];
        for (long c = 0; c < p.hidden; c += LANES)
            store(scale + c, load(scale + c) + silu * load(p.excite + j * p.hidden + c));
    }
    for (long c = 0; c < p.hidden; c += LANES) store(scale + c, sigmoid(load(scale + c)));
}

// One pixel of the shortcut's average pooling.
inline void average(const MBConv& p, MapSize in, const float* image, long y, long x, float* to) {
    const long before = p.pool == 3 ? 1 : 0;
    const long y0 = std::max(0L, y * 2 - before), y1 = std::min(in.height, y * 2 - before + p.pool);
    const long x0 = std::max(0L, x * 2 - before), x1 = std::min(in.width, x * 2 - before + p.pool);
    const float part = 1.0f / (p.pool == 3 ? 9 : (y1 - y0) * (x1 - x0));  // 3 x 3 counts its padding
    for (long c = 0; c < p.in; c += LANES) {
        Vec value{};
        for (long iy = y0; iy < y1; iy++)
            for (long ix = x0; ix < x1; ix++) value += load(image + (iy * in.width + ix) * p.in + c);
        store(to + c, value * part);
    }
}

// x (images, height, width, in) -> y (images, ceil(height / stride), ceil(width / stride), out)
inline void mbconv(const MBConv& p, long images, MapSize in, const float* x, float* y) {
    const MapSize out{(in.height + p.stride - 1) / p.stride, (in.width + p.stride - 1) / p.stride};
    const Packed expand{p.expand, p.in, p.hidden}, project{p.project, p.hidden, p.out}, shortcut{p.shortcut, p.in, p.out};
    const long together = std::min(images, std::max(1L, PIXELS / out.pixels()));
    const long chunk = PANELS * WIDTH, chunks = (p.hidden + chunk - 1) / chunk;
    // a tile is some whole images, or a band of rows of one
    const long each = std::max(1L, std::min(together, ROWS / in.pixels()));
    const long fitting = std::max(1L, (TILE / (chunk * in.width) - 2) / p.stride);
    const long bands = each > 1 ? 1 : (out.height + fitting - 1) / fitting, band = (out.height + bands - 1) / bands;
    const size_t tile_floats = chunk * in.width * (each > 1 ? each * in.height : std::min(in.height, band * p.stride + 2));

    const int threads = omp_get_max_threads();
    Kept<0> hidden(together * out.pixels() * p.hidden);
    Kept<1> quantised(p.expand.scale ? byte_memory(together * in.pixels(), p.in) : 0);
    std::vector<float> totals(together * bands * p.hidden), scales(together * p.hidden);
    for (long begin = 0; begin < images; begin += together) {
        const long some = std::min(together, images - begin), tiles = (some + each - 1) / each * bands;
        const float* from = x + begin * in.pixels() * p.in;
        std::fill(totals.begin(), totals.end(), 0.0f);

        const Bytes bytes = bytes_in(quantised.data, some * in.pixels(), p.in);
        if (p.expand.scale)  // once, as every tile of channels needs it
            share((some * in.pixels() + ROWS - 1) / ROWS, 0, [&](long item, Team team, float*) {
                const long end = std::min(some * in.pixels(), (item + 1) * ROWS);
                for (long m = item * ROWS + team.rank; m < end; m += team.size) quantise(from + m * p.in, bytes, m);
            });
        share(tiles * chunks, tile_floats + WIDTH * out.width * threads, [&](long item, Team team, float* expanded) {
            const long tile = item / chunks, channel = item % chunks * chunk, image = tile / bands * each, b = tile % bands;
            const long first = b * band, last = std::min(out.height, first + band), count = std::min(each, some - image);
            const long top = std::max(0L, first * p.stride - 1), bottom = std::min(in.height, last * p.stride + 1);
            const long pixels = each > 1 ? count * in.pixels() : (bottom - top) * in.width;
            const long start = image * in.pixels() + top * in.width;
            const Packed part{expand, channel, std::min(channel + chunk, p.hidden)};
            const auto keep = [&](long m, long c, Vec low, Vec high) {
                store2(expanded + (c - channel) * pixels + m * WIDTH, gelu(low, p.erf), gelu(high, p.erf));
            };
            if (p.expand.scale) product(team, bytes.from(start), pixels, part, keep);
            else product(team, Rows{from + start * p.in, p.in}, pixels, part, keep);
            float* line = expanded + tile_floats + WIDTH * out.width * team.rank;
            for (long c = channel + team.rank * WIDTH; c < part.end; c += team.size * WIDTH)
                for (long i = 0; i < count; i++)
                    depthwise(p, in, out, expanded + ((c - channel) * pixels + i * in.pixels() * WIDTH), top, first, last, c, line,
                              hidden.data + (image + i) * out.pixels() * p.hidden, totals.data() + ((image + i) * bands + b) * p.hidden);
        });
        share(some, 0, [&](long image, Team team, float*) {
            if (team.rank > 0) return;
            float* total = totals.data() + image * bands * p.hidden;
            for (long b = 1; b < bands; b++)
                for (long c = 0; c < p.hidden; c++) total[c] += total[b * p.hidden + c];
            excite(p, total, out.pixels(), scales.data() + image * p.hidden);
        });
        const long pixels = some * out.pixels(), blocks = (pixels + ROWS - 1) / ROWS;
        share(blocks, ROWS * (p.hidden + p.in) + byte_memory(ROWS, p.hidden), [&](long item, Team team, float* scaled) {
            const long first = item * ROWS, rows = std::min(ROWS, pixels - first);
            float *pooled = scaled + ROWS * p.hidden, *own_bytes = pooled + ROWS * p.in, *to = y + (begin * out.pixels() + first) * p.out;
            for (long m = team.rank; m < rows; m += team.size) {
                const long pixel = first + m, image = pixel / out.pixels(), place = pixel % out.pixels();
                const float *h = hidden.data + pixel * p.hidden, *scale = scales.data() + image * p.hidden;
                for (long c = 0; c < p.hidden; c += LANES) store(scaled + m * p.hidden + c, load(h + c) * load(scale + c));
                if (p.stride == 2)
                    average(p, in, from + image * in.pixels() * p.in, place / out.width, place % out.width, pooled + m * p.in);
            }
            team.wait();
            const float* kept = p.stride == 2 ? pooled : from + first * p.in;
            if (p.shortcut.data)
                product(team, {kept, p.in}, rows, shortcut,
                        [&](long m, long column, Vec low, Vec high) { store2(to + m * p.out + column, low, high); });
            const float* residual = p.shortcut.data ? to : kept;
            product(team, {scaled, p.hidden}, rows, project, own_bytes, [&](long m, long column, Vec low, Vec high) {
                const float* r = residual + m * p.out + column;
                store2(to + m * p.out + column, low + load(r), high + load(r + LANES));
            });
        });
    }
}
