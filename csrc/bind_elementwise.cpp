#include "bind.h"
#include "elementwise.h"

namespace minidl {
namespace {

// The broadcast shape of a and b; where they do not fit, the reference says so.
bool broadcast(const View& a, const View& b, int& ndim, int64_t* shape) {
    ndim = a.ndim > b.ndim ? a.ndim : b.ndim;
    for (int d = 1; d <= ndim; ++d) {
        const int64_t m = d <= a.ndim ? a.shape[a.ndim - d] : 1, n = d <= b.ndim ? b.shape[b.ndim - d] : 1;
        if (m != n && m != 1 && n != 1) return false;
        shape[ndim - d] = m == 1 ? n : m;
    }
    return true;
}

// A number as an array of no dimensions, stored in `room`.
View view_of(const Operand& a, int type, double& room) {
    if (a.is_array()) return Array{a.object}.view();
    if (type == NPY_FLOAT) *reinterpret_cast<float*>(&room) = static_cast<float>(a.number);
    else room = a.number;
    View v;
    v.data = &room;
    v.ndim = 0;
    return v;
}

template <Binary ElementwiseTable::*name> PyObject* binary(Operand a, Operand b) {
    const int type = a.is_array() ? a.type() : b.type();
    if (!(a.is_array() || b.is_array()) || (a.type() && a.type() != type) || (b.type() && b.type() != type)) return not_mine();
    const auto kernel = of_type(PICK(elementwise).*name, type);

    if (a.is_array() && b.is_array()) {   // one shape, both contiguous: nothing to work out
        const Array x{a.object}, y{b.object};
        if (x.contiguous() && y.contiguous() && x.ndim() == y.ndim() &&
            PyArray_CompareLists(PyArray_DIMS(x.object), PyArray_DIMS(y.object), x.ndim())) {
            Result result(type, x.ndim(), PyArray_DIMS(x.object));
            Nest<3> nest;
            nest.ndim = 1;
            nest.shape[0] = result.size();
            nest.data[0] = result.data<void>(), nest.data[1] = x.data<void>(), nest.data[2] = y.data<void>();
            for (auto& stride : nest.stride) stride[0] = 1;
            Unlocked region(nest.shape[0] > LARGE);
            kernel(nest);
            return result.release();
        }
    }
    double room[2];
    const View x = view_of(a, type, room[0]), y = view_of(b, type, room[1]);
    int ndim;
    int64_t shape[MAX_DIMS];
    if (!broadcast(x, y, ndim, shape)) return not_mine();
    Result result(type, ndim, shape);
    if (result.size() > 0) {
        const Nest<3> nest = make_nest<3>(ndim, shape, {result.view(), x, y});
        Unlocked region(result.size() > LARGE);
        kernel(nest);
    }
    return result.release();
}

}  // namespace

Verbs elementwise_verbs() {
    return {
        verb<binary<&ElementwiseTable::add>>("add"),
    };
}

}  // namespace minidl
