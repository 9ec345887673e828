// Compiled kernels of sparse convolution on a CPU: the same answers as cpu.py and neighbours.py
// give without them. native.py loads this and says what each function is given.
// No library, no Python, no threads, no state. The instruction set is chosen at run time.

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
    int64_t offsets, centre, in_channels, out_channels, skip_channels, num_out, block_rows;
    float slope;  // of the LeakyReLU; 1 for none
};

// out[out_row] += x[in_row] @ weight for ROWS pairs and VECTORS * LANES columns; all sums stay in
// registers. No output row comes twice within an offset.
template <int LANES, int VECTORS, int ROWS>
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
            for (int v = 0; v < VECTORS; ++v) sum[r][v] += w[v] * in[r][k];
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v)
            *(Stored*)(out + out_rows[r] * out_step + v * LANES) = sum[r][v];
}

// All pairs, for one panel of weights (channels, VECTORS * LANES), whose rows lie w_step apart.
template <int LANES, int VECTORS, int ROWS>
INLINE void panel(const float* x, int64_t x_step, int64_t channels, const float* weight,
                  int64_t w_step, float* out, int64_t out_step, Rows rows) {
    int64_t p = 0;
#define TILES(R)                                                                             \
    for (; p + R <= rows.count; p += R)                                                      \
    tile<LANES, VECTORS, R>(x, x_step, channels, weight, w_step, out, out_step, rows.in + p, \
                            rows.out + p)
    FEWER_AND_FEWER_ROWS
#undef TILES
}

// As many panels of VECTORS * LANES columns as are left from column `c` on. For many pairs a panel
// is copied together first: 64 bytes from each row of a wide weight fall on few sets of the cache.
template <int LANES, int VECTORS, int ROWS>
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
            panel<LANES, VECTORS, ROWS>(x + first, channels, count, pack ? packed : source,
                                        pack ? WIDE : columns, out + c, columns, rows);
        }
}

// out[rows.out] += x[rows.in] @ weight.
template <class Isa>
INLINE void add_products(const float* x, int64_t channels, const float* weight, int64_t columns,
                         float* out, Rows rows) {
    if (rows.count == 0) return;
    int64_t c = 0;
    panels<Isa::LANES, Isa::WIDE_VECTORS, Isa::WIDE_ROWS>(c, x, channels, weight, columns, out,
                                                          rows);
    panels<Isa::LANES, Isa::VECTORS, Isa::ROWS>(c, x, channels, weight, columns, out, rows);
    panels<8, 1, 4>(c, x, channels, weight, columns, out, rows);
    panels<1, 1, 4>(c, x, channels, weight, columns, out, rows);
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

template <class Isa>
INLINE void convolve(const Layer& layer, int64_t first, int64_t last) {
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
        for (int64_t k = 0; k < layer.offsets; ++k)
            add_products<Isa>(layer.features, layer.in_channels,
                              layer.weight + k * layer.in_channels * columns, columns, layer.out,
                              rows_of(k));
        if (layer.slope != 1)
            leaky<Isa::LANES>(layer.out + start * columns, (end - start) * columns, layer.slope);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void convolve_avx2(const Layer& layer, int64_t first,
                                                       int64_t last) {
    convolve<Avx2>(layer, first, last);
}
__attribute__((target("avx512f,avx2,fma"))) void convolve_avx512(const Layer& layer, int64_t first,
                                                                 int64_t last) {
    convolve<Avx512>(layer, first, last);
}
#endif

}  // namespace

extern "C" {

// Raised with every change of what these functions are given, so that native.py knows a build from
// other sources.
int cmdfusion_version() { return 3; }

// The best instruction set here: 0 plain, 1 AVX2, 2 AVX-512.
int cmdfusion_best() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx2") &&
        __builtin_cpu_supports("fma"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

// Blocks first .. last - 1 of a layer.
void cmdfusion_convolve(const Layer* layer, int64_t first, int64_t last, int instruction_set) {
#if defined(__x86_64__)
    if (instruction_set == 2) return convolve_avx512(*layer, first, last);
    if (instruction_set == 1) return convolve_avx2(*layer, first, last);
#endif
    convolve<Plain>(*layer, first, last);
}

// Neighbours in sorted, unique keys under 13 offsets, each the negative of one of the other 13:
// first dz = 1, then for each of 4 columns (steps) dz = -1, 0, 1. Pairs of offset k go to in_rows[k
// * num_keys], out_rows[k * num_keys] and on; counts[k] says how many.
void cmdfusion_neighbours(const int64_t* keys, int64_t num_keys, const int64_t* steps,
                          int32_t* in_rows, int32_t* out_rows, int64_t* counts) {
    for (int k = 0; k < 13; ++k) counts[k] = 0;
    auto add = [&](int k, bool found, int64_t in,
                   int64_t out) {  // writes where the next pair goes, and moves on only if it is
                                   // one: no branch to guess
        const int64_t place = k * num_keys + counts[k];
        in_rows[place] = (int32_t)in;
        out_rows[place] = (int32_t)out;
        counts[k] += found;
    };
    for (int64_t row = 0; row + 1 < num_keys; ++row)
        add(0, keys[row + 1] == keys[row] + 1, row + 1, row);
    for (int column = 0; column < 4; ++column) {
        int64_t near =
            0;  // wanted keys rise with the row, so each search goes on where the last one ended
        for (int64_t row = 0; row < num_keys; ++row) {
            const int64_t wanted = keys[row] + steps[column] - 1;
            while (near < num_keys && keys[near] < wanted) ++near;
            int64_t at = near;
            for (int dz = 0; dz < 3 && at < num_keys; ++dz) {
                const bool found = keys[at] == wanted + dz;
                add(1 + 3 * column + dz, found, at, row);
                at += found;
            }
            if (near == num_keys) break;
        }
    }
}

// Rows by target, as Bags: starts and counts (num_targets,) of each target's rows in order
// (num_rows,), where they keep their order.
void cmdfusion_group(const int64_t* targets, int64_t num_rows, int64_t num_targets, int32_t* order,
                     int32_t* starts, int32_t* counts) {
    for (int64_t target = 0; target < num_targets; ++target) counts[target] = 0;
    for (int64_t row = 0; row < num_rows; ++row) ++counts[targets[row]];
    int32_t total = 0;
    for (int64_t target = 0; target < num_targets; ++target) {
        starts[target] = total;
        total += counts[target];
    }
    for (int64_t row = 0; row < num_rows; ++row) order[starts[targets[row]]++] = (int32_t)row;
    for (int64_t target = 0; target < num_targets; ++target) starts[target] -= counts[target];
}
}
