// The rungs of a sum on a GPU: Y[i] = Σ[j] X[i,j]        X (M, N), row after row
//
//     atomic       a thread for each number, which adds it to Y[i]                        the formula
//     tree         a block adds its numbers in pairs, in shared memory                    one atomic addition a block
//     shuffle      the same, from register to register of a warp                          two barriers become one, hardly any shared memory
//     vectorized   before that a thread adds up 16 bytes at a time                        fewer instructions and blocks for the same bytes
//     two_pass     blocks write their sums, a second launch adds them                     the same order, hence the same bits, every time
//
// blockIdx.x is the row i, blockIdx.y the block's place in it. Y holds zeros before the first four. Launch lines are in minidl/kernels/cuda/.
#include "block.cuh"

namespace reduce {

using block::THREADS, block::block_sum;

// The formula as it stands. All threads of a row wait for one number in memory, and the order in which they come, hence the rounding, is left to chance.
template <class T> __global__ void __launch_bounds__(THREADS) atomic(long long N, const T* X, T* Y) {
    const long long i = blockIdx.x;
    for (long long j = blockIdx.y * THREADS + threadIdx.x; j < N; j += gridDim.y * THREADS) {
        atomicAdd(&Y[i], X[i * N + j]);
    }
}

// Half of the threads add the other half's numbers to their own, then half of them, ...: log2(256) = 8 steps with a barrier each, and one atomic addition for 256 numbers.
// The threads that go on are always the first ones, so that whole warps drop out, and neighbours read neighbours: no bank is asked for two words.
template <class T> __global__ void __launch_bounds__(THREADS) tree(long long N, const T* X, T* Y) {
    __shared__ T part[THREADS];
    const int t = threadIdx.x;
    const long long i = blockIdx.x;
    T sum = 0;
    for (long long j = blockIdx.y * THREADS + t; j < N; j += gridDim.y * THREADS) sum = add(sum, X[i * N + j]);
    part[t] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) part[t] = add(part[t], part[t + half]);
    }
    if (t == 0) atomicAdd(&Y[i], part[0]);
}

// The tree's steps cost a barrier and two accesses to shared memory each. A shuffle hands a register of one lane to another: what remains is one barrier, between the warps.
template <class T> __global__ void __launch_bounds__(THREADS) shuffle(long long N, const T* X, T* Y) {
    const long long i = blockIdx.x;
    T sum = 0;
    for (long long j = blockIdx.y * THREADS + threadIdx.x; j < N; j += gridDim.y * THREADS) sum = add(sum, X[i * N + j]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) atomicAdd(&Y[i], sum);
}

// Packs of a row that this thread adds up, PACKS of them or more, before anybody is asked for anything. Ends of rows that fill no pack go one by one.
template <class T> __device__ __forceinline__ T thread_sum(long long N, const T* row) {
    constexpr int L = Pack<T>::size;
    const bool wide = fits_pack(row);
    T sum[L] = {};
    for (long long j = (blockIdx.y * THREADS + threadIdx.x) * L; j < N; j += gridDim.y * THREADS * L) {
        if (wide && j + L <= N) {
            const Pack<T> pack = load_pack(row + j);
            UNROLL for (int e = 0; e < L; ++e) sum[e] = add(sum[e], pack.lane[e]);
        } else
            UNROLL for (int e = 0; e < L; ++e)
                if (j + e < N) sum[e] = add(sum[e], row[j + e]);
    }
    UNROLL for (int e = 1; e < L; ++e) sum[0] = add(sum[0], sum[e]);
    return sum[0];
}

// The bytes are the same, but they come with a quarter (for doubles half) of the instructions; and as each thread adds up several packs by itself, there
// are fewer blocks, and fewer trees and atomic additions.
template <class T> __global__ void __launch_bounds__(THREADS) vectorized(long long N, const T* X, T* Y) {
    const T sum = block_sum(thread_sum(N, X + blockIdx.x * N));
    if (threadIdx.x == 0) atomicAdd(&Y[blockIdx.x], sum);
}

// No atomic additions: Y (M, gridDim.y) gets each block's sum, and a second launch with one block a row adds those. Every addition has its place, so that the result
// is the same, bit for bit, every time.
template <class T> __global__ void __launch_bounds__(THREADS) two_pass(long long N, const T* X, T* Y) {
    const T sum = block_sum(thread_sum(N, X + blockIdx.x * N));
    if (threadIdx.x == 0) Y[blockIdx.x * static_cast<long long>(gridDim.y) + blockIdx.y] = sum;
}

}  // namespace reduce

KERNEL(reduce::atomic<float>)
KERNEL(reduce::atomic<double>)
KERNEL(reduce::tree<float>)
KERNEL(reduce::tree<double>)
KERNEL(reduce::shuffle<float>)
KERNEL(reduce::shuffle<double>)
KERNEL(reduce::vectorized<float>)
KERNEL(reduce::vectorized<double>)
KERNEL(reduce::two_pass<float>)
KERNEL(reduce::two_pass<double>)
