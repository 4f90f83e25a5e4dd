#pragma once
#include "shared.h"

namespace minidl {

struct ReduceArguments {
    Nest<2> kept;         // out (contiguous), x: the dimensions that stay
    Nest<1> reduced;      // x: the dimensions that go, the one with the smallest step last
    const void* center;   // laid out as out: what `squares` and `exps` subtract
    const void* end;      // one past x's last element in memory
};
using Reduce = PerType<bool (*)(const ReduceArguments&)>;   // false: out of memory

struct ReduceTable {
    Reduce sum, prod, amax, amin;
    Reduce squares, exps;                                     // Σ (x - center)², Σ exp(x - center)
    PerType<void (*)(const ReduceArguments&)> argmax, argmin;   // out int64; one reduced dimension, kept.data[0] int64
};

}  // namespace minidl

MINIDL_TABLE(minidl::ReduceTable, reduce)
