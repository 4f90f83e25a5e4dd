// Softmax and cross-entropy on a GPU: X (M, N), row after row, target (M,); or X (outer, n, inner), along n
//
//     top[i] = max[j] X[i,j]        sum[i] = Σ[j] exp(X[i,j] - top[i])
//     softmax: exp(X[i,j] - top[i]) / sum[i]      log-softmax: X[i,j] - top[i] - log(sum[i])      log-sum-exp: top[i] + log(sum[i])
//
//     naive         a thread for each row: max, then sum, then write                      the formula
//     warp          a warp for each row                                                   a warp's loads share sectors
//     online        max and sum in one pass: a larger max shrinks the sum so far          two passes over X instead of three
//     vectorized    the same, 16 bytes an instruction                                     a quarter of the loads
//     kept          short rows stay in registers; long ones get a block each              one pass over X
//
// A row with NaN or +inf, or of nothing but -inf, has no softmax: NaN. Launch lines are in minidl/kernels/cuda/.
#include "rows.cuh"

namespace softmax {

using block::larger;
using rows::infinity, rows::LARGEST, rows::Places, rows::Row, rows::Team, rows::THREADS;

// ---- the first rungs -------------------------------------------------------------------------------------------------------

// The formula as it stands. Neighbouring threads read N numbers apart from each other, each from a sector of its own, three times.
template <class T> __global__ void __launch_bounds__(THREADS) naive(long long M, long long N, const T* X, T* Y) {
    const long long i = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
    if (i >= M) return;
    X += i * N, Y += i * N;
    T top = -LARGEST<T>, sum = 0;
    for (long long j = 0; j < N; ++j) top = larger(top, X[j]);
    for (long long j = 0; j < N; ++j) sum = add(sum, exp(X[j] - top));
    for (long long j = 0; j < N; ++j) Y[j] = exp(X[j] - top) / sum;
}

// Neighbouring lanes read neighbouring numbers, four sectors a load, all used.
template <class T> __global__ void __launch_bounds__(THREADS, 2) warp(long long M, long long N, const T* X, T* Y) {
    const long long i = Team<32>::row();
    const int lane = Team<32>::rank();
    if (i >= M) return;
    X += i * N, Y += i * N;
    T top = -LARGEST<T>, sum = 0;
    for (long long j = lane; j < N; j += 32) top = larger(top, X[j]);
    top = block::warp_largest(top);
    for (long long j = lane; j < N; j += 32) sum = add(sum, exp(X[j] - top));
    sum = block::warp_total(sum);
    for (long long j = lane; j < N; j += 32) Y[j] = exp(X[j] - top) / sum;
}

// ---- one pass for max and sum ----------------------------------------------------------------------------------------------

// sum = Σ exp(x - top) of all numbers so far. `top` stays finite, so that no difference of infinities arises: of a row with +inf `sum` becomes infinite, of -inf alone it stays 0,
// and a NaN, which no comparison lets into `top`, ends up in it.
template <class T> struct Online {
    T top = -LARGEST<T>, sum = 0;

    template <int L> __device__ __forceinline__ void take(const T (&x)[L]) {
        T most = top;
        UNROLL for (int e = 0; e < L; ++e) most = x[e] > most ? x[e] : most;
        most = most < LARGEST<T> ? most : LARGEST<T>;
        if (most > top) sum *= exp(top - most), top = most;
        UNROLL for (int e = 0; e < L; ++e) sum = add(sum, exp(x[e] - top));
    }
    __device__ __forceinline__ void join(const Online& other) {
        const T most = larger(top, other.top);
        sum = add(sum * exp(top - most), other.sum * exp(other.top - most)), top = most;
    }
    template <int TEAM> __device__ __forceinline__ void unite() {
        const T mine = top;
        top = Team<TEAM>::largest(top);
        sum = Team<TEAM>::total(sum * exp(mine - top));
    }
    __device__ __forceinline__ T log_sum_exp() const { return top + log(sum); }

    // What the second pass needs of `sum`. Infinite, it becomes NaN: all numbers of the row shall.
    template <bool LOG> __device__ __forceinline__ T rest() const {
        const T all = sum + (sum - sum);
        return LOG ? log(all) : 1 / all;
    }
    template <bool LOG> __device__ __forceinline__ T result(T x, T rest) const { return LOG ? x - top - rest : exp(x - top) * rest; }
};

// Whenever a larger number comes, what was added up so far is off by a factor, exp(old top - new top): the sum need not wait for the max.
template <class T> __global__ void __launch_bounds__(THREADS) online(long long M, long long N, const T* X, T* Y) {
    const long long i = Team<32>::row();
    const int lane = Team<32>::rank();
    if (i >= M) return;
    X += i * N, Y += i * N;
    Online<T> row;
    for (long long j = lane; j < N; j += 32) {
        const T x[1] = {X[j]};
        row.take(x);
    }
    row.template unite<32>();
    const T rest = row.template rest<false>();
    for (long long j = lane; j < N; j += 32) Y[j] = row.template result<false>(X[j], rest);
}

// 16 bytes an instruction; and a larger max is looked for once a pack. With PACKS a thread keeps its numbers: memory is read once, and as the max is known before the first exp, each
// is computed once as well.
template <class T, bool LOG, int TEAM, int PACKS> __global__ void __launch_bounds__(THREADS, 2) vectorized(long long M, long long N, const T* X, T* Y) {
    constexpr int L = Pack<T>::size;
    const long long i = Team<TEAM>::row();
    if (i >= M) return;
    X += i * N, Y += i * N;
    const auto places = Places<T, TEAM>::of(N, X, Y);
    Row<T, TEAM, PACKS> row(places, X, -infinity<T>());
    Online<T> all;
    if constexpr (PACKS > 0 && !LOG) {
        UNROLL for (int k = 0; k < PACKS; ++k)
            UNROLL for (int e = 0; e < L; ++e) all.top = row[k].lane[e] > all.top ? row[k].lane[e] : all.top;
        all.top = Team<TEAM>::largest(all.top < LARGEST<T> ? all.top : LARGEST<T>);
        UNROLL for (int k = 0; k < PACKS; ++k)
            UNROLL for (int e = 0; e < L; ++e) {
                T& x = row.kept[k].lane[e];
                x = exp(x - all.top), all.sum = add(all.sum, x);
            }
        all.sum = Team<TEAM>::total(all.sum);
        const T rest = all.template rest<LOG>();
        UNROLL for (int k = 0; k < PACKS; ++k) {
            UNROLL for (int e = 0; e < L; ++e) row.kept[k].lane[e] *= rest;
            places.write(Y, k, row[k]);
        }
    } else {
        const int steps = row.steps();
        UNROLL for (int k = 0; k < steps; ++k) all.take(row[k].lane);
        all.template unite<TEAM>();
        const T rest = all.template rest<LOG>();
        UNROLL for (int k = 0; k < steps; ++k) {
            Pack<T> x = row[k];
            UNROLL for (int e = 0; e < L; ++e) x.lane[e] = all.template result<LOG>(x.lane[e], rest);
            places.write(Y, k, x);
        }
    }
}

// ∂L/∂X = Y (G - Σ[j] G[i,j] Y[i,j]), of log-softmax G - exp(Y) Σ[j] G[i,j]
template <class T, bool LOG> __device__ __forceinline__ T gradient_of(T g, T y, T sum) { return LOG ? g - exp(y) * sum : y * (g - sum); }

template <class T, bool LOG, int TEAM, int PACKS>
__global__ void __launch_bounds__(THREADS) gradient(long long M, long long N, const T* G, const T* Y, T* GX) {
    constexpr int L = Pack<T>::size;
    const long long i = Team<TEAM>::row();
    if (i >= M) return;
    G += i * N, Y += i * N, GX += i * N;
    const auto places = Places<T, TEAM>::of(N, G, Y, GX);
    const Row<T, TEAM, PACKS> gs(places, G), ys(places, Y);
    const int steps = gs.steps();
    T sum = 0;
    UNROLL for (int k = 0; k < steps; ++k) {
        const Pack<T> g = gs[k];
        if constexpr (LOG) {
            UNROLL for (int e = 0; e < L; ++e) sum = add(sum, g.lane[e]);
        } else {
            const Pack<T> y = ys[k];
            UNROLL for (int e = 0; e < L; ++e) sum = multiply_add(g.lane[e], y.lane[e], sum);
        }
    }
    sum = Team<TEAM>::total(sum);
    UNROLL for (int k = 0; k < steps; ++k) {
        Pack<T> g = gs[k];
        const Pack<T> y = ys[k];
        UNROLL for (int e = 0; e < L; ++e) g.lane[e] = gradient_of<T, LOG>(g.lane[e], y.lane[e], sum);
        places.write(GX, k, g);
    }
}

// ---- along another axis: X (outer, n, inner) -------------------------------------------------------------------------------
//
// Neighbouring threads take neighbouring columns, SLICES threads share one: thread (x, y) takes its numbers y, y + SLICES, ... Nothing is moved to where rows would be contiguous.

constexpr int COLUMNS = 32, SLICES = 8;

// The first number of this thread's column, or -1.
__device__ __forceinline__ long long column(long long n, long long inner) {
    const long long chunks = (inner + COLUMNS - 1) / COLUMNS, at = blockIdx.x % chunks * COLUMNS + threadIdx.x;
    return at < inner ? blockIdx.x / chunks * n * inner + at : -1;
}

template <class T, bool LOG> __global__ void __launch_bounds__(COLUMNS* SLICES) columns(long long n, long long inner, const T* X, T* Y) {
    __shared__ T top[SLICES][COLUMNS], sum[SLICES][COLUMNS];
    const int x = threadIdx.x, y = threadIdx.y;
    const long long first = column(n, inner);
    Online<T> all;
    if (first >= 0)
        for (long long c = y; c < n; c += SLICES) {
            const T next[1] = {X[first + c * inner]};
            all.take(next);
        }
    top[y][x] = all.top, sum[y][x] = all.sum;
    __syncthreads();
    if (first < 0) return;
    all.top = top[0][x], all.sum = sum[0][x];
    for (int s = 1; s < SLICES; ++s) {
        Online<T> other;
        other.top = top[s][x], other.sum = sum[s][x];
        all.join(other);
    }
    const T rest = all.template rest<LOG>();
    for (long long c = y; c < n; c += SLICES) Y[first + c * inner] = all.template result<LOG>(X[first + c * inner], rest);
}

template <class T, bool LOG> __global__ void __launch_bounds__(COLUMNS* SLICES) columns_gradient(long long n, long long inner, const T* G, const T* Y, T* GX) {
    __shared__ T part[SLICES][COLUMNS];
    const int x = threadIdx.x, y = threadIdx.y;
    const long long first = column(n, inner);
    T sum = 0;
    if (first >= 0)
        for (long long c = y; c < n; c += SLICES) {
            const T g = G[first + c * inner];
            sum = LOG ? add(sum, g) : multiply_add(g, Y[first + c * inner], sum);
        }
    part[y][x] = sum;
    __syncthreads();
    if (first < 0) return;
    sum = part[0][x];
    for (int s = 1; s < SLICES; ++s) sum = add(sum, part[s][x]);
    for (long long c = y; c < n; c += SLICES) {
        const long long at = first + c * inner;
        GX[at] = gradient_of<T, LOG>(G[at], Y[at], sum);
    }
}

// ---- cross-entropy ---------------------------------------------------------------------------------------------------------

// loss = (1 - ε) w[t] (lse - x[t]) + ε / N Σ[j] w[j] (lse - x[j]); 0 where t is `ignored`, NaN where there is no such class. kept = 1 - ε, spread = ε / N; no W: all 1.
template <class T, int TEAM>
__global__ void __launch_bounds__(THREADS) cross_entropy(long long M, long long N, const T* X, const long long* target, const T* W, long long ignored, T kept, T spread, T* loss, T* lse) {
    const long long i = Team<TEAM>::row();
    if (i >= M) return;
    X += i * N;
    const auto places = Places<T, TEAM>::of(N, X, W);
    const Row<T, TEAM, 0> row(places, X, -infinity<T>());
    Online<T> all;
    for (int k = 0; k < row.steps(); ++k) all.take(row[k].lane);
    all.template unite<TEAM>();
    const T log_sum = all.log_sum_exp();
    T surprise = 0;   // of all classes
    if (spread != 0) {
        for (int k = 0; k < row.steps(); ++k) {
            const Pack<T> x = row[k], w = places.read(W, k, 1);
            UNROLL for (int e = 0; e < Pack<T>::size; ++e)
                if (places.inside(k, e)) surprise = multiply_add(w.lane[e], log_sum - x.lane[e], surprise);
        }
        surprise = Team<TEAM>::total(surprise);
    }
    if (Team<TEAM>::rank() > 0) return;
    const long long t = target[i];
    T result = 0;
    if (t != ignored) {
        if (t >= 0 && t < N) result = kept * (W ? W[t] : 1) * (log_sum - X[t]) + (spread != 0 ? spread * surprise : 0);
        else result = infinity<T>() - infinity<T>();
    }
    loss[i] = result;
    lse[i] = log_sum;
}

// ∂L/∂x[j] = g (p[j] Σ[c] pull[c] - pull[j]) with p = exp(x - lse), pull[c] = (1 - ε) w[t] [c = t] + ε / N w[c], and 0 where t is `ignored`
template <class T, int TEAM>
__global__ void __launch_bounds__(THREADS) cross_entropy_gradient(long long M, long long N, const T* G, const T* X, const long long* target, const T* lse, const T* W, long long ignored, T kept,
                                                                  T spread, T* GX) {
    constexpr int L = Pack<T>::size;
    const long long i = Team<TEAM>::row();
    if (i >= M) return;
    X += i * N, GX += i * N;
    const auto places = Places<T, TEAM>::of(N, X, W, GX);
    T all = static_cast<T>(N);   // Σ w
    if (W && spread != 0) {
        all = 0;
        for (int k = 0; k < places.steps(); ++k) {
            const Pack<T> w = places.read(W, k);
            UNROLL for (int e = 0; e < L; ++e) all = add(all, w.lane[e]);
        }
        all = Team<TEAM>::total(all);
    }
    const long long t = target[i];
    const T g = t == ignored || (t >= 0 && t < N) ? G[i] : infinity<T>() - infinity<T>(), log_sum = lse[i];
    const T pull = t >= 0 && t < N && t != ignored ? kept * (W ? W[t] : 1) : 0, evenly = t != ignored ? spread : 0, total = pull + (evenly != 0 ? evenly * all : 0);
    for (int k = 0; k < places.steps(); ++k) {
        Pack<T> x = places.read(X, k);
        const Pack<T> w = places.read(W, k, 1);
        UNROLL for (int e = 0; e < L; ++e) {
            const T wanted = (places.at(k, e) == t ? pull : 0) + (evenly != 0 ? evenly * w.lane[e] : 0);
            x.lane[e] = g * (exp(x.lane[e] - log_sum) * total - wanted);
        }
        places.write(GX, k, x);
    }
}

}  // namespace softmax

KERNEL(softmax::naive<float>)
KERNEL(softmax::naive<double>)
KERNEL(softmax::warp<float>)
KERNEL(softmax::warp<double>)
KERNEL(softmax::online<float>)
KERNEL(softmax::online<double>)
KERNEL(softmax::vectorized<float, false, 32, 0>)
KERNEL(softmax::vectorized<double, false, 32, 0>)
#define BOTH(name, ...) KERNEL(softmax::name<float, __VA_ARGS__>) KERNEL(softmax::name<double, __VA_ARGS__>)
#define ROWS(name, LOG) BOTH(name, LOG, 32, 2) BOTH(name, LOG, 32, 8) BOTH(name, LOG, 256, 0)
ROWS(vectorized, false) ROWS(vectorized, true) ROWS(gradient, false) ROWS(gradient, true)
BOTH(columns, false) BOTH(columns, true) BOTH(columns_gradient, false) BOTH(columns_gradient, true)
BOTH(cross_entropy, 32) BOTH(cross_entropy, 256) BOTH(cross_entropy_gradient, 32) BOTH(cross_entropy_gradient, 256)
#undef ROWS
#undef BOTH
