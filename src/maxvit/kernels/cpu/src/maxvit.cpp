// What Python calls. Maps are (images, height, width, channels), channels a multiple of WIDTH.
#include "attention_training.h"
#include "depthwise.h"
#include "network.h"

extern "C" {
long maxvit_halves() {  // whether these multiply 16-bit floats
#ifdef HALVES
    return 1;
#else
    return 0;
#endif
}
void maxvit_stem(const Stem* p, const Images* x, float* y) {
    together(ALL, [=](Team& team) { stem(team, *p, *x, y); });
}
void maxvit_mbconv(const MBConv* p, long images, long height, long width, const float* x, float* y) {
    together(ALL, [=](Team& team) { mbconv(team, *p, images, {height, width}, x, y); });
}
void maxvit_attention_layer(const AttentionLayer* p, const Groups* groups, long images, float* x) {
    together(ALL, [=](Team& team) { attention_layer(team, *p, *groups, images, x); });
}
void maxvit_linear(const Weights* w, long rows, long depth, long columns, const float* x, float* y) {
    together(double(rows) * depth * columns, [=](Team& team) {
        product(team, {x, depth}, rows, {*w, depth, columns}, nullptr,
                [=](long m, long c, Vec low, Vec high) { store2(y + m * columns + c, low, high); });
    });
}
void maxvit_network(const Network* p, const Images* x, float* const* wanted) {
    together(multiply_adds(*p, *x), [=](Team& team) { network(team, *p, *x, wanted); });
}

// Training
long maxvit_blocks(long pixels) { return blocks(pixels); }
void maxvit_moments(long images, long pixels, long channels, const float* x, float* sums) {
    moments(images, pixels, channels, x, sums);
}
void maxvit_apply(const Maps* p, const float* x, float* y) { apply(*p, x, y); }
void maxvit_pool(const Maps* p, const float* x, float* sums) { pool(*p, x, sums); }
void maxvit_scale_gradient(const Maps* p, const float* x, const float* grad, float* y, float* sums) {
    scale_gradient(*p, x, grad, y, sums);
}
void maxvit_apply_gradient(const Maps* p, const float* x, const float* grad, float* out, float* sums) {
    apply_gradient(*p, x, grad, out, sums);
}
void maxvit_combine(long images, long pixels, long channels, const float* x, const float* line, float* grad) {
    combine(images, pixels, channels, x, line, grad);
}
void maxvit_activation(long n, long kind, const float* x, float* grad, float* y) { activation(n, kind, x, grad, y); }
void maxvit_depthwise(const Depthwise* p, const float* x, float* y) {
    with_activation(p->activation, [=](auto kind) {
        p->stride == 1 ? depthwise<kind.value, 1>(*p, x, y) : depthwise<kind.value, 2>(*p, x, y);
    });
}
void maxvit_depthwise_gradient(const Depthwise* p, const float* x, const float* grad, float* out, float* sums, float* weights) {
    with_activation(p->activation, [=](auto kind) {
        p->stride == 1 ? depthwise_gradient<kind.value, 1>(*p, x, grad, out, sums, weights)
                       : depthwise_gradient<kind.value, 2>(*p, x, grad, out, sums, weights);
    });
}
long maxvit_shares() { return SHARES; }
void maxvit_attention(const Attention* p, const Groups* groups, long images, const float* qkv, float* out) {
    attention(*p, *groups, images, qkv, out);
}
void maxvit_attention_gradient(const Attention* p, const Groups* groups, long images, const float* qkv, const float* grad,
                               float* out, float* position) {
    attention_gradient(*p, *groups, images, qkv, grad, out, position);
}
}
