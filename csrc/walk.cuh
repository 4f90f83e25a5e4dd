// Where a number's operands lie, for arrays of any strides: place = Σ[d] index[d] * stride[d]
//
// Operands are walked together over one shape; broadcast dimensions have stride 0, and neighbouring dimensions are merged where all operands allow it, so that contiguous
// ones come as a single dimension, which costs no division. Filled by minidl/kernels/cuda/walk.py.
#pragma once
#include "emulator/cuda.h"

template <int OPERANDS> struct Walk {
    long long count;   // numbers in all
    int ndim;
    int packs;         // whether runs of numbers that make a pack never cross the last dimension's end, and start at multiples of a pack
    long long shape[8], stride[OPERANDS][8];   // strides in elements
};

// Numbers that a thread takes together: 16 bytes, or four smaller numbers.
template <class T> constexpr int LANES = sizeof(T) < 4 ? 4 : 16 / sizeof(T);

// A division takes tens of instructions; one of 64 bits a hundred. So numbers are counted in 32 bits where they fit.
template <class Count, int OPERANDS> __device__ __forceinline__ void locate_by(const Walk<OPERANDS>& walk, Count n, long long (&place)[OPERANDS]) {
    UNROLL for (int o = 0; o < OPERANDS; ++o) place[o] = 0;
    for (int d = walk.ndim - 1; d > 0; --d) {
        const Count size = static_cast<Count>(walk.shape[d]), rest = n / size;
        UNROLL for (int o = 0; o < OPERANDS; ++o) place[o] += (n - rest * size) * walk.stride[o][d];
        n = rest;
    }
    UNROLL for (int o = 0; o < OPERANDS; ++o) place[o] += n * walk.stride[o][0];
}

// Where number n comes from, for each operand.
template <int OPERANDS> __device__ __forceinline__ void locate(const Walk<OPERANDS>& walk, long long n, long long (&place)[OPERANDS]) {
    if (walk.count <= 0x7fffffff) locate_by(walk, static_cast<unsigned>(n), place);
    else locate_by(walk, n, place);
}
