// Depthwise 3 x 3 convolution of activation(norm(x)), in training: what it convolves is made row by row, each way.
#pragma once
#include "map.h"

struct Depthwise {
    long images, height, width, channels, stride;
    int activation, symmetric;
    const float* norm;     // as in Maps
    const float* weights;  // (9, channels)

    long rows() const { return (height + stride - 1) / stride; }
    long columns() const { return (width + stride - 1) / stride; }
    long above() const { return stride == 1 || symmetric ? 1 : height % 2; }
    long left() const { return stride == 1 || symmetric ? 1 : width % 2; }
    long line() const { return (width + 2) * PANEL; }  // a row with a pixel of padding at each end
};

// Where LANES channels of a row begin in a line: first the channels, then the pixels.
inline float* lane(const Depthwise& p, float* line, long channel) { return line + channel * (p.width + 2); }

// The activation of input row `y` of an image, as a line, and its slope if `slope`. Zeros outside of the map.
template <int KIND>
void fill(const Depthwise& p, const float* image, long y, long first, long last, float* value, float* slope) {
    if (y < 0 || y >= p.height) {
        std::fill(value, value + p.line(), 0.0f);
        return;
    }
    for (long c = 0; c < last - first; c += LANES)
        store(lane(p, value, c), Vec{}), store(lane(p, value, c) + (p.width + 1) * LANES, Vec{});
    for (long x = 0; x < p.width; x++) {
        const float* from = image + (y * p.width + x) * p.channels;
        for (long c = first; c < last; c += LANES) {
            const Vec n = load(from + c) * load(p.norm + c) + load(p.norm + p.channels + c);
            float* to = lane(p, value, c - first) + (x + 1) * LANES;
            if (!slope) {
                store(to, activate<KIND>(n));
                continue;
            }
            const Curve at = curve<KIND>(n);
            store(to, at.value), store(to - value + slope, at.slope);
        }
    }
}

// x (images, height, width, channels) -> y (images, rows, columns, channels)
inline void depthwise(const Depthwise& p, const float* x, float* y) {
    with_activation(p.activation, [&](auto kind) {
        pieces(p.images, p.channels, 3 * p.line(), [&](long image, long first, long last, float* ring) {
            const float* from = x + image * p.height * p.width * p.channels;
            auto line = [&](long row) { return ring + (row + 3) % 3 * p.line(); };
            long next = -p.above();
            for (long r = 0; r < p.rows(); r++) {
                const long top = r * p.stride - p.above();
                for (; next <= top + 2; next++) fill<kind.value>(p, from, next, first, last, line(next), nullptr);
                float* to = y + (image * p.rows() + r) * p.columns() * p.channels;
                for (long c = first; c < last; c += LANES) {
                    Vec w[9];
                    for (int t = 0; t < 9; t++) w[t] = load(p.weights + t * p.channels + c);
                    const float* lanes[3];
                    for (int k = 0; k < 3; k++) lanes[k] = lane(p, line(top + k), c - first) + (1 - p.left()) * LANES;
                    for (long column = 0; column < p.columns(); column++) {
                        Vec sums[3] = {};
                        for (int k = 0; k < 3; k++)
                            for (int j = 0; j < 3; j++)
                                sums[k] += w[k * 3 + j] * load(lanes[k] + (column * p.stride + j) * LANES);
                        store(to + column * p.channels + c, sums[0] + sums[1] + sums[2]);
                    }
                }
            }
        });
    });
}

// From the gradient of y, that of norm(x); sums (images, 2, channels) as in apply_gradient, and the gradient of the
// weights by image (images, 9, channels).
inline void depthwise_gradient(const Depthwise& p, const float* x, const float* grad, float* out, float* sums, float* weights) {
    const long C = p.channels;
    with_activation(p.activation, [&](auto kind) {
        pieces(p.images, C, 9 * p.line(), [&](long image, long first, long last, float* ring) {
            const float* from = x + image * p.height * p.width * C;
            float *to = out + image * p.height * p.width * C, total[11][PANEL] = {};  // 9 weights, 2 sums
            auto line = [&](long row, int what) { return ring + ((row + 3) % 3 * 3 + what) * p.line(); };  // value, slope, grad
            auto finish = [&](long row) {
                for (long c = first; c < last; c += LANES) {
                    const float* slope = lane(p, line(row, 1), c - first) + LANES;
                    const float* sum = lane(p, line(row, 2), c - first) + LANES;
                    const Vec mean = load(p.norm + 2 * C + c);
                    Vec part{}, along{};
                    for (long i = 0; i < p.width; i++) {
                        const long at = (row * p.width + i) * C + c;
                        const Vec g = load(sum + i * LANES) * load(slope + i * LANES);
                        part += g, along += g * (load(from + at) - mean);
                        store(to + at, g);
                    }
                    float *t = total[9] + c - first, *s = total[10] + c - first;
                    store(t, load(t) + part), store(s, load(s) + along);
                }
            };
            long next = -p.above(), done = 0;
            for (long r = 0; r < p.rows(); r++) {
                const long top = r * p.stride - p.above();
                for (; next <= top + 2; next++) {
                    fill<kind.value>(p, from, next, first, last, line(next, 0), line(next, 1));
                    std::fill(line(next, 2), line(next, 2) + p.line(), 0.0f);
                }
                const float* row = grad + (image * p.rows() + r) * p.columns() * C;
                for (long c = first; c < last; c += LANES)
                    for (int k = 0; k < 3; k++) {
                        const long start = (1 - p.left()) * LANES;
                        const float* value = lane(p, line(top + k, 0), c - first) + start;
                        float* sum = lane(p, line(top + k, 2), c - first) + start;
                        Vec w[3], parts[3] = {};
                        for (int j = 0; j < 3; j++) w[j] = load(p.weights + (k * 3 + j) * C + c);
                        for (long column = 0; column < p.columns(); column++) {
                            const Vec g = load(row + column * C + c);
                            for (int j = 0; j < 3; j++) {
                                const long at = (column * p.stride + j) * LANES;
                                parts[j] += g * load(value + at);
                                store(sum + at, load(sum + at) + w[j] * g);
                            }
                        }
                        for (int j = 0; j < 3; j++) {
                            float* t = total[k * 3 + j] + c - first;
                            store(t, load(t) + parts[j]);
                        }
                    }
                for (; done < std::min(top + p.stride, p.height); done++) finish(done);
            }
            for (; done < p.height; done++) finish(done);
            for (int t = 0; t < 9; t++) std::copy(total[t], total[t] + last - first, weights + (image * 9 + t) * C + first);
            for (int t = 0; t < 2; t++) std::copy(total[9 + t], total[9 + t] + last - first, sums + (image * 2 + t) * C + first);
        });
    });
}
