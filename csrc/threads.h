// The thread pool, and scratch memory that each thread keeps.
//
// A parallel region is a number of tasks, fixed by the size of the work and never by the number of threads. Each thread has a share of them that it does
// first; whoever is free then takes the next one of another's. So results are the same bits for any number of threads.
#pragma once
#include <cstddef>
#include <cstdint>

namespace minidl {

using Task = void (*)(const void* context, int64_t task);

// Calls task(context, 0 .. count - 1), in any order, on any thread; returns when all are done. Inside another region, or while
// another Python thread is in one, the caller does all of them itself.
void run_tasks(int64_t count, Task task, const void* context);

int get_num_threads();
void set_num_threads(int count);   // count >= 1
void stop_threads();               // ends the workers; the next region starts them again

// At least `bytes` of memory on a 64-byte boundary, this thread's own, unchanged until the same thread asks for the same slot
// again; nullptr when there is none. Slot 0: what all tasks of a region share (asked for by the caller); 1 and up: a task's own.
void* workspace(int slot, size_t bytes);

}  // namespace minidl
