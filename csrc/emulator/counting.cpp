// What the memory of a GPU would have to do. A warp runs an instruction for its 32 lanes at once; here each lane runs alone, and what it accesses goes into its trace. After
// each pass over the lanes the traces are laid side by side: the n-th time that lanes execute one instruction is one instruction of the warp (as on the GPU, where
// lanes that parted are brought together again).
//
//     global memory    moves in sectors of 32 bytes: counted are those that the lanes' addresses touch. No cache is modelled.
//     shared memory    has 32 banks, each 4 bytes wide, and serves one word of each bank in a pass; the same word goes to any number of lanes. Counted are the
//                      passes, the fullest bank's words, and as conflicts those beyond ceil(words / 32), which is what evenly spread words would take.
//
// (CUDA C++ Programming Guide, "Device Memory Accesses" and "Shared Memory".)
#include <algorithm>
#include <vector>

#include "memory.h"

namespace minidl::emulator {
namespace {

constexpr size_t ROOM = 4096;   // accesses of a lane in one pass, then it pauses for the others

struct Traced {
    uint64_t code, address;
    uint8_t bytes, access;
    bool shared;
};
std::vector<Traced> traces[LANES];

template <class F> void each_different(uint64_t* values, int count, const F& f) {
    std::sort(values, values + count);
    for (int i = 0; i < count; ++i)
        if (i == 0 || values[i] != values[i - 1]) f(values[i]);
}

void count_global(const Traced* const* lane, int lanes) {
    uint64_t sectors[LANES], addresses[LANES];   // an access is aligned, so it lies in one sector
    int sector_count = 0, count = 0;
    for (int i = 0; i < lanes; ++i) {
        const uint64_t address = lane[i]->address;
        if (!sector_count || sectors[sector_count - 1] != address / 32) sectors[sector_count++] = address / 32;
        if (i == 0 || address != addresses[count - 1]) addresses[count++] = address;
    }
    each_different(sectors, sector_count, [](uint64_t) { ++launch.counts.sectors; });
    each_different(addresses, count, [&](uint64_t) { launch.counts.bytes_used += lane[0]->bytes; });
}

void count_shared(const Traced* const* lane, int lanes) {
    uint64_t words[4 * LANES], per_bank[32] = {}, different = 0;
    int count = 0;
    for (int i = 0; i < lanes; ++i) {
        if (i > 0 && lane[i]->address == lane[i - 1]->address) continue;
        for (uint64_t w = lane[i]->address / 4; w <= (lane[i]->address + lane[i]->bytes - 1) / 4; ++w) words[count++] = w;
    }
    each_different(words, count, [&](uint64_t w) { ++per_bank[w % 32], ++different; });
    const uint64_t passes = *std::max_element(per_bank, per_bank + 32);
    launch.counts.shared_passes += passes;
    launch.counts.bank_conflicts += passes - (different + 31) / 32;
}

void count_instruction(const Traced* const* lane, int lanes) {
    Counts& c = launch.counts;
    const Traced& first = *lane[0];
    if (first.access == ATOMIC) c.atomics += lanes;
    if (first.shared) {
        ++(first.access == READ ? c.shared_loads : c.shared_stores);
        count_shared(lane, lanes);
    } else {
        ++(first.access == READ ? c.global_loads : c.global_stores);
        count_global(lane, lanes);
    }
}

// All lanes have executed the same instructions in the same order, or nothing.
bool in_step() {
    const std::vector<Traced>* model = nullptr;
    for (const auto& trace : traces) {
        if (trace.empty()) continue;
        if (!model) model = &trace;
        else if (trace.size() != model->size()) return false;
        else
            for (size_t k = 0; k < trace.size(); ++k)
                if (trace[k].code != (*model)[k].code || trace[k].shared != (*model)[k].shared) return false;
    }
    return true;
}

void count_in_step() {
    const Traced* group[LANES];
    size_t length = 0;
    for (const auto& trace : traces) length = std::max(length, trace.size());
    for (size_t k = 0; k < length; ++k) {
        int lanes = 0;
        for (const auto& trace : traces)
            if (!trace.empty()) group[lanes++] = &trace[k];
        count_instruction(group, lanes);
    }
}

void count_apart() {
    struct Numbered {
        const Traced* access;
        uint64_t code;
        uint32_t nth;
        uint32_t lane;
    };
    std::vector<Numbered> all, own;
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        own.clear();
        for (const Traced& t : traces[lane]) own.push_back({&t, t.code * 2 + t.shared, 0, lane});
        std::stable_sort(own.begin(), own.end(), [](const Numbered& a, const Numbered& b) { return a.code < b.code; });
        for (size_t i = 1; i < own.size(); ++i) own[i].nth = own[i].code == own[i - 1].code ? own[i - 1].nth + 1 : 0;
        all.insert(all.end(), own.begin(), own.end());
    }
    std::stable_sort(all.begin(), all.end(), [](const Numbered& a, const Numbered& b) { return a.code != b.code ? a.code < b.code : a.nth < b.nth; });
    const Traced* group[LANES];
    for (size_t i = 0; i < all.size();) {
        int lanes = 0;
        const size_t first = i;
        for (; i < all.size() && all[i].code == all[first].code && all[i].nth == all[first].nth; ++i) group[lanes++] = all[i].access;
        count_instruction(group, lanes);
    }
}

}  // namespace

void count_access(int access, bool shared, uint64_t address, unsigned bytes, uint64_t code) {
    traces[now->number % LANES].push_back({code, address, static_cast<uint8_t>(bytes), static_cast<uint8_t>(access), shared});
}

bool trace_full() { return traces[now->number % LANES].size() >= ROOM; }

void count_pass() {
    if (in_step()) count_in_step();
    else count_apart();
    for (auto& trace : traces) trace.clear();
}

}  // namespace minidl::emulator
