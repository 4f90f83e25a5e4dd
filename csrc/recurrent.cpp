// The arithmetic of one step of recurrent units, x = W_ih input + b_ih and a = W_hh h + b_hh being there already
//
//     LSTM: i, f, o = σ(x + a), g = tanh(x + a);  c' = f c + i g;  h' = o tanh(c')
//     GRU:  r, z = σ(x + a), n = tanh(x + r a);   h' = (1 - z) n + z h
//
//     for each row n:
//         for each unit j:
//             the formula: x, a and the gates are (N, 4 or 3, H), states (N, H); an LSTM's result is (2, N, H), h' before c'
//
// A gradient reads the gates that the step kept. The loops are plain: the compiler makes vectors of them.
#include "recurrent.h"

#include "maths.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 2048;   // units, each of them some hundred operations

// body(n): row n
template <class Body> ALWAYS_INLINE void for_each_row(const StepArguments& p, const Body& body) {
    parallel_for(p.rows, larger(GRAIN / larger(p.units, 1), 1), [&body](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) body(n);
    });
}
template <class T> ALWAYS_INLINE const T* at(const void* p, int64_t offset) { return static_cast<const T*>(p) + offset; }
template <class T> ALWAYS_INLINE T* at(void* p, int64_t offset) { return static_cast<T*>(p) + offset; }

// gate[j] = f(x[j] + a[j])
template <class T, class F> ALWAYS_INLINE void open(int64_t H, T* __restrict gate, const T* __restrict x, const T* __restrict a, const F& f) {
    for (int64_t j = 0; j < H; ++j) gate[j] = f(x[j] + a[j]);
}

template <class T> void lstm(const StepArguments& p) {
    const int64_t H = p.units, cells = p.rows * H;
    for_each_row(p, [&p, H, cells](int64_t n) {
        const T *x = at<T>(p.x, 4 * n * H), *a = at<T>(p.a, 4 * n * H), *__restrict c = at<T>(p.state, n * H);
        T *gates = at<T>(p.second, 4 * n * H), *__restrict h = at<T>(p.result, n * H), *__restrict next = h + cells;
        const auto logistic = [](T s) { return sigmoid(s); };
        open(2 * H, gates, x, a, logistic);
        open(H, gates + 2 * H, x + 2 * H, a + 2 * H, [](T s) { return tanh(s); });
        open(H, gates + 3 * H, x + 3 * H, a + 3 * H, logistic);
        const T *__restrict i = gates, *__restrict f = gates + H, *__restrict g = gates + 2 * H, *__restrict o = gates + 3 * H;
        for (int64_t j = 0; j < H; ++j) next[j] = f[j] * c[j] + i[j] * g[j];
        for (int64_t j = 0; j < H; ++j) h[j] = o[j] * tanh(next[j]);
    });
}

template <class T> void lstm_gradient(const StepArguments& p) {
    const int64_t H = p.units, cells = p.rows * H;
    for_each_row(p, [&p, H, cells](int64_t n) {
        const T *__restrict to_h = at<T>(p.g, n * H), *__restrict to_next = to_h + cells, *__restrict c = at<T>(p.state, n * H),
                *__restrict next = at<T>(p.y, cells + n * H), *__restrict i = at<T>(p.gates, 4 * n * H), *__restrict f = i + H,
                *__restrict g = f + H, *__restrict o = g + H;
        T *__restrict to_i = at<T>(p.result, 4 * n * H), *__restrict to_f = to_i + H, *__restrict to_g = to_f + H, *__restrict to_o = to_g + H,
          *__restrict to_c = at<T>(p.second, n * H);
        for (int64_t j = 0; j < H; ++j) {
            const T t = tanh(next[j]);
            const T d = to_next[j] + to_h[j] * o[j] * (1 - t * t);
            to_i[j] = d * g[j] * i[j] * (1 - i[j]);
            to_f[j] = d * c[j] * f[j] * (1 - f[j]);
            to_g[j] = d * i[j] * (1 - g[j] * g[j]);
            to_o[j] = to_h[j] * t * o[j] * (1 - o[j]);
            to_c[j] = d * f[j];
        }
    });
}

template <class T> void gru(const StepArguments& p) {
    const int64_t H = p.units;
    for_each_row(p, [&p, H](int64_t row) {
        const T *x = at<T>(p.x, 3 * row * H), *a = at<T>(p.a, 3 * row * H), *__restrict h = at<T>(p.state, row * H);
        T *gates = at<T>(p.second, 3 * row * H), *__restrict y = at<T>(p.result, row * H);
        open(2 * H, gates, x, a, [](T s) { return sigmoid(s); });
        const T *__restrict r = gates, *__restrict z = gates + H, *__restrict xn = x + 2 * H, *__restrict an = a + 2 * H;
        T* __restrict n = gates + 2 * H;
        for (int64_t j = 0; j < H; ++j) n[j] = tanh(xn[j] + r[j] * an[j]);
        for (int64_t j = 0; j < H; ++j) y[j] = (1 - z[j]) * n[j] + z[j] * h[j];
    });
}

template <class T> void gru_gradient(const StepArguments& p) {
    const int64_t H = p.units;
    for_each_row(p, [&p, H](int64_t row) {
        const T *__restrict G = at<T>(p.g, row * H), *__restrict an = at<T>(p.a, 3 * row * H + 2 * H), *__restrict h = at<T>(p.state, row * H),
                *__restrict r = at<T>(p.gates, 3 * row * H), *__restrict z = r + H, *__restrict n = z + H;
        T *__restrict xr = at<T>(p.result, 3 * row * H), *__restrict xz = xr + H, *__restrict xn = xz + H,
          *__restrict ar = at<T>(p.second, 3 * row * H), *__restrict az = ar + H, *__restrict to_an = az + H, *__restrict to_h = at<T>(p.third, row * H);
        for (int64_t j = 0; j < H; ++j) {
            const T d = G[j] * (1 - z[j]) * (1 - n[j] * n[j]);
            xr[j] = ar[j] = d * an[j] * r[j] * (1 - r[j]);
            xz[j] = az[j] = G[j] * (h[j] - n[j]) * z[j] * (1 - z[j]);
            xn[j] = d;
            to_an[j] = d * r[j];
            to_h[j] = G[j] * z[j];
        }
    });
}

}  // namespace

constexpr RecurrentTable recurrent = {
    .lstm = {lstm<float>, lstm<double>},
    .lstm_gradient = {lstm_gradient<float>, lstm_gradient<double>},
    .gru = {gru<float>, gru<double>},
    .gru_gradient = {gru_gradient<float>, gru_gradient<double>},
};

}  // namespace minidl::ISA
