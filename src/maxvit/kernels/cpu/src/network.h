// A whole network from images to maps, so that threads come together once and maps stay where they are.
#pragma once
#include "attention.h"
#include "stem.h"

struct Block {
    MBConv mbconv;
    AttentionLayer layers[2];  // block attention, grid attention
    const Groups* groups[2];
    long last;  // whether it is the last of its stage
};

struct Network {
    Stem stem;
    long blocks;
    const Block* block;
};

inline double multiply_adds(const Network& p, const Images& images) {
    MapSize size = strided(images.size, 2);
    double sum = double(size.pixels()) * p.stem.hidden * 9 * (p.stem.in + p.stem.channels);
    for (const Block* block = p.block; block < p.block + p.blocks; block++) {
        const MBConv& m = block->mbconv;
        sum += double(size.pixels()) * m.in * m.hidden;
        size = strided(size, m.stride);
        sum += double(size.pixels()) * m.out * m.hidden;
        for (const AttentionLayer& a : block->layers)
            sum += 2.0 * size.pixels() * a.channels * (2 * a.channels + a.hidden + a.tokens);
    }
    return images.number * sum;
}

// wanted: for the stem and for each stage where to put its map (images, height, width, channels); null: nobody wants it.
inline void network(Team& team, const Network& p, const Images& images, float* const* wanted) {
    MapSize size = strided(images.size, 2);
    size_t most = size.pixels() * p.stem.channels;
    for (long b = 0; b < p.blocks; b++) {
        size = strided(size, p.block[b].mbconv.stride);
        most = std::max<size_t>(most, size.pixels() * p.block[b].mbconv.out);
    }
    float* own = team.shared(MAPS, 2 * images.number * most);

    size = strided(images.size, 2);
    float* from = *wanted ? *wanted : own;
    stem(team, p.stem, images, from);
    wanted++;
    for (const Block* block = p.block; block < p.block + p.blocks; block++) {
        float* to = from == own ? own + images.number * most : own;
        if (block->last && *wanted) to = *wanted;
        mbconv(team, block->mbconv, images.number, size, from, to);
        size = strided(size, block->mbconv.stride);
        for (int i = 0; i < 2; i++) attention_layer(team, block->layers[i], *block->groups[i], images.number, to);
        wanted += block->last;
        from = to;
    }
}
