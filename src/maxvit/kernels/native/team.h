// Work shared between threads: many items one each, or few items with all threads on each.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <omp.h>
#include <vector>

// The threads that work on one item. Member `rank` of `size` takes every size-th piece of each step.
struct Team {
    int rank, size;
    void wait() const {
        if (size > 1) {
#pragma omp barrier
        }
    }
};

// Memory of a thread that stays between calls, at least `floats` long.
inline float* scratch(size_t floats) {
    struct Buffer {
        float* data = nullptr;
        size_t held = 0;
        ~Buffer() { std::free(data); }
    };
    static thread_local Buffer buffer;
    if (buffer.held < floats) {
        std::free(buffer.data);
        const size_t bytes = (floats * sizeof(float) + 4095) / 4096 * 4096;
        buffer.data = static_cast<float*>(std::aligned_alloc(4096, bytes));
        buffer.held = bytes / sizeof(float);
    }
    return buffer.data;
}

// Memory for one call; what is small is kept for the next. WHICH tells buffers apart that are needed at once.
template <int WHICH>
struct Kept {
    float* data;
    bool large;
    explicit Kept(size_t floats) : large(floats > (16 << 20)) {
        static thread_local std::vector<float> small;
        if (large) data = static_cast<float*>(std::malloc(floats * sizeof(float)));
        else {
            if (small.size() < floats) small.resize(floats);
            data = small.data();
        }
    }
    ~Kept() {
        if (large) std::free(data);
    }
};

// Call work(item, team, memory) for every item, with `floats` of memory for each team.
template <class Work>
void share(long items, size_t floats, Work work) {
    const int threads = omp_get_max_threads();
    if (items >= threads || threads == 1) {
#pragma omp parallel for schedule(dynamic)
        for (long item = 0; item < items; item++) work(item, Team{0, 1}, scratch(floats));
    } else {
        float* memory = scratch(floats);
#pragma omp parallel
        for (long item = 0; item < items; item++) {
            work(item, Team{omp_get_thread_num(), omp_get_num_threads()}, memory);
#pragma omp barrier
        }
    }
}
