#include "bind.h"
#include "optim.h"

#include <cmath>

namespace minidl {
namespace {

using Arrays = std::vector<Array>;

// The lists as one long array. `fits` only if they run parallel: the same sizes, one type, contiguous, and writeable but for the gradients.
struct LongArray : Lists {
    std::vector<int64_t> starts;
    std::vector<void*> pointers[4];
    bool fits = true;

    LongArray(std::initializer_list<const Arrays*> lists) {
        const Arrays& first = **lists.begin();
        count = static_cast<int64_t>(first.size());
        starts.resize(count + 1);
        for (int64_t i = 0; i < count; ++i) starts[i + 1] = starts[i] + first[i].size();
        start = starts.data();
        int k = 0;
        for (const Arrays* list : lists) {
            fits = fits && list->size() == first.size();
            for (int64_t i = 0; fits && i < count; ++i) {
                const Array& a = (*list)[i];
                fits = a.type() == first[0].type() && a.size() == starts[i + 1] - starts[i] && a.ndim() == first[i].ndim() &&
                       PyArray_CompareLists(PyArray_DIMS(a.object), PyArray_DIMS(first[i].object), a.ndim()) && a.contiguous() &&
                       (k == 1 || PyArray_ISWRITEABLE(a.object));
                pointers[k].push_back(a.data<void>());
            }
            data[k] = pointers[k].data();
            ++k;
        }
    }
    int64_t size() const { return starts[count]; }
};

PyObject* sgd_step(Arrays params, Arrays grads, std::optional<Arrays> buffers, double lr, double momentum, double dampening, double weight_decay,
                   bool nesterov, bool first) {
    const LongArray all = buffers ? LongArray{&params, &grads, &*buffers} : LongArray{&params, &grads};
    if (!all.fits) return not_mine();
    if (all.size() > 0) {
        const auto kernel = of_type(PICK(optim).sgd, params[0].type());
        Unlocked region(all.size() > LARGE);
        kernel(all, {lr, momentum, dampening, weight_decay, buffers.has_value(), nesterov, first});
    }
    Py_RETURN_NONE;
}

PyObject* adam_step(Arrays params, Arrays grads, Arrays m, Arrays v, int64_t step, double lr, double beta1, double beta2, double eps,
                    double weight_decay, bool decoupled) {
    const LongArray all{&params, &grads, &m, &v};
    if (!all.fits || step < 1) return not_mine();
    if (all.size() > 0) {
        const double t = static_cast<double>(step);
        const AdamOptions options{lr / (1 - std::pow(beta1, t)), decoupled ? 1 - lr * weight_decay : 1, beta1, beta2,
                                  std::sqrt(1 - std::pow(beta2, t)), eps, decoupled ? 0 : weight_decay};
        const auto kernel = of_type(PICK(optim).adam, params[0].type());
        Unlocked region(all.size() > LARGE);
        kernel(all, options);
    }
    Py_RETURN_NONE;
}

}  // namespace

Verbs optim_verbs() {
    return {
        verb<sgd_step>("sgd_step"),
        verb<adam_step>("adam_step"),
    };
}

}  // namespace minidl
