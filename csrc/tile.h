// The micro-kernel of matmul and convolution: a tile of C stays in registers while one pass over k feeds it.
//
//     for k:                                       C (M rows, N vectors) += A (M, k) B (k, N vectors)
//         for m: for n:  C[m][n] += A[m][k] * B[k][n]
//
// A is read in place, one number at a time, from M rows that may lie anywhere. Row k of B is N vectors, each from a place of its own. Along k both advance
// by a step, or one of them by a table of offsets (a convolution's windows). So one loop serves plain, transposed, packed and windowed operands.
#pragma once
#include "lanes.h"

namespace minidl::ISA {
namespace {

// Accumulators M x N, N vectors of B and one of A must fit the registers: 32 of them with AVX-512 and NEON, 16 before.
#if MINIDL_VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr int ROWS = 12;
#elif MINIDL_VECTOR_BYTES == 32
constexpr int ROWS = 6;
#else
constexpr int ROWS = 5;   // without FMA a product needs a register, too
#endif
constexpr int WIDE = 2;      // vectors of a tile; a flat one has more, or it would wait for its few sums
constexpr int WIDEST = 8;
ALWAYS_INLINE constexpr int widest(int height) { return height * 8 <= ROWS * WIDE ? 8 : height * 4 <= ROWS * WIDE ? 4 : 2; }

template <class T> struct Tile {
    const T* a[ROWS];
    const T* b[WIDEST];
    int64_t k, a_step, b_step;
    const int64_t* offset;     // of each k, in place of a step
    T* c[WIDEST];
    int64_t c_row;
    int width[WIDEST];         // lanes to write of each vector, at most vec<T>::size
    bool add;                  // to what C holds
    const T* column_bias[WIDEST];   // or null; full vectors
    const T* row_bias;            // or null; M numbers
};

enum Advance { STEPS, TABLE_B, TABLE_A };

// Arguments come in memory and C is touched after the loop only, so that the loop has all registers to itself.
template <class T, int M, int N, Advance advance> NOINLINE void tile(const Tile<T>& t) {
    using V = typename vec<T>::type;
    constexpr int L = vec<T>::size;
    V sum[M][N];
    UNROLL for (int m = 0; m < M; ++m) UNROLL for (int n = 0; n < N; ++n) sum[m][n] = V{};

    const T* a[M];
    UNROLL for (int m = 0; m < M; ++m) a[m] = t.a[m];
    int64_t i = 0, j = 0;
    const T* b[N];
    UNROLL for (int n = 0; n < N; ++n) b[n] = t.b[n];
    const int64_t* offset = t.offset;
    for (int64_t k = t.k; k > 0; --k) {
        if constexpr (advance == TABLE_A) i = *offset++;
        if constexpr (advance == TABLE_B) j = *offset++;
        V row[N];
        UNROLL for (int n = 0; n < N; ++n) row[n] = load(b[n] + j);
        UNROLL for (int m = 0; m < M; ++m) {
            const V x = splat(a[m][i]);
            UNROLL for (int n = 0; n < N; ++n) sum[m][n] += x * row[n];
        }
        if constexpr (advance != TABLE_A) i += t.a_step;
        if constexpr (advance != TABLE_B) j += t.b_step;
    }

    bool whole = !(t.add && t.row_bias);
    for (int n = 0; n < N; ++n) whole = whole && !t.column_bias[n] && t.width[n] == L;
    if (whole && t.add) {
        UNROLL for (int n = 0; n < N; ++n) {
            T* c = t.c[n];
            UNROLL for (int m = 0; m < M; ++m, c += t.c_row) store(c, sum[m][n] + load(c));
        }
        return;
    }
    if (whole) {
        static constexpr T none[M] = {};
        const T* bias = t.row_bias ? t.row_bias : none;
        UNROLL for (int n = 0; n < N; ++n) {
            T* c = t.c[n];
            UNROLL for (int m = 0; m < M; ++m, c += t.c_row) store(c, sum[m][n] + bias[m]);
        }
        return;
    }
    V result[N][M];   // a copy, for only this one is walked with an index: the sums themselves never leave their registers
    UNROLL for (int m = 0; m < M; ++m) UNROLL for (int n = 0; n < N; ++n) result[n][m] = sum[m][n];
    for (int n = 0; n < N; ++n) {
        T* c = t.c[n];
        const V column = t.column_bias[n] ? load(t.column_bias[n]) : V{};
        const int width = t.width[n];
        for (int m = 0; m < M; ++m, c += t.c_row) {
            V y = result[n][m] + column;
            if (t.row_bias) y += t.row_bias[m];
            if (width == L) store(c, t.add ? y + load(c) : y);
            else {
                alignas(64) T lanes[L], old[L] = {};
                if (t.add) {
                    copy_lanes(old, c, width);
                    y += load(old);
                }
                store(lanes, y);
                copy_lanes(c, lanes, width);
            }
        }
    }
}

// Every height and width of a tile (1, 2, 4 and 8 vectors), for one way to advance.
template <class T, Advance advance> struct Tiles {
    void (*of[4][ROWS])(const Tile<T>&);   // [log2 vectors][height - 1]
};
template <class T, Advance advance, int M = ROWS> constexpr void fill(Tiles<T, advance>& tiles) {
    tiles.of[0][M - 1] = tile<T, M, 1, advance>;
    tiles.of[1][M - 1] = tile<T, M, 2, advance>;
    if constexpr (widest(M) >= 4) tiles.of[2][M - 1] = tile<T, M, 4, advance>;
    if constexpr (widest(M) >= 8) tiles.of[3][M - 1] = tile<T, M, 8, advance>;
    if constexpr (M > 1) fill<T, advance, M - 1>(tiles);
}
template <class T, Advance advance> constexpr Tiles<T, advance> all_tiles() {
    Tiles<T, advance> tiles{};
    fill(tiles);
    return tiles;
}
template <class T, Advance advance> constexpr Tiles<T, advance> TILES = all_tiles<T, advance>();

template <Advance advance, class T> ALWAYS_INLINE void run_tile(int height, int vectors, const Tile<T>& t) {
    TILES<T, advance>.of[vectors == 8 ? 3 : vectors / 2][height - 1](t);
}

// How many of the remaining vectors the next tile of this height takes.
ALWAYS_INLINE int next_vectors(int height, int64_t remaining) {
    const int most = widest(height);
    return remaining >= 8 && most == 8 ? 8 : remaining >= 4 && most >= 4 ? 4 : remaining >= 2 ? 2 : 1;
}

// ---- panels of nearly equal size: part i of `size` cut into `count` --------------------------------------------------

ALWAYS_INLINE int64_t part(int64_t size, int64_t count, int64_t i) { return size * i / count; }

// ---- transposing ----------------------------------------------------------------------------------------------------

// L vectors of L lanes, transposed: log2 L rounds that interleave vector i with vector i + L / 2.
template <class T> ALWAYS_INLINE void transpose(typename vec<T>::type* rows) {
    constexpr int L = vec<T>::size;
    typename vec<T>::type other[L];
    UNROLL for (int round = 1; round < L; round *= 2) {
        UNROLL for (int i = 0; i < L / 2; ++i) interleave<T>(rows[i], rows[i + L / 2], other[2 * i], other[2 * i + 1]);
        UNROLL for (int i = 0; i < L; ++i) rows[i] = other[i];
    }
}

// B[k0 : k0 + k, columns] side by side: row k at y + k * lanes; lanes beyond `width` are zero.
template <class T> void pack_columns(T* __restrict y, int64_t lanes, const T* b, int64_t row, int64_t col, int64_t k, int64_t width) {
    constexpr int L = vec<T>::size;
    int64_t done = 0;
    if (row == 1 && col != 1) {   // transposed in memory: L x L numbers at a time
        for (; done + L <= k; done += L)
            for (int64_t j = 0; j < lanes; j += L) {
                typename vec<T>::type block[L];
                if (j + L <= width) UNROLL for (int l = 0; l < L; ++l) block[l] = load(b + done + (j + l) * col);
                else UNROLL for (int l = 0; l < L; ++l) block[l] = j + l < width ? load(b + done + (j + l) * col) : typename vec<T>::type{};
                transpose<T>(block);
                UNROLL for (int l = 0; l < L; ++l) store(y + (done + l) * lanes + j, block[l]);
            }
    }
    const T* end = b + (k - 1) * row + width;
    for (int64_t i = done; i < k; ++i) {
        T* line = y + i * lanes;
        const T* from = b + i * row;
        if (col == 1) {
            for (int64_t j = 0; j < lanes; j += L)
                store(line + j, j + L <= width ? load(from + j) : j < width ? load_part(from + j, width - j, end, T{0}) : typename vec<T>::type{});
        } else {
            for (int64_t j = 0; j < width; ++j) line[j] = from[j * col];
            for (int64_t j = width; j < lanes; ++j) line[j] = 0;
        }
    }
}

}  // namespace
}  // namespace minidl::ISA
