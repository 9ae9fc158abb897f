// What Python calls. Maps are (images, height, width, channels), channels a multiple of WIDTH.
#include "attention.h"
#include "stem.h"

extern "C" {
int maxvit_width() { return WIDTH; }
void maxvit_stem(const Stem* p, long images, long height, long width, const float* x, float* y) {
    stem(*p, images, {height, width}, x, y);
}
void maxvit_mbconv(const MBConv* p, long images, long height, long width, const float* x, float* y) {
    mbconv(*p, images, {height, width}, x, y);
}
void maxvit_attention_layer(const AttentionLayer* p, const Groups* groups, long images, float* x) {
    attention_layer(*p, *groups, images, x);
}
}
