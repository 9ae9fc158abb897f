// One layer of block or grid attention: LN, Q K V, attention, projection, residual, LN, feed-forward, residual.
// A group of tokens needs no other, so a few groups at a time go through all of it while they are in the cache.
#pragma once
#include <cmath>
#include <vector>

#include "product.h"

constexpr float NEVER = -1e30f;  // a score that softmax makes zero
constexpr long QUERIES = 48;     // rows of scores at a time
constexpr long TOGETHER = 96;    // tokens that share one pass over the weights

struct AttentionLayer {
    long channels, heads, tokens, hidden;  // tokens: of a whole group
    float epsilon;
    int activation;
    Weights qkv;            // the first norm's scale and shift and the scores' scale are in it
    const float* position;  // (heads, tokens, tokens padded to WIDTH), NEVER in the padding
    Weights proj;
    Weights expand;  // the second norm's are in it
    Weights project;
};

// Which pixel each token is. Group g has tokens start[g] to start[g + 1]; `slot` is a token's place in a whole group.
struct Groups {
    long count, pixels;
    const int *start, *pixel, *slot;
};

inline long padded(long n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }

inline void normalize(const float* x, long n, float epsilon, float* out) {
    Vec total{}, squares{};
    for (long i = 0; i < n; i += LANES) total += load(x + i);
    const float mean = sum(total) / n;
    for (long i = 0; i < n; i += LANES) {
        const Vec d = load(x + i) - mean;
        squares += d * d;
    }
    const float scale = 1.0f / std::sqrt(sum(squares) / n + epsilon);
    for (long i = 0; i < n; i += LANES) store(out + i, (load(x + i) - mean) * scale);
}

// e^(x - max) in place; returns 1 / their sum.
inline float softmax(float* x, long n) {
    Vec most = load(x);
    for (long i = LANES; i < n; i += LANES) most = larger(most, load(x + i));
    const float peak = highest(most);
    Vec total{};
    for (long i = 0; i < n; i += LANES) {
        const Vec e = exp(load(x + i) - peak);
        store(x + i, e);
        total += e;
    }
    return 1.0f / sum(total);
}

inline size_t head_memory(long tokens, long dim) { return padded(tokens) * (dim + QUERIES + tokens); }

// Attention of n tokens in one head. q, k and v are panels of WIDTH channels, (n, WIDTH) each, `hop` apart; out has rows
// `stride` apart; bias (n, padded(n)).
inline void attend(const float* q, const float* k, const float* v, long n, long dim, long hop, const float* bias,
                   float* memory, float* out, long stride) {
    if (n == 1) {  // a token by itself attends to itself alone
        for (long d = 0; d < dim; d += WIDTH)
            store2(out + d, load(v + d / WIDTH * hop), load(v + d / WIDTH * hop + LANES));
        return;
    }
    float* keys = memory;  // packed as the columns of a product
    float* scores = keys + padded(n) * dim;
    float shares[QUERIES];
    for (long j = 0; j < padded(n); j += WIDTH)
        for (long d = 0; d < dim; d++)
            for (long i = 0; i < WIDTH; i++)
                keys[j * dim + d * WIDTH + i] = j + i < n ? k[d / WIDTH * hop + (j + i) * WIDTH + d % WIDTH] : 0.0f;
    for (long first = 0; first < n; first += QUERIES) {
        const long rows = std::min(QUERIES, n - first), length = padded(n);
        const Rows queries{q + first * WIDTH, WIDTH, dim / WIDTH, hop};
        for (long j = 0; j < length; j += WIDTH)
            columns(queries, rows, keys + j * dim, WIDTH, dim, nullptr, [&](long m, Vec low, Vec high) {
                const float* b = bias + (first + m) * length + j;
                store2(scores + m * length + j, low + load(b), high + load(b + LANES));
            });
        for (long m = 0; m < rows; m++) shares[m] = softmax(scores + m * length, length);
        for (long d = 0; d < dim; d += WIDTH)
            columns({scores, length}, rows, v + d / WIDTH * hop, WIDTH, n, nullptr, [&](long m, Vec low, Vec high) {
                store2(out + (first + m) * stride + d, low * shares[m], high * shares[m]);
            });
    }
}

// x (images, pixels, channels), in place.
inline void attention_layer(Team& all, const AttentionLayer& p, const Groups& groups, long images, float* x) {
    const long C = p.channels, dim = C / p.heads, T = p.tokens;
    const long each = std::max(1L, (TOGETHER * groups.count + groups.pixels / 2) / groups.pixels);
    const long all_groups = images * groups.count, most = std::min(each, all_groups) * T;
    const size_t own = head_memory(T, dim), shared = most * (2 * C + std::max(3 * C, p.hidden)) + coarse_memory(p.project, most, p.hidden);
    const Packed qkv{p.qkv, C, 3 * C}, proj{p.proj, C, C}, expand{p.expand, C, p.hidden}, project{p.project, p.hidden, C};

    share(all, (all_groups + each - 1) / each, shared, own, [&](long item, Team& team, float* memory) {
        std::vector<float*> row;      // of the map, for each token
        std::vector<long> begin{0};   // first token of each group
        const long first = item * each, last = std::min(all_groups, first + each);
        for (long g = first; g < last; g++) {
            const long image = g / groups.count, local = g % groups.count;
            for (long t = groups.start[local]; t < groups.start[local + 1]; t++)
                row.push_back(x + (image * groups.pixels + groups.pixel[t]) * C);
            begin.push_back(row.size());
        }
        const long M = row.size();
        float *normed = memory, *sums = normed + most * C, *wide = sums + most * C;
        float *coarse = wide + most * std::max(3 * C, p.hidden), *mine = memory + shared + own * team.rank;

        team.rows(M, [&](long m) { normalize(row[m], C, p.epsilon, normed + m * C); });
        product(team, {normed, C}, M, qkv, coarse, [&](long m, long column, Vec low, Vec high) {
            store2(wide + column * M + m * WIDTH, low, high);  // panels (M, WIDTH): of q, of k, of v
        });
        float* mixed = normed;
        team.each((last - first) * p.heads, [&](long piece) {
            const long g = piece / p.heads, head = piece % p.heads, n = begin[g + 1] - begin[g];
            const float* bias = p.position + head * T * padded(T);
            if (n < T) {  // part of the group is padding: its tokens are left out
                const int* slot = groups.slot + groups.start[(first + g) % groups.count];
                float* some = mine + padded(T) * (dim + QUERIES);
                for (long i = 0; i < n; i++)
                    for (long j = 0; j < padded(n); j++)
                        some[i * padded(n) + j] = j < n ? bias[slot[i] * padded(T) + slot[j]] : NEVER;
                bias = some;
            }
            const float* q = wide + head * dim * M + begin[g] * WIDTH;
            attend(q, q + C * M, q + 2 * C * M, n, dim, M * WIDTH, bias, mine, mixed + begin[g] * C + head * dim, C);
        });
        product(team, {mixed, C}, M, proj, coarse, [&](long m, long column, Vec low, Vec high) {
            const float* r = row[m] + column;
            store2(sums + m * C + column, low + load(r), high + load(r + LANES));
        });
        team.rows(M, [&](long m) { normalize(sums + m * C, C, p.epsilon, normed + m * C); });
        product(team, {normed, C}, M, expand, coarse, [&](long m, long column, Vec low, Vec high) {
            store2(wide + m * p.hidden + column, activate(low, p.activation), activate(high, p.activation));
        });
        product(team, {wide, p.hidden}, M, project, coarse, [&](long m, long column, Vec low, Vec high) {
            const float* r = sums + m * C + column;
            store2(row[m] + column, low + load(r), high + load(r + LANES));
        });
    });
}
