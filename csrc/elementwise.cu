// Elementwise maps on a GPU: Y[n] = f(X[n]) and Y[n] = f(A[n], B[n]) with broadcasting
//
//     for n, a thread each:  place = Σ[d] index[d] * stride[d] of each operand;  Y[n] = f(operands at their places)
//
// Operands are walked together over the result's shape; broadcast dimensions have stride 0, and neighbouring dimensions are merged where all operands allow it, so that
// contiguous ones come as a single dimension. A thread takes every gridDim.x * blockDim.x-th number: any size with any grid, and a warp's accesses stay neighbours.
#include "emulator/cuda.h"

namespace elementwise {

template <int OPERANDS> struct Walk {   // filled by walk() in minidl/kernels/cuda/
    long long count;                    // numbers in all
    int ndim, unused;
    long long shape[8], stride[OPERANDS][8];   // strides in elements; the last operand is contiguous: it is the result
};

// Where number n of the result comes from, for each operand.
template <int OPERANDS> __device__ __forceinline__ void locate(const Walk<OPERANDS>& walk, long long n, long long (&place)[OPERANDS]) {
    UNROLL for (int o = 0; o < OPERANDS; ++o) place[o] = 0;
    for (int d = walk.ndim - 1; d > 0; --d) {
        const long long index = n % walk.shape[d];
        n /= walk.shape[d];
        UNROLL for (int o = 0; o < OPERANDS; ++o) place[o] += index * walk.stride[o][d];
    }
    UNROLL for (int o = 0; o < OPERANDS; ++o) place[o] += n * walk.stride[o][0];
}

template <template <class> class F, class T> __global__ void __launch_bounds__(256) unary(Walk<1> walk, const T* X, T* Y) {
    for (long long n = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; n < walk.count; n += static_cast<long long>(gridDim.x) * blockDim.x) {
        long long place[1];
        locate(walk, n, place);
        Y[n] = F<T>::of(X[place[0]]);
    }
}

template <template <class> class F, class T> __global__ void __launch_bounds__(256) binary(Walk<2> walk, const T* A, const T* B, typename F<T>::Result* Y) {
    for (long long n = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; n < walk.count; n += static_cast<long long>(gridDim.x) * blockDim.x) {
        long long place[2];
        locate(walk, n, place);
        Y[n] = F<T>::of(A[place[0]], B[place[1]]);
    }
}

#define UNARY(name, formula) \
    template <class T> struct name { static __device__ __forceinline__ T of(T x) { return formula; } };
UNARY(Neg, -x)
UNARY(Abs, fabs(x))
UNARY(Sign, T((x > 0) - (x < 0)))   // of NaN: 0
UNARY(Exp, exp(x))
UNARY(Expm1, expm1(x))
UNARY(Log, log(x))
UNARY(Log1p, log1p(x))
UNARY(Log2, log2(x))
UNARY(Sqrt, sqrt(x))
UNARY(Rsqrt, 1 / sqrt(x))
UNARY(Square, x * x)
UNARY(Reciprocal, 1 / x)
UNARY(Sin, sin(x))
UNARY(Cos, cos(x))
UNARY(Tanh, tanh(x))
UNARY(Sigmoid, 1 / (1 + exp(-x)))   // exp(-x) = inf gives 0, which is right
UNARY(Erf, erf(x))
UNARY(Floor, floor(x))
UNARY(Ceil, ceil(x))
UNARY(Round, rint(x))               // halves to even
UNARY(Relu, x > 0 || x != x ? x : T(0))

#define BINARY(name, R, formula) \
    template <class T> struct name { using Result = R; static __device__ __forceinline__ R of(T a, T b) { return formula; } };
BINARY(Add, T, a + b)
BINARY(Sub, T, a - b)
BINARY(Mul, T, a * b)
BINARY(Div, T, a / b)
BINARY(Pow, T, pow(a, b))
BINARY(Maximum, T, a > b || a != a ? a : b)   // NaN wins
BINARY(Minimum, T, a < b || a != a ? a : b)
BINARY(Eq, bool, a == b)
BINARY(Ne, bool, a != b)
BINARY(Lt, bool, a < b)
BINARY(Le, bool, a <= b)
BINARY(Gt, bool, a > b)
BINARY(Ge, bool, a >= b)

}  // namespace elementwise

#define MAP(kind, F) KERNEL(elementwise::kind<elementwise::F, float>) KERNEL(elementwise::kind<elementwise::F, double>)
MAP(unary, Neg) MAP(unary, Abs) MAP(unary, Sign) MAP(unary, Exp) MAP(unary, Expm1) MAP(unary, Log) MAP(unary, Log1p)
MAP(unary, Log2) MAP(unary, Sqrt) MAP(unary, Rsqrt) MAP(unary, Square) MAP(unary, Reciprocal) MAP(unary, Sin) MAP(unary, Cos)
MAP(unary, Tanh) MAP(unary, Sigmoid) MAP(unary, Erf) MAP(unary, Floor) MAP(unary, Ceil) MAP(unary, Round) MAP(unary, Relu)
MAP(binary, Add) MAP(binary, Sub) MAP(binary, Mul) MAP(binary, Div) MAP(binary, Pow) MAP(binary, Maximum) MAP(binary, Minimum)
MAP(binary, Eq) MAP(binary, Ne) MAP(binary, Lt) MAP(binary, Le) MAP(binary, Gt) MAP(binary, Ge)
