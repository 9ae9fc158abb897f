// MBConv with folded norms: expand, activation, depthwise, activation, squeeze and excite, project, shortcut.
#pragma once
#include "product.h"

constexpr long PANELS = 2;            // panels of hidden channels that go through expand and depthwise together
constexpr long TILE = 128 * 1024;     // floats of expanded map at a time: it stays in the cache
constexpr long PIXELS = 3200;         // of as many images as are done together
constexpr long ROWS = 96;             // pixels that share one pass over the weights of `project`

struct MBConv {
    long in, hidden, out, squeezed, stride, pool;  // pool: side of the shortcut's pooling, where it strides
    int activation, symmetric;                     // symmetric: one pixel of padding on every side
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

inline MapSize strided(MapSize in, long stride) { return {(in.height + stride - 1) / stride, (in.width + stride - 1) / stride}; }

// Rows `first` to `last` of WIDTH channels of a depthwise 3 x 3 convolution, then the activation. `from` holds the input's rows
// from `top` on, WIDTH channels a pixel; `to` has `hidden` floats a pixel. `total` is each channel's sum. `line` is
// memory for one row of output: caches like it written to the map a whole line at a time.
inline void depthwise(const MBConv& p, MapSize in, MapSize out, const float* from, long top, long first, long last,
                      long channel, float* line, float* to, float* total) {
    const bool even = p.stride == 2 && !p.symmetric;  // an even side is padded at its end only
    const long above = even ? in.height % 2 : 1, left = even ? in.width % 2 : 1;
    Vec sums[2]{};
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
            const Vec low = activate(load(line + x * WIDTH), p.activation);
            const Vec high = activate(load(line + x * WIDTH + LANES), p.activation);
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
        for (long c = 0; c < p.hidden; c += LANES) dots[c / LANES % 4] += load(total + c) * load(weight + c);
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

// How the work before the squeeze is cut: by channels, and by some whole images or a band of rows of one.
struct Tiles {
    long together;       // images whose hidden map is held at once
    long chunk, chunks;  // channels
    long each;           // images of a tile
    long bands, band;    // of an image, and rows of one, in the output
    size_t floats;       // of a tile's expanded map
    Tiles(const MBConv& p, long images, MapSize in, MapSize out) {
        together = std::min(images, std::max(1L, PIXELS / out.pixels()));
        chunk = PANELS * WIDTH, chunks = (p.hidden + chunk - 1) / chunk;
        each = std::max(1L, std::min(together, ROWS / in.pixels()));
        const long fitting = std::max(1L, (TILE / (chunk * in.width) - 2) / p.stride);
        bands = each > 1 ? 1 : (out.height + fitting - 1) / fitting, band = (out.height + bands - 1) / bands;
        floats = chunk * in.width * (each > 1 ? each * in.height : std::min(in.height, band * p.stride + 2));
    }
};

// Expand, activation, depthwise, activation: x (images, in) -> hidden (images, out), and each channel's sum over each band.
inline void widen(Team& all, const MBConv& p, const Tiles& t, long images, MapSize in, MapSize out, const float* x,
                  const Coarse& coarse, float* hidden, float* totals) {
    const size_t line_floats = WIDTH * out.width;
    const long tiles = (images + t.each - 1) / t.each * t.bands;
    share(all, tiles * t.chunks, t.floats, line_floats, [&](long item, Team& team, float* expanded) {
        const long tile = item / t.chunks, channel = item % t.chunks * t.chunk, image = tile / t.bands * t.each;
        const long b = tile % t.bands, count = std::min(t.each, images - image);
        const long first = b * t.band, last = std::min(out.height, first + t.band);
        const long top = std::max(0L, first * p.stride - 1), bottom = std::min(in.height, last * p.stride + 1);
        const long start = image * in.pixels() + top * in.width, pixels = count * (bottom - top) * in.width;
        const Packed weights{p.expand, p.in, p.hidden};
        const Left from{Rows{x + start * p.in, p.in}, coarse_from(p.expand, coarse, start)};
        float* lines = expanded + t.floats;

        team.each(std::min(t.chunk, p.hidden - channel) / WIDTH, [&](long k) {
            const long c = channel + k * WIDTH;
            float *own = expanded + k * WIDTH * pixels, *line = lines + line_floats * team.rank;
            panel(from, pixels, weights, c, [&](long m, long, Vec low, Vec high) {
                store2(own + m * WIDTH, activate(low, p.activation), activate(high, p.activation));
            });
            for (long i = 0; i < count; i++)
                depthwise(p, in, out, own + i * in.pixels() * WIDTH, top, first, last, c, line,
                          hidden + (image + i) * out.pixels() * p.hidden, totals + ((image + i) * t.bands + b) * p.hidden);
        });
    });
}

// Excite, project, shortcut: hidden (images, out) with its channels' scales, and x (images, in), -> y (images, out).
inline void narrow(Team& all, const MBConv& p, long images, MapSize in, MapSize out, const float* hidden,
                   const float* scales, const float* x, float* y) {
    const Packed project{p.project, p.hidden, p.out}, shortcut{p.shortcut, p.in, p.out};
    const long pixels = images * out.pixels();
    const size_t memory = ROWS * (p.hidden + p.in) + coarse_memory(p.project, ROWS, p.hidden);
    share(all, (pixels + ROWS - 1) / ROWS, memory, 0, [&](long item, Team& team, float* scaled) {
        const long first = item * ROWS, rows = std::min(ROWS, pixels - first);
        float *pooled = scaled + ROWS * p.hidden, *coarse = pooled + ROWS * p.in, *to = y + first * p.out;
        team.rows(rows, [&](long m) {
            const long pixel = first + m, image = pixel / out.pixels(), place = pixel % out.pixels();
            const float *h = hidden + pixel * p.hidden, *scale = scales + image * p.hidden;
            for (long c = 0; c < p.hidden; c += LANES) store(scaled + m * p.hidden + c, load(h + c) * load(scale + c));
            if (p.stride == 2)
                average(p, in, x + image * in.pixels() * p.in, place / out.width, place % out.width, pooled + m * p.in);
        });
        const float* kept = p.stride == 2 ? pooled : x + first * p.in;
        const float* residual = p.shortcut.data ? to : kept;
        const Left from = left(team, Rows{scaled, p.hidden}, rows, project, coarse);
        team.each(p.out / WIDTH, [&](long k) {
            if (p.shortcut.data)
                panel({Rows{kept, p.in}}, rows, shortcut, k * WIDTH,
                      [&](long m, long c, Vec low, Vec high) { store2(to + m * p.out + c, low, high); });
            panel(from, rows, project, k * WIDTH, [&](long m, long c, Vec low, Vec high) {
                const float* r = residual + m * p.out + c;
                store2(to + m * p.out + c, low + load(r), high + load(r + LANES));
            });
        });
    });
}

// x (images, height, width, in) -> y (images, ceil(height / stride), ceil(width / stride), out)
inline void mbconv(Team& team, const MBConv& p, long images, MapSize in, const float* x, float* y) {
    const MapSize out = strided(in, p.stride);
    const Tiles tiles(p, images, in, out);
    const size_t map = tiles.together * out.pixels() * p.hidden, sums = tiles.together * tiles.bands * p.hidden;
    const size_t rounded = coarse_memory(p.expand, tiles.together * in.pixels(), p.in);
    float* hidden = team.shared(HIDDEN, map + sums + tiles.together * p.hidden + rounded);
    float *totals = hidden + map, *scales = totals + sums;
    for (long done = 0; done < images; done += tiles.together) {
        const long some = std::min(tiles.together, images - done), pixels = some * in.pixels();
        const float* from = x + done * in.pixels() * p.in;
        const Coarse coarse = coarse_in(scales + tiles.together * p.hidden, pixels, p.in);
        if (p.expand.scale)  // once, as every tile of channels needs it
            team.each((pixels + ROWS - 1) / ROWS, [&](long item) {
                const long end = std::min(pixels, (item + 1) * ROWS);
                for (long m = item * ROWS; m < end; m++) make_coarse(p.expand, from + m * p.in, coarse, m);
            });
        widen(team, p, tiles, some, in, out, from, coarse, hidden, totals);
        team.each(some, [&](long image) {
            float* total = totals + image * tiles.bands * p.hidden;
            for (long b = 1; b < tiles.bands; b++)
                for (long c = 0; c < p.hidden; c++) total[c] += total[b * p.hidden + c];
            excite(p, total, out.pixels(), scales + image * p.hidden);
        });
        narrow(team, p, some, in, out, hidden, scales, from, y + done * out.pixels() * p.out);
    }
}
