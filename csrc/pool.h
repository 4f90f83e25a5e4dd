#pragma once
#include "shared.h"

namespace minidl {

// Windows over planes (H, W): x or its gradient (N, C, H, W), y (N, C, P, Q).
struct PoolArguments {
    int64_t n, c, h, w, p, q;
    int64_t kernel[2], stride[2], padding[2], dilation[2];
    bool count_padding;   // averages: padding counts as elements
    View in;              // of any strides
    void* out;            // contiguous
    int64_t* index;       // max: (N, C, P, Q), places in the flattened plane
    const int64_t* places;   // the same, to read
};

struct PoolTable {
    PerType<void (*)(const PoolArguments&)> max_pool2d, avg_pool2d;
    PerType<bool (*)(const PoolArguments&)> max_pool2d_input;   // false: a place lies outside the plane
    PerType<bool (*)(const PoolArguments&)> avg_pool2d_input;   // false: out of memory
};

}  // namespace minidl

MINIDL_TABLE(minidl::PoolTable, pool_table)
