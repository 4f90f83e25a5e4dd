// CUDA's vector types. Each is copied as a whole, by one access of its full width, as one instruction does on the GPU: element by element, the compiler
// would be free to make several accesses of it.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace minidl::emulator {

template <size_t bytes> struct Word;
template <> struct Word<1> { typedef uint8_t type __attribute__((may_alias)); };
template <> struct Word<2> { typedef uint16_t type __attribute__((may_alias)); };
template <> struct Word<4> { typedef uint32_t type __attribute__((may_alias)); };
template <> struct Word<8> { typedef uint64_t type __attribute__((may_alias)); };
template <> struct Word<16> { typedef uint32_t type __attribute__((vector_size(16), may_alias)); };

template <class V> inline __attribute__((always_inline)) V copied_whole(const void* p) {
    const typename Word<sizeof(V)>::type bits = *static_cast<const typename Word<sizeof(V)>::type*>(p);
    V v;
    __builtin_memcpy(static_cast<void*>(&v), &bits, sizeof v);
    return v;
}
template <class V> inline __attribute__((always_inline)) void copy_whole(void* p, const V& v) {
    typename Word<sizeof(V)>::type bits;
    __builtin_memcpy(&bits, static_cast<const void*>(&v), sizeof v);
    *static_cast<typename Word<sizeof(V)>::type*>(p) = bits;
}

}  // namespace minidl::emulator

#define MINIDL_WHOLE(name)                                                                                                                        \
    name() = default;                                                                                                                             \
    inline __attribute__((always_inline)) name(const name& from) { minidl::emulator::copy_whole(this, minidl::emulator::copied_whole<Bits>(&from)); } \
    inline __attribute__((always_inline)) name& operator=(const name& from) {                                                                     \
        minidl::emulator::copy_whole(this, minidl::emulator::copied_whole<Bits>(&from));                                                          \
        return *this;                                                                                                                             \
    }
#define MINIDL_VECTOR2(name, T)                                  \
    struct alignas(2 * sizeof(T)) name {                         \
        struct Bits { unsigned char byte[2 * sizeof(T)]; };      \
        T x, y;                                                  \
        name(T x, T y) : x(x), y(y) {}                           \
        MINIDL_WHOLE(name)                                       \
    };                                                           \
    inline name make_##name(T x, T y) { return {x, y}; }
#define MINIDL_VECTOR4(name, T)                                  \
    struct alignas(4 * sizeof(T)) name {                         \
        struct Bits { unsigned char byte[4 * sizeof(T)]; };      \
        T x, y, z, w;                                            \
        name(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}     \
        MINIDL_WHOLE(name)                                       \
    };                                                           \
    inline name make_##name(T x, T y, T z, T w) { return {x, y, z, w}; }
MINIDL_VECTOR2(float2, float)
MINIDL_VECTOR2(int2, int)
MINIDL_VECTOR2(uint2, unsigned)
MINIDL_VECTOR2(double2, double)
MINIDL_VECTOR4(float4, float)
MINIDL_VECTOR4(int4, int)
MINIDL_VECTOR4(uint4, unsigned)
#undef MINIDL_VECTOR2
#undef MINIDL_VECTOR4
#undef MINIDL_WHOLE

// A load through the read-only cache: a load.
template <class T> inline __attribute__((always_inline)) T __ldg(const T* p) { return *p; }
