// What the rungs of the ladders share (minidl/kernels/ladders.py names them all).
//
// A rung is there to be read and to be timed: a short function over plain pointers with one idea more than the rung before. The last rung of each ladder is the kernel
// that ships and stands in its own file.
#pragma once
#include "kernel.h"

namespace minidl::ISA {
namespace {

// x, and for the compiler something it knows nothing about: it must go on with one number, and cannot make a vector of four iterations (or another order of
// loops) out of code whose point is that it has none.
template <class T> ALWAYS_INLINE T scalar(T x) {
#if defined(__x86_64__)
    asm("" : "+x"(x));
#elif defined(__aarch64__)
    asm("" : "+w"(x));
#else
    asm("" : "+m"(x));
#endif
    return x;
}

}  // namespace
}  // namespace minidl::ISA
