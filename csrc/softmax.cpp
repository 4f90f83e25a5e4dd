// Softmax and cross-entropy, row by row (or column by column): x (rows, n), y (rows, n), target (rows,)
//
//     for each row:
//         top = max x;  sum = Σ exp(x - top)
//         softmax: exp(x - top) / sum    log-softmax: x - top - log(sum)    log-sum-exp: top + log(sum)
//
// The tail of a row is a vector whose other lanes are masked, so that rows of 10 cost little more than one vector's work.
#include "softmax.h"

#include "lanes.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 8192;   // elements

template <class Body> ALWAYS_INLINE void for_rows(int64_t rows, int64_t n, const Body& body) {
    parallel_for(rows, even(rows, larger(1, GRAIN / larger(n, 1))), body);
}

// f(v, i) for the vectors of a row, the last one filled up with `fill`. `end`: where reading must stop.
template <class T, class F> ALWAYS_INLINE void read_row(const T* x, int64_t n, const T* end, T fill, const F& f) {
    constexpr int W = vec<T>::size;
    int64_t i = 0;
    for (; i + W <= n; i += W) f(load(x + i), i);
    if (i < n) f(load_part(x + i, n - i, end, fill), i);
}
template <class T> ALWAYS_INLINE void write_row(T* y, int64_t n, const T* end, int64_t i, vector<T> v) {
    if (i + vec<T>::size <= n) store(y + i, v);
    else store_part(y + i, n - i, end, v);
}

constexpr double INF = __builtin_inf();

template <class T> ALWAYS_INLINE T top_of_row(const T* x, int64_t n, const T* end) {
    // A NaN is passed over: it comes back in the sum.
    vector<T> top = splat<T>(static_cast<T>(-INF));
    read_row<T>(x, n, end, static_cast<T>(-INF), [&](vector<T> v, int64_t) { top = v > top ? v : top; });
    return across<T>(top, [](auto a, auto b) { return a > b ? a : b; });
}
template <class T> ALWAYS_INLINE T sum_of_exps(const T* x, int64_t n, const T* end, T top) {
    vector<T> sum{};
    read_row<T>(x, n, end, static_cast<T>(-INF), [&](vector<T> v, int64_t) { sum += quick_exp(v - top); });
    return across<T>(sum, Plus{});
}

template <class T> void softmax(int64_t rows, int64_t n, void* y_, const void* x_) {
    T* y = static_cast<T*>(y_);
    const T *x = static_cast<const T*>(x_), *x_end = x + rows * n;
    for_rows(rows, n, [=](int64_t begin, int64_t stop) {
        const T* y_end = y + stop * n;   // other threads write behind
        for (int64_t row = begin; row < stop; ++row) {
            const T* from = x + row * n;
            T* to = y + row * n;
            const T top = top_of_row(from, n, x_end);
            vector<T> sums{};
            read_row<T>(from, n, x_end, static_cast<T>(-INF), [&](vector<T> v, int64_t i) {
                const vector<T> e = quick_exp(v - top);
                sums += e;
                if (n > vec<T>::size) write_row(to, n, y_end, i, e);
                else store_part(to, n, y_end, e * (1 / across<T>(e, Plus{})));   // a row of one vector never leaves the registers
            });
            if (n <= vec<T>::size) continue;
            const T scale = 1 / across<T>(sums, Plus{});
            for (int64_t i = 0; i < n; ++i) to[i] *= scale;
        }
    });
}

template <class T> void log_softmax(int64_t rows, int64_t n, void* y_, const void* x_) {
    T* y = static_cast<T*>(y_);
    const T *x = static_cast<const T*>(x_), *x_end = x + rows * n;
    for_rows(rows, n, [=](int64_t begin, int64_t stop) {
        const T* y_end = y + stop * n;
        for (int64_t row = begin; row < stop; ++row) {
            const T* from = x + row * n;
            const T top = top_of_row(from, n, x_end), shift = log(sum_of_exps(from, n, x_end, top));
            read_row<T>(from, n, x_end, T(0), [&](vector<T> v, int64_t i) { write_row<T>(y + row * n, n, y_end, i, (v - top) - shift); });
        }
    });
}

// y (g - Σ g y)
template <class T> void softmax_gradient(int64_t rows, int64_t n, void* out_, const void* g_, const void* y_) {
    T* out = static_cast<T*>(out_);
    const T *g = static_cast<const T*>(g_), *y = static_cast<const T*>(y_), *g_end = g + rows * n, *y_end = y + rows * n;
    for_rows(rows, n, [=](int64_t begin, int64_t stop) {
        const T* out_end = out + stop * n;
        for (int64_t row = begin; row < stop; ++row) {
            const T *gs = g + row * n, *ys = y + row * n;
            vector<T> sums{};
            const auto each = [&](const auto& f) {
                read_row<T>(gs, n, g_end, T(0), [&](vector<T> v, int64_t i) {
                    f(v, i + vec<T>::size <= n ? load(ys + i) : load_part(ys + i, n - i, y_end, T(0)), i);
                });
            };
            each([&](vector<T> a, vector<T> b, int64_t) { sums += a * b; });
            const T sum = across<T>(sums, Plus{});
            each([&](vector<T> a, vector<T> b, int64_t i) { write_row<T>(out + row * n, n, out_end, i, b * (a - sum)); });
        }
    });
}

// g - exp(y) Σ g
template <class T> void log_softmax_gradient(int64_t rows, int64_t n, void* out_, const void* g_, const void* y_) {
    T* out = static_cast<T*>(out_);
    const T *g = static_cast<const T*>(g_), *y = static_cast<const T*>(y_), *g_end = g + rows * n, *y_end = y + rows * n;
    for_rows(rows, n, [=](int64_t begin, int64_t stop) {
        const T* out_end = out + stop * n;
        for (int64_t row = begin; row < stop; ++row) {
            const T *gs = g + row * n, *ys = y + row * n;
            vector<T> sums{};
            read_row<T>(gs, n, g_end, T(0), [&](vector<T> v, int64_t) { sums += v; });
            const T sum = across<T>(sums, Plus{});
            read_row<T>(gs, n, g_end, T(0), [&](vector<T> v, int64_t i) {
                const vector<T> logs = i + vec<T>::size <= n ? load(ys + i) : load_part(ys + i, n - i, y_end, T(0));
                write_row<T>(out + row * n, n, out_end, i, v - quick_exp(logs) * sum);
            });
        }
    });
}

// ---- along another axis: results lie side by side, COLUMNS of them at a time ---------------------------------------------

constexpr int64_t COLUMNS = 64;

// body(at, width): the columns from element `at` on
template <class Body> ALWAYS_INLINE void for_columns(int64_t outer, int64_t n, int64_t inner, const Body& body) {
    const int64_t blocks = pieces(inner, COLUMNS);
    parallel_for(outer * blocks, larger(1, GRAIN / (n * smaller(inner, COLUMNS))), [=, &body](int64_t begin, int64_t stop) {
        for (int64_t task = begin; task < stop; ++task) {
            const int64_t from = task % blocks * COLUMNS;
            body(task / blocks * n * inner + from, smaller(COLUMNS, inner - from));
        }
    });
}
// f(column, place) for every element
template <class F> ALWAYS_INLINE void each(int64_t n, int64_t inner, int64_t at, int64_t width, const F& f) {
    for (int64_t c = 0; c < n; ++c)
        for (int64_t k = 0; k < width; ++k) f(k, at + c * inner + k);
}

template <class T, bool LOG> void columns(int64_t outer, int64_t n, int64_t inner, void* y_, const void* x_) {
    T* __restrict y = static_cast<T*>(y_);
    const T* __restrict x = static_cast<const T*>(x_);
    for_columns(outer, n, inner, [=](int64_t at, int64_t width) {
        T top[COLUMNS], sum[COLUMNS] = {};
        for (T& t : top) t = static_cast<T>(-INF);
        each(n, inner, at, width, [&](int64_t k, int64_t i) { top[k] = x[i] > top[k] ? x[i] : top[k]; });
        each(n, inner, at, width, [&](int64_t k, int64_t i) {
            const T e = quick_exp(x[i] - top[k]);
            sum[k] += e;
            y[i] = e;
        });
        for (T& s : sum) s = LOG ? log(s) : 1 / s;
        each(n, inner, at, width, [&](int64_t k, int64_t i) { y[i] = LOG ? x[i] - top[k] - sum[k] : y[i] * sum[k]; });
    });
}
template <class T, bool LOG> void columns_gradient(int64_t outer, int64_t n, int64_t inner, void* out_, const void* g_, const void* y_) {
    T* __restrict out = static_cast<T*>(out_);
    const T *__restrict g = static_cast<const T*>(g_), *__restrict y = static_cast<const T*>(y_);
    for_columns(outer, n, inner, [=](int64_t at, int64_t width) {
        T sum[COLUMNS] = {};
        each(n, inner, at, width, [&](int64_t k, int64_t i) { sum[k] += LOG ? g[i] : g[i] * y[i]; });
        each(n, inner, at, width, [&](int64_t k, int64_t i) { out[i] = LOG ? g[i] - exp(y[i]) * sum[k] : y[i] * (g[i] - sum[k]); });
    });
}

// loss = (1 - ε) w[t] (lse - x[t]) + ε / C Σ[c] w[c] (lse - x[c]); 0 where t is ignore_index
template <class T> void cross_entropy(const CrossEntropyArguments& a) {
    const int64_t n = a.classes;
    const T *x = static_cast<const T*>(a.x), *end = x + a.rows * n, *w = static_cast<const T*>(a.weight);
    for_rows(a.rows, n, [=, &a](int64_t begin, int64_t stop) {
        const T kept = static_cast<T>(1 - a.smoothing), spread = static_cast<T>(a.smoothing / static_cast<double>(n));
        T* __restrict lses = static_cast<T*>(a.lse);
        T* __restrict losses = static_cast<T*>(a.losses);   // until they are known, each row's shift
        for (int64_t row = begin; row < stop; ++row) {
            const T top = top_of_row(x + row * n, n, end), shift = top - top == 0 ? top : 0;   // nothing to shift by infinity
            losses[row] = shift;
            lses[row] = sum_of_exps(x + row * n, n, end, shift);
        }
        for (int64_t row = begin; row < stop; ++row) lses[row] = log(lses[row]) + losses[row];   // many logarithms at a time
        for (int64_t row = begin; row < stop; ++row) {
            const T *logits = x + row * n, lse = lses[row];
            const int64_t t = a.target[row * a.target_step];
            T loss = 0;
            if (t != a.ignore_index) {
                loss = kept * (w ? w[t] : 1) * (lse - logits[t]);
                if (spread != 0) {
                    T all = 0;
                    if (w) for (int64_t c = 0; c < n; ++c) all += w[c] * (lse - logits[c]);
                    else for (int64_t c = 0; c < n; ++c) all += lse - logits[c];
                    loss += spread * all;
                }
            }
            losses[row] = loss;
        }
    });
}

// g (p Σ[c] pull[c] - pull[c]) with p = exp(x - lse), pull[c] = (1 - ε) w[t] [c = t] + ε / C w[c]
template <class T> void cross_entropy_gradient(const CrossEntropyArguments& a) {
    const int64_t n = a.classes;
    const T *x = static_cast<const T*>(a.x), *end = x + a.rows * n, *w = static_cast<const T*>(a.weight);
    T* y = static_cast<T*>(a.gradient);
    const T kept = static_cast<T>(1 - a.smoothing), spread = static_cast<T>(a.smoothing / static_cast<double>(n));
    T all = static_cast<T>(n);
    if (w) {
        all = 0;
        for (int64_t c = 0; c < n; ++c) all += w[c];
    }
    for_rows(a.rows, n, [=, &a](int64_t begin, int64_t stop) {
        const T* y_end = y + stop * n;
        for (int64_t row = begin; row < stop; ++row) {
            const int64_t t = a.target[row * a.target_step];
            T* out = y + row * n;
            if (t == a.ignore_index) {
                for (int64_t c = 0; c < n; ++c) out[c] = 0;
                continue;
            }
            const T g = static_cast<const T*>(a.g)[row * a.g_step], lse = static_cast<const T*>(a.lse)[row * a.lse_step];
            const T pull = kept * (w ? w[t] : 1), total = g * (pull + spread * all);
            read_row<T>(x + row * n, n, end, T(0), [&](vector<T> v, int64_t i) { write_row<T>(out, n, y_end, i, quick_exp(v - lse) * total); });
            if (spread != 0) for (int64_t c = 0; c < n; ++c) out[c] -= g * (w ? w[c] : 1) * spread;
            out[t] -= g * pull;
        }
    });
}

}  // namespace

constexpr SoftmaxTable softmax_table = {
    .softmax = {softmax<float>, softmax<double>},
    .log_softmax = {log_softmax<float>, log_softmax<double>},
    .softmax_gradient = {softmax_gradient<float>, softmax_gradient<double>},
    .log_softmax_gradient = {log_softmax_gradient<float>, log_softmax_gradient<double>},
    .softmax_columns = {columns<float, false>, columns<double, false>},
    .log_softmax_columns = {columns<float, true>, columns<double, true>},
    .softmax_gradient_columns = {columns_gradient<float, false>, columns_gradient<double, false>},
    .log_softmax_gradient_columns = {columns_gradient<float, true>, columns_gradient<double, true>},
    .cross_entropy = {cross_entropy<float>, cross_entropy<double>},
    .cross_entropy_gradient = {cross_entropy_gradient<float>, cross_entropy_gradient<double>},
};

}  // namespace minidl::ISA
