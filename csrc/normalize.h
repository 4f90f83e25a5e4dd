#pragma once
#include "shared.h"

namespace minidl {

// Over contiguous rows. Whoever is not wanted or not given is null; `mean` is null for RMS norm.
struct RowNorm {
    int64_t rows, n;
    double eps;
    const void *x, *weight, *bias;   // (rows, n), (n,), (n,)
    void *y, *mean, *rstd;           // (rows, n), (rows,), (rows,)
    const void* g;                   // for the gradient: (rows, n); it reads mean and rstd
    void *gx, *gw, *gb;              // (rows, n), (n,), (n,)
};

// Over channels: x is (images, channels, spots), contiguous.
struct BatchNorm {
    int64_t images, channels, spots;
    double eps;
    bool training;                   // mean and var are the batch's: computed, and functions of x
    const void *x, *weight, *bias;   // weight, bias: (channels,)
    void *y, *mean, *var;            // mean, var: (channels,)
    const void* g;
    void *gx, *gw, *gb;
};

// false: out of memory
struct NormalizeTable {
    PerType<bool (*)(const RowNorm&)> layer_norm, layer_norm_gradient, rms_norm, rms_norm_gradient;
    PerType<bool (*)(const BatchNorm&)> batch_norm, batch_norm_gradient;
};

}  // namespace minidl

MINIDL_TABLE(minidl::NormalizeTable, normalize)
