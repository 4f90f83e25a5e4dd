// Reading and adding at places that an index names
//
//     gather:       y[.., i, ..] = x[.., index[.., i, ..], ..]            scatter_add:  y[.., index[.., i, ..], ..] += src[.., i, ..]
//     take_rows:    y[i] = w[index[i]]                                    add_rows:     y[index[i]] += g[i]
//
// What is added to one place is added in the index's order, on one thread: threads share lines that do not meet (scatter_add), or columns (add_rows).
#include "index.h"

#include "kernel.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 8192;   // elements

// line(offset) for every line along the axis
template <class Line> ALWAYS_INLINE void for_lines(const AlongAxis& a, const Line& line) {
    int64_t count = 1;
    for (int d = 0; d < a.lines.ndim; ++d) count *= a.lines.shape[d];
    parallel_for(count, larger(1, GRAIN / larger(a.n, 1)), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            int64_t offset[3] = {}, rest = i;
            for (int d = a.lines.ndim - 1; d >= 0; --d) {
                const int64_t at = rest % a.lines.shape[d];
                rest /= a.lines.shape[d];
                for (int k = 0; k < 3; ++k) offset[k] += at * a.lines.stride[k][d];
            }
            line(offset);
        }
    });
}

template <class T> void gather(const AlongAxis& a) {
    for_lines(a, [&a](const int64_t* offset) {
        T* y = static_cast<T*>(a.lines.data[0]) + offset[0];
        const int64_t* index = static_cast<const int64_t*>(a.lines.data[1]) + offset[1];
        const T* x = static_cast<const T*>(a.lines.data[2]) + offset[2];
        for (int64_t i = 0; i < a.n; ++i) y[i * a.step[0]] = x[index[i * a.step[1]] * a.step[2]];
    });
}

template <class T> void scatter_add(const AlongAxis& a) {
    for_lines(a, [&a](const int64_t* offset) {
        T* y = static_cast<T*>(a.lines.data[0]) + offset[0];
        const int64_t* index = static_cast<const int64_t*>(a.lines.data[1]) + offset[1];
        const T* src = static_cast<const T*>(a.lines.data[2]) + offset[2];
        for (int64_t i = 0; i < a.n; ++i) y[index[i * a.step[1]] * a.step[0]] += src[i * a.step[2]];
    });
}

template <class T> void take_rows(const RowsArguments& a) {
    parallel_for(a.count, larger(1, GRAIN / larger(a.width, 1)), [&a](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            T* __restrict y = static_cast<T*>(a.y) + i * a.width;
            const T* x = static_cast<const T*>(a.x) + a.index[i] * a.x_row;
            if (a.x_step == 1) for (int64_t j = 0; j < a.width; ++j) y[j] = x[j];
            else for (int64_t j = 0; j < a.width; ++j) y[j] = x[j * a.x_step];
        }
    });
}

template <class T> void add_rows(const RowsArguments& a) {
    const int64_t columns = larger(64, GRAIN / larger(a.count, 1));
    parallel_for(a.width, columns, [&a](int64_t begin, int64_t end) {
        for (int64_t i = 0; i < a.count; ++i) {
            T* __restrict y = static_cast<T*>(a.y) + a.index[i] * a.width;
            const T* x = static_cast<const T*>(a.x) + i * a.x_row;
            if (a.x_step == 1) for (int64_t j = begin; j < end; ++j) y[j] += x[j];
            else for (int64_t j = begin; j < end; ++j) y[j] += x[j * a.x_step];
        }
    });
}

}  // namespace

constexpr IndexTable index_table = {
    .gather = {gather<float>, gather<double>},
    .scatter_add = {scatter_add<float>, scatter_add<double>},
    .take_rows = {take_rows<float>, take_rows<double>},
    .add_rows = {add_rows<float>, add_rows<double>},
};

}  // namespace minidl::ISA
