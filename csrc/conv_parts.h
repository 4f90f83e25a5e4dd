// The end of both weight gradients: sums of parts of the images, filters side by side, to the filter.
#pragma once
#include "kernel.h"

namespace minidl::ISA {
namespace {

// w[g, o, k] = Σ[part] sums[part, g, k, o], some rows of k at a time, so that reading across them stays in the first cache; `lanes` from row to row of the sums.
template <class T> void add_parts(T* w, const T* sums, int64_t parts, int64_t groups, int64_t k, int64_t o, int64_t lanes) {
    const int64_t rows = groups * k, size = rows * lanes;
    parallel_for(rows, 16 * larger(1, 65536 / (16 * parts * lanes)), [&](int64_t begin, int64_t end) {
        for (int64_t first = begin; first < end; first += 16)
            for (int64_t i = 0; i < o; ++i)
                for (int64_t row = first; row < smaller(end, first + 16); ++row) {
                    const T* from = sums + row * lanes + i;
                    T sum = *from;
                    for (int64_t j = 1; j < parts; ++j) sum += from[j * size];
                    w[(row / k * o + i) * k + row % k] = sum;
                }
    });
}

}  // namespace
}  // namespace minidl::ISA
