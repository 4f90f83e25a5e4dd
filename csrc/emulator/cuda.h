// What every kernel file (csrc/*.cu) includes. The same source goes through two compilers:
//
//     nvcc, NVRTC    CUDA itself; this file then only adds the few wrappers below
//     g++, clang++   the emulator: the words of CUDA C++ as macros and functions that a CPU can run (words.h, warp.h, atomics.h, vectors.h)
//
// The emulator's side comes in two builds. The checked one (MINIDL_CHECKED) is compiled with -fsanitize=thread, whose callbacks (callbacks.cpp) see every access to
// memory, so that faults are found and transactions counted; the quick one is the plain kernel. The kernels' source knows nothing of either.
#pragma once

#if defined(__CUDACC__)

#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")   // a loop that stays one: unrolled, it would need more registers than there are

// Dynamic shared memory: T* name, as large as the launch says.
#define DYNAMIC_SHARED(T, name)                                                   \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[]; \
    T* const name = reinterpret_cast<T*>(dynamic_shared_memory)

// The instance of a kernel template that launch lines (minidl/kernels/cuda/) call by this text: KERNEL(matmul::tiled<float, 32>). One that is no template
// is there anyway: PLAIN_KERNEL names it for the emulator. NVRTC is told which instances it shall make, one at a time.
#if defined(__CUDACC_RTC__)
#define KERNEL(...)
#else
#define KERNEL(...) template __global__ decltype(__VA_ARGS__) __VA_ARGS__;
#endif
#define PLAIN_KERNEL(name)

// Arithmetic that the emulator counts: one multiplication with addition in one instruction, and one addition.
template <class T> __device__ __forceinline__ T multiply_add(T a, T b, T c) { return fma(a, b, c); }
template <class T> __device__ __forceinline__ T add(T a, T b) { return a + b; }

#else
#include "atomics.h"
#include "vectors.h"
#include "warp.h"
#include "words.h"
#endif

constexpr unsigned ALL_LANES = 0xffffffffu;

// Numbers side by side, which one instruction loads or stores: 16 bytes of them, 4 floats or 2 doubles, if nothing else is said. The address is a multiple of their size.
template <class T, int L = 16 / sizeof(T)> struct alignas(L * sizeof(T)) Pack {
    static constexpr int size = L;
    T lane[L];
};
template <class T, int L = 16 / sizeof(T)> __device__ __forceinline__ Pack<T, L> load_pack(const T* p) {
#if defined(__CUDACC__)
    return *reinterpret_cast<const Pack<T, L>*>(p);
#else
    return minidl::emulator::copied_whole<Pack<T, L>>(p);
#endif
}
template <class T, int L> __device__ __forceinline__ void store_pack(T* p, const Pack<T, L>& pack) {
#if defined(__CUDACC__)
    *reinterpret_cast<Pack<T, L>*>(p) = pack;
#else
    minidl::emulator::copy_whole(p, pack);
#endif
}
template <class T, int L = 16 / sizeof(T)> __device__ __forceinline__ bool fits_pack(const T* p) {
    return reinterpret_cast<unsigned long long>(p) % sizeof(Pack<T, L>) == 0;
}
