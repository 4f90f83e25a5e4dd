// Changing stacks: push the registers that a function must keep, exchange the stack pointer, pop. About 2 ns; `ucontext`, which also saves the signal mask by a system
// call, takes 100 times that and serves every other processor.
#include "fiber.h"

#include <sys/mman.h>

#include <vector>

#if !defined(__x86_64__) || !defined(__linux__)
#define MINIDL_UCONTEXT
#endif

#if defined(MINIDL_UCONTEXT)
#include <ucontext.h>
#endif

namespace minidl::emulator {

#if defined(MINIDL_UCONTEXT)

static ucontext_t& context(Fiber& fiber) {
    if (!fiber.state) fiber.state = new ucontext_t;   // as long as the fiber: they are kept
    return *static_cast<ucontext_t*>(fiber.state);
}
void start(Fiber& fiber, void (*body)()) {
    ucontext_t& c = context(fiber);
    getcontext(&c);
    c.uc_stack.ss_sp = fiber.stack;
    c.uc_stack.ss_size = STACK_BYTES;
    c.uc_link = nullptr;
    makecontext(&c, body, 0);
}
void switch_to(Fiber& from, Fiber& to) { swapcontext(&context(from), &context(to)); }

#else

extern "C" __attribute__((visibility("hidden"))) void minidl_switch(void** from, void* to);
asm(R"(
.text
.hidden minidl_switch
.globl minidl_switch
.type minidl_switch, @function
minidl_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size minidl_switch, .-minidl_switch
)");

void start(Fiber& fiber, void (*body)()) {
    void** top = reinterpret_cast<void**>(fiber.stack + STACK_BYTES);
    *--top = nullptr;                            // where body would return to
    *--top = reinterpret_cast<void*>(body);      // where the first switch returns to
    for (int i = 0; i < 6; ++i) *--top = nullptr;   // the six registers
    fiber.state = top;
}
void switch_to(Fiber& from, Fiber& to) { minidl_switch(&from.state, to.state); }

#endif

Fiber* fibers(size_t count) {
    static std::vector<Fiber> all;
    while (all.size() < count) {
        void* stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
        if (stack == MAP_FAILED) return nullptr;
        all.push_back({nullptr, static_cast<char*>(stack)});
    }
    return all.data();
}

}  // namespace minidl::emulator
