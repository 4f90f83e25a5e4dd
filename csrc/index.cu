// Reading and adding at places that an index names, on a GPU
//
//     gather:       y[o,i,e] = x[o,index[o,i,e],e]            scatter_add:  y[o,index[o,i,e],e] += src[o,i,e]        x, y (O, A, E), index, src (O, N, E)
//     take_rows:    y[i,e] = w[index[i],e]                    add_rows:     y[index[i],e] += g[i,e]                  w, y (A, E), g (N, E)
//
// All arrays are contiguous. What is added to one place is added in the index's order, by one thread: the same bits every time, those of the reference. Atomic additions would come in any order.
//
// An index outside of 0 ... A - 1 touches nothing, and is noted in `wrong`: of I indices that lie in memory, place p leaves I - p there if nobody before it is wrong, and 0 stands for none.
// The host looks when it waits for the device anyway.
#include "block.cuh"

namespace indexing {   // `index` alone is a function of the C library

using block::THREADS, block::WARPS;

constexpr int COLUMNS = 4;   // of a thread of add_rows

__device__ __forceinline__ long long first_number() { return blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x; }
__device__ __forceinline__ long long stride() { return static_cast<long long>(gridDim.x) * THREADS; }

// Whether j names one of A places; `p` is its own place among I indices.
__device__ __forceinline__ bool right(long long j, long long A, long long p, long long I, long long* wrong) {
    if (j >= 0 && j < A) return true;
    atomicMax(wrong, I - p);
    return false;
}

// Numbers are copied as they are: W is a word of their size.
template <class W> __global__ void __launch_bounds__(THREADS) gather(long long O, long long A, long long N, long long E, const W* X, const long long* index, W* Y, long long* wrong) {
    const long long count = O * N * E;
    for (long long n = first_number(); n < count; n += stride()) {
        const long long j = index[n];
        Y[n] = right(j, A, n, count, wrong) ? X[(n / (N * E) * A + j) * E + n % E] : W(0);
    }
}

// Neighbouring threads copy neighbouring columns of a row. (With no column at all, one thread a row still looks at its index.)
template <class W> __global__ void __launch_bounds__(THREADS) take_rows(long long A, long long N, long long E, const W* X, const long long* index, W* Y, long long* wrong) {
    const long long width = E > 0 ? E : 1;
    for (long long n = first_number(); n < N * width; n += stride()) {
        const long long i = n / width, e = n % width, j = index[i];
        const bool fine = right(j, A, i, N, wrong);
        if (E > 0) Y[i * E + e] = fine ? X[j * E + e] : W(0);
    }
}

// A thread walks along a line o, e: fine where there are many of them, or short ones.
template <class T> __global__ void __launch_bounds__(THREADS) scatter_lines(long long O, long long A, long long N, long long E, const long long* index, const T* src, T* Y, long long* wrong) {
    for (long long line = first_number(); line < O * E; line += stride()) {
        const long long o = line / E, e = line % E;
        for (long long i = 0; i < N; ++i) {
            const long long p = (o * N + i) * E + e, j = index[p];
            if (right(j, A, p, O * N * E, wrong)) Y[(o * A + j) * E + e] = add(Y[(o * A + j) * E + e], src[p]);
        }
    }
}

// A block walks along a line, THREADS numbers at a time. Of those that go to the same place, the first one's thread adds up all, in their order.
template <class T> __global__ void __launch_bounds__(THREADS) scatter_blocks(long long O, long long A, long long N, long long E, const long long* index, const T* src, T* Y, long long* wrong) {
    __shared__ long long place[THREADS];
    __shared__ T value[THREADS];
    const int t = threadIdx.x;
    const long long o = blockIdx.x / E, e = blockIdx.x % E;
    for (long long i0 = 0; i0 < N; i0 += THREADS) {
        const int count = static_cast<int>(N - i0 < THREADS ? N - i0 : THREADS);
        bool adds = false;
        long long j = 0;
        if (t < count) {
            const long long p = (o * N + i0 + t) * E + e;
            j = index[p], adds = right(j, A, p, O * N * E, wrong);
            place[t] = adds ? j : -1, value[t] = src[p];
        }
        __syncthreads();
        for (int s = 0; adds && s < t; ++s) adds = place[s] != j;
        if (adds) {
            T* y = &Y[(o * A + j) * E + e];
            T sum = *y;
            for (int s = t; s < count; ++s)
                if (place[s] == j) sum = add(sum, value[s]);
            *y = sum;
        }
        __syncthreads();
    }
}

// A block computes columns of one row of Y: it looks at all indices, THREADS at a time, each warp votes on 32 of them, and where a vote names this row every thread adds its columns.
// Nothing is sorted and Y is written once. To look costs A * N comparisons, hardly more than nothing beside the copies for the sizes of vocabularies.
template <class T> __global__ void __launch_bounds__(THREADS) add_rows(long long A, long long N, long long E, const long long* index, const T* G, T* Y, long long* wrong) {
    __shared__ unsigned votes[WARPS];
    const int t = threadIdx.x;
    const long long row = blockIdx.x, e0 = blockIdx.y * static_cast<long long>(THREADS * COLUMNS) + t;
    const bool looks = blockIdx.x == 0 && blockIdx.y == 0;
    T sum[COLUMNS] = {};
    for (long long i0 = 0; i0 < N; i0 += THREADS) {
        const long long j = i0 + t < N ? index[i0 + t] : row;
        if (looks && i0 + t < N) right(j, A, i0 + t, N, wrong);
        const unsigned vote = __ballot_sync(ALL_LANES, i0 + t < N && j == row);
        if (t % 32 == 0) votes[t / 32] = vote;
        __syncthreads();
        for (int w = 0; w < WARPS; ++w)
            for (unsigned rest = votes[w]; rest; rest &= rest - 1) {
                const T* g = G + (i0 + w * 32 + __ffs(static_cast<int>(rest)) - 1) * E;
                UNROLL for (int k = 0; k < COLUMNS; ++k)
                    if (e0 + k * THREADS < E) sum[k] = add(sum[k], g[e0 + k * THREADS]);
            }
        __syncthreads();
    }
    UNROLL for (int k = 0; k < COLUMNS; ++k)
        if (row < A && e0 + k * THREADS < E) Y[row * E + e0 + k * THREADS] = sum[k];
}

}  // namespace indexing

KERNEL(indexing::gather<unsigned char>)
KERNEL(indexing::gather<unsigned short>)
KERNEL(indexing::gather<unsigned int>)
KERNEL(indexing::gather<unsigned long long>)
KERNEL(indexing::take_rows<unsigned char>)
KERNEL(indexing::take_rows<unsigned short>)
KERNEL(indexing::take_rows<unsigned int>)
KERNEL(indexing::take_rows<unsigned long long>)
KERNEL(indexing::scatter_lines<float>)
KERNEL(indexing::scatter_lines<double>)
KERNEL(indexing::scatter_blocks<float>)
KERNEL(indexing::scatter_blocks<double>)
KERNEL(indexing::add_rows<float>)
KERNEL(indexing::add_rows<double>)
