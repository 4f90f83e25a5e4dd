#pragma once
#include "shared.h"

namespace minidl {

// Lists of arrays walked as if they were one: array i of list k has start[i + 1] - start[i] elements, at data[k][i].
struct Lists {
    int64_t count;
    const int64_t* start;         // count + 1 of them
    void* const* data[4];         // parameters, gradients, state
};
struct SgdOptions {
    double lr, momentum, dampening, weight_decay;
    bool buffers, nesterov, first;
};
struct AdamOptions {
    double rate, decay, beta1, beta2, root, eps, weight_decay;   // rate = lr / (1 - β1^t), root = √(1 - β2^t), decay = what decoupled decay leaves
};

struct OptimTable {
    PerType<void (*)(const Lists&, const SgdOptions&)> sgd;
    PerType<void (*)(const Lists&, const AdamOptions&)> adam;
    PerType<bool (*)(const Lists&, double*)> squared_norm;   // false: out of memory
    PerType<void (*)(const Lists&, const double&)> scale;
};

}  // namespace minidl

MINIDL_TABLE(minidl::OptimTable, optim)
