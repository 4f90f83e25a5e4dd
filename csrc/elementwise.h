#pragma once
#include "shared.h"

namespace minidl {

using Binary = PerType<void (*)(const Nest<3>&)>;   // y, a, b

struct ElementwiseTable {
    Binary add;
};

}  // namespace minidl

MINIDL_TABLE(minidl::ElementwiseTable, elementwise)
