// Counter-based random numbers on a GPU: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3")
//
//     for four words each, a thread:
//         for each block of the stream that they lie in (one, or two where the offset is no multiple of 4), that is for its counter b:
//             c = (b low, b high, 0, 0);  k = (seed low, seed high)
//             ten times: c ← (high(M1 c2) ^ c1 ^ k0, low(M1 c2), high(M0 c0) ^ c3 ^ k1, low(M0 c0));  k ← k + (W0, W1)
//
// No word depends on another, so each thread computes its own, whatever the grid: the very words of csrc/random.cpp. The offset may lie in the device's memory, where a captured CUDA
// graph reads it anew each time.
#include "scalar.cuh"

namespace random_numbers {   // `random` alone is a function of the C library

using Word = unsigned int;
using Long = unsigned long long;

constexpr int THREADS = 256;
constexpr int WORDS = 4;   // that a thread computes

struct Words {
    Word word[WORDS];
};

// Words 4 b ... 4 b + 3 of the stream
__device__ __forceinline__ Words cipher(Long seed, Long b) {
    Word c0 = static_cast<Word>(b), c1 = static_cast<Word>(b >> 32), c2 = 0, c3 = 0, k0 = static_cast<Word>(seed), k1 = static_cast<Word>(seed >> 32);
    UNROLL for (int round = 0; round < 10; ++round) {
        const Long p0 = static_cast<Long>(c0) * 0xD2511F53u, p1 = static_cast<Long>(c2) * 0xCD9E8D57u;
        c0 = static_cast<Word>(p1 >> 32) ^ c1 ^ k0, c1 = static_cast<Word>(p1);
        c2 = static_cast<Word>(p0 >> 32) ^ c3 ^ k1, c3 = static_cast<Word>(p0);
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// Words at ... at + 3 of the stream
__device__ __forceinline__ Words words_from(Long seed, Long at) {
    const int shift = static_cast<int>(at % WORDS);
    const Words first = cipher(seed, at / WORDS);
    if (shift == 0) return first;
    const Words second = cipher(seed, at / WORDS + 1);
    Words both = first;
    UNROLL for (int w = 0; w < WORDS; ++w)
        UNROLL for (int s = 1; s < WORDS; ++s)   // no index that only the running program knows: registers have none
            if (s == shift) both.word[w] = w + s < WORDS ? first.word[(w + s) % WORDS] : second.word[(w + s) % WORDS];
    return both;
}

// The first number of a thread, and how far its next ones are: n threads, PER numbers each.
template <int PER> __device__ __forceinline__ long long first_number() { return (blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x) * PER; }
template <int PER> __device__ __forceinline__ long long stride() { return static_cast<long long>(gridDim.x) * THREADS * PER; }

// y[n] ... y[n + PER - 1], as far as there are so many. n is a multiple of PER, y lies on a boundary of 16 bytes.
template <int PER, class T> __device__ __forceinline__ void store_some(T* y, long long n, long long count, const T (&x)[PER]) {
    if constexpr (PER * sizeof(T) % 16 == 0) {
        constexpr int L = Pack<T>::size;
        if (n + PER <= count && fits_pack(y)) {
            UNROLL for (int k = 0; k < PER / L; ++k) {
                Pack<T> pack;
                UNROLL for (int e = 0; e < L; ++e) pack.lane[e] = x[k * L + e];
                store_pack(y + n + k * L, pack);
            }
            return;
        }
    }
    UNROLL for (int e = 0; e < PER; ++e)
        if (n + e < count) y[n + e] = x[e];
}

// [0, 1): the top 24 bits of a word; 53 bits of two
__device__ __forceinline__ float fraction(Word a) { return static_cast<float>(a >> 8) * 0x1p-24f; }
__device__ __forceinline__ double fraction(Word a, Word b) { return (static_cast<double>(a >> 5) * 0x1p26 + static_cast<double>(b >> 6)) * 0x1p-53; }

__global__ void __launch_bounds__(THREADS) philox(Long seed, Scalar<Long> offset, long long count, Word* Y) {
    const Long start = offset.get();
    for (long long n = first_number<4>(); n < count; n += stride<4>()) store_some<4>(Y, n, count, words_from(seed, start + n).word);
}

template <class T> __global__ void __launch_bounds__(THREADS) uniform(Long seed, Scalar<Long> offset, long long count, T* Y) {
    constexpr int WIDTH = sizeof(T) / 4, PER = WORDS / WIDTH;   // words of a number, numbers of a thread
    const Long start = offset.get();
    for (long long n = first_number<PER>(); n < count; n += stride<PER>()) {
        const Words w = words_from(seed, start + n * WIDTH);
        T y[PER];
        UNROLL for (int e = 0; e < PER; ++e) {
            if constexpr (WIDTH == 1) y[e] = fraction(w.word[e]);
            else y[e] = fraction(w.word[2 * e], w.word[2 * e + 1]);
        }
        store_some<PER>(Y, n, count, y);
    }
}

// Box and Muller 1958: √(-2 log(1 - u)) (cos 2πv, sin 2πv), in double whatever T is, so that all backends draw the same numbers but for the last bit
template <class T> __global__ void __launch_bounds__(THREADS) normal(Long seed, Scalar<Long> offset, long long count, T* Y) {
    const Long start = offset.get();
    for (long long n = first_number<2>(); n < count; n += stride<2>()) {
        const Words w = words_from(seed, start + 2 * n);
        const double radius = sqrt(-2 * log(1 - fraction(w.word[0], w.word[1]))), angle = 6.283185307179586477 * fraction(w.word[2], w.word[3]);
        const T y[2] = {static_cast<T>(radius * cos(angle)), static_cast<T>(radius * sin(angle))};
        store_some<2>(Y, n, count, y);
    }
}

// A product, not a choice: what is dropped of an infinity is NaN, as in the reference.
template <class T>
__global__ void __launch_bounds__(THREADS) dropout(Long seed, Scalar<Long> offset, long long count, float p, T scale, const T* X, T* Y, bool* mask) {
    const Long start = offset.get();
    for (long long n = first_number<4>(); n < count; n += stride<4>()) {
        const Words w = words_from(seed, start + n);
        T y[4];
        bool keep[4];
        UNROLL for (int e = 0; e < 4; ++e) {
            keep[e] = fraction(w.word[e]) >= p;
            y[e] = n + e < count ? X[n + e] * (keep[e] ? scale : T(0)) : T(0);
        }
        store_some<4>(Y, n, count, y);
        store_some<4>(mask, n, count, keep);
    }
}

template <class T> __global__ void __launch_bounds__(THREADS) masked_scale(long long count, T scale, const T* X, const bool* mask, T* Y) {
    for (long long n = first_number<1>(); n < count; n += stride<1>()) Y[n] = X[n] * (mask[n] ? scale : T(0));
}

}  // namespace random_numbers

PLAIN_KERNEL(random_numbers::philox)
KERNEL(random_numbers::uniform<float>)
KERNEL(random_numbers::uniform<double>)
KERNEL(random_numbers::normal<float>)
KERNEL(random_numbers::normal<double>)
KERNEL(random_numbers::dropout<float>)
KERNEL(random_numbers::dropout<double>)
KERNEL(random_numbers::masked_scale<float>)
KERNEL(random_numbers::masked_scale<double>)
