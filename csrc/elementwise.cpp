// Elementwise maps: y[...] = f(a[...]), f(a[...], b[...]), condition[...] ? a[...] : b[...]
//
//     for each row (all dimensions but the last):
//         for i in the last dimension:
//             y[i] = f(a[i * step_a], b[i * step_b])        steps 0 (broadcast) and 1 (contiguous) have vector loops
//
// y is contiguous in the order of the nest. The loops are plain: the compiler makes vectors of them, since f has no branches (maths.h).
#include "elementwise.h"

#include "lanes.h"
#include "walk.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 32768;        // elements: bound by memory
constexpr int64_t SMALL_GRAIN = 8192;   // elements: tens of operations each
template <class F> constexpr bool is_long = false;
template <class F> requires requires { F::grain; } constexpr bool is_long<F> = F::grain == SMALL_GRAIN;
template <class F> constexpr bool is_simple = false;   // works on vectors as on numbers, and waits for memory only
constexpr int64_t LARGE = 32 << 20;                    // bytes of a result that leaves the caches

template <class T, int K> bool is_large(const Nest<K>& nest) {
    int64_t size = sizeof(T);
    for (int d = 0; d < nest.ndim; ++d) size *= nest.shape[d];
    return size >= LARGE;
}
template <class T> ALWAYS_INLINE T like(T x, T) { return x; }
template <class T> ALWAYS_INLINE vector<T> like(T x, vector<T>) { return splat(x); }

// A formula that is shorter for arguments up to SMALL: f of a block that turns out to hold no others.
template <class Name> struct Short { using type = void; };
template <class Name> constexpr bool shortens = !__is_same(typename Short<Name>::type, void);
template <class F, class... More> ALWAYS_INLINE const auto& last_of(const F& f, const More&... more) {
    if constexpr (sizeof...(More) == 0) return f;
    else return last_of(more...);
}

template <class F> ALWAYS_INLINE auto brief_form(const F& f) {
    if constexpr (shortens<F>) return typename Short<F>::type{};
    else return f;
}

// y[i] = f(a[i] ...) as Name says. Long formulas of floats are written out in vectors, the last one filled up: the compiler's own loops leave a scalar
// rest. So are simple ones with `large` results, which go past the caches. `brief` is f where the last argument is small.
template <class Name, class T, class Y, class F, class G, class... A>
ALWAYS_INLINE void along(int64_t n, bool large, Y* __restrict y, const F& f, const G& brief, const A*... a) {
    constexpr int64_t L = vec<T>::size, BLOCK = 16 * L;
    constexpr bool long_one = is_long<Name> && sizeof(T) == 4;
    int64_t i = 0;
    if constexpr (long_one || is_simple<Name>) {
        const bool past = large && reinterpret_cast<uintptr_t>(y) % sizeof(vector<T>) == 0;
        const auto vectors = [&](int64_t end, const auto& f) {
            if (past) for (; i + L <= end; i += L) stream(y + i, f(load(a + i)...));
            else if constexpr (long_one) for (; i + L <= end; i += L) store(y + i, f(load(a + i)...));
        };
        if constexpr (long_one && shortens<Name>)
            while (i + BLOCK <= n) {
                // Of positive numbers the one with the larger bits is larger, and a NaN is the largest.
                const auto later = [](auto x, auto y) { return from_bits<decltype(x)>(bits(x) > bits(y) ? bits(x) : bits(y)); };
                const int64_t begin = i;
                vector<T> largest{};
                vectors(begin + BLOCK, [&](auto... x) {
                    largest = later(largest, magnitude(last_of(x...)));
                    return brief(x...);
                });
                if (across<T>(largest, later) <= SMALL) continue;
                i = begin;   // this block once more, for all arguments
                vectors(begin + BLOCK, f);
            }
        vectors(n, f);
        if (past) streamed();
    }
    if constexpr (long_one) {
        if (i == n) return;
        const auto rest = [=](const T* from) {
            T lanes[L] = {};
            copy_lanes(lanes, from + i, static_cast<int>(n - i));
            return load(lanes);
        };
        T lanes[L];
        store(lanes, f(rest(a)...));
        copy_lanes(y + i, lanes, static_cast<int>(n - i));
    } else {
        for (; i < n; ++i) y[i] = f(a[i]...);
    }
}

// ---- one input -------------------------------------------------------------------------------------------------------

template <class T, class F> ALWAYS_INLINE void map(const Nest<2>& nest, int64_t grain, F f) {
    const auto brief = brief_form(f);
    const int64_t step = nest.stride[1][nest.ndim - 1];
    const bool large = is_large<T>(nest);
    for_each_row(nest, grain, [=, &nest](int64_t n, const int64_t* offset) {
        T* __restrict y = static_cast<T*>(nest.data[0]) + offset[0];
        const T* a = static_cast<const T*>(nest.data[1]) + offset[1];
        if (step == 1) along<F, T>(n, large, y, f, brief, a);
        else for (int64_t i = 0; i < n; ++i) y[i] = f(a[i * step]);
    });
}
template <class T, class F> void unary(const Nest<2>& nest) { map<T>(nest, F::grain, F{}); }
template <class F> constexpr Unary UNARY = {unary<float, F>, unary<double, F>};

#define MAP(Name, GRAIN_, expression) \
    struct Name { static constexpr int64_t grain = GRAIN_; template <class T> ALWAYS_INLINE T operator()(T x) const { return expression; } }

template <class T> ALWAYS_INLINE T rounded(T x) { if constexpr (sizeof(T) == 4) return __builtin_rintf(x); else return __builtin_rint(x); }
template <class T> ALWAYS_INLINE T floor_of(T x) { if constexpr (sizeof(T) == 4) return __builtin_floorf(x); else return __builtin_floor(x); }
template <class T> ALWAYS_INLINE T ceil_of(T x) { if constexpr (sizeof(T) == 4) return __builtin_ceilf(x); else return __builtin_ceil(x); }

MAP(Copy, GRAIN, x);
MAP(Neg, GRAIN, -x);
MAP(Abs, GRAIN, magnitude(x));
MAP(Sign, GRAIN, x > 0 ? T(1) : x < 0 ? T(-1) : T(0));   // 0 at NaN, as the reference
MAP(Square, GRAIN, x * x);
MAP(Cube, GRAIN, x * x * x);
MAP(Sqrt, GRAIN, square_root(x));
MAP(Rsqrt, GRAIN, 1 / square_root(x));
MAP(Reciprocal, GRAIN, 1 / x);
MAP(Floor, GRAIN, floor_of(x));
MAP(Ceil, GRAIN, ceil_of(x));
MAP(Round, GRAIN, rounded(x));
MAP(Relu, GRAIN, 0 > x ? T{} : x);
template <> constexpr bool is_simple<Neg> = true;
template <> constexpr bool is_simple<Square> = true;
template <> constexpr bool is_simple<Relu> = true;
MAP(Exp, SMALL_GRAIN, ISA::exp(x));
MAP(Expm1, SMALL_GRAIN, ISA::expm1(x));
MAP(Log, SMALL_GRAIN, ISA::log(x));
MAP(Log1p, SMALL_GRAIN, ISA::log1p(x));
MAP(Tanh, SMALL_GRAIN, ISA::tanh(x));
MAP(Sigmoid, SMALL_GRAIN, sigmoid(x));
MAP(Erf, SMALL_GRAIN, ISA::erf(x));
MAP(Silu, SMALL_GRAIN, x * sigmoid(x));
MAP(Gelu, SMALL_GRAIN, gelu(x));
MAP(GeluOfSmall, SMALL_GRAIN, gelu_of_small(x));
template <> struct Short<Gelu> { using type = GeluOfSmall; };
MAP(GeluTanh, SMALL_GRAIN, gelu_tanh(x));
#undef MAP

template <class T> void clamp(const Nest<2>& nest, double low, double high) {
    map<T>(nest, GRAIN, [l = static_cast<T>(low), h = static_cast<T>(high)](T x) { return smaller_of(larger_of(x, l), h); });
}

// ---- two inputs ------------------------------------------------------------------------------------------------------

template <class T, class Y, class F> void binary(const Nest<3>& nest) {
    const int last = nest.ndim - 1;
    const int64_t sa = nest.stride[1][last], sb = nest.stride[2][last];
    const bool large = is_large<T>(nest);
    for_each_row(nest, F::grain, [=, &nest](int64_t n, const int64_t* offset) {
        constexpr F f;
        const auto brief = brief_form(f);
        Y* __restrict y = static_cast<Y*>(nest.data[0]) + offset[0];
        const T *a = static_cast<const T*>(nest.data[1]) + offset[1], *b = static_cast<const T*>(nest.data[2]) + offset[2];
        const auto with_b = [=, number = *b](auto x) { return f(x, like(number, x)); };
        const auto with_a = [number = *a](const auto& f) { return [=](auto x) { return f(like(number, x), x); }; };
        if (sa == 1 && sb == 1) along<F, T>(n, large, y, f, brief, a, b);
        else if (sa == 1 && sb == 0) along<F, T>(n, large, y, with_b, with_b, a);
        else if (sa == 0 && sb == 1) along<F, T>(n, large, y, with_a(f), with_a(brief), b);
        else for (int64_t i = 0; i < n; ++i) y[i] = f(a[i * sa], b[i * sb]);
    });
}
template <class F> constexpr Binary BINARY = {binary<float, float, F>, binary<double, double, F>};
template <class F> constexpr Compare COMPARE = {binary<float, uint8_t, F>, binary<double, uint8_t, F>};

#define PAIR_OF(Name, GRAIN_, a, b, expression) \
    struct Name { static constexpr int64_t grain = GRAIN_; template <class T> ALWAYS_INLINE auto operator()(T a, T b) const { return expression; } }
#define PAIR(Name, expression) PAIR_OF(Name, GRAIN, a, b, expression)
PAIR(Add, a + b);
PAIR(Sub, a - b);
PAIR(Mul, a * b);
PAIR(Div, a / b);
template <> constexpr bool is_simple<Add> = true;
template <> constexpr bool is_simple<Sub> = true;
template <> constexpr bool is_simple<Mul> = true;
template <> constexpr bool is_simple<Div> = true;
PAIR(Maximum, larger_of(a, b));
PAIR(Minimum, smaller_of(a, b));
PAIR(Eq, a == b);
PAIR(Ne, a != b);
PAIR(Lt, a < b);
PAIR(Le, a <= b);
PAIR(Gt, a > b);
PAIR(Ge, a >= b);
#undef PAIR

// Derivatives of activations times g, from their result y or their argument x
PAIR_OF(ReluGradient, GRAIN, g, y, y <= 0 ? T(0) : g);
PAIR_OF(TanhGradient, GRAIN, g, y, g * (1 - y * y));
PAIR_OF(SigmoidGradient, GRAIN, g, y, g * y * (1 - y));
PAIR_OF(SiluGradient, SMALL_GRAIN, g, x, g * silu_slope(x));
PAIR_OF(GeluGradient, SMALL_GRAIN, g, x, g * gelu_slope(x));
PAIR_OF(GeluGradientOfSmall, SMALL_GRAIN, g, x, g * gelu_slope_of_small(x));
template <> struct Short<GeluGradient> { using type = GeluGradientOfSmall; };
PAIR_OF(GeluTanhGradient, SMALL_GRAIN, g, x, g * gelu_tanh_slope(x));
#undef PAIR_OF

// ---- a condition and two inputs ---------------------------------------------------------------------------------------

template <class T> void where(const Nest<4>& nest) {
    const int last = nest.ndim - 1;
    const int64_t sc = nest.stride[1][last], sa = nest.stride[2][last], sb = nest.stride[3][last];
    for_each_row(nest, GRAIN, [=, &nest](int64_t n, const int64_t* offset) {
        T* __restrict y = static_cast<T*>(nest.data[0]) + offset[0];
        const uint8_t* c = static_cast<const uint8_t*>(nest.data[1]) + offset[1];
        const T *a = static_cast<const T*>(nest.data[2]) + offset[2], *b = static_cast<const T*>(nest.data[3]) + offset[3];
        const auto pick = [](uint8_t c, T a, T b) { return c ? a : b; };   // reads both: no branch
        if (sc == 1 && sa == 1 && sb == 1) for (int64_t i = 0; i < n; ++i) y[i] = pick(c[i], a[i], b[i]);
        else if (sc == 1 && sa == 1 && sb == 0) for (int64_t i = 0; i < n; ++i) y[i] = pick(c[i], a[i], *b);
        else if (sc == 1 && sa == 0 && sb == 1) for (int64_t i = 0; i < n; ++i) y[i] = pick(c[i], *a, b[i]);
        else for (int64_t i = 0; i < n; ++i) y[i] = pick(c[i * sc], a[i * sa], b[i * sb]);
    });
}

}  // namespace

constexpr ElementwiseTable elementwise = {
    .add = BINARY<Add>, .sub = BINARY<Sub>, .mul = BINARY<Mul>, .div = BINARY<Div>, .maximum = BINARY<Maximum>, .minimum = BINARY<Minimum>,
    .eq = COMPARE<Eq>, .ne = COMPARE<Ne>, .lt = COMPARE<Lt>, .le = COMPARE<Le>, .gt = COMPARE<Gt>, .ge = COMPARE<Ge>,
    .relu_gradient = BINARY<ReluGradient>, .tanh_gradient = BINARY<TanhGradient>, .sigmoid_gradient = BINARY<SigmoidGradient>,
    .silu_gradient = BINARY<SiluGradient>, .gelu_gradient = BINARY<GeluGradient>, .gelu_tanh_gradient = BINARY<GeluTanhGradient>,
    .where = {where<float>, where<double>},
    .clamp = {clamp<float>, clamp<double>},
    .copy = UNARY<Copy>, .neg = UNARY<Neg>, .abs = UNARY<Abs>, .sign = UNARY<Sign>, .square = UNARY<Square>, .cube = UNARY<Cube>,
    .sqrt = UNARY<Sqrt>, .rsqrt = UNARY<Rsqrt>, .reciprocal = UNARY<Reciprocal>,
    .floor = UNARY<Floor>, .ceil = UNARY<Ceil>, .round = UNARY<Round>,
    .exp = UNARY<Exp>, .expm1 = UNARY<Expm1>, .log = UNARY<Log>, .log1p = UNARY<Log1p>, .tanh = UNARY<Tanh>, .sigmoid = UNARY<Sigmoid>,
    .erf = UNARY<Erf>, .relu = UNARY<Relu>, .silu = UNARY<Silu>, .gelu = UNARY<Gelu>, .gelu_tanh = UNARY<GeluTanh>,
};

}  // namespace minidl::ISA
