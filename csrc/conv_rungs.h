#pragma once
#include "conv.h"

namespace minidl {

struct ConvRungs {
    PerType<bool (*)(const ConvArguments&)> direct, im2col;   // forward; false: out of memory
};

}  // namespace minidl

MINIDL_TABLE(minidl::ConvRungs, conv_rungs)
