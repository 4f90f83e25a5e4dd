#pragma once
#include "shared.h"

namespace minidl {

// Contiguous rows of n numbers.
using Rows1 = PerType<void (*)(int64_t rows, int64_t n, void* y, const void* x)>;
using Rows2 = PerType<void (*)(int64_t rows, int64_t n, void* out, const void* g, const void* y)>;

// x (outer, n, inner), contiguous: along n.
using Columns1 = PerType<void (*)(int64_t outer, int64_t n, int64_t inner, void* y, const void* x)>;
using Columns2 = PerType<void (*)(int64_t outer, int64_t n, int64_t inner, void* out, const void* g, const void* y)>;

struct CrossEntropyArguments {
    int64_t rows, classes;
    const void* x;           // (rows, classes), contiguous
    const int64_t* target;   // each a class or ignore_index
    int64_t target_step;
    const void* weight;      // (classes,), contiguous, or null
    int64_t ignore_index;
    double smoothing;
    void *losses, *lse;      // (rows,), contiguous
    const void* g;           // for the gradient: (rows,)
    int64_t g_step, lse_step;
    void* gradient;          // (rows, classes), contiguous
};
using CrossEntropy = PerType<void (*)(const CrossEntropyArguments&)>;

struct SoftmaxTable {
    Rows1 softmax, log_softmax;
    Rows2 softmax_gradient, log_softmax_gradient;
    Columns1 softmax_columns, log_softmax_columns;
    Columns2 softmax_gradient_columns, log_softmax_gradient_columns;
    CrossEntropy cross_entropy, cross_entropy_gradient;
};

}  // namespace minidl

MINIDL_TABLE(minidl::SoftmaxTable, softmax_table)
