// Elementwise maps: y[...] = f(a[...], b[...])
//
//     for each row (all dimensions but the last):
//         for i in the last dimension:
//             y[i] = f(a[i * step_a], b[i * step_b])        steps 0 (broadcast) and 1 (contiguous) have vector loops
//
// y is contiguous in the order of the nest.
#include "elementwise.h"

#include "kernel.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 32768;   // elements

template <class T, class F> ALWAYS_INLINE void binary_row(int64_t n, T* __restrict y, const T* a, int64_t sa, const T* b, int64_t sb, F f) {
    if (sa == 1 && sb == 1) for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
    else if (sa == 1 && sb == 0) for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], *b);
    else if (sa == 0 && sb == 1) for (int64_t i = 0; i < n; ++i) y[i] = f(*a, b[i]);
    else for (int64_t i = 0; i < n; ++i) y[i] = f(a[i * sa], b[i * sb]);
}

// Offsets of a row's first elements, from its number.
template <int K> ALWAYS_INLINE void row_offsets(const Nest<K>& nest, int64_t row, int64_t* offset) {
    for (int k = 0; k < K; ++k) offset[k] = 0;
    for (int d = nest.ndim - 2; d >= 0; --d) {
        const int64_t i = row % nest.shape[d];
        row /= nest.shape[d];
        for (int k = 0; k < K; ++k) offset[k] += i * nest.stride[k][d];
    }
}

template <class T, class F> void binary(const Nest<3>& nest) {
    T* y = static_cast<T*>(nest.data[0]);
    const T *a = static_cast<const T*>(nest.data[1]), *b = static_cast<const T*>(nest.data[2]);
    const int last = nest.ndim - 1;
    const int64_t n = nest.shape[last], sa = nest.stride[1][last], sb = nest.stride[2][last];
    int64_t rows = 1;
    for (int d = 0; d < last; ++d) rows *= nest.shape[d];

    if (rows == 1) {
        parallel_for(n, GRAIN, [=](int64_t begin, int64_t end) {
            binary_row(end - begin, y + begin, a + begin * sa, sa, b + begin * sb, sb, F{});
        });
        return;
    }
    parallel_for(rows, larger(1, GRAIN / larger(n, 1)), [=, &nest](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            int64_t offset[3];
            row_offsets(nest, row, offset);
            binary_row(n, y + offset[0], a + offset[1], sa, b + offset[2], sb, F{});
        }
    });
}

struct Add { template <class T> ALWAYS_INLINE T operator()(T a, T b) const { return a + b; } };

}  // namespace

constexpr ElementwiseTable elementwise = {
    .add = {binary<float, Add>, binary<double, Add>},
};

}  // namespace minidl::ISA
