// Rows of numbers and the teams of threads that work on them: X (M, N), row after row
//
//     Team      the threads of a row: a warp for a short one, a block for a long one
//     Places    which of the row's numbers a thread takes: packs of 16 bytes, every TEAM-th
//     Row       those numbers: kept in registers if the row is short enough, else read again whenever they are asked for
//
//     for k:  row[k] is this thread's pack k, its numbers stand at places.at(k, 0), places.at(k, 1), ...
#pragma once
#include "block.cuh"

namespace rows {

using block::THREADS;

template <int TEAM> struct Team {
    static_assert(TEAM == 32 || TEAM == THREADS, "a warp or a block");
    static __device__ __forceinline__ int rank() { return threadIdx.x % TEAM; }
    static __device__ __forceinline__ long long row() { return blockIdx.x * static_cast<long long>(THREADS / TEAM) + threadIdx.x / TEAM; }
    template <class T> static __device__ __forceinline__ T total(T x) {
        if constexpr (TEAM == 32) return block::warp_total(x);
        else return block::block_total(x);
    }
    template <class T> static __device__ __forceinline__ T largest(T x) {
        if constexpr (TEAM == 32) return block::warp_largest(x);
        else return block::block_largest(x);
    }
};

// Where packs cannot be loaded as such (a row of 65 floats ends between two), neighbouring threads take neighbouring numbers, so that loads share sectors all the same.
template <class T, int TEAM> struct Places {
    static constexpr int L = Pack<T>::size;
    long long n;
    bool wide;

    // all: every array that is read or written by these places
    template <class... Arrays> static __device__ __forceinline__ Places of(long long n, const Arrays*... all) { return {n, n % L == 0 && (fits_pack(all) && ...)}; }

    __device__ __forceinline__ int steps() const { return static_cast<int>((n + TEAM * L - 1) / (TEAM * L)); }
    __device__ __forceinline__ long long at(int k, int e) const {
        const long long first = static_cast<long long>(k) * (TEAM * L);
        const int rank = Team<TEAM>::rank();
        return first + (wide ? rank * L + e : e * TEAM + rank);
    }
    __device__ __forceinline__ bool inside(int k, int e) const { return at(k, e) < n; }

    // `fill` stands for what lies beyond the end, and for all where there is no array.
    __device__ __forceinline__ Pack<T> read(const T* p, int k, T fill = 0) const {
        if (p && wide && inside(k, 0)) return load_pack(p + at(k, 0));
        Pack<T> pack;
        UNROLL for (int e = 0; e < L; ++e) pack.lane[e] = p && !wide && inside(k, e) ? p[at(k, e)] : fill;
        return pack;
    }
    __device__ __forceinline__ void write(T* p, int k, const Pack<T>& pack) const {
        if (wide) {
            if (inside(k, 0)) store_pack(p + at(k, 0), pack);
        } else
            UNROLL for (int e = 0; e < L; ++e)
                if (inside(k, e)) p[at(k, e)] = pack.lane[e];
    }
};

// PACKS: how many a thread keeps, enough for the whole row; 0: none.
template <class T, int TEAM, int PACKS> struct Row {
    const Places<T, TEAM> places;
    const T* const data;
    const T fill;
    Pack<T> kept[PACKS > 0 ? PACKS : 1];

    __device__ __forceinline__ Row(const Places<T, TEAM>& places, const T* data, T fill = 0) : places(places), data(data), fill(fill) {
        UNROLL for (int k = 0; k < PACKS; ++k) kept[k] = places.read(data, k, fill);
    }
    __device__ __forceinline__ int steps() const { return PACKS > 0 ? PACKS : places.steps(); }
    __device__ __forceinline__ Pack<T> operator[](int k) const {
        if constexpr (PACKS > 0) return kept[k];
        else return places.read(data, k, fill);
    }
};

template <class T> constexpr T LARGEST = T(1.7976931348623157e308);
template <> constexpr float LARGEST<float> = 3.402823466e38f;   // of the finite ones
template <class T> __device__ __forceinline__ T infinity() {
    T x = LARGEST<T>;   // no literal of its own, which not every compiler of CUDA knows without a header
    return x + x;
}

}  // namespace rows
