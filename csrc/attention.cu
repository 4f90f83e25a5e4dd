// Attention on a GPU: for each query of each head a mean of the values, weighted by softmax
//
//     s[i,j] = scale Σ[e] Q[i,e] * K[j,e]  (-infinity where i may not attend to j);  Y[i,c] = Σ[j] exp(s[i,j] - lse[i]) * V[j,c],  lse[i] = log Σ[j] exp(s[i,j])
//
//     Q (B, H, L, E), K (B, H, S, E), V (B, H, S, C) of any strides, Y (B, H, L, C), lse (B, H, L)
//
//     for each head and tile of queries i, a block:
//         for tiles of keys j:                                                      (FlashAttention: Dao, Fu, Ermon, Rudra, Ré 2022, algorithms 1 and 4)
//             scores of the tile, in registers:  sum over e, slice by slice through shared memory
//             running maximum m and sum l of each row:  m' = max(m, s), sums so far times exp(m - m')
//             weights exp(s - m') into shared memory;  Y[i,:] += weights * V, slice by slice
//
// The scores of all pairs are never in memory. The gradients compute them again, tile by tile, from lse, with D[i] = Σ[c] G[i,c] * Y[i,c] and p = exp(s - lse):
//
//     dS[i,j] = p[i,j] * (Σ[c] G[i,c] * V[j,c] - D[i]) * scale
//     dQ[i,e] = Σ[j] dS[i,j] * K[j,e]                                                a block for each tile of queries, over the keys
//     dV[j,c] = Σ[i] p[i,j] * G[i,c],  dK[j,e] = Σ[i] dS[i,j] * Q[i,e]               a block for each tile of keys, over the queries
//
// so that each number has one thread that adds it up: no atomic addition, the same bits every time. Causal: tiles of keys that come after all queries of a tile are not read.
#include "block.cuh"

namespace attention_tiles {

using block::THREADS, block::larger, block::warp_sum;

constexpr int SIDE = 16, DEPTH = 32;                       // threads form a square; a slice's columns
template <class T> constexpr int PART = Pack<T>::size;     // a thread has PART x PART scores of a tile
template <class T> constexpr int TILE = SIDE * PART<T>;    // queries, keys of a tile: 64, or 32 doubles
template <class T> constexpr int ROW = TILE<T> + PART<T>;  // of shared memory: packs stay on their boundaries, columns spread over the banks

struct Sizes {
    int H, L, S, E, C;
    int causal;
};

// What a kernel reads, (B, H, rows, columns); data is null where it is left out.
template <class T> struct Heads {   // packed by `Heads` in minidl/kernels/cuda/attention.py
    const T* data;
    long long batch, head, row, column;
    __device__ __forceinline__ Heads of(long long n, int H) const { return {data ? data + n / H * batch + n % H * head : nullptr, batch, head, row, column}; }
    __device__ __forceinline__ T operator()(int i, int j) const { return data[i * row + j * column]; }
};

template <class T> struct Shared {
    __align__(16) T weights[TILE<T> * ROW<T>];        // of a tile, transposed: [what is summed over][row]
    __align__(16) T slices[2 * DEPTH * ROW<T>];       // of two operands, transposed: [column][row]; or one operand's rows
};

constexpr __device__ __forceinline__ int smaller(int a, int b) { return a < b ? a : b; }
template <class T> __device__ __forceinline__ T infinity() { return -log(T(0)); }
__device__ __forceinline__ int my_row() { return threadIdx.x / SIDE; }
__device__ __forceinline__ int my_column() { return threadIdx.x % SIDE; }

// slice[e][x] = A[x0 + x, e0 + e] * scale, 0 outside; neighbouring threads read neighbouring columns.
template <class T> __device__ __forceinline__ void load_columns(T* slice, const Heads<T>& A, int x0, int rows, int e0, int columns, T scale) {
    const int e = threadIdx.x % DEPTH;
    ROLLED for (int first = threadIdx.x / DEPTH; first < TILE<T>; first += 4 * (THREADS / DEPTH))
        UNROLL for (int n = 0; n < 4; ++n) {
            const int x = first + n * (THREADS / DEPTH);
            slice[e * ROW<T> + x] = x0 + x < rows && e0 + e < columns ? A(x0 + x, e0 + e) * scale : T(0);
        }
}

// sum[p][q] = Σ[e] scale_a A[i0 + my rows, e] * scale_b B[j0 + my columns, e]
template <class T>
__device__ __forceinline__ void multiply(T (&sum)[PART<T>][PART<T>], Shared<T>& shared, const Heads<T>& A, int i0, int rows_a, T scale_a, const Heads<T>& B, int j0, int rows_b, T scale_b, int columns) {
    T *const a = shared.slices, *const b = a + DEPTH * ROW<T>;
    UNROLL for (int p = 0; p < PART<T>; ++p)
        UNROLL for (int q = 0; q < PART<T>; ++q) sum[p][q] = 0;
    for (int e0 = 0; e0 < columns; e0 += DEPTH) {
        load_columns(a, A, i0, rows_a, e0, columns, scale_a), load_columns(b, B, j0, rows_b, e0, columns, scale_b);
        __syncthreads();
        ROLLED for (int first = 0; first < DEPTH; first += 4)
            UNROLL for (int e = 0; e < 4; ++e) {
                const Pack<T> left = load_pack(a + (first + e) * ROW<T> + my_row() * PART<T>), right = load_pack(b + (first + e) * ROW<T> + my_column() * PART<T>);
                UNROLL for (int p = 0; p < PART<T>; ++p)
                    UNROLL for (int q = 0; q < PART<T>; ++q) sum[p][q] = multiply_add(left.lane[p], right.lane[q], sum[p][q]);
            }
        __syncthreads();
    }
}

// weights[my columns][my rows] = w
template <class T> __device__ __forceinline__ void store_weights(Shared<T>& shared, const T (&w)[PART<T>][PART<T>]) {
    UNROLL for (int q = 0; q < PART<T>; ++q) {
        Pack<T> pack;
        UNROLL for (int p = 0; p < PART<T>; ++p) pack.lane[p] = w[p][q];
        store_pack(shared.weights + (my_column() * PART<T> + q) * ROW<T> + my_row() * PART<T>, pack);
    }
}

// A thread's sums for its PART rows of a tile and GROUPS packs of columns, those of a row's 16 threads side by side.
template <class T, int GROUPS> struct Sums {
    static constexpr int L = Pack<T>::size, WIDTH = GROUPS * TILE<T>;
    static constexpr int DEEP = smaller(2 * DEPTH / GROUPS, TILE<T>);   // rows of a slice
    T sum[PART<T>][GROUPS * L];

    __device__ __forceinline__ void clear() {
        UNROLL for (int p = 0; p < PART<T>; ++p)
            UNROLL for (int c = 0; c < GROUPS * L; ++c) sum[p][c] = 0;
    }

    // += Σ[x] weights[x][my rows] * B[x0 + x, my columns], x < TILE, as far as B has rows
    __device__ __forceinline__ void add_product(Shared<T>& shared, const Heads<T>& B, int x0, int rows, int columns) {
        for (int first = 0; first < TILE<T> && x0 + first < rows; first += DEEP) {
            ROLLED for (int start = threadIdx.x; start < DEEP * WIDTH; start += 4 * THREADS)
                UNROLL for (int n = 0; n < 4; ++n) {
                    const int at = start + n * THREADS, x = x0 + first + at / WIDTH, c = at % WIDTH;
                    shared.slices[at] = x < rows && c < columns ? B(x, c) : T(0);
                }
            __syncthreads();
            ROLLED for (int x = 0; x < DEEP; ++x) {
                const Pack<T> left = load_pack(shared.weights + (first + x) * ROW<T> + my_row() * PART<T>);
                UNROLL for (int k = 0; k < GROUPS; ++k) {
                    const Pack<T> right = load_pack(shared.slices + x * WIDTH + (k * SIDE + my_column()) * L);
                    UNROLL for (int p = 0; p < PART<T>; ++p)
                        UNROLL for (int e = 0; e < L; ++e) sum[p][k * L + e] = multiply_add(left.lane[p], right.lane[e], sum[p][k * L + e]);
                }
            }
            __syncthreads();
        }
    }

    // Y (rows, columns) from row i0 on
    __device__ __forceinline__ void store(T* Y, int i0, int rows, int columns) const {
        UNROLL for (int p = 0; p < PART<T>; ++p)
            UNROLL for (int c = 0; c < GROUPS * L; ++c) {
                const int i = i0 + my_row() * PART<T> + p, column = (c / L * SIDE + my_column()) * L + c % L;
                if (i < rows && column < columns) Y[static_cast<long long>(i) * columns + column] = sum[p][c];
            }
    }
};

// The scores between query i and key j after the mask: `allowed` says which may meet, `added` is added.
template <class T> __device__ __forceinline__ T masked(T s, int i, int j, const Sizes& z, const Heads<bool>& allowed, const Heads<T>& added) {
    if (i >= z.L || j >= z.S || (z.causal && j > i) || (allowed.data && !allowed(i, j))) return -infinity<T>();
    return added.data ? s + added(i, j) : s;
}

// The weight of a score; a query that may attend to nothing has lse = -infinity, and weights of 0.
template <class T> __device__ __forceinline__ T weight(T s, T lse) { return exp(s - (lse == -infinity<T>() ? T(0) : lse)); }

// Over the 16 threads of a row, all of which get it
template <class T> __device__ __forceinline__ T row_largest(T x) {
    UNROLL for (int bit = SIDE / 2; bit > 0; bit /= 2) x = larger(x, __shfl_xor_sync(ALL_LANES, x, bit));
    return x;
}
template <class T> __device__ __forceinline__ T row_total(T x) {
    UNROLL for (int bit = SIDE / 2; bit > 0; bit /= 2) x = add(x, __shfl_xor_sync(ALL_LANES, x, bit));
    return x;
}

// One block a multiprocessor is enough: with this 1 the compiler takes all registers that it needs, without it it would rather spill some to fit two.
template <class T, int GROUPS>
__global__ void __launch_bounds__(THREADS, 1) forward(Sizes z, T scale, Heads<T> Q, Heads<T> K, Heads<T> V, Heads<bool> allowed, Heads<T> added, T* Y, T* lse) {
    __shared__ Shared<T> shared;
    const int tiles = (z.L + TILE<T> - 1) / TILE<T>, i0 = static_cast<int>(blockIdx.x % tiles) * TILE<T>;
    const long long head = blockIdx.x / tiles;
    Q = Q.of(head, z.H), K = K.of(head, z.H), V = V.of(head, z.H), allowed = allowed.of(head, z.H), added = added.of(head, z.H);
    Sums<T, GROUPS> sums;
    sums.clear();
    T most[PART<T>], total[PART<T>];   // the total is this thread's part of it until the end
    UNROLL for (int p = 0; p < PART<T>; ++p) most[p] = -infinity<T>(), total[p] = 0;

    const int end = z.causal ? smaller(z.S, i0 + TILE<T>) : z.S;
    for (int j0 = 0; j0 < end; j0 += TILE<T>) {
        T s[PART<T>][PART<T>];
        multiply(s, shared, Q, i0, z.L, scale, K, j0, z.S, T(1), z.E);
        UNROLL for (int p = 0; p < PART<T>; ++p) {
            T top = most[p];
            UNROLL for (int q = 0; q < PART<T>; ++q) {
                s[p][q] = masked(s[p][q], i0 + my_row() * PART<T> + p, j0 + my_column() * PART<T> + q, z, allowed, added);
                top = larger(top, s[p][q]);
            }
            top = row_largest(top);
            const T factor = weight(most[p], top);
            most[p] = top, total[p] = total[p] * factor;
            UNROLL for (int q = 0; q < PART<T>; ++q) s[p][q] = weight(s[p][q], top), total[p] = add(total[p], s[p][q]);
            UNROLL for (int c = 0; c < GROUPS * Pack<T>::size; ++c) sums.sum[p][c] *= factor;
        }
        store_weights(shared, s);
        sums.add_product(shared, V, j0, z.S, z.C);
    }
    UNROLL for (int p = 0; p < PART<T>; ++p) {
        const T sum = row_total(total[p]);
        UNROLL for (int c = 0; c < GROUPS * Pack<T>::size; ++c) sums.sum[p][c] = sum == 0 ? T(0) : sums.sum[p][c] / sum;
        const int i = i0 + my_row() * PART<T> + p;
        const bool infinite = most[p] == infinity<T>() || most[p] == -infinity<T>();
        if (my_column() == 0 && i < z.L) lse[head * z.L + i] = infinite ? most[p] : most[p] + log(sum);
    }
    sums.store(Y + head * z.L * z.C, i0, z.L, z.C);
}

// D[i] = Σ[c] G[i,c] * Y[i,c], a warp for each row of each head
template <class T> __global__ void __launch_bounds__(THREADS) inner_products(long long rows, int H, int L, int C, Heads<T> G, Heads<T> Y, T* D) {
    const long long row = blockIdx.x * static_cast<long long>(THREADS / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    const Heads<T> g = G.of(row / L, H), y = Y.of(row / L, H);
    const int i = static_cast<int>(row % L);
    T sum = 0;
    for (int c = threadIdx.x % 32; c < C; c += 32) sum = multiply_add(g(i, c), y(i, c), sum);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) D[row] = sum;
}

template <class T, int GROUPS>
__global__ void __launch_bounds__(THREADS, 1) to_queries(Sizes z, T scale, Heads<T> G, Heads<T> Q, Heads<T> K, Heads<T> V, Heads<bool> allowed, Heads<T> added, const T* lse, const T* D, T* dQ) {
    __shared__ Shared<T> shared;
    const int tiles = (z.L + TILE<T> - 1) / TILE<T>, i0 = static_cast<int>(blockIdx.x % tiles) * TILE<T>;
    const long long head = blockIdx.x / tiles;
    G = G.of(head, z.H), Q = Q.of(head, z.H), K = K.of(head, z.H), V = V.of(head, z.H), allowed = allowed.of(head, z.H), added = added.of(head, z.H);
    T my_lse[PART<T>], my_D[PART<T>];
    UNROLL for (int p = 0; p < PART<T>; ++p) {
        const int i = i0 + my_row() * PART<T> + p;
        my_lse[p] = i < z.L ? lse[head * z.L + i] : T(0), my_D[p] = i < z.L ? D[head * z.L + i] : T(0);
    }
    Sums<T, GROUPS> sums;
    sums.clear();
    const int end = z.causal ? smaller(z.S, i0 + TILE<T>) : z.S;
    for (int j0 = 0; j0 < end; j0 += TILE<T>) {
        T s[PART<T>][PART<T>], pull[PART<T>][PART<T>];
        multiply(s, shared, Q, i0, z.L, scale, K, j0, z.S, T(1), z.E);
        UNROLL for (int p = 0; p < PART<T>; ++p)
            UNROLL for (int q = 0; q < PART<T>; ++q)
                s[p][q] = weight(masked(s[p][q], i0 + my_row() * PART<T> + p, j0 + my_column() * PART<T> + q, z, allowed, added), my_lse[p]);
        multiply(pull, shared, G, i0, z.L, T(1), V, j0, z.S, T(1), z.C);
        UNROLL for (int p = 0; p < PART<T>; ++p)
            UNROLL for (int q = 0; q < PART<T>; ++q) s[p][q] *= (pull[p][q] - my_D[p]) * scale;
        store_weights(shared, s);
        sums.add_product(shared, K, j0, z.S, z.E);
    }
    sums.store(dQ + head * z.L * z.E, i0, z.L, z.E);
}

// As above with keys and queries in each other's place: the block's rows are keys.
template <class T, int GROUPS>
__global__ void __launch_bounds__(THREADS, 1) to_keys(Sizes z, T scale, Heads<T> G, Heads<T> Q, Heads<T> K, Heads<T> V, Heads<bool> allowed, Heads<T> added, const T* lse, const T* D, T* dK, T* dV) {
    __shared__ Shared<T> shared;
    const int tiles = (z.S + TILE<T> - 1) / TILE<T>, j0 = static_cast<int>(blockIdx.x % tiles) * TILE<T>;
    const long long head = blockIdx.x / tiles;
    G = G.of(head, z.H), Q = Q.of(head, z.H), K = K.of(head, z.H), V = V.of(head, z.H), allowed = allowed.of(head, z.H), added = added.of(head, z.H);
    Sums<T, GROUPS> to_k, to_v;
    to_k.clear(), to_v.clear();
    for (int i0 = z.causal ? j0 : 0; i0 < z.L; i0 += TILE<T>) {
        T s[PART<T>][PART<T>], pull[PART<T>][PART<T>];
        multiply(s, shared, K, j0, z.S, T(1), Q, i0, z.L, scale, z.E);
        UNROLL for (int q = 0; q < PART<T>; ++q) {
            const int i = i0 + my_column() * PART<T> + q;
            const T my_lse = i < z.L ? lse[head * z.L + i] : T(0);
            UNROLL for (int p = 0; p < PART<T>; ++p) s[p][q] = weight(masked(s[p][q], i, j0 + my_row() * PART<T> + p, z, allowed, added), my_lse);
        }
        store_weights(shared, s);
        to_v.add_product(shared, G, i0, z.L, z.C);
        multiply(pull, shared, V, j0, z.S, T(1), G, i0, z.L, T(1), z.C);
        UNROLL for (int q = 0; q < PART<T>; ++q) {
            const int i = i0 + my_column() * PART<T> + q;
            const T my_D = i < z.L ? D[head * z.L + i] : T(0);
            UNROLL for (int p = 0; p < PART<T>; ++p) s[p][q] *= (pull[p][q] - my_D) * scale;
        }
        store_weights(shared, s);
        to_k.add_product(shared, Q, i0, z.L, z.E);
    }
    to_k.store(dK + head * z.S * z.E, j0, z.S, z.E);
    to_v.store(dV + head * z.S * z.C, j0, z.S, z.C);
}

}  // namespace attention_tiles

#define SIZES(kind)                                                                                                                                    \
    KERNEL(attention_tiles::kind<float, 1>) KERNEL(attention_tiles::kind<float, 2>) KERNEL(attention_tiles::kind<float, 4>)                            \
    KERNEL(attention_tiles::kind<double, 2>) KERNEL(attention_tiles::kind<double, 4>) KERNEL(attention_tiles::kind<double, 8>)
SIZES(forward)
SIZES(to_queries)
SIZES(to_keys)
KERNEL(attention_tiles::inner_products<float>)
KERNEL(attention_tiles::inner_products<double>)
