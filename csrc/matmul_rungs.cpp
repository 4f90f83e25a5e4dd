// The rungs of matmul: C[i,j] = Σ[k] A[i,k] * B[k,j]        A (M, K), B (K, N), C (M, N), contiguous, row after row
//
//     naive        for i: for j: for k                                   the formula
//     reordered    for i: for k: for j                                   along the rows of B and C
//     blocked      for blocks of i, j and k: for i: for k: for j         blocks of B and C stay in the caches
//     vectorized   for panels of j: for tiles of i: for k                a tile of C stays in registers
//     packed       for blocks of k and i: for panels: for tiles: for k   the same on copies in the order of use
//
// Each is one thread's work. `parallel`, the last rung, is matmul.cpp.
#include "matmul_rungs.h"

#include "rungs.h"
#include "tile.h"

namespace minidl::ISA {
namespace {

// The formula as it stands. An addition takes three or four cycles and each waits for the one before it; B is walked down a column, so that every number comes
// from a cache line of its own, of which the rest is fetched for nothing.
template <class T> bool naive(int64_t M, int64_t N, int64_t K, const T* a, const T* b, T* c) {
    for (int64_t i = 0; i < M; ++i)
        for (int64_t j = 0; j < N; ++j) {
            T sum = 0;
            for (int64_t k = 0; k < K; ++k) sum = scalar(sum + a[i * K + k] * b[k * N + j]);
            c[i * N + j] = sum;
        }
    return true;
}

// The loops over j and k change places: the inner one now walks along a row of B and a row of C, uses cache lines whole, and its sums do not wait for each other. With
// neighbours side by side the compiler makes vectors of them by itself: this rung is honest about the order only, not about being scalar.
template <class T> bool reordered(int64_t M, int64_t N, int64_t K, const T* a, const T* b, T* __restrict c) {
    for (int64_t i = 0; i < M; ++i) {
        for (int64_t j = 0; j < N; ++j) c[i * N + j] = 0;
        for (int64_t k = 0; k < K; ++k) {
            const T x = a[i * K + k];
            for (int64_t j = 0; j < N; ++j) c[i * N + j] += x * b[k * N + j];
        }
    }
    return true;
}

// `reordered` reads all of B again for each row of C. Here a block of B that fits the first cache meets 64 rows of A before the next one comes, and the part of C that
// they add to stays in the second cache until its sums are complete. (8 rows of B, for a cache has about 8 places for numbers that lie a power of two apart.)
template <class T> bool blocked(int64_t M, int64_t N, int64_t K, const T* a, const T* b, T* __restrict c) {
    constexpr int64_t BLOCK_I = 64, BLOCK_J = 4096 / sizeof(T), BLOCK_K = 8;   // 32 KB of B, 256 KB of C
    for (int64_t i = 0; i < M * N; ++i) c[i] = 0;
    for (int64_t i0 = 0; i0 < M; i0 += BLOCK_I)
        for (int64_t j0 = 0; j0 < N; j0 += BLOCK_J)
            for (int64_t k0 = 0; k0 < K; k0 += BLOCK_K) {
                const int64_t i1 = smaller(M, i0 + BLOCK_I), j1 = smaller(N, j0 + BLOCK_J), k1 = smaller(K, k0 + BLOCK_K);
                for (int64_t i = i0; i < i1; ++i)
                    for (int64_t k = k0; k < k1; ++k) {
                        const T x = a[i * K + k];
                        for (int64_t j = j0; j < j1; ++j) c[i * N + j] += x * b[k * N + j];
                    }
            }
    return true;
}

// HEIGHT rows and two vectors of columns of C.
template <class T, int HEIGHT> ALWAYS_INLINE void register_tile(int64_t N, int64_t K, const T* a, const T* b, T* c) {
    using V = typename vec<T>::type;
    constexpr int L = vec<T>::size;
    V sum[HEIGHT][2];
    UNROLL for (int i = 0; i < HEIGHT; ++i) sum[i][0] = sum[i][1] = V{};
    for (int64_t k = 0; k < K; ++k) {
        const V left = load(b + k * N), right = load(b + k * N + L);
        UNROLL for (int i = 0; i < HEIGHT; ++i) {
            const V x = splat(a[i * K + k]);
            sum[i][0] += x * left;
            sum[i][1] += x * right;
        }
    }
    UNROLL for (int i = 0; i < HEIGHT; ++i) store(c + i * N, sum[i][0]), store(c + i * N + L, sum[i][1]);
}

// So far every product costs a load and a store of C. Here a tile of C, as large as the registers allow, is finished before it is written: a vector of B
// serves all its rows and a number of A two vectors. What fills no tile goes slower: rows one by one, the last columns as in `naive`.
template <class T> bool vectorized(int64_t M, int64_t N, int64_t K, const T* a, const T* b, T* c) {
    constexpr int64_t WIDTH = 2 * vec<T>::size;
    const int64_t rows = M / ROWS * ROWS, columns = N / WIDTH * WIDTH;
    for (int64_t j = 0; j < columns; j += WIDTH) {   // a panel of B stays in the cache for all rows
        for (int64_t i = 0; i < rows; i += ROWS) register_tile<T, ROWS>(N, K, a + i * K, b + j, c + i * N + j);
        for (int64_t i = rows; i < M; ++i) register_tile<T, 1>(N, K, a + i * K, b + j, c + i * N + j);
    }
    for (int64_t i = 0; i < M; ++i)
        for (int64_t j = columns; j < N; ++j) {
            T sum = 0;
            for (int64_t k = 0; k < K; ++k) sum += a[i * K + k] * b[k * N + j];
            c[i * N + j] = sum;
        }
    return true;
}

// In place, the rows of a panel of B lie N numbers apart: each in another page, and for some N all in the same few sets of the cache. Copied side by side they stream, a ragged
// panel is filled up with zeros so that all of it runs at full speed, and blocks keep what is used again near: a panel of B in the first or second cache, the
// tiles of A in the second. The tile is the one that ships (tile.h): any height, and it adds to C from the second block of k on.
template <class T> bool packed(int64_t M, int64_t N, int64_t K, const T* a, const T* b, T* c) {
    constexpr int64_t L = vec<T>::size, WIDTH = WIDE * L, DEPTH = 1024 / sizeof(T), TALL = 14 * ROWS;
    const int64_t panels = pieces(N, WIDTH);
    T* packed_b = static_cast<T*>(workspace(0, (panels * WIDTH + TALL) * DEPTH * sizeof(T)));
    if (!packed_b) return false;
    T* packed_a = packed_b + panels * WIDTH * DEPTH;
    for (int64_t k0 = 0; k0 == 0 || k0 < K; k0 += DEPTH) {   // once even where K is 0: C becomes 0
        Tile<T> t{};
        t.k = smaller(DEPTH, K - k0);
        t.add = k0 > 0;
        t.b_step = WIDTH;
        t.c_row = N;
        for (int64_t j = 0; j < panels; ++j)
            pack_columns(packed_b + j * WIDTH * t.k, WIDTH, b + k0 * N + j * WIDTH, N, 1, t.k, smaller(WIDTH, N - j * WIDTH));
        for (int64_t i0 = 0; i0 < M; i0 += TALL) {
            const int64_t i1 = smaller(M, i0 + TALL);
            for (int64_t i = i0; i < i1; i += ROWS) {   // tile after tile: number (i, k) of a tile at k * height + i
                const int64_t height = smaller(ROWS, i1 - i);
                T* to = packed_a + (i - i0) * t.k;
                for (int64_t k = 0; k < t.k; ++k)
                    for (int64_t row = 0; row < height; ++row) *to++ = a[(i + row) * K + k0 + k];
            }
            for (int64_t j = 0; j < panels; ++j)
                for (int64_t i = i0; i < i1; i += ROWS) {
                    const int height = static_cast<int>(smaller(ROWS, i1 - i));
                    t.a_step = height;
                    for (int row = 0; row < height; ++row) t.a[row] = packed_a + (i - i0) * t.k + row;
                    for (int v = 0; v < WIDE; ++v) {
                        const int64_t column = j * WIDTH + v * L;
                        t.b[v] = packed_b + j * WIDTH * t.k + v * L;
                        t.c[v] = c + i * N + column;
                        t.width[v] = static_cast<int>(larger(0, smaller(L, N - column)));
                    }
                    run_tile<STEPS>(height, WIDE, t);
                }
        }
    }
    return true;
}

template <class T, bool (*rung)(int64_t, int64_t, int64_t, const T*, const T*, T*)>
bool untyped(int64_t M, int64_t N, int64_t K, const void* a, const void* b, void* c) {
    return rung(M, N, K, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(c));
}

}  // namespace

constexpr MatmulRungs matmul_rungs = {
    .naive = {untyped<float, naive>, untyped<double, naive>},
    .reordered = {untyped<float, reordered>, untyped<double, reordered>},
    .blocked = {untyped<float, blocked>, untyped<double, blocked>},
    .vectorized = {untyped<float, vectorized>, untyped<double, vectorized>},
    .packed = {untyped<float, packed>, untyped<double, packed>},
};

}  // namespace minidl::ISA
