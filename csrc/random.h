#pragma once
#include "shared.h"

namespace minidl {

// Words offset ... offset + count - 1 of a seed's stream, and what is made of them.
struct RandomTable {
    void (*philox)(uint64_t seed, uint64_t offset, int64_t count, uint32_t* words);
    PerType<void (*)(uint64_t seed, uint64_t offset, int64_t count, void* y)> uniform, normal;
    // mask[i] = uniform[i] >= p;  y[i] = x[i] * (mask[i] ? scale : 0)
    PerType<void (*)(uint64_t seed, uint64_t offset, int64_t count, float p, double scale, const void* x, void* y, uint8_t* mask)> dropout;
    PerType<void (*)(int64_t count, double scale, const void* x, const uint8_t* mask, void* y)> masked_scale;
};

}  // namespace minidl

MINIDL_TABLE(minidl::RandomTable, random)
