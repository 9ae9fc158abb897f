// The core of group attention in training: q, k, v are read from their map, and the probabilities are made again in
// backward. One piece of work is one head in a share of the groups; a bias gradient is kept for each share, so that
// the sum does not depend on the number of threads.
#pragma once
#include "attention.h"

constexpr long SHARES = 16;

struct Attention {
    long channels, heads, tokens;
    const float* position;  // as in AttentionLayer
    long dim() const { return channels / heads; }
    float scale() const { return 1.0f / std::sqrt(float(dim())); }
};

// One head in one group of n tokens: its q (scaled), k and v, also as the columns of a product, and probabilities.
struct Head {
    long n, length, dim;  // length: n, padded
    float *q, *k, *v, *keys, *values, *shares, *other;

    static size_t memory(long tokens, long dim) { return 3 * tokens * dim + 2 * padded(tokens) * (dim + tokens); }
    Head(long tokens, long dim, float* memory) : n(tokens), length(padded(tokens)), dim(dim) {
        q = memory, k = q + n * dim, v = k + n * dim, keys = v + n * dim, values = keys + length * dim;
        shares = values + length * dim, other = shares + n * length;  // (n, length) both
    }
    // to (dim, length), zero where there is no token
    void turn(const float* from, float* to) const {
        for (long d = 0; d < dim; d++)
            for (long j = 0; j < length; j++) to[d * length + j] = j < n ? from[j * dim + d] : 0.0f;
    }
};

// Call work(head, group, image, pixels, slots, n, share, memory) for every head of every group.
template <class Work>
void heads(const Attention& p, const Groups& groups, long images, Work work) {
    const long all = images * groups.count, size = Head::memory(p.tokens, p.dim());
#pragma omp parallel for schedule(dynamic)
    for (long item = 0; item < SHARES * p.heads; item++) {
        const long share = item / p.heads, last = all * (share + 1) / SHARES;
        for (long g = all * share / SHARES; g < last; g++) {
            const int* start = groups.start + g % groups.count;
            Head head(start[1] - start[0], p.dim(), scratch(size));
            work(head, g / groups.count * groups.pixels, groups.pixel + start[0], groups.slot + start[0], item % p.heads, share);
        }
    }
}

// Reads q, k, v and makes the probabilities. qkv: the head's first channel of the image's first pixel.
inline void attend(const Attention& p, const Head& h, const float* qkv, const int* pixel, const int* slot, long head) {
    const float* bias = p.position + head * p.tokens * padded(p.tokens);
    for (long i = 0; i < h.n; i++) {
        const float* from = qkv + pixel[i] * 3 * p.channels;
        for (long d = 0; d < h.dim; d += LANES) {
            store(h.q + i * h.dim + d, load(from + d) * p.scale());
            store(h.k + i * h.dim + d, load(from + p.channels + d));
            store(h.v + i * h.dim + d, load(from + 2 * p.channels + d));
        }
    }
    h.turn(h.k, h.keys);
    for (long j = 0; j < h.length; j += WIDTH)
        columns({h.q, h.dim}, h.n, h.keys + j, h.length, h.dim, nullptr, [&](long m, Vec low, Vec high) {
            float some[WIDTH];
            const float* b = bias + slot[m] * padded(p.tokens) + j;
            if (h.n < p.tokens) {
                for (long i = 0; i < WIDTH; i++) some[i] = j + i < h.n ? b[slot[j + i] - j] : NEVER;
                b = some;
            }
            store2(h.shares + m * h.length + j, low + load(b), high + load(b + LANES));
        });
    for (long m = 0; m < h.n; m++) {
        float* row = h.shares + m * h.length;
        const float part = softmax(row, h.length);
        for (long j = 0; j < h.length; j += LANES) store(row + j, load(row + j) * part);
    }
}

// qkv (images, pixels, 3 * channels) -> out (images, pixels, channels)
inline void attention(const Attention& p, const Groups& groups, long images, const float* qkv, float* out) {
    heads(p, groups, images, [&](const Head& h, long first, const int* pixel, const int* slot, long head, long) {
        attend(p, h, qkv + first * 3 * p.channels + head * h.dim, pixel, slot, head);
        float* to = out + first * p.channels + head * h.dim;
        for (long d = 0; d < h.dim; d += WIDTH)
            columns({h.shares, h.length}, h.n, h.v + d, h.dim, h.n, nullptr,
                    [&](long m, Vec low, Vec high) { store2(to + pixel[m] * p.channels + d, low, high); });
    });
}

// From the gradient of `out`, that of qkv, and that of the bias: position (SHARES, heads, tokens, tokens), zeros before.
inline void attention_gradient(const Attention& p, const Groups& groups, long images, const float* qkv, const float* grad,
                               float* out, float* position) {
    heads(p, groups, images, [&](const Head& h, long first, const int* pixel, const int* slot, long head, long share) {
        attend(p, h, qkv + first * 3 * p.channels + head * h.dim, pixel, slot, head);
        const float* from = grad + first * p.channels + head * h.dim;
        float* to = out + first * 3 * p.channels + head * h.dim;
        float* table = position + (share * p.heads + head) * p.tokens * p.tokens;
        float* g = h.keys;  // (n, dim), the gradient of the head's output
        h.turn(h.v, h.values);
        for (long i = 0; i < h.n; i++) std::memcpy(g + i * h.dim, from + pixel[i] * p.channels, h.dim * sizeof(float));
        const Rows scores{h.other, h.length}, turned_shares{h.shares, 1, h.n, h.length},
            turned_scores{h.other, 1, h.n, h.length};  // (n, n)
        auto write = [&](Rows rows, const float* b, long part, float scale) {  // of q, k, v: rows times b (n, dim)
            for (long d = 0; d < h.dim; d += WIDTH)
                columns(rows, h.n, b + d, h.dim, h.n, nullptr, [&](long m, Vec low, Vec high) {
                    store2(to + pixel[m] * 3 * p.channels + part * p.channels + d, low * scale, high * scale);
                });
        };
        write(turned_shares, g, 2, 1.0f);
        for (long j = 0; j < h.length; j += WIDTH)
            columns({g, h.dim}, h.n, h.values + j, h.length, h.dim, nullptr,
                    [&](long m, Vec low, Vec high) { store2(h.other + m * h.length + j, low, high); });
        for (long m = 0; m < h.n; m++) {
            float *row = h.other + m * h.length, *shares = h.shares + m * h.length, *biases = table + slot[m] * p.tokens;
            Vec total{};
            for (long j = 0; j < h.length; j += LANES) total += load(row + j) * load(shares + j);
            const float mean = sum(total);
            for (long j = 0; j < h.length; j += LANES) store(row + j, (load(row + j) - mean) * load(shares + j));
            for (long j = 0; j < h.n; j++) biases[slot[j]] += row[j];
        }
        write(scores, h.k, 0, p.scale());
        write(turned_scores, h.q, 1, 1.0f);
    });
}
