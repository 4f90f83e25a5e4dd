#include "bind.h"
#include "pool.h"

namespace minidl {
namespace {

// How many windows fit; with ceil_mode a last one may hang over, if it starts in the input or its left padding.
int64_t pooled_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode) {
    const int64_t span = size + 2 * padding - dilation * (kernel - 1) - 1;
    if (span < 0) return 0;
    const int64_t n = (span + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    return ceil_mode && (n - 1) * stride >= size + padding ? n - 1 : n;
}

// False where a window makes no sense; the reference has the words.
bool geometry(PoolArguments& a, int64_t h, int64_t w, Pair kernel, Pair stride, Pair padding, Pair dilation, bool ceil_mode) {
    if (kernel.y < 1 || kernel.x < 1 || stride.y < 1 || stride.x < 1 || dilation.y < 1 || dilation.x < 1 || padding.y < 0 || padding.x < 0) return false;
    a.n = a.in.shape[0], a.c = a.in.shape[1], a.h = h, a.w = w;
    a.kernel[0] = kernel.y, a.kernel[1] = kernel.x, a.stride[0] = stride.y, a.stride[1] = stride.x;
    a.padding[0] = padding.y, a.padding[1] = padding.x, a.dilation[0] = dilation.y, a.dilation[1] = dilation.x;
    a.p = pooled_size(h, kernel.y, stride.y, padding.y, dilation.y, ceil_mode);
    a.q = pooled_size(w, kernel.x, stride.x, padding.x, dilation.x, ceil_mode);
    return a.n && a.c && h && w && a.p && a.q && h < (1 << 15) && w < (1 << 15);   // places fit 32 bits
}

int64_t elements(const PoolArguments& a) { return a.n * a.c * a.p * a.q * a.kernel[0] * a.kernel[1]; }

PyObject* max_pool2d(Array x, Pair kernel, Pair stride, Pair padding, Pair dilation, bool ceil_mode) {
    if (x.ndim() != 4) return not_mine();
    PoolArguments a;
    a.in = x.view();
    if (!geometry(a, x.shape(2), x.shape(3), kernel, stride, padding, dilation, ceil_mode)) return not_mine();
    const int64_t shape[] = {a.n, a.c, a.p, a.q};
    Result values(x.type(), 4, shape), index(NPY_INT64, 4, shape);
    a.out = values.data<void>(), a.index = index.data<int64_t>();
    {
        Unlocked region(elements(a) > LARGE);
        of_type(PICK(pool_table).max_pool2d, x.type())(a);
    }
    PyObject* both = PyTuple_New(2);
    if (!both) throw std::bad_alloc();
    PyTuple_SET_ITEM(both, 0, values.release());
    PyTuple_SET_ITEM(both, 1, index.release());
    return both;
}

PyObject* max_pool2d_input(Array g, Int64Array index, Pair size) {
    if (g.ndim() != 4 || index.ndim() != 4 || !index.contiguous() || size.y < 1 || size.x < 1 || g.size() == 0) return not_mine();
    for (int d = 0; d < 4; ++d)
        if (g.shape(d) != index.shape(d)) return not_mine();
    PoolArguments a;
    a.in = g.view(), a.places = index.data<int64_t>();
    a.n = g.shape(0), a.c = g.shape(1), a.p = g.shape(2), a.q = g.shape(3), a.h = size.y, a.w = size.x;
    const int64_t shape[] = {a.n, a.c, a.h, a.w};
    Result result(g.type(), 4, shape);
    a.out = result.data<void>();
    bool fine;
    {
        Unlocked region(a.n * a.c * a.h * a.w > LARGE);
        fine = of_type(PICK(pool_table).max_pool2d_input, g.type())(a);
    }
    if (!fine) throw std::invalid_argument("max_pool2d_input: index holds a place outside the plane of " + std::to_string(a.h) + " x " + std::to_string(a.w));
    return result.release();
}

PyObject* avg_pool2d(Array x, Pair kernel, Pair stride, Pair padding, bool ceil_mode, bool count_include_pad) {
    if (x.ndim() != 4) return not_mine();
    PoolArguments a;
    a.in = x.view();
    if (!geometry(a, x.shape(2), x.shape(3), kernel, stride, padding, {1, 1}, ceil_mode)) return not_mine();
    a.count_padding = count_include_pad;
    const int64_t shape[] = {a.n, a.c, a.p, a.q};
    Result result(x.type(), 4, shape);
    a.out = result.data<void>();
    {
        Unlocked region(elements(a) > LARGE);
        of_type(PICK(pool_table).avg_pool2d, x.type())(a);
    }
    return result.release();
}

PyObject* avg_pool2d_input(Array g, Pair size, Pair kernel, Pair stride, Pair padding, bool ceil_mode, bool count_include_pad) {
    if (g.ndim() != 4) return not_mine();
    PoolArguments a;
    a.in = g.view();
    if (!geometry(a, size.y, size.x, kernel, stride, padding, {1, 1}, ceil_mode) || a.p != g.shape(2) || a.q != g.shape(3)) return not_mine();
    a.count_padding = count_include_pad;
    const int64_t shape[] = {a.n, a.c, size.y, size.x};
    Result result(g.type(), 4, shape);
    a.out = result.data<void>();
    {
        Unlocked region(elements(a) > LARGE);
        if (!of_type(PICK(pool_table).avg_pool2d_input, g.type())(a)) throw std::bad_alloc();
    }
    return result.release();
}

}  // namespace

Verbs pool_verbs() {
    return {
        verb<max_pool2d>("max_pool2d"),
        verb<max_pool2d_input>("max_pool2d_input"),
        verb<avg_pool2d>("avg_pool2d"),
        verb<avg_pool2d_input>("avg_pool2d_input"),
    };
}

}  // namespace minidl
