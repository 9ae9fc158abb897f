// Maps (images, pixels, channels) in training: batch norm's sums, then norm, activation and scale in one pass each way.
//
// One piece of work is one image's PANEL channels, taken pixel by pixel. Sums are kept for each image, to be added by
// the caller: they do not depend on the number of threads.
#pragma once
#include <type_traits>

#include "team.h"
#include "vector.h"

constexpr long PANEL = 64;  // channels that are done together
constexpr long RUN = 32;    // values that are added up before they go to a larger sum

enum Activation { NONE, TANH, ERF };

// The activation of x, and its derivative there.
struct Curve {
    Vec value, slope;
};

template <int KIND>
inline Vec activate(Vec x) {
    return KIND == NONE ? x : gelu(x, KIND == ERF);
}

template <int KIND>
inline Curve curve(Vec x) {
    if (KIND == NONE) return {x, all(1.0f)};
    if (KIND == ERF) {
        const Vec value = gelu_erf(x), density = 0.3989422804f * exp(-0.5f * x * x);
        const Vec magnitude = x < 0.0f ? -x : x, below = gelu_erf(magnitude) / larger(magnitude, all(1e-6f));
        const Vec probability = magnitude < 1e-6f ? all(0.5f) : x < 0.0f ? 1.0f - below : below;
        return {value, probability + x * density};
    }
    const Vec square = x * x, s = 1.0f / (1.0f + exp(-x * (1.5957691216f + 0.0713548163f * square)));
    return {x * s, s + x * s * (1.0f - s) * (1.5957691216f + 0.2140644489f * square)};
}

// Call use(kind) with the activation as a constant.
template <class Use>
void with_activation(int kind, Use use) {
    if (kind == TANH) use(std::integral_constant<int, TANH>());
    else if (kind == ERF) use(std::integral_constant<int, ERF>());
    else use(std::integral_constant<int, NONE>());
}

struct Maps {
    long images, pixels, channels;
    int activation;
    const float* norm;   // (3, channels): scale, shift, mean; the norm is x * scale + shift
    const float* scale;  // (images, channels) after the activation, or null
    const float* pull;   // (images, channels) added to the gradient of each pixel's activation, or null
};

// Call work(image, first channel, last, memory) for every piece.
template <class Work>
void pieces(long images, long channels, size_t floats, Work work) {
    const long panels = (channels + PANEL - 1) / PANEL;
#pragma omp parallel for schedule(dynamic)
    for (long item = 0; item < images * panels; item++) {
        const long first = item % panels * PANEL;
        work(item / panels, first, std::min(channels, first + PANEL), scratch(floats));
    }
}

// sums (images, 2, channels): of x - origin and of its square; origin is the first pixel.
inline void moments(long images, long pixels, long channels, const float* x, double* sums) {
    pieces(images, channels, 0, [&](long image, long first, long last, float*) {
        double *total = sums + image * 2 * channels, *squares = total + channels;
        std::fill(total + first, total + last, 0.0), std::fill(squares + first, squares + last, 0.0);
        for (long begin = 0; begin < pixels; begin += RUN) {
            const float* row = x + (image * pixels + begin) * channels;
            const long some = std::min(RUN, pixels - begin);
            for (long c = first; c < last; c += LANES) {
                const Vec origin = load(x + c);
                Vec t{}, s{};
                for (long i = 0; i < some; i++) {
                    const Vec d = load(row + i * channels + c) - origin;
                    t += d, s += d * d;
                }
                for (int i = 0; i < LANES; i++) total[c + i] += t[i], squares[c + i] += s[i];
            }
        }
    });
}

// y = scale * activation(norm(x)), if y; sums (images, channels) of activation(norm(x)), times grad if grad, if sums.
inline void apply(const Maps& p, const float* x, const float* grad, float* y, float* sums) {
    const long C = p.channels;
    with_activation(p.activation, [&](auto kind) {
        pieces(p.images, C, 0, [&](long image, long first, long last, float*) {
            float total[PANEL] = {};
            for (long begin = 0; begin < p.pixels; begin += RUN) {
                const long at = (image * p.pixels + begin) * C, some = std::min(RUN, p.pixels - begin);
                for (long c = first; c < last; c += LANES) {
                    const Vec a = load(p.norm + c), b = load(p.norm + C + c);
                    const Vec scale = p.scale ? load(p.scale + image * C + c) : all(1.0f);
                    Vec part{};
                    for (long i = at + c; i < at + some * C + c; i += C) {
                        const Vec value = activate<kind.value>(load(x + i) * a + b);
                        part += grad ? value * load(grad + i) : value;
                        if (y) store(y + i, value * scale);
                    }
                    store(total + c - first, load(total + c - first) + part);
                }
            }
            if (sums) std::copy(total, total + last - first, sums + image * C + first);
        });
    });
}

// From the gradient of the scaled activation, that of the norm's output; `out` may be `grad`. sums (images, 2, channels)
// of it, and of it times x - mean.
inline void apply_gradient(const Maps& p, const float* x, const float* grad, float* out, float* sums) {
    const long C = p.channels;
    with_activation(p.activation, [&](auto kind) {
        pieces(p.images, C, 0, [&](long image, long first, long last, float*) {
            float total[2][PANEL] = {};
            for (long begin = 0; begin < p.pixels; begin += RUN) {
                const long at = (image * p.pixels + begin) * C, some = std::min(RUN, p.pixels - begin);
                for (long c = first; c < last; c += LANES) {
                    const Vec a = load(p.norm + c), b = load(p.norm + C + c), mean = load(p.norm + 2 * C + c);
                    const Vec scale = p.scale ? load(p.scale + image * C + c) : all(1.0f);
                    const Vec pull = p.pull ? load(p.pull + image * C + c) : Vec{};
                    Vec part{}, along{};
                    for (long i = at + c; i < at + some * C + c; i += C) {
                        const Vec value = load(x + i);
                        const Vec g = (load(grad + i) * scale + pull) * curve<kind.value>(value * a + b).slope;
                        part += g, along += g * (value - mean);
                        store(out + i, g);
                    }
                    float *t = total[0] + c - first, *s = total[1] + c - first;
                    store(t, load(t) + part), store(s, load(s) + along);
                }
            }
            for (int i = 0; i < 2; i++) std::copy(total[i], total[i] + last - first, sums + (2 * image + i) * C + first);
        });
    });
}

// grad = grad * line[0] + x * line[1] + line[2], line (3, channels): the gradient of a batch norm's input, in place.
inline void combine(long images, long pixels, long channels, const float* x, const float* line, float* grad) {
    const long C = channels;
    pieces(images, C, 0, [&](long image, long first, long last, float*) {
        const long at = image * pixels * C;
        for (long begin = at; begin < at + pixels * C; begin += C)
            for (long c = first; c < last; c += LANES)
                store(grad + begin + c, load(grad + begin + c) * load(line + c) + load(x + begin + c) * load(line + C + c) +
                                            load(line + 2 * C + c));
    });
}

// y = activation(x), or with `grad` its derivative times that, which may be y. n is a multiple of LANES.
inline void activation(long n, int kind, const float* x, const float* grad, float* y) {
    with_activation(kind, [&](auto k) {
#pragma omp parallel for schedule(static)
        for (long i = 0; i < n; i += LANES) {
            const Vec value = load(x + i);
            store(y + i, grad ? curve<k.value>(value).slope * load(grad + i) : activate<k.value>(value));
        }
    });
}
