// Reading and adding at places that an index names
//
//     gather:       y[.., i, ..] = x[.., index[.., i, ..], ..]            scatter_add:  y[.., index[.., i, ..], ..] += src[.., i, ..]
//     take_rows:    y[i] = w[index[i]]                                    add_rows:     y[index[i]] += g[i]
//
// What is added to one place is added in the index's order, on one thread: threads share lines that do not meet (scatter_add), or rows of y whose
// gradients were sorted by row before (add_rows).
#include "index.h"

#include "kernel.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 8192;    // elements
constexpr int64_t TOGETHER = 16;   // lines
constexpr int64_t NARROW = 32;     // numbers of a row, too few to be worth sorting rows

// Walks y, index and x: where each begins, and how far the next element and the next line are.
struct Lines {
    int64_t n, count;           // elements of a line, lines
    int64_t offset[3], step[3], next[3];
    int64_t begin;              // elements that others walk
};

// run(lines) for all lines along the axis, neighbours together: at least a cache line of them. `cut`: parts of a line cannot meet, so that long ones
// may be cut.
template <class Run> ALWAYS_INLINE void for_lines(const AlongAxis& a, bool cut, const Run& run) {
    const int last = a.lines.ndim - 1;
    int64_t count = 1;
    for (int d = 0; d <= last; ++d) count *= a.lines.shape[d];
    const int64_t piece = cut ? smaller(larger(a.n, 1), GRAIN) : larger(a.n, 1), parts = pieces(a.n, piece);
    const int64_t group = larger(TOGETHER, GRAIN / piece), groups = pieces(count, group);
    parallel_for(groups * parts, 1, [&](int64_t task, int64_t) {
        const int64_t first = task % parts * piece, end = smaller(count, (task / parts + 1) * group);
        for (int64_t i = task / parts * group; i < end;) {
            Lines some{smaller(piece, a.n - first), smaller(end - i, a.lines.shape[last] - i % a.lines.shape[last]), {}, {}, {}};
            int64_t rest = i;
            for (int d = last; d >= 0; --d) {
                const int64_t at = rest % a.lines.shape[d];
                rest /= a.lines.shape[d];
                for (int k = 0; k < 3; ++k) some.offset[k] += at * a.lines.stride[k][d];
            }
            for (int k = 0; k < 3; ++k) some.step[k] = a.step[k], some.next[k] = a.lines.stride[k][last];
            some.begin = first;
            run(some);
            i += some.count;
        }
    });
}

// body(element, line), in the index's order along each line. Where lines lie side by side, they are walked together: each cache line is met once.
template <class Body> ALWAYS_INLINE void walk_lines(const Lines& a, const Body& body) {
    const bool together = a.count > 1 && a.next[1] >= 0 && a.next[1] < (a.step[1] < 0 ? -a.step[1] : a.step[1]);
    if (together) for (int64_t i = a.begin; i < a.begin + a.n; ++i) for (int64_t l = 0; l < a.count; ++l) body(i, l);
    else for (int64_t l = 0; l < a.count; ++l) for (int64_t i = a.begin; i < a.begin + a.n; ++i) body(i, l);
}

template <class T> void gather(const AlongAxis& a) {
    for_lines(a, true, [&a](const Lines& lines) {
        T* y = static_cast<T*>(a.lines.data[0]) + lines.offset[0];
        const int64_t* index = static_cast<const int64_t*>(a.lines.data[1]) + lines.offset[1];
        const T* x = static_cast<const T*>(a.lines.data[2]) + lines.offset[2];
        walk_lines(lines, [=](int64_t i, int64_t l) {
            y[i * lines.step[0] + l * lines.next[0]] = x[index[i * lines.step[1] + l * lines.next[1]] * lines.step[2] + l * lines.next[2]];
        });
    });
}

template <class T> void scatter_add(const AlongAxis& a) {
    for_lines(a, false, [&a](const Lines& lines) {
        T* y = static_cast<T*>(a.lines.data[0]) + lines.offset[0];
        const int64_t* index = static_cast<const int64_t*>(a.lines.data[1]) + lines.offset[1];
        const T* src = static_cast<const T*>(a.lines.data[2]) + lines.offset[2];
        walk_lines(lines, [=](int64_t i, int64_t l) {
            y[index[i * lines.step[1] + l * lines.next[1]] * lines.step[0] + l * lines.next[0]] += src[i * lines.step[2] + l * lines.next[2]];
        });
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

template <class T> ALWAYS_INLINE void add_row(const RowsArguments& a, int64_t row, int64_t place) {
    T* __restrict y = static_cast<T*>(a.y) + row * a.width;
    const T* x = static_cast<const T*>(a.x) + place * a.x_row;
    if (a.x_step == 1) for (int64_t j = 0; j < a.width; ++j) y[j] += x[j];
    else for (int64_t j = 0; j < a.width; ++j) y[j] += x[j * a.x_step];
}
template <class T> ALWAYS_INLINE void clear_rows(const RowsArguments& a, int64_t first, int64_t last) {
    T* y = static_cast<T*>(a.y);
    for (int64_t j = first * a.width; j < last * a.width; ++j) y[j] = 0;
}

// Counts how often each row is named, lists the places of each in the index's order, and adds row by row: y is written once.
template <class T> bool add_rows(const RowsArguments& a) {
    if (a.width < NARROW) {
        clear_rows<T>(a, 0, a.rows);
        for (int64_t i = 0; i < a.count; ++i) add_row<T>(a, a.index[i], i);
        return true;
    }
    int64_t* room = static_cast<int64_t*>(workspace(0, (a.rows + 1 + a.count) * sizeof(int64_t)));
    if (!room) return false;
    int64_t *end = room, *places = room + a.rows + 1;   // of row r: from end[r - 1] to end[r], once all are listed
    for (int64_t r = 0; r <= a.rows; ++r) end[r] = 0;
    for (int64_t i = 0; i < a.count; ++i) ++end[a.index[i] + 1];
    for (int64_t r = 0; r < a.rows; ++r) end[r + 1] += end[r];
    for (int64_t i = 0; i < a.count; ++i) places[end[a.index[i]]++] = i;
    const int64_t grain = larger(1, GRAIN / (larger(a.width, 1) * (1 + a.count / larger(a.rows, 1))));
    parallel_for(a.rows, grain, [=, &a](int64_t first, int64_t last) {
        for (int64_t r = first; r < last; ++r) {
            clear_rows<T>(a, r, r + 1);
            for (int64_t i = r ? end[r - 1] : 0; i < end[r]; ++i) add_row<T>(a, r, places[i]);
        }
    });
    return true;
}

}  // namespace

constexpr IndexTable index_table = {
    .gather = {gather<float>, gather<double>},
    .scatter_add = {scatter_add<float>, scatter_add<double>},
    .take_rows = {take_rows<float>, take_rows<double>},
    .add_rows = {add_rows<float>, add_rows<double>},
};

}  // namespace minidl::ISA
