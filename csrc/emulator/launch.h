// One launch of one kernel: what the parts of the emulator share. One launch at a time.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "fiber.h"
#include "runtime.h"

namespace minidl::emulator {

constexpr int LANES = 32;

enum class State : uint8_t { ready, at_barrier, in_exchange, paused, ended };

struct Thread {
    Fiber* fiber;
    Index index;
    unsigned number;   // in the block; x runs fastest
    State state;
    Place place;              // of the barrier or exchange where it waits
    const char* what;         // the exchange
    unsigned mask;
    uint64_t value;
};

struct Warp {
    uint32_t epoch;   // counts what orders its lanes: block barriers and __syncwarp
    unsigned size;
    Thread* lane;     // the first of them
    uint64_t delivered[LANES];
    unsigned took_part;
};

// Python reads these as they are (minidl/kernels/emulator.py).
struct Array {
    void* data;
    uint64_t bytes;
    int32_t writable;
    int32_t fresh;   // holds nothing yet: to read it before it is written is a fault
};
struct Counts {
    uint64_t global_loads, global_stores;   // instructions of a warp
    uint64_t sectors;                       // of 32 bytes that they touch: the transactions
    uint64_t bytes_used;                    // of these, asked for by some lane, each byte once an instruction
    uint64_t shared_loads, shared_stores;   // instructions of a warp
    uint64_t shared_passes;                 // over the banks
    uint64_t bank_conflicts;                // those passes that other addresses would have spared
    uint64_t atomics;                       // operations of one thread
    uint64_t multiply_adds, additions;      // of one thread
    uint64_t barriers;                      // of a block
    uint64_t exchanges;                     // shuffles and votes of a warp
};
enum class Kind : int32_t {
    out_of_bounds, read_only, misaligned, index, race, uninitialised, divergent_barrier, different_barriers, stuck_exchange, absent_lane, endless
};
struct Who {
    uint32_t block[3], thread[3];
};
struct Fault {
    Kind kind;
    int32_t access;      // 0 read, 1 write, 2 atomic; of the other party in `other_access`
    Who who, other;
    int32_t other_access;
    int32_t array;       // number among the launch's arrays; -1 shared memory, -2 dynamic shared memory, -3 none
    int64_t offset;      // in bytes
    int32_t bytes;
    int32_t line, other_line;   // of barriers and exchanges
    uint64_t code;       // of accesses: address in the library
    uint64_t times;      // how often the same was found
    char file[64], word[64];
};

struct Launch {
    const Kernel* kernel;
    void** arguments;
    Index grid, block;
    size_t dynamic_bytes;
    const Array* arrays;
    int array_count;
    bool checked;
    Counts counts;
    Fault faults[32];
    int fault_count;
    volatile bool stopped;    // no further step of this launch
    volatile bool expired;    // its time is over
    volatile bool inside;     // the emulator's own code runs, not the kernel's
};
extern Launch launch;
extern Thread* now;    // the thread that runs; null in between
extern Warp* now_warp;
extern Index now_block;
extern uint32_t block_epoch;   // barriers of this block
extern uint32_t block_serial;  // a new number for each block of each launch

void run_grid();                       // scheduler.cpp
[[noreturn]] void stop();              // leaves the thread that runs and ends the launch
Who who(const Thread& thread);
Fault& report(Kind kind, uint64_t code, int line);   // a new record, or the one of the same kind and place
void yield(State state);

bool open_memory();                    // memory.cpp
void close_memory();
uint64_t library_base();
void* dynamic_shared();

void count_access(int kind, bool shared, uint64_t address, unsigned bytes, uint64_t code);   // counting.cpp
bool trace_full();
void count_pass();                     // after each pass over the lanes of a warp

// Around the emulator's own code, when a kernel calls it: the clock must not leave it half way.
struct Inside {
    Inside() { launch.inside = true; }
    ~Inside() {
        launch.inside = false;
        if (__builtin_expect(launch.expired, false)) stop();
    }
};

}  // namespace minidl::emulator
