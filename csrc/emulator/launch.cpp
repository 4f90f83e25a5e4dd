// The door to Python: the library's kernels by name, and a launch with its time limit.
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "launch.h"

namespace minidl::emulator {
namespace {

const Kernel* first_kernel = nullptr;
pthread_t runner;

// Processor time is over. If the kernel's own code runs, it is left on the spot; if the emulator's, at its next step.
void on_time_over(int) {
    launch.expired = true;
    if (!pthread_equal(pthread_self(), runner)) pthread_kill(runner, SIGVTALRM);
    else if (!launch.inside && now) stop();
}

void set_clock(double seconds) {
    itimerval value{};
    value.it_value.tv_sec = static_cast<time_t>(seconds);
    value.it_value.tv_usec = static_cast<suseconds_t>((seconds - static_cast<double>(value.it_value.tv_sec)) * 1e6);
    setitimer(ITIMER_VIRTUAL, &value, nullptr);
}

}  // namespace

Kernel::Kernel(const char* name, void (*run)(void**), const int* sizes, int count)
    : name(name), run(run), sizes(sizes), count(count), next(first_kernel) {
    first_kernel = this;
}

}  // namespace minidl::emulator

using namespace minidl::emulator;
#define EXPORT extern "C" __attribute__((visibility("default")))

// The n-th kernel: its name, the sizes of its arguments in bytes and their number; null after the last.
EXPORT const char* minidl_emulator_kernel(int n, const int** sizes, int* count) {
    const Kernel* k = first_kernel;
    while (k && n--) k = k->next;
    if (!k) return nullptr;
    *sizes = k->sizes;
    *count = k->count;
    return k->name;
}

// Runs the n-th kernel. The number of faults found, or -1: out of memory. Where the library lies in memory goes to `base`.
EXPORT int minidl_emulator_launch(int n, const unsigned* grid, const unsigned* block, size_t dynamic_bytes, void** arguments, const Array* arrays, int array_count,
                                  int checked, double seconds, Counts* counts, Fault* faults, uint64_t* base) {
    const Kernel* kernel = first_kernel;
    while (n--) kernel = kernel->next;
    launch = Launch{};
    launch.kernel = kernel;
    launch.arguments = arguments;
    launch.grid = {grid[0], grid[1], grid[2]};
    launch.block = {block[0], block[1], block[2]};
    launch.dynamic_bytes = dynamic_bytes;
    launch.arrays = arrays;
    launch.array_count = array_count;
    launch.checked = checked;
    launch.inside = true;
    if (!fibers(block[0] * block[1] * block[2]) || !open_memory()) {
        close_memory();
        return -1;
    }
    struct sigaction action{}, before;
    action.sa_handler = on_time_over;
    action.sa_flags = SA_NODEFER | SA_RESTART;   // the handler may leave for good: the signal must not stay blocked
    runner = pthread_self();
    sigaction(SIGVTALRM, &action, &before);
    set_clock(seconds);
    run_grid();
    set_clock(0);
    sigaction(SIGVTALRM, &before, nullptr);
    close_memory();
    *counts = launch.counts;
    *base = library_base();
    memcpy(faults, launch.faults, sizeof launch.faults);
    return launch.fault_count;
}
