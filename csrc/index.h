#pragma once
#include "shared.h"

namespace minidl {

// Walks y, index and (for scatter) src together over the index's shape; along the axis, the index says where in x, or in y.
struct AlongAxis {
    Nest<3> lines;                     // gather: y, index, x. scatter: y, index, src. All dimensions but the axis.
    int64_t n;                         // index's size along the axis
    int64_t step[3];                   // along the axis
};
struct RowsArguments {
    int64_t count, width;              // indices, numbers in a row
    const int64_t* index;              // contiguous
    void* y;                           // take: (count, width). add: (rows, width)
    const void* x;                     // take: the table. add: (count, width)
    int64_t x_row, x_step;             // elements from row to row and inside a row
    int64_t rows;
};

struct IndexTable {
    PerType<void (*)(const AlongAxis&)> gather, scatter_add;
    PerType<void (*)(const RowsArguments&)> take_rows;
    PerType<bool (*)(const RowsArguments&)> add_rows;   // false: out of memory
};

}  // namespace minidl

MINIDL_TABLE(minidl::IndexTable, index_table)
