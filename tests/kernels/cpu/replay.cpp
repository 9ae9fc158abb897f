// Replays calls that recording.py has written, on whatever processor this is compiled for: replay FILE.
#include "maxvit.cpp"

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

static FILE* file;
static long number() {
    int64_t value;
    if (std::fread(&value, sizeof value, 1, file) != 1) std::exit(3);
    return value;
}
static void bytes(void* to, long size) {
    if (size && std::fread(to, 1, size, file) != static_cast<size_t>(size)) std::exit(3);
}

typedef long (*Kernel)(long, long, long, long, long, long, long, long);
#define KERNEL(name) {#name, reinterpret_cast<Kernel>(name)}
static const struct {
    const char* name;
    Kernel call;
} kernels[] = {
    KERNEL(maxvit_stem), KERNEL(maxvit_mbconv), KERNEL(maxvit_attention_layer), KERNEL(maxvit_network),
    KERNEL(maxvit_linear),
    KERNEL(maxvit_blocks), KERNEL(maxvit_moments), KERNEL(maxvit_apply), KERNEL(maxvit_pool),
    KERNEL(maxvit_scale_gradient), KERNEL(maxvit_apply_gradient), KERNEL(maxvit_combine), KERNEL(maxvit_activation),
    KERNEL(maxvit_depthwise), KERNEL(maxvit_depthwise_gradient), KERNEL(maxvit_shares), KERNEL(maxvit_attention),
    KERNEL(maxvit_attention_gradient),
};

// How far numbers are from those that were recorded, over the largest of these.
static double difference(const float* a, const float* b, long n) {
    double most = 0, off = 0;
    for (long i = 0; i < n; i++) {
        if (std::isnan(a[i]) != std::isnan(b[i])) return INFINITY;
        if (std::isnan(b[i])) continue;
        most = std::max<double>(most, std::fabs(b[i]));
        off = std::max<double>(off, std::fabs(double(a[i]) - b[i]));
    }
    return off / std::max(most, 1e-30);
}

int main(int, char** arguments) {
    file = std::fopen(arguments[1], "rb");
    const double allowed = std::atof(arguments[2]);
    double worst = 0;
    const long calls = number();
    for (long i = 0; i < calls; i++) {
        std::string name(number(), ' ');
        bytes(&name[0], name.size());
        std::vector<long> words(8), is_pointer(8);
        const long given = number();
        for (long w = 0; w < given; w++) is_pointer[w] = number(), words[w] = number();
        const long expected = number(), size = number();
        char* memory = static_cast<char*>(std::aligned_alloc(64, (size + 127) / 64 * 64));
        bytes(memory, size);
        for (long w = 0; w < given; w++)
            if (is_pointer[w]) words[w] = words[w] < 0 ? 0 : reinterpret_cast<long>(memory + words[w]);
        for (long left = number(); left > 0; left--) {
            int64_t* slot = reinterpret_cast<int64_t*>(memory + number());
            *slot = *slot < 0 ? 0 : reinterpret_cast<int64_t>(memory + *slot);
        }
        Kernel kernel = nullptr;
        for (const auto& known : kernels)
            if (name == known.name) kernel = known.call;
        if (!kernel) return std::printf("%s is unknown\n", name.c_str()), 2;
        const long result = kernel(words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]);
        if (expected && result != expected) return std::printf("%s gives %ld\n", name.c_str(), result), 1;
        for (long left = number(); left > 0; left--) {
            const long place = number(), length = number(), is_kept = number();
            std::vector<char> after(length);
            bytes(after.data(), length);
            if (is_kept) {
                if (std::memcmp(after.data(), memory + place, length)) return std::printf("%s: wrote\n", name.c_str()), 1;
                continue;
            }
            const double off = difference(reinterpret_cast<float*>(memory + place), reinterpret_cast<float*>(after.data()),
                                          length / sizeof(float));
            worst = std::max(worst, off);
            if (!(off <= allowed)) return std::printf("call %ld, %s: %g off\n", i, name.c_str(), off), 1;
        }
        std::free(memory);
    }
    std::printf("%ld calls, the worst %g off\n", calls, worst);
}
