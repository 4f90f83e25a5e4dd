// The rungs of convolution on a GPU:
//
//     conv2d          Y[n,o,p,q]  = b[o] + Σ[c,r,s] X[n,c,h,w] * W[o,c,r,s]        h = p * stride + r * dilation - padding, w likewise; X is 0 outside of its image
//     conv2d_input    ∂X[n,c,h,w] = Σ[o,r,s] G[n,o,p,q] * W[o,c,r,s]               over the p, q, r, s that meet h, w
//     conv2d_weight   ∂W[o,c,r,s] = Σ[n,p,q] G[n,o,p,q] * X[n,c,h,w]
//
//     X (N, groups*C, H, W), W (groups*O, C, R, S), G (N, groups*O, P, Q), b (groups*O) of any strides; o and c count within a group. Results are contiguous.
//
//     direct      a thread for each number of Y: for c, r, s                           the formula; for a weight a block
//     implicit    matmul's tiles of W and of im2col's matrix, which is never there     each number is fetched once a tile
//
// As a matrix product the first has o for rows, the pixels (n, p, q) for columns, and sums over the taps (c, r, s). The second is the same kernel on G and W with o and c in each
// other's place: its launch line gives W so. The third has the taps for columns and sums over the pixels. Launch lines, which choose tiles, are in minidl/kernels/cuda/conv.py.
#include "block.cuh"

namespace conv {

constexpr int THREADS = block::THREADS;

template <class T> struct Image {   // (n, c, h, w)
    T* data;
    long long n;                    // strides, in elements; one image is smaller than 2^31, so that places in it are computed with 32 bits
    int c, h, w;
};
template <class T> struct Vector {   // data may be null: zeros
    T* data;
    long long step;
};

// A number of three digits: a pixel (n, p, q) or a tap (c, r, s). `go_on` adds another one, which has been worked out once, by carries instead of divisions.
struct Digits {
    int a, b, c;
    static __device__ Digits of(long long n, int B, int C) {
        if (n >> 32) return {static_cast<int>(n / C / B), static_cast<int>(n / C % B), static_cast<int>(n % C)};
        const unsigned low = static_cast<unsigned>(n), high = low / C;   // dividing 64 bits would take several times as long
        return {static_cast<int>(high / B), static_cast<int>(high % B), static_cast<int>(low % C)};
    }
    __device__ Digits plus(int n, int B, int C) const {
        const unsigned low = c + n, high = b + low / C;
        return {static_cast<int>(a + high / B), static_cast<int>(high % B), static_cast<int>(low % C)};
    }
    __device__ void go_on(const Digits& step, int B, int C) {
        c += step.c, b += step.b, a += step.a;
        if (c >= C) c -= C, ++b;
        if (b >= B) b -= B, ++a;
    }
};

// ---- one geometry for a convolution and for its gradient -----------------------------------------------------------------

struct Side {   // rows (h, r, p) or columns (w, s, q)
    int source, taps, result;   // sizes of the image that is read, of the filter, of the image that is written
    int stride, padding, dilation;
    int phases, period;         // of the gradient: see below
};

// Number i of the result lies at first + i * jump. Its tap t is the filter's first_tap + t * tap_jump, and meets number start + i * step + t * tap_step of the source.
struct Walk {
    int first, jump, count, first_tap, tap_jump, taps, start, step, tap_step;
};

// For the gradient, h meets p where h + padding = p * stride + r * dilation. So the rows h of one phase, those with the same remainder by stride, meet the same taps r: every
// period-th, period = stride / gcd(stride, dilation); along such rows p grows by one, along such taps it falls by dilation * period / stride. Each phase is a convolution with
// stride 1 of its own, and no product with a zero between the strides is ever computed.
__device__ inline Walk walk_of(const Side& side, bool gradient, int phase) {
    if (!gradient) return {0, 1, side.result, 0, 1, side.taps, -side.padding, side.stride, side.dilation};
    const int rest = (phase + side.padding) % side.stride;
    int tap = 0;
    while (tap < side.taps && tap < side.period && tap * side.dilation % side.stride != rest) ++tap;
    const bool meets = tap < side.taps && tap < side.period;
    const int taps = meets ? (side.taps - tap + side.period - 1) / side.period : 0;
    return {phase, side.stride, (side.result - phase + side.stride - 1) / side.stride, tap, side.period, taps,
            (phase + side.padding) / side.stride - (tap * side.dilation - rest) / side.stride, 1, -(side.period * side.dilation / side.stride)};
}

struct Correlation {
    int images, groups, rows, depth;   // channels of a group: `rows` of the result, `depth` of the source
    Side y, x;
    int gradient, tiles;               // tiles: of pixels, in one group and phase
    long long group_step;              // from the filter of a group to the next one's
};

// ---- direct --------------------------------------------------------------------------------------------------------------

// The formula as it stands. Neighbouring threads have neighbouring pixels, so that they read neighbours; but each number of X comes O * R * S times.
template <class T> __global__ void __launch_bounds__(THREADS) direct(Correlation a, Image<const T> X, Image<const T> W, Vector<const T> bias, T* Y) {
    const long long n = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
    const int channels = a.groups * a.rows;
    if (n >= static_cast<long long>(a.images) * channels * a.y.result * a.x.result) return;
    const Digits place = Digits::of(n, a.y.result, a.x.result);
    const int image = place.a / channels, channel = place.a % channels, group = channel / a.rows;
    const Walk y = walk_of(a.y, a.gradient, place.b % a.y.phases), x = walk_of(a.x, a.gradient, place.c % a.x.phases);
    const int h0 = y.start + place.b / y.jump * y.step, w0 = x.start + place.c / x.jump * x.step;
    const T* from = X.data + image * X.n + group * a.depth * X.c;
    const T* filter = W.data + group * a.group_step + (channel - group * a.rows) * W.n;
    T sum = bias.data ? bias.data[channel * bias.step] : T(0);
    for (int z = 0; z < a.depth; ++z, from += X.c, filter += W.c)
        for (int r = 0; r < y.taps; ++r) {
            const int h = h0 + r * y.tap_step;
            for (int s = 0; s < x.taps; ++s) {
                const int w = w0 + s * x.tap_step;
                const bool inside = h >= 0 && h < a.y.source && w >= 0 && w < a.x.source;
                const T pixel = inside ? from[h * X.h + w * X.w] : T(0);
                sum = multiply_add(pixel, filter[(y.first_tap + r * y.tap_jump) * W.h + (x.first_tap + s * x.tap_jump) * W.w], sum);
            }
        }
    Y[n] = sum;
}

// ---- tiles of a matrix product: C (M, N) += A (M, K) * B (K, N) ----------------------------------------------------------

// 64 bytes of k at a time; rows are longer by 16 bytes, so that a column is not all in one bank. A thread has PART x PART of the sums, as packs of neighbours; a warp's sums
// form a rectangle, so that it asks for few different numbers (matmul.cu: warp_tiled).
template <class T, int M, int N> struct Product {
    static constexpr int L = Pack<T>::size, DEPTH = 64 / sizeof(T), PART = M * N == 64 * THREADS ? 8 : 4, PACKS = PART / L;
    static constexpr int BLOCKS = PART == 8 ? 1 : 2;           // on a multiprocessor at once: they share its registers
    static constexpr int HIGH = M / PART < 8 ? M / PART : 8, WIDE = 32 / HIGH;   // lanes of a warp
    static_assert(M * N == PART * PART * THREADS && M / PART % HIGH == 0, "the threads' parts fill the tile");
    using Left = T[DEPTH][M + L];
    using Right = T[DEPTH][N + L];

    int row, column;   // its first ones; the next packs follow HIGH * L and WIDE * L further
    T sum[PART][PART];

    static __device__ Product of_thread() {
        constexpr int WARPS_WIDE = N / PART / WIDE;
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        return {warp / WARPS_WIDE * HIGH * PART + lane / WIDE * L, warp % WARPS_WIDE * WIDE * PART + lane % WIDE * L, {}};
    }
    __device__ int row_of(int p) const { return row + p / L * (HIGH * L) + p % L; }
    __device__ int column_of(int pack) const { return column + pack * (WIDE * L); }

    __device__ void multiply(const Left& a, const Right& b) {
        UNROLL for (int k = 0; k < DEPTH; ++k) {
            Pack<T> left[PACKS], right[PACKS];
            UNROLL for (int p = 0; p < PACKS; ++p) left[p] = load_pack(&a[k][row_of(p * L)]), right[p] = load_pack(&b[k][column_of(p)]);
            UNROLL for (int p = 0; p < PART; ++p)
                UNROLL for (int q = 0; q < PART; ++q) sum[p][q] = multiply_add(left[p / L].lane[p % L], right[q / L].lane[q % L], sum[p][q]);
        }
    }
    // Adds up `tiles` tiles of k. While one pair of tiles is used, the next is on its way to the registers, and is then stored where nobody reads: one barrier a tile.
    template <class Fetch> __device__ void add_all(int tiles, Fetch& from) {
        __shared__ __align__(16) Left a[2];
        __shared__ __align__(16) Right b[2];
        from.fetch(0);
        from.store(a[0], b[0]);
        __syncthreads();
        for (int tile = 0; tile < tiles; ++tile) {
            const bool more = tile + 1 < tiles;
            if (more) from.fetch(tile + 1);
            multiply(a[tile % 2], b[tile % 2]);
            if (more) from.store(a[1 - tile % 2], b[1 - tile % 2]);
            __syncthreads();
        }
    }
};

// ---- implicit: conv2d and conv2d_input -----------------------------------------------------------------------------------

constexpr int NOWHERE = -(1 << 30);   // a row that is in no image

struct alignas(16) Tap {   // (z, r, s): where its weight and its number of the source lie, from a row and a pixel of theirs on; rows and columns from there
    int filter, source, h, w;
};

// What the threads of a block have in common. It lies in shared memory, for registers are scarce.
template <int DEPTH> struct Plan {
    Digits first;              // pixel of the tile
    long long pixels;          // from there on
    int group, taps;
    Walk y, x;
    Tap tap[2][DEPTH];         // of this tile and of the next: each is worked out once, since a division for each number would take longer than the multiplications

    __device__ void list(int tile, const Correlation& a, int filter_c, int filter_h, int filter_w, int source_c, int source_h, int source_w) {
        if (threadIdx.x >= DEPTH) return;
        const int k = tile * DEPTH + threadIdx.x;
        const Digits at = Digits::of(k, y.taps, x.taps);
        const int h = at.b * y.tap_step, w = at.c * x.tap_step;
        tap[tile % 2][threadIdx.x] = {at.a * filter_c + (y.first_tap + at.b * y.tap_jump) * filter_h + (x.first_tap + at.c * x.tap_jump) * filter_w,
                                      at.a * source_c + h * source_h + w * source_w, k < taps ? h : NOWHERE, w};
    }
};

// What a thread copies of the filter's tile [tap][row] and of the windows' tile [tap][pixel]: of the one a tap, of the other a pixel, whose place it needs to work out once.
// Taps run in the filter's own order, pixels along a row of the image: neighbours read neighbours.
template <class T, int M, int N> struct Windows {
    using P = Product<T, M, N>;
    static constexpr int TAPS = THREADS / N, ROWS = THREADS / P::DEPTH;   // taps, rows that all threads copy at once
    static constexpr int LEFT = (M + ROWS - 1) / ROWS, RIGHT = P::DEPTH / TAPS;

    const Correlation& a;
    const Image<const T>&W, &X;
    Plan<P::DEPTH>& plan;
    const T *filter, *source;   // this thread's first row and its pixel
    int rows_left, h0, w0;
    T left[LEFT], right[RIGHT];

    __device__ void list(int tile) { plan.list(tile, a, W.c, W.h, W.w, X.c, X.h, X.w); }
    __device__ void fetch(int tile) {
        const Tap(&tap)[P::DEPTH] = plan.tap[tile % 2];
        const Tap mine = tap[threadIdx.x % P::DEPTH];
        const T* at = filter + mine.filter;
        UNROLL for (int i = 0; i < LEFT; ++i, at += ROWS * W.n) left[i] = mine.h != NOWHERE && i * ROWS < rows_left ? *at : T(0);
        UNROLL for (int i = 0; i < RIGHT; ++i) {
            const Tap next = tap[threadIdx.x / N + i * TAPS];
            const int h = h0 + next.h, w = w0 + next.w;
            right[i] = h >= 0 && h < a.y.source && w >= 0 && w < a.x.source ? source[next.source] : T(0);
        }
        list(tile + 1);   // nobody reads that place before the next barrier
    }
    __device__ void store(typename P::Left& a, typename P::Right& b) const {
        const int k = threadIdx.x % P::DEPTH, row = threadIdx.x / P::DEPTH;
        UNROLL for (int i = 0; i < LEFT; ++i)
            if (M % ROWS == 0 || row + i * ROWS < M) a[k][row + i * ROWS] = left[i];
        UNROLL for (int i = 0; i < RIGHT; ++i) b[threadIdx.x / N + i * TAPS][threadIdx.x % N] = right[i];
    }
};

template <class T, int M, int N>
__global__ void __launch_bounds__(THREADS, Product<T, M, N>::BLOCKS) implicit(Correlation a, Image<const T> X, Image<const T> W, Vector<const T> bias, T* Y) {
    using P = Product<T, M, N>;
    __shared__ Plan<P::DEPTH> plan;
    const Walk &y = plan.y, &x = plan.x;
    const int first_row = blockIdx.y * M, t = threadIdx.x;
    if (t == 0) {
        const int part = blockIdx.x / a.tiles;
        plan.y = walk_of(a.y, a.gradient, part / a.x.phases % a.y.phases), plan.x = walk_of(a.x, a.gradient, part % a.x.phases);
        plan.group = part / (a.y.phases * a.x.phases);
        const long long first = static_cast<long long>(blockIdx.x % a.tiles) * N;
        plan.first = Digits::of(first, y.count, x.count);
        plan.pixels = static_cast<long long>(a.images) * y.count * x.count - first;
        plan.taps = a.depth * y.taps * x.taps;
    }
    __syncthreads();
    if (plan.pixels <= 0) return;   // of a phase with fewer pixels than the largest one

    P product = P::of_thread();
    if (plan.taps > 0) {
        const int row = first_row + t / P::DEPTH;
        const bool inside = t % N < plan.pixels;
        const Digits pixel = plan.first.plus(inside ? t % N : 0, y.count, x.count);
        const int h0 = y.start + pixel.b * y.step, w0 = x.start + pixel.c * x.step;
        Windows<T, M, N> windows{a, W, X, plan, W.data + plan.group * a.group_step + row * W.n,
                                 X.data + pixel.a * X.n + (static_cast<long long>(plan.group * a.depth) * X.c + h0 * X.h + w0 * X.w),
                                 a.rows - row, inside ? h0 : NOWHERE, w0, {}, {}};
        windows.list(0);
        __syncthreads();
        product.add_all((plan.taps + P::DEPTH - 1) / P::DEPTH, windows);
    }

    constexpr int L = P::L;
    const int group = plan.group, pixels = plan.pixels < N ? static_cast<int>(plan.pixels) : N;
    const long long plane = static_cast<long long>(a.y.result) * a.x.result;
    const bool wide = y.jump == 1 && x.jump == 1 && plane % L == 0 && fits_pack(Y);   // then no pack is in two images
    UNROLL for (int q = 0; q < P::PACKS; ++q) {
        const int next = product.column_of(q);
        Digits at = plan.first.plus(next, y.count, x.count);
        T* to[L];
        UNROLL for (int e = 0; e < L; ++e, at.go_on({0, 0, 1}, y.count, x.count)) {
            to[e] = Y + (static_cast<long long>(at.a) * a.groups + group) * a.rows * plane + (y.first + at.b * y.jump) * static_cast<long long>(a.x.result) + x.first + at.c * x.jump;
        }
        UNROLL for (int p = 0; p < P::PART; ++p) {
            const int m = first_row + product.row_of(p);
            if (m >= a.rows) continue;
            const T b = bias.data ? bias.data[(group * a.rows + m) * bias.step] : T(0);
            Pack<T> pack;
            UNROLL for (int e = 0; e < L; ++e) pack.lane[e] = add(product.sum[p][q * L + e], b);
            if (wide && next + L <= pixels) store_pack(to[0] + m * plane, pack);
            else
                UNROLL for (int e = 0; e < L; ++e)
                    if (next + e < pixels) to[e][m * plane] = pack.lane[e];
        }
    }
}

// ---- conv2d_weight -------------------------------------------------------------------------------------------------------

// The sum runs over all pixels of all images, which may be millions, for few weights. So it is cut into parts of `span` pixels: Y (parts, groups*O, C, R, S), which `add_parts` adds
// up in their order. No atomic addition: the same bits every time.
struct Weighing {
    int images, groups, rows, depth;   // channels of a group: `rows` of G, `depth` of X
    Side y, x;                         // source: X, result: G
    long long span;
    __device__ long long pixels() const { return static_cast<long long>(images) * y.result * x.result; }
};

template <class T> __global__ void __launch_bounds__(THREADS) direct_weight(Weighing a, Image<const T> X, Image<const T> G, T* Y) {
    const Digits tap = Digits::of(blockIdx.x, a.y.taps, a.x.taps);
    const int o = tap.a / a.depth, c = o / a.rows * a.depth + tap.a % a.depth;
    const int h0 = tap.b * a.y.dilation - a.y.padding, w0 = tap.c * a.x.dilation - a.x.padding;
    const long long first = blockIdx.y * a.span, end = first + a.span < a.pixels() ? first + a.span : a.pixels();
    T sum = 0;
    Digits at = Digits::of(first + threadIdx.x, a.y.result, a.x.result);
    const Digits step = Digits::of(THREADS, a.y.result, a.x.result);
    for (long long n = first + threadIdx.x; n < end; n += THREADS, at.go_on(step, a.y.result, a.x.result)) {
        const int h = at.b * a.y.stride + h0, w = at.c * a.x.stride + w0;
        const bool inside = h >= 0 && h < a.y.source && w >= 0 && w < a.x.source;
        const T pixel = inside ? X.data[at.a * X.n + c * X.c + h * X.h + w * X.w] : T(0);
        sum = multiply_add(G.data[at.a * G.n + o * G.c + at.b * G.h + at.c * G.w], pixel, sum);
    }
    sum = block::block_sum(sum);
    if (threadIdx.x == 0) Y[blockIdx.y * static_cast<long long>(gridDim.x) + blockIdx.x] = sum;
}

struct Column {   // a weight (c, r, s): where the number of X lies that it meets at pixel (0, 0), and the row and column of it
    int offset, h, w;
};

// What a thread copies of the tiles [pixel][o] of G and [pixel][weight] of the windows: of each tile one pixel, which serves both. Neighbours have neighbouring pixels.
template <class T, int M, int N> struct Pixels {
    using P = Product<T, M, N>;
    static constexpr int ROWS = THREADS / P::DEPTH, LEFT = (M + ROWS - 1) / ROWS, RIGHT = N / ROWS;

    const Weighing& a;
    const Column* columns;   // of this block, in shared memory
    Image<const T> X, G;     // G from this thread's first row on
    int rows_left;
    long long pixels_left;
    Digits at, step;         // (n, p, q)
    T left[LEFT], right[RIGHT];

    __device__ void fetch(int) {
        const bool inside = pixels_left > 0;
        const T* g = G.data + at.a * G.n + (at.b * G.h + at.c * G.w);
        UNROLL for (int i = 0; i < LEFT; ++i) left[i] = inside && i * ROWS < rows_left ? g[i * ROWS * G.c] : T(0);
        const int h0 = at.b * a.y.stride, w0 = at.c * a.x.stride;
        const T* pixel = X.data + at.a * X.n + (h0 * X.h + w0 * X.w);
        UNROLL for (int i = 0; i < RIGHT; ++i) {
            const Column column = columns[threadIdx.x / P::DEPTH + i * ROWS];
            const int h = h0 + column.h, w = w0 + column.w;
            right[i] = inside && h >= 0 && h < a.y.source && w >= 0 && w < a.x.source ? pixel[column.offset] : T(0);
        }
        at.go_on(step, a.y.result, a.x.result);
        pixels_left -= P::DEPTH;
    }
    __device__ void store(typename P::Left& left_tile, typename P::Right& right_tile) const {
        const int k = threadIdx.x % P::DEPTH, row = threadIdx.x / P::DEPTH;
        UNROLL for (int i = 0; i < LEFT; ++i)
            if (M % ROWS == 0 || row + i * ROWS < M) left_tile[k][row + i * ROWS] = left[i];
        UNROLL for (int i = 0; i < RIGHT; ++i) right_tile[k][row + i * ROWS] = right[i];
    }
};

template <class T, int M, int N>
__global__ void __launch_bounds__(THREADS, Product<T, M, N>::BLOCKS) implicit_weight(Weighing a, Image<const T> X, Image<const T> G, T* Y) {
    using P = Product<T, M, N>;
    __shared__ Column columns[N];
    const int count = a.depth * a.y.taps * a.x.taps, tiles = (count + N - 1) / N, group = blockIdx.x / tiles, t = threadIdx.x;
    const int first_column = blockIdx.x % tiles * N, first_row = blockIdx.y * M;
    for (int n = t; n < N; n += THREADS) {
        const Digits tap = Digits::of(first_column + n, a.y.taps, a.x.taps);
        const int h = tap.b * a.y.dilation - a.y.padding, w = tap.c * a.x.dilation - a.x.padding;
        columns[n] = {(group * a.depth + tap.a) * X.c + h * X.h + w * X.w, tap.a < a.depth ? h : NOWHERE, w};
    }
    __syncthreads();
    const long long first = blockIdx.z * a.span, end = first + a.span < a.pixels() ? first + a.span : a.pixels();
    const int row = first_row + t / P::DEPTH;
    const Digits at = Digits::of(first + t % P::DEPTH, a.y.result, a.x.result), step = Digits::of(P::DEPTH, a.y.result, a.x.result);
    Pixels<T, M, N> pixels{a, columns, X, G, a.rows - row, end - first - t % P::DEPTH, at, step, {}, {}};
    pixels.G.data += (group * a.rows + row) * G.c;
    P product = P::of_thread();
    product.add_all(static_cast<int>((end - first + P::DEPTH - 1) / P::DEPTH), pixels);

    Y += (static_cast<long long>(blockIdx.z) * a.groups + group) * a.rows * count;
    UNROLL for (int p = 0; p < P::PART; ++p)
        UNROLL for (int q = 0; q < P::PART; ++q) {
            const int m = first_row + product.row_of(p), n = first_column + product.column_of(q / P::L) + q % P::L;
            if (m < a.rows && n < count) Y[static_cast<long long>(m) * count + n] = product.sum[p][q];
        }
}

// Y[n] = Σ[part] parts[part,n]
template <class T> __global__ void __launch_bounds__(THREADS) add_parts(long long count, int parts, const T* X, T* Y) {
    const long long n = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
    if (n >= count) return;
    T sum = X[n];
    for (int part = 1; part < parts; ++part) sum = add(sum, X[part * count + n]);
    Y[n] = sum;
}

}  // namespace conv

KERNEL(conv::direct<float>)
KERNEL(conv::direct<double>)
KERNEL(conv::implicit<float, 128, 128>)
KERNEL(conv::implicit<float, 64, 64>)
KERNEL(conv::implicit<float, 32, 128>)
KERNEL(conv::implicit<float, 16, 256>)
KERNEL(conv::implicit<double, 128, 128>)
KERNEL(conv::implicit<double, 64, 64>)
KERNEL(conv::implicit<double, 32, 128>)
KERNEL(conv::implicit<double, 16, 256>)
KERNEL(conv::direct_weight<float>)
KERNEL(conv::direct_weight<double>)
KERNEL(conv::implicit_weight<float, 128, 128>)
KERNEL(conv::implicit_weight<float, 64, 64>)
KERNEL(conv::implicit_weight<float, 32, 128>)
KERNEL(conv::implicit_weight<float, 16, 256>)
KERNEL(conv::implicit_weight<double, 128, 128>)
KERNEL(conv::implicit_weight<double, 64, 64>)
KERNEL(conv::implicit_weight<double, 32, 128>)
KERNEL(conv::implicit_weight<double, 16, 256>)
KERNEL(conv::add_parts<float>)
KERNEL(conv::add_parts<double>)
