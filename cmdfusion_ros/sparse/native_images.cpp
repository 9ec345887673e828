// Compiled kernels between points and pixels: projection, bilinear reading of maps, and depthwise
// convolution of images. The same answers as geometry/projection.py, models/views.py and
// models/efficientnet.py give without them. native_images.py says what each is given.

#include <cmath>

#include "native.h"

namespace {

struct Depthwise {        // the same fields in native_images.py
    const float* image;   // (height, width, channels)
    const float* weight;  // (kernel * kernel, channels)
    const float* bias;    // (channels,)
    float* out;           // (out_height, out_width, channels)
    int64_t height, width, channels, kernel, stride, top, left, out_height, out_width;
    float highest;  // results are cut to 0 .. highest
};

// VECTORS * LANES channels of one output pixel.
template <int LANES, int VECTORS>
INLINE void pixel(const Depthwise& d, int64_t row, int64_t column, int64_t c) {
    typedef typename Vector<LANES>::type V;
    typedef typename Vector<LANES>::stored Stored;
    const V none = {}, most = none + d.highest;
    V sum[VECTORS];
    for (int v = 0; v < VECTORS; ++v) sum[v] = *(const Stored*)(d.bias + c + v * LANES);
    const int64_t y0 = row * d.stride - d.top, x0 = column * d.stride - d.left;
    for (int64_t i = y0 < 0 ? -y0 : 0; i < d.kernel && y0 + i < d.height; ++i)
        for (int64_t j = x0 < 0 ? -x0 : 0; j < d.kernel && x0 + j < d.width; ++j) {
            const float* in = d.image + ((y0 + i) * d.width + x0 + j) * d.channels + c;
            const float* w = d.weight + (i * d.kernel + j) * d.channels + c;
            for (int v = 0; v < VECTORS; ++v)
                sum[v] += *(const Stored*)(in + v * LANES) * *(const Stored*)(w + v * LANES);
        }
    float* out = d.out + (row * d.out_width + column) * d.channels + c;
    for (int v = 0; v < VECTORS; ++v) {
        const V positive = sum[v] > 0 ? sum[v] : none;
        *(Stored*)(out + v * LANES) = positive < most ? positive : most;
    }
}

template <class Isa>
INLINE void depthwise(const Depthwise& d, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
        for (int64_t column = 0; column < d.out_width; ++column) {
            int64_t c = 0;
            for (; c + 4 * Isa::LANES <= d.channels; c += 4 * Isa::LANES)
                pixel<Isa::LANES, 4>(d, row, column, c);
            for (; c + Isa::LANES <= d.channels; c += Isa::LANES)
                pixel<Isa::LANES, 1>(d, row, column, c);
            for (; c < d.channels; ++c) pixel<1, 1>(d, row, column, c);
        }
}

struct Gather {                // the same fields in native_images.py
    const float* map;          // (height, width, channels)
    const float* uv;           // (rows, 2), -1 .. 1
    float* out;                // (rows, channels)
    int64_t height, width, channels, rows;
};

INLINE float clamped(float value, float highest) {
    value = value > 0 ? value : 0;
    return value < highest ? value : highest;
}

template <class Isa>
INLINE void gather(const Gather& g) {
    typedef typename Vector<Isa::LANES>::type V;
    typedef typename Vector<Isa::LANES>::stored Stored;
    for (int64_t row = 0; row < g.rows; ++row) {
        const float x = clamped(((g.uv[2 * row] + 1) * g.width - 1) / 2, g.width - 1);
        const float y = clamped(((g.uv[2 * row + 1] + 1) * g.height - 1) / 2, g.height - 1);
        int64_t left = (int64_t)x, top = (int64_t)y;
        left = left > g.width - 2 ? (g.width > 1 ? g.width - 2 : 0) : left;
        top = top > g.height - 2 ? (g.height > 1 ? g.height - 2 : 0) : top;
        const float right = x - left, below = y - top;
        const int64_t beside = g.width > 1 ? g.channels : 0;
        const float* upper = g.map + (top * g.width + left) * g.channels;
        const float* lower = upper + (g.height > 1 ? g.width * g.channels : 0);
        const float w00 = (1 - right) * (1 - below), w10 = right * (1 - below),
                    w01 = (1 - right) * below, w11 = right * below;
        float* out = g.out + row * g.channels;
        int64_t c = 0;
        for (; c + Isa::LANES <= g.channels; c += Isa::LANES) {
            const V sum = *(const Stored*)(upper + c) * w00 +
                          *(const Stored*)(upper + beside + c) * w10 +
                          *(const Stored*)(lower + c) * w01 +
                          *(const Stored*)(lower + beside + c) * w11;
            *(Stored*)(out + c) = sum;
        }
        for (; c < g.channels; ++c)
            out[c] = upper[c] * w00 + upper[beside + c] * w10 + lower[c] * w01 +
                     lower[beside + c] * w11;
    }
}

struct Projection {         // the same fields in native_images.py
    const float* points;    // (rows, 3), LiDAR frame
    int64_t rows;
    float camera_from_lidar[12];
    double focal_u, skew, centre_u, focal_v, centre_v, width, height;
    double coefficients[8];  // k1 k2 p1 p2 k3 k4 k5 k6, or k1 .. k4 of a fisheye lens
    double limit;            // r^2, or angle of a fisheye lens, where the lens model turns back
    float min_depth;
    int32_t lens;      // 0 pinhole, 1 rational polynomial, 2 fisheye
    int64_t* seen;     // (rows,): those in the image, in order
    float* pixels;     // (rows, 2): where
    float* depths;     // (rows,): metres along the optical axis
};

INLINE bool bend(const Projection& p, double& x, double& y) {
    const double* k = p.coefficients;
    if (p.lens == 2) {
        const double r = std::hypot(x, y), theta = std::atan(r), t2 = theta * theta;
        const double bent = theta * (1 + t2 * (k[0] + t2 * (k[1] + t2 * (k[2] + t2 * k[3]))));
        const double scale = r > 1e-8 ? bent / r : 1;
        x *= scale, y *= scale;
        return theta < p.limit;
    }
    const double r2 = x * x + y * y;
    const double radial = (1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4]))) /
                          (1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7])));
    const double bent_x = x * radial + 2 * k[2] * x * y + k[3] * (r2 + 2 * x * x);
    y = y * radial + k[2] * (r2 + 2 * y * y) + 2 * k[3] * x * y;
    x = bent_x;
    return r2 < p.limit;
}

int64_t project(const Projection& p) {
    const float* m = p.camera_from_lidar;
    int64_t count = 0;
    for (int64_t row = 0; row < p.rows; ++row) {
        const float *q = p.points + 3 * row, z = m[8] * q[0] + m[9] * q[1] + m[10] * q[2] + m[11];
        if (!(z > p.min_depth)) continue;
        double x = (m[0] * q[0] + m[1] * q[1] + m[2] * q[2] + m[3]) / z;
        double y = (m[4] * q[0] + m[5] * q[1] + m[6] * q[2] + m[7]) / z;
        if (p.lens && !bend(p, x, y)) continue;
        const double u = p.focal_u * x + p.skew * y + p.centre_u, v = p.focal_v * y + p.centre_v;
        if (!(u >= -0.5 && u < p.width - 0.5 && v >= -0.5 && v < p.height - 0.5)) continue;
        p.seen[count] = row;
        p.pixels[2 * count] = (float)u;
        p.pixels[2 * count + 1] = (float)v;
        p.depths[count++] = z;
    }
    return count;
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx2,fma")))
AVX2 void depthwise_avx2(const Depthwise& d, int64_t first, int64_t last) {
    depthwise<Avx2>(d, first, last);
}
AVX512 void depthwise_avx512(const Depthwise& d, int64_t first, int64_t last) {
    depthwise<Avx512>(d, first, last);
}
AVX2 void gather_avx2(const Gather& g) { gather<Avx2>(g); }
AVX512 void gather_avx512(const Gather& g) { gather<Avx512>(g); }
#endif

}  // namespace

extern "C" {

// Rows first .. last - 1 of a depthwise convolution's output.
void cmdfusion_depthwise(const Depthwise* d, int64_t first, int64_t last, int instruction_set) {
#if defined(__x86_64__)
    if (instruction_set == 2) return depthwise_avx512(*d, first, last);
    if (instruction_set == 1) return depthwise_avx2(*d, first, last);
#endif
    depthwise<Plain>(*d, first, last);
}

// Rows of `uv` read from a map, bilinearly between pixel centres.
void cmdfusion_gather(const Gather* g, int instruction_set) {
#if defined(__x86_64__)
    if (instruction_set == 2) return gather_avx512(*g);
    if (instruction_set == 1) return gather_avx2(*g);
#endif
    gather<Plain>(*g);
}

// How many points fall into the image; which, where and how far go to seen, pixels and depths.
int64_t cmdfusion_project(const Projection* p) { return project(*p); }
}
