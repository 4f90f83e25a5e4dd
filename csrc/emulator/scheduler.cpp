// The order of execution: blocks one after another; in a block warp after warp; in a warp lane after lane, each up to its next barrier or exchange.
//
//     for block: until all threads have ended:
//         for warp:  until all its lanes wait at the block's barrier or have ended:
//             for lane: run
//             complete what exchanges can be completed
//         the barrier opens
//
// Any order is allowed that barriers do not forbid, so a kernel that is right gives the same result as on a GPU; one that is wrong is found out by the checks, not by luck.
#include <string.h>

#include <vector>

#include "launch.h"

namespace minidl::emulator {

Launch launch;
Thread* now;
Warp* now_warp;
Index now_block;
uint32_t block_epoch, block_serial;

namespace {

Fiber home;   // the scheduler's own stack
std::vector<Thread> threads;
std::vector<Warp> warps;

void body() {
    launch.inside = false;
    launch.kernel->run(launch.arguments);
    yield(State::ended);
    __builtin_unreachable();
}

bool same_place(const Place& a, const Place& b) { return a.line == b.line && strcmp(a.file, b.file) == 0; }

bool same_exchange(const Thread& a, const Thread& b) {
    return a.state == State::in_exchange && a.mask == b.mask && strcmp(a.what, b.what) == 0 && same_place(a.place, b.place);
}

const char* base_name(const char* file) {
    const char* slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}
void name_place(Fault& fault, const Place& place, const char* word) {
    fault.line = place.line;
    strncpy(fault.file, base_name(place.file), sizeof fault.file - 1);
    strncpy(fault.word, word, sizeof fault.word - 1);
}

// The lanes of this warp that its mask names and that are still there; a block whose size is no multiple of 32 has a last warp with fewer.
unsigned expected(const Warp& warp, unsigned mask) {
    unsigned lanes = 0;
    for (unsigned i = 0; i < warp.size; ++i)
        if ((mask >> i & 1) && warp.lane[i].state != State::ended) lanes |= 1u << i;
    return lanes;
}

// Delivers to every lane what all gave, if all that the mask names wait in the same exchange.
bool complete(Warp& warp, const Thread& asking) {
    const unsigned lanes = expected(warp, asking.mask);
    for (unsigned i = 0; i < warp.size; ++i)
        if ((lanes >> i & 1) && !same_exchange(warp.lane[i], asking)) return false;
    for (unsigned i = 0; i < warp.size; ++i)
        if (lanes >> i & 1) warp.delivered[i] = warp.lane[i].value, warp.lane[i].state = State::ready;
    warp.took_part = lanes;
    if (strcmp(asking.what, "__syncwarp") == 0) ++warp.epoch;   // it orders memory, a shuffle does not
    else ++launch.counts.exchanges;
    return true;
}

void report_stuck(const Warp& warp, const Thread& asking) {
    Fault& fault = report(Kind::stuck_exchange, 0, asking.place.line);
    fault.who = who(asking);
    name_place(fault, asking.place, asking.what);
    const unsigned lanes = expected(warp, asking.mask);
    if (!(lanes >> asking.number % LANES & 1)) fault.other = fault.who;   // not in its own mask
    for (unsigned i = 0; i < warp.size; ++i) {
        const Thread& t = warp.lane[i];
        if ((lanes >> i & 1) && !same_exchange(t, asking)) {
            fault.other = who(t);
            fault.other_line = t.place.line;
            return;
        }
    }
}

// After a pass: which lanes can go on?
bool advance(Warp& warp) {
    bool any = false;
    const Thread* waiting = nullptr;
    for (unsigned i = 0; i < warp.size; ++i) {
        Thread& t = warp.lane[i];
        if (t.state == State::paused) t.state = State::ready;
        if (t.state == State::in_exchange && !((t.mask >> i & 1) && complete(warp, t))) waiting = &t;
        any = any || t.state == State::ready;
    }
    if (!any && waiting) {
        report_stuck(warp, *waiting);
        launch.stopped = true;
    }
    return any;
}

void run_warp(Warp& warp) {
    now_warp = &warp;
    do {
        for (unsigned i = 0; i < warp.size; ++i) {
            Thread& t = warp.lane[i];
            if (t.state != State::ready) continue;
            now = &t;
            switch_to(home, *t.fiber);
            now = nullptr;
            if (launch.stopped) return;
        }
        if (launch.checked) count_pass();
        if (launch.expired) {
            report(Kind::endless, 0, 0).who = who(warp.lane[0]);
            launch.stopped = true;
        }
    } while (!launch.stopped && advance(warp));
}

// All threads have run as far as they can: either all have ended, or all wait at the same barrier, which opens.
bool open_barrier() {
    const Thread *here = nullptr, *ended = nullptr, *elsewhere = nullptr;
    for (const Thread& t : threads) {
        if (t.state == State::ended) ended = ended ? ended : &t;
        else if (!here) here = &t;
        else if (!same_place(t.place, here->place)) elsewhere = elsewhere ? elsewhere : &t;
    }
    if (!here) return false;
    if (ended || elsewhere) {
        Fault& fault = report(ended ? Kind::divergent_barrier : Kind::different_barriers, 0, here->place.line);
        fault.who = who(*here);
        fault.other = who(ended ? *ended : *elsewhere);
        name_place(fault, here->place, "__syncthreads");
        if (!ended) fault.other_line = elsewhere->place.line;
        launch.stopped = true;
        return false;
    }
    for (Thread& t : threads) t.state = State::ready;
    for (Warp& warp : warps) ++warp.epoch;
    ++block_epoch;
    ++launch.counts.barriers;
    return true;
}

void run_block() {
    ++block_serial;
    block_epoch = 0;
    for (Warp& warp : warps) warp.epoch = 0;
    for (Thread& t : threads) {
        t.state = State::ready;
        start(*t.fiber, body);
    }
    do
        for (Warp& warp : warps) {
            run_warp(warp);
            if (launch.stopped) return;
        }
    while (open_barrier());
}

}  // namespace

void run_grid() {
    const Index size = launch.block;
    const unsigned count = size.x * size.y * size.z;
    Fiber* all = fibers(count);
    threads.assign(count, {});
    warps.assign((count + LANES - 1) / LANES, {});
    for (unsigned n = 0; n < count; ++n) {
        threads[n].fiber = all + n;
        threads[n].number = n;
        threads[n].index = {n % size.x, n / size.x % size.y, n / size.x / size.y};
    }
    for (unsigned w = 0; w < warps.size(); ++w) {
        warps[w].lane = &threads[w * LANES];
        warps[w].size = count - w * LANES < LANES ? count - w * LANES : LANES;
    }
    for (unsigned z = 0; z < launch.grid.z; ++z)
        for (unsigned y = 0; y < launch.grid.y; ++y)
            for (unsigned x = 0; x < launch.grid.x && !launch.stopped; ++x) {
                now_block = {x, y, z};
                run_block();
            }
}

// ---- what the running thread calls ---------------------------------------------------------------------------------

void yield(State state) {
    launch.inside = true;
    now->state = state;
    switch_to(*now->fiber, home);
    launch.inside = false;
}

void stop() {
    launch.inside = true;
    if (launch.expired) report(Kind::endless, 0, 0).who = who(*now);
    launch.stopped = true;
    switch_to(*now->fiber, home);
    __builtin_unreachable();
}

Who who(const Thread& t) { return {{now_block.x, now_block.y, now_block.z}, {t.index.x, t.index.y, t.index.z}}; }

Fault& report(Kind kind, uint64_t code, int line) {
    static Fault beyond;   // of more kinds and places than anybody reads
    for (int i = 0; i < launch.fault_count; ++i) {
        Fault& known = launch.faults[i];
        if (known.kind == kind && known.code == code && known.line == line) {
            ++known.times;
            beyond = known;
            return beyond;   // the first one stays as it was
        }
    }
    const int room = sizeof launch.faults / sizeof *launch.faults;
    Fault& fault = launch.fault_count < room ? launch.faults[launch.fault_count++] : beyond;
    fault = {};
    fault.kind = kind;
    fault.code = code;
    fault.line = line;
    fault.array = -3;
    fault.times = 1;
    return fault;
}

Index thread_index() { return now->index; }
Index block_index() { return now_block; }
Index block_size() { return launch.block; }
Index grid_size() { return launch.grid; }
void* dynamic_shared_memory() { return dynamic_shared(); }
unsigned lane_index() { return now->number % LANES; }
unsigned living_lanes() { return expected(*now_warp, ~0u); }

void block_barrier(Place place) {
    now->place = place;
    yield(State::at_barrier);
}

Exchanged exchange(const char* what, unsigned mask, uint64_t value, Place place) {
    now->what = what;
    now->mask = mask;
    now->value = value;
    now->place = place;
    yield(State::in_exchange);
    return {now_warp->delivered, now_warp->took_part};
}
void warp_barrier(unsigned mask, Place place) { exchange("__syncwarp", mask, 0, place); }

void reads_absent_lane(unsigned lane, Place place) {
    const Inside inside;
    Fault& fault = report(Kind::absent_lane, 0, place.line);
    fault.who = who(*now);
    fault.offset = lane;
    name_place(fault, place, "shuffle");
}

void count_multiply_add() { ++launch.counts.multiply_adds; }
void count_addition() { ++launch.counts.additions; }

}  // namespace minidl::emulator
