// The rungs of sum and softmax, row by row: X (M, N), contiguous
//
//     sum        Y[i] = Σ[j] X[i,j]
//     softmax    top = max[j] X[i,j];  Y[i,j] = exp(X[i,j] - top);  Y[i,j] = Y[i,j] / Σ[j] Y[i,j]
//
//     scalar, unrolled, vectorized: for i: for j, one number, several numbers, several vectors of numbers at a time
//
// Each is one thread's work. `parallel`, the last rung, is reduce.cpp and softmax.cpp.
#include "row_rungs.h"

#include "lanes.h"
#include "rungs.h"

namespace minidl::ISA {
namespace {

constexpr int PARTS = 4;   // partial results side by side
constexpr double INF = __builtin_inf();

struct Larger { template <class V> ALWAYS_INLINE V operator()(V a, V b) const { return larger_of(b, a); } };   // NaN wins

template <class V, class F> ALWAYS_INLINE V joined(const V (&part)[PARTS], F f) { return f(f(part[0], part[1]), f(part[2], part[3])); }

// ---- sum --------------------------------------------------------------------------------------------------------------

// The formula as it stands: each addition waits for the one before it, three or four cycles long.
template <class T> void scalar_sum(int64_t M, int64_t N, const T* x, T* y) {
    for (int64_t i = 0; i < M; ++i, x += N) {
        T sum = 0;
        for (int64_t j = 0; j < N; ++j) sum = scalar(sum + x[j]);
        y[i] = sum;
    }
}

// Several sums that do not wait for each other, added up at the end: while one addition is under way the next begin. No compiler may do this by
// itself, for it changes the order of the additions and with it their rounding.
template <class T> void unrolled_sum(int64_t M, int64_t N, const T* x, T* y) {
    for (int64_t i = 0; i < M; ++i, x += N) {
        T part[PARTS] = {};
        int64_t j = 0;
        for (; j + PARTS <= N; j += PARTS) UNROLL for (int p = 0; p < PARTS; ++p) part[p] = scalar(part[p] + x[j + p]);
        for (; j < N; ++j) part[0] = scalar(part[0] + x[j]);
        y[i] = joined(part, Plus{});
    }
}

// The same with a vector in place of each number: one instruction adds 4, 8 or 16 of them. What fills no vector is added one by one.
template <class T> void vectorized_sum(int64_t M, int64_t N, const T* x, T* y) {
    constexpr int L = vec<T>::size;
    for (int64_t i = 0; i < M; ++i, x += N) {
        vector<T> part[PARTS] = {};
        int64_t j = 0;
        for (; j + PARTS * L <= N; j += PARTS * L) UNROLL for (int p = 0; p < PARTS; ++p) part[p] += load(x + j + p * L);
        for (; j + L <= N; j += L) part[0] += load(x + j);
        T sum = across<T>(joined(part, Plus{}), Plus{});
        for (; j < N; ++j) sum = scalar(sum + x[j]);
        y[i] = sum;
    }
}

// ---- softmax ----------------------------------------------------------------------------------------------------------

// Three passes over a row, a number at a time. exp is a polynomial without branches (maths.h), so that the next rungs can take several at once.
template <class T> void scalar_softmax(int64_t M, int64_t N, const T* x, T* y) {
    for (int64_t i = 0; i < M; ++i, x += N, y += N) {
        T top = static_cast<T>(-INF), sum = 0;
        for (int64_t j = 0; j < N; ++j) top = scalar(larger_of(x[j], top));
        for (int64_t j = 0; j < N; ++j) sum = scalar(sum + (y[j] = quick_exp(scalar(x[j] - top))));
        for (int64_t j = 0; j < N; ++j) y[j] = scalar(y[j] / sum);
    }
}

// Several largest and several sums that do not wait for each other; and one division a row, of which the processor begins one in many cycles,
// then a multiplication for each number.
template <class T> void unrolled_softmax(int64_t M, int64_t N, const T* x, T* y) {
    for (int64_t i = 0; i < M; ++i, x += N, y += N) {
        T tops[PARTS], sums[PARTS] = {};
        for (T& top : tops) top = static_cast<T>(-INF);
        int64_t j = 0;
        for (; j + PARTS <= N; j += PARTS) UNROLL for (int p = 0; p < PARTS; ++p) tops[p] = scalar(larger_of(x[j + p], tops[p]));
        for (; j < N; ++j) tops[0] = scalar(larger_of(x[j], tops[0]));
        const T top = joined(tops, Larger{});
        for (j = 0; j + PARTS <= N; j += PARTS)
            UNROLL for (int p = 0; p < PARTS; ++p) sums[p] = scalar(sums[p] + (y[j + p] = quick_exp(scalar(x[j + p] - top))));
        for (; j < N; ++j) sums[0] = scalar(sums[0] + (y[j] = quick_exp(scalar(x[j] - top))));
        const T scale = 1 / joined(sums, Plus{});
        for (j = 0; j < N; ++j) y[j] = scalar(y[j] * scale);
    }
}

// The same with a vector in place of each number: one polynomial gives 4, 8 or 16 exponentials. What fills no vector goes one by one.
template <class T> void vectorized_softmax(int64_t M, int64_t N, const T* x, T* y) {
    constexpr int L = vec<T>::size;
    const int64_t whole = N / L * L;
    for (int64_t i = 0; i < M; ++i, x += N, y += N) {
        vector<T> tops = splat<T>(static_cast<T>(-INF)), sums{};
        for (int64_t j = 0; j < whole; j += L) tops = larger_of(load(x + j), tops);
        T top = across<T>(tops, Larger{});
        for (int64_t j = whole; j < N; ++j) top = larger_of(x[j], top);
        for (int64_t j = 0; j < whole; j += L) {
            const vector<T> e = quick_exp(load(x + j) - top);
            store(y + j, e);
            sums += e;
        }
        T sum = across<T>(sums, Plus{});
        for (int64_t j = whole; j < N; ++j) sum = scalar(sum + (y[j] = quick_exp(scalar(x[j] - top))));
        const T scale = 1 / sum;
        for (int64_t j = 0; j < whole; j += L) store(y + j, load(y + j) * scale);
        for (int64_t j = whole; j < N; ++j) y[j] *= scale;
    }
}

template <class T, void (*rung)(int64_t, int64_t, const T*, T*)> void untyped(int64_t M, int64_t N, const void* x, void* y) {
    rung(M, N, static_cast<const T*>(x), static_cast<T*>(y));
}

}  // namespace

constexpr RowRungs sum_rungs = {
    .scalar = {untyped<float, scalar_sum>, untyped<double, scalar_sum>},
    .unrolled = {untyped<float, unrolled_sum>, untyped<double, unrolled_sum>},
    .vectorized = {untyped<float, vectorized_sum>, untyped<double, vectorized_sum>},
};
constexpr RowRungs softmax_rungs = {
    .scalar = {untyped<float, scalar_softmax>, untyped<double, scalar_softmax>},
    .unrolled = {untyped<float, unrolled_softmax>, untyped<double, unrolled_softmax>},
    .vectorized = {untyped<float, vectorized_softmax>, untyped<double, vectorized_softmax>},
};

}  // namespace minidl::ISA
