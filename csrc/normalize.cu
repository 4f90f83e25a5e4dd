// Layer norm, RMS norm and batch norm on a GPU, forward and backward: X (M, N), row after row; of batch norm (images, C, spots), or (M, C) where there is one spot
//
//     x̂ = (x - mean) rstd, rstd = 1 / sqrt(var + eps)       y = x̂ weight + bias
//     layer norm: mean and var of each row;  RMS norm: mean = 0, var = mean of x²;  batch norm: of each channel
//
//     gx = rstd (u - mean(u) - x̂ mean(u x̂)),  u = g weight       gweight = Σ g x̂       gbias = Σ g
//
// Sums over the row of a thread team (rows.cuh) take one launch. Sums down a column or over a channel take two: each part of it is added up by someone, then the parts, which lie side by
// side, by a warp. No atomic additions: every addition has its place, and results are the same, bit for bit, every time.
//
// Variances come from differences to a number nearby, not from Σ x² - (Σ x)² / n, in which a mean of 1e4 deviations would leave floats no digit: each thread takes its first number as
// origin, and the parts are joined by what their means differ (Chan, Golub, LeVeque 1983, eq. 2.1). Launch lines are in minidl/kernels/cuda/.
#include "rows.cuh"

namespace normalize {

using rows::Places, rows::Row, rows::Team, rows::THREADS;

// ---- mean and squared distances --------------------------------------------------------------------------------------------

// A number to measure from; an infinity would make all differences NaN.
template <class T> __device__ __forceinline__ T origin_near(T x) { return x - x == 0 ? x : T(0); }

template <class T> struct Moments { T mean, squares; };   // squares: Σ (x - mean)²

// Of the numbers that one thread has taken. An origin far off costs as many roundings as there are numbers, at worst.
template <class T> struct Shifted {
    T origin = 0, count = 0, sum = 0, squares = 0;

    __device__ __forceinline__ void take(T x) {
        if (count == 0) origin = origin_near(x);
        const T d = x - origin;
        count += 1, sum = add(sum, d), squares = multiply_add(d, d, squares);
    }
    // mean: from `zero` on
    __device__ __forceinline__ Moments<T> moments(T zero) const {
        if (count == 0) return {0, 0};
        const T mean = sum / count, left = squares - sum * mean;
        return {(origin - zero) + mean, left < 0 ? 0 : left};
    }
};

// Parts with `count` numbers each, one a thread, as a whole of n numbers: each part's squares, and its mean's distance from the whole's.
template <int TEAM, class T> __device__ __forceinline__ Moments<T> joined(T count, const Moments<T>& part, T n) {
    const T mean = Team<TEAM>::total(count * part.mean) / n, d = part.mean - mean;
    return {mean, Team<TEAM>::total(count > 0 ? multiply_add(count * d, d, part.squares) : T(0))};
}

// Of a row. If it is kept, its mean is known before the squares are taken; else both come from one pass.
template <class T, int TEAM, int PACKS> __device__ __forceinline__ Moments<T> moments(const Row<T, TEAM, PACKS>& row) {
    constexpr int L = Pack<T>::size;
    const T n = static_cast<T>(row.places.n), zero = origin_near(row.data[0]);
    Moments<T> all;
    if constexpr (PACKS > 0) {
        T sum = 0, squares = 0;
        UNROLL for (int k = 0; k < PACKS; ++k)
            UNROLL for (int e = 0; e < L; ++e)
                if (row.places.inside(k, e)) sum = add(sum, row[k].lane[e] - zero);
        all.mean = Team<TEAM>::total(sum) / n;
        UNROLL for (int k = 0; k < PACKS; ++k)
            UNROLL for (int e = 0; e < L; ++e)
                if (row.places.inside(k, e)) {
                    const T d = (row[k].lane[e] - zero) - all.mean;
                    squares = multiply_add(d, d, squares);
                }
        all.squares = Team<TEAM>::total(squares);
    } else {
        Shifted<T> mine;
        for (int k = 0; k < row.steps(); ++k) {
            const Pack<T> x = row[k];
            UNROLL for (int e = 0; e < L; ++e)
                if (row.places.inside(k, e)) mine.take(x.lane[e]);
        }
        all = joined<TEAM>(mine.count, mine.moments(zero), n);
    }
    all.mean += zero;
    return all;
}

template <class T> __device__ __forceinline__ T rstd_of(T var, T eps) { return 1 / sqrt(var + eps); }

// ---- layer norm (CENTERED) and RMS norm ------------------------------------------------------------------------------------

template <class T, bool CENTERED, int TEAM, int PACKS>
__global__ void __launch_bounds__(THREADS) forward(long long M, long long N, const T* X, const T* W, const T* B, T eps, T* Y, T* mean, T* rstd) {
    constexpr int L = Pack<T>::size;
    const long long i = Team<TEAM>::row();
    if (i >= M) return;
    X += i * N, Y += i * N;
    const auto places = Places<T, TEAM>::of(N, X, W, B, Y);
    const Row<T, TEAM, PACKS> row(places, X);
    const int steps = row.steps();
    Moments<T> all{0, 0};
    if constexpr (CENTERED) all = moments(row);
    else {
        UNROLL for (int k = 0; k < steps; ++k) {
            const Pack<T> x = row[k];
            UNROLL for (int e = 0; e < L; ++e) all.squares = multiply_add(x.lane[e], x.lane[e], all.squares);
        }
        all.squares = Team<TEAM>::total(all.squares);
    }
    const T scale = rstd_of(all.squares / static_cast<T>(N), eps);
    if (Team<TEAM>::rank() == 0) {
        if constexpr (CENTERED) mean[i] = all.mean;
        rstd[i] = scale;
    }
    UNROLL for (int k = 0; k < steps; ++k) {
        Pack<T> x = row[k];
        const Pack<T> w = places.read(W, k, 1), b = places.read(B, k);
        UNROLL for (int e = 0; e < L; ++e) x.lane[e] = multiply_add((x.lane[e] - all.mean) * scale, w.lane[e], b.lane[e]);
        places.write(Y, k, x);
    }
}

// gx of each row. Beyond its end u is 0, so that what stands for x there counts for nothing.
template <class T, bool CENTERED, int TEAM, int PACKS>
__global__ void __launch_bounds__(THREADS) backward(long long M, long long N, const T* G, const T* X, const T* mean, const T* rstd, const T* W, T* GX) {
    constexpr int L = Pack<T>::size;
    const long long i = Team<TEAM>::row();
    if (i >= M) return;
    G += i * N, X += i * N, GX += i * N;
    const auto places = Places<T, TEAM>::of(N, G, X, W, GX);
    const T center = CENTERED ? mean[i] : T(0), scale = rstd[i], n = static_cast<T>(N);
    const Row<T, TEAM, PACKS> gs(places, G), xs(places, X, center);
    const int steps = gs.steps();
    T u_sum = 0, ux_sum = 0;
    UNROLL for (int k = 0; k < steps; ++k) {
        const Pack<T> g = gs[k], x = xs[k], w = places.read(W, k, 1);
        UNROLL for (int e = 0; e < L; ++e)
            if (places.inside(k, e)) {
                const T u = g.lane[e] * w.lane[e];
                u_sum = add(u_sum, u), ux_sum = multiply_add(u, (x.lane[e] - center) * scale, ux_sum);
            }
    }
    const T u_mean = CENTERED ? Team<TEAM>::total(u_sum) / n : T(0), ux_mean = Team<TEAM>::total(ux_sum) / n;
    UNROLL for (int k = 0; k < steps; ++k) {
        const Pack<T> g = gs[k], x = xs[k], w = places.read(W, k, 1);
        Pack<T> gx;
        UNROLL for (int e = 0; e < L; ++e) gx.lane[e] = scale * (g.lane[e] * w.lane[e] - u_mean - (x.lane[e] - center) * scale * ux_mean);
        places.write(GX, k, gx);
    }
}

// ---- sums down the columns of X (M, N): layer norm's parameters, and channels that have one spot an image -------------------
//
// Neighbouring threads take neighbouring columns, each of them every S-th row, S = SLICES gridDim.y. Their S parts of column j go to parts[.., j, s].

constexpr int COLUMNS = 32, SLICES = 8;

template <class T> __global__ void __launch_bounds__(COLUMNS* SLICES) column_moments(long long M, long long N, const T* X, T* parts) {
    const long long j = static_cast<long long>(blockIdx.x) * COLUMNS + threadIdx.x, S = gridDim.y * SLICES, s = blockIdx.y * SLICES + threadIdx.y;
    if (j >= N) return;
    Shifted<T> mine;
    for (long long i = s; i < M; i += S) mine.take(X[i * N + j]);
    const Moments<T> part = mine.moments(origin_near(X[j]));
    parts[j * S + s] = mine.count, parts[(N + j) * S + s] = part.mean, parts[(2 * N + j) * S + s] = part.squares;
}

// Σ g x̂ and Σ g. ROWS: `mean` (or none) and `spread`, which is rstd, belong to rows; else to columns, and `spread` is var.
template <class T, bool ROWS>
__global__ void __launch_bounds__(COLUMNS* SLICES) column_sums(long long M, long long N, const T* G, const T* X, const T* mean, const T* spread, T eps, T* parts) {
    const long long j = static_cast<long long>(blockIdx.x) * COLUMNS + threadIdx.x, S = gridDim.y * SLICES, s = blockIdx.y * SLICES + threadIdx.y;
    if (j >= N) return;
    T center = ROWS ? T(0) : mean[j], scale = ROWS ? T(1) : rstd_of(spread[j], eps), gx_sum = 0, g_sum = 0;
    for (long long i = s; i < M; i += S) {
        if constexpr (ROWS) center = mean ? mean[i] : T(0), scale = spread[i];
        const T g = G[i * N + j];
        gx_sum = multiply_add(g, (X[i * N + j] - center) * scale, gx_sum), g_sum = add(g_sum, g);
    }
    parts[j * S + s] = gx_sum, parts[(N + j) * S + s] = g_sum;
}

// ---- sums over the channels of X (images, C, spots) ------------------------------------------------------------------------
//
// A channel's numbers are lines of `spots`, one an image. Warps take lines, or pieces of long ones, in turn; block (c, s) writes part s of channel c.

constexpr int SPAN = 2048;   // numbers of a line that a warp takes at once

// The pieces of a channel's lines that this warp takes: for (Piece p(...); p.more(); p.next()) numbers from p.first() on, p.size() of them
struct Piece {
    long long images, C, spots, cuts, unit;

    __device__ __forceinline__ Piece(long long images, long long C, long long spots)
        : images(images), C(C), spots(spots), cuts((spots + SPAN - 1) / SPAN), unit(blockIdx.y * static_cast<long long>(block::WARPS) + threadIdx.x / 32) {}
    __device__ __forceinline__ bool more() const { return unit < images * cuts; }
    __device__ __forceinline__ void next() { unit += gridDim.y * static_cast<long long>(block::WARPS); }
    __device__ __forceinline__ long long start() const { return unit % cuts * SPAN; }
    __device__ __forceinline__ long long first() const { return (unit / cuts * C + blockIdx.x) * spots + start(); }
    __device__ __forceinline__ long long size() const { return spots - start() < SPAN ? spots - start() : SPAN; }
};

template <class T> __global__ void __launch_bounds__(THREADS) channel_moments(long long images, long long C, long long spots, const T* X, T* parts) {
    const long long c = blockIdx.x, S = gridDim.y, s = blockIdx.y;
    Shifted<T> mine;
    for (Piece piece(images, C, spots); piece.more(); piece.next()) {
        const T* line = X + piece.first();
        const auto places = Places<T, 32>::of(piece.size(), line);
        for (int k = 0; k < places.steps(); ++k) {
            const Pack<T> x = places.read(line, k);
            UNROLL for (int e = 0; e < Pack<T>::size; ++e)
                if (places.inside(k, e)) mine.take(x.lane[e]);
        }
    }
    const T count = Team<THREADS>::total(mine.count);
    const Moments<T> part = joined<THREADS>(mine.count, mine.moments(origin_near(X[c * spots])), count);
    if (threadIdx.x == 0) parts[c * S + s] = count, parts[(C + c) * S + s] = part.mean, parts[(2 * C + c) * S + s] = part.squares;
}

template <class T>
__global__ void __launch_bounds__(THREADS) channel_sums(long long images, long long C, long long spots, const T* G, const T* X, const T* mean, const T* var, T eps, T* parts) {
    const long long c = blockIdx.x, S = gridDim.y, s = blockIdx.y;
    const T center = mean[c], scale = rstd_of(var[c], eps);
    T gx_sum = 0, g_sum = 0;
    for (Piece piece(images, C, spots); piece.more(); piece.next()) {
        const T *gs = G + piece.first(), *xs = X + piece.first();
        const auto places = Places<T, 32>::of(piece.size(), gs, xs);
        for (int k = 0; k < places.steps(); ++k) {
            const Pack<T> g = places.read(gs, k), x = places.read(xs, k);
            UNROLL for (int e = 0; e < Pack<T>::size; ++e)
                if (places.inside(k, e)) gx_sum = multiply_add(g.lane[e], (x.lane[e] - center) * scale, gx_sum), g_sum = add(g_sum, g.lane[e]);
        }
    }
    gx_sum = Team<THREADS>::total(gx_sum), g_sum = Team<THREADS>::total(g_sum);
    if (threadIdx.x == 0) parts[c * S + s] = gx_sum, parts[(C + c) * S + s] = g_sum;
}

// ---- the second launch: a warp for the parts of a sum, or of a channel ------------------------------------------------------

template <class T> __global__ void __launch_bounds__(THREADS) fold(long long sums, long long S, const T* parts, T* Y) {
    const long long i = Team<32>::row();
    if (i >= sums) return;
    T sum = 0;
    for (long long s = Team<32>::rank(); s < S; s += 32) sum = add(sum, parts[i * S + s]);
    sum = Team<32>::total(sum);
    if (Team<32>::rank() == 0) Y[i] = sum;
}

// X: the first image, in which channel c begins at c * spots; its first number is where the parts' means are measured from.
template <class T> __global__ void __launch_bounds__(THREADS) fold_moments(long long C, long long spots, long long S, const T* X, const T* parts, T* mean, T* var) {
    const long long c = Team<32>::row();
    const int lane = Team<32>::rank();
    if (c >= C) return;
    const T *count = parts + c * S, *means = count + C * S, *squares = means + C * S;
    T n = 0, sum = 0, all = 0;
    for (long long s = lane; s < S; s += 32) n += count[s], sum = multiply_add(count[s], means[s], sum);
    n = Team<32>::total(n);
    const T center = Team<32>::total(sum) / n;
    for (long long s = lane; s < S; s += 32) {
        const T d = means[s] - center;
        if (count[s] > 0) all = add(all, multiply_add(count[s] * d, d, squares[s]));
    }
    all = Team<32>::total(all);
    if (lane == 0) mean[c] = center + origin_near(X[c * spots]), var[c] = all / n;
}

// ---- batch norm, number by number ------------------------------------------------------------------------------------------
//
// Rows of n numbers: LINES of one channel each, or samples, of which number j belongs to channel j. Blocks along y share long rows.

// A channel's number, of this row or of each place in it.
template <class T, bool LINES, int TEAM> struct PerChannel {
    const T* data;
    T value, none;

    // none: what stands for it where there is no array
    __device__ __forceinline__ PerChannel(const T* data, long long c, T none) : data(data), value(LINES && data ? data[c] : none), none(none) {}
    __device__ __forceinline__ Pack<T> read(const Places<T, TEAM>& places, int k) const {
        if constexpr (LINES) {
            Pack<T> pack;
            UNROLL for (int e = 0; e < Pack<T>::size; ++e) pack.lane[e] = value;
            return pack;
        } else
            return places.read(data, k, none);
    }
};

template <class T, bool LINES, int TEAM>
__global__ void __launch_bounds__(THREADS) apply(long long M, long long N, long long C, const T* X, const T* mean, const T* var, const T* W, const T* B, T eps, T* Y) {
    const long long i = Team<TEAM>::row(), c = i % C;
    if (i >= M) return;
    X += i * N, Y += i * N;
    const auto places = LINES ? Places<T, TEAM>::of(N, X, Y) : Places<T, TEAM>::of(N, X, Y, mean, var, W, B);
    const PerChannel<T, LINES, TEAM> means(mean, c, 0), vars(var, c, 1), ws(W, c, 1), bs(B, c, 0);
    for (int k = blockIdx.y; k < places.steps(); k += gridDim.y) {
        Pack<T> x = places.read(X, k);
        const Pack<T> m = means.read(places, k), v = vars.read(places, k), w = ws.read(places, k), b = bs.read(places, k);
        UNROLL for (int e = 0; e < Pack<T>::size; ++e) x.lane[e] = multiply_add((x.lane[e] - m.lane[e]) * rstd_of(v.lane[e], eps), w.lane[e], b.lane[e]);
        places.write(Y, k, x);
    }
}

// sums: Σ g x̂ and Σ g of each channel, of `count` numbers, if mean and var are functions of x; else none
template <class T, bool LINES, int TEAM>
__global__ void __launch_bounds__(THREADS) apply_gradient(long long M, long long N, long long C, long long count, const T* G, const T* X, const T* mean, const T* var, const T* W, const T* sums,
                                                          T eps, T* GX) {
    const long long i = Team<TEAM>::row(), c = i % C;
    if (i >= M) return;
    G += i * N, X += i * N, GX += i * N;
    const T *gx_sums = sums, *g_sums = sums ? sums + C : sums, n = static_cast<T>(count);
    const auto places = LINES ? Places<T, TEAM>::of(N, G, X, GX) : Places<T, TEAM>::of(N, G, X, GX, mean, var, W, gx_sums, g_sums);
    const PerChannel<T, LINES, TEAM> means(mean, c, 0), vars(var, c, 1), ws(W, c, 1), gxs(gx_sums, c, 0), gs(g_sums, c, 0);
    for (int k = blockIdx.y; k < places.steps(); k += gridDim.y) {
        Pack<T> g = places.read(G, k);
        const Pack<T> x = places.read(X, k), m = means.read(places, k), v = vars.read(places, k), w = ws.read(places, k), gx = gxs.read(places, k), s = gs.read(places, k);
        UNROLL for (int e = 0; e < Pack<T>::size; ++e) {
            const T rstd = rstd_of(v.lane[e], eps), hat = (x.lane[e] - m.lane[e]) * rstd;
            g.lane[e] = (sums ? g.lane[e] - s.lane[e] / n - hat * (gx.lane[e] / n) : g.lane[e]) * (rstd * w.lane[e]);
        }
        places.write(GX, k, g);
    }
}

}  // namespace normalize

#define BOTH(name, ...) KERNEL(normalize::name<float, __VA_ARGS__>) KERNEL(normalize::name<double, __VA_ARGS__>)
#define ROWS(name, CENTERED) BOTH(name, CENTERED, 32, 2) BOTH(name, CENTERED, 32, 8) BOTH(name, CENTERED, 256, 0)
ROWS(forward, true) ROWS(forward, false) ROWS(backward, true) ROWS(backward, false)
#define CHANNELS(name) BOTH(name, true, 32) BOTH(name, true, 256) BOTH(name, false, 32) BOTH(name, false, 256)
CHANNELS(apply) CHANNELS(apply_gradient)
BOTH(column_sums, true) BOTH(column_sums, false)
KERNEL(normalize::column_moments<float>)
KERNEL(normalize::column_moments<double>)
KERNEL(normalize::channel_moments<float>)
KERNEL(normalize::channel_moments<double>)
KERNEL(normalize::channel_sums<float>)
KERNEL(normalize::channel_sums<double>)
KERNEL(normalize::fold<float>)
KERNEL(normalize::fold<double>)
KERNEL(normalize::fold_moments<float>)
KERNEL(normalize::fold_moments<double>)
#undef CHANNELS
#undef ROWS
#undef BOTH
