#include "bind.h"
#include "optim.h"

#include <cmath>
#include <new>

namespace minidl {
namespace {

using Arrays = std::vector<Array>;

// Whether the lists run parallel: entry by entry one type and shape, contiguous, and writeable but for the gradients.
bool parallel(std::initializer_list<const Arrays*> lists) {
    const Arrays& first = **lists.begin();
    int k = 0;
    for (const Arrays* list : lists) {
        if (list->size() != first.size()) return false;
        for (size_t i = 0; i < first.size(); ++i) {
            const Array &a = (*list)[i], &b = first[i];
            if (a.type() != b.type() || a.ndim() != b.ndim() || !PyArray_CompareLists(PyArray_DIMS(a.object), PyArray_DIMS(b.object), a.ndim()) ||
                !a.contiguous() || (k != 1 && !PyArray_ISWRITEABLE(a.object)))
                return false;
        }
        ++k;
    }
    return true;
}

// The lists' entries of one type as one long array.
struct LongArray : Lists {
    std::vector<int64_t> starts{0};
    std::vector<void*> pointers[4];

    LongArray(std::initializer_list<const Arrays*> lists, int type) {
        int k = 0;
        for (const Arrays* list : lists) {
            for (const Array& a : *list) {
                if (a.type() != type) continue;
                if (k == 0) starts.push_back(starts.back() + a.size());
                pointers[k].push_back(a.data<void>());
            }
            data[k] = pointers[k].data();
            ++k;
        }
        count = static_cast<int64_t>(starts.size()) - 1;
        start = starts.data();
    }
    int64_t size() const { return starts.back(); }
};

template <class Kernel, class Options>
PyObject* step(const PerType<Kernel>& kernel, std::initializer_list<const Arrays*> lists, const Options& options) {
    if (!parallel(lists)) return not_mine();
    for (const int type : {NPY_FLOAT, NPY_DOUBLE}) {
        const LongArray all(lists, type);
        if (all.size() == 0) continue;
        Unlocked region(all.size() > LARGE);
        of_type(kernel, type)(all, options);
    }
    Py_RETURN_NONE;
}

PyObject* sgd_step(Arrays params, Arrays grads, std::optional<Arrays> buffers, double lr, double momentum, double dampening, double weight_decay,
                   bool nesterov, bool first) {
    const SgdOptions options{lr, momentum, dampening, weight_decay, buffers.has_value(), nesterov, first};
    const auto& kernel = PICK(optim).sgd;
    return buffers ? step(kernel, {&params, &grads, &*buffers}, options) : step(kernel, {&params, &grads}, options);
}

PyObject* adam_step(Arrays params, Arrays grads, Arrays m, Arrays v, int64_t time, double lr, double beta1, double beta2, double eps,
                    double weight_decay, bool decoupled) {
    if (time < 1) return not_mine();
    const double t = static_cast<double>(time);
    const AdamOptions options{lr / (1 - std::pow(beta1, t)), decoupled ? 1 - lr * weight_decay : 1, beta1, beta2,
                              std::sqrt(1 - std::pow(beta2, t)), eps, decoupled ? 0 : weight_decay};
    return step(PICK(optim).adam, {&params, &grads, &m, &v}, options);
}

PyObject* squared_norm(Arrays arrays) {
    double result = 0;
    for (const Array& a : arrays)
        if (!a.contiguous()) return not_mine();
    for (const int type : {NPY_FLOAT, NPY_DOUBLE}) {
        const LongArray all({&arrays}, type);
        if (all.size() == 0) continue;
        Unlocked region(all.size() > LARGE);
        if (!of_type(PICK(optim).squared_norm, type)(all, &result)) throw std::bad_alloc();
    }
    return PyFloat_FromDouble(result);
}

PyObject* scale_in_place(Arrays arrays, double factor) { return step(PICK(optim).scale, {&arrays}, factor); }

}  // namespace

Verbs optim_verbs() {
    return {
        verb<sgd_step>("sgd_step"),
        verb<adam_step>("adam_step"),
        verb<squared_norm>("squared_norm"),
        verb<scale_in_place>("scale_in_place"),
    };
}

}  // namespace minidl
