// What the three convolutions share: planes, from which every tap of the filter reads one contiguous run.
//
// A copy of the image with its padding is laid out by phase: with stride 2 the even and the odd columns (and rows) become planes of their own. Then the
// numbers that tap (c, r, s) meets, output column after output column, lie side by side, starting at offset[c, r, s], for any stride, padding and
// dilation; no matrix of windows (im2col) is ever written.
#pragma once
#include "conv.h"
#include "tile.h"

namespace minidl::ISA {
namespace {

// One direction (y or x) of a plane: its element i of phase f is the image's element i * phases + f - before.
struct Axis {
    int64_t image, phases, before;
    int64_t reach;   // largest shift of a tap: output i reads elements i .. i + reach
};

// Rows [first, first + rows) of the planes of `channels` channels; the image's strides in elements.
template <class T> struct Planes {
    Axis y, x;
    int64_t channels, rows, width;
    int64_t plane() const { return rows * width; }
    int64_t size() const { return channels * y.phases * x.phases * plane(); }
};

// The address after the last number of an array.
template <class T> const T* end_of(const View& x) {
    const T* end = static_cast<const T*>(x.data) + 1;
    for (int d = 0; d < x.ndim; ++d) end += x.stride[d] > 0 ? (x.shape[d] - 1) * x.stride[d] : 0;
    return end;
}

// `count` zeros, and some more after them.
template <class T> ALWAYS_INLINE void clear(T* to, int64_t count) {
    if (count > 0) store(to, typename vec<T>::type{});   // mostly all there is: a loop alone would become a call of memset
    for (int64_t i = vec<T>::size; i < count; i += vec<T>::size) store(to + i, typename vec<T>::type{});
}

// a0 a2 a4 ... b0 b2 ...
template <class T> ALWAYS_INLINE typename vec<T>::type evens(typename vec<T>::type a, typename vec<T>::type b) {
    using mask = typename vec<T>::mask;
    if constexpr (vec<T>::size == 2) return SHUFFLE(mask, a, b, 0, 2);
    else if constexpr (vec<T>::size == 4) return SHUFFLE(mask, a, b, 0, 2, 4, 6);
    else if constexpr (vec<T>::size == 8) return SHUFFLE(mask, a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    else return SHUFFLE(mask, a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}

// Row after row; what a row writes beyond its end, the next one puts right, and the planes have a vector of room after the last. Up to `end`, rows of the
// image may be read beyond theirs, too.
template <class T> void fill_planes(const Planes<T>& planes, T* to, int64_t first, const T* image, const int64_t* stride, const T* end) {
    constexpr int64_t L = vec<T>::size;
    const Axis &y = planes.y, &x = planes.x;
    const int64_t step = x.phases * stride[3];
    for (int64_t c = 0; c < planes.channels; ++c)
        for (int64_t fy = 0; fy < y.phases; ++fy)
            for (int64_t fx = 0; fx < x.phases; ++fx) {
                // Columns [left, right) lie inside the image.
                const int64_t left = smaller(planes.width, x.before > fx ? pieces(x.before - fx, x.phases) : 0);
                const int64_t right = larger(left, smaller(planes.width, pieces(larger(0, x.image + x.before - fx), x.phases)));
                for (int64_t row = first; row < first + planes.rows; ++row, to += planes.width) {
                    const int64_t h = row * y.phases + fy - y.before;
                    if (h < 0 || h >= y.image || left == right) {
                        clear(to, planes.width);
                        continue;
                    }
                    const T* from = image + c * stride[1] + h * stride[2] + (left * x.phases + fx - x.before) * stride[3];
                    T* inside = to + left;
                    const int64_t count = right - left;
                    clear(to, left);
                    if (step == 1) {
                        int64_t i = 0;
                        for (; i < count && from + i + L <= end; i += L) store(inside + i, load(from + i));
                        for (; i < count; ++i) inside[i] = from[i];
                    } else {
                        int64_t i = 0;
                        if (step == 2) for (; i < count && from + 2 * (i + L) <= end; i += L) store(inside + i, evens<T>(load(from + 2 * i), load(from + 2 * i + L)));
                        for (; i < count; ++i) inside[i] = from[i * step];
                    }
                    clear(to + right, planes.width - right);
                }
            }
}

// Where tap (phase fy, shift y; phase fx, shift x) of channel c begins.
template <class T> int64_t tap_offset(const Planes<T>& planes, int64_t c, int64_t fy, int64_t y, int64_t fx, int64_t x) {
    return (((c * planes.y.phases + fy) * planes.x.phases + fx) * planes.rows + y) * planes.width + x;
}

// The forward geometry: output (i, j) meets tap (r, s) in phase (r * dilation) % stride, shifted by (r * dilation) / stride.
ALWAYS_INLINE Axis forward_axis(int64_t image, int64_t taps, int64_t stride, int64_t padding, int64_t dilation) {
    return {image, stride, padding, (taps - 1) * dilation / stride};
}
template <class T> void forward_offsets(const ConvArguments& p, const Planes<T>& planes, int64_t* offset) {
    for (int64_t c = 0; c < planes.channels; ++c)
        for (int64_t r = 0; r < p.r; ++r)
            for (int64_t s = 0; s < p.s; ++s) {
                const int64_t y = r * p.dilation[0], x = s * p.dilation[1];
                *offset++ = tap_offset(planes, c, y % p.stride[0], y / p.stride[0], x % p.stride[1], x / p.stride[1]);
            }
}

// Rows of the output in one band: so many that the planes of a band stay in the second cache, and that one image alone still occupies
// several threads (few images: more bands).
ALWAYS_INLINE int64_t band_rows(int64_t images, int64_t rows, int64_t bytes_of_a_row, int64_t work_of_a_row) {
    constexpr int64_t CACHE = 192 << 10, TASK = 1 << 19;
    int64_t band = larger(1, smaller(rows, CACHE / larger(1, bytes_of_a_row)));
    if (images < 16) band = smaller(band, larger(larger(1, TASK / larger(1, work_of_a_row)), pieces(rows, 16)));
    return pieces(rows, larger(1, pieces(rows, band)));
}

}  // namespace
}  // namespace minidl::ISA
