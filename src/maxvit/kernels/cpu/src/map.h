// Maps (images, pixels, channels) in training: batch norm's sums, then norm, activation and scale in one pass each way.
//
// One piece of work is BLOCK pixels of an image. Sums are kept for each, to be added by the caller, so that they do not
// depend on the number of threads.
#pragma once
#include <type_traits>

#include "team.h"
#include "vector.h"

constexpr long BLOCK = 128;

// The activation of x, and its derivative there.
struct Curve {
    Vec value, slope;
};

template <int KIND>
inline Vec activate(Vec x) {
    return activate(x, KIND);
}

template <int KIND>
inline Curve curve(Vec x) {
    if (KIND == NONE) return {x, all(1.0f)};
    if (KIND == SILU) {
        const Vec s = sigmoid(x);
        return {x * s, s + x * s * (1.0f - s)};
    }
    if (KIND == ERF) {
        const Vec value = gelu_erf(x), density = 0.3989422804f * exp(-0.5f * x * x);
        const Vec magnitude = x < 0.0f ? -x : x, below = gelu_erf(magnitude) / larger(magnitude, all(1e-6f));
        const Vec probability = magnitude < 1e-6f ? all(0.5f) : x < 0.0f ? 1.0f - below : below;
        return {value, probability + x * density};
    }
    const Vec square = x * x, s = 1.0f / (1.0f + exp2(x * (-2.3022082f - 0.10294324f * square)));  // as in gelu_tanh
    return {x * s, s + x * s * (1.0f - s) * (1.5957691216f + 0.2140644489f * square)};
}

// Call use(kind) with the activation as a constant.
template <class Use>
void with_activation(int kind, Use use) {
    if (kind == TANH) use(std::integral_constant<int, TANH>());
    else if (kind == ERF) use(std::integral_constant<int, ERF>());
    else if (kind == SILU) use(std::integral_constant<int, SILU>());
    else use(std::integral_constant<int, NONE>());
}

inline void add(float* total, Vec x) { store(total, load(total) + x); }

struct Maps {
    long images, pixels, channels;
    int activation;
    const float* norm;   // (3, channels): scale, shift, mean; the norm is x * scale + shift
    const float* scale;  // (images, channels) after the activation
    const float* pull;   // (images, channels) added to the gradient of each pixel's activation
};

inline long blocks(long pixels) { return (pixels + BLOCK - 1) / BLOCK; }

// Call work(block, image, first float of the first pixel, of the pixel after the last) for every block of every image.
template <class Work>
void pieces(long images, long pixels, long channels, Work work) {
    const long each = blocks(pixels);
#pragma omp parallel for schedule(static)
    for (long block = 0; block < images * each; block++) {
        const long image = block / each, first = block % each * BLOCK, last = std::min(pixels, first + BLOCK);
        work(block, image, (image * pixels + first) * channels, (image * pixels + last) * channels);
    }
}

// sums (images, blocks, 2, channels): of x - origin and of its square; origin is the first pixel.
inline void moments(long images, long pixels, long C, const float* x, float* sums) {
    pieces(images, pixels, C, [=](long block, long, long first, long last) {
        float *total = sums + block * 2 * C, *squares = total + C;
        std::fill(total, total + 2 * C, 0.0f);
        for (long at = first; at < last; at += C)
            for (long c = 0; c < C; c += LANES) {
                const Vec d = load(x + at + c) - load(x + c);
                add(total + c, d), add(squares + c, d * d);
            }
    });
}

// y = scale * activation(norm(x)).
inline void apply(const Maps& p, const float* x, float* y) {
    with_activation(p.activation, [&](auto kind) {
        pieces(p.images, p.pixels, p.channels, [=, C = p.channels](long, long image, long first, long last) {
            const float *norm = p.norm, *scale = p.scale ? p.scale + image * C : nullptr;
            for (long at = first; at < last; at += C)
                for (long c = 0; c < C; c += LANES) {
                    const Vec value = activate<kind.value>(load(x + at + c) * load(norm + c) + load(norm + C + c));
                    store(y + at + c, scale ? value * load(scale + c) : value);
                }
        });
    });
}

// sums (images, blocks, channels) of activation(norm(x)).
inline void pool(const Maps& p, const float* x, float* sums) {
    with_activation(p.activation, [&](auto kind) {
        pieces(p.images, p.pixels, p.channels, [=, C = p.channels](long block, long, long first, long last) {
            float* total = sums + block * C;
            std::fill(total, total + C, 0.0f);
            for (long at = first; at < last; at += C)
                for (long c = 0; c < C; c += LANES)
                    add(total + c, activate<kind.value>(load(x + at + c) * load(p.norm + c) + load(p.norm + C + c)));
        });
    });
}

// y as `apply` makes it; sums (images, blocks, channels) of grad * activation(norm(x)): the gradient of the scale.
inline void scale_gradient(const Maps& p, const float* x, const float* grad, float* y, float* sums) {
    with_activation(p.activation, [&](auto kind) {
        pieces(p.images, p.pixels, p.channels, [=, C = p.channels](long block, long image, long first, long last) {
            const float *norm = p.norm, *scale = p.scale + image * C;
            float* total = sums + block * C;
            std::fill(total, total + C, 0.0f);
            for (long at = first; at < last; at += C)
                for (long c = 0; c < C; c += LANES) {
                    const Vec value = activate<kind.value>(load(x + at + c) * load(norm + c) + load(norm + C + c));
                    add(total + c, value * load(grad + at + c));
                    store(y + at + c, value * load(scale + c));
                }
        });
    });
}

// From the gradient of the scaled activation, that of the norm's output; `out` may be `grad`. sums (images, blocks, 2,
// channels) of it, and of it times x - mean. Without `scale` there is no `pull`.
inline void apply_gradient(const Maps& p, const float* x, const float* grad, float* out, float* sums) {
    with_activation(p.activation, [&](auto kind) {
        pieces(p.images, p.pixels, p.channels, [=, C = p.channels](long block, long image, long first, long last) {
            const float *norm = p.norm, *scale = p.scale ? p.scale + image * C : nullptr, *pull = p.pull + image * C;
            float *total = sums + block * 2 * C, *along = total + C;
            std::fill(total, total + 2 * C, 0.0f);
            for (long at = first; at < last; at += C)
                for (long c = 0; c < C; c += LANES) {
                    const Vec value = load(x + at + c);
                    Vec g = load(grad + at + c);
                    if (scale) g = g * load(scale + c) + load(pull + c);
                    g *= curve<kind.value>(value * load(norm + c) + load(norm + C + c)).slope;
                    add(total + c, g), add(along + c, g * (value - load(norm + 2 * C + c)));
                    store(out + at + c, g);
                }
        });
    });
}

// grad = grad * line[0] + x * line[1] + line[2], line (3, channels): the gradient of a batch norm's input, in place.
inline void combine(long images, long pixels, long C, const float* x, const float* line, float* grad) {
    pieces(images, pixels, C, [=](long, long, long first, long last) {
        for (long at = first; at < last; at += C)
            for (long c = 0; c < C; c += LANES)
                store(grad + at + c, load(grad + at + c) * load(line + c) + load(x + at + c) * load(line + C + c) +
                                         load(line + 2 * C + c));
    });
}

// y = activation(x); with `grad`, that is multiplied by the derivative, in place. n is a multiple of LANES.
inline void activation(long n, int kind, const float* x, float* grad, float* y) {
    with_activation(kind, [&](auto k) {
#pragma omp parallel for schedule(static)
        for (long i = 0; i < n; i += LANES) {
            if (!grad) {
                store(y + i, activate<k.value>(load(x + i)));
                continue;
            }
            const Curve at = curve<k.value>(load(x + i));
            store(y + i, at.value), store(grad + i, load(grad + i) * at.slope);
        }
    });
}
