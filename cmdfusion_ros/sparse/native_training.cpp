// Compiled kernels that only training needs: the gradient of a convolution's weight, and the
// Lovasz loss of rows that stand for several points. The same answers as conv.py and
// training/losses.py give without them. native.py loads this and says what each is given.

#include <cmath>

#include "native.h"

namespace {

struct Gradient {              // the same fields in native.py
    const float* features;     // (rows, in_channels)
    const float* grad_output;  // (num_out, out_channels)
    const int32_t* in_rows;
    const int32_t* out_rows;
    const int64_t* cuts;  // (blocks + 1, offsets): first pair of each offset in each block
    float* grad_weight;   // (offsets, in_channels, out_channels), zero before
    int64_t offsets, blocks, in_channels, out_channels;
};

const int64_t CHUNK = 128;  // pairs that are copied together: of 64 and 64 channels 64 KB
const int64_t NARROW = 48;  // channels of input and output together, up to which none are copied

// sum[r][c] += x[in][r] * g[out][c] over pairs, for ROWS channels in and VECTORS * LANES out.
// COPIED: pair i has row i of x and of g.
template <int LANES, int VECTORS, int ROWS, bool COPIED>
INLINE void outer_tile(const float* x, int64_t x_step, const float* g, int64_t g_step, Rows rows,
                       float* sums, int64_t sums_step) {
    typedef typename Vector<LANES>::type V;
    typedef typename Vector<LANES>::stored Stored;
    V sum[ROWS][VECTORS];
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v)
            sum[r][v] = *(const Stored*)(sums + r * sums_step + v * LANES);
    for (int64_t p = 0; p < rows.count; ++p) {
        const float* in = COPIED ? x : x + rows.in[p] * x_step;
        const float* out = COPIED ? g : g + rows.out[p] * g_step;
        if (COPIED) x += x_step, g += g_step;
        V own[VECTORS];
        for (int v = 0; v < VECTORS; ++v) own[v] = *(const Stored*)(out + v * LANES);
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < VECTORS; ++v) sum[r][v] += own[v] * in[r];
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) *(Stored*)(sums + r * sums_step + v * LANES) = sum[r][v];
}

template <int LANES, int VECTORS, int ROWS, bool COPIED>
INLINE void outer_columns(const float* x, int64_t in_channels, const float* g, int64_t out_channels,
                          Rows rows, float* sums, int64_t& c) {
    for (; c + VECTORS * LANES <= out_channels; c += VECTORS * LANES) {
        int64_t r = 0;
#define TILES(R)                                                                         \
    for (; r + R <= in_channels; r += R)                                                 \
    outer_tile<LANES, VECTORS, R, COPIED>(x + r, in_channels, g + c, out_channels, rows, \
                                          sums + r * out_channels + c, out_channels)
        FEWER_AND_FEWER_ROWS
#undef TILES
    }
}

// sums += x[rows.in].T @ g[rows.out].
template <class Isa, bool COPIED>
INLINE void add_outer_products(const float* x, int64_t in, const float* g, int64_t out, Rows rows,
                               float* sums) {
    int64_t c = 0;
    outer_columns<Isa::LANES, Isa::WIDE_VECTORS, Isa::WIDE_ROWS, COPIED>(x, in, g, out, rows, sums,
                                                                         c);
    outer_columns<Isa::LANES, Isa::VECTORS, Isa::ROWS, COPIED>(x, in, g, out, rows, sums, c);
    outer_columns<8, 1, 4, COPIED>(x, in, g, out, rows, sums, c);
    outer_columns<1, 1, 4, COPIED>(x, in, g, out, rows, sums, c);
}

// Rows of `source` side by side. By eight: a call of memcpy takes longer than 16 channels do.
INLINE void copy_rows(const float* source, int64_t channels, const int32_t* rows, int64_t count,
                      float* out) {
    typedef Vector<8>::stored Stored;
    for (int64_t i = 0; i < count; ++i, out += channels) {
        const float* row = source + rows[i] * channels;
        int64_t c = 0;
        for (; c + 8 <= channels; c += 8) *(Stored*)(out + c) = *(const Stored*)(row + c);
        for (; c < channels; ++c) out[c] = row[c];
    }
}

template <class Isa>
INLINE void weight_gradient(const Gradient& a, int64_t first, int64_t last, float* scratch) {
    const int64_t in = a.in_channels, out = a.out_channels;
    for (int64_t block = 0; block < a.blocks; ++block)
        for (int64_t k = first; k < last; ++k) {
            const int64_t* cuts = a.cuts + block * a.offsets + k;
            float* sums = a.grad_weight + k * in * out;
            for (int64_t p = cuts[0]; p < cuts[a.offsets]; p += CHUNK) {
                const int64_t left = cuts[a.offsets] - p;
                Rows rows = {a.in_rows + p, a.out_rows + p, left < CHUNK ? left : CHUNK};
                if (in + out <= NARROW) {  // copying would take longer than it saves
                    add_outer_products<Isa, false>(a.features, in, a.grad_output, out, rows, sums);
                    continue;
                }
                copy_rows(a.features, in, rows.in, rows.count, scratch);
                copy_rows(a.grad_output, out, rows.out, rows.count, scratch + CHUNK * in);
                add_outer_products<Isa, true>(scratch, in, scratch + CHUNK * in, out, rows, sums);
            }
        }
}

struct Lovasz {                  // the same fields in native.py
    const float* probabilities;  // (rows, classes)
    const int64_t* labels;       // (rows,)
    const float* counts;         // (rows,) points that a row stands for
    float* gradient;             // (rows, classes) of the loss; zero before
    uint64_t* keys;              // (2, rows), scratch
    int64_t rows, classes;
};

// Rows by falling error: keys = (inverted bits of the error, row), sorted by their upper half in
// three passes of ten bits. Errors lie in 0 .. 1, whose bits rise with them and are 30.
INLINE uint64_t* sort_by_error(uint64_t* keys, uint64_t* spare, int64_t count) {
    for (int shift = 32; shift < 62; shift += 10) {
        int64_t starts[1024] = {0}, total = 0;
        for (int64_t i = 0; i < count; ++i) ++starts[(keys[i] >> shift) & 1023];
        for (int64_t& start : starts) {
            const int64_t own = start;
            start = total;
            total += own;
        }
        for (int64_t i = 0; i < count; ++i) spare[starts[(keys[i] >> shift) & 1023]++] = keys[i];
        uint64_t* sorted = spare;
        spare = keys;
        keys = sorted;
    }
    return keys;
}

// The loss of one class with `members` points, and its gradient times `share`.
INLINE double lovasz_of_class(const Lovasz& a, int64_t label, double members, double share) {
    const uint32_t LARGEST = (1u << 30) - 1;
    for (int64_t row = 0; row < a.rows; ++row) {
        const float p = a.probabilities[row * a.classes + label];
        const float error = std::fabs(a.labels[row] == label ? 1 - p : p);
        uint32_t bits;
        std::memcpy(&bits, &error, sizeof bits);
        a.keys[row] = (uint64_t)(LARGEST - (bits < LARGEST ? bits : LARGEST)) << 32 | (uint32_t)row;
    }
    const uint64_t* sorted = sort_by_error(a.keys, a.keys + a.rows, a.rows);
    double missed = 0, added = 0, before = 0, loss = 0;
    for (int64_t i = 0; i < a.rows; ++i) {
        const int64_t row = (int64_t)(uint32_t)sorted[i];
        const bool own = a.labels[row] == label;
        const float p = a.probabilities[row * a.classes + label];
        (own ? missed : added) += a.counts[row];
        const double jaccard = 1 - (members - missed) / (members + added), step = jaccard - before;
        before = jaccard;
        loss += step * std::fabs(own ? 1 - p : p);
        a.gradient[row * a.classes + label] = (float)(own ? -step * share : step * share);
    }
    return loss * share;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void weight_gradient_avx2(const Gradient& a, int64_t first,
                                                              int64_t last, float* scratch) {
    weight_gradient<Avx2>(a, first, last, scratch);
}
__attribute__((target("avx512f,avx2,fma"))) void weight_gradient_avx512(const Gradient& a,
                                                                        int64_t first, int64_t last,
                                                                        float* scratch) {
    weight_gradient<Avx512>(a, first, last, scratch);
}
#endif

}  // namespace

extern "C" {

// Offsets first .. last - 1. scratch: 128 * (in_channels + out_channels) floats of the caller's.
void cmdfusion_weight_gradient(const Gradient* a, int64_t first, int64_t last, float* scratch,
                               int instruction_set) {
#if defined(__x86_64__)
    if (instruction_set == 2) return weight_gradient_avx512(*a, first, last, scratch);
    if (instruction_set == 1) return weight_gradient_avx2(*a, first, last, scratch);
#endif
    weight_gradient<Plain>(*a, first, last, scratch);
}

// out[index[i]] += values[i] for rows of `channels` floats, in their order.
void cmdfusion_scatter_sum(const float* values, const int64_t* index, int64_t rows,
                           int64_t channels, float* out) {
    typedef Vector<4>::stored Stored;
    for (int64_t row = 0; row < rows; ++row, values += channels) {
        float* target = out + index[row] * channels;
        int64_t c = 0;
        for (; c + 4 <= channels; c += 4)
            *(Stored*)(target + c) = *(const Stored*)(target + c) + *(const Stored*)(values + c);
        for (; c < channels; ++c) target[c] += values[c];
    }
}

// The mean over the classes that are present; 0 where there are none.
double cmdfusion_lovasz(const Lovasz* a) {
    double loss = 0;
    int64_t present = 0;
    double* members = new double[a->classes]();
    for (int64_t row = 0; row < a->rows; ++row) members[a->labels[row]] += a->counts[row];
    for (int64_t label = 0; label < a->classes; ++label) present += members[label] > 0;
    for (int64_t label = 0; label < a->classes; ++label)
        if (members[label] > 0) loss += lovasz_of_class(*a, label, members[label], 1.0 / present);
    delete[] members;
    return loss;
}
}
