#pragma once
#include "shared.h"

namespace minidl {

// x (M, N), contiguous; y (M) of a sum, (M, N) of a softmax.
using RowRung = PerType<void (*)(int64_t M, int64_t N, const void* x, void* y)>;

struct RowRungs { RowRung scalar, unrolled, vectorized; };

}  // namespace minidl

MINIDL_TABLE(minidl::RowRungs, sum_rungs)
MINIDL_TABLE(minidl::RowRungs, softmax_rungs)
