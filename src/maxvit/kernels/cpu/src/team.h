// Work shared between threads: many items one each, or few items with all threads on each.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <omp.h>

// The threads that work on one item. Member `rank` of `size` takes every size-th piece of each step.
struct Team {
    int rank, size;
    void wait() const {
        if (size > 1) {
#pragma omp barrier
        }
    }
};

// Memory that stays between calls, as fresh pages cost more than what is done with them; it goes where a call needs
// little of it, so that one large image does not hold it for ever.
class Buffer {
    float* data = nullptr;
    size_t held = 0;

  public:
    ~Buffer() { std::free(data); }
    float* get(size_t floats) {
        const bool idle = held > (16 << 20) && held / 16 > floats;  // a last stage needs an eighth of what a first does
        if (held < floats || idle) {
            std::free(data);
            const size_t bytes = (floats * sizeof(float) + 4095) / 4096 * 4096;
            data = static_cast<float*>(std::aligned_alloc(4096, bytes));
            held = bytes / sizeof(float);
        }
        return data;
    }
};

// Of each thread that works, and of the one that calls: WHICH tells buffers apart that are needed at once.
inline float* scratch(size_t floats) {
    static thread_local Buffer buffer;
    return buffer.get(floats);
}
template <int WHICH>
float* kept(size_t floats) {
    static thread_local Buffer buffer;
    return buffer.get(floats);
}

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
