// A fiber: a stack of its own and a place in the code to go on from. One fiber plays one CUDA thread.
#pragma once
#include <stddef.h>

namespace minidl::emulator {

constexpr size_t STACK_BYTES = 128 << 10;   // of address space; memory only as far as it is used

struct Fiber {
    void* state = nullptr;   // the stack pointer, all else lies on the stack (portable form: a ucontext)
    char* stack = nullptr;
};

void start(Fiber& fiber, void (*body)());   // body begins at the first switch to it and never returns
void switch_to(Fiber& from, Fiber& to);     // goes on where `to` left; returns when somebody switches to `from`
Fiber* fibers(size_t count);                // with stacks, kept for the next launch; null: out of memory

}  // namespace minidl::emulator
