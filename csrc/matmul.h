#pragma once
#include "shared.h"

namespace minidl {

// C[i,j] = Σ[k] A[i,k] * B[k,j] (+ bias[j]), for every index of the batch. C's matrices are contiguous; strides in elements.
struct MatmulArguments {
    Nest<3> batch;   // C, A, B
    int64_t m, n, k;
    int64_t a_row, a_col, b_row, b_col;
    const void* bias;   // n numbers, or null
    int64_t bias_step;
};

struct MatmulTable {
    PerType<bool (*)(const MatmulArguments&)> matmul;   // false: out of memory
};

}  // namespace minidl

MINIDL_TABLE(minidl::MatmulTable, matmul_table)
