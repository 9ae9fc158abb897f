// The stem: two 3 x 3 convolutions, the first with stride 2 and GELU.
#pragma once
#include "mbconv.h"

struct Stem {
    long in, channels;
    int erf, symmetric;
    Weights first;   // (9 * in, channels), its rows by kernel row, kernel column, channel
    Weights second;  // (9 * channels, channels)
};

// x (images, height, width, in) -> y (images, ceil(height / 2), ceil(width / 2), channels)
inline void stem(const Stem& p, long images, MapSize in, const float* x, float* y) {
    const MapSize out{(in.height + 1) / 2, (in.width + 1) / 2};
    const long left = p.symmetric ? 1 : in.width % 2, above = p.symmetric ? 1 : in.height % 2;
    const long C = p.channels, wide = (2 * out.width + 1) * p.in, line = (out.width + 2) * C;
    const long band = std::min(out.height, std::max(2L, TILE / line - 2)), bands = (out.height + band - 1) / band;
    const Packed first{p.first, 9 * p.in, C}, second{p.second, 9 * C, C};

    share(images * bands, (2 * band + 5) * wide + (band + 2) * line, [&](long item, Team team, float* memory) {
        const long image = item / bands, begin = item % bands * band, end = std::min(out.height, begin + band);
        float *padded_image = memory, *middle = memory + (2 * band + 5) * wide;
        const long top = 2 * (begin - 1) - above;  // of the image, for the first line of `middle`
        for (long r = team.rank; r < 2 * (end - begin) + 5; r += team.size) {
            float* to = padded_image + r * wide;
            std::fill(to, to + wide, 0.0f);
            if (top + r < 0 || top + r >= in.height) continue;
            const long room = std::min(in.width, wide / p.in - left);
            std::memcpy(to + left * p.in, x + (image * in.height + top + r) * in.width * p.in, room * p.in * sizeof(float));
        }
        team.wait();
        for (long r = 0; r < end - begin + 2; r++) {
            float* to = middle + r * line;
            const bool outside = begin - 1 + r < 0 || begin - 1 + r >= out.height;
            if (team.rank == 0) std::fill(to, to + (outside ? line : C), 0.0f), std::fill(to + line - C, to + line, 0.0f);
            if (outside) continue;
            product(team, {padded_image + 2 * r * wide, 2 * p.in, 3, wide}, out.width, first,
                    [&](long m, long column, Vec low, Vec high) {
                        store2(to + (m + 1) * C + column, gelu(low, p.erf), gelu(high, p.erf));
                    });
        }
        team.wait();
        for (long r = begin; r < end; r++)
            product(team, {middle + (r - begin) * line, C, 3, line}, out.width, second,
                    [&](long m, long column, Vec low, Vec high) {
                        store2(y + ((image * out.height + r) * out.width + m) * C + column, low, high);
                    });
    });
}
