// Compiled kernels of sparse convolution on a CPU: the same answers as cpu.py and neighbours.py
// give without them. native.py loads this and says what each function is given.
// No library, no Python, no threads, no state. The instruction set is chosen at run time.

#include "native_convolve.h"

namespace {

template <class Isa>
INLINE void convolve_singly(const Layer& layer, int64_t first, int64_t last) {
    const int64_t step = layer.in_channels * layer.out_channels;
    convolve<Isa>(layer, first, last, [&](int64_t k, Rows rows) INLINE_LAMBDA {
        add_products<Isa>(layer.features, layer.in_channels, layer.weight + k * step,
                          layer.out_channels, layer.out, rows);
    });
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void convolve_avx2(const Layer& layer, int64_t first,
                                                       int64_t last) {
    convolve_singly<Avx2>(layer, first, last);
}
__attribute__((target("avx512f,avx2,fma"))) void convolve_avx512(const Layer& layer, int64_t first,
                                                                 int64_t last) {
    convolve_singly<Avx512>(layer, first, last);
}
#endif

}  // namespace

extern "C" {

// Raised with every change of what these functions are given, so that native.py knows a build from
// other sources.
int cmdfusion_version() { return 4; }

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
    convolve_singly<Plain>(*layer, first, last);
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
