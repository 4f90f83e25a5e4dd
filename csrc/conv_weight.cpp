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

// One or two filters a group would leave the vectors of o empty: there numbers of a row of pixels share a vector instead.
//     sums[k][o] += Σ[p,q] planes[offset[k] + p * width + q] * G[p,q]            M taps at a time, G's rows contiguous, `lanes` apart, zero beyond q
template <class T, int M> NOINLINE void dot_taps(const T* planes, const int64_t* offset, int64_t width, const T* g, int64_t lanes, int64_t rows, int64_t q, T* sums,
                                                 int64_t step, bool add) {
    using V = typename vec<T>::type;
    constexpr int L = vec<T>::size;
    typename vec<T>::mask tail{};   // a product with zero is no way to leave a lane out: it may be infinite or NaN
    for (int l = 0; l < L; ++l) tail[l] = l < q % L ? -1 : 0;
    V sum[M];
    const T* x[M];
    for (int m = 0; m < M; ++m) sum[m] = V{}, x[m] = planes + offset[m];
    for (int64_t row = 0, at = 0; row < rows; ++row, g += lanes, at += width) {
        int64_t i = 0;
        for (; i + L <= q; i += L) for (int m = 0; m < M; ++m) sum[m] += load(x[m] + at + i) * load(g + i);
        if (i < q) for (int m = 0; m < M; ++m) sum[m] += V(tail & (typename vec<T>::mask)load(x[m] + at + i)) * load(g + i);
    }
    for (int m = 0; m < M; ++m) {
        T y = 0;
        for (int l = 0; l < L; ++l) y += sum[m][l];
        sums[m * step] = add ? sums[m * step] + y : y;
    }
}

constexpr int FEW = 2;

template <class T> void add_unit_of_few(const WeightGradient<T>& all, int64_t unit, int64_t group, int64_t c0, T* room, T* sums, bool add) {
    constexpr int64_t L = vec<T>::size;
    const ConvArguments& p = all.p;
    const int64_t image = unit / all.bands, first = unit % all.bands * all.band, rows = smaller(all.band, p.p - first);
    Planes<T> planes = all.planes;
    planes.channels = smaller(all.block, p.c - c0);
    const int64_t *stride = p.image.stride, *of_g = p.output.stride;
    fill_planes(planes, room, first, static_cast<const T*>(p.image.data) + image * stride[0] + (group * p.c + c0) * stride[1], stride, end_of<T>(p.image));
    T* rows_of_g = room + all.planes.size() + L;
    const int64_t k = planes.channels * all.taps, lanes = pieces(p.q, L) * L;
    const T* end = end_of<T>(p.output);
    for (int64_t o = 0; o < p.o; ++o) {
        const T* g = static_cast<const T*>(p.output.data) + image * of_g[0] + (group * p.o + o) * of_g[1] + first * of_g[2];
        for (int64_t i = 0; i < rows; ++i) {
            T* to = rows_of_g + i * lanes;
            const T* from = g + i * of_g[2];
            int64_t j = 0;
            if (of_g[3] == 1) for (; j < p.q && from + j + L <= end; j += L) store(to + j, load(from + j));
            for (; j < p.q; ++j) to[j] = from[j * of_g[3]];
            for (j = p.q; j < lanes; ++j) to[j] = 0;
        }
        for (int64_t i = 0; i < k;) {
            const auto go = [&](auto kernel, int taps) {
                kernel(room, all.offset + i, planes.width, rows_of_g, lanes, rows, p.q, sums + i * all.lanes + o, all.lanes, add);
                i += taps;
            };
            if (k - i >= 9) go(dot_taps<T, 9>, 9);
            else if (k - i >= 5) go(dot_taps<T, 5>, 5);
            else if (k - i >= 3) go(dot_taps<T, 3>, 3);
            else go(dot_taps<T, 1>, 1);
        }
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
        T* own = static_cast<T*>(workspace(1, (planes.size() + L + larger(pixels * WIDE * L, all.band * (p.q + L))) * sizeof(T)));
        if (!own) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        for (int64_t task = task_begin; task < task_end; ++task) {
            const int64_t c0 = task % all.blocks * all.block, group = task / all.blocks % p.groups, i = task / all.blocks / p.groups;
            T* sums = all.sums + i * size + (group * p.c + c0) * all.taps * all.lanes;
            const int64_t begin = part(all.units, all.parts, i), end = part(all.units, all.parts, i + 1);
            for (int64_t unit = begin; unit < end; ++unit)
                (p.o <= FEW ? add_unit_of_few<T> : add_unit<T>)(all, unit, group, c0, own, sums, unit > begin);
        }
    });
    if (fine) add_parts(static_cast<T*>(p.filter.data), all.sums, all.parts, p.groups, p.c * all.taps, p.o, all.lanes);
    return fine;
}

}  // namespace

constexpr ConvWeightTable conv_weight_table = {.conv2d_weight = {conv2d_weight<float>, conv2d_weight<double>}};

}  // namespace minidl::ISA
