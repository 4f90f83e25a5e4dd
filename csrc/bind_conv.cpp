#include "bind.h"
#include "conv.h"
#include "conv_rungs.h"

namespace minidl {
namespace {

int64_t output_size(int64_t size, int64_t taps, int64_t stride, int64_t padding, int64_t dilation) {
    const int64_t room = size + 2 * padding - dilation * (taps - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
}

// Sizes from the three shapes; false where they do not belong together (the reference has the words).
bool geometry(ConvArguments& p, Pair stride, Pair padding, Pair dilation, int64_t groups) {
    if (stride.y < 1 || stride.x < 1 || dilation.y < 1 || dilation.x < 1 || padding.y < 0 || padding.x < 0 || groups < 1) return false;
    const int64_t *x = p.image.shape, *w = p.filter.shape, *y = p.output.shape;
    if (w[0] % groups || x[1] != w[1] * groups || y[1] != w[0] || x[0] != y[0]) return false;
    p.n = x[0], p.groups = groups, p.c = w[1], p.o = w[0] / groups;
    p.h = x[2], p.w = x[3], p.r = w[2], p.s = w[3], p.p = y[2], p.q = y[3];
    p.stride[0] = stride.y, p.stride[1] = stride.x;
    p.padding[0] = padding.y, p.padding[1] = padding.x;
    p.dilation[0] = dilation.y, p.dilation[1] = dilation.x;
    p.bias = nullptr;
    return p.r && p.s && p.p && p.q && p.p == output_size(p.h, p.r, stride.y, padding.y, dilation.y) &&
           p.q == output_size(p.w, p.s, stride.x, padding.x, dilation.x);
}
bool is_empty(const ConvArguments& p) { return !p.n || !p.c || !p.o; }   // the reference has the zeros

// A shape that no array has yet.
View outline(int64_t a, int64_t b, int64_t c, int64_t d) {
    View v{};
    v.ndim = 4;
    v.shape[0] = a, v.shape[1] = b, v.shape[2] = c, v.shape[3] = d;
    return v;
}

PyObject* run(bool (*kernel)(const ConvArguments&), ConvArguments& p, View& result_view, int type) {
    Result result(type, 4, result_view.shape);
    result_view = result.view();
    {
        Unlocked region(p.n * p.groups * p.o * p.p * p.q * p.c * p.r * p.s > 4 * LARGE);
        if (!kernel(p)) throw std::bad_alloc();
    }
    return result.release();
}

using Kernel = bool (*)(const ConvArguments&);
using Forward = PerType<Kernel>;

// The arguments of a convolution of x by w; false where they do not belong together, or where only the reference takes them.
bool forward(ConvArguments& p, const Array& x, const Array& w, const std::optional<Array>& b, Pair stride, Pair padding, Pair dilation, int64_t groups) {
    if (x.type() != w.type() || x.ndim() != 4 || w.ndim() != 4) return false;
    if (b && (b->type() != x.type() || b->ndim() != 1 || b->shape(0) != w.shape(0))) return false;
    if (stride.y < 1 || stride.x < 1) return false;
    p.image = x.view(), p.filter = w.view();
    p.output = outline(x.shape(0), w.shape(0), output_size(x.shape(2), w.shape(2), stride.y, padding.y, dilation.y),
                       output_size(x.shape(3), w.shape(3), stride.x, padding.x, dilation.x));
    if (!geometry(p, stride, padding, dilation, groups)) return false;
    if (b) p.bias = b->data<void>(), p.bias_step = b->view().stride[0];
    return true;
}
bool winograd_pays(const ConvArguments& p, int type) { return of_type(PICK(winograd_table).pays, type)(p); }

PyObject* conv2d(Array x, Array w, std::optional<Array> b, Pair stride, Pair padding, Pair dilation, int64_t groups) {
    ConvArguments p;
    if (!forward(p, x, w, b, stride, padding, dilation, groups) || is_empty(p)) return not_mine();
    const Forward& kernel = winograd_pays(p, x.type()) ? PICK(winograd_table).conv2d : PICK(conv_table).conv2d;
    return run(of_type(kernel, x.type()), p, p.output, x.type());
}
enum ConvRung { DIRECT, IM2COL, IMPLICIT };
template <ConvRung rung> PyObject* conv2d_by(Array x, Array w, std::optional<Array> b, Pair stride, Pair padding, Pair dilation, int64_t groups) {
    ConvArguments p;
    if (!forward(p, x, w, b, stride, padding, dilation, groups)) return not_mine();
    const Forward& kernel = rung == DIRECT ? PICK(conv_rungs).direct : rung == IM2COL ? PICK(conv_rungs).im2col : PICK(conv_table).conv2d;
    return run(of_type(kernel, x.type()), p, p.output, x.type());
}
PyObject* conv2d_winograd(Array x, Array w, std::optional<Array> b, Pair padding, int64_t tile) {
    ConvArguments p;
    if ((tile != 2 && tile != 4) || !forward(p, x, w, b, {1, 1}, padding, {1, 1}, 1) || is_empty(p) || !PICK(winograd_table).fits(p)) return not_mine();
    return run(of_type(tile == 4 ? PICK(winograd_table).conv2d : PICK(winograd_table).conv2d_small, x.type()), p, p.output, x.type());
}

PyObject* conv2d_input(Array g, Array w, Pair size, Pair stride, Pair padding, Pair dilation, int64_t groups) {
    if (g.type() != w.type() || g.ndim() != 4 || w.ndim() != 4) return not_mine();
    ConvArguments p;
    p.output = g.view(), p.filter = w.view();
    p.image = outline(g.shape(0), w.shape(1) * groups, size.y, size.x);
    if (!geometry(p, stride, padding, dilation, groups) || is_empty(p)) return not_mine();
    const Forward& kernel = winograd_pays(p, g.type()) ? PICK(winograd_table).conv2d_input : PICK(conv_table).conv2d_input;
    return run(of_type(kernel, g.type()), p, p.image, g.type());
}

PyObject* conv2d_weight(Array x, Array g, Pair size, Pair stride, Pair padding, Pair dilation, int64_t groups) {
    if (x.type() != g.type() || x.ndim() != 4 || g.ndim() != 4 || groups < 1 || x.shape(1) % groups) return not_mine();
    ConvArguments p;
    p.image = x.view(), p.output = g.view();
    p.filter = outline(g.shape(1), x.shape(1) / groups, size.y, size.x);
    if (!geometry(p, stride, padding, dilation, groups) || is_empty(p)) return not_mine();
    const Forward& kernel = winograd_pays(p, x.type()) ? PICK(winograd_weight_table).conv2d_weight : PICK(conv_weight_table).conv2d_weight;
    return run(of_type(kernel, x.type()), p, p.filter, x.type());
}

}  // namespace

Verbs conv_verbs() {
    return {
        verb<conv2d>("conv2d", "Winograd's products where they pay, `implicit` elsewhere. With a filter of 3 x 3, stride 1 and many channels, a tile of 4 x 4 outputs\n"
                               "takes 36 multiplications a channel instead of 144 (csrc/winograd.cpp). This is what ships."),
        verb<conv2d_input>("conv2d_input"),
        verb<conv2d_weight>("conv2d_weight"),
        verb<conv2d_winograd>("conv2d_winograd"),
    };
}

Verbs conv_rung_verbs() {
    return {
        verb<conv2d_by<DIRECT>>("conv2d.direct"),
        verb<conv2d_by<IM2COL>>("conv2d.im2col"),
        verb<conv2d_by<IMPLICIT>>("conv2d.implicit"),
    };
}

}  // namespace minidl
