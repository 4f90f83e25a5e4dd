#pragma once
#include "shared.h"

namespace minidl {

// Words offset ... offset + count - 1 of a seed's stream, and what is made of them.
struct RandomTable {
    void (*philox)(uint64_t seed, uint64_t offset, int64_t count, uint32_t* words);
    PerType<void (*)(uint64_t seed, uint64_t offset, int64_t count, void* y)> uniform, normal;
};

}  // namespace minidl

MINIDL_TABLE(minidl::RandomTable, random)
