// The arithmetic of one step of recurrent units on a GPU, x = W_ih input + b_ih and a = W_hh h + b_hh being there already
//
//     LSTM: i, f, o = σ(x + a), g = tanh(x + a);  c' = f c + i g;  h' = o tanh(c')
//     GRU:  r, z = σ(x + a), n = tanh(x + r a);   h' = (1 - z) n + z h
//
//     for each unit j of each row n, a thread:
//         the formula: x, a and the gates are (N, 4 or 3, H), states (N, H); an LSTM's result is (2, N, H), h' before c'
//
// All arrays are contiguous. A gradient reads the gates that the step kept. Neighbouring threads have neighbouring units, so that each of a unit's numbers lies beside its neighbour's.
#include "emulator/cuda.h"

namespace recurrent {

constexpr int THREADS = 256;

// 1 / (1 + exp(-x)), by the exponential of -|x|, which does not overflow
template <class T> __device__ __forceinline__ T sigmoid(T x) {
    const T e = exp(-fabs(x));
    return (x >= 0 ? T(1) : e) / (1 + e);
}

// body(cell, gate): the place of each unit in arrays (N, H), and of its first gate in arrays (N, GATES, H)
template <int GATES, class Body> __device__ __forceinline__ void for_each_unit(long long N, long long H, const Body& body) {
    for (long long cell = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x; cell < N * H; cell += static_cast<long long>(gridDim.x) * THREADS)
        body(cell, cell / H * GATES * H + cell % H);
}

template <class T> __global__ void __launch_bounds__(THREADS) lstm(long long N, long long H, const T* X, const T* A, const T* C, T* Y, T* gates) {
    for_each_unit<4>(N, H, [=](long long cell, long long at) {
        const T i = sigmoid(X[at] + A[at]), f = sigmoid(X[at + H] + A[at + H]), g = tanh(X[at + 2 * H] + A[at + 2 * H]), o = sigmoid(X[at + 3 * H] + A[at + 3 * H]);
        gates[at] = i, gates[at + H] = f, gates[at + 2 * H] = g, gates[at + 3 * H] = o;
        const T next = f * C[cell] + i * g;
        Y[cell] = o * tanh(next), Y[N * H + cell] = next;
    });
}

// G: ∂L/∂Y; to_x is the gradient for x and for a
template <class T> __global__ void __launch_bounds__(THREADS) lstm_gradient(long long N, long long H, const T* G, const T* gates, const T* C, const T* Y, T* to_x, T* to_c) {
    for_each_unit<4>(N, H, [=](long long cell, long long at) {
        const T i = gates[at], f = gates[at + H], g = gates[at + 2 * H], o = gates[at + 3 * H], to_h = G[cell], t = tanh(Y[N * H + cell]);
        const T d = G[N * H + cell] + to_h * o * (1 - t * t);
        to_x[at] = d * g * i * (1 - i);
        to_x[at + H] = d * C[cell] * f * (1 - f);
        to_x[at + 2 * H] = d * i * (1 - g * g);
        to_x[at + 3 * H] = to_h * t * o * (1 - o);
        to_c[cell] = d * f;
    });
}

template <class T> __global__ void __launch_bounds__(THREADS) gru(long long N, long long H, const T* X, const T* A, const T* state, T* Y, T* gates) {
    for_each_unit<3>(N, H, [=](long long cell, long long at) {
        const T r = sigmoid(X[at] + A[at]), z = sigmoid(X[at + H] + A[at + H]), n = tanh(X[at + 2 * H] + r * A[at + 2 * H]);
        gates[at] = r, gates[at + H] = z, gates[at + 2 * H] = n;
        Y[cell] = (1 - z) * n + z * state[cell];
    });
}

template <class T> __global__ void __launch_bounds__(THREADS) gru_gradient(long long N, long long H, const T* G, const T* gates, const T* A, const T* state, T* to_x, T* to_a, T* to_h) {
    for_each_unit<3>(N, H, [=](long long cell, long long at) {
        const T r = gates[at], z = gates[at + H], n = gates[at + 2 * H], g = G[cell];
        const T d = g * (1 - z) * (1 - n * n);
        to_x[at] = to_a[at] = d * A[at + 2 * H] * r * (1 - r);
        to_x[at + H] = to_a[at + H] = g * (state[cell] - n) * z * (1 - z);
        to_x[at + 2 * H] = d;
        to_a[at + 2 * H] = d * r;
        to_h[cell] = g * z;
    });
}

}  // namespace recurrent

KERNEL(recurrent::lstm<float>)
KERNEL(recurrent::lstm<double>)
KERNEL(recurrent::lstm_gradient<float>)
KERNEL(recurrent::lstm_gradient<double>)
KERNEL(recurrent::gru<float>)
KERNEL(recurrent::gru<double>)
KERNEL(recurrent::gru_gradient<float>)
KERNEL(recurrent::gru_gradient<double>)
