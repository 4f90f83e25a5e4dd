#include "bind.h"
#include "reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace minidl {
namespace {

constexpr double INF = std::numeric_limits<double>::infinity(), NONE = std::numeric_limits<double>::quiet_NaN();

// What a reduction walks: x's dimensions, parted into those that stay and those that go.
struct Plan {
    bool gone[MAX_DIMS] = {};
    int ndim = 0;   // of the result
    int64_t shape[MAX_DIMS];
    int64_t count = 1;   // elements that make one result
    View x, kept, reduced;

    bool make(const Array& a, const int64_t* axes, int axis_count, bool keepdims) {
        x = a.view();
        for (int i = 0; i < axis_count; ++i) {
            if (axes[i] < 0 || axes[i] >= x.ndim || gone[axes[i]]) return false;
            gone[axes[i]] = true;
        }
        kept = reduced = x;
        kept.ndim = reduced.ndim = 0;
        for (int d = 0; d < x.ndim; ++d) {
            View& part = gone[d] ? reduced : kept;
            part.shape[part.ndim] = x.shape[d];
            part.stride[part.ndim++] = x.stride[d];
            if (gone[d]) count *= x.shape[d];
            if (!gone[d] || keepdims) shape[ndim++] = gone[d] ? 1 : x.shape[d];
        }
        return true;
    }

    // The order of the reduced elements does not matter: sort their dimensions by step, largest first, turn negative steps around, merge.
    void sort_reduced(int64_t bytes) {
        for (int d = 0; d < reduced.ndim; ++d)
            if (reduced.stride[d] < 0) {
                x.data = static_cast<char*>(x.data) + (reduced.shape[d] - 1) * reduced.stride[d] * bytes;
                reduced.stride[d] = -reduced.stride[d];
            }
        const auto outer = [&](int d) { return reduced.stride[d] ? reduced.stride[d] : std::numeric_limits<int64_t>::max(); };
        for (int i = 1; i < reduced.ndim; ++i)
            for (int d = i; d > 0 && outer(d) > outer(d - 1); --d) {
                std::swap(reduced.stride[d], reduced.stride[d - 1]);
                std::swap(reduced.shape[d], reduced.shape[d - 1]);
            }
    }

    ReduceArguments arguments(void* out, const void* center, int64_t bytes, bool ordered) {
        const View whole = x;
        if (!ordered) sort_reduced(bytes);
        View result = kept;
        result.data = out, kept.data = reduced.data = x.data;
        for (int64_t d = kept.ndim - 1, step = 1; d >= 0; step *= kept.shape[d--]) result.stride[d] = step;
        ReduceArguments a{make_nest<2>(kept.ndim, kept.shape, {result, kept}), make_nest<1>(reduced.ndim, reduced.shape, {reduced}), center, nullptr};
        if (a.reduced.shape[a.reduced.ndim - 1] == 1) a.reduced.stride[0][a.reduced.ndim - 1] = 1;
        int64_t last = 0;
        for (int d = 0; d < whole.ndim; ++d) last += std::max<int64_t>(0, (whole.shape[d] - 1) * whole.stride[d]);
        a.end = static_cast<char*>(whole.data) + (last + 1) * bytes;
        return a;
    }
};

template <class F> void each(const Array& a, F f) {
    const int64_t n = a.size();
    if (a.type() == NPY_FLOAT) for (int64_t i = 0; i < n; ++i) a.data<float>()[i] = f(a.data<float>()[i], i);
    else for (int64_t i = 0; i < n; ++i) a.data<double>()[i] = f(a.data<double>()[i], i);
}
void fill(const Array& a, double value) {
    each(a, [=](auto x, int64_t) { return static_cast<decltype(x)>(value); });
}

// kernel over `axes` into `result`, or `empty` where there is nothing to reduce
void run(const Reduce& entry, const Plan& plan, const Array& x, const Array& result, const Array* center, double empty) {
    if (result.size() == 0) return;
    if (plan.count == 0) return fill(result, empty);
    const int64_t bytes = PyArray_ITEMSIZE(x.object);
    const ReduceArguments a = Plan(plan).arguments(result.data<void>(), center ? center->data<void>() : nullptr, bytes, false);
    const auto kernel = of_type(entry, x.type());
    bool done;
    {
        Unlocked region(x.size() > LARGE);
        done = kernel(a);
    }
    if (!done) throw std::bad_alloc();
}

PyObject* reduction(const Reduce& entry, const Array& x, const Ints& axes, bool keepdims, double empty) {
    Plan plan;
    if (!plan.make(x, axes.value, axes.count, keepdims) || (plan.count == 0 && std::isnan(empty))) return not_mine();
    Result result(x.type(), plan.ndim, plan.shape);
    run(entry, plan, x, result, nullptr, empty);
    return result.release();
}
PyObject* sum(Array x, Ints axes, bool keepdims) { return reduction(PICK(reduce).sum, x, axes, keepdims, 0); }
PyObject* prod(Array x, Ints axes, bool keepdims) { return reduction(PICK(reduce).prod, x, axes, keepdims, 1); }
PyObject* amax(Array x, Ints axes, bool keepdims) { return reduction(PICK(reduce).amax, x, axes, keepdims, NONE); }
PyObject* amin(Array x, Ints axes, bool keepdims) { return reduction(PICK(reduce).amin, x, axes, keepdims, NONE); }

void divide(const Array& a, double n) {
    each(a, [=](auto x, int64_t) { return x / static_cast<decltype(x)>(n); });
}

PyObject* mean(Array x, Ints axes, bool keepdims) {
    Plan plan;
    if (!plan.make(x, axes.value, axes.count, keepdims)) return not_mine();
    Result result(x.type(), plan.ndim, plan.shape);
    run(PICK(reduce).sum, plan, x, result, nullptr, NONE);
    divide(result, static_cast<double>(plan.count));
    return result.release();
}

// In two passes: the mean, then the squared distances from it.
PyObject* var(Array x, Ints axes, double correction, bool keepdims) {
    Plan plan;
    if (!plan.make(x, axes.value, axes.count, keepdims)) return not_mine();
    Result mean(x.type(), plan.ndim, plan.shape), result(x.type(), plan.ndim, plan.shape);
    run(PICK(reduce).sum, plan, x, mean, nullptr, NONE);
    divide(mean, static_cast<double>(plan.count));
    run(PICK(reduce).squares, plan, x, result, &mean, NONE);
    divide(result, std::max(static_cast<double>(plan.count) - correction, 0.0));
    return result.release();
}

PyObject* logsumexp(Array x, Ints axes, bool keepdims) {
    Plan plan;
    if (!plan.make(x, axes.value, axes.count, keepdims)) return not_mine();
    Result top(x.type(), plan.ndim, plan.shape), result(x.type(), plan.ndim, plan.shape);
    run(PICK(reduce).amax, plan, x, top, nullptr, 0);
    each(top, [](auto x, int64_t) { return std::isfinite(x) ? x : 0; });   // a row of -inf, or one with inf: nothing to shift by
    run(PICK(reduce).exps, plan, x, result, &top, 0);
    if (x.type() == NPY_FLOAT) each(result, [&](auto x, int64_t i) { return std::log(static_cast<float>(x)) + top.data<float>()[i]; });
    else each(result, [&](auto x, int64_t i) { return std::log(x) + top.data<double>()[i]; });
    return result.release();
}

template <PerType<void (*)(const ReduceArguments&)> ReduceTable::*name> PyObject* arg(Array x, int64_t axis, bool keepdims) {
    Plan plan;
    if (!plan.make(x, &axis, 1, keepdims) || plan.count == 0) return not_mine();
    Result result(NPY_INT64, plan.ndim, plan.shape);
    if (result.size() > 0) {
        const ReduceArguments a = plan.arguments(result.data<void>(), nullptr, PyArray_ITEMSIZE(x.object), true);
        const auto kernel = of_type(PICK(reduce).*name, x.type());
        Unlocked region(x.size() > LARGE);
        kernel(a);
    }
    return result.release();
}

}  // namespace

PyObject* sum_of_rows(const Array& x) {
    Ints axes;
    axes.count = x.ndim() - 1;
    for (int d = 0; d < axes.count; ++d) axes.value[d] = d;
    return reduction(PICK(reduce).sum, x, axes, false, 0);
}

Verbs reduce_verbs() {
    return {
        verb<sum>("sum", "`vectorized` on all threads. It goes over any axes as they lie in memory, and partial sums carry along what their rounding\n"
                         "loses (csrc/reduce.cpp). This is what ships."),
        verb<mean>("mean"), verb<prod>("prod"), verb<amax>("amax"), verb<amin>("amin"), verb<var>("var"),
        verb<logsumexp>("logsumexp"), verb<arg<&ReduceTable::argmax>>("argmax"), verb<arg<&ReduceTable::argmin>>("argmin"),
    };
}

}  // namespace minidl
