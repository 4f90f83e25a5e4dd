#include "bind.h"
#include "index.h"

namespace minidl {
namespace {

// Every index lies in [0, size), or ValueError.
void check_index(const char* verb, const Int64Array& index, int64_t size) {
    if (index.size() == 0) return;
    const View v = index.view();
    const Nest<1> nest = make_nest<1>(v.ndim, v.shape, {v});
    const int last = nest.ndim - 1;
    int64_t at[MAX_DIMS] = {};
    const int64_t* line = static_cast<const int64_t*>(v.data);
    for (;;) {
        bool fine = true;
        for (int64_t i = 0; i < nest.shape[last]; ++i) fine &= static_cast<uint64_t>(line[i * nest.stride[0][last]]) < static_cast<uint64_t>(size);
        for (int64_t i = 0; !fine; ++i) {   // which one?
            const int64_t value = line[i * nest.stride[0][last]];
            if (value < 0 || value >= size)
                throw std::invalid_argument(std::string(verb) + ": index holds " + std::to_string(value) + ", but there are " + std::to_string(size) +
                                            " places: use 0 to " + std::to_string(size - 1));
        }
        int d = last - 1;
        for (; d >= 0; --d) {
            line += nest.stride[0][d];
            if (++at[d] < nest.shape[d]) break;
            line -= at[d] * nest.stride[0][d];
            at[d] = 0;
        }
        if (d < 0) return;
    }
}

// v without one dimension
View without(View v, int axis) {
    for (int d = axis; d < v.ndim - 1; ++d) v.shape[d] = v.shape[d + 1], v.stride[d] = v.stride[d + 1];
    --v.ndim;
    return v;
}

// y, index and `other` walked over the index's shape
AlongAxis along(const Int64Array& index, View y, View other, int axis) {
    const View places = index.view();
    AlongAxis a;
    a.n = places.shape[axis];
    a.step[0] = y.stride[axis], a.step[1] = places.stride[axis], a.step[2] = other.stride[axis];
    y = without(y, axis), other = without(other, axis);
    const View lines = without(places, axis);
    for (int d = 0; d < lines.ndim; ++d) {   // no more of them than the index has
        y.shape[d] = other.shape[d] = lines.shape[d];
    }
    a.lines = make_nest<3>(lines.ndim, lines.shape, {y, lines, other});
    return a;
}

// Whether the index's sizes are at most x's, but for the axis.
bool inside(const Int64Array& index, const Array& x, int64_t axis) {
    if (x.ndim() == 0 || index.ndim() != x.ndim() || axis < 0 || axis >= x.ndim()) return false;
    for (int d = 0; d < x.ndim(); ++d)
        if (d != axis && index.shape(d) > x.shape(d)) return false;
    return true;
}

PyObject* gather(Array x, int64_t axis, Int64Array index) {
    if (!inside(index, x, axis)) return not_mine();
    check_index("gather", index, x.shape(static_cast<int>(axis)));
    Result result(x.type(), index.ndim(), PyArray_DIMS(index.object));
    if (result.size() > 0) {
        const AlongAxis a = along(index, result.view(), x.view(), static_cast<int>(axis));
        const auto kernel = of_type(PICK(index_table).gather, x.type());
        Unlocked region(result.size() > LARGE / 4);
        kernel(a);
    }
    return result.release();
}

PyObject* scatter_add(Array x, int64_t axis, Int64Array index, Array src) {
    if (!inside(index, x, axis) || src.type() != x.type() || src.ndim() != x.ndim()) return not_mine();
    for (int d = 0; d < x.ndim(); ++d)
        if (index.shape(d) > src.shape(d)) return not_mine();
    check_index("scatter_add", index, x.shape(static_cast<int>(axis)));
    Result result(x.type(), x.ndim(), PyArray_DIMS(x.object));
    if (PyArray_CopyInto(result.object, x.object) < 0) throw std::bad_alloc();
    if (index.size() > 0) {
        const AlongAxis a = along(index, result.view(), src.view(), static_cast<int>(axis));
        const auto kernel = of_type(PICK(index_table).scatter_add, x.type());
        Unlocked region(index.size() > LARGE / 4);
        kernel(a);
    }
    return result.release();
}

PyObject* take_rows(Array w, Int64Array index) {
    if (w.ndim() != 2 || index.ndim() == MAX_DIMS || !index.contiguous()) return not_mine();
    check_index("take_rows", index, w.shape(0));
    int64_t shape[MAX_DIMS];
    for (int d = 0; d < index.ndim(); ++d) shape[d] = index.shape(d);
    shape[index.ndim()] = w.shape(1);
    Result result(w.type(), index.ndim() + 1, shape);
    if (result.size() > 0) {
        const View v = w.view();
        const RowsArguments a{index.size(), v.shape[1], index.data<int64_t>(), result.data<void>(), v.data, v.stride[0], v.stride[1], v.shape[0]};
        const auto kernel = of_type(PICK(index_table).take_rows, w.type());
        Unlocked region(result.size() > LARGE / 4);
        kernel(a);
    }
    return result.release();
}

PyObject* add_rows(Ints shape, Int64Array index, Array g) {
    if (shape.count != 2 || shape.value[0] < 0 || g.ndim() != index.ndim() + 1 || g.shape(g.ndim() - 1) != shape.value[1] || !index.contiguous() ||
        !PyArray_CompareLists(PyArray_DIMS(g.object), PyArray_DIMS(index.object), index.ndim()))
        return not_mine();
    View rows = g.view();   // (..., width)
    rows.ndim -= 1;
    const Nest<1> nest = make_nest<1>(rows.ndim, rows.shape, {rows});
    if (nest.ndim > 1) return not_mine();   // rows at no regular distance
    check_index("add_rows", index, shape.value[0]);
    Result result(g.type(), 2, shape.value);
    if (result.size() > 0) {
        const RowsArguments a{index.size(), shape.value[1], index.data<int64_t>(), result.data<void>(), rows.data, nest.stride[0][0],
                              rows.stride[rows.ndim], shape.value[0]};
        const auto kernel = of_type(PICK(index_table).add_rows, g.type());
        Unlocked region(g.size() + result.size() > LARGE / 4);
        if (!kernel(a)) throw std::bad_alloc();
    }
    return result.release();
}

}  // namespace

Verbs index_verbs() {
    return {
        verb<gather>("gather"),
        verb<scatter_add>("scatter_add"),
        verb<take_rows>("take_rows"),
        verb<add_rows>("add_rows"),
    };
}

}  // namespace minidl
