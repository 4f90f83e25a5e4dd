#pragma once
#include "shared.h"

namespace minidl {

// x (N, G*C, H, W), w (G*O, C, R, S), y (N, G*O, P, Q). Two of the three come in, the third goes out and is contiguous.
struct ConvArguments {
    int64_t n, groups, c, o, h, w, r, s, p, q;   // c and o: channels of one group
    int64_t stride[2], padding[2], dilation[2];  // y, x
    View image, filter, output;
    const void* bias;                            // G*O numbers, or null
    int64_t bias_step;
};

struct ConvTable {
    PerType<bool (*)(const ConvArguments&)> conv2d, conv2d_input;   // false: out of memory
};

struct ConvWeightTable {
    PerType<bool (*)(const ConvArguments&)> conv2d_weight;
};

struct WinogradTable {
    PerType<bool (*)(const ConvArguments&)> conv2d, conv2d_input;   // tiles of 4 x 4
    PerType<bool (*)(const ConvArguments&)> conv2d_small;           // of 2 x 2
    bool (*fits)(const ConvArguments&);                             // a case for these kernels
    PerType<bool (*)(const ConvArguments&)> pays;                   // and faster than the others
};

struct WinogradWeightTable {
    PerType<bool (*)(const ConvArguments&)> conv2d_weight;
};

}  // namespace minidl

MINIDL_TABLE(minidl::ConvTable, conv_table)
MINIDL_TABLE(minidl::ConvWeightTable, conv_weight_table)
MINIDL_TABLE(minidl::WinogradTable, winograd_table)
MINIDL_TABLE(minidl::WinogradWeightTable, winograd_weight_table)
