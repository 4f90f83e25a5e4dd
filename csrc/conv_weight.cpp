// conv2d_weight: ∂W[o,c,r,s] = Σ[n,p,q] G[n,o,p,q] * X[n,c,p*stride+r*dilation-padding,q*...]
//
//     for each part of the images' bands, group and block of channels (all threads):
//         for each band of the part:
//             copy its planes (windows.h), transpose its part of G
//             for each pair of vectors of o, for each tile of taps (c, r, s):
//                 tile()   A: the planes, row (c, r, s) from offset[c, r, s] on, pixel after pixel by a table; B: G, a row a pixel
//     add the parts, in order
//
// The number of parts follows from the sizes alone, and so does the order in which products are added.
#include "conv_parts.h"

#include "windows.h"

namespace minidl::ISA {
namespace {

template <class T> struct WeightGradient {
    const ConvArguments& p;
    Planes<T> planes;             // of one block of channels
    int64_t band, bands, units;   // a unit is one band of one image
    int64_t parts, blocks, block; // `block` channels each
    int64_t taps, lanes;          // of the filter; o, rounded up to full vectors
    const int64_t *offset, *pixel;
    T* sums;                      // (parts, groups, c * taps, lanes)
};

template <class T> void add_unit(const WeightGradient<T>& all, int64_t unit, int64_t group, int64_t c0, T* room, T* sums, bool add) {
    constexpr int64_t L = vec<T>::size;
    const ConvArguments& p = all.p;
    const int64_t image = unit / all.bands, first = unit % all.bands * all.band, rows = smaller(all.band, p.p - first), pixels = rows * p.q;
    Planes<T> planes = all.planes;
    planes.channels = smaller(all.block, p.c - c0);
    const int64_t *stride = p.image.stride, *of_g = p.output.stride;
    fill_planes(planes, room, first, static_cast<const T*>(p.image.data) + image * stride[0] + (group * p.c + c0) * stride[1], stride, end_of<T>(p.image));
    T* packed = room + all.planes.size();

    const int64_t k = planes.channels * all.taps, tiles = pieces(k, ROWS);
    Tile<T> t{};
    t.k = pixels;
    t.offset = all.pixel;
    t.c_row = all.lanes;
    t.add = add;
    t.width[0] = t.width[1] = L;
    for (int64_t o = 0; o < p.o; o += WIDE * L) {
        const int vectors = p.o - o > L ? 2 : 1;
        const int64_t wide = vectors * L, width = smaller(wide, p.o - o);
        const T* g = static_cast<const T*>(p.output.data) + image * of_g[0] + (group * p.o + o) * of_g[1] + first * of_g[2];
        if (of_g[2] == p.q * of_g[3]) pack_columns(packed, wide, g, of_g[3], of_g[1], pixels, width);
        else for (int64_t i = 0; i < rows; ++i) pack_columns(packed + i * p.q * wide, wide, g + i * of_g[2], of_g[3], of_g[1], p.q, width);
        t.b_step = wide;
        for (int n = 0; n < vectors; ++n) t.b[n] = packed + n * L;
        for (int64_t i = 0; i < tiles; ++i) {
            const int64_t row = part(k, tiles, i);
            const int height = static_cast<int>(part(k, tiles, i + 1) - row);
            for (int m = 0; m < height; ++m) t.a[m] = room + all.offset[row + m];
            for (int n = 0; n < vectors; ++n) t.c[n] = sums + row * all.lanes + o + n * L;
            run_tile<TABLE_A>(height, vectors, t);
        }
    }
}

// One or two filters a group would leave the vectors of o empty, and with the nine taps of one channel half a vector of them would not pay for transposing G: there
// numbers of a row of pixels share a vector instead.
//     sums[k][o] += Σ[p,q] planes[offset[k] + p * width + q] * G[o,p,q]          M taps and N filters at a time; G's rows `g_row` apart, its planes `g_plane`
template <class T> struct Dots {
    const T *planes, *g;
    const int64_t* offset;
    int64_t width, g_plane, g_row, rows, q;
    T* sums;
    int64_t step;
    bool add;
};
template <class T, int M, int N> NOINLINE void dots(const Dots<T>& t) {
    using V = typename vec<T>::type;
    using mask = typename vec<T>::mask;
    constexpr int L = vec<T>::size;
    mask tail{};   // a product with zero is no way to leave a lane out: it may be infinite or NaN
    for (int l = 0; l < L; ++l) tail[l] = l < t.q % L ? -1 : 0;
    V sum[M][N];
    const T *x[M], *g[N];
    UNROLL for (int m = 0; m < M; ++m) UNROLL for (int n = 0; n < N; ++n) sum[m][n] = V{};
    UNROLL for (int m = 0; m < M; ++m) x[m] = t.planes + t.offset[m];
    UNROLL for (int n = 0; n < N; ++n) g[n] = t.g + n * t.g_plane;
    const int64_t q = t.q;
    for (int64_t row = 0, at = 0, from = 0; row < t.rows; ++row, at += t.width, from += t.g_row) {
        int64_t i = 0;
        for (; i + L <= q; i += L) {
            V y[N];
            UNROLL for (int n = 0; n < N; ++n) y[n] = load(g[n] + from + i);
            UNROLL for (int m = 0; m < M; ++m) {
                const V z = load(x[m] + at + i);
                UNROLL for (int n = 0; n < N; ++n) sum[m][n] += z * y[n];
            }
        }
        if (i == q) continue;
        V y[N];
        UNROLL for (int n = 0; n < N; ++n) y[n] = V(tail & (mask)load(g[n] + from + i));
        UNROLL for (int m = 0; m < M; ++m) {
            const V z = V(tail & (mask)load(x[m] + at + i));
            UNROLL for (int n = 0; n < N; ++n) sum[m][n] += z * y[n];
        }
    }
    UNROLL for (int m = 0; m < M; ++m)
        UNROLL for (int n = 0; n < N; ++n) {
            T* to = t.sums + m * t.step + n;
            alignas(64) T lanes[L];
            store(lanes, sum[m][n]);
            T y = 0;
            for (int l = 0; l < L; ++l) y += lanes[l];
            *to = t.add ? *to + y : y;
        }
}

constexpr int FEW = 2, TAPS = 9, SIDE = TAPS * 2 <= ROWS * WIDE ? 2 : 1;   // filters side by side, as registers allow

template <class T> bool takes_dots(const ConvArguments& p) {
    constexpr int64_t L = vec<T>::size;
    return p.o <= FEW || (p.c * p.r * p.s <= TAPS && p.o < L && 4 * p.q >= 3 * L * pieces(p.q, L));
}

template <class T> void add_unit_of_few(const WeightGradient<T>& all, int64_t unit, int64_t group, int64_t c0, T* room, T* sums, bool add) {
    constexpr int64_t L = vec<T>::size;
    const ConvArguments& p = all.p;
    const int64_t image = unit / all.bands, first = unit % all.bands * all.band, rows = smaller(all.band, p.p - first);
    Planes<T> planes = all.planes;
    planes.channels = smaller(all.block, p.c - c0);
    const int64_t *stride = p.image.stride, *of_g = p.output.stride;
    fill_planes(planes, room, first, static_cast<const T*>(p.image.data) + image * stride[0] + (group * p.c + c0) * stride[1], stride, end_of<T>(p.image));
    const int64_t k = planes.channels * all.taps, lanes = pieces(p.q, L) * L;
    const T* end = end_of<T>(p.output);
    Dots<T> t{};
    t.planes = room;
    t.width = planes.width;
    t.rows = rows, t.q = p.q;
    t.step = all.lanes;
    t.add = add;
    for (int64_t o = 0; o < p.o;) {
        const int filters = p.o - o >= SIDE ? SIDE : 1;
        const T* g = static_cast<const T*>(p.output.data) + image * of_g[0] + (group * p.o + o) * of_g[1] + first * of_g[2];
        t.g = g, t.g_plane = of_g[1], t.g_row = of_g[2];
        bool inside = of_g[3] == 1;   // vectors may be read whole
        for (int n = 0; n < filters; ++n) inside = inside && g + n * of_g[1] + lanes <= end && g + n * of_g[1] + (rows - 1) * of_g[2] + lanes <= end;
        if (!inside) {
            T* copy = room + all.planes.size() + L;
            t.g = copy, t.g_plane = rows * lanes, t.g_row = lanes;
            for (int n = 0; n < filters; ++n)
                for (int64_t i = 0; i < rows; ++i, copy += lanes)
                    for (int64_t j = 0; j < p.q; ++j) copy[j] = g[n * of_g[1] + i * of_g[2] + j * of_g[3]];
        }
        for (int64_t i = 0; i < k;) {
            t.offset = all.offset + i;
            t.sums = sums + i * all.lanes + o;
            const auto go = [&](auto one, auto pair, int taps) {
                filters == SIDE ? pair(t) : one(t);
                i += taps;
            };
            if (k - i >= 9) go(dots<T, 9, 1>, dots<T, 9, SIDE>, 9);
            else if (k - i >= 5) go(dots<T, 5, 1>, dots<T, 5, SIDE>, 5);
            else if (k - i >= 3) go(dots<T, 3, 1>, dots<T, 3, SIDE>, 3);
            else go(dots<T, 1, 1>, dots<T, 1, SIDE>, 1);
        }
        o += filters;
    }
}

template <class T> bool conv2d_weight(const ConvArguments& p) {
    constexpr int64_t L = vec<T>::size, ROOM = (8 << 20) / sizeof(T), TASK = 1 << 19, TASKS = 16;
    WeightGradient<T> all{p};
    Planes<T>& planes = all.planes;
    planes.y = forward_axis(p.h, p.r, p.stride[0], p.padding[0], p.dilation[0]);
    planes.x = forward_axis(p.w, p.s, p.stride[1], p.padding[1], p.dilation[1]);
    planes.width = p.q + planes.x.reach;
    all.taps = p.r * p.s;
    all.lanes = p.o <= FEW ? p.o : pieces(p.o, L) * L;
    const int64_t row_work = p.o * p.c * all.taps * p.q, row = p.c * planes.y.phases * planes.x.phases * planes.width + p.q * WIDE * L;
    all.band = band_rows(p.n * p.groups, p.p, row * static_cast<int64_t>(sizeof(T)), row_work);
    all.bands = pieces(p.p, all.band);
    all.units = p.n * all.bands;
    planes.rows = all.band + planes.y.reach;

    const int64_t size = p.groups * p.c * all.taps * all.lanes;
    const int64_t wanted = larger(1, smaller(TASKS, p.n * p.groups * p.p * row_work / TASK));
    all.parts = larger(1, smaller(smaller(all.units, wanted), ROOM / size));
    all.blocks = smaller(p.c, pieces(wanted, all.parts * p.groups));
    all.block = pieces(p.c, all.blocks);
    all.blocks = pieces(p.c, all.block);
    planes.channels = all.block;

    const int64_t offsets = all.block * all.taps, pixels = all.band * p.q;
    char* room = static_cast<char*>(workspace(0, (offsets + pixels + 8) / 8 * 64 + all.parts * size * sizeof(T)));
    if (!room) return false;
    int64_t *offset = reinterpret_cast<int64_t*>(room), *pixel = offset + offsets;
    all.offset = offset, all.pixel = pixel;
    all.sums = reinterpret_cast<T*>(room + (offsets + pixels + 8) / 8 * 64);
    forward_offsets(p, planes, offset);
    for (int64_t i = 0; i < pixels; ++i) pixel[i] = i / p.q * planes.width + i % p.q;

    bool fine = true;
    parallel_for(all.parts * p.groups * all.blocks, 1, [&](int64_t task_begin, int64_t task_end) {
        T* own = static_cast<T*>(workspace(1, (planes.size() + L + larger(pixels * WIDE * L, SIDE * all.band * (p.q + L) + L)) * sizeof(T)));
        if (!own) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        for (int64_t task = task_begin; task < task_end; ++task) {
            const int64_t c0 = task % all.blocks * all.block, group = task / all.blocks % p.groups, i = task / all.blocks / p.groups;
            T* sums = all.sums + i * size + (group * p.c + c0) * all.taps * all.lanes;
            const int64_t begin = part(all.units, all.parts, i), end = part(all.units, all.parts, i + 1);
            for (int64_t unit = begin; unit < end; ++unit)
                (takes_dots<T>(p) ? add_unit_of_few<T> : add_unit<T>)(all, unit, group, c0, own, sums, unit > begin);
        }
    });
    if (fine) add_parts(static_cast<T*>(p.filter.data), all.sums, all.parts, p.groups, p.c * all.taps, p.o, all.lanes);
    return fine;
}

}  // namespace

constexpr ConvWeightTable conv_weight_table = {.conv2d_weight = {conv2d_weight<float>, conv2d_weight<double>}};

}  // namespace minidl::ISA
