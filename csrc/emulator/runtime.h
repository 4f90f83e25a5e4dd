// What the emulated kernels call. The kernels' object and the emulator's own objects share no more than this.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace minidl::emulator {

struct Index {
    unsigned x = 1, y = 1, z = 1;
};
struct Place {   // of a barrier or an exchange in the source
    const char* file;
    int line;
};

// A kernel under the name that launches use, known from the moment its library is loaded.
struct Kernel {
    const char* name;
    void (*run)(void** arguments);
    const int* sizes;   // of its arguments, in bytes
    int count;
    const Kernel* next;
    Kernel(const char* name, void (*run)(void**), const int* sizes, int count);
};

// They do not change while a thread runs, which is what `const` tells the compiler.
__attribute__((const)) Index thread_index();
__attribute__((const)) Index block_index();
__attribute__((const)) Index block_size();
__attribute__((const)) Index grid_size();
void* dynamic_shared_memory();

void block_barrier(Place place);
void warp_barrier(unsigned mask, Place place);

// Each lane of the mask gives a value; when all have, each gets those of all 32 (until the next exchange) and the mask of those that took part.
struct Exchanged {
    const uint64_t* value;
    unsigned lanes;
};
Exchanged exchange(const char* what, unsigned mask, uint64_t value, Place place);
unsigned lane_index();
unsigned living_lanes();
void reads_absent_lane(unsigned lane, Place place);   // reports it

// Before an atomic operation; `from` is where the kernel called it.
void atomic_access(const void* address, size_t size, const void* from);

void count_multiply_add();
void count_addition();

// T, and not to be deduced from this argument.
template <class T> struct Same { using type = T; };
// 0, 1, ... n-1 as a pack of numbers.
template <size_t... I> struct Numbers {};
template <size_t n, size_t... I> struct UpTo : UpTo<n - 1, n - 1, I...> {};
template <size_t... I> struct UpTo<0, I...> { using type = Numbers<I...>; };

}  // namespace minidl::emulator
