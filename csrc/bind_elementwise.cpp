#include "bind.h"
#include "elementwise.h"

#include <cmath>
#include <limits>

namespace minidl {
namespace {

// An operand of a verb whose arrays have numbers of `type`: a number becomes an array of no dimensions, stored in `room`.
View view_of(const Operand& a, int type, double& room) {
    if (a.is_array()) return Array{a.object}.view();
    if (type == NPY_FLOAT) *reinterpret_cast<float*>(&room) = static_cast<float>(a.number);
    else room = a.number;
    View v;
    v.data = &room;
    v.ndim = 0;
    return v;
}

// The number type that a and b share; 0 where there is none.
int common_type(const Operand& a, const Operand& b) {
    const int type = a.is_array() ? a.type() : b.is_array() ? b.type() : 0;
    return (a.type() && a.type() != type) || (b.type() && b.type() != type) ? 0 : type;
}

bool same_shape(const Array& a, const Array& b) {
    return a.ndim() == b.ndim() && PyArray_CompareLists(PyArray_DIMS(a.object), PyArray_DIMS(b.object), a.ndim());
}

// y[i] = f(x[i] ...) where nothing is to be worked out: all are contiguous and of one shape, or (step 0) a single element.
template <int K, class Kernel> PyObject* run_flat(Kernel kernel, int type, const Array& like, void* const (&data)[K], const int64_t (&step)[K]) {
    Result result(type, like.ndim(), PyArray_DIMS(like.object));
    Nest<K + 1> nest;
    nest.ndim = 1;
    nest.shape[0] = result.size();
    nest.data[0] = result.data<void>();
    nest.stride[0][0] = 1;
    for (int k = 0; k < K; ++k) nest.data[k + 1] = data[k], nest.stride[k + 1][0] = step[k];
    Unlocked region(nest.shape[0] > LARGE);
    kernel(nest);
    return result.release();
}

template <class Kernel> PyObject* run_unary(Kernel kernel, const Array& a) {
    if (a.contiguous()) return run_flat<1>(kernel, a.type(), a, {a.data<void>()}, {1});
    Result result(a.type(), a.ndim(), PyArray_DIMS(a.object));
    if (result.size() > 0) {
        const Nest<2> nest = make_nest<2>(a.ndim(), result.view().shape, {result.view(), a.view()});
        Unlocked region(result.size() > LARGE);
        kernel(nest);
    }
    return result.release();
}
template <Unary ElementwiseTable::*name> PyObject* unary(Array a) {
    return run_unary(of_type(PICK(elementwise).*name, a.type()), a);
}

// `y_type` -1: the operands' own
PyObject* run_binary(const Binary& entry, int y_type, const Operand& a, const Operand& b) {
    const int type = common_type(a, b);
    if (!type) return not_mine();
    if (y_type < 0) y_type = type;
    const auto kernel = of_type(entry, type);
    double room[2];
    if (a.is_array() && b.is_array()) {
        const Array x{a.object}, y{b.object};
        if (x.contiguous() && y.contiguous()) {
            if (same_shape(x, y)) return run_flat<2>(kernel, y_type, x, {x.data<void>(), y.data<void>()}, {1, 1});
            if (y.ndim() == 0) return run_flat<2>(kernel, y_type, x, {x.data<void>(), y.data<void>()}, {1, 0});
            if (x.ndim() == 0) return run_flat<2>(kernel, y_type, y, {x.data<void>(), y.data<void>()}, {0, 1});
        }
    }
    const View x = view_of(a, type, room[0]), y = view_of(b, type, room[1]);
    int ndim;
    int64_t shape[MAX_DIMS];
    if (!broadcast_shapes(x, y, ndim, shape)) return not_mine();   // the reference has the words for it
    Result result(y_type, ndim, shape);
    if (result.size() > 0) {
        const Nest<3> nest = make_nest<3>(ndim, shape, {result.view(), x, y});
        Unlocked region(result.size() > LARGE);
        kernel(nest);
    }
    return result.release();
}
template <Binary ElementwiseTable::*name> PyObject* binary(Operand a, Operand b) { return run_binary(PICK(elementwise).*name, -1, a, b); }
template <Compare ElementwiseTable::*name> PyObject* compare(Operand a, Operand b) { return run_binary(PICK(elementwise).*name, NPY_BOOL, a, b); }

PyObject* where(BoolArray condition, Operand a, Operand b) {
    const int type = common_type(a, b);
    if (!type) return not_mine();
    double room[2];
    const View c = condition.view(), x = view_of(a, type, room[0]), y = view_of(b, type, room[1]);
    int ndim;
    int64_t shape[MAX_DIMS];
    if (!broadcast_shapes(x, y, ndim, shape)) return not_mine();
    View both;
    both.ndim = ndim;
    for (int d = 0; d < ndim; ++d) both.shape[d] = shape[d];
    if (!broadcast_shapes(both, c, ndim, shape)) return not_mine();
    Result result(type, ndim, shape);
    if (result.size() > 0) {
        const Nest<4> nest = make_nest<4>(ndim, shape, {result.view(), c, x, y});
        const auto kernel = of_type(PICK(elementwise).where, type);
        Unlocked region(result.size() > LARGE);
        kernel(nest);
    }
    return result.release();
}

PyObject* clamp(Array x, std::optional<double> low, std::optional<double> high) {
    constexpr double inf = std::numeric_limits<double>::infinity();
    const auto kernel = of_type(PICK(elementwise).clamp, x.type());
    return run_unary([=](const Nest<2>& nest) { kernel(nest, low.value_or(-inf), high.value_or(inf)); }, x);
}

PyObject* gelu(Array x, std::string approximate) {
    const ElementwiseTable& table = PICK(elementwise);
    return run_unary(of_type(approximate == "tanh" ? table.gelu_tanh : table.gelu, x.type()), x);
}

PyObject* gelu_gradient(Operand g, Operand x, std::string approximate) {
    const ElementwiseTable& table = PICK(elementwise);
    return run_binary(approximate == "tanh" ? table.gelu_tanh_gradient : table.gelu_gradient, -1, g, x);
}

// a to the power of one number: those powers that are a product or a root; the others are the reference's.
PyObject* pow(Array a, Operand b) {
    double exponent = b.number;
    if (b.is_array()) {
        const Array y{b.object};
        if (y.type() != a.type() || y.ndim() != 0) return not_mine();
        exponent = y.type() == NPY_FLOAT ? *y.data<float>() : *y.data<double>();
    } else if (b.type() && b.type() != a.type()) {
        return not_mine();
    }
    const ElementwiseTable& table = PICK(elementwise);
    const Unary* kernel = exponent == 2 ? &table.square : exponent == 1 ? &table.copy : exponent == 0.5 ? &table.sqrt :
                          exponent == -1 ? &table.reciprocal : exponent == 3 ? &table.cube : nullptr;
    return kernel ? run_unary(of_type(*kernel, a.type()), a) : not_mine();
}

}  // namespace

Verbs elementwise_verbs() {
    using E = ElementwiseTable;
    return {
        verb<binary<&E::add>>("add"), verb<binary<&E::sub>>("sub"), verb<binary<&E::mul>>("mul"), verb<binary<&E::div>>("div"),
        verb<binary<&E::maximum>>("maximum"), verb<binary<&E::minimum>>("minimum"),
        verb<compare<&E::eq>>("eq"), verb<compare<&E::ne>>("ne"), verb<compare<&E::lt>>("lt"),
        verb<compare<&E::le>>("le"), verb<compare<&E::gt>>("gt"), verb<compare<&E::ge>>("ge"),
        verb<binary<&E::relu_gradient>>("relu_gradient"), verb<binary<&E::tanh_gradient>>("tanh_gradient"),
        verb<binary<&E::sigmoid_gradient>>("sigmoid_gradient"), verb<binary<&E::silu_gradient>>("silu_gradient"),
        verb<gelu_gradient>("gelu_gradient"), verb<where>("where"), verb<clamp>("clamp"), verb<gelu>("gelu"), verb<pow>("pow"),
        verb<unary<&E::neg>>("neg"), verb<unary<&E::abs>>("abs"), verb<unary<&E::sign>>("sign"), verb<unary<&E::square>>("square"),
        verb<unary<&E::sqrt>>("sqrt"), verb<unary<&E::rsqrt>>("rsqrt"), verb<unary<&E::reciprocal>>("reciprocal"),
        verb<unary<&E::floor>>("floor"), verb<unary<&E::ceil>>("ceil"), verb<unary<&E::round>>("round"),
        verb<unary<&E::exp>>("exp"), verb<unary<&E::expm1>>("expm1"), verb<unary<&E::log>>("log"), verb<unary<&E::log1p>>("log1p"),
        verb<unary<&E::tanh>>("tanh"), verb<unary<&E::sigmoid>>("sigmoid"), verb<unary<&E::erf>>("erf"), verb<unary<&E::relu>>("relu"),
        verb<unary<&E::silu>>("silu"),
    };
}

}  // namespace minidl
