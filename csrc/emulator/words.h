// The words of CUDA C++ that a plain compiler does not know: qualifiers, indices, the barrier, and how a kernel gets its name.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "runtime.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

// Blocks run one after another, so one static copy serves them all; its content before the first write of a block counts as uninitialised.
#define __shared__ static
#define DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(minidl::emulator::dynamic_shared_memory())

#define threadIdx (minidl::emulator::thread_index())
#define blockIdx (minidl::emulator::block_index())
#define blockDim (minidl::emulator::block_size())
#define gridDim (minidl::emulator::grid_size())
constexpr int warpSize = 32;
using dim3 = minidl::emulator::Index;

// The compiler may keep no value of memory across a barrier: other threads write meanwhile.
#define MINIDL_MEMORY_CHANGES() asm volatile("" ::: "memory")

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    MINIDL_MEMORY_CHANGES();
    minidl::emulator::block_barrier({file, line});
    MINIDL_MEMORY_CHANGES();
}
inline void __threadfence() { MINIDL_MEMORY_CHANGES(); }
inline void __threadfence_block() { MINIDL_MEMORY_CHANGES(); }

inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / ::sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }

template <class T> inline T multiply_add(T a, T b, T c) { return MINIDL_COUNT(multiply_add), a * b + c; }
template <class T> inline T add(T a, T b) { return MINIDL_COUNT(addition), a + b; }

// A kernel's arguments come as in cudaLaunchKernel: an array of pointers to them. They lie outside of what a kernel may touch, hence no instrumentation here.
namespace minidl::emulator {
template <auto kernel> struct Entry;
template <class... A, void (*kernel)(A...)> struct Entry<kernel> {
    static constexpr int count = sizeof...(A);
    static inline const int sizes[count + 1] = {sizeof(A)..., 0};
    template <size_t... I> __attribute__((no_sanitize("thread"))) static void call(void** arguments, Numbers<I...>) {
        kernel(*static_cast<A*>(arguments[I])...);
    }
    __attribute__((no_sanitize("thread"))) static void run(void** arguments) { call(arguments, typename UpTo<count>::type{}); }
};
}  // namespace minidl::emulator

#define MINIDL_JOINED(a, b) a##b
#define MINIDL_UNIQUE(a, b) MINIDL_JOINED(a, b)
#define PLAIN_KERNEL(name) KERNEL(name)
#define KERNEL(...)                                                                      \
    static const minidl::emulator::Kernel MINIDL_UNIQUE(kernel_, __COUNTER__)(#__VA_ARGS__, \
        minidl::emulator::Entry<&__VA_ARGS__>::run, minidl::emulator::Entry<&__VA_ARGS__>::sizes, minidl::emulator::Entry<&__VA_ARGS__>::count);
