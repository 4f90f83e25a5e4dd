// Kernels with one planted fault each, and their right forms: what the emulator must find, and what it must not report (tests/test_emulator.py).
#include "emulator/cuda.h"

namespace faults {

// ---- shared memory and barriers: Y[t] = X[n - 1 - t], for one block of n threads ------------------------------------------

__global__ void reversed(int n, const float* X, float* Y) {
    __shared__ float part[256];
    const int t = threadIdx.x;
    part[t] = X[t];
    __syncthreads();
    Y[t] = part[n - 1 - t];
}
__global__ void missing_barrier(int n, const float* X, float* Y) {
    __shared__ float part[256];
    const int t = threadIdx.x;
    part[t] = X[t];
    Y[t] = part[n - 1 - t];   // of another warp, which may not be there yet
}
// Reads first, writes over it later: the same race the other way round.
__global__ void missing_second_barrier(int n, const float* X, float* Y) {
    __shared__ float part[256];
    const int t = threadIdx.x;
    float sum = 0;
    for (int round = 0; round < 2; ++round) {
        part[t] = X[t] + round;
        __syncthreads();
        sum += part[(t + 1) % n];
    }
    Y[t] = sum;
}
__global__ void uninitialised(int n, const float* X, float* Y) {
    __shared__ float part[256];
    const int t = threadIdx.x;
    if (t > 0) part[t] = X[t];
    __syncthreads();
    Y[t] = part[n - 1 - t];
}
__global__ void divergent_barrier(int n, const float* X, float* Y) {
    const int t = threadIdx.x;
    if (t >= n) return;
    __syncthreads();
    Y[t] = X[t];
}
__global__ void two_barriers(int n, const float* X, float* Y) {
    const int t = threadIdx.x;
    if (t < n / 2) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    Y[t] = X[t];
}
__global__ void past_the_row(int n, const float* X, float* Y) {
    __shared__ float part[8][32];
    const int t = threadIdx.x;
    part[t / 32][t % 32] = X[t];
    __syncthreads();
    Y[t] = part[t / 32][t % 32 + 1];   // for the last lane the first number of the next row
    (void)n;
}
__global__ void dynamic(int n, const float* X, float* Y) {   // needs n * 4 bytes of dynamic shared memory
    DYNAMIC_SHARED(float, part);
    const int t = threadIdx.x;
    part[t] = X[t];
    __syncthreads();
    Y[t] = part[n - 1 - t];
}

// ---- a warp ------------------------------------------------------------------------------------------------------------

// Inside of a warp __syncwarp is barrier enough, and without it nothing is.
__global__ void warp_reversed(int n, const float* X, float* Y) {
    __shared__ float part[256];
    const int t = threadIdx.x;
    part[t] = X[t];
    __syncwarp();
    Y[t] = part[t ^ 31];
    (void)n;
}
__global__ void missing_syncwarp(int n, const float* X, float* Y) {
    __shared__ float part[256];
    const int t = threadIdx.x;
    part[t] = X[t];
    Y[t] = part[t ^ 31];
    (void)n;
}
__global__ void stuck_shuffle(int n, const float* X, float* Y) {
    const int t = threadIdx.x;
    float x = X[t];
    if (t % 2) x += __shfl_xor_sync(ALL_LANES, x, 1);   // the mask names lanes that never come
    else __syncthreads();
    Y[t] = x;
    (void)n;
}
__global__ void absent_lane(int n, const float* X, float* Y) {
    const int t = threadIdx.x;
    float x = X[t];
    if (t % 2) x = __shfl_xor_sync(0xaaaaaaaau, x, 1);   // of an even lane, which takes no part
    Y[t] = x;
    (void)n;
}
__global__ void warp_words(int n, const int* X, int* Y) {   // what shuffles and votes give: 8 numbers a thread
    const int t = threadIdx.x, x = X[t];
    int* y = Y + 8 * t;
    y[0] = __shfl_sync(ALL_LANES, x, 3);
    y[1] = __shfl_up_sync(ALL_LANES, x, 1);
    y[2] = __shfl_down_sync(ALL_LANES, x, 2);
    y[3] = __shfl_xor_sync(ALL_LANES, x, 5);
    y[4] = static_cast<int>(__ballot_sync(ALL_LANES, x % 3 == 0));
    y[5] = __any_sync(ALL_LANES, x == 7) * 2 + __all_sync(ALL_LANES, x >= 0);
    y[6] = __shfl_down_sync(ALL_LANES, x, 1, 8);
    if (t < n - 4) y[7] = static_cast<int>(__activemask());   // the last four do not come
}

// ---- global memory -----------------------------------------------------------------------------------------------------

__global__ void off_by_one(int n, const float* X, float* Y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) Y[i] = X[i];
}
__global__ void writes_input(int n, const float* X, float* Y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) const_cast<float*>(X)[i] = Y[i];
}
__global__ void misaligned(int n, const float* X, float* Y) {
    if (threadIdx.x == 0) store_pack(Y, load_pack(X + 1));
    (void)n;
}
__global__ void lost_addition(int n, const float* X, float* Y) {   // every thread of every block
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) Y[0] += X[i];
}
__global__ void atomic_addition(int n, const float* X, float* Y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(&Y[0], X[i]);
}
__global__ void between_blocks(int n, const float* X, float* Y) {   // reads what the block before has written
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) Y[i] = X[i];
    if (i < n && blockIdx.x > 0) Y[i] += Y[i - blockDim.x];
}
__global__ void reads_result(int n, const float* X, float* Y) {   // which nobody has set to 0
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) Y[i] += X[i];
}
__global__ void copy(int n, const float* X, float* Y, int stride) {   // stride 1 is coalesced, 8 is not
    const int i = (blockIdx.x * blockDim.x + threadIdx.x) * stride;
    if (i < n) Y[i] = X[i];
}
__global__ void uneven(int n, const float* X, float* Y) {   // each thread another number of rounds
    const int t = threadIdx.x;
    float sum = 0;
    for (int round = 0; round < t % 4; ++round) sum += static_cast<const volatile float*>(X)[t];
    Y[t] = sum + n;
}
__global__ void copy_vectors(int n, const float4* X, float4* Y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) Y[i] = X[i];
}
__global__ void atomics(int n, const int* X, int* Y) {   // Y: sum, largest, smallest, number of CAS that won, last
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    atomicAdd(&Y[0], X[i]);
    atomicMax(&Y[1], X[i]);
    atomicMin(&Y[2], X[i]);
    if (atomicCAS(&Y[3], 0, 1) == 0) atomicAdd(&Y[5], 1);
    atomicExch(&Y[4], X[i]);
}

// ---- banks: Y[t] = part[t * step], step words apart -------------------------------------------------------------------------

__global__ void banks(int n, const float* X, float* Y, int step) {
    __shared__ float part[32 * 32];
    const int t = threadIdx.x;
    for (int i = t; i < 32 * 32; i += 32) part[i] = X[0];
    __syncthreads();
    Y[t] = part[t * step];
    (void)n;
}

// ---- no end --------------------------------------------------------------------------------------------------------------

__global__ void waits_forever(int n, const float* X, float* Y) {
    while (*static_cast<const volatile float*>(X) != 1) {
    }
    Y[0] = n;
}
__global__ void computes_forever(int n, const float* X, float* Y) {   // without one access to memory in the loop
    float x = X[0];
    while (x != -1) x = x * x + 1, x = x > 4 ? 0 : x;
    Y[0] = x + n;
}

}  // namespace faults

PLAIN_KERNEL(faults::reversed)
PLAIN_KERNEL(faults::missing_barrier)
PLAIN_KERNEL(faults::missing_second_barrier)
PLAIN_KERNEL(faults::uninitialised)
PLAIN_KERNEL(faults::divergent_barrier)
PLAIN_KERNEL(faults::two_barriers)
PLAIN_KERNEL(faults::past_the_row)
PLAIN_KERNEL(faults::dynamic)
PLAIN_KERNEL(faults::warp_reversed)
PLAIN_KERNEL(faults::missing_syncwarp)
PLAIN_KERNEL(faults::stuck_shuffle)
PLAIN_KERNEL(faults::absent_lane)
PLAIN_KERNEL(faults::warp_words)
PLAIN_KERNEL(faults::off_by_one)
PLAIN_KERNEL(faults::writes_input)
PLAIN_KERNEL(faults::misaligned)
PLAIN_KERNEL(faults::lost_addition)
PLAIN_KERNEL(faults::atomic_addition)
PLAIN_KERNEL(faults::between_blocks)
PLAIN_KERNEL(faults::reads_result)
PLAIN_KERNEL(faults::copy)
PLAIN_KERNEL(faults::uneven)
PLAIN_KERNEL(faults::copy_vectors)
PLAIN_KERNEL(faults::atomics)
PLAIN_KERNEL(faults::banks)
PLAIN_KERNEL(faults::waits_forever)
PLAIN_KERNEL(faults::computes_forever)
