// A convolution in blocks of output rows, as native.cpp and native_half.cpp share it: products of
// pairs in tiles that stay in registers, bias, skip connection and LeakyReLU in the same pass.

#ifndef CMDFUSION_NATIVE_CONVOLVE_H
#define CMDFUSION_NATIVE_CONVOLVE_H

#include "native.h"

namespace {

struct Layer {                 // the same fields in native.py
    const float* features;     // (rows, in_channels)
    const float* weight;       // (offsets, in_channels, out_channels)
    const float* bias;         // (out_channels,)
    const float* skip;         // (num_out, skip_channels), or null
    const float* skip_weight;  // (skip_channels, out_channels), or null for the identity
    const int32_t* in_rows;
    const int32_t* out_rows;
    const int64_t* cuts;  // (blocks + 1, offsets): first pair of each offset in each block of rows
    float* out;           // (num_out, out_channels)
    // two numbers of 16 bits where a float is meant, (rows, in_channels / 2) and
    // (offsets, in_channels / 2, out_channels); read in place of `features` and `weight` by
    // native_half.cpp alone
    const float* half_features;
    const float* half_weight;
    int64_t offsets, centre, in_channels, out_channels, skip_channels, num_out, block_rows;
    float slope;  // of the LeakyReLU; 1 for none
};

// How a product is added to a sum; a `float` in x and w may stand for two halves (native_half.cpp).
struct Single {
    template <class V>
    static INLINE_MEMBER void add(V& sum, const V& w, float x) {
        sum += w * x;
    }
};

// out[out_row] += x[in_row] @ weight for ROWS pairs and VECTORS * LANES columns; all sums stay in
// registers. No output row comes twice within an offset.
template <class Product, int LANES, int VECTORS, int ROWS>
INLINE void tile(const float* x, int64_t x_step, int64_t channels, const float* weight,
                 int64_t w_step, float* out, int64_t out_step, const int32_t* in_rows,
                 const int32_t* out_rows) {
    typedef typename Vector<LANES>::type V;
    typedef typename Vector<LANES>::stored Stored;
    V sum[ROWS][VECTORS];
    const float* in[ROWS];
    for (int r = 0; r < ROWS; ++r) {
        in[r] = x + in_rows[r] * x_step;
        for (int v = 0; v < VECTORS; ++v)
            sum[r][v] = *(const Stored*)(out + out_rows[r] * out_step + v * LANES);
    }
    for (int64_t k = 0; k < channels; ++k, weight += w_step) {
        V w[VECTORS];
        for (int v = 0; v < VECTORS; ++v) w[v] = *(const Stored*)(weight + v * LANES);
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < VECTORS; ++v) Product::add(sum[r][v], w[v], in[r][k]);
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v)
            *(Stored*)(out + out_rows[r] * out_step + v * LANES) = sum[r][v];
}

// All pairs, for one panel of weights (channels, VECTORS * LANES), whose rows lie w_step apart.
template <class Product, int LANES, int VECTORS, int ROWS>
INLINE void panel(const float* x, int64_t x_step, int64_t channels, const float* weight,
                  int64_t w_step, float* out, int64_t out_step, Rows rows) {
    int64_t p = 0;
#define TILES(R)                                                                             \
    for (; p + R <= rows.count; p += R)                                                      \
    tile<Product, LANES, VECTORS, R>(x, x_step, channels, weight, w_step, out, out_step,     \
                                     rows.in + p, rows.out + p)
    FEWER_AND_FEWER_ROWS
#undef TILES
}

// As many panels of VECTORS * LANES columns as are left from column `c` on. For many pairs a panel
// is copied together first: 64 bytes from each row of a wide weight fall on few sets of the cache.
template <class Product, int LANES, int VECTORS, int ROWS>
INLINE void panels(int64_t& c, const float* x, int64_t channels, const float* weight,
                   int64_t columns, float* out, Rows rows) {
    constexpr int64_t WIDE = LANES * VECTORS,
                      CHUNK = 4096 / WIDE;  // 16 KB, half of a first-level cache
    alignas(64) float packed[WIDE * CHUNK];
    for (; c + WIDE <= columns; c += WIDE)
        for (int64_t first = 0; first < channels; first += CHUNK) {
            const int64_t count = channels - first < CHUNK ? channels - first : CHUNK;
            const float* source = weight + first * columns + c;
            const bool pack = columns != WIDE && rows.count > 4 * ROWS;
            for (int64_t k = 0; k < count && pack; ++k)
                std::memcpy(packed + k * WIDE, source + k * columns, WIDE * sizeof(float));
            panel<Product, LANES, VECTORS, ROWS>(x + first, channels, count, pack ? packed : source,
                                        pack ? WIDE : columns, out + c, columns, rows);
        }
}

// out[rows.out] += x[rows.in] @ weight.
template <class Isa>
INLINE void add_products(const float* x, int64_t channels, const float* weight, int64_t columns,
                         float* out, Rows rows) {
    if (rows.count == 0) return;
    int64_t c = 0;
    panels<Single, Isa::LANES, Isa::WIDE_VECTORS, Isa::WIDE_ROWS>(c, x, channels, weight, columns,
                                                                  out, rows);
    panels<Single, Isa::LANES, Isa::VECTORS, Isa::ROWS>(c, x, channels, weight, columns, out,
                                                        rows);
    panels<Single, 8, 1, 4>(c, x, channels, weight, columns, out, rows);
    panels<Single, 1, 1, 4>(c, x, channels, weight, columns, out, rows);
}

template <int LANES>
INLINE void leaky(float* values, int64_t count,
                  float slope) {  // selects, since a branch would be guessed wrong half of the time
    typedef typename Vector<LANES>::type V;
    typedef typename Vector<LANES>::stored Stored;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const V value = *(const Stored*)(values + i), scaled = value * slope;
        *(Stored*)(values + i) = value > 0 ? value : scaled;
    }
    for (; i < count; ++i) values[i] = values[i] > 0 ? values[i] : values[i] * slope;
}

// Blocks first .. last - 1. `offset_products(k, rows)` adds those of offset k to layer.out.
template <class Isa, class Products>
INLINE void convolve(const Layer& layer, int64_t first, int64_t last,
                     const Products& offset_products) {
    const int64_t columns = layer.out_channels;
    for (int64_t block = first; block < last; ++block) {
        const int64_t start = block * layer.block_rows;
        const int64_t end =
            start + layer.block_rows < layer.num_out ? start + layer.block_rows : layer.num_out;
        const int64_t* cuts = layer.cuts + block * layer.offsets;
        auto rows_of = [&](int64_t k) {
            return Rows{layer.in_rows + cuts[k], layer.out_rows + cuts[k],
                        cuts[k + layer.offsets] - cuts[k]};
        };
        for (int64_t row = start; row < end; ++row) {
            float* out = layer.out + row * columns;
            std::memcpy(out, layer.bias, columns * sizeof(float));
            if (layer.skip && !layer.skip_weight)
                for (int64_t c = 0; c < columns; ++c) out[c] += layer.skip[row * columns + c];
        }
        if (layer.skip && layer.skip_weight)  // the pairs of the centre are all rows in order
            add_products<Isa>(layer.skip, layer.skip_channels, layer.skip_weight, columns,
                              layer.out, rows_of(layer.centre));
        for (int64_t k = 0; k < layer.offsets; ++k) offset_products(k, rows_of(k));
        if (layer.slope != 1)
            leaky<Isa::LANES>(layer.out + start * columns, (end - start) * columns, layer.slope);
    }
}

}  // namespace

#endif
