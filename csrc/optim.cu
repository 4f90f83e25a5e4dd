// Optimizer steps on a GPU, in place, all parameters of a group in one launch: parameters w, gradients g, state b, m, v, u
//
//     SGD:      g ← g + λ w;  b ← μ b + (1 - δ) g  (b ← g the first time);  w ← w - η b,  or with Nesterov's momentum  w ← w - η (g + μ b)
//     Adam:     m ← β1 m + (1 - β1) g;  v ← β2 v + (1 - β2) g²;  w ← w - η / (1 - β1^t) m / (√v / √(1 - β2^t) + ε);  AMSGrad: u ← max(u, v) takes v's place in the root
//     Adagrad:  v ← v + g²;  w ← w - η g / (√v + ε)
//     RMSprop:  v ← α v + (1 - α) g²;  m ← α m + (1 - α) g;  d = g / (√(v - m²) + ε);  b ← μ b + d;  w ← w - η b        (m only if centred, b only with momentum)
//     Adadelta: v ← ρ v + (1 - ρ) g²;  d = √(m + ε) / √(v + ε) g;  m ← ρ m + (1 - ρ) d²;  w ← w - η d
//
//     for each piece of each array, a block:
//         for each pack of 16 bytes, a thread:
//             for each number: the formula
//
// A launch takes microseconds, as long as the arithmetic on a small network's parameters does: hence a table of all arrays as an argument, and one launch. The learning rate and the step
// may lie in the device's memory, where a captured CUDA graph reads them anew each time.
#include "block.cuh"
#include "scalar.cuh"

namespace optim {

using block::THREADS;

constexpr int PACKS = 4;   // that a thread walks
template <class T> constexpr int PIECE = THREADS * PACKS * Pack<T>::size;
template <int LISTS> constexpr int CAPACITY = 3840 / (8 * LISTS + 12) / 2 * 2;   // arrays: a kernel's arguments may have 4096 bytes

// For each parameter LISTS arrays: w, g and the state. Parameter n has size[n] numbers and the blocks from first[n] on.
template <class T, int LISTS> struct Table {   // packed by `Table` in minidl/kernels/cuda/optim.py
    T* data[LISTS][CAPACITY<LISTS>];
    long long size[CAPACITY<LISTS>];
    int first[CAPACITY<LISTS>];
    int count, unused;

    // The parameter of this block.
    __device__ __forceinline__ int mine() const {
        int low = 0, high = count;
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            (first[middle] <= static_cast<int>(blockIdx.x) ? low : high) = middle;
        }
        return low;
    }
};

// formula(x) for each number of the block's piece: x[0] is w, x[1] g, then the state. All but g are written back.
template <class T, int LISTS, class Formula> __device__ __forceinline__ void for_each(const Table<T, LISTS>& table, const Formula& formula) {
    constexpr int L = Pack<T>::size;
    const int n = table.mine();
    const long long begin = static_cast<long long>(blockIdx.x - table.first[n]) * PIECE<T>, size = table.size[n] - begin;
    T* data[LISTS];
    bool wide = true;
    UNROLL for (int l = 0; l < LISTS; ++l) data[l] = table.data[l][n] + begin, wide = wide && fits_pack(data[l]);
    UNROLL for (int k = 0; k < PACKS; ++k) {
        const long long at = (k * THREADS + threadIdx.x) * L;
        if (wide && at + L <= size) {
            Pack<T> pack[LISTS];
            UNROLL for (int l = 0; l < LISTS; ++l) pack[l] = load_pack(data[l] + at);
            UNROLL for (int e = 0; e < L; ++e) {
                T x[LISTS];
                UNROLL for (int l = 0; l < LISTS; ++l) x[l] = pack[l].lane[e];
                formula(x);
                UNROLL for (int l = 0; l < LISTS; ++l) pack[l].lane[e] = x[l];
            }
            UNROLL for (int l = 0; l < LISTS; ++l)
                if (l != 1) store_pack(data[l] + at, pack[l]);
        } else
            UNROLL for (int e = 0; e < L; ++e)
                if (at + e < size) {
                    T x[LISTS];
                    UNROLL for (int l = 0; l < LISTS; ++l) x[l] = data[l][at + e];
                    formula(x);
                    UNROLL for (int l = 0; l < LISTS; ++l)
                        if (l != 1) data[l][at + e] = x[l];
                }
    }
}

// The gradient with weight decay; a decay of 0 is none, even where w is infinite.
template <class T> __device__ __forceinline__ T decayed(T g, T decay, T w) { return decay != 0 ? multiply_add(decay, w, g) : g; }

// LISTS: 2, or 3 with momentum's buffer
template <class T, int LISTS>
__global__ void __launch_bounds__(THREADS) sgd(Table<T, LISTS> table, Scalar<double> rate, T momentum, T fresh, T decay, int nesterov, int first) {
    const T lr = static_cast<T>(rate.get());
    for_each(table, [=](T (&x)[LISTS]) {
        T g = decayed(x[1], decay, x[0]);
        if constexpr (LISTS == 3) {
            const T b = x[2] = first ? g : multiply_add(momentum, x[2], fresh * g);   // the first time, whatever was there
            g = nesterov ? multiply_add(momentum, b, g) : b;
        }
        x[0] = multiply_add(-lr, g, x[0]);
    });
}

// LISTS: 4, or 5 with AMSGrad's largest v. The powers of β are computed in double, by one thread for its block.
template <class T, int LISTS>
__global__ void __launch_bounds__(THREADS) adam(Table<T, LISTS> table, Scalar<double> rate, Scalar<double> step, double beta1, double beta2, T eps, double decay, int decoupled) {
    __shared__ double shared_lr, shared_root;
    const double lr = rate.get();
    if (threadIdx.x == 0) {
        const double t = step.get();
        shared_lr = lr / (1 - pow(beta1, t)), shared_root = sqrt(1 - pow(beta2, t));
    }
    __syncthreads();
    const T corrected_lr = static_cast<T>(shared_lr), root = static_cast<T>(shared_root), left = static_cast<T>(1 - lr * decay), added = decoupled ? 0 : static_cast<T>(decay),
            b1 = static_cast<T>(beta1), rest1 = static_cast<T>(1 - beta1), b2 = static_cast<T>(beta2), rest2 = static_cast<T>(1 - beta2);
    const bool shrinks = decoupled && decay != 0;
    for_each(table, [=](T (&x)[LISTS]) {
        const T w = shrinks ? x[0] * left : x[0], g = decayed(x[1], added, w);
        const T m = x[2] = multiply_add(b1, x[2], rest1 * g);
        T v = x[3] = multiply_add(b2, x[3], rest2 * g * g);
        if constexpr (LISTS == 5) v = x[4] = block::larger(x[4], v);
        x[0] = add(w, -(corrected_lr * m / add(sqrt(v) / root, eps)));
    });
}

template <class T> __global__ void __launch_bounds__(THREADS) adagrad(Table<T, 3> table, Scalar<double> rate, T eps, T decay) {
    const T lr = static_cast<T>(rate.get());
    for_each(table, [=](T (&x)[3]) {
        const T g = decayed(x[1], decay, x[0]), v = x[2] = multiply_add(g, g, x[2]);
        x[0] = add(x[0], -(lr * g / add(sqrt(v), eps)));
    });
}

// The state: v, then m if CENTERED, then b if MOMENTUM
template <class T, bool CENTERED, bool MOMENTUM>
__global__ void __launch_bounds__(THREADS) rmsprop(Table<T, 3 + CENTERED + MOMENTUM> table, Scalar<double> rate, T alpha, T rest, T eps, T decay, T momentum) {
    const T lr = static_cast<T>(rate.get());
    for_each(table, [=](T (&x)[3 + CENTERED + MOMENTUM]) {
        const T g = decayed(x[1], decay, x[0]);
        T spread = x[2] = multiply_add(alpha, x[2], rest * g * g);
        if constexpr (CENTERED) {
            const T m = x[3] = multiply_add(alpha, x[3], rest * g);
            spread = multiply_add(-m, m, spread);
        }
        T d = g / add(sqrt(spread), eps);
        if constexpr (MOMENTUM) d = x[3 + CENTERED] = multiply_add(momentum, x[3 + CENTERED], d);
        x[0] = multiply_add(-lr, d, x[0]);
    });
}

template <class T> __global__ void __launch_bounds__(THREADS) adadelta(Table<T, 4> table, Scalar<double> rate, T rho, T rest, T eps, T decay) {
    const T lr = static_cast<T>(rate.get());
    for_each(table, [=](T (&x)[4]) {
        const T g = decayed(x[1], decay, x[0]), v = x[2] = multiply_add(rho, x[2], rest * g * g);
        const T d = sqrt(add(x[3], eps)) / sqrt(add(v, eps)) * g;
        x[3] = multiply_add(rho, x[3], rest * d * d);
        x[0] = multiply_add(-lr, d, x[0]);
    });
}

}  // namespace optim

KERNEL(optim::sgd<float, 2>)
KERNEL(optim::sgd<double, 2>)
KERNEL(optim::sgd<float, 3>)
KERNEL(optim::sgd<double, 3>)
KERNEL(optim::adam<float, 4>)
KERNEL(optim::adam<double, 4>)
KERNEL(optim::adam<float, 5>)
KERNEL(optim::adam<double, 5>)
KERNEL(optim::adagrad<float>)
KERNEL(optim::adagrad<double>)
KERNEL(optim::rmsprop<float, false, false>)
KERNEL(optim::rmsprop<double, false, false>)
KERNEL(optim::rmsprop<float, false, true>)
KERNEL(optim::rmsprop<double, false, true>)
KERNEL(optim::rmsprop<float, true, false>)
KERNEL(optim::rmsprop<double, true, false>)
KERNEL(optim::rmsprop<float, true, true>)
KERNEL(optim::rmsprop<double, true, true>)
KERNEL(optim::adadelta<float>)
KERNEL(optim::adadelta<double>)
