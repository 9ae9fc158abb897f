// Depthwise 3 x 3 convolution of activation(norm(x)), in training. One piece of work is one image's PANEL channels; what
// is convolved is made row by row, and three rows are kept as lines: LANES channels of all pixels, then the next LANES.
#pragma once
#include "map.h"

constexpr long PANEL = 64;

struct Depthwise {
    long images, height, width, channels, stride;
    int activation, symmetric;
    const float* norm;     // as in Maps
    const float* weights;  // (9, channels)

    long rows() const { return (height + stride - 1) / stride; }
    long columns() const { return (width + stride - 1) / stride; }
    long above() const { return stride == 1 || symmetric ? 1 : height % 2; }
    long left() const { return stride == 1 || symmetric ? 1 : width % 2; }
};

constexpr long AHEAD = 12;  // pixels: a panel's part of a pixel is too short for the processor to guess the next

// Ask for `channels` floats of memory, to read or to write.
inline void expect(const float* p, long channels) {
    for (long c = 0; c < channels; c += 16) __builtin_prefetch(p + c, 1);
}

// Lines of one kind, for three rows around the one at work; a pixel of padding at each end.
struct Ring {
    float* data;
    long width;  // pixels of a row, padded
    float* at(long row, long channel, long pixel) const {
        return data + ((row + 3) % 3 * PANEL + channel) * width + pixel * LANES;
    }
    void clear(long row) const { std::fill(at(row, 0, 0), at(row, 0, 0) + PANEL * width, 0.0f); }
};

template <class Work>
void panels(const Depthwise& p, long rings, Work work) {
    const long each = (p.channels + PANEL - 1) / PANEL, floats = 3 * (p.width + 2) * PANEL;
#pragma omp parallel for schedule(dynamic)
    for (long item = 0; item < p.images * each; item++) {
        const long first = item % each * PANEL;
        work(item / each, first, std::min(PANEL, p.channels - first), scratch(rings * floats), floats);
    }
}

// The activation of a row of `channels` channels, and its slope if wanted. from: their first at its first pixel.
template <int KIND, bool SLOPE>
void fill(const float* from, long hop, long width, const float* norm, long channels, long row, Ring value, Ring slope) {
    for (long c = 0; c < channels; c += LANES) store(value.at(row, c, 0), Vec{}), store(value.at(row, c, width + 1), Vec{});
    float *to = value.at(row, 0, 1), *slopes = SLOPE ? slope.at(row, 0, 1) : nullptr;
    const long line = value.width;
    for (long x = 0; x < width; x++, from += hop, to += LANES, slopes += LANES) {
        expect(from + AHEAD * hop, channels);
        for (long c = 0; c < channels; c += LANES) {
            const Vec n = load(from + c) * load(norm + c) + load(norm + hop + c);
            if (!SLOPE) {
                store(to + c * line, activate<KIND>(n));
                continue;
            }
            const Curve at = curve<KIND>(n);
            store(to + c * line, at.value), store(slopes + c * line, at.slope);
        }
    }
}

// One row of LANES channels: three lines with 3 x 3 weights, to a line.
template <int STRIDE>
void convolve(const float* const lines[3], const Vec w[9], long columns, float* to) {
    const float *a = lines[0], *b = lines[1], *c = lines[2];
    for (long x = 0; x < columns; x++, a += STRIDE * LANES, b += STRIDE * LANES, c += STRIDE * LANES) {
        const Vec one = load(a) * w[0] + load(a + LANES) * w[1] + load(a + 2 * LANES) * w[2];
        const Vec two = load(b) * w[3] + load(b + LANES) * w[4] + load(b + 2 * LANES) * w[5];
        const Vec three = load(c) * w[6] + load(c + LANES) * w[7] + load(c + 2 * LANES) * w[8];
        store(to + x * LANES, one + two + three);
    }
}

// Backward of one line with three weights: adds to the gradient of its values, and of the weights.
template <int STRIDE>
void convolve_gradient(const float* grad, const float* values, const Vec w[3], long columns, float* out, Vec parts[3]) {
    Vec here{}, next{}, a = parts[0], b = parts[1], c = parts[2];  // here, next: what columns before gave to these values
    for (long x = 0; x < columns; x++, values += STRIDE * LANES, out += STRIDE * LANES) {
        const Vec g = load(grad + x * LANES);
        a += g * load(values), b += g * load(values + LANES), c += g * load(values + 2 * LANES);
        add(out, here + g * w[0]);
        if (STRIDE == 1) here = next + g * w[1], next = g * w[2];
        else add(out + LANES, g * w[1]), here = g * w[2];
    }
    add(out, here);  // what is in `next` belongs to padding
    parts[0] = a, parts[1] = b, parts[2] = c;
}

// x (images, height, width, channels) -> y (images, rows, columns, channels)
template <int KIND, int STRIDE>
void depthwise(const Depthwise& p, const float* x, float* y) {
    panels(p, 2, [=, C = p.channels, height = p.height, width = p.width, rows = p.rows(), columns = p.columns()](
                     long image, long first, long channels, float* memory, long floats) {
        const Ring value{memory, width + 2};
        float* done = memory + floats;  // a line
        const float *from = x + image * height * width * C + first, *norm = p.norm + first;
        float* to = y + image * rows * columns * C + first;
        long next = -p.above();
        for (long r = 0; r < rows; r++) {
            const long top = r * STRIDE - p.above();
            for (; next <= top + 2; next++)
                if (next < 0 || next >= height) value.clear(next);
                else fill<KIND, false>(from + next * width * C, C, width, norm, channels, next, value, value);
            for (long c = 0; c < channels; c += LANES) {
                Vec w[9];
                const float* lines[3];
                for (int t = 0; t < 9; t++) w[t] = load(p.weights + t * C + first + c);
                for (int k = 0; k < 3; k++) lines[k] = value.at(top + k, c, 1 - p.left());
                convolve<STRIDE>(lines, w, columns, done + c * columns);
            }
            for (long column = 0; column < columns; column++, to += C) {
                expect(to + AHEAD * C, channels);
                for (long c = 0; c < channels; c += LANES) store(to + c, load(done + c * columns + column * LANES));
            }
        }
    });
}

// From the gradient of y, that of norm(x); sums (images, 2, channels) of it and of it times x - mean, and the gradient
// of the weights by image (images, 9, channels).
template <int KIND, int STRIDE>
void depthwise_gradient(const Depthwise& p, const float* x, const float* grad, float* out, float* sums, float* weights) {
    panels(p, 4, [=, C = p.channels, height = p.height, width = p.width, rows = p.rows(), columns = p.columns()](
                     long image, long first, long channels, float* memory, long floats) {
        const long line = width + 2;
        const Ring value{memory, line}, slope{memory + floats, line}, sum{memory + 2 * floats, line};
        float *grads = memory + 3 * floats, total[11][PANEL] = {};  // 9 weights, 2 sums
        const float *from = x + image * height * width * C + first, *norm = p.norm + first;
        float* to = out + image * height * width * C + first;
        auto finish = [=, &total](long row) {
            const float *slopes = slope.at(row, 0, 1), *some = sum.at(row, 0, 1), *values = from + row * width * C;
            float* results = to + row * width * C;
            float part[2][PANEL] = {};
            for (long i = 0; i < width; i++, slopes += LANES, some += LANES, values += C, results += C) {
                expect(results + AHEAD * C, channels);
                for (long c = 0; c < channels; c += LANES) {
                    const Vec g = load(some + c * line) * load(slopes + c * line);
                    add(part[0] + c, g), add(part[1] + c, g * (load(values + c) - load(norm + 2 * C + c)));
                    store(results + c, g);
                }
            }
            for (long c = 0; c < channels; c += LANES) add(total[9] + c, load(part[0] + c)), add(total[10] + c, load(part[1] + c));
        };
        long next = -p.above(), done = 0;
        for (long r = 0; r < rows; r++) {
            const long top = r * STRIDE - p.above();
            for (; next <= top + 2; next++) {
                sum.clear(next);
                if (next < 0 || next >= height) value.clear(next);
                else fill<KIND, true>(from + next * width * C, C, width, norm, channels, next, value, slope);
            }
            const float* row = grad + (image * rows + r) * columns * C + first;
            for (long column = 0; column < columns; column++, row += C) {
                expect(row + AHEAD * C, channels);
                for (long c = 0; c < channels; c += LANES) store(grads + c * columns + column * LANES, load(row + c));
            }
            for (long c = 0; c < channels; c += LANES)
                for (int k = 0; k < 3; k++) {
                    Vec w[3], parts[3] = {};
                    for (int j = 0; j < 3; j++) w[j] = load(p.weights + (k * 3 + j) * C + first + c);
                    convolve_gradient<STRIDE>(grads + c * columns, value.at(top + k, c, 1 - p.left()), w, columns,
                                              sum.at(top + k, c, 1 - p.left()), parts);
                    for (int j = 0; j < 3; j++) add(total[k * 3 + j] + c, parts[j]);
                }
            for (; done < std::min(top + STRIDE, height); done++) finish(done);
        }
        for (; done < height; done++) finish(done);
        for (int t = 0; t < 9; t++) std::copy(total[t], total[t] + channels, weights + (image * 9 + t) * C + first);
        for (int t = 0; t < 2; t++) std::copy(total[9 + t], total[9 + t] + channels, sums + (image * 2 + t) * C + first);
    });
}
