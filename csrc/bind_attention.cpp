#include "attention.h"
#include "bind.h"

#include <cstdlib>

namespace minidl {
namespace {

using A = AttentionArguments;

struct Mask {   // bools or numbers
    Array array;
};
bool load(PyObject* o, Mask& m) {
    AnyArray any;
    if (!minidl::load(o, any) || !(any.type() == NPY_BOOL || is_float(any.type()))) return false;
    m.array = any;
    return true;
}
bool load(PyObject* o, std::optional<Mask>& m) { return o == Py_None || load(o, m.emplace()); }

// The dimensions of x but the last, by falling stride; one that has none stays where it is.
struct Order {
    int dim[MAX_DIMS];
    int64_t sizes[MAX_DIMS];   // of `shape`, in this order

    Order(const Array& x, const int64_t* shape) {
        const View v = x.view();
        for (int d = 0; d < v.ndim; ++d) dim[d] = d;
        const auto before = [&v](int a, int b) { return v.stride[a] != 0 && v.stride[b] != 0 && std::llabs(v.stride[a]) > std::llabs(v.stride[b]); };
        for (int d = 1; d < v.ndim - 1; ++d)
            for (int i = d; i > 0 && before(dim[i], dim[i - 1]); --i) std::swap(dim[i], dim[i - 1]);
        for (int d = 0; d < v.ndim; ++d) sizes[d] = shape[dim[d]];
    }
};

// A result of this shape that lies in memory in the order of `like`: heads that are a transposed view of (B, L, H, E) give a result that transposes
// back without a copy.
struct ResultLike : Result {
    ResultLike(const Array& like, const int64_t* shape) : ResultLike(like, Order(like, shape)) {}
    ResultLike(const Array& like, const Order& order) : Result(like.type(), like.ndim(), order.sizes) {
        npy_intp place[MAX_DIMS];
        bool sorted = true;
        for (int d = 0; d < like.ndim(); ++d) place[order.dim[d]] = d, sorted = sorted && order.dim[d] == d;
        if (sorted) return;
        PyArray_Dims axes{place, like.ndim()};
        PyObject* turned = PyArray_Transpose(object, &axes);
        if (!turned) throw std::bad_alloc();
        Py_DECREF(object);   // the view holds it
        object = reinterpret_cast<PyArrayObject*>(turned);
    }
};

// The leading dimensions are heads, the last two the matrix.
void put(A& p, View (&views)[A::ARRAYS], int n, const Array& array, int matrix = 2) {
    View v = array.view();
    p.step[n] = {matrix == 2 ? v.stride[v.ndim - 2] : v.stride[v.ndim - 1], matrix == 2 ? v.stride[v.ndim - 1] : 0};
    v.ndim -= matrix;
    views[n] = v;
}

bool same_shape(const Array& x, int ndim, const int64_t* shape, int type) {
    return x.type() == type && x.ndim() == ndim && PyArray_CompareLists(PyArray_DIMS(x.object), shape, ndim);
}

// What value and gradient share. False where the reference must look at it.
bool describe(A& p, View (&views)[A::ARRAYS], const Array& q, const Array& k, const Array& v, const std::optional<Mask>& mask, bool causal, double scale) {
    const int ndim = q.ndim(), type = q.type();
    if (ndim < 2 || k.ndim() != ndim || v.ndim() != ndim || k.type() != type || v.type() != type) return false;
    p = {};
    p.queries = q.shape(ndim - 2), p.width = q.shape(ndim - 1), p.keys = k.shape(ndim - 2), p.values = v.shape(ndim - 1);
    if (k.shape(ndim - 1) != p.width || v.shape(ndim - 2) != p.keys) return false;
    for (int d = 0; d < ndim - 2; ++d)
        if (k.shape(d) != q.shape(d) || v.shape(d) != q.shape(d)) return false;
    p.causal = causal, p.scale = scale;
    for (View& each : views) each = View{};
    put(p, views, A::Q, q), put(p, views, A::K, k), put(p, views, A::V, v);
    if (mask) {
        View m = mask->array.view();
        const int missing = ndim - m.ndim;
        if (missing < 0 || (mask->array.type() != NPY_BOOL && mask->array.type() != type)) return false;
        View full = views[A::Q];
        full.data = m.data, full.ndim = ndim;
        for (int d = 0; d < ndim; ++d) {
            const int64_t wanted = d < ndim - 2 ? q.shape(d) : d == ndim - 2 ? p.queries : p.keys, size = d < missing ? 1 : m.shape[d - missing];
            if (size != wanted && size != 1) return false;
            full.shape[d] = wanted, full.stride[d] = size == 1 ? 0 : m.stride[d - missing];
        }
        p.mask = mask->array.type() == NPY_BOOL ? MAY_ATTEND : ADDED;
        p.step[A::MASK] = {full.stride[ndim - 2], full.stride[ndim - 1]};
        full.ndim -= 2;
        views[A::MASK] = full;
    }
    return true;
}

void work(A& p, const Array& q, const View (&views)[A::ARRAYS], const PerType<bool (*)(const A&)>& kernels) {
    p.batch = make_nest(q.ndim() - 2, PyArray_DIMS(q.object), views);
    for (int d = 0; d < p.batch.ndim; ++d)
        if (p.batch.shape[d] == 0) return;
    const auto kernel = of_type(kernels, q.type());
    Unlocked region(q.size() * (p.keys + 1) > LARGE);
    if (!kernel(p)) throw std::bad_alloc();
}

PyObject* attention(Array q, Array k, Array v, std::optional<Mask> mask, bool causal, double scale) {
    A p;
    View views[A::ARRAYS];
    if (!describe(p, views, q, k, v, mask, causal, scale)) return not_mine();
    const int ndim = q.ndim();
    int64_t shape[MAX_DIMS];
    for (int d = 0; d < ndim - 1; ++d) shape[d] = q.shape(d);
    shape[ndim - 1] = p.values;
    ResultLike y(q, shape);
    Result lse(q.type(), ndim - 1, shape);
    put(p, views, A::Y, y), put(p, views, A::LSE, lse, 1);
    work(p, q, views, PICK(attention_table).attention);
    PyObject* both = PyTuple_New(2);
    if (!both) throw std::bad_alloc();
    PyTuple_SET_ITEM(both, 0, y.release());
    PyTuple_SET_ITEM(both, 1, lse.release());
    return both;
}

PyObject* attention_gradient(Array g, Array q, Array k, Array v, Array y, Array lse, std::optional<Mask> mask, bool causal, double scale) {
    A p;
    View views[A::ARRAYS];
    if (!describe(p, views, q, k, v, mask, causal, scale)) return not_mine();
    const int ndim = q.ndim();
    int64_t shape[MAX_DIMS];
    for (int d = 0; d < ndim - 1; ++d) shape[d] = q.shape(d);
    shape[ndim - 1] = p.values;
    if (!same_shape(g, ndim, shape, q.type()) || !same_shape(y, ndim, shape, q.type()) || !same_shape(lse, ndim - 1, shape, q.type())) return not_mine();
    ResultLike gq(q, PyArray_DIMS(q.object)), gk(k, PyArray_DIMS(k.object)), gv(v, PyArray_DIMS(v.object));
    put(p, views, A::G, g), put(p, views, A::Y, y), put(p, views, A::LSE, lse, 1);
    put(p, views, A::GQ, gq), put(p, views, A::GK, gk), put(p, views, A::GV, gv);
    work(p, q, views, PICK(attention_table).attention_gradient);
    PyObject* all = PyTuple_New(3);
    if (!all) throw std::bad_alloc();
    PyTuple_SET_ITEM(all, 0, gq.release());
    PyTuple_SET_ITEM(all, 1, gk.release());
    PyTuple_SET_ITEM(all, 2, gv.release());
    return all;
}

}  // namespace

Verbs attention_verbs() {
    return {
        verb<attention>("attention"),
        verb<attention_gradient>("attention_gradient"),
    };
}

}  // namespace minidl
