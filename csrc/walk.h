// Walking several arrays together, on several threads.
#pragma once
#include "kernel.h"

namespace minidl::ISA {
namespace {

// Counts through `dims` dimensions of a nest, the last one fastest: `offset[k]` is where the element lies in array k.
template <int K> struct Odometer {
    const Nest<K>& nest;
    int dims;
    int64_t index[MAX_DIMS], offset[K] = {};

    ALWAYS_INLINE Odometer(const Nest<K>& nest, int dims, int64_t start) : nest(nest), dims(dims) {
        for (int d = dims - 1; d >= 0; --d) {
            const int64_t rest = d > 0 ? start / nest.shape[d] : 0;
            index[d] = start - rest * nest.shape[d];
            start = rest;
            for (int k = 0; k < K; ++k) offset[k] += index[d] * nest.stride[k][d];
        }
    }
    ALWAYS_INLINE void next() {
        for (int d = dims - 1; d >= 0; --d) {
            for (int k = 0; k < K; ++k) offset[k] += nest.stride[k][d];
            if (++index[d] < nest.shape[d]) return;
            for (int k = 0; k < K; ++k) offset[k] -= index[d] * nest.stride[k][d];
            index[d] = 0;
        }
    }
};

// row(n, offset) for every row of the nest, that is the last dimension or, where that is long, a piece of it: `offset[k]` is where the row begins in
// array k, in elements. `grain` elements are worth a task of their own.
template <int K, class Row> ALWAYS_INLINE void for_each_row(const Nest<K>& nest, int64_t grain, const Row& row) {
    const int last = nest.ndim - 1;
    const int64_t n = nest.shape[last];
    if (last == 0) {
        parallel_for(n, even(n, grain), [&nest, &row](int64_t begin, int64_t end) {
            int64_t offset[K];
            for (int k = 0; k < K; ++k) offset[k] = begin * nest.stride[k][0];
            row(end - begin, offset);
        });
        return;
    }
    int64_t rows = 1;
    for (int d = 0; d < last; ++d) rows *= nest.shape[d];
    const int64_t cut = n > 2 * grain ? grain : n, parts = pieces(n, cut);   // pieces of a row
    parallel_for(rows * parts, even(rows * parts, larger(1, grain / cut)), [=, &nest, &row](int64_t begin, int64_t end) {
        int64_t from = begin % parts * cut;
        Odometer<K> at(nest, last, begin / parts);
        for (int64_t i = begin; i < end; ++i) {
            if (parts == 1) row(n, at.offset);
            else {
                int64_t inner[K];
                for (int k = 0; k < K; ++k) inner[k] = at.offset[k] + from * nest.stride[k][last];
                row(smaller(cut, n - from), inner);
                if ((from += cut) < n) continue;
                from = 0;
            }
            at.next();
        }
    });
}

}  // namespace
}  // namespace minidl::ISA
