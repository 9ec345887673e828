// Convolution of bfloat16 numbers with sums in float32, for CPUs that multiply pairs of them
// (AVX512-BF16: AMD Zen 4, Intel Cooper Lake and later). Elsewhere `cmdfusion_has_half` says no.

#if defined(__x86_64__) && \
    ((defined(__clang__) && __clang_major__ >= 9) || (!defined(__clang__) && __GNUC__ >= 10))
#define HAS_HALF 1
#else
#define HAS_HALF 0
#endif

#if HAS_HALF
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bf16,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bf16,avx2,fma")
#endif

#include "native_convolve.h"

namespace {

struct Half {  // w holds pairs of neighbouring input channels, x one such pair
    typedef Vector<16>::type V;
    static INLINE_MEMBER void add(V& sum, const V& w, float x) {
        sum = (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)_mm512_set1_ps(x));
    }
};

void convolve_halves(const Layer& layer, int64_t first, int64_t last) {
    const int64_t pairs = layer.in_channels / 2, columns = layer.out_channels;
    convolve<Avx512>(layer, first, last, [&](int64_t k, Rows rows) INLINE_LAMBDA {
        if (rows.count == 0) return;
        const float* weight = layer.half_weight + k * pairs * columns;
        int64_t c = 0;
        panels<Half, 16, Avx512::WIDE_VECTORS, Avx512::WIDE_ROWS>(
            c, layer.half_features, pairs, weight, columns, layer.out, rows);
        panels<Half, 16, Avx512::VECTORS, Avx512::ROWS>(c, layer.half_features, pairs, weight,
                                                        columns, layer.out, rows);
        panels<Half, 16, 1, 12>(c, layer.half_features, pairs, weight, columns, layer.out, rows);
    });
}

void halve(const float* values, int64_t count, uint16_t* halves) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm256_storeu_si256((__m256i*)(halves + i),
                            (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(values + i)));
    if (i == count) return;
    float rest[16] = {};
    uint16_t rounded[16];
    std::memcpy(rest, values + i, (count - i) * sizeof(float));
    _mm256_storeu_si256((__m256i*)rounded, (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(rest)));
    std::memcpy(halves + i, rounded, (count - i) * sizeof(uint16_t));
}

}  // namespace

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
#include "native_convolve.h"
#endif

extern "C" {

// Whether the next two may be called here.
int cmdfusion_has_half() {
#if HAS_HALF
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512f");
#else
    return 0;
#endif
}

// Blocks first .. last - 1 of a layer with `half_features` and `half_weight`: an even number of
// input channels and a multiple of 16 output channels.
void cmdfusion_convolve_halves(const Layer* layer, int64_t first, int64_t last) {
#if HAS_HALF
    convolve_halves(*layer, first, last);
#else
    (void)layer, (void)first, (void)last;
#endif
}

// float32 -> bfloat16, to the nearest, ties to even.
void cmdfusion_halve(const float* values, int64_t count, uint16_t* halves) {
#if HAS_HALF
    halve(values, count, halves);
#else
    (void)values, (void)count, (void)halves;
#endif
}
}
