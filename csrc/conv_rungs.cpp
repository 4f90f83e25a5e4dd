// The rungs of conv2d: Y[n,o,p,q] = b[o] + Σ[c,r,s] X[n,c,p*stride+r*dilation-padding,q*...] * W[o,c,r,s]        (outside the image X is zero)
//
//     X (N, G*C, H, W) and W (G*O, C, R, S) of any strides, Y (N, G*O, P, Q) contiguous; o and c count within a group g
//
//     direct    for n, g, o, p, q: for c, r, s                                  the formula
//     im2col    for n, g: copy all windows to a matrix (C*R*S, P*Q); one matmul   the formula as a product of matrices
//
// The next rungs: `implicit` is conv.cpp, the same product on windows that are never copied; `winograd`, which ships, winograd.cpp, the same sums from fewer products.
#include "conv_rungs.h"

#include "matmul.h"
#include "rungs.h"

namespace minidl::ISA {
namespace {

// Element (c, h, w) of an image's group, 0 outside. `at` points to its (0, 0, 0).
template <class T> ALWAYS_INLINE T pixel(const ConvArguments& a, const T* at, int64_t c, int64_t h, int64_t w) {
    const int64_t* stride = a.image.stride;
    return h < 0 || h >= a.h || w < 0 || w >= a.w ? T(0) : at[c * stride[1] + h * stride[2] + w * stride[3]];
}
template <class T> ALWAYS_INLINE T bias_of(const ConvArguments& a, int64_t channel) {
    return a.bias ? static_cast<const T*>(a.bias)[channel * a.bias_step] : T(0);
}

// body(x, w, y, first) for each image and group: x and w where theirs begin, y its O planes of P*Q, `first` the group's first output channel.
template <class T, class Body> ALWAYS_INLINE void for_each_group(const ConvArguments& a, const Body& body) {
    T* y = static_cast<T*>(a.output.data);
    for (int64_t n = 0; n < a.n; ++n)
        for (int64_t g = 0; g < a.groups; ++g, y += a.o * a.p * a.q)
            body(static_cast<const T*>(a.image.data) + n * a.image.stride[0] + g * a.c * a.image.stride[1],
                 static_cast<const T*>(a.filter.data) + g * a.o * a.filter.stride[0], y, g * a.o);
}

// The formula as it stands, a number at a time: each addition waits for the one before it, and each pixel is asked whether it lies inside.
template <class T> bool direct(const ConvArguments& a) {
    const int64_t* step = a.filter.stride;
    for_each_group<T>(a, [&](const T* x, const T* weight, T* y, int64_t first) {
        for (int64_t o = 0; o < a.o; ++o)
            for (int64_t p = 0; p < a.p; ++p)
                for (int64_t q = 0; q < a.q; ++q) {
                    T sum = bias_of<T>(a, first + o);
                    for (int64_t c = 0; c < a.c; ++c)
                        for (int64_t r = 0; r < a.r; ++r)
                            for (int64_t s = 0; s < a.s; ++s) {
                                const int64_t h = p * a.stride[0] + r * a.dilation[0] - a.padding[0];
                                const int64_t w = q * a.stride[1] + s * a.dilation[1] - a.padding[1];
                                sum = scalar(sum + pixel(a, x, c, h, w) * weight[o * step[0] + c * step[1] + r * step[2] + s * step[3]]);
                            }
                    *y++ = sum;
                }
    });
    return true;
}

// Each window becomes a column of a matrix; the filter is a matrix already; their product is the convolution, and matmul's kernel is fast. The price is the copy: R*S
// times the image, written to memory and read back (Chellapilla, Puri and Simard 2006, "High performance convolutional neural networks for document processing").
template <class T> bool im2col(const ConvArguments& a) {
    const int64_t K = a.c * a.r * a.s, pixels = a.p * a.q, *step = a.filter.stride;
    T* filter = static_cast<T*>(workspace(2, ((a.o + pixels) * K + 1) * sizeof(T)));   // slots 0 and 1 are the product's
    if (!filter) return false;
    T* columns = filter + a.o * K;
    bool fine = true;
    for_each_group<T>(a, [&](const T* x, const T* weight, T* y, int64_t first) {
        T* to = columns;
        for (int64_t c = 0; c < a.c; ++c)
            for (int64_t r = 0; r < a.r; ++r)
                for (int64_t s = 0; s < a.s; ++s)
                    for (int64_t p = 0; p < a.p; ++p)
                        for (int64_t q = 0; q < a.q; ++q)
                            *to++ = pixel(a, x, c, p * a.stride[0] + r * a.dilation[0] - a.padding[0], q * a.stride[1] + s * a.dilation[1] - a.padding[1]);
        to = filter;
        for (int64_t o = 0; o < a.o; ++o)
            for (int64_t c = 0; c < a.c; ++c)
                for (int64_t r = 0; r < a.r; ++r)
                    for (int64_t s = 0; s < a.s; ++s) *to++ = weight[o * step[0] + c * step[1] + r * step[2] + s * step[3]];
        MatmulArguments product{};
        product.batch = {{y, filter, columns}, 1, {1}, {}};
        product.m = a.o, product.n = pixels, product.k = K;
        product.a_row = K, product.a_col = 1;
        product.b_row = pixels, product.b_col = 1;
        const auto multiply = sizeof(T) == sizeof(float) ? matmul_table.matmul.f32 : matmul_table.matmul.f64;
        fine = multiply(product) && fine;
        for (int64_t o = 0; a.bias && o < a.o; ++o)
            for (int64_t i = 0; i < pixels; ++i) y[o * pixels + i] += bias_of<T>(a, first + o);
    });
    return fine;
}

}  // namespace

constexpr ConvRungs conv_rungs = {
    .direct = {direct<float>, direct<double>},
    .im2col = {im2col<float>, im2col<double>},
};

}  // namespace minidl::ISA
