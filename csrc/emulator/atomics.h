// Atomic operations. Fibers change places only at barriers and exchanges, so a plain read and write is indivisible here; what remains is to tell the
// checks that this access may meet others of its kind.
#pragma once
#include "runtime.h"

namespace minidl::emulator {
template <class T, class F> __attribute__((no_sanitize("thread"), noinline)) T atomically(T* p, F change) {
    atomic_access(p, sizeof(T), __builtin_return_address(0));
    const T before = *p;
    *p = change(before);
    return before;
}
}  // namespace minidl::emulator

#define MINIDL_ATOMIC(name, after)                                                                                              \
    template <class T> inline __attribute__((always_inline)) T name(T* p, T x) {                                                \
        return minidl::emulator::atomically(p, [x](T before) __attribute__((no_sanitize("thread"))) { return after; }); \
    }
MINIDL_ATOMIC(atomicAdd, static_cast<T>(before + x))
MINIDL_ATOMIC(atomicSub, static_cast<T>(before - x))
MINIDL_ATOMIC(atomicMax, before < x ? x : before)
MINIDL_ATOMIC(atomicMin, x < before ? x : before)
MINIDL_ATOMIC(atomicAnd, static_cast<T>(before & x))
MINIDL_ATOMIC(atomicOr, static_cast<T>(before | x))
MINIDL_ATOMIC(atomicXor, static_cast<T>(before ^ x))
MINIDL_ATOMIC(atomicExch, (static_cast<void>(before), x))
#undef MINIDL_ATOMIC

template <class T> inline __attribute__((always_inline)) T atomicCAS(T* p, typename minidl::emulator::Same<T>::type expected, typename minidl::emulator::Same<T>::type x) {
    return minidl::emulator::atomically(p, [expected, x](T before) __attribute__((no_sanitize("thread"))) { return before == expected ? x : before; });
}
