// The rungs of matmul on a GPU: C[i,j] = Σ[k] A[i,k] * B[k,j]        A (M, K), B (K, N), C (M, N), any strides, one matrix for each blockIdx.z
//
//     naive            a thread for each C[i,j]: for k                                   the formula
//     coalesced        the same, neighbouring threads on neighbouring j                  a warp's loads share sectors
//     tiled            for tiles of k: copy tiles of A and B: for k                      each number is fetched once a tile, not once a thread
//     register_tiles   the same, 8 x 8 sums a thread                                     each number from shared memory serves 8 sums
//     vectorized       the same, 16 bytes an instruction                                 a quarter of the loads
//     double_buffered  fetch tile k+1, compute on tile k, one barrier a tile             the fetch hides behind the arithmetic
//     warp_tiled       the same, a warp's sums in a near-square                          a warp asks shared memory for fewer different words
//     tensor_cores     the same, a warp multiplies 16 x 8 x 8 words an instruction       numbers rounded to TF32, or stored as bfloat16; sums in float
//
// Launch lines, with grids and blocks, are in minidl/kernels/cuda/; `minidl cuda-profile matmul` shows what each rung saves.
#include "mma.cuh"

namespace matmul {

template <class T> struct Matrix {
    T* data;
    long long row, column, batch;   // strides, in elements
    __device__ T& operator()(int i, int j) const { return data[i * row + j * column]; }
    __device__ Matrix of_batch() const { return {data + blockIdx.z * batch, row, column, batch}; }
};

// The formula as it stands. Neighbouring threads of a warp, along x, have neighbouring i: they read down a column of A, each from a sector of its own, of which 28 of 32
// bytes are fetched for nothing; and they write C so.
template <class T> __global__ void __launch_bounds__(256) naive(int M, int N, int K, Matrix<const T> A, Matrix<const T> B, Matrix<T> C) {
    const int i = blockIdx.y * blockDim.x + threadIdx.x, j = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= M || j >= N) return;
    A = A.of_batch(), B = B.of_batch(), C = C.of_batch();
    T sum = 0;
    for (int k = 0; k < K; ++k) sum = multiply_add(A(i, k), B(k, j), sum);
    C(i, j) = sum;
}

// i and j change places: along a warp j runs. Its 32 numbers of B and of C lie side by side, four sectors, all used; A[i,k] is one number for the whole warp.
template <class T> __global__ void __launch_bounds__(256) coalesced(int M, int N, int K, Matrix<const T> A, Matrix<const T> B, Matrix<T> C) {
    const int i = blockIdx.y * blockDim.y + threadIdx.y, j = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= M || j >= N) return;
    A = A.of_batch(), B = B.of_batch(), C = C.of_batch();
    T sum = 0;
    for (int k = 0; k < K; ++k) sum = multiply_add(A(i, k), B(k, j), sum);
    C(i, j) = sum;
}

// So far each number of A is read by N threads, each of B by M. Here a block copies a tile of both into shared memory, and its 32 x 32 threads use each number 32
// times from there. Barriers: nobody reads before all is copied, nobody copies before all have read.
template <class T, int TILE> __global__ void __launch_bounds__(TILE * TILE) tiled(int M, int N, int K, Matrix<const T> A, Matrix<const T> B, Matrix<T> C) {
    __shared__ T a[TILE][TILE], b[TILE][TILE];
    const int y = threadIdx.y, x = threadIdx.x, i = blockIdx.y * TILE + y, j = blockIdx.x * TILE + x;
    A = A.of_batch(), B = B.of_batch(), C = C.of_batch();
    T sum = 0;
    for (int k0 = 0; k0 < K; k0 += TILE) {
        a[y][x] = i < M && k0 + x < K ? A(i, k0 + x) : 0;   // beyond the edge zeros, which add nothing
        b[y][x] = k0 + y < K && j < N ? B(k0 + y, j) : 0;
        __syncthreads();
        UNROLL for (int k = 0; k < TILE; ++k) sum = multiply_add(a[y][k], b[k][x], sum);
        __syncthreads();
    }
    if (i < M && j < N) C(i, j) = sum;
}

// ---- 8 x 8 sums a thread ---------------------------------------------------------------------------------------------------

constexpr int TILE = 128, PART = 8, THREADS = (TILE / PART) * (TILE / PART);   // a block's tile of C, a thread's part of it
template <class T> constexpr int DEPTH = 64 / sizeof(T);                       // numbers of k in a tile of A or B: 64 bytes
template <class T> using Tile = T[DEPTH<T>][TILE + 16 / sizeof(T)];            // [k][i] or [k][j]; rows are longer by 16 bytes, so that a column is not all in one bank

// In `tiled` each multiplication waits for two numbers from shared memory, which delivers one word a bank and cycle. Here a thread keeps 8 x 8 sums in registers: 16 numbers
// read serve 64 multiplications. The tile of C is larger, so that A and B are read fewer times as well.
template <class T> __global__ void __launch_bounds__(THREADS) register_tiles(int M, int N, int K, Matrix<const T> A, Matrix<const T> B, Matrix<T> C) {
    constexpr int STEP = TILE / PART;
    __shared__ Tile<T> a, b;
    const int t = threadIdx.x, y = t / STEP, x = t % STEP, i0 = blockIdx.y * TILE, j0 = blockIdx.x * TILE;
    A = A.of_batch(), B = B.of_batch(), C = C.of_batch();
    T sum[PART][PART] = {};
    for (int k0 = 0; k0 < K; k0 += DEPTH<T>) {
        for (int n = t; n < TILE * DEPTH<T>; n += THREADS) {   // neighbouring threads copy neighbours: k for A, j for B
            const int i = n / DEPTH<T>, k = n % DEPTH<T>;
            a[k][i] = i0 + i < M && k0 + k < K ? A(i0 + i, k0 + k) : 0;
        }
        for (int n = t; n < TILE * DEPTH<T>; n += THREADS) {
            const int k = n / TILE, j = n % TILE;
            b[k][j] = k0 + k < K && j0 + j < N ? B(k0 + k, j0 + j) : 0;
        }
        __syncthreads();
        for (int k = 0; k < DEPTH<T>; ++k) {
            T left[PART], right[PART];
            UNROLL for (int p = 0; p < PART; ++p) left[p] = a[k][y + p * STEP], right[p] = b[k][x + p * STEP];
            UNROLL for (int p = 0; p < PART; ++p)
                UNROLL for (int q = 0; q < PART; ++q) sum[p][q] = multiply_add(left[p], right[q], sum[p][q]);
        }
        __syncthreads();
    }
    for (int p = 0; p < PART; ++p)
        for (int q = 0; q < PART; ++q)
            if (i0 + y + p * STEP < M && j0 + x + q * STEP < N) C(i0 + y + p * STEP, j0 + x + q * STEP) = sum[p][q];
}

// ---- 16 bytes an instruction -----------------------------------------------------------------------------------------------

// A or B as the copies see it: x is the index that stays, i of A or j of B.
template <class T> struct Panel {
    const T* data;
    long long x_stride, k_stride;
    int X, K;
    __device__ bool along_k() const { return k_stride == 1; }
    // Whether neighbours lie side by side and every pack on a boundary of 16 bytes.
    __device__ bool wide() const {
        const long long other = along_k() ? x_stride : k_stride;
        return (along_k() || x_stride == 1) && other % Pack<T>::size == 0 && fits_pack(data);
    }
};

// A block's copy of a tile in two halves: from global memory into registers, from there into shared memory.
template <class T> struct Copy {
    static constexpr int L = Pack<T>::size, COUNT = TILE * DEPTH<T> / L / THREADS;
    Pack<T> pack[COUNT];

    // Where the n-th pack of this thread begins: along k or along x, whichever way the numbers lie.
    static __device__ int place_x(int n, bool along_k) { n = n * THREADS + threadIdx.x; return along_k ? n / (DEPTH<T> / L) : n % (TILE / L) * L; }
    static __device__ int place_k(int n, bool along_k) { n = n * THREADS + threadIdx.x; return along_k ? n % (DEPTH<T> / L) * L : n / (TILE / L); }

    __device__ void fetch(const Panel<T>& from, bool wide, int x0, int k0) {
        const bool along_k = from.along_k();
        UNROLL for (int n = 0; n < COUNT; ++n) {
            const int x = x0 + place_x(n, along_k), k = k0 + place_k(n, along_k);
            const T* p = from.data + x * from.x_stride + k * from.k_stride;
            if (wide && x + (along_k ? 1 : L) <= from.X && k + (along_k ? L : 1) <= from.K) pack[n] = load_pack(p);
            else
                UNROLL for (int e = 0; e < L; ++e) {
                    const bool inside = x + (along_k ? 0 : e) < from.X && k + (along_k ? e : 0) < from.K;
                    pack[n].lane[e] = inside ? p[e * (along_k ? from.k_stride : from.x_stride)] : 0;
                }
        }
    }
    __device__ void store(Tile<T>& tile, bool along_k) const {
        UNROLL for (int n = 0; n < COUNT; ++n) {
            const int x = place_x(n, along_k), k = place_k(n, along_k);
            if (along_k) UNROLL for (int e = 0; e < L; ++e) tile[k + e][x] = pack[n].lane[e];
            else store_pack(&tile[k][x], pack[n]);
        }
    }
};

// A thread's 8 x 8 sums, as packs of neighbours: `row` and `column` are its first ones in the block's tile, the next ones follow `row_step` and `column_step` further.
template <class T> struct Part {
    static constexpr int L = Pack<T>::size, PACKS = PART / L;
    int row, column, row_step, column_step;
    T sum[PART][PART];

    // Threads of the block in a 16 x 16 square: a warp has 2 of its rows.
    static __device__ Part of_block() {
        constexpr int STEP = TILE / PART;
        const int t = threadIdx.x;
        return {t / STEP * L, t % STEP * L, STEP * L, STEP * L, {}};
    }
    // The block's 8 warps have 64 x 32 sums each; a warp's lanes form a rectangle of 8 x 4.
    static __device__ Part of_warp() {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        return {warp / 4 * 64 + lane / 4 * L, warp % 4 * 32 + lane % 4 * L, 8 * L, 4 * L, {}};
    }

    __device__ void multiply(const Tile<T>& a, const Tile<T>& b) {
        UNROLL for (int k = 0; k < DEPTH<T>; ++k) {
            Pack<T> left[PACKS], right[PACKS];
            UNROLL for (int p = 0; p < PACKS; ++p) {
                left[p] = load_pack(&a[k][row + p * row_step]);
                right[p] = load_pack(&b[k][column + p * column_step]);
            }
            UNROLL for (int p = 0; p < PART; ++p)
                UNROLL for (int q = 0; q < PART; ++q) sum[p][q] = multiply_add(left[p / L].lane[p % L], right[q / L].lane[q % L], sum[p][q]);
        }
    }

    __device__ void store(const Matrix<T>& C, int M, int N, int i0, int j0) const {
        const bool wide = C.column == 1 && C.row % L == 0 && fits_pack(C.data);
        UNROLL for (int p = 0; p < PART; ++p)
            UNROLL for (int q = 0; q < PACKS; ++q) {
                const int i = i0 + row + p / L * row_step + p % L, j = j0 + column + q * column_step;
                if (i >= M) continue;
                Pack<T> pack;
                UNROLL for (int e = 0; e < L; ++e) pack.lane[e] = sum[p][q * L + e];
                if (wide && j + L <= N) store_pack(&C(i, j), pack);
                else
                    UNROLL for (int e = 0; e < L; ++e)
                        if (j + e < N) C(i, j + e) = pack.lane[e];
            }
    }
};

// Four floats (two doubles) an instruction, from global memory and from shared memory. The bytes are the same, but a warp gives fewer instructions for them, and
// what is asked for at once is served at once.
template <class T> __global__ void __launch_bounds__(THREADS) vectorized(int M, int N, int K, Matrix<const T> A, Matrix<const T> B, Matrix<T> C) {
    __shared__ __align__(16) Tile<T> a;
    __shared__ __align__(16) Tile<T> b;
    A = A.of_batch(), B = B.of_batch(), C = C.of_batch();
    const Panel<T> left{A.data, A.row, A.column, M, K}, right{B.data, B.column, B.row, N, K};
    const bool left_wide = left.wide(), right_wide = right.wide();
    const int i0 = blockIdx.y * TILE, j0 = blockIdx.x * TILE;
    Part<T> part = Part<T>::of_block();
    for (int k0 = 0; k0 < K; k0 += DEPTH<T>) {
        Copy<T> copy_a, copy_b;
        copy_a.fetch(left, left_wide, i0, k0), copy_b.fetch(right, right_wide, j0, k0);
        copy_a.store(a, left.along_k()), copy_b.store(b, right.along_k());
        __syncthreads();
        part.multiply(a, b);
        __syncthreads();
    }
    part.store(C, M, N, i0, j0);
}

// Two tiles of each: while one is used, the next is on its way from global memory to the registers, and it is written where nobody reads. Its hundreds of cycles pass during the
// arithmetic, and one barrier a tile suffices.
template <class T> __device__ __forceinline__ void pipelined(int M, int N, int K, Matrix<const T> A, Matrix<const T> B, Matrix<T> C, Part<T> part) {
    __shared__ __align__(16) Tile<T> a[2];
    __shared__ __align__(16) Tile<T> b[2];
    A = A.of_batch(), B = B.of_batch(), C = C.of_batch();
    const Panel<T> left{A.data, A.row, A.column, M, K}, right{B.data, B.column, B.row, N, K};
    const bool left_wide = left.wide(), right_wide = right.wide();
    const int i0 = blockIdx.y * TILE, j0 = blockIdx.x * TILE;
    Copy<T> copy_a, copy_b;
    copy_a.fetch(left, left_wide, i0, 0), copy_b.fetch(right, right_wide, j0, 0);
    copy_a.store(a[0], left.along_k()), copy_b.store(b[0], right.along_k());
    __syncthreads();
    int stage = 0;
    for (int k0 = 0; k0 < K; k0 += DEPTH<T>) {
        const bool more = k0 + DEPTH<T> < K;
        if (more) copy_a.fetch(left, left_wide, i0, k0 + DEPTH<T>), copy_b.fetch(right, right_wide, j0, k0 + DEPTH<T>);
        part.multiply(a[stage], b[stage]);
        stage ^= 1;
        if (more) copy_a.store(a[stage], left.along_k()), copy_b.store(b[stage], right.along_k());
        __syncthreads();
    }
    part.store(C, M, N, i0, j0);
}
template <class T> __global__ void __launch_bounds__(THREADS) double_buffered(int M, int N, int K, Matrix<const T> A, Matrix<const T> B, Matrix<T> C) {
    pipelined(M, N, K, A, B, C, Part<T>::of_block());
}

// For one k the warps so far need 16 numbers of A and 128 of B. As a rectangle of 64 x 32 sums a warp needs 64 and 32: fewer different words, so fewer passes over the banks.
template <class T> __global__ void __launch_bounds__(THREADS) warp_tiled(int M, int N, int K, Matrix<const T> A, Matrix<const T> B, Matrix<T> C) {
    pipelined(M, N, K, A, B, C, Part<T>::of_warp());
}

// ---- tensor cores ------------------------------------------------------------------------------------------------------------

// What a word of 32 bits holds for tensor cores: a number, rounded to TF32 on its way to shared memory, or two neighbours along k in bfloat16.
struct Tf32 {
    using T = float;
    static constexpr int PER_WORD = 1;
    static __device__ __forceinline__ unsigned word(T x, T) { return mma::tf32(x); }
    static __device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma::multiply_tf32(c, a, b); }
};
struct Bf16 {
    using T = unsigned short;
    static constexpr int PER_WORD = 2;
    static __device__ __forceinline__ unsigned word(T x, T next) { return x | static_cast<unsigned>(next) << 16; }
    static __device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma::multiply_bf16(c, a, b); }
};

constexpr int WORDS = 16;                          // of k in a tile
using WordTile = unsigned[WORDS][TILE + 8];        // rows are longer by 8 banks: what the lanes of a warp read, 4 rows by 8 columns, lies in 32 banks

// A block's copy of a tile of words, 2 x 4 a thread. Along k a thread has 8 words side by side. Along x its words are of one row: two packs of numbers each give one of
// TF32, or both give two of bfloat16, whose words take a number from each.
template <class Number> struct WordCopy {
    using T = typename Number::T;
    static constexpr int L = Pack<T>::size, PER = Number::PER_WORD;
    unsigned word[2][4];

    static __device__ int place_x(int n, bool along_k) { return along_k ? threadIdx.x % TILE : threadIdx.x % 16 * L + n * (PER == 1 ? 64 : 4); }
    static __device__ int place_word(int n, bool along_k) { return along_k ? threadIdx.x / TILE * 8 + n * 4 : threadIdx.x / 16; }

    __device__ void fetch(const Panel<T>& from, bool wide, int x0, int k0) {
        const bool along_k = from.along_k();
        const auto pack_at = [&](int n) {
            const int k = k0 + place_word(along_k || PER == 1 ? n : 0, along_k) * PER + (along_k || PER == 1 ? 0 : n);
            return load_pack(from.data + (x0 + place_x(along_k || PER == 1 ? n : 0, along_k)) * from.x_stride + k * from.k_stride);
        };
        const auto number = [&](int x, int k) { return x < from.X && k < from.K ? from.data[x * from.x_stride + k * from.k_stride] : T(0); };
        const int last_x = x0 + place_x(1, along_k) + (along_k ? 0 : 3), last_k = k0 + (place_word(1, along_k) + (along_k ? 4 : 1)) * PER - 1;
        if (wide && last_x < from.X && last_k < from.K) {
            const Pack<T> first = pack_at(0), second = pack_at(1);
            UNROLL for (int e = 0; e < 4; ++e) {
                if (PER == 1) word[0][e] = Number::word(first.lane[e], 0), word[1][e] = Number::word(second.lane[e], 0);
                else if (along_k) word[0][e] = Number::word(first.lane[2 * e % L], first.lane[(2 * e + 1) % L]), word[1][e] = Number::word(second.lane[2 * e % L], second.lane[(2 * e + 1) % L]);
                else word[0][e] = Number::word(first.lane[e], second.lane[e]), word[1][e] = Number::word(first.lane[(4 + e) % L], second.lane[(4 + e) % L]);
            }
        } else
            UNROLL for (int n = 0; n < 2; ++n)
                UNROLL for (int e = 0; e < 4; ++e) {
                    const int x = x0 + place_x(n, along_k) + (along_k ? 0 : e), k = k0 + (place_word(n, along_k) + (along_k ? e : 0)) * PER;
                    word[n][e] = Number::word(number(x, k), PER == 1 ? T(0) : number(x, k + 1));
                }
    }
    __device__ void store(WordTile& tile, bool along_k) const {
        UNROLL for (int n = 0; n < 2; ++n) {
            const int x = place_x(n, along_k), k = place_word(n, along_k);
            if (along_k) UNROLL for (int e = 0; e < 4; ++e) tile[k + e][x] = word[n][e];
            else store_pack(&tile[k][x], Pack<unsigned>{{word[n][0], word[n][1], word[n][2], word[n][3]}});
        }
    }
};

// As warp_tiled, but a warp's 64 x 32 sums are 4 x 4 products of 16 x 8, each of one instruction that multiplies 1024 (bfloat16: 2048) pairs of numbers.
template <class Number> __global__ void __launch_bounds__(THREADS)
tensor_cores(int M, int N, int K, Matrix<const typename Number::T> A, Matrix<const typename Number::T> B, Matrix<float> C) {
    using T = typename Number::T;
    constexpr int STEP = WORDS * Number::PER_WORD;
    __shared__ __align__(16) WordTile a[2];
    __shared__ __align__(16) WordTile b[2];
    A = A.of_batch(), B = B.of_batch(), C = C.of_batch();
    const Panel<T> left{A.data, A.row, A.column, M, K}, right{B.data, B.column, B.row, N, K};
    const bool left_wide = left.wide(), right_wide = right.wide();
    const int i0 = blockIdx.y * TILE, j0 = blockIdx.x * TILE, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int row = warp / 4 * 64 + g, column = warp % 4 * 32 + g;
    float sum[4][4][4] = {};
    WordCopy<Number> copy_a, copy_b;
    copy_a.fetch(left, left_wide, i0, 0), copy_b.fetch(right, right_wide, j0, 0);
    copy_a.store(a[0], left.along_k()), copy_b.store(b[0], right.along_k());
    __syncthreads();
    int stage = 0;
    for (int k0 = 0; k0 < K; k0 += STEP) {
        const bool more = k0 + STEP < K;
        if (more) copy_a.fetch(left, left_wide, i0, k0 + STEP), copy_b.fetch(right, right_wide, j0, k0 + STEP);
        UNROLL for (int k = 0; k < WORDS; k += 8) {
            unsigned part_a[4][4], part_b[4][2];
            UNROLL for (int p = 0; p < 4; ++p)
                UNROLL for (int n = 0; n < 4; ++n) part_a[p][n] = a[stage][k + t + n / 2 * 4][row + p * 16 + n % 2 * 8];
            UNROLL for (int q = 0; q < 4; ++q)
                UNROLL for (int n = 0; n < 2; ++n) part_b[q][n] = b[stage][k + t + n * 4][column + q * 8];
            UNROLL for (int p = 0; p < 4; ++p)
                UNROLL for (int q = 0; q < 4; ++q) Number::multiply(sum[p][q], part_a[p], part_b[q]);
        }
        stage ^= 1;
        if (more) copy_a.store(a[stage], left.along_k()), copy_b.store(b[stage], right.along_k());
        __syncthreads();
    }
    UNROLL for (int p = 0; p < 4; ++p)
        UNROLL for (int q = 0; q < 4; ++q)
            UNROLL for (int n = 0; n < 4; ++n) {
                const int i = i0 + row + p * 16 + n / 2 * 8, j = j0 + column - g + q * 8 + 2 * t + n % 2;
                if (i < M && j < N) C(i, j) = sum[p][q][n];
            }
}

}  // namespace matmul

KERNEL(matmul::naive<float>)
KERNEL(matmul::naive<double>)
KERNEL(matmul::coalesced<float>)
KERNEL(matmul::coalesced<double>)
KERNEL(matmul::tiled<float, 32>)
KERNEL(matmul::tiled<double, 32>)
KERNEL(matmul::register_tiles<float>)
KERNEL(matmul::register_tiles<double>)
KERNEL(matmul::vectorized<float>)
KERNEL(matmul::vectorized<double>)
KERNEL(matmul::double_buffered<float>)
KERNEL(matmul::double_buffered<double>)
KERNEL(matmul::warp_tiled<float>)
KERNEL(matmul::warp_tiled<double>)
KERNEL(matmul::tensor_cores<matmul::Tf32>)
KERNEL(matmul::tensor_cores<matmul::Bf16>)
