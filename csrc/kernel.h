// What every kernel file includes. How to add a kernel:
//
//   1. csrc/<family>.h      the table of the family's functions, plain function pointers (one entry a verb and element type), and
//                           MINIDL_TABLE(FamilyTable, family); included by the two files below.
//   2. csrc/<family>.cpp    the loops. Compiled once per instruction set with -DISA=<name>: all of it in
//
//                               namespace minidl::ISA { namespace { ...templates over float and double... }
//                               constexpr FamilyTable family = {...}; }
//
//                           No std:: templates, no exceptions, no static objects with constructors, no inline functions outside the
//                           anonymous namespace: the linker could keep their AVX-512 copy for every machine, or run it on import.
//                           What is shared with the binding is plain data and function pointers. A kernel trusts its arguments.
//   3. csrc/bind_<family>.cpp   takes Python's arguments apart (bind.h), checks whatever would read or write out of bounds, makes the
//                           result, calls PICK(family).verb, and lists its verbs; the list is named in bind.cpp.
//
// elementwise.h, elementwise.cpp and bind_elementwise.cpp are the shortest example.
//
// Vectors are the compiler's own (`vec<T>::type`, as wide as the instruction set): arithmetic and comparisons work on them as on numbers.
// Often a plain loop with __restrict pointers vectorises as well; then write the plain loop.
#pragma once
#include <cstddef>
#include <cstdint>

#include "shared.h"
#include "threads.h"

#ifndef ISA
#define ISA baseline
#endif

#if defined(__AVX512F__)
#define MINIDL_VECTOR_BYTES 64
#elif defined(__AVX__)
#define MINIDL_VECTOR_BYTES 32
#else
#define MINIDL_VECTOR_BYTES 16
#endif

namespace minidl::ISA {
namespace {

template <class T> struct vec;
template <> struct vec<float> {
    typedef float type __attribute__((vector_size(MINIDL_VECTOR_BYTES)));
    typedef float loose __attribute__((vector_size(MINIDL_VECTOR_BYTES), aligned(4), may_alias));
    typedef int32_t mask __attribute__((vector_size(MINIDL_VECTOR_BYTES)));   // what a comparison gives: 0 or -1
    typedef int64_t places __attribute__((vector_size(2 * MINIDL_VECTOR_BYTES)));   // one int64 a lane
    static constexpr int size = MINIDL_VECTOR_BYTES / 4;
};
template <> struct vec<double> {
    typedef double type __attribute__((vector_size(MINIDL_VECTOR_BYTES)));
    typedef double loose __attribute__((vector_size(MINIDL_VECTOR_BYTES), aligned(8), may_alias));
    typedef int64_t mask __attribute__((vector_size(MINIDL_VECTOR_BYTES)));
    typedef int64_t places __attribute__((vector_size(MINIDL_VECTOR_BYTES)));
    static constexpr int size = MINIDL_VECTOR_BYTES / 8;
};

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")   // whole loops of known length, so that arrays of vectors become registers
#define NOINLINE __attribute__((noinline))

template <class T> ALWAYS_INLINE typename vec<T>::type load(const T* p) { return *reinterpret_cast<const typename vec<T>::loose*>(p); }
template <class T> ALWAYS_INLINE void store(T* p, typename vec<T>::type v) { *reinterpret_cast<typename vec<T>::loose*>(p) = v; }
// Past the caches, which then need not read first what is overwritten: for results larger than they are. p on a vector's boundary; `streamed` ends it.
ALWAYS_INLINE void stream(float* p, typename vec<float>::type v) {
#if !defined(__x86_64__) || defined(__clang__)
    store(p, v);
#elif MINIDL_VECTOR_BYTES == 64
    __builtin_ia32_movntps512(p, v);
#elif MINIDL_VECTOR_BYTES == 32
    __builtin_ia32_movntps256(p, v);
#else
    __builtin_ia32_movntps(p, v);
#endif
}
ALWAYS_INLINE void stream(double* p, typename vec<double>::type v) { stream(reinterpret_cast<float*>(p), (typename vec<float>::type)v); }
ALWAYS_INLINE void streamed() {   // before another thread may read it
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}
template <class T> ALWAYS_INLINE typename vec<T>::type splat(T x) { return x - typename vec<T>::type{}; }   // x - 0 keeps -0

// `count` < L numbers, by halves.
template <class T, int half = vec<T>::size / 2> ALWAYS_INLINE void copy_lanes(T* to, const T* from, int count) {
    if (count & half) {
        __builtin_memcpy(to, from, half * sizeof(T));
        to += half, from += half;
    }
    if constexpr (half > 1) copy_lanes<T, half / 2>(to, from, count);
}

#if defined(__clang__)
#define SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, mask{__VA_ARGS__})
#endif

ALWAYS_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
ALWAYS_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
ALWAYS_INLINE int64_t pieces(int64_t size, int64_t piece) { return (size + piece - 1) / piece; }

// A grain of at most `grain`, so that more than two pieces are about a multiple of four: two or four threads then have as much to do, where three pieces would
// keep one of two waiting. Long pieces begin on a cache line, if the whole does.
ALWAYS_INLINE int64_t even(int64_t size, int64_t grain) {
    const int64_t count = pieces(size, grain);
    if (count <= 2 || count % 4 == 0) return grain;
    const int64_t piece = pieces(size, (count + 3) / 4 * 4);
    return piece < 1024 ? piece : smaller(grain, pieces(piece, 64) * 64);
}

// body(begin, end) over [0, size), cut into pieces of `grain` on several threads; one piece is a plain call. The cut depends on `size` and
// `grain` alone, so partial sums kept one a piece (index begin / grain) and added in order give the same bits for any number of threads.
// Some 10 microseconds of work make a good grain.
template <class Body> ALWAYS_INLINE void parallel_for(int64_t size, int64_t grain, const Body& body) {
    if (size <= grain) {
        if (size > 0) body(int64_t{0}, size);
        return;
    }
    struct Context { const Body& body; int64_t size, grain; } context{body, size, grain};
    run_tasks(pieces(size, grain), [](const void* p, int64_t i) {
        const Context& c = *static_cast<const Context*>(p);
        c.body(i * c.grain, smaller(c.size, (i + 1) * c.grain));
    }, &context);
}

}  // namespace
}  // namespace minidl::ISA
