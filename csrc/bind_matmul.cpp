#include "bind.h"
#include "matmul.h"

#include <utility>

namespace minidl {
namespace {

// The last two dimensions go to the product, the others to the batch.
View batch_of(View v) {
    v.ndim -= 2;
    return v;
}

// `batch` dimensions of the result, of shape `shape`, are the batch; the rest is C (m, n).
PyObject* product(Result& result, const View& a, const View& b, const std::optional<Array>& bias, int batch, const int64_t* shape) {
    MatmulArguments p;
    p.m = a.shape[a.ndim - 2], p.k = a.shape[a.ndim - 1], p.n = b.shape[b.ndim - 1];
    p.a_row = a.stride[a.ndim - 2], p.a_col = a.stride[a.ndim - 1];
    p.b_row = b.stride[b.ndim - 2], p.b_col = b.stride[b.ndim - 1];
    p.bias = bias ? bias->data<void>() : nullptr;
    p.bias_step = bias ? bias->view().stride[0] : 0;
    if (result.size() > 0) {
        View c = result.view();   // contiguous: its matrices need no strides
        c.ndim = batch;
        p.batch = make_nest<3>(batch, shape, {c, batch_of(a), batch_of(b)});
        const auto kernel = of_type(PICK(matmul_table).matmul, result.type());
        Unlocked region(result.size() * (p.k + 1) > 8 * LARGE);
        if (!kernel(p)) throw std::bad_alloc();
    }
    return result.release();
}

PyObject* matmul(Array a, Array b) {
    if (a.type() != b.type() || a.ndim() < 2 || b.ndim() < 2) return not_mine();
    const View x = a.view(), y = b.view();
    if (x.shape[x.ndim - 1] != y.shape[y.ndim - 2]) return not_mine();   // the reference has the words for it
    int ndim;
    int64_t shape[MAX_DIMS];
    if (!broadcast_shapes(batch_of(x), batch_of(y), ndim, shape)) return not_mine();
    shape[ndim] = x.shape[x.ndim - 2];
    shape[ndim + 1] = y.shape[y.ndim - 1];
    Result result(a.type(), ndim + 2, shape);
    return product(result, x, y, std::nullopt, ndim, shape);
}

PyObject* linear(Array x, Array w, std::optional<Array> b) {
    if (x.type() != w.type() || x.ndim() < 1 || w.ndim() != 2 || x.ndim() == MAX_DIMS) return not_mine();
    if (b && (b->type() != x.type() || b->ndim() != 1 || b->shape(0) != w.shape(0))) return not_mine();
    View a = x.view(), v = w.view();
    if (a.shape[a.ndim - 1] != v.shape[1]) return not_mine();
    int64_t shape[MAX_DIMS];
    for (int d = 0; d < a.ndim - 1; ++d) shape[d] = a.shape[d];
    shape[a.ndim - 1] = v.shape[0];
    View turned = v;
    turned.shape[0] = v.shape[1], turned.shape[1] = v.shape[0];
    turned.stride[0] = v.stride[1], turned.stride[1] = v.stride[0];
    if (a.ndim == 1) {   // one row
        a.ndim = 2;
        a.shape[1] = a.shape[0], a.stride[1] = a.stride[0];
        a.shape[0] = 1, a.stride[0] = 0;
    }
    // Rows whose leading dimensions follow each other are one matrix; else they are a batch of (shape[-2], K) matrices.
    Result result(x.type(), x.ndim(), shape);
    return product(result, a, turned, b, a.ndim - 2, shape);
}

// (..., columns) as a matrix of all its rows; beyond two dimensions they follow each other.
View matrix(View v) {
    if (v.ndim == 2) return v;
    int64_t rows = 1;
    for (int d = 0; d < v.ndim - 1; ++d) rows *= v.shape[d];
    v.shape[1] = v.shape[v.ndim - 1], v.stride[1] = 1;
    v.shape[0] = rows, v.stride[0] = v.shape[1];
    v.ndim = 2;
    return v;
}
View transposed(View v) {
    std::swap(v.shape[0], v.shape[1]);
    std::swap(v.stride[0], v.stride[1]);
    return v;
}

// ∂X = G W, ∂W = Gᵀ X and ∂b = Σ over G's rows, those that are needed, None for the others.
PyObject* linear_gradient(Array g, Array x, Array w, Ints needed) {
    if (g.type() != x.type() || g.type() != w.type() || w.ndim() != 2 || x.ndim() < 2 || g.ndim() != x.ndim() || needed.count != 3) return not_mine();
    if (x.ndim() > 2 && !(g.contiguous() && x.contiguous())) return not_mine();
    for (int d = 0; d < x.ndim() - 1; ++d)
        if (g.shape(d) != x.shape(d)) return not_mine();
    const View rows = matrix(g.view()), inputs = matrix(x.view()), weight = w.view();
    if (rows.shape[1] != weight.shape[0] || inputs.shape[1] != weight.shape[1]) return not_mine();
    PyObject* found[3] = {nullptr, nullptr, nullptr};
    try {
        if (needed.value[0]) {
            Result result(g.type(), x.ndim(), PyArray_DIMS(x.object));
            found[0] = product(result, rows, weight, std::nullopt, 0, nullptr);
        }
        if (needed.value[1]) {
            Result result(g.type(), 2, PyArray_DIMS(w.object));
            found[1] = product(result, transposed(rows), inputs, std::nullopt, 0, nullptr);
        }
        if (needed.value[2]) found[2] = sum_of_rows(g);
    } catch (...) {
        for (PyObject* each : found) Py_XDECREF(each);
        throw;
    }
    for (PyObject*& each : found)
        if (!each) each = Py_NewRef(Py_None);
    return Py_BuildValue("(NNN)", found[0], found[1], found[2]);
}

}  // namespace

Verbs matmul_verbs() {
    return {
        verb<matmul>("matmul", "`packed` on all threads. C is cut into tasks by size, operands are copied only where it pays, small and skinny shapes\n"
                               "have paths of their own (csrc/matmul.cpp). This is what ships."),
        verb<linear>("linear"),
        verb<linear_gradient>("linear_gradient"),
    };
}

}  // namespace minidl
