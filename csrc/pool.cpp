// max_pool2d:       Y[n,c,p,q] = max[r,s] X[n,c,p*stride+r*dilation-padding,q*...]   and where it was; padding never wins, NaN always does
// max_pool2d_input: ∂X[n,c,i] = Σ[p,q] G[n,c,p,q] where the window's largest was at place i of the plane
// avg_pool2d:       Y[n,c,p,q] = Σ[r,s] X[n,c,p*stride+r-padding,q*...] / count
// avg_pool2d_input: ∂X[n,c,h,w] = Σ[p,q] G[n,c,p,q] / count     over the windows that hold h, w
//
//     for each plane (all threads):
//         for each output row, for each tap (r, s) that is inside:
//             for each column whose tap is inside:  y[q] = max(y[q], x[...])   or   y[q] += x[...]
#include "pool.h"

#include "kernel.h"

namespace minidl::ISA {
namespace {

constexpr int64_t WORK = 65536;   // window elements that make a piece

// Outputs [begin, end) whose tap at `offset` = tap * dilation - padding falls into [0, size).
struct Range { int64_t begin, end; };
ALWAYS_INLINE Range inside(int64_t offset, int64_t size, int64_t stride, int64_t outputs) {
    const int64_t begin = offset < 0 ? pieces(-offset, stride) : 0, end = size > offset ? pieces(size - offset, stride) : 0;
    return {smaller(begin, outputs), larger(smaller(begin, outputs), smaller(end, outputs))};
}

template <class T> ALWAYS_INLINE bool beats(T v, T best) { return (v > best) | ((v != v) & (best == best)); }   // the first of equals stays

// Every second number of two vectors.
template <class T> ALWAYS_INLINE void split_pairs(typename vec<T>::type a, typename vec<T>::type b, typename vec<T>::type& even, typename vec<T>::type& odd) {
    using mask = typename vec<T>::mask;
    if constexpr (vec<T>::size == 2) {
        even = SHUFFLE(mask, a, b, 0, 2), odd = SHUFFLE(mask, a, b, 1, 3);
    } else if constexpr (vec<T>::size == 4) {
        even = SHUFFLE(mask, a, b, 0, 2, 4, 6), odd = SHUFFLE(mask, a, b, 1, 3, 5, 7);
    } else if constexpr (vec<T>::size == 8) {
        even = SHUFFLE(mask, a, b, 0, 2, 4, 6, 8, 10, 12, 14), odd = SHUFFLE(mask, a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    } else {
        even = SHUFFLE(mask, a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        odd = SHUFFLE(mask, a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    }
}

template <class T> ALWAYS_INLINE void take_larger(typename vec<T>::type v, typename vec<T>::mask place, typename vec<T>::type& best, typename vec<T>::mask& at) {
    const typename vec<T>::mask take = (v > best) | ((v != v) & (best == best));
    best = take ? v : best;
    at = take ? place : at;
}

// 2 x 2 windows side by side, the common case: four vectors in, one out, no number read twice. A vector may read and write beyond the end of a row, but not
// of the plane: the next row puts it right.
template <class T> void max_of_fours(const PoolArguments& a, const T* x, T* y, int64_t* index) {
    using V = typename vec<T>::type;
    using I = typename vec<T>::mask;
    using Places = typename vec<T>::places;
    constexpr int64_t L = vec<T>::size;
    const int64_t row = a.in.stride[2], readable = row >= a.w ? (a.h - 1) * row + a.w : 0, writable = a.p * a.q;
    const auto width = static_cast<decltype(I{}[0] + 0)>(a.w);
    I even{};
    for (int l = 0; l < L; ++l) even[l] = 2 * l;
    for (int64_t p = 0; p < a.p; ++p)
        for (int64_t q = 0; q < a.q; q += L) {
            const int64_t from = 2 * p * row + 2 * q, to = p * a.q + q;
            const int count = static_cast<int>(smaller(L, a.q - q));
            V rows[2][2];
            for (int i = 0; i < 2; ++i) {
                const T* line = x + from + i * row;
                T lanes[2 * L];
                if (from + row + 2 * L > readable) {
                    for (int l = 0; l < 2 * L; ++l) lanes[l] = l < 2 * count ? line[l] : T{0};
                    line = lanes;
                }
                split_pairs<T>(load(line), load(line + L), rows[i][0], rows[i][1]);
            }
            V best = rows[0][0];
            I at = even;
            take_larger<T>(rows[0][1], even + 1, best, at);
            take_larger<T>(rows[1][0], even + width, best, at);
            take_larger<T>(rows[1][1], even + (width + 1), best, at);
            Places places = __builtin_convertvector(at, Places) + (2 * p * a.w + 2 * q);
            if (to + L <= writable) {
                store(y + to, best);
                __builtin_memcpy(index + to, &places, sizeof places);
            } else {
                T values[L];
                store(values, best);
                copy_lanes(y + to, values, count);
                for (int l = 0; l < count; ++l) index[to + l] = places[l];
            }
        }
}

// Any window, one tap after the other along the output row; places as numbers as wide as T, so that values and places share one mask.
template <class T> void max_row(const PoolArguments& a, const T* x, int64_t p, T* y, int64_t* index) {
    using I = decltype(typename vec<T>::mask{}[0] + 0);
    constexpr int64_t BLOCK = 256;
    constexpr I NONE = sizeof(I) == 4 ? INT32_MIN : INT64_MIN;
    const int64_t row_step = a.in.stride[2], step = a.stride[1] * a.in.stride[3], h0 = p * a.stride[0] - a.padding[0];
    for (int64_t first = 0; first < a.q; first += BLOCK) {
        const int64_t count = smaller(BLOCK, a.q - first);
        T best[BLOCK];
        I at[BLOCK];
        for (int64_t q = 0; q < count; ++q) best[q] = -static_cast<T>(__builtin_inf()), at[q] = NONE;
        for (int64_t r = 0; r < a.kernel[0]; ++r) {
            const int64_t h = h0 + r * a.dilation[0];
            if (h < 0 || h >= a.h) continue;
            for (int64_t s = 0; s < a.kernel[1]; ++s) {
                const int64_t w0 = first * a.stride[1] + s * a.dilation[1] - a.padding[1];
                const Range range = inside(w0, a.w, a.stride[1], count);
                const T* from = x + h * row_step + w0 * a.in.stride[3];
                const I place = static_cast<I>(h * a.w + w0), stride = static_cast<I>(a.stride[1]);
                const auto along = [&](int64_t step) __attribute__((always_inline)) {
                    for (int64_t q = range.begin; q < range.end; ++q) {
                        const T v = from[q * step];
                        const bool take = beats(v, best[q]) | (at[q] == NONE);
                        best[q] = take ? v : best[q];
                        at[q] = take ? place + static_cast<I>(q) * stride : at[q];
                    }
                };
                if (step == 1) along(1);
                else if (step == 2) along(2);
                else along(step);
            }
        }
        for (int64_t q = 0; q < count; ++q) {
            y[first + q] = best[q];   // a window of nothing but padding names its first place
            index[first + q] = at[q] != NONE ? at[q] : h0 * a.w + (first + q) * a.stride[1] - a.padding[1];
        }
    }
}

template <class T> void max_pool2d(const PoolArguments& a) {
    const bool fours = a.kernel[0] == 2 && a.kernel[1] == 2 && a.stride[0] == 2 && a.stride[1] == 2 && a.dilation[0] == 1 && a.dilation[1] == 1 &&
                       a.padding[0] == 0 && a.padding[1] == 0 && 2 * a.p <= a.h && 2 * a.q <= a.w && a.in.stride[3] == 1;
    const int64_t plane = a.p * a.q, work = larger(1, plane * a.kernel[0] * a.kernel[1]);
    parallel_for(a.n * a.c, larger(1, WORK / work), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const T* x = static_cast<const T*>(a.in.data) + i / a.c * a.in.stride[0] + i % a.c * a.in.stride[1];
            T* y = static_cast<T*>(a.out) + i * plane;
            int64_t* index = a.index + i * plane;
            if (fours) max_of_fours(a, x, y, index);
            else for (int64_t p = 0; p < a.p; ++p) max_row(a, x, p, y + p * a.q, index + p * a.q);
        }
    });
}

template <class T> bool max_pool2d_input(const PoolArguments& a) {
    const int64_t plane = a.h * a.w, outputs = a.p * a.q;
    bool fine = true;
    parallel_for(a.n * a.c, larger(1, WORK / (plane + outputs)), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const T* g = static_cast<const T*>(a.in.data) + i / a.c * a.in.stride[0] + i % a.c * a.in.stride[1];
            const int64_t* place = a.places + i * outputs;
            T* x = static_cast<T*>(a.out) + i * plane;
            for (int64_t j = 0; j < plane; ++j) x[j] = 0;
            for (int64_t p = 0; p < a.p; ++p, place += a.q)
                for (int64_t q = 0; q < a.q; ++q) {
                    if (place[q] < 0 || place[q] >= plane) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
                    x[place[q]] += g[p * a.in.stride[2] + q * a.in.stride[3]];
                }
        }
    });
    return fine;
}

// Elements that window i of one direction counts.
ALWAYS_INLINE int64_t window_count(const PoolArguments& a, int axis, int64_t i) {
    const int64_t size = axis ? a.w : a.h, start = i * a.stride[axis] - a.padding[axis], end = smaller(start + a.kernel[axis], size + a.padding[axis]);
    return a.count_padding ? end - start : smaller(end, size) - larger(start, 0);
}

template <class T> void avg_pool2d(const PoolArguments& a) {
    const int64_t plane = a.p * a.q, work = larger(1, plane * a.kernel[0] * a.kernel[1]), step = a.stride[1] * a.in.stride[3];
    parallel_for(a.n * a.c, larger(1, WORK / work), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const T* x = static_cast<const T*>(a.in.data) + i / a.c * a.in.stride[0] + i % a.c * a.in.stride[1];
            T* y = static_cast<T*>(a.out) + i * plane;
            for (int64_t p = 0; p < a.p; ++p, y += a.q) {
                for (int64_t q = 0; q < a.q; ++q) y[q] = 0;
                for (int64_t r = 0; r < a.kernel[0]; ++r) {
                    const int64_t h = p * a.stride[0] - a.padding[0] + r;
                    if (h < 0 || h >= a.h) continue;
                    for (int64_t s = 0; s < a.kernel[1]; ++s) {
                        const Range range = inside(s - a.padding[1], a.w, a.stride[1], a.q);
                        const T* from = x + h * a.in.stride[2] + (s - a.padding[1]) * a.in.stride[3];
                        for (int64_t q = range.begin; q < range.end; ++q) y[q] += from[q * step];
                    }
                }
                const int64_t rows = window_count(a, 0, p);
                for (int64_t q = 0; q < a.q; ++q) y[q] /= static_cast<T>(rows * window_count(a, 1, q));
            }
        }
    });
}

template <class T> bool avg_pool2d_input(const PoolArguments& a) {
    const int64_t plane = a.h * a.w, work = larger(1, a.p * a.q * a.kernel[0] * a.kernel[1] + plane);
    bool fine = true;
    parallel_for(a.n * a.c, larger(1, WORK / work), [&](int64_t begin, int64_t end) {
        T* share = static_cast<T*>(workspace(1, a.q * sizeof(T)));
        if (!share) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        for (int64_t i = begin; i < end; ++i) {
            const T* g = static_cast<const T*>(a.in.data) + i / a.c * a.in.stride[0] + i % a.c * a.in.stride[1];
            T* x = static_cast<T*>(a.out) + i * plane;
            for (int64_t j = 0; j < plane; ++j) x[j] = 0;
            for (int64_t p = 0; p < a.p; ++p) {
                const int64_t rows = window_count(a, 0, p);
                for (int64_t q = 0; q < a.q; ++q)
                    share[q] = g[p * a.in.stride[2] + q * a.in.stride[3]] / static_cast<T>(rows * window_count(a, 1, q));
                for (int64_t r = 0; r < a.kernel[0]; ++r) {
                    const int64_t h = p * a.stride[0] - a.padding[0] + r;
                    if (h < 0 || h >= a.h) continue;
                    for (int64_t s = 0; s < a.kernel[1]; ++s) {
                        const Range range = inside(s - a.padding[1], a.w, a.stride[1], a.q);
                        T* to = x + h * a.w + s - a.padding[1];
                        for (int64_t q = range.begin; q < range.end; ++q) to[q * a.stride[1]] += share[q];
                    }
                }
            }
        }
    });
    return fine;
}

}  // namespace

constexpr PoolTable pool_table = {
    .max_pool2d = {max_pool2d<float>, max_pool2d<double>},
    .avg_pool2d = {avg_pool2d<float>, avg_pool2d<double>},
    .max_pool2d_input = {max_pool2d_input<float>, max_pool2d_input<double>},
    .avg_pool2d_input = {avg_pool2d_input<float>, avg_pool2d_input<double>},
};

}  // namespace minidl::ISA
