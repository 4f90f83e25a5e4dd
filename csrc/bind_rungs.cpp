// The rungs of matmul, sum and softmax take what the verbs that ship take, and make contiguous copies of what is not, so that the rungs are loops over plain
// pointers and nothing else. (Those of conv2d read any strides: bind_conv.cpp.)
#include <algorithm>

#include "bind.h"
#include "matmul_rungs.h"
#include "row_rungs.h"

namespace minidl {
namespace {

// A new reference, let go at the end.
struct Owned : Array {
    explicit Owned(PyObject* made) {
        if (!made) throw std::bad_alloc();
        object = reinterpret_cast<PyArrayObject*>(made);
    }
    Owned(const Owned&) = delete;
    ~Owned() { Py_XDECREF(object); }
    PyObject* release() { return reinterpret_cast<PyObject*>(std::exchange(object, nullptr)); }
};
PyObject* contiguous(PyArrayObject* x) { return PyArray_FROM_OF(reinterpret_cast<PyObject*>(x), NPY_ARRAY_C_CONTIGUOUS); }

// x with its dimensions in another order, in memory too.
PyObject* reordered(PyArrayObject* x, const Ints& order) {
    npy_intp to[MAX_DIMS];
    std::copy_n(order.value, order.count, to);
    PyArray_Dims dims = {to, order.count};
    const Owned view(PyArray_Transpose(x, &dims));
    return contiguous(view.object);
}

View batch_of(View v) {
    v.ndim -= 2;
    return v;
}

template <Product MatmulRungs::*rung> PyObject* matmul(Array a, Array b) {
    if (a.type() != b.type() || a.ndim() < 2 || b.ndim() < 2) return not_mine();
    const Owned as(contiguous(a.object)), bs(contiguous(b.object));
    const View x = as.view(), y = bs.view();
    const int64_t M = x.shape[x.ndim - 2], K = x.shape[x.ndim - 1], N = y.shape[y.ndim - 1];
    int ndim;
    int64_t shape[MAX_DIMS];
    if (y.shape[y.ndim - 2] != K || !broadcast_shapes(batch_of(x), batch_of(y), ndim, shape)) return not_mine();
    shape[ndim] = M, shape[ndim + 1] = N;
    Result result(a.type(), ndim + 2, shape);
    if (result.size() == 0) return result.release();
    const int64_t size = PyArray_ITEMSIZE(a.object), count = result.size() / (M * N);
    const auto kernel = of_type(PICK(matmul_rungs).*rung, a.type());
    bool fine = true;
    {
        Unlocked region(result.size() * (K + 1) > LARGE);
        for (int64_t item = 0; item < count; ++item) {   // one matrix after the other, each operand broadcast over the batch
            int64_t rest = item, of_a = 0, of_b = 0;
            for (int d = 1; d <= ndim; ++d) {
                const int64_t i = rest % shape[ndim - d];
                rest /= shape[ndim - d];
                if (d <= x.ndim - 2) of_a += i * x.stride[x.ndim - 2 - d];
                if (d <= y.ndim - 2) of_b += i * y.stride[y.ndim - 2 - d];
            }
            fine = fine && kernel(M, N, K, as.data<char>() + of_a * size, bs.data<char>() + of_b * size, result.data<char>() + item * M * N * size);
        }
    }
    if (!fine) throw std::bad_alloc();
    return result.release();
}

// The dimensions that stay, then those that go; false where an axis is not there or comes twice.
bool move_last(const Array& x, const Ints& axes, Ints& order) {
    bool gone[MAX_DIMS] = {};
    for (int i = 0; i < axes.count; ++i) {
        if (axes.value[i] < 0 || axes.value[i] >= x.ndim() || gone[axes.value[i]]) return false;
        gone[axes.value[i]] = true;
    }
    for (const bool last : {false, true})
        for (int d = 0; d < x.ndim(); ++d)
            if (gone[d] == last) order.value[order.count++] = d;
    return true;
}

template <RowRung RowRungs::*rung> PyObject* sum(Array x, Ints axes, bool keepdims) {
    Ints order;
    if (!move_last(x, axes, order)) return not_mine();
    const int kept = x.ndim() - axes.count;
    int ndim = 0;
    int64_t shape[MAX_DIMS];
    for (int d = 0; d < x.ndim(); ++d) {
        const bool stays = std::find(order.value, order.value + kept, d) != order.value + kept;
        if (stays || keepdims) shape[ndim++] = stays ? x.shape(d) : 1;
    }
    Result result(x.type(), ndim, shape);
    if (result.size() == 0) return result.release();
    const Owned rows(reordered(x.object, order));
    const auto kernel = of_type(PICK(sum_rungs).*rung, x.type());
    Unlocked region(x.size() > LARGE);
    kernel(result.size(), x.size() / result.size(), rows.data<void>(), result.data<void>());
    return result.release();
}

template <RowRung RowRungs::*rung> PyObject* softmax(Array x, int64_t axis) {
    Ints order, back;
    if (!move_last(x, {1, {axis}}, order)) return not_mine();
    const Owned rows(reordered(x.object, order));
    Owned result(PyArray_NewLikeArray(rows.object, NPY_CORDER, nullptr, 0));
    if (x.size() > 0) {
        const auto kernel = of_type(PICK(softmax_rungs).*rung, x.type());
        Unlocked region(x.size() > LARGE / 4);
        kernel(x.size() / x.shape(static_cast<int>(axis)), x.shape(static_cast<int>(axis)), rows.data<void>(), result.data<void>());
    }
    if (axis == x.ndim() - 1) return result.release();
    back.count = order.count;
    for (int d = 0; d < order.count; ++d) back.value[order.value[d]] = d;
    return reordered(result.object, back);
}

}  // namespace

Verbs rung_verbs() {
    using M = MatmulRungs;
    using R = RowRungs;
    return {
        verb<matmul<&M::naive>>("matmul.naive"), verb<matmul<&M::reordered>>("matmul.reordered"), verb<matmul<&M::blocked>>("matmul.blocked"),
        verb<matmul<&M::vectorized>>("matmul.vectorized"), verb<matmul<&M::packed>>("matmul.packed"),
        verb<sum<&R::scalar>>("sum.scalar"), verb<sum<&R::unrolled>>("sum.unrolled"), verb<sum<&R::vectorized>>("sum.vectorized"),
        verb<softmax<&R::scalar>>("softmax.scalar"), verb<softmax<&R::unrolled>>("softmax.unrolled"), verb<softmax<&R::vectorized>>("softmax.vectorized"),
    };
}

}  // namespace minidl
