// Winograd's convolution: a tile of M x M outputs of a 3 x 3 filter from (M + 2)² products instead of 9 M², Lavin and Gray 2016, "Fast Algorithms for
// Convolutional Neural Networks", after Winograd 1980.
//
// In one direction, both as polynomials: where the image's and the filter's values at M + 1 points and at infinity are multiplied, only these products are needed
// to know the outputs. So one matrix takes M + 2 numbers of the image to their values (`image`), one the filter (`filter`), one leads back (`output`); in two directions each is
// applied to columns, then to rows. A sum over channels commutes with all three: it becomes a matrix product for each of the (M + 2)² values.
//
// Points: 0, ±1, ∞ for M = 2. For M = 4: 0, ±5/8, ±3/2, ∞, found by search: the usual 0, ±1, ±2, ∞ make errors 2.5 times as large. All numbers below are
// exact in binary but the filter's divisors.
#pragma once
#include "conv.h"
#include "tile.h"

namespace minidl::ISA {
namespace {

// Everything on vectors, in place or from an array to another one; V is one of channels.
template <class T, int M> struct Transform;

template <class T> struct Transform<T, 2> {
    using V = typename vec<T>::type;
    static ALWAYS_INLINE void image(V (&d)[4]) {
        const V d1 = d[1];
        d[0] = d[0] - d[2], d[1] = d1 + d[2], d[2] = d[2] - d1, d[3] = d[3] - d1;
    }
    static ALWAYS_INLINE void filter(const V (&g)[3], V (&u)[4]) {
        const V even = (g[0] + g[2]) * T(0.5), odd = g[1] * T(0.5);
        u[0] = g[0], u[1] = even + odd, u[2] = even - odd, u[3] = g[2];
    }
    static ALWAYS_INLINE void output(const V (&m)[4], V (&y)[2]) {
        y[0] = m[0] + m[1] + m[2];
        y[1] = m[1] - m[2] + m[3];
    }
};

template <class T> struct Transform<T, 4> {
    using V = typename vec<T>::type;
    static constexpr T a = 0.625, b = 1.5, aa = a * a, bb = b * b;
    static constexpr T of_0 = 1 / (double{aa} * bb), of_a = 0.5 / (double{aa} * (aa - bb)), of_b = 0.5 / (double{bb} * (bb - aa));   // the filter's divisors
    static ALWAYS_INLINE void image(V (&d)[6]) {
        const V even_a = d[4] - bb * d[2], odd_a = d[3] - bb * d[1], even_b = d[4] - aa * d[2], odd_b = d[3] - aa * d[1];
        d[0] = d[4] - (aa + bb) * d[2] + aa * bb * d[0];
        d[5] = d[5] - (aa + bb) * d[3] + aa * bb * d[1];
        d[1] = even_a + a * odd_a, d[2] = even_a - a * odd_a;
        d[3] = even_b + b * odd_b, d[4] = even_b - b * odd_b;
    }
    static ALWAYS_INLINE void filter(const V (&g)[3], V (&u)[6]) {
        const V even_a = (g[0] + aa * g[2]) * of_a, odd_a = g[1] * (a * of_a), even_b = (g[0] + bb * g[2]) * of_b, odd_b = g[1] * (b * of_b);
        u[0] = g[0] * of_0;
        u[1] = even_a + odd_a, u[2] = even_a - odd_a;
        u[3] = even_b + odd_b, u[4] = even_b - odd_b;
        u[5] = g[2];
    }
    static ALWAYS_INLINE void output(const V (&m)[6], V (&y)[4]) {
        const V even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
        y[0] = m[0] + even_a + even_b;
        y[1] = a * odd_a + b * odd_b;
        y[2] = aa * even_a + bb * even_b;
        y[3] = m[5] + a * aa * odd_a + b * bb * odd_b;
    }
    // The filter's gradient is a convolution, too, whose filter is the output's gradient, 4 x 4, and whose outputs are 3 x 3, from the same points: its
    // two matrices. The divisors are left to `taps`, which runs once a filter.
    static ALWAYS_INLINE void gradient(const V (&g)[4], V (&u)[6]) {
        const V even_a = g[0] + aa * g[2], odd_a = g[1] + aa * g[3], even_b = g[0] + bb * g[2], odd_b = g[1] + bb * g[3];
        u[0] = g[0];
        u[1] = even_a + a * odd_a, u[2] = even_a - a * odd_a;
        u[3] = even_b + b * odd_b, u[4] = even_b - b * odd_b;
        u[5] = g[3];
    }
    static ALWAYS_INLINE void taps(const V (&m)[6], V (&w)[3]) {
        const V even_a = of_a * (m[1] + m[2]), odd_a = of_a * (m[1] - m[2]), even_b = of_b * (m[3] + m[4]), odd_b = of_b * (m[3] - m[4]);
        w[0] = of_0 * m[0] + even_a + even_b;
        w[1] = a * odd_a + b * odd_b;
        w[2] = m[5] + aa * even_a + bb * even_b;
    }
};

// Tiles are taken in blocks, whose values stay in the second cache: `rows` rows of tiles (those of all images counted through) times `columns`.
template <class T, int M> struct Tiling {
    static constexpr int SIDE = M + 2, VALUES = SIDE * SIDE;
    int64_t images, h, w, before_y, before_x;   // of the image, and its padding
    int64_t p, q;                               // of the outputs
    int64_t tiles_y, tiles_x, rows, columns, across, blocks;

    // At most `most` tiles a block (but a row of one).
    void cut(int64_t most) {
        tiles_y = pieces(p, M), tiles_x = pieces(q, M);
        columns = pieces(tiles_x, pieces(tiles_x, most));
        across = pieces(tiles_x, columns);
        const int64_t all = images * tiles_y, wanted = larger(1, smaller(all, most / columns));
        rows = pieces(all, pieces(all, wanted));
        blocks = across * pieces(all, rows);
    }
    int64_t tiles() const { return rows * columns; }
    int64_t strip_width() const { return M * columns + 2; }
    int64_t strip_size() const { return (M * smaller(rows, tiles_y) + 2) * strip_width() * vec<T>::size; }
};

// The part of a block that lies in one image: tiles [first, first + rows) x [left, left + columns), the first one the block's tile number `tile`.
struct Segment { int64_t image, first, rows, left, columns, tile; };

template <class T, int M, class Body> ALWAYS_INLINE void for_each_segment(const Tiling<T, M>& t, int64_t block, const Body& body) {
    const int64_t left = block % t.across * t.columns, columns = smaller(t.columns, t.tiles_x - left);
    const int64_t begin = block / t.across * t.rows, end = smaller(begin + t.rows, t.images * t.tiles_y);
    for (int64_t row = begin; row < end;) {
        const int64_t first = row % t.tiles_y, rows = smaller(end - row, t.tiles_y - first);
        body(Segment{row / t.tiles_y, first, rows, left, columns, (row - begin) * columns});
        row += rows;
    }
}

// What the tiles of a segment see of L channels of an image (or of a gradient), its padding included, a vector a pixel.
//     strip[(i * width + j) * L + l] = image[l, top + i, left + j]           image: the first of `channels` <= L channels, h x w numbers
template <class T> void fill_strip(T* strip, int64_t rows, int64_t width, const T* image, const int64_t* stride, int64_t channels, int64_t h, int64_t w, int64_t top,
                                   int64_t left) {
    using V = typename vec<T>::type;
    constexpr int64_t L = vec<T>::size;
    const int64_t i0 = smaller(rows, larger(0, -top)), i1 = larger(i0, smaller(rows, h - top));
    const int64_t j0 = smaller(width, larger(0, -left)), j1 = larger(j0, smaller(width, w - left)), inside = j1 - j0;
    const auto clear = [&](int64_t begin, int64_t end) { for (int64_t i = begin; i < end; ++i) store(strip + i * L, V{}); };
    clear(0, i0 * width);
    for (int64_t i = i0; i < i1; ++i) clear(i * width, i * width + j0), clear(i * width + j1, (i + 1) * width);
    clear(i1 * width, rows * width);
    if (i0 == i1 || inside == 0) return;

    image += (top + i0) * stride[2] + (left + j0) * stride[3];
    const bool through = inside == w && stride[3] == 1 && stride[2] == w;   // rows follow each other
    const int64_t run = through ? (i1 - i0) * w : inside;
    for (int64_t first = i0; first < i1; first += through ? i1 - i0 : 1, image += stride[2]) {
        T* to = strip + (first * width + j0) * L;
        if (stride[3] != 1 || run < L) {
            for (int64_t i = 0; i < run; ++i)
                for (int64_t l = 0; l < L; ++l) to[(i / inside * width + i % inside) * L + l] = l < channels ? image[l * stride[1] + i * stride[3]] : T{0};
            continue;
        }
        for (int64_t i = 0; i < run; i += L) {
            const int64_t at = smaller(i, run - L);   // the last ones overlap
            V block[L];
            for (int64_t l = 0; l < L; ++l) block[l] = l < channels ? load(image + l * stride[1] + at) : V{};
            transpose<T>(block);
            int64_t column = at % inside;
            T* place = to + (at / inside * width + column) * L;
            for (int64_t l = 0; l < L; ++l) {
                store(place, block[l]);
                place += L;
                if (++column == inside) column = 0, place += (width - inside) * L;
            }
        }
    }
}

// What a filter or a gradient that consists of small integers leads to must be exact, which these products are not.
template <class T> bool integers(const View& w) {
    const int64_t *stride = w.stride, *shape = w.shape;
    for (int64_t o = 0; o < shape[0]; ++o)
        for (int64_t c = 0; c < shape[1]; ++c)
            for (int64_t r = 0; r < shape[2]; ++r)
                for (int64_t s = 0; s < shape[3]; ++s) {
                    const T x = static_cast<const T*>(w.data)[o * stride[0] + c * stride[1] + r * stride[2] + s * stride[3]];
                    if (!(x > -(1 << 24) && x < (1 << 24) && x == static_cast<int32_t>(x))) return false;
                }
    return true;
}

template <class T> constexpr auto of(const PerType<bool (*)(const ConvArguments&)>& entry) {
    if constexpr (sizeof(T) == 4) return entry.f32;
    else return entry.f64;
}

// The values of a segment's tiles, for L channels: value f of tile t at to[f * step + t * lanes].
template <class T, int M> NOINLINE void image_values(const T* strip, const Segment& s, int64_t width, T* to, int64_t step, int64_t lanes) {
    using V = typename vec<T>::type;
    constexpr int L = vec<T>::size, SIDE = M + 2;
    for (int64_t i = 0; i < s.rows; ++i)
        for (int64_t j = 0; j < s.columns; ++j, to += lanes) {
            const T* corner = strip + (i * width + j) * M * L;
            V half[SIDE][SIDE];
            for (int x = 0; x < SIDE; ++x) {
                V d[SIDE];
                UNROLL for (int y = 0; y < SIDE; ++y) d[y] = load(corner + (y * width + x) * L);
                Transform<T, M>::image(d);
                UNROLL for (int y = 0; y < SIDE; ++y) half[y][x] = d[y];
            }
            for (int y = 0; y < SIDE; ++y) {
                V d[SIDE];
                UNROLL for (int x = 0; x < SIDE; ++x) d[x] = half[y][x];
                Transform<T, M>::image(d);
                UNROLL for (int x = 0; x < SIDE; ++x) store(to + (y * SIDE + x) * step, d[x]);
            }
        }
}

}  // namespace
}  // namespace minidl::ISA
