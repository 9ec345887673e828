// What the compiled kernels share: vectors of GCC and Clang, so that one source serves every
// instruction set, and the sizes of the tiles that are held in registers.

#ifndef CMDFUSION_NATIVE_H
#define CMDFUSION_NATIVE_H

#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

namespace {

struct Rows {  // pairs of one offset in one block
    const int32_t* in;
    const int32_t* out;
    int64_t count;
};

template <int LANES>
struct Vector {
    typedef float type __attribute__((vector_size(LANES * sizeof(float))));
    typedef float stored __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)),
                                        may_alias));  // anywhere in memory
};

// Sums of a tile, its weights and one input must fit the registers: 16 of them in SSE and AVX2, 32
// in NEON and AVX-512.
#if defined(__aarch64__)
struct Plain {
    enum { LANES = 4, VECTORS = 4, ROWS = 6, WIDE_VECTORS = 4, WIDE_ROWS = 6 };
};
#else
struct Plain {
    enum { LANES = 4, VECTORS = 2, ROWS = 4, WIDE_VECTORS = 2, WIDE_ROWS = 4 };
};
#endif
struct Avx2 {
    enum { LANES = 8, VECTORS = 2, ROWS = 6, WIDE_VECTORS = 2, WIDE_ROWS = 6 };
};
struct Avx512 {
    enum { LANES = 16, VECTORS = 2, ROWS = 12, WIDE_VECTORS = 4, WIDE_ROWS = 6 };
};

}  // namespace

// A loop over rows, as tiles of ROWS, then of the smaller sizes for those that are left. TILES(R)
// is the loop over tiles of R rows.
#define FEWER_AND_FEWER_ROWS  \
    TILES(ROWS);              \
    if (ROWS > 6) TILES(6);   \
    if (ROWS > 4) TILES(4);   \
    TILES(2);                 \
    TILES(1);

#endif
