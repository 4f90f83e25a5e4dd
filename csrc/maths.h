// exp, log, tanh and their relatives, without libm: branch-free, so that loops over them become vector code.
//
// Each is a template over V: a float or double, or a vector of them. The polynomials are minimax fits (Remez's algorithm). Errors in
// units of the last place, with and without fused multiply-add: exp and log 1, expm1, log1p, sigmoid and erf 2, tanh 6 (double: 2), gelu 25 (down to
// results of 1e-36; its tanh form for x > -2, and more in the tail, where the argument's own rounding counts). NaN, infinities, signed zeros and
// denormal results come out as libm's.
#pragma once
#include "kernel.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace minidl::ISA {
namespace {

// The number type of V's lanes, and whole numbers of the same width.
template <class V> struct lanes;
template <> struct lanes<float> { using number = float; using whole = uint32_t; };
template <> struct lanes<double> { using number = double; using whole = uint64_t; };
template <> struct lanes<vec<float>::type> {
    using number = float;
    typedef uint32_t whole __attribute__((vector_size(MINIDL_VECTOR_BYTES)));
};
template <> struct lanes<vec<double>::type> {
    using number = double;
    typedef uint64_t whole __attribute__((vector_size(MINIDL_VECTOR_BYTES)));
};
template <class V> using number = typename lanes<V>::number;

template <class V> ALWAYS_INLINE typename lanes<V>::whole bits(V x) { return __builtin_bit_cast(typename lanes<V>::whole, x); }
template <class V> ALWAYS_INLINE V from_bits(typename lanes<V>::whole x) { return __builtin_bit_cast(V, x); }
template <class V> ALWAYS_INLINE V all(number<V> x) { return V{} + x; }

template <class T> struct Format;
template <> struct Format<float> {
    using whole = uint32_t;
    static constexpr int mantissa = 23;
    static constexpr uint32_t bias = 127, sign = 0x80000000u, one = 0x3f800000u, sqrt_half = 0x3f3504f3u;
    static constexpr float least_normal = 0x1p-126f;
    static constexpr float magic = 0x1.8p23f;           // x + magic holds round(x) in its lowest bits
    static constexpr float ln2_high = 0x1.63p-1f;       // few bits: times a small whole number it is exact
    static constexpr float ln2_low = -0x1.bd0106p-13f;
    static constexpr float exp_low = -104, exp_high = 89;   // beyond them exp is 0 and inf
};
template <> struct Format<double> {
    using whole = uint64_t;
    static constexpr int mantissa = 52;
    static constexpr uint64_t bias = 1023, sign = 0x8000000000000000u, one = 0x3ff0000000000000u, sqrt_half = 0x3fe6a09e667f3bcdu;
    static constexpr double least_normal = 0x1p-1022;
    static constexpr double magic = 0x1.8p52;
    static constexpr double ln2_high = 0x1.62e4p-1;
    static constexpr double ln2_low = 0x1.7f7d1cf79abcap-20;
    static constexpr double exp_low = -746, exp_high = 710;
};
template <class V> constexpr bool is_double = sizeof(number<V>) == 8;

template <class V> ALWAYS_INLINE V magnitude(V x) { return from_bits<V>(bits(x) & ~Format<number<V>>::sign); }
template <class V> ALWAYS_INLINE V with_sign_of(V x, V y) { return from_bits<V>(bits(x) | (bits(y) & Format<number<V>>::sign)); }   // x >= 0

// c[0] + c[1] x + c[2] x^2 + ...
template <class V> ALWAYS_INLINE V polynomial(V, number<V> c) { return all<V>(c); }
template <class V, class... C> ALWAYS_INLINE V polynomial(V x, number<V> c, C... higher) {
    return polynomial(x, static_cast<number<V>>(higher)...) * x + c;
}

// exp(r) = 1 + r + r² rest(r) for |r| <= 0.4
template <class V> ALWAYS_INLINE V rest_of_exp(V r) {
    if constexpr (is_double<V>)
        return polynomial(r, 0.500000000000001072, 0.166666666666664101, 0.0416666666665291916, 0.0083333333334957164, 0.00138888889439222758,
                          0.000198412695045669899, 0.0000248014927628039274, 2.75575875143585691e-6, 2.76303787233088396e-7, 2.4999912952980293e-8);
    else
        return polynomial(r, 0.5000000068f, 0.1666666586f, 0.04166629364f, 0.008333497661f, 0.001394475814f, 0.0001979025422f);
}
// x = n ln 2 + r + low, |r| <= ln 2 / 2; n as a number, and as a whole one
template <class V> struct Reduced { V r, low, whole; typename lanes<V>::whole n; };
template <class V> ALWAYS_INLINE Reduced<V> reduce_exp(V x, V small) {
    using F = Format<number<V>>;
    const V shifted = x * static_cast<number<V>>(0x1.71547652b82fep0) + F::magic, n = shifted - F::magic;
    const V high = x - n * F::ln2_high, low = n * F::ln2_low - small, r = high - low;
    return {r, (high - r) - low, n, bits(shifted) - bits(F::magic)};
}
// y 2^n, the power as a product of two, so that the largest and the denormal results come out right
template <class V> ALWAYS_INLINE V times_power(V y, const Reduced<V>& a) {
    using F = Format<number<V>>;
    const auto exponents = a.n + 2 * F::bias, half = exponents >> 1;
    return y * from_bits<V>(half << F::mantissa) * from_bits<V>((exponents - half) << F::mantissa);
}
// The same where neither the power nor the result is denormal or infinite
template <class V> ALWAYS_INLINE V times_normal_power(V y, const Reduced<V>& a) {
    using F = Format<number<V>>;
    return y * from_bits<V>((a.n + F::bias) << F::mantissa);
}
// Low and high where x is beyond them; a NaN stays.
template <class V> ALWAYS_INLINE V clip(V x, number<V> low, number<V> high) {
    x = x > high ? all<V>(high) : x;
    return x < low ? all<V>(low) : x;
}
#if defined(__AVX512F__)
// One instruction each, that the compiler does not find by itself: a dozen fewer in exp's loop. (The forms with a mask: GCC 12 warns in the others.)
ALWAYS_INLINE vec<float>::type times_power(vec<float>::type y, const Reduced<vec<float>::type>& a) { return _mm512_maskz_scalef_ps(0xffff, y, a.whole); }
ALWAYS_INLINE vec<double>::type times_power(vec<double>::type y, const Reduced<vec<double>::type>& a) { return _mm512_maskz_scalef_pd(0xff, y, a.whole); }
ALWAYS_INLINE vec<float>::type times_normal_power(vec<float>::type y, const Reduced<vec<float>::type>& a) { return times_power(y, a); }
ALWAYS_INLINE vec<double>::type times_normal_power(vec<double>::type y, const Reduced<vec<double>::type>& a) { return times_power(y, a); }
ALWAYS_INLINE vec<float>::type clip(vec<float>::type x, float low, float high) {   // of a NaN and a number, the second one is taken
    return _mm512_maskz_max_ps(0xffff, _mm512_set1_ps(low), _mm512_maskz_min_ps(0xffff, _mm512_set1_ps(high), x));
}
ALWAYS_INLINE vec<double>::type clip(vec<double>::type x, double low, double high) {
    return _mm512_maskz_max_pd(0xff, _mm512_set1_pd(low), _mm512_maskz_min_pd(0xff, _mm512_set1_pd(high), x));
}
constexpr bool SCALES = true;
#else
constexpr bool SCALES = false;
#endif
template <class V> ALWAYS_INLINE V clip_exp(V x, number<V> low) { return clip(x, low, Format<number<V>>::exp_high); }

template <class V> ALWAYS_INLINE V exp(V x) {
    const Reduced<V> a = reduce_exp(clip_exp(x, Format<number<V>>::exp_low), V{});
    return times_power(1 + (a.r + (a.r * a.r * rest_of_exp(a.r) + a.low)), a);
}

// exp(x) where denormal results may as well be 0, and what exceeds exp(88) (double: exp(709)) infinity: the terms of a softmax
template <class V> ALWAYS_INLINE V quick_exp(V x) {
    using F = Format<number<V>>;
    constexpr number<V> low = is_double<V> ? -708 : -87, high = is_double<V> ? 709 : 88;
    constexpr bool scales = SCALES && sizeof(V) > sizeof(number<V>);   // a vector: its ends come out right by themselves
    const Reduced<V> a = reduce_exp(scales ? clip_exp(x, F::exp_low) : x, V{});
    const V y = times_normal_power(1 + (a.r + a.r * a.r * rest_of_exp(a.r)), a);
    return scales ? y : x < low ? V{} : x > high ? all<V>(__builtin_inf()) : y;
}

template <class V> ALWAYS_INLINE V expm1(V x) {
    using T = number<V>;
    using F = Format<T>;
    const Reduced<V> a = reduce_exp(clip_exp(x, T(-40)), V{});   // exp(-40) is nothing beside 1
    const V q = a.r + (a.r * a.r * rest_of_exp(a.r) + a.low);
    const V power = from_bits<V>((a.n + F::bias) << F::mantissa);
    return magnitude(x) < T(1e-18) ? x : x > 40 ? times_power(1 + q, a) : power * q + (power - 1);
}

template <class V> ALWAYS_INLINE V log(V x) {
    using T = number<V>;
    using F = Format<T>;
    constexpr T up = T(uint64_t{1} << (F::mantissa + 2)), two_to_mantissa = T(uint64_t{1} << F::mantissa), inf = __builtin_inf();
    const auto denormal = x < F::least_normal;
    const auto shifted = bits(denormal ? x * up : x) + (F::one - F::sqrt_half);   // x = m 2^k, m in [√½, √2)
    const V k = from_bits<V>((shifted >> F::mantissa) | bits(two_to_mantissa)) - (two_to_mantissa + F::bias) -
                (denormal ? all<V>(F::mantissa + 2) : V{});
    const V f = from_bits<V>((shifted & ((typename F::whole{1} << F::mantissa) - 1)) + F::sqrt_half) - 1;
    // log(1 + f) = f - f²/2 + s (f²/2 + R(s²)) with s = f / (2 + f)
    const V s = f / (2 + f), z = s * s, square = T(0.5) * f * f;
    V R;
    if constexpr (is_double<V>)
        R = z * polynomial(z, 0.666666666666666609, 0.400000000000063328, 0.285714285690583306, 0.22222222650957077, 0.181817753315658932,
                           0.153871054097414035, 0.132497865367910627, 0.132543557909323865);
    else
        R = z * polynomial(z, 0.6666666564f, 0.4000033728f, 0.285371667f, 0.2358500833f);
    const V y = k * F::ln2_high - ((square - (s * (square + R) + k * F::ln2_low)) - f);
    return x > 0 ? (x < inf ? y : x) : (x == 0 ? all<V>(-inf) : all<V>(T(__builtin_nan(""))));
}

template <class V> ALWAYS_INLINE V log1p(V x) {
    using T = number<V>;
    const V u = 1 + x;
    const V lost = u > 0 ? (u < T(__builtin_inf()) ? (x - (u - 1)) / u : V{}) : V{};   // log(1 + x) = log(u) + (1 + x - u) / u + ...
    return magnitude(x) < T(1e-18) ? x : log(u) + lost;
}

template <class V> ALWAYS_INLINE V sigmoid(V x) {
    const V e = exp(-magnitude(x));   // a positive argument could overflow
    const V q = e / (1 + e);
    return x >= 0 ? 1 - q : e - e * q;   // e - e q is closer than q, which has 1 + e's rounding
}

template <class V> ALWAYS_INLINE V tanh(V x) {
    if constexpr (is_double<V>) {
        const V a = magnitude(x), z = x * x;
        const V small = polynomial(z, -0.333333333333333316, 0.133333333333329608, -0.0539682539679690948, 0.0218694885252189627,
                                   -0.0088632352835086182, 0.00359212449458712833, -0.00145580032134967336, 0.000589802725101228443,
                                   -0.000238104753684071298, 0.0000937180033257400056, -0.0000326406709949178946, 7.26361559723563623e-6);
        return with_sign_of(a < number<V>(0.55) ? a + a * (z * small) : 1 - 2 / (quick_exp(2 * a) + 1), x);
    } else {   // x P(x²) / Q(x²): a division, and no exponential; from 9.01 on tanh is 1
        const V b = clip(x, -9.01f, 9.01f), w = b * b;
        const V above = b * polynomial(w, 1, 0.1338037252f, 0.003494811477f, 2.059628059e-05f, 1.333685695e-08f);
        const V below = polynomial(w, 1, 0.4671368599f, 0.02587402798f, 0.0003284363775f, 7.769286867e-07f);
        return clip(above / below, -1, 1);
    }
}

// The normal distribution for floats 0 <= a <= 13, without the density's factor: exp(-a²/2), and the upper tail (1 - erf(a / √2)) / 2, which is that
// times a polynomial in (a - 4) / (a + 4).
template <class V> struct Normal { V exp, tail; };
template <class V> ALWAYS_INLINE Normal<V> normal(V a) {
    const V high = from_bits<V>(bits(a) & 0xfffff000u), low = a - high;   // high² is exact
    const V scale = 1 / (a + 4), u = (a - 4) * scale;
    const V p = polynomial(u, 0.7552851354f, -0.6078965866f, 0.3871369041f, -0.1865234861f, 0.06040376312f, -0.007525003256f, -0.003512073633f,
                           0.001569589998f, 0.0001783674855f, -0.0001324350965f);
    const Reduced<V> at = reduce_exp(-0.5f * high * high, -0.5f * low * (a + high));   // as quick_exp goes on, with both halves
    const V e = times_normal_power(1 + (at.r + (at.r * at.r * rest_of_exp(at.r) + at.low)), at);
    return {e, e * (p * scale)};
}

template <class V> ALWAYS_INLINE V erf(V x) {
    if constexpr (is_double<V>) return __builtin_erf(x);
    else {
        V a = magnitude(x);
        const V z = x * x;
        const V small = x + x * polynomial(z, 0.128379166f, -0.3761262714f, 0.1128360018f, -0.02685444469f, 0.005189535333f, -0.0008020840074f,
                                           7.889112892e-5f);
        a = a > 5 ? all<V>(5) : a;
        return a < 0.9f ? small : with_sign_of(1 - 2 * normal(a * 1.41421356f).tail, x);
    }
}

// normal(|x|); 0 beyond 13, where the tail is less than 1e-38
template <class V> ALWAYS_INLINE Normal<V> normal_beyond(V x) {
    const V a = magnitude(x);
    const Normal<V> at = normal(a > 13 ? all<V>(13) : a);
    return {a > 13 ? V{} : at.exp, a > 13 ? V{} : at.tail};
}

// Where GELU has a shorter form, that is most of a network's numbers
constexpr float SMALL = 4;

// x Φ(x), accurate in the lower tail too, where 1 + erf(x / √2) would cancel
template <class V> ALWAYS_INLINE V gelu_from_tail(V x, V tail) { return x * (x < 0 ? tail : 1 - tail); }
// For |x| <= 4 the tail's eighth root is a polynomial: the root falls by a factor of 3, the tail by 16,000. For x > 0 the result is x - x tail.
template <class V> ALWAYS_INLINE V gelu_of_small(V x) {
    const V a = magnitude(x);
    V root = polynomial(a - 2.5f, 0.529826326f, -0.186945579f, 0.00281324284f, 0.00629223906f, -0.000434477487f, -0.000146497793f, 1.88409244e-5f,
                                  1.5010547e-6f, -3.08737212e-7f);
    root *= root;
    root *= root;
    return (x < 0 ? V{} : x) - a * (root * root);
}
template <class V> ALWAYS_INLINE V gelu(V x) {
    if constexpr (is_double<V>) return x * (__builtin_erfc(x * -0.70710678118654752440) / 2);
    else return magnitude(x) > SMALL ? gelu_from_tail(x, normal_beyond(x).tail) : gelu_of_small(x);
}
// Its derivative Φ(x) + x φ(x), to 5 units of 1's last place; it is 1/2 at 0, and odd around it
template <class V> ALWAYS_INLINE V gelu_slope_of_small(V x) {
    const V rise = polynomial(magnitude(x) - 2, 0.585231721f, -0.107982263f, 2.42741407e-06f, 0.0719911605f, -0.0450046211f, 0.00269065704f,
                                                0.007822101f, -0.00277468818f, -0.000392040558f, 0.000420873752f, -3.49432885e-05f,
                                                -3.18043567e-05f, 6.2319582e-06f, 1.09791904e-06f, -2.99799609e-07f);
    return 0.5f + from_bits<V>(bits(rise) ^ (bits(x) & Format<number<V>>::sign));
}
template <class V> ALWAYS_INLINE V gelu_slope(V x) {
    constexpr number<V> peak = 0.39894228040143267794;   // 1 / √(2π)
    if constexpr (is_double<V>) return __builtin_erfc(x * -0.70710678118654752440) / 2 + x * (peak * exp(x * x / -2));
    else {
        const Normal<V> at = normal_beyond(x);
        return magnitude(x) > SMALL ? (x < 0 ? at.tail : 1 - at.tail) + x * (peak * at.exp) : gelu_slope_of_small(x);
    }
}
// x (1 + tanh u) / 2 = x sigmoid(2 u)
template <class V> ALWAYS_INLINE V gelu_tanh(V x) {
    using T = number<V>;
    return x * sigmoid(T(1.5957691216057307117597842397375) * (x + T(0.044715) * x * x * x));
}

// s = sigmoid(x) and 1 - s, neither by subtraction
template <class V> struct Logistic { V s, rest; };
template <class V> ALWAYS_INLINE Logistic<V> logistic(V x) {
    const V e = exp(-magnitude(x)), q = 1 / (1 + e), p = e * q;
    return {x >= 0 ? q : p, x >= 0 ? p : q};
}
// The derivative of x sigmoid(x)
template <class V> ALWAYS_INLINE V silu_slope(V x) {
    const Logistic<V> at = logistic(x);
    return at.s * (1 + x * at.rest);
}
// The derivative of gelu_tanh, as exact: s + x s (1 - s) (2 u)'
template <class V> ALWAYS_INLINE V gelu_tanh_slope(V x) {
    using T = number<V>;
    constexpr T c = T(1.5957691216057307117597842397375);
    const V square = x * x;
    const Logistic<V> at = logistic(c * (x + T(0.044715) * square * x));
    return at.s + x * at.s * at.rest * (c * (1 + T(0.134145) * square));
}

template <class T> ALWAYS_INLINE T square_root(T x) { if constexpr (sizeof(T) == 4) return __builtin_sqrtf(x); else return __builtin_sqrt(x); }
template <class V> ALWAYS_INLINE V larger_of(V a, V b) { return a > b ? a : a != a ? a : b; }   // NaN wins
template <class V> ALWAYS_INLINE V smaller_of(V a, V b) { return a < b ? a : a != a ? a : b; }
#if defined(__AVX512F__)
// Of a NaN and a number these instructions take the second one: b's NaN comes through by itself.
ALWAYS_INLINE vec<float>::type larger_of(vec<float>::type a, vec<float>::type b) { return a != a ? a : vec<float>::type(_mm512_maskz_max_ps(0xffff, a, b)); }
ALWAYS_INLINE vec<double>::type larger_of(vec<double>::type a, vec<double>::type b) { return a != a ? a : vec<double>::type(_mm512_maskz_max_pd(0xff, a, b)); }
ALWAYS_INLINE vec<float>::type smaller_of(vec<float>::type a, vec<float>::type b) { return a != a ? a : vec<float>::type(_mm512_maskz_min_ps(0xffff, a, b)); }
ALWAYS_INLINE vec<double>::type smaller_of(vec<double>::type a, vec<double>::type b) { return a != a ? a : vec<double>::type(_mm512_maskz_min_pd(0xff, a, b)); }
#endif

}  // namespace
}  // namespace minidl::ISA
