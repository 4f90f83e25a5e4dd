// Memory of large results: blocks that are used again.
//
// A fresh block of memory costs a page fault for every 4 KB that is written, more than the arithmetic of most operations. So a block
// that an array gives back is kept on a list of its size and handed to the next result of that size: a training step in its
// steady state asks the system for nothing. NumPy frees an array through the handler that made it (PyDataMem_Handler, NEP 49).
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include <pybind11/pybind11.h>

#include "bind.h"

namespace py = pybind11;

namespace minidl {
namespace {

constexpr size_t SMALLEST = 1 << 14;          // below, the C library's own lists do as well
constexpr size_t ALIGNMENT = 64;              // a cache line, and a vector of any instruction set
constexpr size_t KEPT = size_t{1} << 30;      // bytes that may lie idle; what comes back beyond goes to the system

// Sizes in steps of a quarter of a power of two, so that at most a fifth of a block is unused.
constexpr int STEPS = 4, CLASSES = 64 * STEPS;
int class_of(size_t bytes) {
    const int log = 63 - __builtin_clzll(bytes - 1);   // 2^log < bytes <= 2^(log + 1)
    return log * STEPS + static_cast<int>((bytes - 1) >> (log - 2) & 3);
}
size_t size_of_class(int c) { return (size_t{STEPS} + 1 + c % STEPS) << (c / STEPS - 2); }

struct Header { int size_class; };   // stands ALIGNMENT bytes before the data

struct Lists {
    std::mutex lock;
    std::vector<void*> idle[CLASSES];
    size_t idle_bytes = 0, used_bytes = 0, peak_bytes = 0, fresh = 0;   // fresh: blocks that came from the system
};
Lists& lists = *new Lists;   // never destroyed: arrays are freed until the very end of the process

void* take(void*, size_t bytes) {
    const int c = class_of((bytes < SMALLEST ? SMALLEST : bytes) + ALIGNMENT);
    void* block = nullptr;
    {
        const std::lock_guard<std::mutex> guard(lists.lock);
        if (!lists.idle[c].empty()) {
            block = lists.idle[c].back();
            lists.idle[c].pop_back();
            lists.idle_bytes -= size_of_class(c);
        }
    }
    const bool fresh = !block;
    if (fresh && posix_memalign(&block, ALIGNMENT, size_of_class(c))) return nullptr;
    {
        const std::lock_guard<std::mutex> guard(lists.lock);
        lists.fresh += fresh;
        lists.used_bytes += size_of_class(c);
        if (lists.used_bytes > lists.peak_bytes) lists.peak_bytes = lists.used_bytes;
    }
    static_cast<Header*>(block)->size_class = c;
    return static_cast<char*>(block) + ALIGNMENT;
}

void give(void*, void* data, size_t) {
    if (!data) return;
    void* block = static_cast<char*>(data) - ALIGNMENT;
    const int c = static_cast<Header*>(block)->size_class;
    {
        const std::lock_guard<std::mutex> guard(lists.lock);
        lists.used_bytes -= size_of_class(c);
        if (lists.idle_bytes + size_of_class(c) <= KEPT) {
            lists.idle[c].push_back(block);
            lists.idle_bytes += size_of_class(c);
            return;
        }
    }
    std::free(block);
}

void* take_zeros(void* context, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return nullptr;
    void* data = take(context, count * size);
    return data ? std::memset(data, 0, count * size) : nullptr;
}

void* resize(void* context, void* data, size_t bytes) {
    void* other = take(context, bytes);
    if (other && data) {
        const size_t held = size_of_class(static_cast<Header*>(static_cast<void*>(static_cast<char*>(data) - ALIGNMENT))->size_class) - ALIGNMENT;
        std::memcpy(other, data, held < bytes ? held : bytes);
        give(context, data, 0);
    }
    return other;
}

PyDataMem_Handler handler = {"minidl blocks", 1, {nullptr, take, take_zeros, resize, give}};

// Arrays made while it stands take their memory from the lists.
struct Handled {
    PyObject* before;
    Handled() {
        static PyObject* const capsule = PyCapsule_New(&handler, "mem_handler", nullptr);
        before = capsule ? PyDataMem_SetHandler(capsule) : nullptr;
        if (!before) throw std::bad_alloc();
    }
    Handled(const Handled&) = delete;
    ~Handled() {
        Py_XDECREF(PyDataMem_SetHandler(before));
        Py_DECREF(before);
    }
};

py::dict memory_stats() {
    const std::lock_guard<std::mutex> guard(lists.lock);
    py::dict stats;
    stats["allocated"] = lists.used_bytes;
    stats["peak"] = lists.peak_bytes;
    stats["idle"] = lists.idle_bytes;
    stats["fresh"] = lists.fresh;
    return stats;
}
void reset_peak_memory_stats() {
    const std::lock_guard<std::mutex> guard(lists.lock);
    lists.peak_bytes = lists.used_bytes;
    lists.fresh = 0;
}

}  // namespace

void bind_blocks(py::module_& m) {
    m.def("memory_stats", memory_stats);
    m.def("reset_peak_memory_stats", reset_peak_memory_stats);
}

PyArrayObject* new_array(int type, int ndim, const int64_t* shape) {
    static_assert(sizeof(npy_intp) == sizeof(int64_t));
    size_t bytes = 8;
    for (int d = 0; d < ndim; ++d) bytes *= static_cast<size_t>(shape[d]);
    npy_intp* sizes = reinterpret_cast<npy_intp*>(const_cast<int64_t*>(shape));
    PyObject* array;
#ifdef __SANITIZE_ADDRESS__
    bytes = 0;   // the sanitizer is to see every block freed
#endif
    if (bytes < 2 * SMALLEST) {
        array = PyArray_SimpleNew(ndim, sizes, type);
    } else {
        const Handled blocks;
        array = PyArray_SimpleNew(ndim, sizes, type);
    }
    if (!array) throw std::bad_alloc();
    return reinterpret_cast<PyArrayObject*>(array);
}

}  // namespace minidl
