// What the 32 threads of a warp do together: shuffles, votes and the warp's barrier. Each is an exchange (scheduler.cpp) of one value a lane.
#pragma once
#include "runtime.h"

namespace minidl::emulator {

template <class T> uint64_t to_bits(T x) {
    static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &x, sizeof x);
    return bits;
}
template <class T> T from_bits(uint64_t bits) {
    T x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

// The value of lane `from` of my part of the warp (parts of `width` lanes); my own where `from` lies outside of it.
template <class T> __attribute__((no_sanitize("thread"), noinline))
T shuffle(const char* what, unsigned mask, T x, int from, int width, Place place) {
    const int lane = static_cast<int>(lane_index()), first = lane / width * width;
    const Exchanged all = exchange(what, mask, to_bits(x), place);
    if (from < first || from >= first + width) return x;
    if (!(all.lanes >> from & 1)) {
        reads_absent_lane(from, place);
        return x;
    }
    return from_bits<T>(all.value[from]);
}

__attribute__((no_sanitize("thread"), noinline)) inline unsigned ballot(const char* what, unsigned mask, bool vote, Place place) {
    const Exchanged all = exchange(what, mask, vote, place);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (all.lanes >> lane & 1) votes |= static_cast<unsigned>(all.value[lane] & 1) << lane;
    return votes;
}

}  // namespace minidl::emulator

#define MINIDL_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

template <class T> T __shfl_sync(unsigned mask, T x, int lane, int width = 32, MINIDL_HERE) {
    using namespace minidl::emulator;
    const int mine = static_cast<int>(lane_index());
    return shuffle("__shfl_sync", mask, x, mine / width * width + (lane & (width - 1)), width, {file, line});
}
template <class T> T __shfl_up_sync(unsigned mask, T x, unsigned delta, int width = 32, MINIDL_HERE) {
    using namespace minidl::emulator;
    return shuffle("__shfl_up_sync", mask, x, static_cast<int>(lane_index()) - static_cast<int>(delta), width, {file, line});
}
template <class T> T __shfl_down_sync(unsigned mask, T x, unsigned delta, int width = 32, MINIDL_HERE) {
    using namespace minidl::emulator;
    return shuffle("__shfl_down_sync", mask, x, static_cast<int>(lane_index() + delta), width, {file, line});
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32, MINIDL_HERE) {
    using namespace minidl::emulator;
    return shuffle("__shfl_xor_sync", mask, x, static_cast<int>(lane_index()) ^ bits, width, {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int vote, MINIDL_HERE) { return minidl::emulator::ballot("__ballot_sync", mask, vote != 0, {file, line}); }
inline int __any_sync(unsigned mask, int vote, MINIDL_HERE) { return minidl::emulator::ballot("__any_sync", mask, vote != 0, {file, line}) != 0; }
inline int __all_sync(unsigned mask, int vote, MINIDL_HERE) { return minidl::emulator::ballot("__all_sync", mask, vote == 0, {file, line}) == 0; }

// The lanes that give the same value as this one.
template <class T> __attribute__((no_sanitize("thread"), noinline)) unsigned __match_any_sync(unsigned mask, T x, MINIDL_HERE) {
    const minidl::emulator::Exchanged all = minidl::emulator::exchange("__match_any_sync", mask, minidl::emulator::to_bits(x), {file, line});
    unsigned same = 0;
    for (int lane = 0; lane < 32; ++lane)
        if ((all.lanes >> lane & 1) && all.value[lane] == minidl::emulator::to_bits(x)) same |= 1u << lane;
    return same;
}

// The lanes that come here together: those that wait here when no other lane of the warp can go on.
inline unsigned __activemask(MINIDL_HERE) { return minidl::emulator::exchange("__activemask", 0xffffffffu, 0, {file, line}).lanes; }

inline void __syncwarp(unsigned mask = 0xffffffffu, MINIDL_HERE) {
    asm volatile("" ::: "memory");
    minidl::emulator::warp_barrier(mask, {file, line});
    asm volatile("" ::: "memory");
}
