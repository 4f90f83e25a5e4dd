// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3")
//
//     for each block of four words, that is for each counter b:
//         c = (b low, b high, 0, 0);  k = (seed low, seed high)
//         ten times: c ← (high(M1 c2) ^ c1 ^ k0, low(M1 c2), high(M0 c0) ^ c3 ^ k1, low(M0 c0));  k ← k + (W0, W1)
//
// No word depends on another: blocks go through the rounds side by side, CHUNK of them at a time, and pieces of the stream on several threads.
#include "random.h"

#include "maths.h"

namespace minidl::ISA {
namespace {

constexpr int64_t CHUNK = 64;      // blocks
constexpr int64_t GRAIN = 16384;   // words

// The words of blocks first ... first + CHUNK - 1
NOINLINE void make_blocks(uint64_t seed, uint64_t first, uint32_t* __restrict words) {
    uint32_t c0[CHUNK], c1[CHUNK], c2[CHUNK], c3[CHUNK];
    for (int64_t i = 0; i < CHUNK; ++i) {
        const uint64_t block = first + static_cast<uint64_t>(i);
        c0[i] = static_cast<uint32_t>(block), c1[i] = static_cast<uint32_t>(block >> 32);
        c2[i] = c3[i] = 0;
    }
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
        for (int64_t i = 0; i < CHUNK; ++i) {
            const uint64_t p0 = uint64_t{c0[i]} * 0xD2511F53u, p1 = uint64_t{c2[i]} * 0xCD9E8D57u;
            c0[i] = static_cast<uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
            c1[i] = static_cast<uint32_t>(p1);
            c2[i] = static_cast<uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
            c3[i] = static_cast<uint32_t>(p0);
        }
    for (int64_t i = 0; i < CHUNK; ++i) words[4 * i] = c0[i], words[4 * i + 1] = c1[i], words[4 * i + 2] = c2[i], words[4 * i + 3] = c3[i];
}

// use(words, begin, end): `end - begin` results from `PER` words each; begin counts results.
template <int PER, class Use> ALWAYS_INLINE void from_words(uint64_t seed, uint64_t offset, int64_t count, const Use& use) {
    parallel_for(count, GRAIN / PER, [=, &use](int64_t begin, int64_t end) {
        uint32_t words[4 * CHUNK + 4];
        constexpr int64_t batch = (4 * CHUNK - 4) / PER;   // a result may begin inside a block
        for (int64_t i = begin; i < end; i += batch) {
            const uint64_t at = offset + static_cast<uint64_t>(i) * PER;
            make_blocks(seed, at / 4, words);
            use(words + at % 4, i, smaller(end, i + batch));
        }
    });
}

void philox(uint64_t seed, uint64_t offset, int64_t count, uint32_t* y) {
    from_words<1>(seed, offset, count, [=](const uint32_t* words, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = words[i - begin];
    });
}

// 53 bits of two words
ALWAYS_INLINE double wide(uint32_t a, uint32_t b) {
    return (static_cast<double>(static_cast<int32_t>(a >> 5)) * 0x1p26 + static_cast<double>(static_cast<int32_t>(b >> 6))) * 0x1p-53;
}

template <class T> void uniform(uint64_t seed, uint64_t offset, int64_t count, void* y_) {
    T* y = static_cast<T*>(y_);
    if constexpr (sizeof(T) == 4)
        from_words<1>(seed, offset, count, [=](const uint32_t* words, int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) y[i] = static_cast<T>(static_cast<int32_t>(words[i - begin] >> 8)) * 0x1p-24f;
        });
    else
        from_words<2>(seed, offset, count, [=](const uint32_t* words, int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) y[i] = wide(words[2 * (i - begin)], words[2 * (i - begin) + 1]);
        });
}

// sin and cos of 2π v, 0 <= v < 1: v's distance from the nearest quarter turn, then a polynomial each, then swapped and signed by the quarter
ALWAYS_INLINE void sin_cos_turns(double v, double& sine, double& cosine) {
    const double quarter = (v * 4 + Format<double>::magic) - Format<double>::magic, x = (v - quarter * 0.25) * 6.283185307179586477, z = x * x;
    const double s = x + x * z * polynomial(z, -0.166666666666666667, 0.00833333333333333333, -0.000198412698412698413, 2.75573192239858907e-6,
                                            -2.50521083854417188e-8, 1.60590438368216146e-10, -7.64716373181981648e-13);
    const double c = 1 + z * polynomial(z, -0.5, 0.0416666666666666667, -0.00138888888888888889, 2.48015873015873016e-5, -2.75573192239858907e-7,
                                        2.08767569878680990e-9, -1.14707455977297247e-11, 4.77947733238738530e-14);
    const bool odd = quarter == 1 || quarter == 3;
    sine = (odd ? c : s) * (quarter == 2 || quarter == 3 ? -1 : 1);
    cosine = (odd ? s : c) * (quarter == 1 || quarter == 2 ? -1 : 1);
}

// Box and Muller: √(-2 log(1 - u)) (cos 2πv, sin 2πv), in double
template <class T> void normal(uint64_t seed, uint64_t offset, int64_t count, void* y_) {
    T* y = static_cast<T*>(y_);
    from_words<4>(seed, offset, (count + 1) / 2, [=](const uint32_t* words, int64_t begin, int64_t end) {
        T pairs[2 * CHUNK];
        for (int64_t i = 0; i < end - begin; ++i) {
            const uint32_t* w = words + 4 * i;
            const double radius = square_root(-2 * log(1 - wide(w[0], w[1])));
            double sine, cosine;
            sin_cos_turns(wide(w[2], w[3]), sine, cosine);
            pairs[2 * i] = static_cast<T>(radius * cosine), pairs[2 * i + 1] = static_cast<T>(radius * sine);
        }
        const int64_t stop = smaller(count, 2 * end);
        for (int64_t i = 2 * begin; i < stop; ++i) y[i] = pairs[i - 2 * begin];
    });
}

// A product, not a choice: what is dropped of an infinity is NaN, as in the reference.
template <class T> NOINLINE void scale_kept(int64_t n, T scale, const T* __restrict x, const uint8_t* __restrict mask, T* __restrict y) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * (mask[i] ? scale : T(0));
}

template <class T>
NOINLINE void keep_some(int64_t n, const uint32_t* __restrict words, float p, T scale, const T* __restrict x, T* __restrict y, uint8_t* __restrict mask) {
    for (int64_t i = 0; i < n; ++i) {
        const bool keep = static_cast<float>(static_cast<int32_t>(words[i] >> 8)) * 0x1p-24f >= p;
        mask[i] = keep;
        y[i] = x[i] * (keep ? scale : T(0));
    }
}
template <class T>
void dropout(uint64_t seed, uint64_t offset, int64_t count, float p, double scale, const void* x_, void* y_, uint8_t* mask) {
    const T* x = static_cast<const T*>(x_);
    T* y = static_cast<T*>(y_);
    from_words<1>(seed, offset, count, [=](const uint32_t* words, int64_t begin, int64_t end) {
        keep_some(end - begin, words, p, static_cast<T>(scale), x + begin, y + begin, mask + begin);
    });
}
template <class T> void masked_scale(int64_t count, double scale, const void* x_, const uint8_t* mask, void* y_) {
    const T* x = static_cast<const T*>(x_);
    T* y = static_cast<T*>(y_);
    parallel_for(count, 2 * GRAIN, [=](int64_t begin, int64_t end) {
        scale_kept(end - begin, static_cast<T>(scale), x + begin, mask + begin, y + begin);
    });
}

}  // namespace

constexpr RandomTable random = {
    .philox = philox,
    .uniform = {uniform<float>, uniform<double>},
    .normal = {normal<float>, normal<double>},
    .dropout = {dropout<float>, dropout<double>},
    .masked_scale = {masked_scale<float>, masked_scale<double>},
};

}  // namespace minidl::ISA
