// What -fsanitize=thread and -fsanitize=bounds put into the checked kernels: a call before each access to memory and for each index outside of its array. The sanitizers'
// libraries are not linked; these are the functions that the compilers document for them, with the emulator behind. Hidden, so that they never meet the real ones.
#include <string.h>

#include "memory.h"

using namespace minidl::emulator;

#define CALLED_FROM reinterpret_cast<uint64_t>(__builtin_return_address(0))
#define CALLBACK extern "C" __attribute__((visibility("hidden"))) void
#define OF_SIZE(n)                                                                                                         \
    CALLBACK __tsan_read##n(void* p) { access(reinterpret_cast<uint64_t>(p), n, READ, CALLED_FROM); }                      \
    CALLBACK __tsan_write##n(void* p) { access(reinterpret_cast<uint64_t>(p), n, WRITE, CALLED_FROM); }                    \
    CALLBACK __tsan_unaligned_read##n(void* p) { access(reinterpret_cast<uint64_t>(p), n, READ, CALLED_FROM); }            \
    CALLBACK __tsan_unaligned_write##n(void* p) { access(reinterpret_cast<uint64_t>(p), n, WRITE, CALLED_FROM); }          \
    CALLBACK __tsan_read_write##n(void* p) {                                                                               \
        access(reinterpret_cast<uint64_t>(p), n, READ, CALLED_FROM);                                                       \
        access(reinterpret_cast<uint64_t>(p), n, WRITE, CALLED_FROM);                                                      \
    }                                                                                                                      \
    CALLBACK __tsan_unaligned_read_write##n(void* p) {                                                                     \
        access(reinterpret_cast<uint64_t>(p), n, READ, CALLED_FROM);                                                       \
        access(reinterpret_cast<uint64_t>(p), n, WRITE, CALLED_FROM);                                                      \
    }
OF_SIZE(1)
OF_SIZE(2)
OF_SIZE(4)
OF_SIZE(8)
OF_SIZE(16)

namespace {
void range(void* p, size_t bytes, int kind, uint64_t code) {   // of structs, in pieces that one instruction can move
    for (uint64_t at = reinterpret_cast<uint64_t>(p), end = at + bytes; at < end;) {
        unsigned piece = 16;
        while (at % piece || at + piece > end) piece /= 2;
        access(at, piece, kind, code);
        at += piece;
    }
}
}  // namespace
CALLBACK __tsan_read_range(void* p, size_t bytes) { range(p, bytes, READ, CALLED_FROM); }
CALLBACK __tsan_write_range(void* p, size_t bytes) { range(p, bytes, WRITE, CALLED_FROM); }
extern "C" __attribute__((visibility("hidden"))) void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
    range(const_cast<void*>(from), bytes, READ, CALLED_FROM);
    range(to, bytes, WRITE, CALLED_FROM);
    return memcpy(to, from, bytes);
}
extern "C" __attribute__((visibility("hidden"))) void* __tsan_memmove(void* to, const void* from, size_t bytes) {
    range(const_cast<void*>(from), bytes, READ, CALLED_FROM);
    range(to, bytes, WRITE, CALLED_FROM);
    return memmove(to, from, bytes);
}
extern "C" __attribute__((visibility("hidden"))) void* __tsan_memset(void* to, int value, size_t bytes) {
    range(to, bytes, WRITE, CALLED_FROM);
    return memset(to, value, bytes);
}
CALLBACK __tsan_init() {}
CALLBACK __tsan_func_entry(void*) {}
CALLBACK __tsan_func_exit() {}
CALLBACK __tsan_vptr_update(void**, void*) {}
CALLBACK __tsan_vptr_read(void**) {}

// The compiler knows the sizes of arrays: an index outside of them is a fault, also where the address still belongs to some other array.
struct IndexFault {
    const char* file;
    uint32_t line, column;
};
static void index_fault(const IndexFault* at, uint64_t index) {
    if (!now) return;
    {
        const Inside inside;
        Fault& fault = report(Kind::index, 0, static_cast<int32_t>(at->line));
        const char* slash = strrchr(at->file, '/');
        strncpy(fault.file, slash ? slash + 1 : at->file, sizeof fault.file - 1);
        fault.who = who(*now);
        fault.offset = static_cast<int64_t>(index);
    }
    stop();
}
CALLBACK __ubsan_handle_out_of_bounds(IndexFault* at, uint64_t index) { index_fault(at, index); }
CALLBACK __ubsan_handle_out_of_bounds_abort(IndexFault* at, uint64_t index) { index_fault(at, index); }

namespace minidl::emulator {
void atomic_access(const void* p, size_t bytes, const void* from) {
    if (launch.checked) access(reinterpret_cast<uint64_t>(p), static_cast<unsigned>(bytes), ATOMIC, reinterpret_cast<uint64_t>(from));
}
}  // namespace minidl::emulator
