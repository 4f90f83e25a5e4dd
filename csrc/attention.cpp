// Attention: Y = softmax(scale Q Kᵀ + mask) V for every head, Q (L, E), K (S, E), V (S, Ev), Y (L, Ev), and its gradients
// (Milakov & Gimelshein 2018: softmax in one pass; Dao et al. 2022, FlashAttention, algorithms 1 and 4).
//
//     for each panel of queries (all threads), for each block of keys:             Sᵀ of this block alone is ever in memory
//         Sᵀ = K Qᵀ;  top = max(top, Sᵀ);  Pᵀ = exp(Sᵀ - top)
//         Yᵀ = Yᵀ exp(old top - top) + Vᵀ Pᵀ;  sum = ...
//     Y = Yᵀᵀ / sum, lse = top + log(sum)
//
// Everything is computed transposed: queries lie side by side in the lanes of vectors, keys below each other. So softmax's maxima and sums are plain
// vector operations, K and V are read in place whatever their strides (one number at a time, as the micro-kernel's A), and only Q is packed.
//
// A masked score is -infinity, its weight 0. The products still multiply that 0 by V's row, so that NaN and infinity there come through as in the
// reference; blocks of keys after the queries (causal) are left out where nothing there is infinite or NaN.
#include "attention.h"

#include "lanes.h"
#include "tile.h"

namespace minidl::ISA {
namespace {

constexpr double INF = __builtin_inf();
template <class T> constexpr int64_t PANEL = WIDE * vec<T>::size;   // queries
constexpr int64_t KEYS = 96;                                        // of a block: a panel's weights and queries stay in the first cache
constexpr int64_t TASK = 1 << 20;                                   // multiplications, some 10 microseconds

// One head.
template <class T> struct Head {
    const AttentionArguments& p;
    T* array[AttentionArguments::ARRAYS];

    Head(const AttentionArguments& p, int64_t head) : p(p) {
        constexpr int N = AttentionArguments::ARRAYS;
        int64_t offset[N] = {};
        for (int d = p.batch.ndim - 1; d >= 0; --d) {
            const int64_t i = head % p.batch.shape[d];
            head /= p.batch.shape[d];
            for (int n = 0; n < N; ++n) offset[n] += i * p.batch.stride[n][d];
        }
        for (int n = 0; n < N; ++n) array[n] = static_cast<T*>(p.batch.data[n]) + offset[n];
        if (p.mask == MAY_ATTEND)
            array[p.MASK] = reinterpret_cast<T*>(static_cast<char*>(p.batch.data[p.MASK]) + offset[p.MASK]);
    }
    T* at(int n, int64_t row, int64_t col = 0) const { return array[n] + row * p.step[n].row + col * p.step[n].col; }
};

ALWAYS_INLINE int64_t heads_of(const AttentionArguments& p) {
    int64_t heads = 1;
    for (int d = 0; d < p.batch.ndim; ++d) heads *= p.batch.shape[d];
    return heads;
}

// Whether rows [begin, end) hold neither NaN nor infinity.
template <class T> bool all_finite(const Head<T>& h, int n, int64_t begin, int64_t end, int64_t columns) {
    constexpr int L = vec<T>::size;
    vector<T> sums{};
    T sum = 0;
    for (int64_t i = begin; i < end; ++i) {
        const T* x = h.at(n, i);
        const int64_t col = h.p.step[n].col;
        int64_t j = 0;
        if (col == 1) for (; j + L <= columns; j += L) sums += load(x + j) * 0;
        for (; j < columns; ++j) sum += x[j * col] * 0;
    }
    return sum + across<T>(sums, Plus{}) == 0;
}

// C (m, one panel) = A (m, k) B (k, panel), or += it. t.b, t.width and their like are set: see `panel`.
template <class T> void multiply(Tile<T>& t, int vectors, int64_t m, const T* a, int64_t a_row, int64_t a_step, int64_t k, T* c, int64_t c_row, bool add) {
    const int64_t tiles = pieces(m, ROWS);
    t.k = k, t.a_step = a_step, t.c_row = c_row, t.add = add;
    for (int64_t i = 0; i < tiles; ++i) {
        const int64_t row = part(m, tiles, i);
        const int height = static_cast<int>(part(m, tiles, i + 1) - row);
        for (int j = 0; j < height; ++j) t.a[j] = a + (row + j) * a_row;
        for (int j = 0; j < vectors; ++j) t.c[j] = c + row * c_row + j * vec<T>::size;
        run_tile<STEPS>(height, vectors, t);
    }
}
// A tile whose B is a packed panel with rows of `b_step` numbers; `width` columns of C are written.
template <class T> Tile<T> panel(const T* b, int64_t b_step, int vectors, int64_t width) {
    Tile<T> t{};
    t.b_step = b_step;
    for (int j = 0; j < vectors; ++j) {
        t.b[j] = b + j * vec<T>::size;
        t.width[j] = static_cast<int>(smaller(vec<T>::size, width - j * vec<T>::size));
    }
    return t;
}
template <class T> ALWAYS_INLINE int vectors_of(int64_t width) { return width > vec<T>::size ? WIDE : 1; }

// y (rows, columns) = factor xᵀ, x (columns, lanes) with full vectors of rows.
template <class T> void write_transposed(T* y, int64_t y_row, const T* x, int64_t x_row, int64_t rows, int64_t columns, T factor) {
    constexpr int L = vec<T>::size;
    for (int64_t i = 0; i < rows; i += L)
        for (int64_t j = 0; j < columns; j += L) {
            vector<T> block[L];
            for (int l = 0; l < L; ++l) block[l] = j + l < columns ? load(x + (j + l) * x_row + i) * factor : vector<T>{};
            transpose<T>(block);
            for (int l = 0; l < L && i + l < rows; ++l) {
                T* to = y + (i + l) * y_row + j;
                if (j + L <= columns) store(to, block[l]);
                else {
                    T lanes[L];
                    store(lanes, block[l]);
                    copy_lanes(to, lanes, static_cast<int>(columns - j));
                }
            }
        }
}

// The scores Sᵀ (n keys from j0 on, queries i0 ... in the lanes): the mask, and -infinity where a query may not attend. `room`: n * PANEL numbers.
template <class T> void apply_mask(const Head<T>& h, T* s, int64_t s_row, int vectors, int64_t i0, int64_t queries, int64_t j0, int64_t n, T* room) {
    constexpr int L = vec<T>::size;
    const AttentionArguments& p = h.p;
    constexpr T never = static_cast<T>(-INF);
    const int64_t lanes = vectors * L;
    const Steps step = p.step[p.MASK];
    if (p.mask == ADDED) {
        pack_columns(room, lanes, h.at(p.MASK, i0, j0), step.col, step.row, n, queries);
        for (int64_t j = 0; j < n; ++j)
            for (int64_t i = 0; i < lanes; i += L) store(s + j * s_row + i, load(s + j * s_row + i) + load(room + j * lanes + i));
    } else if (p.mask == MAY_ATTEND) {
        const char* may = reinterpret_cast<const char*>(h.array[p.MASK]) + i0 * step.row + j0 * step.col;
        for (int64_t i = 0; i < queries; ++i)
            for (int64_t j = 0; j < n; ++j)
                if (!may[i * step.row + j * step.col]) s[j * s_row + i] = never;
    }
    if (p.causal)
        for (int64_t j = larger(0, i0 - j0 + 1); j < n; ++j)   // key j0 + j, queries before it
            for (int64_t i = 0; i < lanes; i += L) {
                T* line = s + j * s_row + i;
                store(line, first_lanes<T>(smaller(larger(j0 + j - i0 - i, 0), L)) ? splat<T>(never) : load(line));
            }
}

// Queries [i0, i0 + count) of array n times factor, in the lanes; lanes beyond are 0.
template <class T> void pack_lanes(T* y, const Head<T>& h, int n, int64_t i0, int64_t count, int64_t columns, T factor = 1) {
    constexpr int L = vec<T>::size;
    for (int64_t i = 0; i < count; i += PANEL<T>) {
        const int64_t lanes = vectors_of<T>(count - i) * vec<T>::size;
        T* to = y + i * columns;
        pack_columns(to, lanes, h.at(n, i0 + i), h.p.step[n].col, h.p.step[n].row, columns, smaller(lanes, count - i));
        if (factor != 1) for (int64_t l = 0; l < columns * lanes; l += L) store(to + l, load(to + l) * factor);
    }
}

// ---- forward ---------------------------------------------------------------------------------------------------------

template <class T> struct Room {
    T *queries, *weights, *mask, *result;   // (E, panel), (keys, panel), (keys, panel), (Ev, panel)
};

// Scores (n, N vectors) become weights relative to the largest score so far; what was summed before fades accordingly.
template <class T, int N> void weigh(T* w, int64_t n, vector<T>* top, vector<T>* sum, vector<T>* shift, vector<T>* fade) {
    constexpr int L = vec<T>::size;
    vector<T> most[N], total[N];
    UNROLL for (int v = 0; v < N; ++v) most[v] = top[v], total[v] = vector<T>{};
    for (int64_t j = 0; j < n; ++j)
        UNROLL for (int v = 0; v < N; ++v) {
            const vector<T> x = load(w + (j * N + v) * L);
            most[v] = x > most[v] ? x : most[v];   // a NaN is passed over: it comes back in the sum
        }
    UNROLL for (int v = 0; v < N; ++v) {
        shift[v] = most[v] - most[v] == 0 ? most[v] : vector<T>{};   // nothing to shift by infinity
        fade[v] = quick_exp(top[v] - shift[v]);
        top[v] = most[v];
    }
    for (int64_t j = 0; j < n; ++j)
        UNROLL for (int v = 0; v < N; ++v) {
            const vector<T> e = quick_exp(load(w + (j * N + v) * L) - shift[v]);
            store(w + (j * N + v) * L, e);
            total[v] += e;
        }
    UNROLL for (int v = 0; v < N; ++v) sum[v] = sum[v] * fade[v] + total[v];
}

// Queries [i0, i0 + count), at most a panel of them, against the keys before `end`.
template <class T> void attend(const Head<T>& h, const Room<T>& room, int64_t i0, int64_t count, int64_t end) {
    using A = AttentionArguments;
    using V = vector<T>;
    constexpr int L = vec<T>::size;
    const AttentionArguments& p = h.p;
    const int vectors = vectors_of<T>(count);
    const int64_t lanes = vectors * L;
    T *q = room.queries, *w = room.weights, *y = room.result;

    pack_lanes(q, h, A::Q, i0, count, p.width, static_cast<T>(p.scale));
    if (end == 0) for (int64_t i = 0; i < p.values * lanes; ++i) y[i] = 0;

    Tile<T> scores = panel(q, lanes, vectors, lanes), weighted = panel<T>(w, lanes, vectors, lanes);
    V top[WIDE], sum[WIDE], shift[WIDE];
    for (int v = 0; v < WIDE; ++v) top[v] = splat<T>(static_cast<T>(-INF)), sum[v] = shift[v] = V{};
    const int64_t blocks = pieces(end, KEYS);
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t j0 = part(end, blocks, block), n = part(end, blocks, block + 1) - j0;
        multiply(scores, vectors, n, h.at(A::K, j0), p.step[A::K].row, p.step[A::K].col, p.width, w, lanes, false);
        if (p.mask != NO_MASK || (p.causal && j0 + n - 1 > i0)) apply_mask(h, w, lanes, vectors, i0, count, j0, n, room.mask);
        V fade[WIDE];
        if (vectors == 1) weigh<T, 1>(w, n, top, sum, shift, fade);
        else weigh<T, WIDE>(w, n, top, sum, shift, fade);
        if (block > 0)
            for (int64_t e = 0; e < p.values; ++e)
                for (int v = 0; v < vectors; ++v) store(y + e * lanes + v * L, load(y + e * lanes + v * L) * fade[v]);
        multiply(weighted, vectors, p.values, h.at(A::V, j0), p.step[A::V].col, p.step[A::V].row, n, y, lanes, block > 0);
    }
    for (int v = 0; v < vectors; ++v) {
        const V factor = sum[v] == 0 ? V{} : 1 / sum[v];   // who may attend nothing gets 0
        for (int64_t e = 0; e < p.values; ++e) store(y + e * lanes + v * L, load(y + e * lanes + v * L) * factor);
        T lse[L];
        store(lse, log(sum[v]) + shift[v]);
        for (int64_t i = 0; i < L && v * L + i < count; ++i) *h.at(A::LSE, i0 + v * L + i) = lse[i];
    }
    write_transposed(h.at(A::Y, i0), p.step[A::Y].row, y, lanes, count, p.values, T{1});
}

template <class T> bool attention(const AttentionArguments& p) {
    const int64_t panels = pieces(p.queries, PANEL<T>);
    const int64_t work = PANEL<T> * (p.keys + 1) * (p.width + p.values + 16), grain = larger(1, smaller(panels, TASK / work)), groups = pieces(panels, grain);
    bool fine = true;
    parallel_for(heads_of(p) * groups, even(heads_of(p) * groups, larger(1, TASK / (work * grain))), [&](int64_t begin, int64_t stop) {
        const int64_t keys = smaller(p.keys, KEYS) * PANEL<T>;
        T* room = static_cast<T*>(workspace(1, ((p.width + p.values) * PANEL<T> + 2 * keys) * sizeof(T)));
        if (!room) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        const Room<T> rooms{room + 2 * keys, room, room + keys, room + 2 * keys + p.width * PANEL<T>};
        for (int64_t task = begin; task < stop; ++task) {
            const Head<T> h(p, task / groups);
            const int64_t first = task % groups * grain, last = smaller(first + grain, panels);
            const bool skips = p.causal && all_finite(h, p.V, smaller(p.keys, (first + 1) * PANEL<T>), p.keys, p.values);
            for (int64_t i = first; i < last; ++i) {
                const int64_t i0 = i * PANEL<T>, count = smaller(PANEL<T>, p.queries - i0);
                attend(h, rooms, i0, count, skips ? smaller(p.keys, i0 + count) : p.keys);
            }
        }
    });
    return fine;
}

// ---- gradients -------------------------------------------------------------------------------------------------------
//
//     for each head (all threads), for each block of queries, for each block of keys:
//         Pᵀ = exp(K Qᵀ - lse);  dSᵀ = Pᵀ (V Gᵀ - Σ[e] G Y);  dQᵀ += Kᵀ dSᵀ;  dK += dSᵀ Q;  dV += Pᵀ G
//
// Each output belongs to one task, and what is added to it comes in one order. Where there are few heads, the keys are shared out too: then each
// task has a dQ of its own, and they are added up at the end, in the order of the keys.

constexpr int64_t BLOCK = 64;    // queries, and keys: a whole number of panels
constexpr int64_t FEW = 16;      // heads
constexpr int64_t SHARE = 256;   // keys, at least, of a task where there are few heads

template <class T> struct GradientRoom {
    T *weights, *slopes, *mask;                  // (keys, BLOCK): Pᵀ, dSᵀ; (keys, panel)
    T *lse, *inner;                              // (BLOCK,): also Σ[e] G Y
    T *q_lanes, *g_lanes, *y_lanes, *gq_lanes;   // (E or Ev, BLOCK): queries in the lanes
    T *q_rows, *g_rows;                          // E and Ev in the lanes: (panels, BLOCK, PANEL)

    static int64_t padded(int64_t columns) { return pieces(columns, PANEL<T>) * PANEL<T>; }
    static int64_t size(const AttentionArguments& p) {
        return BLOCK * (2 * BLOCK + PANEL<T> + 2 + 2 * p.width + 2 * p.values + padded(p.width) + padded(p.values));
    }
    GradientRoom(T* room, const AttentionArguments& p) {
        const auto take = [&room](int64_t count) { return (room += BLOCK * count) - BLOCK * count; };
        weights = take(BLOCK), slopes = take(BLOCK), mask = take(PANEL<T>), lse = take(1), inner = take(1);
        q_lanes = take(p.width), gq_lanes = take(p.width), g_lanes = take(p.values), y_lanes = take(p.values);
        q_rows = take(padded(p.width)), g_rows = take(padded(p.values));
    }
};

template <class T> void pack_panels(T* y, const Head<T>& h, int n, int64_t i0, int64_t count, int64_t columns) {
    for (int64_t j = 0; j < columns; j += PANEL<T>, y += BLOCK * PANEL<T>) {
        const int64_t lanes = vectors_of<T>(columns - j) * vec<T>::size;
        pack_columns(y, lanes, h.at(n, i0, j), h.p.step[n].row, h.p.step[n].col, count, smaller(lanes, columns - j));
    }
}

// rows (n, columns) of C, or += Aᵀ B: A's rows lie in `a` (n, BLOCK), of which the queries from `start(row)` on count; B's in panels.
template <class T> void add_to_keys(T* c, int64_t c_row, int64_t n, int64_t columns, const T* a, const T* panels, int64_t count, bool causal, bool add) {
    const int64_t tiles = pieces(n, ROWS);
    for (int64_t j = 0; j < columns; j += PANEL<T>, panels += BLOCK * PANEL<T>) {
        const int vectors = vectors_of<T>(columns - j);
        const int64_t lanes = vectors * vec<T>::size;
        for (int64_t i = 0; i < tiles; ++i) {
            const int64_t row = part(n, tiles, i), start = causal ? smaller(row / PANEL<T> * PANEL<T>, count) : 0;
            Tile<T> t = panel(panels + start * lanes, lanes, vectors, columns - j);
            multiply(t, vectors, part(n, tiles, i + 1) - row, a + row * BLOCK + start, BLOCK, 1, count - start, c + row * c_row + j, c_row, add);
        }
    }
}

// Queries [i0, i0 + count) against the keys [begin, end). gq: (count, E), its own rows.
template <class T>
void pull(const Head<T>& h, const GradientRoom<T>& room, int64_t i0, int64_t count, int64_t begin, int64_t end, bool skips, T* gq, int64_t gq_row) {
    using A = AttentionArguments;
    using V = vector<T>;
    constexpr int L = vec<T>::size;
    const AttentionArguments& p = h.p;
    const T scale = static_cast<T>(p.scale);

    pack_lanes(room.q_lanes, h, A::Q, i0, count, p.width, scale);
    pack_lanes(room.g_lanes, h, A::G, i0, count, p.values);
    pack_lanes(room.y_lanes, h, A::Y, i0, count, p.values);
    pack_panels(room.q_rows, h, A::Q, i0, count, p.width);
    pack_panels(room.g_rows, h, A::G, i0, count, p.values);
    for (int64_t i = 0; i < BLOCK; ++i) {
        const T lse = i < count ? *h.at(A::LSE, i0 + i) : T{0};
        room.lse[i] = lse == static_cast<T>(-INF) ? 0 : lse;   // its scores are all -infinity
    }
    for (int64_t i = 0; i < count; i += PANEL<T>) {
        const int64_t lanes = vectors_of<T>(count - i) * L;
        for (int64_t l = 0; l < lanes; l += L) {
            const T *g = room.g_lanes + i * p.values + l, *y = room.y_lanes + i * p.values + l;
            V sum{};
            for (int64_t e = 0; e < p.values; ++e) sum += load(g + e * lanes) * load(y + e * lanes);
            store(room.inner + i + l, sum);
        }
    }

    bool first = true;
    for (int64_t j0 = begin; j0 < end; j0 += BLOCK) {
        const int64_t n = smaller(BLOCK, end - j0);
        const bool diagonal = skips && j0 == i0;
        if (skips && j0 > i0) break;
        for (int64_t i = 0; i < count; i += PANEL<T>) {
            const int vectors = vectors_of<T>(count - i);
            const int64_t lanes = vectors * L, seen = diagonal ? smaller(n, i + lanes) : n;   // keys that this panel may attend to
            T *w = room.weights + i, *s = room.slopes + i;
            Tile<T> scores = panel<T>(room.q_lanes + i * p.width, lanes, vectors, lanes), pulls = panel<T>(room.g_lanes + i * p.values, lanes, vectors, lanes);
            multiply(scores, vectors, seen, h.at(A::K, j0), p.step[A::K].row, p.step[A::K].col, p.width, w, BLOCK, false);
            multiply(pulls, vectors, seen, h.at(A::V, j0), p.step[A::V].row, p.step[A::V].col, p.values, s, BLOCK, false);
            if (p.mask != NO_MASK || (p.causal && j0 + seen - 1 > i0 + i))
                apply_mask(h, w, BLOCK, vectors, i0 + i, smaller(PANEL<T>, count - i), j0, seen, room.mask);
            for (int64_t l = 0; l < lanes; l += L) {
                const V lse = load(room.lse + i + l), inner = load(room.inner + i + l);
                for (int64_t j = 0; j < seen; ++j) {
                    const V weight = quick_exp(load(w + j * BLOCK + l) - lse);
                    store(w + j * BLOCK + l, weight);
                    store(s + j * BLOCK + l, weight * (load(s + j * BLOCK + l) - inner) * scale);
                }
                for (int64_t j = seen; j < n; ++j) store(w + j * BLOCK + l, V{}), store(s + j * BLOCK + l, V{});
            }
            Tile<T> back = panel<T>(s, BLOCK, vectors, lanes);
            multiply(back, vectors, p.width, h.at(A::K, j0), p.step[A::K].col, p.step[A::K].row, seen, room.gq_lanes + i * p.width, lanes, !first);
        }
        const bool add = i0 != (skips ? j0 : 0);   // an earlier block of queries was here
        add_to_keys(h.at(A::GK, j0), p.step[A::GK].row, n, p.width, room.slopes, room.q_rows, count, diagonal, add);
        add_to_keys(h.at(A::GV, j0), p.step[A::GV].row, n, p.values, room.weights, room.g_rows, count, diagonal, add);
        first = false;
    }
    for (int64_t i = 0; i < count; i += PANEL<T>) {
        const int64_t lanes = vectors_of<T>(count - i) * L, rows = smaller(lanes, count - i);
        if (first) for (int64_t l = 0; l < p.width * lanes; ++l) room.gq_lanes[i * p.width + l] = 0;
        write_transposed(gq + i * gq_row, gq_row, room.gq_lanes + i * p.width, lanes, rows, p.width, T{1});
    }
}

template <class T> void clear(const Head<T>& h, int n, int64_t begin, int64_t end, int64_t columns) {
    for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j < columns; ++j) h.at(n, i)[j] = 0;
}

template <class T> bool attention_gradient(const AttentionArguments& p) {
    const int64_t heads = heads_of(p), blocks = pieces(p.keys, BLOCK);
    const int64_t shares = larger(1, smaller(p.keys / SHARE, pieces(FEW, larger(heads, 1))));   // of the keys: in all some FEW tasks
    const int64_t own = p.queries * p.width;   // numbers of a dQ
    T* partial = nullptr;
    if (shares > 1 && !(partial = static_cast<T*>(workspace(0, heads * shares * own * sizeof(T))))) return false;
    bool fine = true;
    const int64_t work = larger(1, p.queries * p.keys * (p.width + p.values) * 5 / 2);
    parallel_for(heads * shares, even(heads * shares, larger(1, TASK / work)), [&](int64_t task_begin, int64_t task_end) {
        T* room = static_cast<T*>(workspace(1, GradientRoom<T>::size(p) * sizeof(T)));
        if (!room) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        const GradientRoom<T> rooms(room, p);
        for (int64_t task = task_begin; task < task_end; ++task) {
            const Head<T> h(p, task / shares);
            const int64_t share = task % shares, begin = part(blocks, shares, share) * BLOCK, end = smaller(p.keys, part(blocks, shares, share + 1) * BLOCK);
            const bool skips = p.causal && all_finite(h, p.Q, 0, p.queries, p.width) && all_finite(h, p.K, begin, end, p.width) &&
                               all_finite(h, p.V, begin, end, p.values) && all_finite(h, p.G, 0, p.queries, p.values);
            const int64_t reached = p.queries == 0 ? begin : skips ? smaller(end, pieces(p.queries, BLOCK) * BLOCK) : end;   // keys that get anything
            clear(h, p.GK, larger(begin, reached), end, p.width);
            clear(h, p.GV, larger(begin, reached), end, p.values);
            for (int64_t i0 = 0; i0 < p.queries; i0 += BLOCK) {
                T* gq = partial ? partial + task * own + i0 * p.width : h.at(p.GQ, i0);
                pull(h, rooms, i0, smaller(BLOCK, p.queries - i0), begin, end, skips, gq, partial ? p.width : p.step[p.GQ].row);
            }
        }
    });
    if (partial)
        parallel_for(heads * p.queries, larger(1, 8192 / larger(1, p.width * shares)), [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                const Head<T> h(p, row / p.queries);
                T* y = h.at(p.GQ, row % p.queries);
                const T* x = partial + (row / p.queries * shares * p.queries + row % p.queries) * p.width;
                for (int64_t e = 0; e < p.width; ++e) {
                    T sum = x[e];
                    for (int64_t share = 1; share < shares; ++share) sum += x[share * own + e];
                    y[e] = sum;
                }
            }
        });
    return fine;
}

}  // namespace

constexpr AttentionTable attention_table = {
    .attention = {attention<float>, attention<double>},
    .attention_gradient = {attention_gradient<float>, attention_gradient<double>},
};

}  // namespace minidl::ISA
