// conv2d and conv2d_input of a 3 x 3 filter (stride 1, dilation 1, one group) by Winograd's products: winograd.h
//
//     for each value f of a tile, channel c, filter o:  U[f, c, o]                              the filter's values (all threads)
//     for each block of tiles (all threads):
//         for each channel c, tile t:      V[f, t, c]                                            the image's values
//         for each two vectors of o:
//             for each value f:            Z[f, t, o] = Σ[c] V[f, t, c] * U[f, c, o]             tile()  A: V, B: U                   tile.h
//             for each tile t:             the M x M outputs from Z[:, t, o]
//
// Error, for normal random numbers, root mean square: 2.5 times that of conv.cpp with tiles of 4 x 4, the same with 2 x 2. But as each output is made
// from all numbers of its tile, errors are relative to the largest of them: tests hold |error| <= (4 + 2 sqrt(9 C)) ε max|X| Σ|W|, and for conv.cpp the same
// relative to Σ|X W|. For that reason, too, NaN and infinite numbers spread over a tile, and large numbers may overflow on the way: an image whose result
// is not finite is computed again by conv.cpp. So are filters that consist of integers, whose results would not be exact.
#include "winograd.h"

namespace minidl::ISA {
namespace {

template <class T, int M> struct Job {
    Tiling<T, M> tiling;
    int64_t c, o;
    const T* image;
    const int64_t* stride;
    const T *u, *bias;        // (pieces(o, PANEL), VALUES, c, PANEL); pieces(o, PANEL) * PANEL
    int64_t lanes, v_step, z_step;   // c, rounded up to full vectors; from value to value
    T* y;
    char* spoiled;            // of each image
};

// A filter (O, C, 3, 3) of any strides: for the gradient turned by 180 degrees, o and c swapped.
template <class T> struct Filter { const T* data; int64_t o, c, r, s; };

// U of one panel of o and channel c.
template <class T, int M> void filter_values(const Filter<T>& w, int64_t c, int64_t o, int64_t count, T* u, int64_t step) {
    using V = typename vec<T>::type;
    constexpr int L = vec<T>::size, SIDE = M + 2;
    V g[3][3], half[3][SIDE];
    for (int r = 0; r < 3; ++r)
        for (int s = 0; s < 3; ++s) {
            alignas(64) T lanes[L] = {};
            for (int l = 0; l < L && l < count; ++l) lanes[l] = w.data[(o + l) * w.o + c * w.c + r * w.r + s * w.s];
            g[s][r] = load(lanes);
        }
    for (int s = 0; s < 3; ++s) Transform<T, M>::filter(g[s], half[s]);
    for (int y = 0; y < SIDE; ++y) {
        const V row[3] = {half[0][y], half[1][y], half[2][y]};
        V all[SIDE];
        Transform<T, M>::filter(row, all);
        for (int x = 0; x < SIDE; ++x) store(u + (y * SIDE + x) * step, all[x]);
    }
}

// The outputs of one row of tiles for L filters, a vector a pixel: pixel (i, j) at strip[(i * line + j) * L]. A tile that hangs over the end of its rows writes into the next ones,
// so tiles go from right to left. False where something is not finite.
template <class T, int M> NOINLINE bool outputs(const T* z, int64_t step, int64_t tile_step, int64_t tiles, int64_t line, const T* bias, T* strip) {
    using V = typename vec<T>::type;
    constexpr int L = vec<T>::size, SIDE = M + 2;
    const V b = load(bias);
    V spoiled[M] = {};   // several, so that none waits for the one before
    for (int64_t t = tiles - 1; t >= 0; --t) {
        V half[SIDE][M];
        for (int x = 0; x < SIDE; ++x) {
            V m[SIDE];
            UNROLL for (int y = 0; y < SIDE; ++y) m[y] = load(z + t * tile_step + (y * SIDE + x) * step);
            Transform<T, M>::output(m, half[x]);
        }
        for (int y = 0; y < M; ++y) {
            V m[SIDE], all[M];
            UNROLL for (int x = 0; x < SIDE; ++x) m[x] = half[x][y];
            Transform<T, M>::output(m, all);
            UNROLL for (int x = 0; x < M; ++x) {
                spoiled[x] += all[x] * T{0};   // 0, or NaN
                store(strip + (y * line + t * M + x) * L, all[x] + b);
            }
        }
    }
    T sum = 0;
    for (int x = 0; x < M; ++x) for (int l = 0; l < L; ++l) sum += spoiled[x][l];
    return sum == 0;
}

// From a vector a pixel to a plane a channel.
template <class T> void spread(const T* strip, int64_t pixels, T* y, int64_t plane, int64_t channels) {
    using V = typename vec<T>::type;
    constexpr int64_t L = vec<T>::size;
    for (int64_t i = 0; i < pixels; i += L) {
        const int64_t at = larger(0, smaller(i, pixels - L));   // the last ones overlap
        const int width = static_cast<int>(smaller(L, pixels));
        V block[L];
        for (int64_t l = 0; l < L; ++l) block[l] = load(strip + (at + l) * L);
        transpose<T>(block);
        if (width == L) for (int64_t l = 0; l < channels; ++l) store(y + l * plane + at, block[l]);
        else
            for (int64_t l = 0; l < channels; ++l) {
                alignas(64) T lanes[L];
                store(lanes, block[l]);
                copy_lanes(y + l * plane, lanes, width);
            }
    }
}

template <class T, int M> void compute_block(const Job<T, M>& job, int64_t block, T* v, T* z, T* strip) {
    constexpr int64_t L = vec<T>::size, PANEL = WIDE * L, VALUES = Tiling<T, M>::VALUES;
    const Tiling<T, M>& tiling = job.tiling;
    int64_t tiles = 0;
    for_each_segment(tiling, block, [&](const Segment& s) {
        const int64_t width = M * s.columns + 2;
        for (int64_t c = 0; c < job.c; c += L) {
            fill_strip(strip, M * s.rows + 2, width, job.image + s.image * job.stride[0] + c * job.stride[1], job.stride, smaller(L, job.c - c), tiling.h, tiling.w,
                       M * s.first - tiling.before_y, M * s.left - tiling.before_x);
            image_values<T, M>(strip, s, width, v + s.tile * job.lanes + c, job.v_step, job.lanes);
        }
        tiles = s.tile + s.rows * s.columns;
    });

    Tile<T> t{};
    t.k = job.c;
    t.a_step = 1;
    t.b_step = t.c_row = PANEL;
    t.width[0] = t.width[1] = L;
    const int64_t panels = pieces(tiles, ROWS);
    for (int64_t o = 0; o < job.o; o += PANEL) {
        const int vectors = job.o - o > L ? 2 : 1;
        for (int64_t f = 0; f < VALUES; ++f) {
            const T* u = job.u + (o / PANEL * VALUES + f) * job.c * PANEL;
            t.b[0] = u, t.b[1] = u + L;
            for (int64_t i = 0; i < panels; ++i) {
                const int64_t row = part(tiles, panels, i);
                const int height = static_cast<int>(part(tiles, panels, i + 1) - row);
                for (int m = 0; m < height; ++m) t.a[m] = v + f * job.v_step + (row + m) * job.lanes;
                t.c[0] = z + f * job.z_step + row * PANEL, t.c[1] = t.c[0] + L;
                run_tile<STEPS>(height, vectors, t);
            }
        }
        for_each_segment(tiling, block, [&](const Segment& s) {
            const int64_t line = smaller(M * s.columns, tiling.q - M * s.left), plane = tiling.p * tiling.q;
            for (int n = 0; n < vectors; ++n) {
                const int64_t channel = o + n * L, channels = smaller(L, job.o - channel);
                for (int64_t i = 0; i < s.rows; ++i) {
                    const int64_t p = M * (s.first + i), rows = smaller(M, tiling.p - p);
                    if (!outputs<T, M>(z + (s.tile + i * s.columns) * PANEL + n * L, job.z_step, PANEL, s.columns, line, job.bias + channel, strip))
                        __atomic_store_n(job.spoiled + s.image, 1, __ATOMIC_RELAXED);
                    T* y = job.y + (s.image * job.o + channel) * plane + p * tiling.q + M * s.left;
                    if (line == tiling.q) spread(strip, rows * line, y, plane, channels);
                    else for (int64_t r = 0; r < rows; ++r) spread(strip + r * line * L, line, y + r * tiling.q, plane, channels);
                }
            }
        });
    }
}

// y (images, o, p, q) = the correlation of x (images, c, h, w) with the filter. False: out of memory.
template <class T, int M> bool correlate(Tiling<T, M> tiling, int64_t c, int64_t o, const View& x, const Filter<T>& filter, const ConvArguments& p, T* y, char*& spoiled) {
    constexpr int64_t L = vec<T>::size, PANEL = WIDE * L, VALUES = Tiling<T, M>::VALUES, LINE = 64 / sizeof(T), CACHE = 512 << 10, TASK = 1 << 19;
    Job<T, M> job;
    job.c = c, job.o = o;
    job.lanes = pieces(c, L) * L;
    const int64_t all = tiling.images * pieces(tiling.p, M) * pieces(tiling.q, M);
    const int64_t cached = CACHE / (VALUES * (job.lanes + PANEL) * static_cast<int64_t>(sizeof(T)));
    tiling.cut(larger(ROWS, smaller(smaller(96, cached), all / 8)));
    job.tiling = tiling;
    job.image = static_cast<const T*>(x.data), job.stride = x.stride;
    job.v_step = tiling.tiles() * job.lanes + LINE;   // a line more, or all values of a tile would meet in a few sets of the cache
    job.z_step = tiling.tiles() * PANEL + LINE;
    job.y = y;

    const int64_t panels = pieces(o, PANEL), u_size = panels * VALUES * c * PANEL;
    T* room = static_cast<T*>(workspace(2, (u_size + panels * PANEL) * sizeof(T) + tiling.images));
    if (!room) return false;
    T* bias = room + u_size;   // in slot 2, for the marks must survive a call of the direct kernel
    job.u = room, job.bias = bias;
    job.spoiled = spoiled = reinterpret_cast<char*>(bias + panels * PANEL);
    for (int64_t i = 0; i < panels * PANEL; ++i) bias[i] = p.bias && i < o ? static_cast<const T*>(p.bias)[i * p.bias_step] : T{0};
    for (int64_t i = 0; i < tiling.images; ++i) spoiled[i] = 0;
    parallel_for(panels * c, 64, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
            for (int64_t n = 0; n < PANEL; n += L)
                filter_values<T, M>(filter, i % c, i / c * PANEL + n, o - (i / c * PANEL + n), room + (i / c * VALUES * c + i % c) * PANEL + n, c * PANEL);
    });

    bool fine = true;
    parallel_for(tiling.blocks, larger(1, TASK / (tiling.tiles() * VALUES * c * o)), [&](int64_t begin, int64_t end) {
        const int64_t v_size = VALUES * job.v_step, z_size = VALUES * job.z_step;
        T* own = static_cast<T*>(workspace(1, (v_size + z_size + tiling.strip_size() + L * L) * sizeof(T)));
        if (!own) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        for (int64_t block = begin; block < end; ++block) compute_block<T, M>(job, block, own, own + v_size, own + v_size + z_size);
    });
    return fine;
}

// One image of the arguments.
ConvArguments only(const ConvArguments& p, int64_t image, int64_t bytes) {
    ConvArguments one = p;
    one.n = 1;
    one.image.data = static_cast<char*>(p.image.data) + image * p.image.stride[0] * bytes;
    one.output.data = static_cast<char*>(p.output.data) + image * p.output.stride[0] * bytes;
    one.image.shape[0] = one.output.shape[0] = 1;
    return one;
}

// `run(spoiled)` where it may; the direct kernel for the rest.
template <class T, class Run> bool with_repair(const ConvArguments& p, bool (*direct)(const ConvArguments&), const Run& run) {
    if (integers<T>(p.filter)) return direct(p);
    char* spoiled = nullptr;
    if (!run(spoiled)) return false;
    for (int64_t image = 0; image < p.n; ++image)
        if (spoiled[image] && !direct(only(p, image, sizeof(T)))) return false;
    return true;
}

template <class T, int M> bool conv2d(const ConvArguments& p) {
    return with_repair<T>(p, of<T>(conv_table.conv2d), [&](char*& spoiled) {
        const int64_t* stride = p.filter.stride;
        const Filter<T> filter = {static_cast<const T*>(p.filter.data), stride[0], stride[1], stride[2], stride[3]};
        const Tiling<T, M> tiling = {p.n, p.h, p.w, p.padding[0], p.padding[1], p.p, p.q};
        return correlate<T, M>(tiling, p.c, p.o, p.image, filter, p, static_cast<T*>(p.output.data), spoiled);
    });
}

template <class T, int M> bool conv2d_input(const ConvArguments& p) {
    return with_repair<T>(p, of<T>(conv_table.conv2d_input), [&](char*& spoiled) {
        const int64_t* stride = p.filter.stride;
        const Filter<T> filter = {static_cast<const T*>(p.filter.data) + 2 * (stride[2] + stride[3]), stride[1], stride[0], -stride[2], -stride[3]};
        const Tiling<T, M> tiling = {p.n, p.p, p.q, 2 - p.padding[0], 2 - p.padding[1], p.h, p.w};
        return correlate<T, M>(tiling, p.o, p.c, p.output, filter, p, static_cast<T*>(p.image.data), spoiled);
    });
}

// What may be computed here; and where that was measured to be faster: enough channels to fill vectors and to outweigh the way to the values and back, enough
// tiles to outweigh the filter's way, few that hang over, and a filter whose values stay in the third cache.
bool fits(const ConvArguments& p) {
    return p.groups == 1 && p.r == 3 && p.s == 3 && p.stride[0] == 1 && p.stride[1] == 1 && p.dilation[0] == 1 && p.dilation[1] == 1;
}
template <class T> bool pays(const ConvArguments& p) {
    constexpr int64_t LEAST = vec<T>::size > 8 ? 12 : 8, TILES = 32, CACHE = 16 << 20;
    if (!fits(p) || p.padding[0] > 2 || p.padding[1] > 2 || p.c < LEAST || p.o < LEAST) return false;
    const int64_t tiles = p.n * pieces(p.p, 4) * pieces(p.q, 4);
    return tiles >= TILES && 16 * tiles < 2 * p.n * p.p * p.q && 36 * p.c * p.o * static_cast<int64_t>(sizeof(T)) <= CACHE;
}

}  // namespace

constexpr WinogradTable winograd_table = {
    .conv2d = {conv2d<float, 4>, conv2d<double, 4>},
    .conv2d_input = {conv2d_input<float, 4>, conv2d_input<double, 4>},
    .conv2d_small = {conv2d<float, 2>, conv2d<double, 2>},
    .fits = fits,
    .pays = {pays<float>, pays<double>},
};

}  // namespace minidl::ISA
