#include "bind.h"
#include "normalize.h"

namespace minidl {
namespace {

// An argument that may be None, made contiguous. False: of another type or size than the kernel takes.
struct Given {
    std::optional<Contiguous> array;

    bool take(const std::optional<Array>& x, int type, int64_t size) {
        if (!x) return true;
        if (x->type() != type || x->size() != size) return false;
        array.emplace(*x);
        return true;
    }
    const void* data() const { return array ? array->data<void>() : nullptr; }
};

Result result_if(bool wanted, int type, int ndim, const int64_t* shape) { return wanted ? Result(type, ndim, shape) : Result(); }
void* data_of(const Result& x) { return x.object ? x.data<void>() : nullptr; }

template <class Kernel, class Arguments> void run(const PerType<Kernel>& entry, const Array& x, const Arguments& a) {
    const auto kernel = of_type(entry, x.type());
    bool done;
    {
        Unlocked region(x.size() > LARGE / 4);
        done = kernel(a);
    }
    if (!done) throw std::bad_alloc();
}

// ---- rows ------------------------------------------------------------------------------------------------------------

// x as rows of its last `dims` dimensions; false where the reference must look at it.
bool describe(RowNorm& a, const Array& x, int64_t dims) {
    if (dims < 1 || dims > x.ndim() || x.size() == 0) return false;
    a = {};
    a.n = 1;
    for (int d = x.ndim() - static_cast<int>(dims); d < x.ndim(); ++d) a.n *= x.shape(d);
    a.rows = x.size() / a.n;
    return true;
}

PyObject* forward(bool centered, const Array& x, int64_t dims, const std::optional<Array>& weight, const std::optional<Array>& bias, double eps) {
    RowNorm a;
    Given w, b;
    if (!describe(a, x, dims) || !w.take(weight, x.type(), a.n) || !b.take(bias, x.type(), a.n)) return not_mine();
    const Contiguous from(x);
    Result y(x.type(), x.ndim(), PyArray_DIMS(x.object)), mean = result_if(centered, x.type(), 1, &a.rows), rstd(x.type(), 1, &a.rows);
    a.eps = eps, a.x = from.data<void>(), a.weight = w.data(), a.bias = b.data();
    a.y = y.data<void>(), a.mean = data_of(mean), a.rstd = rstd.data<void>();
    run(centered ? PICK(normalize).layer_norm : PICK(normalize).rms_norm, x, a);
    return centered ? tuple_of(y, mean, rstd) : tuple_of(y, rstd);
}
PyObject* layer_norm(Array x, int64_t dims, std::optional<Array> weight, std::optional<Array> bias, double eps) {
    return forward(true, x, dims, weight, bias, eps);
}
PyObject* rms_norm(Array x, int64_t dims, std::optional<Array> weight, double eps) {
    return forward(false, x, dims, weight, std::nullopt, eps);
}

PyObject* backward(const Array& g, const Array& x, int64_t dims, const std::optional<Array>& mean, const Array& rstd,
                   const std::optional<Array>& weight, const Ints& needed) {
    RowNorm a;
    Given m, w;
    if (!describe(a, x, dims) || needed.count != (mean ? 3 : 2) || g.type() != x.type() || g.size() != x.size() || !m.take(mean, x.type(), a.rows) ||
        rstd.type() != x.type() || rstd.size() != a.rows || !w.take(weight, x.type(), a.n))
        return not_mine();
    const Contiguous gs(g), xs(x), rs(rstd);
    const int64_t* shape = PyArray_DIMS(x.object);
    const int64_t* row = shape + (x.ndim() - dims);
    const int length = static_cast<int>(dims);
    Result gx = result_if(needed.value[0], x.type(), x.ndim(), shape), gw = result_if(needed.value[1], x.type(), length, row),
           gb = result_if(mean && needed.value[2], x.type(), length, row);
    a.g = gs.data<void>(), a.x = xs.data<void>(), a.weight = w.data(), a.mean = const_cast<void*>(m.data()), a.rstd = rs.data<void>();
    a.gx = data_of(gx), a.gw = data_of(gw), a.gb = data_of(gb);
    run(mean ? PICK(normalize).layer_norm_gradient : PICK(normalize).rms_norm_gradient, x, a);
    return mean ? tuple_of(gx, gw, gb) : tuple_of(gx, gw);
}
PyObject* layer_norm_gradient(Array g, Array x, int64_t dims, Array mean, Array rstd, std::optional<Array> weight, Ints needed) {
    return backward(g, x, dims, mean, rstd, weight, needed);
}
PyObject* rms_norm_gradient(Array g, Array x, int64_t dims, Array rstd, std::optional<Array> weight, Ints needed) {
    return backward(g, x, dims, std::nullopt, rstd, weight, needed);
}

// ---- channels --------------------------------------------------------------------------------------------------------

bool describe(BatchNorm& a, const Array& x, double eps, bool training) {
    if (x.ndim() < 2 || x.size() == 0) return false;
    a = {};
    a.images = x.shape(0), a.channels = x.shape(1), a.spots = x.size() / (a.images * a.channels);
    a.eps = eps, a.training = training;
    return true;
}

PyObject* batch_norm(Array x, std::optional<Array> mean, std::optional<Array> var, std::optional<Array> weight, std::optional<Array> bias,
                     double eps) {
    BatchNorm a;
    Given m, v, w, b;
    const int type = x.type();
    if (!describe(a, x, eps, !mean) || !mean != !var || !m.take(mean, type, a.channels) || !v.take(var, type, a.channels) ||
        !w.take(weight, type, a.channels) || !b.take(bias, type, a.channels))
        return not_mine();
    const Contiguous from(x);
    Result y(type, x.ndim(), PyArray_DIMS(x.object)), batch_mean = result_if(!mean, type, 1, &a.channels),
           batch_var = result_if(!mean, type, 1, &a.channels);
    a.x = from.data<void>(), a.weight = w.data(), a.bias = b.data(), a.y = y.data<void>();
    a.mean = mean ? const_cast<void*>(m.data()) : batch_mean.data<void>(), a.var = mean ? const_cast<void*>(v.data()) : batch_var.data<void>();
    run(PICK(normalize).batch_norm, x, a);
    if (mean) {   // they are handed back
        batch_mean.object = mean->object, batch_var.object = var->object;
        Py_INCREF(mean->object), Py_INCREF(var->object);
    }
    return tuple_of(y, batch_mean, batch_var);
}

PyObject* batch_norm_gradient(Array g, Array x, Array mean, Array var, std::optional<Array> weight, double eps, bool training, Ints needed) {
    BatchNorm a;
    Given m, v, w;
    const int type = x.type();
    if (!describe(a, x, eps, training) || needed.count != 3 || g.type() != type || g.size() != x.size() || !m.take(mean, type, a.channels) ||
        !v.take(var, type, a.channels) || !w.take(weight, type, a.channels))
        return not_mine();
    const Contiguous gs(g), xs(x);
    Result gx = result_if(needed.value[0], type, x.ndim(), PyArray_DIMS(x.object)), gw = result_if(needed.value[1], type, 1, &a.channels),
           gb = result_if(needed.value[2], type, 1, &a.channels);
    a.g = gs.data<void>(), a.x = xs.data<void>(), a.weight = w.data();
    a.mean = const_cast<void*>(m.data()), a.var = const_cast<void*>(v.data());
    a.gx = data_of(gx), a.gw = data_of(gw), a.gb = data_of(gb);
    run(PICK(normalize).batch_norm_gradient, x, a);
    return tuple_of(gx, gw, gb);
}

}  // namespace

Verbs normalize_verbs() {
    return {
        verb<layer_norm>("layer_norm"), verb<layer_norm_gradient>("layer_norm_gradient"),
        verb<rms_norm>("rms_norm"), verb<rms_norm_gradient>("rms_norm_gradient"),
        verb<batch_norm>("batch_norm"), verb<batch_norm_gradient>("batch_norm_gradient"),
    };
}

}  // namespace minidl
