// The instructions of csrc/mma.cuh: every lane shows its registers to the warp, then computes its own four numbers of the product.
#pragma once
#include "warp.h"
#include "words.h"

namespace mma {

using minidl::emulator::exchange, minidl::emulator::from_bits;

// To the nearest with 10 bits of mantissa, ties away from 0, whatever the sign: half of the last bit that stays is added, and the bits below are cut off.
__attribute__((no_sanitize("thread"), noinline)) inline unsigned tf32(float x) {
    unsigned bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7fffffffu : (bits + 0x1000u) & ~0x1fffu;
}

// The float whose upper half is one of a word's two bfloat16.
__attribute__((no_sanitize("thread"))) inline float bf16(unsigned word, bool second) {
    const unsigned bits = second ? word & 0xffff0000u : word << 16;
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
__attribute__((no_sanitize("thread"))) inline float whole(unsigned word, bool) {
    float x;
    word &= ~0x1fffu;   // the instruction does not look at the other 13 bits
    __builtin_memcpy(&x, &word, sizeof x);
    return x;
}

template <int PER_WORD, float (*number)(unsigned, bool)>
__attribute__((no_sanitize("thread"), noinline)) void multiply(const char* what, float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                                               minidl::emulator::Place place) {
    unsigned A[16][8], B[8][8];   // of the whole warp, in words
    const unsigned mine[3][2] = {{a[0], a[1]}, {a[2], a[3]}, {b[0], b[1]}};
    for (int part = 0; part < 3; ++part) {
        const minidl::emulator::Exchanged all = exchange(what, 0xffffffffu, mine[part][0] | static_cast<uint64_t>(mine[part][1]) << 32, place);
        for (int lane = 0; lane < 32; ++lane) {
            const int g = lane / 4, t = lane % 4;
            const unsigned first = static_cast<unsigned>(all.value[lane]), second = static_cast<unsigned>(all.value[lane] >> 32);
            if (part < 2) A[g][t + 4 * part] = first, A[g + 8][t + 4 * part] = second;
            else B[t][g] = first, B[t + 4][g] = second;
        }
    }
    const int lane = static_cast<int>(minidl::emulator::lane_index());
    for (int n = 0; n < 4; ++n) {
        const int i = lane / 4 + n / 2 * 8, j = lane % 4 * 2 + n % 2;
        for (int k = 0; k < 8; ++k)
            for (int part = 0; part < PER_WORD; ++part) c[n] = multiply_add(number(A[i][k], part), number(B[k][j], part), c[n]);
    }
}

inline void multiply_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], MINIDL_HERE) {
    multiply<1, whole>("mma.sync with TF32", c, a, b, {file, line});
}
inline void multiply_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], MINIDL_HERE) {
    multiply<2, bf16>("mma.sync with bfloat16", c, a, b, {file, line});
}

}  // namespace mma
