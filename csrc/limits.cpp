// The machine's limits, measured by loops that do nothing else.
//
//   multiply_add   x[k] ← x[k] * a + b for a dozen vectors x[k] that never leave their registers: no step waits for the one before it
//                  in another chain, so that the units for multiply-add are the only thing waited for
//   read           Σ A[i]
//   copy, triad    C[i] = A[i], C[i] = A[i] + s B[i]; "streaming" stores go past the caches, which then need not read C first
//   update         A[i] ← A[i] + s B[i]
#include "kernel.h"

#include "limits.h"

namespace minidl::ISA {
namespace {

using V = vec<float>::type;
constexpr int L = vec<float>::size;
constexpr int CHAINS = 12;   // latency 4 or 5 times 2 units, and still within 16 registers
constexpr int64_t GRAIN = int64_t{1} << 16;   // floats a task: 256 KB

// One task's chains. a and b come from memory, or the compiler would compute ahead.
NOINLINE void chains(int64_t rounds, const float* numbers, float* sink) {
    const V a = splat(numbers[0]), b = splat(numbers[1]);
    V x[CHAINS];
    UNROLL for (int k = 0; k < CHAINS; ++k) x[k] = splat(static_cast<float>(k));
    for (int64_t i = 0; i < rounds; ++i)
        UNROLL for (int k = 0; k < CHAINS; ++k) x[k] = x[k] * a + b;
    V sum = x[0];
    UNROLL for (int k = 1; k < CHAINS; ++k) sum += x[k];
    *sink = sum[0];
}

double multiply_add(int64_t rounds, int64_t tasks, float* sink) {
    struct Context { int64_t rounds; float* sink; float numbers[2]; } context{rounds, sink, {0.5f, 1.0f}};
    run_tasks(tasks, [](const void* p, int64_t i) {
        const Context& c = *static_cast<const Context*>(p);
        chains(c.rounds, c.numbers, c.sink + i);
    }, &context);
    return 2.0 * L * CHAINS * static_cast<double>(rounds) * static_cast<double>(tasks);
}

// Sizes are whole numbers of vectors and arrays lie on vector boundaries: the binding sees to it.
void read(const float* a, int64_t size, float* sink) {
    parallel_for(size, GRAIN, [=](int64_t begin, int64_t end) {
        V sum[8] = {};
        for (int64_t i = begin; i < end; i += 8 * L)
            UNROLL for (int k = 0; k < 8; ++k) sum[k] += load(a + i + k * L);
        UNROLL for (int k = 1; k < 8; ++k) sum[0] += sum[k];
        sink[begin / GRAIN] = sum[0][0];
    });
}

void copy(const float* a, float* c, int64_t size, bool streaming) {
    parallel_for(size, GRAIN, [=](int64_t begin, int64_t end) {
        if (!streaming) for (int64_t i = begin; i < end; i += L) store(c + i, load(a + i));
        else {
            for (int64_t i = begin; i < end; i += L) stream(c + i, load(a + i));
            streamed();
        }
    });
}

void triad(const float* a, const float* b, float* c, int64_t size, bool streaming) {
    parallel_for(size, GRAIN, [=](int64_t begin, int64_t end) {
        const V s = splat(3.0f);
        if (!streaming) for (int64_t i = begin; i < end; i += L) store(c + i, load(a + i) + s * load(b + i));
        else {
            for (int64_t i = begin; i < end; i += L) stream(c + i, load(a + i) + s * load(b + i));
            streamed();
        }
    });
}

void update(float* a, const float* b, int64_t size) {
    parallel_for(size, GRAIN, [=](int64_t begin, int64_t end) {
        const V s = splat(1e-9f);
        for (int64_t i = begin; i < end; i += L) store(a + i, load(a + i) + s * load(b + i));
    });
}

}  // namespace

constexpr LimitsTable limits = {multiply_add, read, copy, triad, update};

}  // namespace minidl::ISA
