// Work shared between threads. A kernel is written as steps, and a step as pieces that whoever is free takes, so that a
// thread that is put off its core holds up no more than the piece it has.
//
// Threads are OpenMP's, which PyTorch has started already. Waiting is our own: OpenMP's threads spin for milliseconds, and
// on a busy machine take the core from the very thread that they wait for. Ours spin briefly and then sleep.
#pragma once
#include <algorithm>
#include <atomic>
#include <climits>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <omp.h>

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

// Memory of each thread that works.
inline float* scratch(size_t floats) {
    static thread_local Buffer buffer;
    return buffer.get(floats);
}

// Memory of the thread that calls, for all of them: WHICH tells apart what is needed at once.
enum Which { MAPS, HIDDEN, ITEM, KINDS };
inline Buffer* buffers() {
    static thread_local Buffer kept[KINDS];
    return kept;
}

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// What the threads of a team have in common: the number of the step at work, and how many of its pieces are taken and done.
class Steps {
    static constexpr int FEWEST = 16, MOST = 4096;  // pauses before a thread sleeps; some 40 ns each
    static constexpr double SHORT = 2e-4;           // seconds asleep, which had better been spent awake
    std::atomic<uint64_t> state{0};                 // step << 32 | pieces taken
    std::atomic<long> done{0};
    std::atomic<int> asleep{0};
    std::mutex mutex;
    std::condition_variable changed;

    bool is_over(uint64_t step) { return state.load() >> 32 != step; }

    // A step is seldom waited for long on a quiet machine, and often on a busy one: so long is it waited for awake. Returns
    // the seconds asleep.
    double wait(uint64_t step) {
        static thread_local int patience = MOST;
        for (int i = 0; i < patience; i++, pause())
            if (is_over(step)) return 0;
        std::unique_lock<std::mutex> lock(mutex);
        const double began = omp_get_wtime();
        asleep++;
        changed.wait(lock, [&] { return is_over(step); });
        asleep--;
        const double slept = omp_get_wtime() - began;
        patience = slept < SHORT ? std::min(MOST, 4 * patience) : std::max(FEWEST, patience / 4);
        return slept;
    }

    void finish(uint64_t step) {
        done = 0;
        state = (step + 1) << 32;
        if (asleep.load()) {
            std::lock_guard<std::mutex> lock(mutex);
            changed.notify_all();
        }
    }

  public:
    Buffer* buffers;
    std::atomic<float*> memory[KINDS]{};
    explicit Steps(Buffer* buffers) : buffers(buffers) {}

    // Call work(piece) for the pieces of a step that nobody else takes, and return when all are done. A thread that comes
    // late finds the step over. Returns the seconds that it slept.
    template <class Work>
    double take(uint64_t step, long pieces, Work work) {
        for (;;) {
            uint64_t now = state.load();
            if (now >> 32 != step) return 0;
            const long piece = now & 0xffffffff;
            if (piece == pieces) return wait(step);
            if (!state.compare_exchange_weak(now, now + 1)) continue;
            work(piece);
            if (++done == pieces) finish(step);
        }
    }
};

// One of the threads that work together; all go through the same steps. What is not in a step each does for itself.
class Team {
    Steps* steps = nullptr;
    uint64_t step = 0;

  public:
    int rank = 0, size = 1;
    double slept = 0;  // seconds
    Team() = default;  // alone
    Team(Steps* steps, int rank, int size) : steps(steps), rank(rank), size(size) {}

    // Call work(piece) for every piece, each by one of the threads.
    template <class Work>
    void each(long pieces, Work work) {
        if (size == 1)
            for (long piece = 0; piece < pieces; piece++) work(piece);
        else if (pieces > 0) slept += steps->take(step++, pieces, work);
    }

    // The same for rows that are too short to be taken one by one.
    template <class Work>
    void rows(long number, Work work) {
        constexpr long TOGETHER = 8;
        each((number + TOGETHER - 1) / TOGETHER, [&](long piece) {
            const long end = std::min(number, (piece + 1) * TOGETHER);
            for (long row = piece * TOGETHER; row < end; row++) work(row);
        });
    }

    // Memory that all of them use, until the next call with the same WHICH.
    float* shared(Which which, size_t floats) {
        if (size == 1) return buffers()[which].get(floats);
        each(1, [&](long) { steps->memory[which] = steps->buffers[which].get(floats); });
        return steps->memory[which];
    }
};

// Call work(item, team, memory) for every item, with `floats` of memory for an item and `own` for each thread on it: many
// items one each, or few items with all threads on each.
template <class Work>
void share(Team& team, long items, size_t floats, size_t own, Work work) {
    if (items >= team.size) {
        team.each(items, [&](long item) {
            Team alone;
            work(item, alone, scratch(floats + own));
        });
    } else {
        float* memory = team.shared(ITEM, floats + own * team.size);
        for (long item = 0; item < items; item++) work(item, team, memory);
    }
}

// How many threads of those that there are come in time. One that does not have a core when a short call needs it holds all
// up for milliseconds, so that fewer are faster; after a moment one more is tried again.
class Limit {
    static constexpr double SHORT = 0.02, SOON = 0.005, LATE = 0.5;  // seconds
    int most = INT_MAX;
    double pause = SOON, again = 0;

  public:
    int of(int threads, double now) const { return threads <= most ? threads : now < again ? most : most + 1; }
    void note(int threads, double began, double ended, double waited) {
        const double seconds = ended - began;
        if (seconds < SHORT && waited > 2e-4 && waited > 0.25 * seconds) {
            most = std::max(1, threads - 1), pause = std::min(LATE, 2 * pause), again = ended + pause;
        } else if (threads > most) {
            most = threads, pause = std::max(SOON, pause / 2);
        }
    }
};

constexpr double ALL = 1e18;  // multiply-adds that are enough for any number of threads

// Call work(team) in every thread; in fewer, where there are not multiply-adds enough for all to be worth the waiting.
template <class Work>
void together(double multiply_adds, Work work) {
    constexpr double ENOUGH = 5e7;  // half a millisecond of one thread
    static thread_local Limit limit;
    const double began = omp_get_wtime();
    const int wanted = static_cast<int>(std::min<double>(omp_get_max_threads(), 1 + multiply_adds / ENOUGH));
    const int threads = limit.of(wanted, began);
    if (threads == 1) {
        Team alone;
        return work(alone);
    }
    Steps steps(buffers());
    double done = 0, slept = 0;
#pragma omp parallel num_threads(threads)
    {
        Team team(omp_get_num_threads() == 1 ? nullptr : &steps, omp_get_thread_num(), omp_get_num_threads());
        work(team);
        if (team.rank == 0) done = omp_get_wtime(), slept = team.slept;
    }
    const double ended = omp_get_wtime();
    limit.note(threads, began, ended, slept + ended - done);
}
