#include "bind.h"
#include "recurrent.h"

namespace minidl {
namespace {

// Whether an array of this type has this shape.
bool is(const Array& a, int type, std::initializer_list<int64_t> shape) {
    if (a.type() != type || a.ndim() != static_cast<int>(shape.size())) return false;
    int d = 0;
    for (const int64_t size : shape)
        if (a.shape(d++) != size) return false;
    return true;
}

PyObject* lstm_step(Array x, Array a, Array c) {
    if (c.ndim() != 2) return not_mine();
    const int64_t N = c.shape(0), H = c.shape(1), shape[] = {2, N, H}, gates_shape[] = {N, 4, H};
    if (!is(x, c.type(), {N, 4, H}) || !is(a, c.type(), {N, 4, H})) return not_mine();
    const Contiguous xs(x), as(a), cs(c);
    Result y(c.type(), 3, shape), gates(c.type(), 3, gates_shape);
    {
        Unlocked region(y.size() > LARGE / 64);
        of_type(PICK(recurrent).lstm, c.type())({.rows = N, .units = H, .g = nullptr, .x = xs.data<void>(), .a = as.data<void>(), .state = cs.data<void>(),
            .gates = nullptr, .y = nullptr, .result = y.data<void>(), .second = gates.data<void>(), .third = nullptr});
    }
    return tuple_of(y, gates);
}

PyObject* lstm_step_gradient(Array g, Array gates, Array c, Array y) {
    if (c.ndim() != 2) return not_mine();
    const int64_t N = c.shape(0), H = c.shape(1), shape[] = {N, 4, H};
    if (!is(g, c.type(), {2, N, H}) || !is(y, c.type(), {2, N, H}) || !is(gates, c.type(), {N, 4, H})) return not_mine();
    const Contiguous gs(g), ks(gates), cs(c), ys(y);
    Result to_gates(c.type(), 3, shape), to_c(c.type(), 2, PyArray_DIMS(c.object));
    {
        Unlocked region(y.size() > LARGE / 64);
        of_type(PICK(recurrent).lstm_gradient, c.type())({.rows = N, .units = H, .g = gs.data<void>(), .x = nullptr, .a = nullptr, .state = cs.data<void>(),
            .gates = ks.data<void>(), .y = ys.data<void>(), .result = to_gates.data<void>(), .second = to_c.data<void>(), .third = nullptr});
    }
    return tuple_of(to_gates, to_c);
}

PyObject* gru_step(Array x, Array a, Array h) {
    if (h.ndim() != 2) return not_mine();
    const int64_t N = h.shape(0), H = h.shape(1), shape[] = {N, 3, H};
    if (!is(x, h.type(), {N, 3, H}) || !is(a, h.type(), {N, 3, H})) return not_mine();
    const Contiguous xs(x), as(a), hs(h);
    Result y(h.type(), 2, PyArray_DIMS(h.object)), gates(h.type(), 3, shape);
    {
        Unlocked region(y.size() > LARGE / 64);
        of_type(PICK(recurrent).gru, h.type())({.rows = N, .units = H, .g = nullptr, .x = xs.data<void>(), .a = as.data<void>(), .state = hs.data<void>(),
            .gates = nullptr, .y = nullptr, .result = y.data<void>(), .second = gates.data<void>(), .third = nullptr});
    }
    return tuple_of(y, gates);
}

PyObject* gru_step_gradient(Array g, Array gates, Array a, Array h) {
    if (h.ndim() != 2) return not_mine();
    const int64_t N = h.shape(0), H = h.shape(1), shape[] = {N, 3, H};
    if (!is(g, h.type(), {N, H}) || !is(a, h.type(), {N, 3, H}) || !is(gates, h.type(), {N, 3, H})) return not_mine();
    const Contiguous gs(g), ks(gates), as(a), hs(h);
    Result to_x(h.type(), 3, shape), to_a(h.type(), 3, shape), to_h(h.type(), 2, PyArray_DIMS(h.object));
    {
        Unlocked region(g.size() > LARGE / 64);
        of_type(PICK(recurrent).gru_gradient, h.type())({.rows = N, .units = H, .g = gs.data<void>(), .x = nullptr, .a = as.data<void>(), .state = hs.data<void>(),
            .gates = ks.data<void>(), .y = nullptr, .result = to_x.data<void>(), .second = to_a.data<void>(), .third = to_h.data<void>()});
    }
    return tuple_of(to_x, to_a, to_h);
}

}  // namespace

Verbs recurrent_verbs() {
    return {
        verb<lstm_step>("lstm_step"),
        verb<lstm_step_gradient>("lstm_step_gradient"),
        verb<gru_step>("gru_step"),
        verb<gru_step_gradient>("gru_step_gradient"),
    };
}

}  // namespace minidl
