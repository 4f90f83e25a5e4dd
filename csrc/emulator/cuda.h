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

// 16 bytes, which one instruction loads or stores: 4 floats or 2 doubles. The address is a multiple of 16.
template <class T> struct alignas(16) Pack {
    static constexpr int size = 16 / sizeof(T);
    T lane[size];
};
template <class T> __device__ __forceinline__ Pack<T> load_pack(const T* p) {
#if defined(__CUDACC__)
    return *reinterpret_cast<const Pack<T>*>(p);
#else
    return minidl::emulator::copied_whole<Pack<T>>(p);
#endif
}
template <class T> __device__ __forceinline__ void store_pack(T* p, const Pack<T>& pack) {
#if defined(__CUDACC__)
    *reinterpret_cast<Pack<T>*>(p) = pack;
#else
    minidl::emulator::copy_whole(p, pack);
#endif
}
template <class T> __device__ __forceinline__ bool fits_pack(const T* p) { return reinterpret_cast<unsigned long long>(p) % 16 == 0; }
