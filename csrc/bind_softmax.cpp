#include "bind.h"
#include "softmax.h"

namespace minidl {
namespace {

// x as (outer, n, inner), n along the axis. False: no such axis, or nothing there.
struct Split {
    int64_t outer = 1, n, inner = 1;
    bool make(const Array& x, int64_t axis) {
        if (axis < 0 || axis >= x.ndim()) return false;
        n = x.shape(static_cast<int>(axis));
        for (int d = 0; d < x.ndim(); ++d) (d < axis ? outer : d > axis ? inner : n) *= d == axis ? 1 : x.shape(d);
        return true;
    }
};

template <Rows1 SoftmaxTable::*rows, Columns1 SoftmaxTable::*columns> PyObject* forward(Array x, int64_t axis) {
    Split split;
    if (!split.make(x, axis)) return not_mine();
    Result result(x.type(), x.ndim(), PyArray_DIMS(x.object));
    if (result.size() > 0) {
        const Contiguous from(x);
        const auto [outer, n, inner] = split;
        const SoftmaxTable& table = PICK(softmax_table);
        Unlocked region(x.size() > LARGE / 4);
        if (inner == 1) of_type(table.*rows, x.type())(outer, n, result.data<void>(), from.data<void>());
        else of_type(table.*columns, x.type())(outer, n, inner, result.data<void>(), from.data<void>());
    }
    return result.release();
}

template <Rows2 SoftmaxTable::*rows, Columns2 SoftmaxTable::*columns> PyObject* backward(Array g, Array y, int64_t axis) {
    Split split;
    if (!split.make(y, axis) || g.type() != y.type() || g.ndim() != y.ndim() ||
        !PyArray_CompareLists(PyArray_DIMS(g.object), PyArray_DIMS(y.object), y.ndim()))
        return not_mine();
    Result result(y.type(), y.ndim(), PyArray_DIMS(y.object));
    if (result.size() > 0) {
        const Contiguous gs(g), ys(y);
        const auto [outer, n, inner] = split;
        const SoftmaxTable& table = PICK(softmax_table);
        Unlocked region(y.size() > LARGE / 4);
        if (inner == 1) of_type(table.*rows, y.type())(outer, n, result.data<void>(), gs.data<void>(), ys.data<void>());
        else of_type(table.*columns, y.type())(outer, n, inner, result.data<void>(), gs.data<void>(), ys.data<void>());
    }
    return result.release();
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
        const Contiguous copy(x);
        return cross_entropy(copy, target, weight, ignore_index, smoothing);
    }
    Result losses(x.type(), 1, &a.rows), lse(x.type(), 1, &a.rows);
    a.x = x.data<void>(), a.losses = losses.data<void>(), a.lse = lse.data<void>();
    {
        const auto kernel = of_type(PICK(softmax_table).cross_entropy, x.type());
        Unlocked region(x.size() > LARGE / 4);
        kernel(a);
    }
    return tuple_of(losses, lse);
}

PyObject* cross_entropy_gradient(Array g, Array x, Int64Array target, Array lse, std::optional<Array> weight, int64_t ignore_index,
                                 double smoothing) {
    CrossEntropyArguments a;
    if (!describe(a, "cross_entropy_gradient", x, target, weight, ignore_index, smoothing)) return not_mine();
    for (const Array& each : {g, lse})
        if (each.ndim() != 1 || each.shape(0) != a.rows || each.type() != x.type()) return not_mine();
    if (!x.contiguous()) {
        const Contiguous copy(x);
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
        verb<forward<&S::softmax, &S::softmax_columns>>(
            "softmax", "`vectorized` on all threads. The tail of a row is one more vector whose other lanes are masked, and a short row never leaves\n"
                       "the registers (csrc/softmax.cpp). This is what ships."),
        verb<forward<&S::log_softmax, &S::log_softmax_columns>>("log_softmax"),
        verb<backward<&S::softmax_gradient, &S::softmax_gradient_columns>>("softmax_gradient"),
        verb<backward<&S::log_softmax_gradient, &S::log_softmax_gradient_columns>>("log_softmax_gradient"),
        verb<cross_entropy>("cross_entropy"),
        verb<cross_entropy_gradient>("cross_entropy_gradient"),
    };
}

}  // namespace minidl
