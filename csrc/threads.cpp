#include "threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace minidl {
namespace {

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

int available_cpus() {
    int cpus = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
    // A container's share, "quota period" in microseconds, or "max period".
    if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
        long quota, period;
        if (std::fscanf(file, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0)
            cpus = std::clamp(static_cast<int>((quota + period - 1) / period), 1, cpus);
        std::fclose(file);
    }
#endif
    return cpus;
}

int default_threads() {
    for (const char* name : {"MINIDL_NUM_THREADS", "OMP_NUM_THREADS"})
        if (const char* text = std::getenv(name))
            if (const int count = std::atoi(text); count >= 1) return std::min(count, 256);
    return available_cpus();
}

constexpr uint32_t OPEN = 1u << 31;   // in Pool::state; the bits below count the workers inside the region
constexpr auto SPIN = std::chrono::microseconds(60);

// The tasks that a thread takes first, in order. Neighbouring tasks work on neighbouring memory, and the same share of the next region lies in the same
// place: what a thread wrote then is still in its own cache. A thread that is done helps with the shares of the others.
struct alignas(64) Share {
    std::atomic<int64_t> next{0}, end{0};
};

struct Pool {
    // One region at a time. Its fields and the shares' ends change only while `state` is 0: closed, and nobody inside.
    Task task = nullptr;
    const void* context = nullptr;
    std::vector<Share> shares;   // one a thread, the caller's first
    std::atomic<uint32_t> state{0};
    std::atomic<bool> busy{false};

    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<int> parked{0};
    std::atomic<bool> stop{false};
    std::vector<std::thread> workers;
    bool spins = true;   // not with more threads than CPUs: a spinning thread would hold up a working one

    bool has_work() const {
        if (!(state.load() & OPEN)) return false;
        for (const Share& share : shares)
            if (share.next.load() < share.end.load()) return true;
        return false;
    }

    void work(size_t self) {
        for (size_t i = 0; i < shares.size(); ++i) {
            Share& share = shares[(self + i) % shares.size()];
            const int64_t end = share.end.load(std::memory_order_relaxed);
            for (int64_t j; (j = share.next.fetch_add(1)) < end;) task(context, j);
        }
    }

    bool join() {   // step inside, unless the region closed meanwhile
        uint32_t seen = state.load();
        while (seen & OPEN)
            if (state.compare_exchange_weak(seen, seen + 1)) return true;
        return false;
    }

    void wait_for_work() {
        if (spins) {
            const auto end = std::chrono::steady_clock::now() + SPIN;
            do {
                for (int i = 0; i < 32; ++i) {
                    if (has_work() || stop.load()) return;
                    pause();
                }
            } while (std::chrono::steady_clock::now() < end);
        }
        std::unique_lock lock(mutex);
        ++parked;   // before the last look: run() opens first and looks at `parked` second
        wake.wait(lock, [this] { return stop.load() || has_work(); });
        --parked;
    }

    void worker_loop(size_t self);
    void start(int threads);
    void end();
    void run(int64_t tasks, Task task, const void* context);
};

thread_local bool inside = false;   // this thread is in a region
std::atomic<int> wanted{0};         // 0: not yet known
std::mutex creating;                // guards `pool`
Pool* pool = nullptr;               // never freed: a worker may outlive every destructor

void Pool::worker_loop(size_t self) {
    inside = true;
    for (;;) {
        wait_for_work();
        if (stop.load()) return;
        if (has_work() && join()) {
            work(self);
            state.fetch_sub(1);
        }
    }
}

void Pool::start(int threads) {
    spins = threads <= available_cpus();
    shares = std::vector<Share>(threads);
    workers.reserve(threads);
    try {
        while (static_cast<int>(workers.size()) < threads - 1) workers.emplace_back([this, self = workers.size() + 1] { worker_loop(self); });
    } catch (const std::system_error&) {}   // the system allows no more threads: those that there are do the work
}

void Pool::end() {
    {
        std::lock_guard lock(mutex);
        stop = true;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
    stop = false;
}

void Pool::run(int64_t tasks, Task body, const void* with) {
    if (workers.empty()) start(wanted);
    task = body;
    context = with;
    const int64_t count = static_cast<int64_t>(shares.size());
    for (int64_t i = 0; i < count; ++i) {
        shares[i].next.store(tasks * i / count, std::memory_order_relaxed);
        shares[i].end.store(tasks * (i + 1) / count, std::memory_order_relaxed);
    }
    state.store(OPEN);
    if (const int sleeping = parked.load()) {
        { std::lock_guard lock(mutex); }   // whoever counted itself as parked is now waiting
        for (int64_t i = std::min<int64_t>(sleeping, tasks - 1); i > 0; --i) wake.notify_one();
    }
    inside = true;
    work(0);
    inside = false;
    state.fetch_and(~OPEN);
    for (int i = 0; state.load() != 0; ++i)
        if (i < 4096 && spins) pause();
        else sched_yield();
}

// In a child of fork() only the forking thread lives on: it starts a pool of its own when it needs one.
void before_fork() { creating.lock(); }
void after_fork_parent() { creating.unlock(); }
void after_fork_child() {
    pool = nullptr;
    creating.unlock();
}

Pool& the_pool() {
    std::lock_guard lock(creating);
    static const int registered = pthread_atfork(before_fork, after_fork_parent, after_fork_child);
    (void)registered;
    if (!pool) pool = new Pool;
    return *pool;
}

struct Buffer {
    void* data = nullptr;
    size_t bytes = 0;
    ~Buffer() { std::free(data); }
};
thread_local Buffer buffers[4];

}  // namespace

int get_num_threads() {
    if (const int count = wanted) return count;
    return wanted = default_threads();
}

void run_tasks(int64_t count, Task task, const void* context) {
    if (count > 1 && !inside && get_num_threads() > 1) {
        Pool& shared = the_pool();
        if (!shared.busy.exchange(true)) {
            shared.run(count, task, context);
            shared.busy = false;
            return;
        }
    }
    for (int64_t i = 0; i < count; ++i) task(context, i);
}

void stop_threads() {
    std::lock_guard lock(creating);
    if (!pool) return;
    while (pool->busy.exchange(true)) sched_yield();   // another Python thread's region ends by itself
    pool->end();
    pool->busy = false;
}

void set_num_threads(int count) {
    stop_threads();
    wanted = count;
}

void* workspace(int slot, size_t bytes) {
    Buffer& buffer = buffers[slot];
    if (buffer.bytes < bytes) {
        std::free(buffer.data);
        buffer.bytes = (bytes + bytes / 4 + 4095) / 4096 * 4096;
        if (posix_memalign(&buffer.data, 64, buffer.bytes) != 0) buffer.data = nullptr, buffer.bytes = 0;
    }
    return buffer.data;
}

}  // namespace minidl
