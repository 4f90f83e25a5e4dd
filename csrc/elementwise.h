#pragma once
#include "shared.h"

namespace minidl {

using Unary = PerType<void (*)(const Nest<2>&)>;    // y, a
using Binary = PerType<void (*)(const Nest<3>&)>;   // y, a, b
using Compare = Binary;                             // y of bool
using Where = PerType<void (*)(const Nest<4>&)>;    // y, condition (bool), a, b
using Clamp = PerType<void (*)(const Nest<2>&, double low, double high)>;

struct ElementwiseTable {
    Binary add, sub, mul, div, maximum, minimum;
    Compare eq, ne, lt, le, gt, ge;
    Binary relu_gradient, tanh_gradient, sigmoid_gradient, silu_gradient, gelu_gradient, gelu_tanh_gradient;
    Where where;
    Clamp clamp;
    Unary copy, neg, abs, sign, square, cube, sqrt, rsqrt, reciprocal, floor, ceil, round;
    Unary exp, expm1, log, log1p, tanh, sigmoid, erf, relu, silu, gelu, gelu_tanh;
};

}  // namespace minidl

MINIDL_TABLE(minidl::ElementwiseTable, elementwise)
