#pragma once
#include "shared.h"

namespace minidl {

// What the machine can do at best, single precision: the yardsticks of the benchmarks.
struct LimitsTable {
    double (*multiply_add)(int64_t rounds, int64_t tasks, float* sink);   // the floating-point operations that it did; sink: a number a task
    void (*read)(const float* a, int64_t size, float* sink);
    void (*copy)(const float* a, float* c, int64_t size, bool streaming);                   // C = A
    void (*triad)(const float* a, const float* b, float* c, int64_t size, bool streaming);  // C = A + s B
    void (*update)(float* a, const float* b, int64_t size);                                 // A ← A + s B
};

}  // namespace minidl

MINIDL_TABLE(minidl::LimitsTable, limits)
