// matmul: C[i,j] = Σ[k] A[i,k] * B[k,j]        A (M, K), B (K, N) of any strides, C (M, N) contiguous
// linear: Y[i,j] = Σ[k] X[i,k] * W[j,k] + b[j]  the same with B = W transposed, the bias added while the tile is in registers
//
//     for each chunk of columns, for each block of k, for each chunk of rows:
//         pack those panels of B that many tiles share (all threads)
//         for each rectangle of the chunk (all threads):
//             pack its rows of A, where that pays
//             for each panel of columns (two vectors; packed, where that pays), for each tile of rows:
//                 tile()                                       tile.h
//
// Who computes what and in which order the products are added depends on the sizes alone.
#include "matmul.h"

#include "tile.h"

namespace minidl::ISA {
namespace {

template <class T> constexpr int64_t PANEL = WIDE * vec<T>::size;
template <class T> constexpr int64_t DEPTH = 3072 / sizeof(T);   // of a block of k: deep, so that C is read and written seldom
constexpr int64_t COLUMNS = 4096, TALL = 4092;                   // of a chunk
constexpr int64_t MANY = 32;                                     // tiles or panels that make a copy of the other operand pay
constexpr int64_t TASK = 1 << 18;                                // multiplications a task, 2 to 10 microseconds; 4 of them wake threads
constexpr int64_t COPY = 1 << 14;                                // numbers that a task packs
constexpr int64_t BLOCK = 14;                                    // tiles of rows that stay in the second cache with a deep block
constexpr int64_t FEW = 48;                                      // tiles up to which a task may pack its panels of B for itself
constexpr int64_t TURNED = 1 << 16;                              // numbers of a narrow result that is computed the other way round
constexpr int64_t TASKS = 16;                                    // that share the work well enough where each one packs
constexpr int64_t TOGETHER = 8;                                  // tiles of a transposed A that are packed in one pass

// Rows that lie such a step apart share few places of the first cache, and drive each other out.
template <class T> bool crowded(int64_t step) { return step * static_cast<int64_t>(sizeof(T)) % 2048 == 0; }

template <class T> struct Matrix {
    const T* data;
    int64_t row, col;
    const T* at(int64_t i, int64_t j) const { return data + i * row + j * col; }
};

// A tile's rows of A, so that its numbers lie in the order of use: y[k * height + i]. Writes up to a vector beyond the end.
template <class T> void pack_rows(T* __restrict y, int64_t height, const T* a, int64_t row, int64_t col, int64_t k) {
    constexpr int L = vec<T>::size;
    int64_t done = 0;
    if (col == 1 && row != 1 && ROWS <= L) {
        for (; done + L <= k; done += L) {
            typename vec<T>::type block[L];
            for (int l = 0; l < L; ++l) block[l] = l < height ? load(a + done + l * row) : typename vec<T>::type{};
            transpose<T>(block);
            for (int l = 0; l < L; ++l) store(y + (done + l) * height, block[l]);
        }
    }
    for (int64_t j = done; j < k; ++j)
        for (int64_t i = 0; i < height; ++i) y[j * height + i] = a[i * row + j * col];
}

// Few rows against a transposed B: both run along k, so numbers of k share a vector.
//     C[i,j] = Σ[k] A[i * a_row + k] * B[j * b_col + k]
constexpr int DOTS = 4;
template <class T, int M, int N> void dot(int64_t k, const T* a, int64_t a_row, const T* b, int64_t b_col, T (&y)[M][N]) {
    using V = typename vec<T>::type;
    constexpr int L = vec<T>::size;
    V sum[M][N];
    for (int m = 0; m < M; ++m) for (int n = 0; n < N; ++n) sum[m][n] = V{};
    int64_t i = 0;
    for (; i + L <= k; i += L) {
        V x[M];
        for (int m = 0; m < M; ++m) x[m] = load(a + m * a_row + i);
        for (int n = 0; n < N; ++n) {
            const V z = load(b + n * b_col + i);
            for (int m = 0; m < M; ++m) sum[m][n] += x[m] * z;
        }
    }
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) {
            T lanes[L];
            store(lanes, sum[m][n]);
            for (int half = L / 2; half > 0; half /= 2) for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
            for (int64_t j = i; j < k; ++j) lanes[0] += a[m * a_row + j] * b[n * b_col + j];
            y[m][n] = lanes[0];
        }
}
template <class T, int M> void dot_rows(const MatmulArguments& p, T* c, const T* a, const T* b) {
    const T* bias = static_cast<const T*>(p.bias);
    parallel_for(p.n, DOTS * larger(1, TASK / (DOTS * larger(1, p.k))), [&](int64_t begin, int64_t end) {
        for (int64_t j = begin; j < end;) {
            const auto put = [&](auto& y, int count) {
                for (int m = 0; m < M; ++m)
                    for (int n = 0; n < count; ++n) c[m * p.n + j + n] = y[m][n] + (bias ? bias[(j + n) * p.bias_step] : T{0});
                j += count;
            };
            if (j + DOTS <= end) {
                T y[M][DOTS];
                dot(p.k, a, p.a_row, b + j * p.b_col, p.b_col, y);
                put(y, DOTS);
            } else {
                T y[M][1];
                dot(p.k, a, p.a_row, b + j * p.b_col, p.b_col, y);
                put(y, 1);
            }
        }
    });
}

// One block of k of one chunk of C: rows [i0, i0 + m), columns [j0, j0 + n).
template <class T> struct Block {
    int64_t m, n, k, tiles, panels;
    Matrix<T> a, b;
    T* c;
    int64_t c_row;
    const T* bias;       // PANEL numbers a panel, or null
    bool add;
    T* packed_b;              // or null
    int64_t packed_panel;     // panels from here on are packed there
    bool copy_a, copy_b;      // each rectangle packs its rows of A, its panels of B
};

template <class T> constexpr int64_t WHOLE = (ROWS + vec<T>::size - 1) / vec<T>::size * vec<T>::size;   // a tile's rows in whole vectors
template <class T> int64_t tile_room(int64_t k) { return WHOLE<T> * k + 2 * vec<T>::size; }

// A whose columns are contiguous: COUNT tiles at once, so that each column is read from end to end, its cache lines once.
template <class T, int COUNT> NOINLINE void pack_side_by_side(T* __restrict packed, int64_t room, const T* a, int64_t col, int64_t k, const int64_t* start) {
    constexpr int L = vec<T>::size;
    int64_t from[COUNT];
    UNROLL for (int i = 0; i < COUNT; ++i) from[i] = start[i];
    for (; k > 0; --k, a += col, packed += WHOLE<T>)
        UNROLL for (int i = 0; i < COUNT; ++i) UNROLL for (int l = 0; l < WHOLE<T>; l += L) store(packed + i * room + l, load(a + from[i] + l));
}
template <class T> constexpr decltype(&pack_side_by_side<T, 1>) PACK_SIDE_BY_SIDE[TOGETHER] = {
    pack_side_by_side<T, 1>, pack_side_by_side<T, 2>, pack_side_by_side<T, 3>, pack_side_by_side<T, 4>,
    pack_side_by_side<T, 5>, pack_side_by_side<T, 6>, pack_side_by_side<T, 7>, pack_side_by_side<T, 8>};
template <class T> void pack_contiguous_columns(const Block<T>& p, T* packed, int64_t tile_begin, int64_t tile_end) {
    const int64_t room = tile_room<T>(p.k);
    for (int64_t first = tile_begin; first < tile_end;) {
        const int64_t count = smaller(TOGETHER, tile_end - first);
        int64_t start[TOGETHER + 1];
        for (int64_t i = 0; i <= count; ++i) start[i] = part(p.m, p.tiles, first + i);
        // Whole vectors may reach beyond the last row, into the next column, but not beyond the last column.
        const bool beyond = start[count - 1] + WHOLE<T> > p.m;
        const int64_t whole = !beyond ? p.k : p.a.col < WHOLE<T> ? 0 : larger(0, p.k - 1);
        T* y = packed + (first - tile_begin) * room;
        PACK_SIDE_BY_SIDE<T>[count - 1](y, room, p.a.data, p.a.col, whole, start);
        for (int64_t k = whole; k < p.k; ++k)
            for (int64_t i = 0; i < count; ++i)
                for (int64_t l = 0; l < start[i + 1] - start[i]; ++l) y[i * room + k * WHOLE<T> + l] = *p.a.at(start[i] + l, k);
        first += count;
    }
}

template <class T> void pack_tiles(const Block<T>& p, T* packed, int64_t tile_begin, int64_t tile_end) {
    if (p.a.row == 1) return pack_contiguous_columns(p, packed, tile_begin, tile_end);
    for (int64_t i = tile_begin; i < tile_end; ++i) {
        const int64_t row = part(p.m, p.tiles, i);
        pack_rows(packed + (i - tile_begin) * tile_room<T>(p.k), part(p.m, p.tiles, i + 1) - row, p.a.at(row, 0), p.a.row, p.a.col, p.k);
    }
}

template <class T> bool rectangle(const Block<T>& p, int64_t tile_begin, int64_t tile_end, int64_t panel_begin, int64_t panel_end) {
    constexpr int L = vec<T>::size;
    const int64_t a_room = p.copy_a ? (tile_end - tile_begin) * tile_room<T>(p.k) : 0, b_room = p.copy_b ? PANEL<T> * p.k : 0;
    T* packed_a = nullptr;
    if (a_room + b_room > 0 && !(packed_a = static_cast<T*>(workspace(1, (a_room + b_room) * sizeof(T))))) return false;
    T* own_panel = packed_a + a_room;
    if (p.copy_a) pack_tiles(p, packed_a, tile_begin, tile_end);
    Tile<T> t{};
    t.k = p.k;
    t.c_row = p.c_row;
    t.add = p.add;
    const int most = p.m <= ROWS ? widest(static_cast<int>(p.m)) / WIDE : 1;   // panels side by side, where a single flat tile is all there is
    const int64_t in_place = p.copy_b ? 0 : p.packed_b ? smaller(p.packed_panel, panel_end) : panel_end;
    for (int64_t panel = panel_begin; panel < panel_end;) {
        const bool packed = panel >= in_place;
        const int64_t j = panel * PANEL<T>;
        int64_t count = packed ? 1 : most;   // halved until that many whole panels in place are left
        while (count > 1 && (panel + count > in_place || (panel + count) * PANEL<T> > p.n)) count /= 2;
        const int64_t width = smaller(count * PANEL<T>, p.n - j);
        const int vectors = width > L ? static_cast<int>(count * WIDE) : 1;
        const T* b = p.copy_b ? own_panel : packed ? p.packed_b + (panel - p.packed_panel) * PANEL<T> * p.k : p.b.at(0, j);
        if (p.copy_b) pack_columns(own_panel, vectors * L, p.b.at(0, j), p.b.row, p.b.col, p.k, width);
        t.b_step = packed ? vectors * L : p.b.row;
        for (int n = 0; n < vectors; ++n) {
            t.b[n] = b + n * L;
            t.column_bias[n] = p.bias ? p.bias + j + n * L : nullptr;
            t.width[n] = static_cast<int>(smaller(L, width - n * L));
        }
        for (int64_t i = tile_begin; i < tile_end; ++i) {
            const int64_t row = part(p.m, p.tiles, i);
            const int height = static_cast<int>(part(p.m, p.tiles, i + 1) - row);
            const T* a = p.copy_a ? packed_a + (i - tile_begin) * tile_room<T>(p.k) : p.a.at(row, 0);
            for (int m = 0; m < height; ++m) t.a[m] = a + m * (p.copy_a ? 1 : p.a.row);
            t.a_step = !p.copy_a ? p.a.col : p.a.row == 1 ? WHOLE<T> : height;
            for (int n = 0; n < vectors; ++n) t.c[n] = p.c + row * p.c_row + j + n * L;
            run_tile<STEPS>(height, vectors, t);
        }
        panel += count;
    }
    return true;
}

template <class T> void pack(const Block<T>& p) {
    constexpr int L = vec<T>::size;
    const int64_t grain = larger(1, COPY / (PANEL<T> * larger(1, p.k)));
    if (p.packed_b)
        parallel_for(p.panels - p.packed_panel, grain, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t j = (p.packed_panel + i) * PANEL<T>, width = smaller(PANEL<T>, p.n - j);
                pack_columns(p.packed_b + i * PANEL<T> * p.k, width > L ? 2 * L : L, p.b.at(0, j), p.b.row, p.b.col, p.k, width);
            }
        });
}
template <class T> bool compute(const Block<T>& p) {
    const int64_t work = p.m * p.n * larger(1, p.k), tasks = work < 4 * TASK ? 1 : smaller(1024, work / TASK);
    int64_t high = pieces(p.tiles, BLOCK), wide;
    if (tasks == 1) high = wide = 1;
    else if (p.copy_a) {   // tall rectangles: what one packs, many panels use
        high = larger(high, larger(1, smaller(p.tiles / 5, TASKS)));
        wide = larger(1, smaller(p.panels / 4, pieces(TASKS / 2, high)));
        high = larger(high, smaller(p.tiles, pieces(TASKS / 4, wide)));
    } else if (p.copy_b) {   // a panel each, for all rows
        wide = smaller(p.panels, tasks);
        high = larger(1, smaller(p.tiles / 4, pieces(TASKS, wide)));
    } else {
        wide = larger(1, smaller(p.panels, tasks / high));
        high = larger(high, smaller(p.tiles, tasks / wide));
    }
    bool fine = true;
    parallel_for(high * wide, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            // A thread's share of the tasks is some rows of C; or, of a transposed A, which is as far from all threads, the panels of B that it has packed.
            const bool down = p.a.row == 1;
            const int64_t y = down ? i % high : i / wide, x = down ? i / high : i % wide;
            if (!rectangle(p, part(p.tiles, high, y), part(p.tiles, high, y + 1), part(p.panels, wide, x), part(p.panels, wide, x + 1)))
                __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        }
    });
    return fine;
}

// Few columns against a transposed A leave most lanes of a vector empty, but A's columns lie in memory as rows of Aᵀ: then Cᵀ = Bᵀ Aᵀ fills them.
template <class T> bool narrow(const MatmulArguments& p) {
    constexpr int64_t L = vec<T>::size;
    return p.a_row == 1 && p.a_col != 1 && 1 < p.n && p.n < L && p.m >= 2 * L && p.m * p.n <= TURNED && !p.bias;
}
template <class T> bool product(MatmulArguments p, T* c, const T* a, const T* b);
template <class T> bool narrow_product(MatmulArguments p, T* c, const T* a, const T* b) {
    T* turned = static_cast<T*>(workspace(3, p.m * p.n * sizeof(T)));   // (N, M)
    if (!turned) return false;
    const int64_t M = p.m, N = p.n, row = p.b_row, col = p.b_col;
    p.m = N, p.n = M, p.b_row = p.a_col, p.b_col = p.a_row, p.a_row = col, p.a_col = row;
    if (!product(p, turned, b, a)) return false;
    for (int64_t i = 0; i < M; ++i)
        for (int64_t j = 0; j < N; ++j) c[i * N + j] = turned[j * M + i];
    return true;
}

template <class T> bool product(MatmulArguments p, T* c, const T* a, const T* b) {
    if (p.m == 0 || p.n == 0) return true;
    if (p.n == 1 && p.m > 1) {   // a column is a row of the transposed problem; its one bias serves all
        int64_t swap;
        swap = p.m, p.m = p.n, p.n = swap;
        const T* other = a;
        a = b, b = other;
        const int64_t row = p.a_row, col = p.a_col;
        p.a_row = p.b_col, p.a_col = p.b_row, p.b_row = col, p.b_col = row;
        p.bias_step = 0;
    }
    constexpr int64_t L = vec<T>::size;
    if (narrow<T>(p)) return narrow_product(p, c, a, b);
    if (p.m <= DOTS && p.b_row == 1 && p.b_col != 1 && p.a_col == 1) {
        switch (p.m) {
            case 1: dot_rows<T, 1>(p, c, a, b); break;
            case 2: dot_rows<T, 2>(p, c, a, b); break;
            case 3: dot_rows<T, 3>(p, c, a, b); break;
            default: dot_rows<T, 4>(p, c, a, b);
        }
        return true;
    }

    const int64_t depths = larger(1, (p.k + DEPTH<T> / 2) / DEPTH<T>), depth = pieces(p.k, depths);
    const int64_t chunk_n = smaller(p.n, COLUMNS), chunk_m = smaller(p.m, TALL);
    const int64_t chunk_panels = pieces(chunk_n, PANEL<T>), chunk_tiles = pieces(chunk_m, ROWS);
    const bool far = p.a_row == 1 && p.a_col * static_cast<int64_t>(sizeof(T)) >= 4096;   // each number of a row in a page of its own
    const bool bad = far || crowded<T>(p.a_col) || chunk_tiles * chunk_panels > 2 * MANY;   // in place, a transposed A is slow or is read often
    const bool copy_a = chunk_panels > (p.a_row != 1 ? MANY : far ? 1 : bad ? 3 : 8);
    const bool copy_b = p.b_col != 1 || chunk_tiles > (crowded<T>(p.b_row) ? 8 : MANY), share_b = copy_b && (copy_a || chunk_tiles > FEW);
    const bool ragged = p.n % L != 0;

    // Scratch: the bias, B's panels (all of a chunk, or the ragged last one).
    const int64_t bias_room = p.bias ? (pieces(p.n, PANEL<T>) + 1) * PANEL<T> : 0;
    const int64_t b_room = (share_b ? chunk_panels : ragged && !copy_b) * PANEL<T> * depth;
    T* room = nullptr;
    if (bias_room + b_room > 0 && !(room = static_cast<T*>(workspace(0, (bias_room + b_room) * sizeof(T))))) return false;
    T *bias = room, *packed_b = room + bias_room;
    if (p.bias) {
        const T* from = static_cast<const T*>(p.bias);
        for (int64_t j = 0; j < p.n; ++j) bias[j] = from[j * p.bias_step];
        for (int64_t j = p.n; j < bias_room; ++j) bias[j] = 0;
    }

    for (int64_t j = 0; j < p.n; j += COLUMNS)
        for (int64_t d = 0; d < depths; ++d) {
            const int64_t k0 = part(p.k, depths, d);
            Block<T> block;
            block.k = part(p.k, depths, d + 1) - k0;
            block.n = smaller(COLUMNS, p.n - j);
            block.panels = pieces(block.n, PANEL<T>);
            block.b = {b + k0 * p.b_row + j * p.b_col, p.b_row, p.b_col};
            block.copy_a = copy_a;
            block.copy_b = copy_b && !share_b;
            block.packed_panel = share_b ? 0 : block.panels - 1;
            block.packed_b = share_b || (block.n % L != 0 && !copy_b) ? packed_b : nullptr;
            block.bias = p.bias && d == 0 ? bias + j : nullptr;
            block.add = d > 0;
            block.c_row = p.n;
            pack(block);
            for (int64_t i = 0; i < p.m; i += TALL) {
                block.m = smaller(TALL, p.m - i);
                block.tiles = pieces(block.m, ROWS);
                block.a = {a + i * p.a_row + k0 * p.a_col, p.a_row, p.a_col};
                block.c = c + i * p.n + j;
                if (!compute(block)) return false;
            }
        }
    return true;
}

template <class T> bool matmul(const MatmulArguments& arguments) {
    MatmulArguments p = arguments;
    Nest<3>& batch = p.batch;
    // One B for a batch whose rows follow each other is one taller product.
    if (batch.ndim == 1 && batch.stride[2][0] == 0 && (p.m == 1 || batch.stride[1][0] == p.m * p.a_row)) {
        if (p.m == 1) p.a_row = batch.stride[1][0];
        p.m *= batch.shape[0];
        batch.shape[0] = 1;
    }
    int64_t count = 1;
    for (int d = 0; d < batch.ndim; ++d) count *= batch.shape[d];
    T* c = static_cast<T*>(batch.data[0]);
    const T *a = static_cast<const T*>(batch.data[1]), *b = static_cast<const T*>(batch.data[2]);
    if (count == 1) return product(p, c, a, b);

    bool fine = true;
    const auto items = [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
            int64_t rest = item, of_a = 0, of_b = 0;
            for (int d = batch.ndim - 1; d >= 0; --d) {
                const int64_t i = rest % batch.shape[d];
                rest /= batch.shape[d];
                of_a += i * batch.stride[1][d];
                of_b += i * batch.stride[2][d];
            }
            if (!product(p, c + item * p.m * p.n, a + of_a, b + of_b)) __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        }
    };
    const int64_t work = larger(1, p.m * p.n * larger(1, p.k));
    if (count >= 4 && work < 128 * TASK) parallel_for(count, larger(1, 4 * TASK / work), items);   // threads share out the batch
    else items(0, count);                                                                      // or each product
    return fine;
}

}  // namespace

constexpr MatmulTable matmul_table = {.matmul = {matmul<float>, matmul<double>}};

}  // namespace minidl::ISA
