// Tensor cores: what the 32 lanes of a warp multiply together in one instruction. All PTX stands here; the emulator computes the same from the same registers (emulator/mma.h).
//
//     D[i,j] = C[i,j] + Σ[k] A[i,k] * B[k,j]        C, D 16 x 8 float;  A 16 x 8, B 8 x 8 words of 32 bits: one TF32 number, or two bfloat16, so that k runs to 16
//
// A lane, with g = lane / 4 and t = lane % 4, holds     (PTX ISA, "Matrix fragments for mma.m16n8k8" with .tf32 and "for mma.m16n8k16" with .bf16)
//     a[0..3]   words (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4) of A
//     b[0..1]   words (t, g), (t + 4, g) of B
//     c[0..3]   numbers (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1) of C and D
// TF32 is float with 10 bits of mantissa instead of 23, bfloat16 with 7: their products are exact in float, and sums are float. Compute capability 8.0 (Ampere) and newer.
#pragma once
#include "emulator/cuda.h"
#if !defined(__CUDACC__)
#include "emulator/mma.h"
#else

namespace mma {

// x with 10 bits of mantissa, to the nearest, ties away from 0.
__device__ __forceinline__ unsigned tf32(float x) {
    unsigned bits = 0;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
#else
    __trap();   // the launch line says so first
#endif
    return bits;
}

__device__ __forceinline__ void multiply_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    __trap();
#endif
}

__device__ __forceinline__ void multiply_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    __trap();
#endif
}

}  // namespace mma
#endif
