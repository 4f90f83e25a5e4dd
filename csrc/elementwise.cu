// Elementwise maps on a GPU, with broadcasting:   Y[n] = f(X[n])   Y[n] = f(A[n], B[n])   Y[n] = C[n] ? A[n] : B[n]   Y[n] = least(most(X[n], low), high)
//
//     for each tile of 256 * L numbers, a block each:
//         a thread takes L of them:  place[o] = where operand o of number n lies;  Y[n] = f(operands at their places)
//
// L numbers fill 16 bytes. Where all operands lie side by side (or are one number), a thread's numbers are neighbours and come by one load; else they lie 256 apart, so that
// the 32 threads of a warp still read neighbours. An operand may be a number of the launch itself, which takes no memory at all. Launch lines: minidl/kernels/cuda/elementwise.py.
#include "walk.cuh"

namespace elementwise {

constexpr int THREADS = 256;

template <class T> struct Source {   // an operand: an array, or, if data is null, a number
    const T* data;
    T number;
};
template <int L, class T> __device__ __forceinline__ bool fits(const Source<T>& source) { return fits_pack<T, L>(source.data); }   // a number does, too

// The numbers n, n + step, ... n + (L-1) step, less those from `count` on, which one thread takes of a tile, and where their operands lie.
template <int L, int OPERANDS> struct Share {
    long long n, step, count, place[OPERANDS][L];
    bool side_by_side[OPERANDS], wide;   // wide: all L are there, and either side by side or one number

    __device__ __forceinline__ bool has(int e) const { return n + e * step < count; }

    __device__ __forceinline__ Share(const Walk<OPERANDS>& walk, long long tile, bool packs) : count(walk.count) {
        step = packs ? 1 : THREADS;
        n = tile * L * THREADS + (packs ? threadIdx.x * L : threadIdx.x);
        wide = packs && n + L <= count;
        UNROLL for (int o = 0; o < OPERANDS; ++o) side_by_side[o] = walk.stride[o][walk.ndim - 1] != 0;
        long long at[OPERANDS] = {};
        UNROLL for (int e = 0; e < L; ++e) {
            if (e == 0 || !wide) locate(walk, has(e) ? n + e * step : 0, at);
            UNROLL for (int o = 0; o < OPERANDS; ++o) place[o][e] = at[o];
        }
    }

    template <class T> __device__ __forceinline__ Pack<T, L> read(int o, const Source<T>& source) const {
        if (source.data && wide && side_by_side[o]) return load_pack<T, L>(source.data + place[o][0]);
        Pack<T, L> x;
        const T one = source.data ? wide ? source.data[place[o][0]] : T() : source.number;
        UNROLL for (int e = 0; e < L; ++e) x.lane[e] = source.data && !wide && has(e) ? source.data[place[o][e]] : one;
        return x;
    }

    template <class R> __device__ __forceinline__ void write(R* Y, const Pack<R, L>& y) const {
        if (wide && fits_pack<R, L>(Y)) store_pack(Y + n, y);
        else
            UNROLL for (int e = 0; e < L; ++e)
                if (has(e)) Y[n + e * step] = y.lane[e];
    }
};

template <int L> __device__ __forceinline__ long long tiles(long long count) { return (count + L * THREADS - 1) / (L * THREADS); }

template <template <class> class F, class T> __global__ void __launch_bounds__(THREADS) unary(Walk<1> walk, Source<T> X, T* Y) {
    constexpr int L = LANES<T>;
    for (long long tile = blockIdx.x; tile < tiles<L>(walk.count); tile += gridDim.x) {
        const Share<L, 1> share(walk, tile, walk.packs && fits<L>(X));
        const Pack<T, L> x = share.read(0, X);
        Pack<T, L> y;
        UNROLL for (int e = 0; e < L; ++e) y.lane[e] = F<T>::of(x.lane[e]);
        share.write(Y, y);
    }
}

template <template <class> class F, class T> __global__ void __launch_bounds__(THREADS) binary(Walk<2> walk, Source<T> A, Source<T> B, typename F<T>::Result* Y) {
    constexpr int L = LANES<T>;
    for (long long tile = blockIdx.x; tile < tiles<L>(walk.count); tile += gridDim.x) {
        const Share<L, 2> share(walk, tile, walk.packs && fits<L>(A) && fits<L>(B));
        const Pack<T, L> a = share.read(0, A), b = share.read(1, B);
        Pack<typename F<T>::Result, L> y;
        UNROLL for (int e = 0; e < L; ++e) y.lane[e] = F<T>::of(a.lane[e], b.lane[e]);
        share.write(Y, y);
    }
}

// It moves numbers and does not look at them: an instance for each size serves all types.
template <class T> __global__ void __launch_bounds__(THREADS) where(Walk<3> walk, Source<unsigned char> C, Source<T> A, Source<T> B, T* Y) {
    constexpr int L = LANES<T>;
    for (long long tile = blockIdx.x; tile < tiles<L>(walk.count); tile += gridDim.x) {
        const Share<L, 3> share(walk, tile, walk.packs && fits<L>(C) && fits<L>(A) && fits<L>(B));
        const Pack<unsigned char, L> c = share.read(0, C);
        const Pack<T, L> a = share.read(1, A), b = share.read(2, B);
        Pack<T, L> y;
        UNROLL for (int e = 0; e < L; ++e) y.lane[e] = c.lane[e] ? a.lane[e] : b.lane[e];
        share.write(Y, y);
    }
}

// NaN wins.
template <class T> __device__ __forceinline__ T larger(T a, T b) { return a > b || a != a ? a : b; }
template <class T> __device__ __forceinline__ T smaller(T a, T b) { return a < b || a != a ? a : b; }

template <class T> __global__ void __launch_bounds__(THREADS) clamp(Walk<1> walk, Source<T> X, T low, T high, T* Y) {
    constexpr int L = LANES<T>;
    for (long long tile = blockIdx.x; tile < tiles<L>(walk.count); tile += gridDim.x) {
        const Share<L, 1> share(walk, tile, walk.packs && fits<L>(X));
        const Pack<T, L> x = share.read(0, X);
        Pack<T, L> y;
        UNROLL for (int e = 0; e < L; ++e) y.lane[e] = smaller(larger(x.lane[e], low), high);
        share.write(Y, y);
    }
}

// ---- formulas --------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float magnitude(float x) { return fabsf(x); }
__device__ __forceinline__ double magnitude(double x) { return fabs(x); }
__device__ __forceinline__ long long magnitude(long long x) { return x < 0 ? -x : x; }

// exp of a positive number may overflow: both branches take exp(-|x|).
template <class T> __device__ __forceinline__ T sigmoid(T x) {
    const T e = exp(-magnitude(x));
    return (x >= 0 ? 1 : e) / (1 + e);
}

// Φ(x) of the normal distribution: erfc, where 1 + erf would cancel in the lower tail.
template <class T> __device__ __forceinline__ T normal_below(T x) { return erfc(x * T(-0.70710678118654752440)) / 2; }

// The argument of gelu's tanh, √(2/π) (x + 0.044715 x³), and its slope
template <class T> __device__ __forceinline__ T tanh_argument(T x) { return T(0.79788456080286535588) * (x + T(0.044715) * x * x * x); }
template <class T> __device__ __forceinline__ T tanh_argument_slope(T x) { return T(0.79788456080286535588) * (1 + 3 * T(0.044715) * x * x); }

// As Python's // and %: the quotient is rounded downwards, the remainder has b's sign.
template <class T> __device__ __forceinline__ T remainder_of(T a, T b) {
    const T rest = fmod(a, b);   // exact
    if (rest == 0) return copysign(T(0), b);
    return (b < 0) != (rest < 0) && rest == rest ? rest + b : rest;
}
template <class T> __device__ __forceinline__ T quotient(T a, T b) {
    if (b == 0) return a / b;
    const T rest = fmod(a, b);
    const T whole = (a - rest) / b - (rest != 0 && (b < 0) != (rest < 0) ? 1 : 0);   // an integer but for rounding
    return whole == 0 ? copysign(T(0), a / b) : rint(whole);
}
// Division by 0 gives 0, and by -1 the smallest number stays itself, as in NumPy.
__device__ __forceinline__ long long quotient(long long a, long long b) {
    if (b == 0) return 0;
    if (b == -1) return static_cast<long long>(0 - static_cast<unsigned long long>(a));
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
__device__ __forceinline__ long long remainder_of(long long a, long long b) {
    if (b == 0 || b == -1) return 0;
    const long long rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

#define UNARY(name, formula) \
    template <class T> struct name { static __device__ __forceinline__ T of(T x) { return formula; } };
UNARY(Neg, -x)
UNARY(Abs, magnitude(x))
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
UNARY(Sigmoid, sigmoid(x))
UNARY(Erf, erf(x))
UNARY(Floor, floor(x))
UNARY(Ceil, ceil(x))
UNARY(Round, rint(x))               // halves to even
UNARY(Relu, x > 0 || x != x ? x : T(0))
UNARY(Silu, x * sigmoid(x))
UNARY(Gelu, x * normal_below(x))
UNARY(GeluTanh, x * sigmoid(2 * tanh_argument(x)))   // (1 + tanh u) / 2 = sigmoid(2 u)

#define BINARY_OF(name, R, a, b, formula) \
    template <class T> struct name { using Result = R; static __device__ __forceinline__ R of(T a, T b) { return static_cast<R>(formula); } };
#define BINARY(name, R, formula) BINARY_OF(name, R, a, b, formula)
BINARY(Add, T, a + b)
BINARY(Sub, T, a - b)
BINARY(Mul, T, a * b)
BINARY(Div, T, a / b)
BINARY(Pow, T, b == 2 ? a * a : pow(a, b))   // the commonest power, at no cost
BINARY(FloorDivide, T, quotient(a, b))
BINARY(Remainder, T, remainder_of(a, b))
BINARY(Maximum, T, larger(a, b))
BINARY(Minimum, T, smaller(a, b))
BINARY(Eq, bool, a == b)
BINARY(Ne, bool, a != b)
BINARY(Lt, bool, a < b)
BINARY(Le, bool, a <= b)
BINARY(Gt, bool, a > b)
BINARY(Ge, bool, a >= b)
// Derivatives of activations times g, from their result y or their argument x
BINARY_OF(ReluGradient, T, g, y, y <= 0 ? T(0) : g)
BINARY_OF(TanhGradient, T, g, y, g * (1 - y * y))
BINARY_OF(SigmoidGradient, T, g, y, g * y * (1 - y))
BINARY_OF(SiluGradient, T, g, x, g * sigmoid(x) * (1 + x * sigmoid(-x)))
BINARY_OF(GeluGradient, T, g, x, g * (normal_below(x) + x * exp(x * x / -2) * T(0.39894228040143267794)))   // 1 / √(2π)
template <class T> struct GeluTanhGradient {
    using Result = T;
    static __device__ __forceinline__ T of(T g, T x) {
        const T t = tanh(tanh_argument(x));
        return g * ((1 + t) / 2 + x * (1 - t * t) / 2 * tanh_argument_slope(x));
    }
};

}  // namespace elementwise

#define MAP(kind, F) KERNEL(elementwise::kind<elementwise::F, float>) KERNEL(elementwise::kind<elementwise::F, double>)
MAP(unary, Neg) MAP(unary, Abs) MAP(unary, Sign) MAP(unary, Exp) MAP(unary, Expm1) MAP(unary, Log) MAP(unary, Log1p)
MAP(unary, Log2) MAP(unary, Sqrt) MAP(unary, Rsqrt) MAP(unary, Square) MAP(unary, Reciprocal) MAP(unary, Sin) MAP(unary, Cos)
MAP(unary, Tanh) MAP(unary, Sigmoid) MAP(unary, Erf) MAP(unary, Floor) MAP(unary, Ceil) MAP(unary, Round) MAP(unary, Relu)
MAP(unary, Silu) MAP(unary, Gelu) MAP(unary, GeluTanh)
MAP(binary, Add) MAP(binary, Sub) MAP(binary, Mul) MAP(binary, Div) MAP(binary, Pow) MAP(binary, FloorDivide) MAP(binary, Remainder)
MAP(binary, Maximum) MAP(binary, Minimum) MAP(binary, Eq) MAP(binary, Ne) MAP(binary, Lt) MAP(binary, Le) MAP(binary, Gt) MAP(binary, Ge)
MAP(binary, ReluGradient) MAP(binary, TanhGradient) MAP(binary, SigmoidGradient) MAP(binary, SiluGradient)
MAP(binary, GeluGradient) MAP(binary, GeluTanhGradient)

// Integers wrap around, which only unsigned ones may: sums, differences and products have the same bits. bool comes as unsigned char: its sum is the larger, its product the smaller.
#define OF(kind, F, T) KERNEL(elementwise::kind<elementwise::F, T>)
OF(unary, Neg, unsigned long long) OF(unary, Square, unsigned long long) OF(unary, Abs, long long) OF(unary, Sign, long long)
OF(binary, Add, unsigned long long) OF(binary, Sub, unsigned long long) OF(binary, Mul, unsigned long long)
OF(binary, Add, unsigned char) OF(binary, Sub, unsigned char) OF(binary, Mul, unsigned char)
OF(binary, FloorDivide, long long) OF(binary, Remainder, long long)
#define ORDERED(F) OF(binary, F, long long) OF(binary, F, unsigned char)
ORDERED(Maximum) ORDERED(Minimum) ORDERED(Eq) ORDERED(Ne) ORDERED(Lt) ORDERED(Le) ORDERED(Gt) ORDERED(Ge)
KERNEL(elementwise::where<unsigned char>)
KERNEL(elementwise::where<unsigned short>)
KERNEL(elementwise::where<unsigned>)
KERNEL(elementwise::where<unsigned long long>)
KERNEL(elementwise::clamp<float>)
KERNEL(elementwise::clamp<double>)
KERNEL(elementwise::clamp<long long>)
