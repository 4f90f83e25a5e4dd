// Every access of the checked build comes by here, before it happens: does it stay inside of what the launch owns, does it read what was written,
// does it race with another thread's?
//
// Each 4 bytes of memory that a kernel may write have a cell that remembers the last write and the last two reads by different threads. Two accesses of
// different threads race, if one of them is a write that is not atomic, and no barrier orders them:
//
//     of different blocks                 nothing orders them within a launch
//     of one block                        ordered if a __syncthreads lies between: their counts of block barriers differ
//     of one warp                         or a __syncwarp: their warp's counts differ
//
// As fibers run one after another, the accesses come in some order; whether another order is allowed does not depend on it. (Two reads suffice: the last one, and one
// by another thread, of another warp if there is one. Fences and flags between blocks are not understood: a kernel that waits for other blocks so is reported.)
#include <stdlib.h>
#include <string.h>

#include <vector>

#if defined(__linux__)
#include <link.h>
#endif
#include "memory.h"

namespace minidl::emulator {
namespace {

struct Mark {
    uint32_t block;   // block_serial; 0: never
    uint32_t block_epoch, warp_epoch;
    uint16_t thread;
    uint8_t bytes;    // which of the 4
    uint8_t access;
};
struct Cell {
    Mark write, read[2];
    uint8_t written;   // which bytes hold something; of shared memory: if write.block is this block
};

struct Region {
    uint64_t base = 0, bytes = 0;
    int number = -3;
    bool shared = false, writable = true, fresh = false;
    Cell* cells = nullptr;
};

std::vector<Region> regions;
Region statics;          // the library's writable data: what is declared __shared__, since nothing else of it is instrumented
uint64_t image, image_end;
char* dynamic;

bool holds(const Region& r, uint64_t address) { return address - r.base < r.bytes; }

Region* region_of(uint64_t address) {
    static size_t last = 0;
    if (last < regions.size() && holds(regions[last], address)) return &regions[last];
    for (size_t i = 0; i < regions.size(); ++i)
        if (holds(regions[i], address)) return &regions[last = i];
    return nullptr;
}

// The nearest array, for the words of the report.
void name_nearest(Fault& fault, uint64_t address) {
    uint64_t best = ~0ull;
    for (const Region& r : regions) {
        if (r.number == -1) continue;
        const uint64_t distance = address < r.base ? r.base - address : address - (r.base + r.bytes) + 1;
        if (distance < best) best = distance, fault.array = r.number, fault.offset = static_cast<int64_t>(address - r.base);
    }
    if (best > 1 << 24) fault.array = -3, fault.offset = static_cast<int64_t>(address);
}

Fault& report_access(Kind kind, const Region* r, uint64_t address, unsigned bytes, int access, uint64_t code) {
    Fault& fault = report(kind, code - image, 0);
    fault.who = who(*now);
    fault.access = access;
    fault.bytes = static_cast<int32_t>(bytes);
    if (r) fault.array = r->number, fault.offset = static_cast<int64_t>(address - r->base);
    else name_nearest(fault, address);
    return fault;
}

bool races(const Mark& a, const Mark& me, bool shared) {
    if (!(a.bytes & me.bytes) || (a.access == ATOMIC && me.access == ATOMIC)) return false;
    if (a.block != me.block) return !shared;
    if (a.thread == me.thread || a.block_epoch != me.block_epoch) return false;
    return a.thread / LANES != me.thread / LANES || a.warp_epoch == me.warp_epoch;
}

void report_race(const Region& r, uint64_t address, unsigned bytes, const Mark& other, int access, uint64_t code) {
    Fault& fault = report_access(Kind::race, &r, address, bytes, access, code);
    const uint32_t first = block_serial - (now_block.x + launch.grid.x * (now_block.y + launch.grid.y * now_block.z));
    const uint32_t block = other.block - first, size_x = launch.block.x, size_y = launch.block.y;
    fault.other = {{block % launch.grid.x, block / launch.grid.x % launch.grid.y, block / launch.grid.x / launch.grid.y},
                   {other.thread % size_x, other.thread / size_x % size_y, other.thread / size_x / size_y}};
    fault.other_access = other.access;
}

void check_cells(Region& r, uint64_t address, unsigned bytes, int access, uint64_t code) {
    const uint64_t begin = address - r.base, end = begin + bytes;
    for (uint64_t word = begin / 4; word * 4 < end; ++word) {
        Cell& cell = r.cells[word];
        const unsigned first = word * 4 < begin ? begin % 4 : 0, last = end - word * 4 < 4 ? static_cast<unsigned>(end - word * 4) : 4;
        const uint8_t mask = static_cast<uint8_t>((1u << last) - (1u << first));
        const Mark me = {block_serial, block_epoch, now_warp->epoch, static_cast<uint16_t>(now->number), mask, static_cast<uint8_t>(access)};

        const uint8_t written = r.shared && cell.write.block != block_serial ? 0 : cell.written;
        if (r.fresh && access != WRITE && (written & mask) != mask) report_access(Kind::uninitialised, &r, address, bytes, access, code);

        if (cell.write.block && races(cell.write, me, r.shared)) report_race(r, address, bytes, cell.write, access, code);
        if (access == READ) {
            Mark* read = cell.read;
            if (read[0].block != me.block || read[0].thread != me.thread) {
                if (read[0].thread / LANES != me.thread / LANES || read[1].block != me.block || read[1].block_epoch != me.block_epoch ||
                    read[1].thread / LANES == me.thread / LANES)
                    read[1] = read[0];
            }
            read[0] = me;
        } else {
            for (const Mark& read : cell.read)
                if (read.block && races(read, me, r.shared)) report_race(r, address, bytes, read, access, code);
            cell.write = me;
            cell.written = written | mask;
        }
    }
}

#if defined(__linux__)
// The part of memory where this library lies, and in it the part that can be written.
int find_image(dl_phdr_info* info, size_t, void*) {
    const uint64_t mine = reinterpret_cast<uint64_t>(&regions);
    uint64_t low = ~0ull, high = 0, data = 0, data_end = 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& part = info->dlpi_phdr[i];
        if (part.p_type != PT_LOAD) continue;
        const uint64_t begin = info->dlpi_addr + part.p_vaddr, end = begin + part.p_memsz;
        if (begin < low) low = begin;
        if (end > high) high = end;
        if ((part.p_flags & PF_W) && begin <= mine && mine < end) data = begin & ~7ull, data_end = end;
    }
    if (!data) return 0;
    image = low, image_end = high;
    statics.base = data, statics.bytes = data_end - data;
    return 1;
}
#endif

}  // namespace

uint64_t library_base() { return image; }
void* dynamic_shared() { return dynamic; }

void access(uint64_t address, unsigned bytes, int access, uint64_t code) {
    if (!now) return;   // a library that is being loaded
    if (address - reinterpret_cast<uint64_t>(now->fiber->stack) < STACK_BYTES) return;   // the thread's own variables
    const Inside inside;
    Region* r = region_of(address);
    if (!r) {
        if (address - image < image_end - image && access == READ) return;   // a constant of the kernel
        report_access(Kind::out_of_bounds, nullptr, address, bytes, access, code);
        stop();
    }
    if (address + bytes > r->base + r->bytes || (access != READ && !r->writable) || address % bytes) {
        report_access(address % bytes ? Kind::misaligned : !r->writable && access != READ ? Kind::read_only : Kind::out_of_bounds,
                      r, address, bytes, access, code);
        stop();
    }
    if (r->cells) check_cells(*r, address, bytes, access, code);
    count_access(access, r->shared, address, bytes, code);
    if (trace_full()) yield(State::paused);
}

bool open_memory() {
    regions.clear();
#if defined(__linux__)
    if (!statics.base) {
        dl_iterate_phdr(find_image, nullptr);
        statics.number = -1;
        statics.shared = statics.fresh = true;
    }
#endif
    if (launch.dynamic_bytes) {
        dynamic = static_cast<char*>(aligned_alloc(256, (launch.dynamic_bytes + 255) / 256 * 256));
        if (!dynamic) return false;
    }
    if (!launch.checked) return true;
    if (!statics.cells) statics.cells = static_cast<Cell*>(calloc(statics.bytes / 4 + 2, sizeof(Cell)));
    for (int i = 0; i < launch.array_count; ++i) {
        const Array& a = launch.arrays[i];
        Region r;
        r.base = reinterpret_cast<uint64_t>(a.data), r.bytes = a.bytes, r.number = i, r.writable = a.writable, r.fresh = a.fresh;
        if (r.writable) r.cells = static_cast<Cell*>(calloc(r.bytes / 4 + 2, sizeof(Cell)));
        if (r.writable && !r.cells) return false;
        regions.push_back(r);
    }
    if (launch.dynamic_bytes) {
        Region r;
        r.base = reinterpret_cast<uint64_t>(dynamic), r.bytes = launch.dynamic_bytes, r.number = -2, r.shared = r.fresh = true;
        r.cells = static_cast<Cell*>(calloc(r.bytes / 4 + 2, sizeof(Cell)));
        if (!r.cells) return false;
        regions.push_back(r);
    }
    regions.push_back(statics);
    return statics.cells;
}

void close_memory() {
    for (Region& r : regions)
        if (r.number != -1) free(r.cells);
    regions.clear();
    free(dynamic);
    dynamic = nullptr;
}

}  // namespace minidl::emulator
