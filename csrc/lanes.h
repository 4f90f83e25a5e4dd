// Rows that do not fill whole vectors, and the way from a vector to a number.
#pragma once
#include "maths.h"

namespace minidl::ISA {
namespace {

template <class T> using vector = typename vec<T>::type;
template <class T> using mask = typename vec<T>::mask;

// 0 1 2 ...
template <class T> ALWAYS_INLINE mask<T> lane_numbers() {
    mask<T> number{};
    for (int i = 0; i < vec<T>::size; ++i) number[i] = i;
    return number;
}
// -1 in the first n lanes
template <class T> ALWAYS_INLINE mask<T> first_lanes(int64_t n) { return lane_numbers<T>() < static_cast<decltype(mask<T>{}[0] + 0)>(n); }

// The n < vec<T>::size numbers at p, the other lanes `fill`. Where a whole vector lies before `end`, it is read whole.
template <class T> ALWAYS_INLINE vector<T> load_part(const T* p, int64_t n, const T* end, T fill) {
    if (p + vec<T>::size <= end) return first_lanes<T>(n) ? load(p) : splat<T>(fill);
    alignas(MINIDL_VECTOR_BYTES) T room[vec<T>::size];
    for (int i = 0; i < vec<T>::size; ++i) room[i] = fill;
    copy_lanes<T>(room, p, static_cast<int>(n));
    return load(room);
}
// The first n lanes to p. Where a whole vector fits before `end`, the rest of it is written too: what lies there must be written later.
template <class T> ALWAYS_INLINE void store_part(T* p, int64_t n, const T* end, vector<T> v) {
    if (p + vec<T>::size <= end) return store(p, v);
    alignas(MINIDL_VECTOR_BYTES) T room[vec<T>::size];
    store(room, v);
    copy_lanes<T>(p, room, static_cast<int>(n));
}

// All lanes combined by f, in log2(size) steps.
template <class T, class F> ALWAYS_INLINE T across(vector<T> v, F f) {
    for (int distance = vec<T>::size / 2; distance > 0; distance /= 2) {
        vector<T> other{};
#if defined(__clang__)
        for (int i = 0; i < vec<T>::size; ++i) other[i] = v[i ^ distance];
#else
        mask<T> partner = lane_numbers<T>() ^ static_cast<decltype(mask<T>{}[0] + 0)>(distance);
        other = __builtin_shuffle(v, partner);
#endif
        v = f(v, other);
    }
    return v[0];
}
struct Plus { template <class V> ALWAYS_INLINE V operator()(V a, V b) const { return a + b; } };

// a0 b0 a1 b1 ... from the lower and from the upper half.
template <class T> ALWAYS_INLINE void interleave(typename vec<T>::type a, typename vec<T>::type b, typename vec<T>::type& low, typename vec<T>::type& high) {
    using mask = typename vec<T>::mask;
    if constexpr (vec<T>::size == 2) {
        low = SHUFFLE(mask, a, b, 0, 2);
        high = SHUFFLE(mask, a, b, 1, 3);
    } else if constexpr (vec<T>::size == 4) {
        low = SHUFFLE(mask, a, b, 0, 4, 1, 5);
        high = SHUFFLE(mask, a, b, 2, 6, 3, 7);
    } else if constexpr (vec<T>::size == 8) {
        low = SHUFFLE(mask, a, b, 0, 8, 1, 9, 2, 10, 3, 11);
        high = SHUFFLE(mask, a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    } else {
        low = SHUFFLE(mask, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        high = SHUFFLE(mask, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
}

// Each of L vectors combined across its lanes, as by `across`: lane i of the result is row i. L - 1 steps in all, where `across` takes L log2 L.
template <class T, class F> ALWAYS_INLINE vector<T> across_rows(vector<T>* rows, F f) {
    UNROLL for (int half = vec<T>::size / 2; half > 0; half /= 2)
        UNROLL for (int i = 0; i < half; ++i) {
            vector<T> low, high;
            interleave<T>(rows[i], rows[i + half], low, high);
            rows[i] = f(low, high);
        }
    return rows[0];
}

}  // namespace
}  // namespace minidl::ISA
