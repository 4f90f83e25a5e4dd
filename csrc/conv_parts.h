// The end of both weight gradients: sums of parts of the images, filters side by side, to the filter.
#pragma once
#include "tile.h"

namespace minidl::ISA {
namespace {

// w[g, o, k] = Σ[part] sums[part, g, k, o]; `lanes` from row to row of the sums: full vectors, or one or two filters.
template <class T> void add_parts(T* w, const T* sums, int64_t parts, int64_t groups, int64_t k, int64_t o, int64_t lanes) {
    constexpr int64_t L = vec<T>::size;
    const int64_t size = groups * k * lanes, across = pieces(k, L);
    parallel_for(groups * across, larger(1, 65536 / (L * parts * lanes)), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t group = i / across, row = i % across * L, rows = smaller(L, k - row);
            const T* from = sums + (group * k + row) * lanes;
            T* to = w + group * o * k + row;
            if (lanes % L != 0) {
                for (int64_t j = 0; j < o; ++j)
                    for (int64_t l = 0; l < rows; ++l) {
                        T sum = from[l * lanes + j];
                        for (int64_t part = 1; part < parts; ++part) sum += from[part * size + l * lanes + j];
                        to[j * k + l] = sum;
                    }
                continue;
            }
            for (int64_t j = 0; j < o; j += L) {
                typename vec<T>::type block[L];
                for (int64_t l = 0; l < L; ++l) {
                    block[l] = typename vec<T>::type{};
                    if (l >= rows) continue;
                    const T* at = from + l * lanes + j;
                    block[l] = load(at);
                    for (int64_t part = 1; part < parts; ++part) block[l] += load(at + part * size);
                }
                transpose<T>(block);
                for (int64_t l = 0; l < smaller(L, o - j); ++l) {
                    if (rows == L) store(to + (j + l) * k, block[l]);
                    else {
                        alignas(64) T line[L];
                        store(line, block[l]);
                        copy_lanes(to + (j + l) * k, line, static_cast<int>(rows));
                    }
                }
            }
        }
    });
}

}  // namespace
}  // namespace minidl::ISA
