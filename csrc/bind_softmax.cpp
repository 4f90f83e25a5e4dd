#include "bind.h"
#include "softmax.h"

namespace minidl {
namespace {

// A contiguous array of the same values with `axis` moved last: the array itself where it is that already.
struct Lined : Array {
    Lined(const Array& x, int axis) {
        PyObject* turned = PyArray_SwapAxes(x.object, axis, x.ndim() - 1);
        PyObject* copy = turned ? PyArray_FROM_OF(turned, NPY_ARRAY_C_CONTIGUOUS) : nullptr;
        Py_XDECREF(turned);
        if (!copy) throw std::bad_alloc();
        object = reinterpret_cast<PyArrayObject*>(copy);
    }
    Lined(const Lined&) = delete;
    ~Lined() { Py_DECREF(object); }
};

// A new array of x's shape, written by run(y, rows, n) in lines along `axis`.
template <class Run> PyObject* lines(const Array& shape_of, int axis, const Run& run) {
    const int last = shape_of.ndim() - 1;
    int64_t shape[MAX_DIMS];
    for (int d = 0; d <= last; ++d) shape[d] = shape_of.shape(d);
    std::swap(shape[axis], shape[last]);
    Result result(shape_of.type(), shape_of.ndim(), shape);
    const int64_t n = shape[last], size = result.size();
    if (size > 0) {
        Unlocked region(size > LARGE / 4);
        run(result.data<void>(), size / n, n);
    }
    if (axis == last) return result.release();
    PyObject* turned = PyArray_SwapAxes(result.object, axis, last);
    PyObject* copy = turned ? PyArray_FROM_OF(turned, NPY_ARRAY_C_CONTIGUOUS) : nullptr;
    Py_XDECREF(turned);
    return copy;
}

template <Rows1 SoftmaxTable::*name> PyObject* forward(Array x, int64_t axis) {
    if (axis < 0 || axis >= x.ndim()) return not_mine();
    const auto kernel = of_type(PICK(softmax_table).*name, x.type());
    const int at = static_cast<int>(axis);
    if (at == x.ndim() - 1 && x.contiguous())
        return lines(x, at, [&](void* y, int64_t rows, int64_t n) { kernel(rows, n, y, x.data<void>()); });
    const Lined from(x, at);
    return lines(x, at, [&](void* y, int64_t rows, int64_t n) { kernel(rows, n, y, from.data<void>()); });
}

template <Rows2 SoftmaxTable::*name> PyObject* backward(Array g, Array y, int64_t axis) {
    if (axis < 0 || axis >= y.ndim() || g.type() != y.type() || g.ndim() != y.ndim() ||
        !PyArray_CompareLists(PyArray_DIMS(g.object), PyArray_DIMS(y.object), y.ndim()))
        return not_mine();
    const auto kernel = of_type(PICK(softmax_table).*name, y.type());
    const int at = static_cast<int>(axis);
    if (at == y.ndim() - 1 && y.contiguous() && g.contiguous())
        return lines(y, at, [&](void* out, int64_t rows, int64_t n) { kernel(rows, n, out, g.data<void>(), y.data<void>()); });
    const Lined gs(g, at), ys(y, at);
    return lines(y, at, [&](void* out, int64_t rows, int64_t n) { kernel(rows, n, out, gs.data<void>(), ys.data<void>()); });
}

// What the loss and its gradient share. False where the reference must look at it.
bool describe(CrossEntropyArguments& a, const char* verb, const Array& x, const Int64Array& target, const std::optional<Array>& weight,
              int64_t ignore_index, double smoothing) {
    if (x.ndim() != 2 || target.ndim() != 1 || target.shape(0) != x.shape(0) || x.shape(1) == 0) return false;
    if (weight && (weight->type() != x.type() || weight->ndim() != 1 || weight->shape(0) != x.shape(1) || !weight->contiguous())) return false;
    a = {};
    a.rows = x.shape(0), a.classes = x.shape(1);
    a.target = target.data<int64_t>(), a.target_step = target.view().stride[0];
    a.weight = weight ? weight->data<void>() : nullptr;
    a.ignore_index = ignore_index, a.smoothing = smoothing;
    for (int64_t i = 0; i < a.rows; ++i) {
        const int64_t t = a.target[i * a.target_step];
        if (t != ignore_index && (t < 0 || t >= a.classes))
            throw std::invalid_argument(std::string(verb) + ": target[" + std::to_string(i) + "] is " + std::to_string(t) + ", but there are " +
                                        std::to_string(a.classes) + " classes: use 0 to " + std::to_string(a.classes - 1) + " or ignore_index");
    }
    return true;
}

PyObject* cross_entropy(Array x, Int64Array target, std::optional<Array> weight, int64_t ignore_index, double smoothing) {
    CrossEntropyArguments a;
    if (!describe(a, "cross_entropy", x, target, weight, ignore_index, smoothing)) return not_mine();
    if (!x.contiguous()) {
        const Lined copy(x, 1);
        return cross_entropy(copy, target, weight, ignore_index, smoothing);
    }
    Result losses(x.type(), 1, &a.rows), lse(x.type(), 1, &a.rows);
    a.x = x.data<void>(), a.losses = losses.data<void>(), a.lse = lse.data<void>();
    {
        const auto kernel = of_type(PICK(softmax_table).cross_entropy, x.type());
        Unlocked region(x.size() > LARGE / 4);
        kernel(a);
    }
    PyObject* both = PyTuple_New(2);
    if (!both) throw std::bad_alloc();
    PyTuple_SET_ITEM(both, 0, losses.release());
    PyTuple_SET_ITEM(both, 1, lse.release());
    return both;
}

PyObject* cross_entropy_gradient(Array g, Array x, Int64Array target, Array lse, std::optional<Array> weight, int64_t ignore_index,
                                 double smoothing) {
    CrossEntropyArguments a;
    if (!describe(a, "cross_entropy_gradient", x, target, weight, ignore_index, smoothing)) return not_mine();
    for (const Array& each : {g, lse})
        if (each.ndim() != 1 || each.shape(0) != a.rows || each.type() != x.type()) return not_mine();
    if (!x.contiguous()) {
        const Lined copy(x, 1);
        return cross_entropy_gradient(g, copy, target, lse, weight, ignore_index, smoothing);
    }
    Result gradient(x.type(), 2, PyArray_DIMS(x.object));
    a.x = x.data<void>(), a.gradient = gradient.data<void>();
    a.g = g.data<void>(), a.g_step = g.view().stride[0];
    a.lse = lse.data<void>(), a.lse_step = lse.view().stride[0];
    const auto kernel = of_type(PICK(softmax_table).cross_entropy_gradient, x.type());
    Unlocked region(x.size() > LARGE / 4);
    kernel(a);
    return gradient.release();
}

}  // namespace

Verbs softmax_verbs() {
    using S = SoftmaxTable;
    return {
        verb<forward<&S::softmax>>("softmax"),
        verb<forward<&S::log_softmax>>("log_softmax"),
        verb<backward<&S::softmax_gradient>>("softmax_gradient"),
        verb<backward<&S::log_softmax_gradient>>("log_softmax_gradient"),
        verb<cross_entropy>("cross_entropy"),
        verb<cross_entropy_gradient>("cross_entropy_gradient"),
    };
}

}  // namespace minidl
