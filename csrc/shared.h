// What kernels and bindings share: plain data only (see kernel.h for the reason).
#pragma once
#include <cstdint>

namespace minidl {

constexpr int MAX_DIMS = 8;   // arrays with more dimensions are the reference's

// An array as a kernel sees it. Strides are in elements; a dimension of size 0 or 1 has stride 0.
struct View {
    void* data;
    int ndim;
    int64_t shape[MAX_DIMS], stride[MAX_DIMS];
};

// K arrays walked together in the order of `shape`: broadcast dimensions have stride 0, neighbouring dimensions are merged where every array
// allows it, so that contiguous operands of one shape come as a single dimension. There is always at least one dimension.
template <int K> struct Nest {
    void* data[K];
    int ndim;
    int64_t shape[MAX_DIMS], stride[K][MAX_DIMS];
};

// Entry for float, entry for double.
template <class F> struct PerType { F f32, f64; };

}  // namespace minidl

// Declares one table for every instruction set that may be compiled; PICK(name) is the one in use.
#define MINIDL_TABLE(Type, name)                     \
    namespace minidl::baseline { extern const Type name; } \
    namespace minidl::avx2 { extern const Type name; }     \
    namespace minidl::avx512 { extern const Type name; }
