// Reductions on a GPU. First the rungs of a sum: Y[i] = Σ[j] X[i,j]        X (M, N), row after row
//
//     atomic       a thread for each number, which adds it to Y[i]                        the formula
//     tree         a block adds its numbers in pairs, in shared memory                    one atomic addition a block
//     shuffle      the same, from register to register of a warp                          two barriers become one, hardly any shared memory
//     vectorized   before that a thread adds up 16 bytes at a time                        fewer instructions and blocks for the same bytes
//     two_pass     blocks write their sums, a second launch adds them                     the same order, hence the same bits, every time
//
// blockIdx.x is the row i, blockIdx.y the block's place in it. Y holds zeros before the first four. Launch lines are in minidl/kernels/cuda/reduce.py.
//
// Below them is what reduces anything over any axes, where X lies, and without atomic operations: Y[i] = result of X[i,0] + X[i,1] + ... for some associative +
//
//     rows       what is reduced lies side by side: some threads of a warp, or a block, for each i
//     columns    the results' numbers lie side by side: neighbouring threads for neighbouring i
//     scan       running sums along an axis, which keep every + on the way
//
// Few long rows get gridDim.y blocks each, which leave their states, and a second launch of the same kernel puts these together.
#include "block.cuh"
#include "walk.cuh"

namespace reduce {

using block::THREADS, block::WARPS, block::block_sum;

// The formula as it stands. All threads of a row wait for one number in memory, and the order in which they come, hence the rounding, is left to chance.
template <class T> __global__ void __launch_bounds__(THREADS) atomic(long long N, const T* X, T* Y) {
    const long long i = blockIdx.x;
    for (long long j = blockIdx.y * THREADS + threadIdx.x; j < N; j += gridDim.y * THREADS) {
        atomicAdd(&Y[i], X[i * N + j]);
    }
}

// Half of the threads add the other half's numbers to their own, then half of them, ...: log2(256) = 8 steps with a barrier each, and one atomic addition for 256 numbers.
// The threads that go on are always the first ones, so that whole warps drop out, and neighbours read neighbours: no bank is asked for two words.
template <class T> __global__ void __launch_bounds__(THREADS) tree(long long N, const T* X, T* Y) {
    __shared__ T part[THREADS];
    const int t = threadIdx.x;
    const long long i = blockIdx.x;
    T sum = 0;
    for (long long j = blockIdx.y * THREADS + t; j < N; j += gridDim.y * THREADS) sum = add(sum, X[i * N + j]);
    part[t] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) part[t] = add(part[t], part[t + half]);
    }
    if (t == 0) atomicAdd(&Y[i], part[0]);
}

// The tree's steps cost a barrier and two accesses to shared memory each. A shuffle hands a register of one lane to another: what remains is one barrier, between the warps.
template <class T> __global__ void __launch_bounds__(THREADS) shuffle(long long N, const T* X, T* Y) {
    const long long i = blockIdx.x;
    T sum = 0;
    for (long long j = blockIdx.y * THREADS + threadIdx.x; j < N; j += gridDim.y * THREADS) sum = add(sum, X[i * N + j]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) atomicAdd(&Y[i], sum);
}

// Packs of a row that this thread adds up, PACKS of them or more, before anybody is asked for anything. Ends of rows that fill no pack go one by one.
template <class T> __device__ __forceinline__ T thread_sum(long long N, const T* row) {
    constexpr int L = Pack<T>::size;
    const bool wide = fits_pack(row);
    T sum[L] = {};
    for (long long j = (blockIdx.y * THREADS + threadIdx.x) * L; j < N; j += gridDim.y * THREADS * L) {
        if (wide && j + L <= N) {
            const Pack<T> pack = load_pack(row + j);
            UNROLL for (int e = 0; e < L; ++e) sum[e] = add(sum[e], pack.lane[e]);
        } else
            UNROLL for (int e = 0; e < L; ++e)
                if (j + e < N) sum[e] = add(sum[e], row[j + e]);
    }
    UNROLL for (int e = 1; e < L; ++e) sum[0] = add(sum[0], sum[e]);
    return sum[0];
}

// The bytes are the same, but they come with a quarter (for doubles half) of the instructions; and as each thread adds up several packs by itself, there
// are fewer blocks, and fewer trees and atomic additions.
template <class T> __global__ void __launch_bounds__(THREADS) vectorized(long long N, const T* X, T* Y) {
    const T sum = block_sum(thread_sum(N, X + blockIdx.x * N));
    if (threadIdx.x == 0) atomicAdd(&Y[blockIdx.x], sum);
}

// No atomic additions: Y (M, gridDim.y) gets each block's sum, and a second launch with one block a row adds those. Every addition has its place, so that the result
// is the same, bit for bit, every time.
template <class T> __global__ void __launch_bounds__(THREADS) two_pass(long long N, const T* X, T* Y) {
    const T sum = block_sum(thread_sum(N, X + blockIdx.x * N));
    if (threadIdx.x == 0) Y[blockIdx.x * static_cast<long long>(gridDim.y) + blockIdx.y] = sum;
}

// ---- what is reduced, and how ----------------------------------------------------------------------------------------
//
// A State is what is known of some numbers: `none` of them, `of` number x at place j, of `both` sets. In the end comes a result.

template <class T, bool small = sizeof(T) < 4> struct Held { using type = T; };   // registers hold 4 bytes at least
template <class T> struct Held<T, true> { using type = int; };

template <class S> __device__ __forceinline__ S lowest() {
    if constexpr (S(1) / 2 != 0) return log(S(0));   // -inf
    else return -(S(1) << (8 * sizeof(S) - 2)) * 2;
}
template <class S> __device__ __forceinline__ S highest() { return S(1) / 2 != 0 ? -lowest<S>() : -(lowest<S>() + 1); }

template <class T> struct Sum {
    using State = T;
    using Result = T;
    static constexpr bool shifted = false;
    static __device__ __forceinline__ State none() { return 0; }
    static __device__ __forceinline__ State of(T x, long long) { return x; }
    static __device__ __forceinline__ State both(State a, State b) { return add(a, b); }
    static __device__ __forceinline__ Result result(State s, double) { return s; }
};
template <class T> struct Mean : Sum<T> {
    static __device__ __forceinline__ T result(T sum, double count) { return sum / static_cast<T>(count); }
};
template <class T> struct Prod : Sum<T> {
    static __device__ __forceinline__ T none() { return 1; }
    static __device__ __forceinline__ T both(T a, T b) { return a * b; }
};

// NaN wins.
template <class T> struct Largest {
    using State = typename Held<T>::type;
    using Result = T;
    static constexpr bool shifted = false;
    static __device__ __forceinline__ State none() { return lowest<State>(); }
    static __device__ __forceinline__ State of(T x, long long) { return x; }
    static __device__ __forceinline__ State both(State a, State b) { return block::larger(a, b); }
    static __device__ __forceinline__ Result result(State s, double) { return static_cast<T>(s); }
};
template <class T> struct Smallest : Largest<T> {
    using State = typename Held<T>::type;
    static __device__ __forceinline__ State none() { return highest<State>(); }
    static __device__ __forceinline__ State both(State a, State b) { return a < b || a != a ? a : b; }
};

// The place of the largest or smallest: of equal ones, and of several NaN, the first.
template <class T, bool LARGEST> struct PlaceOf {
    struct State {
        typename Held<T>::type value;
        long long index;
    };
    using Result = long long;
    static constexpr bool shifted = false;
    static __device__ __forceinline__ State none() {
        using V = typename Held<T>::type;
        return {LARGEST ? lowest<V>() : highest<V>(), 0x7fffffffffffffff};
    }
    static __device__ __forceinline__ State of(T x, long long j) { return {x, j}; }
    static __device__ __forceinline__ State both(const State& a, const State& b) {
        const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
        const bool beats = nan_b ? !nan_a : !nan_a && (LARGEST ? b.value > a.value : b.value < a.value);
        const bool equals = nan_a ? nan_b : a.value == b.value;
        return beats || (equals && b.index < a.index) ? b : a;
    }
    static __device__ __forceinline__ Result result(const State& s, double) { return s.index; }
};
template <class T> struct ArgLargest : PlaceOf<T, true> {};
template <class T> struct ArgSmallest : PlaceOf<T, false> {};

template <class T> struct Any {
    using State = int;
    using Result = bool;
    static constexpr bool shifted = false;
    static __device__ __forceinline__ State none() { return 0; }
    static __device__ __forceinline__ State of(T x, long long) { return x != 0; }
    static __device__ __forceinline__ State both(State a, State b) { return a | b; }
    static __device__ __forceinline__ Result result(State s, double) { return s != 0; }
};
template <class T> struct All : Any<T> {
    static __device__ __forceinline__ int none() { return 1; }
    static __device__ __forceinline__ int both(int a, int b) { return a & b; }
};

// Σ (x - mean)² without the mean, and without the difference of two large numbers (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance", eq. 2.1).
// Numbers come less the first one, so that means are small where the numbers are far from 0, and rounded as finely.
template <class T> struct Var {
    struct State {
        T count, mean, squares;   // squares: Σ (x - mean)²
    };
    using Result = T;
    static constexpr bool shifted = true;
    static __device__ __forceinline__ State none() { return {0, 0, 0}; }
    static __device__ __forceinline__ State of(T x, long long) { return {1, x, x - x}; }   // of inf: NaN
    static __device__ __forceinline__ State both(const State& a, const State& b) {
        if (a.count == 0 || b.count == 0) return a.count == 0 ? b : a;
        const T count = a.count + b.count, share = b.count / count, apart = b.mean - a.mean;
        return {count, multiply_add(apart, share, a.mean), add(a.squares, multiply_add(apart * apart, a.count * share, b.squares))};
    }
    static __device__ __forceinline__ Result result(const State& s, double divisor) { return s.squares / static_cast<T>(divisor); }
};

// log Σ exp(x) as top + log Σ exp(x - top): nothing overflows, and one exp for each number.
template <class T> struct LogSumExp {
    struct State {
        T top, sum;
    };
    using Result = T;
    static constexpr bool shifted = false;
    static __device__ __forceinline__ State none() { return {lowest<T>(), 0}; }
    static __device__ __forceinline__ State of(T x, long long) { return {x, 1}; }
    static __device__ __forceinline__ State both(const State& a, const State& b) {
        const T less = a.top == b.top ? T(1) : exp(-fabs(a.top - b.top));   // infinities that are equal have no difference
        return a.top >= b.top ? State{a.top, multiply_add(b.sum, less, a.sum)} : State{b.top, multiply_add(a.sum, less, b.sum)};
    }
    static __device__ __forceinline__ Result result(const State& s, double) { return log(s.sum) + s.top; }
};

// ---- over any axes ---------------------------------------------------------------------------------------------------

// What the lane whose number differs in one bit has.
template <class S> __device__ __forceinline__ S from_lane(const S& s, int bit) {
    static_assert(sizeof(S) % 4 == 0, "states come in words");
    unsigned words[sizeof(S) / 4];
    S other;
    memcpy(words, &s, sizeof s);
    UNROLL for (unsigned& word : words) word = __shfl_xor_sync(ALL_LANES, word, bit);
    memcpy(&other, words, sizeof s);
    return other;
}

// Where the numbers of one result come from: those of X from `origin` on, or if `joins` states of an earlier launch.
template <class Op, class T> struct Line {
    const void* X;
    int joins;
    long long origin;
    T first;   // which is taken off, if Op::shifted

    __device__ __forceinline__ Line(const void* X, int joins, long long origin, long long N) : X(X), joins(joins), origin(origin), first(0) {
        if constexpr (Op::shifted)
            if (!joins && N) first = *at(0);
    }
    __device__ __forceinline__ const T* at(long long place) const { return static_cast<const T*>(X) + origin + place; }
    __device__ __forceinline__ typename Op::State of(T x, long long j) const {
        if constexpr (Op::shifted) return Op::of(x - first, j);
        else return Op::of(x, j);
    }
    __device__ __forceinline__ typename Op::State state(long long place, long long j) const {
        return joins ? static_cast<const typename Op::State*>(X)[origin + place] : of(*at(place), j);
    }
};
// One block for all of i leaves the result, one of several its state, at `place`.
template <class Op> __device__ __forceinline__ void leave(void* Y, long long i, long long place, const typename Op::State& state, double divisor) {
    if (gridDim.y > 1) static_cast<typename Op::State*>(Y)[place] = state;
    else static_cast<typename Op::Result*>(Y)[i] = Op::result(state, divisor);
}

// `width` threads for each row: a power of two up to a warp, so that short rows share a block, or the whole block. They take neighbouring numbers, or with reduced.packs neighbouring
// packs. Which thread takes which numbers depends on shapes and strides alone, hence the result's bits do, too. States (rows, gridDim.y).
template <template <class> class F, class T>
__global__ void __launch_bounds__(THREADS) rows(Walk<1> kept, Walk<1> reduced, int width, int joins, double divisor, const void* X, void* Y) {
    using Op = F<T>;
    using State = typename Op::State;
    constexpr int L = LANES<T>;
    __shared__ State part[WARPS];
    const int t = threadIdx.x % width;
    const long long i = static_cast<long long>(blockIdx.x) * (THREADS / width) + threadIdx.x / width, N = reduced.count;
    State state = Op::none();
    if (i < kept.count) {
        long long origin[1], at[1];
        locate(kept, i, origin);
        const Line<Op, T> row(X, joins, origin[0], N);
        const int step = reduced.packs ? 1 : width;
        const bool packs = reduced.packs && fits_pack<T, L>(static_cast<const T*>(X));
        const long long stride = static_cast<long long>(gridDim.y) * width * L;
        for (long long j = static_cast<long long>(blockIdx.y) * width * L + (reduced.packs ? t * L : t); j < N; j += stride) {
            if (packs && j + L <= N) {
                const bool second = j + stride + L <= N;   // two packs on their way hide memory's delay better than one
                Pack<T, L> x[2] = {};
                UNROLL for (int k = 0; k < 2; ++k)
                    if (k == 0 || second) locate(reduced, j + k * stride, at), x[k] = load_pack<T, L>(row.at(at[0]));
                UNROLL for (int k = 0; k < 2; ++k)
                    if (k == 0 || second) UNROLL for (int e = 0; e < L; ++e) state = Op::both(state, row.of(x[k].lane[e], j + k * stride + e));
                if (second) j += stride;
            } else {
                State x[L];
                UNROLL for (int e = 0; e < L; ++e) {
                    x[e] = Op::none();
                    if (j + e * step >= N) continue;
                    locate(reduced, j + e * step, at);
                    x[e] = row.state(at[0], j + e * step);
                }
                UNROLL for (int e = 0; e < L; ++e) state = Op::both(state, x[e]);
            }
        }
    }
    for (int bit = (width < 32 ? width : 32) / 2; bit > 0; bit /= 2) state = Op::both(state, from_lane(state, bit));
    if (width > 32) {
        if (t % 32 == 0) part[t / 32] = state;
        __syncthreads();
        if (t == 0)
            for (int w = 1; w < WARPS; ++w) state = Op::both(state, part[w]);
    }
    if (t == 0 && i < kept.count) leave<Op>(Y, i, i * gridDim.y + blockIdx.y, state, divisor);
}

// `width` threads, a power of two up to a warp, for as many neighbouring results, whose numbers lie side by side; the others of the block take other numbers of the same results.
// States (gridDim.y, results).
template <template <class> class F, class T>
__global__ void __launch_bounds__(THREADS) columns(Walk<1> kept, Walk<1> reduced, int width, int joins, double divisor, const void* X, void* Y) {
    using Op = F<T>;
    using State = typename Op::State;
    constexpr int L = (sizeof(State) == sizeof(T) ? 2 : 1) * LANES<T>;   // as many on their way as registers hold
    __shared__ State part[THREADS];
    const int t = threadIdx.x, height = THREADS / width;
    const long long i = static_cast<long long>(blockIdx.x) * width + t % width, N = reduced.count;
    State state = Op::none();
    if (i < kept.count) {
        long long origin[1], at[1];
        locate(kept, i, origin);
        const Line<Op, T> column(X, joins, origin[0], N);
        for (long long j = static_cast<long long>(blockIdx.y) * height * L + t / width; j < N; j += static_cast<long long>(gridDim.y) * height * L) {
            State x[L];
            UNROLL for (int e = 0; e < L; ++e) {
                x[e] = Op::none();
                if (j + e * height >= N) continue;
                locate(reduced, j + e * height, at);
                x[e] = column.state(at[0], j + e * height);
            }
            UNROLL for (int e = 0; e < L; ++e) state = Op::both(state, x[e]);
        }
    }
    part[t] = state;
    for (int half = THREADS / 2; half >= width; half /= 2) {
        __syncthreads();
        if (t < half) part[t] = Op::both(part[t], part[t + half]);
    }
    if (t < width && i < kept.count) leave<Op>(Y, i, blockIdx.y * kept.count + i, part[t], divisor);
}

// ---- running sums: Y[i,j] = X[i,0] + ... + X[i,j] -----------------------------------------------------------------------

// A thread for each line i, for short lines and for those that lie side by side: number after number, as on paper.
template <class T> __global__ void __launch_bounds__(THREADS) scan_alone(Walk<2> lines, long long N, long long step_x, long long step_y, const T* X, T* Y) {
    const long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= lines.count) return;
    long long line[2];
    locate(lines, i, line);
    T sum = 0;
    for (long long j = 0; j < N; ++j) {
        sum = add(sum, X[line[0] + j * step_x]);
        Y[line[1] + j * step_y] = sum;
    }
}

// A block for each `piece` of a line i, 256 numbers at a time: each lane adds those of the lanes 1, 2, 4, 8, 16 before it, then come the sums of the warps before it and of all
// numbers before. A line of several pieces takes three launches: without Y it leaves the pieces' sums in totals (lines, gridDim.y), whose running sums then come as `totals_before`.
template <class T> __global__ void __launch_bounds__(THREADS)
scan(Walk<2> lines, long long N, long long piece, long long step_x, long long step_y, const T* totals_before, const T* X, T* totals, T* Y) {
    __shared__ T part[WARPS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const long long start = blockIdx.y * piece, end = start + piece < N ? start + piece : N, place = blockIdx.x * static_cast<long long>(gridDim.y) + blockIdx.y;
    long long line[2];
    locate(lines, blockIdx.x, line);
    T before = totals_before && blockIdx.y > 0 ? totals_before[place - 1] : T(0);
    for (long long first = start; first < end; first += THREADS) {
        const long long j = first + threadIdx.x;
        T sum = j < end ? X[line[0] + j * step_x] : T(0);
        UNROLL for (int distance = 1; distance < 32; distance *= 2) {
            const T other = __shfl_up_sync(ALL_LANES, sum, distance);
            if (lane >= distance) sum = add(other, sum);
        }
        if (lane == 31) part[warp] = sum;
        __syncthreads();
        T mine = before;
        UNROLL for (int w = 0; w < WARPS; ++w) {
            if (w == warp) mine = before;
            before = add(before, part[w]);
        }
        if (Y && j < end) Y[line[1] + j * step_y] = add(mine, sum);
        __syncthreads();   // before the next sums come into `part`
    }
    if (totals && threadIdx.x == 0) totals[place] = before;
}

}  // namespace reduce

KERNEL(reduce::atomic<float>)
KERNEL(reduce::atomic<double>)
KERNEL(reduce::tree<float>)
KERNEL(reduce::tree<double>)
KERNEL(reduce::shuffle<float>)
KERNEL(reduce::shuffle<double>)
KERNEL(reduce::vectorized<float>)
KERNEL(reduce::vectorized<double>)
KERNEL(reduce::two_pass<float>)
KERNEL(reduce::two_pass<double>)

#define REDUCTION(F, T) KERNEL(reduce::rows<reduce::F, T>) KERNEL(reduce::columns<reduce::F, T>)
#define OF_FLOATS(F) REDUCTION(F, float) REDUCTION(F, double)
#define OF_ALL(F) OF_FLOATS(F) REDUCTION(F, long long) REDUCTION(F, unsigned char)
OF_FLOATS(Sum) OF_FLOATS(Mean) OF_FLOATS(Prod) OF_FLOATS(Var) OF_FLOATS(LogSumExp)
REDUCTION(Sum, unsigned long long) REDUCTION(Prod, unsigned long long)   // of signed integers, which wrap around with the same bits
OF_ALL(Largest) OF_ALL(Smallest) OF_ALL(ArgLargest) OF_ALL(ArgSmallest) OF_ALL(Any) OF_ALL(All)
#define RUNNING(kernel) KERNEL(reduce::kernel<float>) KERNEL(reduce::kernel<double>) KERNEL(reduce::kernel<unsigned long long>)
RUNNING(scan) RUNNING(scan_alone)
