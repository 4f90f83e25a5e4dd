// conv2d_weight of a 3 x 3 filter (stride 1, dilation 1, one group) by Winograd's products: winograd.h
//
//     for each part of the blocks of tiles, some channels c, some filters o (all threads):
//         for each block of tiles of the part:
//             for each tile t:             V[f, t, c], G[f, t, o]                                 the image's and the gradient's values
//             for each value f:            S[f, c, o] += Σ[t] V[f, t, c] * G[f, t, o]             tile()  A: V, transposed, B: G          tile.h
//         the part's 3 x 3 taps from S[:, c, o]
//     add the parts, in order
//
// Error, infinite numbers, NaN and integers: as in winograd.cpp, but the whole gradient is computed again, by conv_weight.cpp.
#include "conv_parts.h"
#include "winograd.h"

namespace minidl::ISA {
namespace {

constexpr int M = 4, SIDE = M + 2, VALUES = SIDE * SIDE, TAPS = 9;

template <class T> struct WeightJob {
    const ConvArguments& p;
    Tiling<T, M> tiling;
    int64_t parts, c, o;   // channels and filters of a task, at most; full vectors
    int64_t v_step, g_step;
    int64_t lanes;         // of all filters, rounded up
    T* sums;               // (parts, p.c * TAPS, lanes)
};

template <class T> NOINLINE void gradient_values(const T* strip, const Segment& s, T* to, int64_t step, int64_t lanes) {
    using V = typename vec<T>::type;
    constexpr int L = vec<T>::size;
    const int64_t width = M * s.columns;
    for (int64_t i = 0; i < s.rows; ++i)
        for (int64_t j = 0; j < s.columns; ++j, to += lanes) {
            const T* corner = strip + (i * width + j) * M * L;
            V half[SIDE][M];
            for (int x = 0; x < M; ++x) {
                V g[M], u[SIDE];
                UNROLL for (int y = 0; y < M; ++y) g[y] = load(corner + (y * width + x) * L);
                Transform<T, M>::gradient(g, u);
                UNROLL for (int y = 0; y < SIDE; ++y) half[y][x] = u[y];
            }
            for (int y = 0; y < SIDE; ++y) {
                V u[SIDE];
                Transform<T, M>::gradient(half[y], u);
                UNROLL for (int x = 0; x < SIDE; ++x) store(to + (y * SIDE + x) * step, u[x]);
            }
        }
}

// S += the products of one block of tiles.
template <class T> void add_block(const WeightJob<T>& job, int64_t block, int64_t c0, int64_t o0, T* v, T* g, T* strip, T* s, bool add) {
    constexpr int64_t L = vec<T>::size;
    const ConvArguments& p = job.p;
    const Tiling<T, M>& tiling = job.tiling;
    const int64_t channels = smaller(job.c, p.c - c0), filters = smaller(job.o, p.o - o0);
    const int64_t *of_x = p.image.stride, *of_g = p.output.stride;
    int64_t tiles = 0;
    for_each_segment(tiling, block, [&](const Segment& at) {
        const int64_t width = M * at.columns, rows = M * at.rows, top = M * at.first, left = M * at.left;
        for (int64_t c = 0; c < channels; c += L) {
            fill_strip(strip, rows + 2, width + 2, static_cast<const T*>(p.image.data) + at.image * of_x[0] + (c0 + c) * of_x[1], of_x, smaller(L, channels - c), p.h, p.w,
                       top - tiling.before_y, left - tiling.before_x);
            image_values<T, M>(strip, at, width + 2, v + at.tile * job.c + c, job.v_step, job.c);
        }
        for (int64_t o = 0; o < filters; o += L) {
            fill_strip(strip, rows, width, static_cast<const T*>(p.output.data) + at.image * of_g[0] + (o0 + o) * of_g[1], of_g, smaller(L, filters - o), p.p, p.q, top, left);
            gradient_values<T>(strip, at, g + at.tile * job.o + o, job.g_step, job.o);
        }
        tiles = at.tile + at.rows * at.columns;
    });

    Tile<T> t{};
    t.k = tiles;
    t.a_step = job.c;
    t.b_step = t.c_row = job.o;
    t.add = add;
    t.width[0] = t.width[1] = L;
    const int64_t panels = pieces(channels, ROWS);
    for (int64_t f = 0; f < VALUES; ++f)
        for (int64_t o = 0; o < filters; o += WIDE * L) {
            const int vectors = filters - o > L ? 2 : 1;
            t.b[0] = g + f * job.g_step + o, t.b[1] = t.b[0] + L;
            for (int64_t i = 0; i < panels; ++i) {
                const int64_t row = part(channels, panels, i);
                const int height = static_cast<int>(part(channels, panels, i + 1) - row);
                for (int m = 0; m < height; ++m) t.a[m] = v + f * job.v_step + row + m;
                t.c[0] = s + (f * job.c + row) * job.o + o, t.c[1] = t.c[0] + L;
                run_tile<STEPS>(height, vectors, t);
            }
        }
}

template <class T> void all_taps(const WeightJob<T>& job, const T* s, int64_t channels, int64_t filters, T* sums) {
    using V = typename vec<T>::type;
    const int64_t step = job.c * job.o;
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t o = 0; o < filters; o += vec<T>::size) {
            V half[3][SIDE];
            for (int x = 0; x < SIDE; ++x) {
                V m[SIDE], w[3];
                UNROLL for (int y = 0; y < SIDE; ++y) m[y] = load(s + (y * SIDE + x) * step + c * job.o + o);
                Transform<T, M>::taps(m, w);
                UNROLL for (int r = 0; r < 3; ++r) half[r][x] = w[r];
            }
            for (int r = 0; r < 3; ++r) {
                V w[3];
                Transform<T, M>::taps(half[r], w);
                UNROLL for (int i = 0; i < 3; ++i) store(sums + (c * TAPS + r * 3 + i) * job.lanes + o, w[i]);
            }
        }
}

template <class T> bool conv2d_weight(const ConvArguments& p) {
    constexpr int64_t L = vec<T>::size, BYTES = sizeof(T), LINE = 64 / BYTES, CACHE = 448 << 10, TASK = 1 << 19, TASKS = 16, ROOM = (8 << 20) / BYTES;
    const auto direct = of<T>(conv_weight_table.conv2d_weight);
    if (integers<T>(p.output)) return direct(p);
    WeightJob<T> job{p};
    Tiling<T, M>& tiling = job.tiling;
    tiling = {p.n, p.h, p.w, p.padding[0], p.padding[1], p.p, p.q};
    // S of a task stays in the second cache beside V and G.
    job.c = smaller(64, pieces(p.c, L) * L);
    job.o = smaller(32, pieces(p.o, L) * L);
    tiling.cut(larger(ROWS, smaller(96, CACHE / (VALUES * (job.c + job.o) * BYTES))));
    job.v_step = tiling.tiles() * job.c + LINE;
    job.g_step = tiling.tiles() * job.o + LINE;
    job.lanes = pieces(p.o, L) * L;
    const int64_t blocks_c = pieces(p.c, job.c), blocks_o = pieces(p.o, job.o), size = p.c * TAPS * job.lanes;
    const int64_t work = p.n * p.p * p.q * p.c * p.o * VALUES / (M * M), wanted = pieces(larger(1, smaller(TASKS, work / TASK)), blocks_c * blocks_o);
    job.parts = larger(1, smaller(smaller(tiling.blocks, wanted), ROOM / size));
    job.sums = static_cast<T*>(workspace(0, job.parts * size * BYTES));
    if (!job.sums) return false;

    bool fine = true;
    parallel_for(job.parts * blocks_c * blocks_o, 1, [&](int64_t begin, int64_t end) {
        const int64_t v_size = VALUES * job.v_step, g_size = VALUES * job.g_step, strip_size = tiling.strip_size();
        T* v = static_cast<T*>(workspace(1, (v_size + g_size + strip_size + VALUES * job.c * job.o) * BYTES));
        if (!v) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        T *g = v + v_size, *strip = g + g_size, *s = strip + strip_size;
        for (int64_t task = begin; task < end; ++task) {
            const int64_t c = task % blocks_c * job.c, o = task / blocks_c % blocks_o * job.o, i = task / blocks_c / blocks_o;
            const int64_t first = part(tiling.blocks, job.parts, i), last = part(tiling.blocks, job.parts, i + 1);
            for (int64_t block = first; block < last; ++block) add_block(job, block, c, o, v, g, strip, s, block > first);
            all_taps(job, s, smaller(job.c, p.c - c), smaller(job.o, p.o - o), job.sums + i * size + c * TAPS * job.lanes + o);
        }
    });
    if (!fine) return false;
    T *w = static_cast<T*>(p.filter.data), spoiled = 0;
    add_parts<T>(w, job.sums, job.parts, 1, p.c * TAPS, p.o, job.lanes);
    for (int64_t i = 0; i < p.o * p.c * TAPS; ++i) spoiled += w[i] * T{0};   // 0, or NaN
    return spoiled == 0 || direct(p);
}

}  // namespace

constexpr WinogradWeightTable winograd_weight_table = {.conv2d_weight = {conv2d_weight<float>, conv2d_weight<double>}};

}  // namespace minidl::ISA
