// What the threads of a warp or of a block find out together: a sum, a largest number. The steps have a fixed order, so that results are the same, bit for bit, every time.
//
//     warp_sum    in lane 0       warp_total, warp_largest     in every lane
//     block_sum   in thread 0     block_total, block_largest   in every thread       blocks of THREADS threads in one dimension
#pragma once
#include "emulator/cuda.h"

namespace block {

constexpr int THREADS = 256, WARPS = THREADS / 32;

// The larger number; NaN wins.
template <class T> __device__ __forceinline__ T larger(T a, T b) { return a > b || a != a ? a : b; }

// Σ over the lanes of a warp, in lane 0: five steps, from register to register, without shared memory or barrier.
template <class T> __device__ __forceinline__ T warp_sum(T x) {
    UNROLL for (int distance = 16; distance > 0; distance /= 2) x = add(x, __shfl_down_sync(ALL_LANES, x, distance));
    return x;
}

// The same steps between lanes whose numbers differ in one bit: both have the result then, and in the end all lanes.
template <class T> __device__ __forceinline__ T warp_total(T x) {
    UNROLL for (int bit = 16; bit > 0; bit /= 2) x = add(x, __shfl_xor_sync(ALL_LANES, x, bit));
    return x;
}
template <class T> __device__ __forceinline__ T warp_largest(T x) {
    UNROLL for (int bit = 16; bit > 0; bit /= 2) x = larger(x, __shfl_xor_sync(ALL_LANES, x, bit));
    return x;
}

// Σ over the threads of a block, in thread 0: each warp by shuffles, then the first warp over the warps' sums.
template <class T> __device__ __forceinline__ T block_sum(T x) {
    __shared__ T part[WARPS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    x = warp_sum(x);
    if (lane == 0) part[warp] = x;
    __syncthreads();
    if (warp > 0) return x;
    return warp_sum(lane < WARPS ? part[lane] : T(0));
}

// Every thread reads all warps' results, in the same order. The second barrier lets a kernel ask again: the next results would overwrite what a slow warp has not read.
template <class T> __device__ __forceinline__ T block_total(T x) {
    __shared__ T part[WARPS];
    x = warp_total(x);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    T sum = part[0];
    UNROLL for (int w = 1; w < WARPS; ++w) sum = add(sum, part[w]);
    __syncthreads();
    return sum;
}
template <class T> __device__ __forceinline__ T block_largest(T x) {
    __shared__ T part[WARPS];
    x = warp_largest(x);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    T most = part[0];
    UNROLL for (int w = 1; w < WARPS; ++w) most = larger(most, part[w]);
    __syncthreads();
    return most;
}

}  // namespace block
