#pragma once
#include "shared.h"

namespace minidl {

// C (M, N) = A (M, K) B (K, N), each contiguous, row after row. False: out of memory.
using Product = PerType<bool (*)(int64_t M, int64_t N, int64_t K, const void* a, const void* b, void* c)>;

struct MatmulRungs {
    Product naive, reordered, blocked, vectorized, packed;
};

}  // namespace minidl

MINIDL_TABLE(minidl::MatmulRungs, matmul_rungs)
