// Pooling on a GPU: one number for each window of an image.
//
//     max_pool2d         Y[n,c,p,q]  = max[r,s] X[n,c,h,w], and its place h * W + w      h = p * stride + r * dilation - padding, w likewise; padding is left out
//     max_pool2d_input   ∂X[n,c,h,w] = Σ[p,q: place[n,c,p,q] == h * W + w] G[n,c,p,q]
//     avg_pool2d         Y[n,c,p,q]  = Σ[r,s] X[n,c,h,w] / count[p,q]                    no dilation
//     avg_pool2d_input   ∂X[n,c,h,w] = Σ[p,q: the window meets h, w] G[n,c,p,q] / count[p,q]
//
//     X (N, C, H, W) and G (N, C, P, Q) of any strides, results and places contiguous
//
// A thread for each number of the result, neighbours for neighbours; only the gradient of the maximum has a warp for each plane. No atomic additions: every sum has its order.
// Launch lines are in minidl/kernels/cuda/pool.py.
#include "emulator/cuda.h"

namespace pool {

constexpr int THREADS = 256;

template <class T> struct Image {   // (n, c, h, w)
    const T* data;
    long long n, c, h, w;           // strides, in elements
};
struct Side {   // rows (h, r, p) or columns (w, s, q)
    int size, windows, kernel, stride, padding, dilation;

    // Numbers of window i that a mean counts.
    __device__ int count(int i, bool with_padding) const {
        const int start = i * stride - padding, end = start + kernel < size + padding ? start + kernel : size + padding;
        if (with_padding) return end - start;
        return (end < size ? end : size) - (start > 0 ? start : 0);
    }
    // Of the windows without dilation that meet number i: the first one, and the one after the last.
    __device__ int first(int i) const { return i + padding < kernel ? 0 : (i + padding - kernel) / stride + 1; }
    __device__ int end(int i) const { return (i + padding) / stride + 1 < windows ? (i + padding) / stride + 1 : windows; }
};
struct Pooling {
    int images, channels;
    Side y, x;
    int with_padding, divisor;   // of means: whether padding counts, and what stands in the count's place unless 0

    __device__ int row_count(int p) const { return divisor ? divisor : y.count(p, with_padding); }
    __device__ int column_count(int q) const { return divisor ? 1 : x.count(q, with_padding); }
};

struct Place {   // of a number in (N, C, rows, columns)
    int image, channel, row, column;
    static __device__ Place of(long long n, int channels, int rows, int columns) {
        const long long high = n / columns, plane = high / rows;
        return {static_cast<int>(plane / channels), static_cast<int>(plane % channels), static_cast<int>(high % rows), static_cast<int>(n % columns)};
    }
};
__device__ inline long long number() { return blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x; }

// The first of the largest, and NaN wins: the first NaN. A window of nothing but padding names its first place.
template <class T> __global__ void __launch_bounds__(THREADS) max(Pooling a, Image<T> X, T* Y, long long* index) {
    const long long n = number();
    if (n >= static_cast<long long>(a.images) * a.channels * a.y.windows * a.x.windows) return;
    const Place at = Place::of(n, a.channels, a.y.windows, a.x.windows);
    const T* plane = X.data + at.image * X.n + at.channel * X.c;
    const int h0 = at.row * a.y.stride - a.y.padding, w0 = at.column * a.x.stride - a.x.padding;
    T best = 0;
    long long place = h0 * static_cast<long long>(a.x.size) + w0;
    bool found = false;
    for (int r = 0; r < a.y.kernel; ++r) {
        const int h = h0 + r * a.y.dilation;
        if (h < 0 || h >= a.y.size) continue;
        for (int s = 0; s < a.x.kernel; ++s) {
            const int w = w0 + s * a.x.dilation;
            if (w < 0 || w >= a.x.size) continue;
            const T x = plane[h * X.h + w * X.w];
            if (!found || x > best || (x != x && best == best)) best = x, place = h * static_cast<long long>(a.x.size) + w, found = true;
        }
    }
    Y[n] = found ? best : log(T(0));   // -inf
    index[n] = place;
}

// Many windows may have chosen the same number, and only the places tell which. A warp goes over a plane's windows in their order, 32 at a time: lanes with the same place leave the
// addition to the first of them, which adds in the order of the lanes; between two steps lies the warp's barrier. So every number gets its sum in the order of the windows,
// as one thread would add it up. Where there are few planes, several warps go over each, and each adds what lies in its own band of the plane: the same sums. Places
// outside of the plane are left out.
template <class T> __global__ void __launch_bounds__(THREADS) max_input(long long planes, int channels, int P, int Q, int size, int band, Image<T> G, const long long* index, T* Y) {
    const int lane = threadIdx.x % 32;
    const long long plane = blockIdx.x * static_cast<long long>(THREADS / 32) + threadIdx.x / 32;
    if (plane >= planes) return;   // a whole warp
    const int low = blockIdx.y * band, high = size - low < band ? size : low + band, windows = P * Q;
    Y += plane * size, index += plane * windows;
    for (int i = low + lane; i < high; i += 32) Y[i] = 0;
    const T* from = G.data + plane / channels * G.n + plane % channels * G.c;
    long long next_chosen = lane < windows ? index[lane] : -1;   // fetched a step ahead, for steps wait for each other
    T next_g = lane < windows ? from[lane / Q * G.h + lane % Q * G.w] : T(0);
    for (int first = 0; first < windows; first += 32) {
        const long long chosen = next_chosen;
        const bool mine = chosen >= low && chosen < high;
        const int place = mine ? static_cast<int>(chosen) : -1 - lane;   // of its own, so that it is no other lane's
        const T g = next_g;
        const int i = first + 32 + lane;
        next_chosen = i < windows ? index[i] : -1;
        if (i < windows) next_g = from[i / Q * G.h + i % Q * G.w];
        unsigned others = __match_any_sync(ALL_LANES, place);
        const bool adds = mine && __ffs(others) - 1 == lane;
        others = adds ? others & (others - 1) : 0;
        __syncwarp();   // the numbers of the step before are written
        T sum = adds ? add(Y[place], g) : T(0);
        while (__any_sync(ALL_LANES, others != 0)) {
            const T next = __shfl_sync(ALL_LANES, g, others ? __ffs(others) - 1 : lane);
            if (others) sum = add(sum, next);
            others &= others - 1;
        }
        if (adds) Y[place] = sum;
    }
}

template <class T> __global__ void __launch_bounds__(THREADS) mean(Pooling a, Image<T> X, T* Y) {
    const long long n = number();
    if (n >= static_cast<long long>(a.images) * a.channels * a.y.windows * a.x.windows) return;
    const Place at = Place::of(n, a.channels, a.y.windows, a.x.windows);
    const T* plane = X.data + at.image * X.n + at.channel * X.c;
    T sum = 0;
    for (int r = 0; r < a.y.kernel; ++r) {
        const int h = at.row * a.y.stride - a.y.padding + r;
        if (h < 0 || h >= a.y.size) continue;
        for (int s = 0; s < a.x.kernel; ++s) {
            const int w = at.column * a.x.stride - a.x.padding + s;
            if (w >= 0 && w < a.x.size) sum = add(sum, plane[h * X.h + w * X.w]);
        }
    }
    Y[n] = sum / (T(a.row_count(at.row)) * T(a.column_count(at.column)));
}

// The windows that meet h, w lie side by side: each thread gathers its share of each.
template <class T> __global__ void __launch_bounds__(THREADS) mean_input(Pooling a, Image<T> G, T* Y) {
    const long long n = number();
    if (n >= static_cast<long long>(a.images) * a.channels * a.y.size * a.x.size) return;
    const Place at = Place::of(n, a.channels, a.y.size, a.x.size);
    const T* plane = G.data + at.image * G.n + at.channel * G.c;
    T sum = 0;
    const int q0 = a.x.first(at.column), q1 = a.x.end(at.column), p1 = a.y.end(at.row);
    for (int p = a.y.first(at.row); p < p1; ++p) {
        const T rows = a.row_count(p);
        for (int q = q0; q < q1; ++q) sum = add(sum, plane[p * G.h + q * G.w] / (rows * T(a.column_count(q))));
    }
    Y[n] = sum;
}

}  // namespace pool

KERNEL(pool::max<float>)
KERNEL(pool::max<double>)
KERNEL(pool::max_input<float>)
KERNEL(pool::max_input<double>)
KERNEL(pool::mean<float>)
KERNEL(pool::mean<double>)
KERNEL(pool::mean_input<float>)
KERNEL(pool::mean_input<double>)
