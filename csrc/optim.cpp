// Optimizer steps, in place, in one pass over memory: parameters w, gradients g, state b or m and v
//
//     SGD:  g ← g + λ w;  b ← μ b + (1 - δ) g  (b ← g the first time);  w ← w - η b,  or with Nesterov's momentum  w ← w - η (g + μ b)
//     Adam: m ← β1 m + (1 - β1) g;  v ← β2 v + (1 - β2) g²;  w ← w - η / (1 - β1^t) m / (√v / √(1 - β2^t) + ε)
//
// and what clipping needs: Σ g² over all gradients, and g ← factor g
//
//     for each piece of GRAIN elements of the lists, taken as one long array:
//         for each array in it:
//             for each element: the formula
#include "optim.h"

#include "lanes.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 16384;   // elements

// The gradient with weight decay; a decay of 0 is none, even where w is infinite.
template <class T> ALWAYS_INLINE T decayed(T g, T decay, T w) { return decay != 0 ? g + decay * w : g; }

int64_t piece_of(const Lists& lists) { return even(lists.start[lists.count], GRAIN); }   // elements of all arrays together

// body(i, begin, end): elements [begin, end) of array i
template <class Body> ALWAYS_INLINE void for_each_part(const Lists& lists, const Body& body) {
    parallel_for(lists.start[lists.count], piece_of(lists), [&lists, &body](int64_t begin, int64_t end) {
        int64_t low = 0, high = lists.count;   // the array that holds element `begin`
        while (high - low > 1) {
            const int64_t middle = (low + high) / 2;
            (lists.start[middle] <= begin ? low : high) = middle;
        }
        for (int64_t i = low; begin < end; ++i) {
            const int64_t stop = smaller(end, lists.start[i + 1]);
            if (begin < stop) body(i, begin - lists.start[i], stop - lists.start[i]);
            begin = stop;
        }
    });
}

template <class T> void sgd(const Lists& lists, const SgdOptions& options) {
    const T lr = static_cast<T>(options.lr), momentum = static_cast<T>(options.momentum), fresh = static_cast<T>(1 - options.dampening),
            decay = static_cast<T>(options.weight_decay);
    for_each_part(lists, [=, &lists, &options](int64_t i, int64_t begin, int64_t end) {
        T* __restrict w = static_cast<T*>(lists.data[0][i]);
        const T* __restrict g = static_cast<const T*>(lists.data[1][i]);
        if (!options.buffers) {
            for (int64_t j = begin; j < end; ++j) w[j] -= lr * decayed(g[j], decay, w[j]);
            return;
        }
        T* __restrict b = static_cast<T*>(lists.data[2][i]);
        const T old = options.first ? 0 : momentum, share = options.first ? 1 : fresh;
        if (options.first) for (int64_t j = begin; j < end; ++j) b[j] = 0;   // whatever was there, NaN too
        if (options.nesterov)
            for (int64_t j = begin; j < end; ++j) {
                const T d = decayed(g[j], decay, w[j]);
                b[j] = old * b[j] + share * d;
                w[j] -= lr * (d + momentum * b[j]);
            }
        else
            for (int64_t j = begin; j < end; ++j) {
                b[j] = old * b[j] + share * decayed(g[j], decay, w[j]);
                w[j] -= lr * b[j];
            }
    });
}

template <class T> void adam(const Lists& lists, const AdamOptions& options) {
    const T rate = static_cast<T>(options.rate), left = static_cast<T>(options.decay), beta1 = static_cast<T>(options.beta1),
            rest1 = static_cast<T>(1 - options.beta1), beta2 = static_cast<T>(options.beta2), rest2 = static_cast<T>(1 - options.beta2),
            root = static_cast<T>(1 / options.root), eps = static_cast<T>(options.eps), decay = static_cast<T>(options.weight_decay);
    for_each_part(lists, [=, &lists](int64_t i, int64_t begin, int64_t end) {
        T* __restrict w = static_cast<T*>(lists.data[0][i]);
        const T* __restrict g = static_cast<const T*>(lists.data[1][i]);
        T *__restrict m = static_cast<T*>(lists.data[2][i]), *__restrict v = static_cast<T*>(lists.data[3][i]);
        for (int64_t j = begin; j < end; ++j) {
            const T d = decayed(g[j], decay, w[j]);
            m[j] = beta1 * m[j] + rest1 * d;
            v[j] = beta2 * v[j] + rest2 * d * d;
            w[j] = left * w[j] - rate * m[j] / (square_root(v[j]) * root + eps);
        }
    });
}

// Squares and their sums within a piece in T, a piece's sum and the sum over the pieces, in their order, in double.
template <class T> double sum_of_squares(const T* x, int64_t n) {
    constexpr int64_t L = vec<T>::size, CHAINS = 4;
    vector<T> sum[CHAINS] = {};
    int64_t j = 0;
    for (; j + CHAINS * L <= n; j += CHAINS * L)
        UNROLL for (int c = 0; c < CHAINS; ++c) sum[c] += load(x + j + c * L) * load(x + j + c * L);
    double total = across<T>((sum[0] + sum[1]) + (sum[2] + sum[3]), Plus{});
    for (; j < n; ++j) total += static_cast<double>(x[j] * x[j]);
    return total;
}
template <class T> bool squared_norm(const Lists& lists, double* result) {
    const int64_t piece = piece_of(lists), count = pieces(lists.start[lists.count], piece);
    double* partial = static_cast<double*>(workspace(0, count * sizeof(double)));
    if (!partial) return false;
    for (int64_t i = 0; i < count; ++i) partial[i] = 0;
    for_each_part(lists, [=, &lists](int64_t i, int64_t begin, int64_t end) {
        partial[(lists.start[i] + begin) / piece] += sum_of_squares(static_cast<const T*>(lists.data[0][i]) + begin, end - begin);
    });
    for (int64_t i = 0; i < count; ++i) *result += partial[i];
    return true;
}

template <class T> void scale(const Lists& lists, const double& factor) {
    const T s = static_cast<T>(factor);
    for_each_part(lists, [=, &lists](int64_t i, int64_t begin, int64_t end) {
        T* __restrict g = static_cast<T*>(lists.data[0][i]);
        for (int64_t j = begin; j < end; ++j) g[j] *= s;
    });
}

}  // namespace

constexpr OptimTable optim = {
    .sgd = {sgd<float>, sgd<double>},
    .adam = {adam<float>, adam<double>},
    .squared_norm = {squared_norm<float>, squared_norm<double>},
    .scale = {scale<float>, scale<double>},
};

}  // namespace minidl::ISA
