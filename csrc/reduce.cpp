// Reductions: out[kept] = Σ[reduced] f(x[kept, reduced]), and products, largest and smallest
//
//     lines (the reduced elements of one result lie side by side, or nothing does):
//         for each result, for each run of its elements: 4 vectors of partial results, in the end added across
//     columns (results lie side by side):
//         for each block of columns: the totals of all columns, over some rows at a time
//
// Partial results are folded into a total every few elements; a sum's total carries along what rounding loses (Knuth's two-sum), so that a sum's
// error does not grow with the number of elements beyond that of a few. Work is cut by size; each piece leaves a total, and these are folded in order.
#include "reduce.h"

#include "lanes.h"
#include "walk.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 32768;   // elements
constexpr int FOLD = 32;           // steps between folds
constexpr int64_t CHUNK = 128;     // elements

// ---- what is reduced, and how -------------------------------------------------------------------------------------------

// V: a vector or a number. A total is a pair: value and correction.
template <class V> struct Total { V value, lost; };

struct Sum {
    template <class T> static constexpr T identity = 0;
    template <class V> static ALWAYS_INLINE V step(V a, V b) { return a + b; }
    template <class V> static ALWAYS_INLINE void fold(Total<V>& total, V x) {
        const V sum = total.value + x, part = sum - total.value;
        total.lost += (total.value - (sum - part)) + (x - part);
        total.value = sum;
    }
    template <class T> static ALWAYS_INLINE T result(Total<T> total) {
        const T sum = total.value + total.lost;
        return sum == sum ? sum : total.value;   // beside an infinity, what was lost is NaN
    }
};
template <class Self> struct Simple {   // nothing is lost
    template <class V> static ALWAYS_INLINE void fold(Total<V>& total, V x) { total.value = Self::step(total.value, x); }
    template <class T> static ALWAYS_INLINE T result(Total<T> total) { return total.value; }
};
struct Product : Simple<Product> {
    template <class T> static constexpr T identity = 1;
    template <class V> static ALWAYS_INLINE V step(V a, V b) { return a * b; }
};
struct Largest : Simple<Largest> {
    template <class T> static constexpr T identity = -__builtin_inf();
    template <class V> static ALWAYS_INLINE V step(V a, V b) { return larger_of(b, a); }
};
struct Smallest : Simple<Smallest> {
    template <class T> static constexpr T identity = __builtin_inf();
    template <class V> static ALWAYS_INLINE V step(V a, V b) { return smaller_of(b, a); }
};

// f(x, center); `hole` stands in for what is not there.
template <class Op> struct Itself {
    static constexpr bool centered = false;
    template <class T> static ALWAYS_INLINE T hole(T) { return Op::template identity<T>; }
    template <class V> static ALWAYS_INLINE V of(V x, V) { return x; }
};
struct SquareFrom {
    static constexpr bool centered = true;
    template <class T> static ALWAYS_INLINE T hole(T center) { return center; }
    template <class V> static ALWAYS_INLINE V of(V x, V center) { return (x - center) * (x - center); }
};
struct ExpFrom {
    static constexpr bool centered = true;
    template <class T> static ALWAYS_INLINE T hole(T) { return -__builtin_inf(); }
    template <class V> static ALWAYS_INLINE V of(V x, V center) { return quick_exp(x - center); }
};

ALWAYS_INLINE int64_t count_runs(const Nest<1>& nest) {   // of the last dimension
    int64_t runs = 1;
    for (int d = 0; d < nest.ndim - 1; ++d) runs *= nest.shape[d];
    return runs;
}

// ---- lines ------------------------------------------------------------------------------------------------------------

// The n elements from p on, side by side and so few that they need no folding, lane by lane.
template <class T, class Op, class Map> ALWAYS_INLINE vector<T> reduce_short(const T* p, int64_t n, const T* limit, T center) {
    constexpr int W = vec<T>::size;
    const vector<T> identity = splat<T>(Op::template identity<T>), c = splat<T>(center);
    const T hole = Map::template hole<T>(center);
    if (n <= W) return Map::of(load_part(p, n, limit, hole), c);
    vector<T> part[4] = {identity, identity, identity, identity};
    int64_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W) UNROLL for (int k = 0; k < 4; ++k) part[k] = Op::step(part[k], Map::of(load(p + i + k * W), c));
    UNROLL for (int k = 0; k < 4; ++k) {
        const int64_t at = i + k * W;
        if (at < n) part[k] = Op::step(part[k], Map::of(at + W <= n ? load(p + at) : load_part(p + at, n - at, limit, hole), c));
    }
    return Op::step(Op::step(part[0], part[1]), Op::step(part[2], part[3]));
}

// Elements [begin, end) of `count` runs from run `first` on, steps of `step` apart, lane by lane.
template <class T, class Op, class Map, bool UNIT>
ALWAYS_INLINE Total<vector<T>> reduce_runs(const T* x, const Nest<1>& nest, int64_t first, int64_t count, int64_t begin, int64_t end, const T* limit,
                                           T center) {
    constexpr int W = vec<T>::size;
    const vector<T> identity = splat<T>(Op::template identity<T>), c = splat<T>(center);
    const T hole = Map::template hole<T>(center);
    const int64_t step = nest.stride[0][nest.ndim - 1];
    vector<T> part[4] = {identity, identity, identity, identity};
    Total<vector<T>> total = {identity, vector<T>{}};
    int steps = 0;
    const auto fold = [&] {
        Op::fold(total, Op::step(Op::step(part[0], part[1]), Op::step(part[2], part[3])));
        for (auto& each : part) each = identity;
        steps = 0;
    };
    const auto read = [&](const T* p, int64_t n) {
        if constexpr (UNIT) return n >= W ? load(p) : load_part(p, n, limit, hole);
        else {
            vector<T> v = splat<T>(hole);
            for (int i = 0; i < W && i < n; ++i) v[i] = p[i * step];
            return v;
        }
    };
    Odometer<1> run(nest, nest.ndim - 1, first);
    if (UNIT && count == 1 && end - begin <= 4 * W * FOLD) return {reduce_short<T, Op, Map>(x + run.offset[0] + begin, end - begin, limit, center), vector<T>{}};
    if (!UNIT && count == 1 && end - begin <= 4) {   // sooner done one by one
        const T* p = x + run.offset[0];
        T some = Op::template identity<T>;
        for (int64_t i = begin; i < end; ++i) some = Op::step(some, Map::of(p[i * step], center));
        total.value[0] = some;
        return total;
    }
    for (int64_t r = 0; r < count; ++r, run.next()) {
        const T* p = x + run.offset[0];
        int64_t i = begin;
        for (; i + 4 * W <= end; i += 4 * W) {
            for (int k = 0; k < 4; ++k) part[k] = Op::step(part[k], Map::of(read(p + (i + k * W) * step, W), c));
            if (++steps == FOLD) fold();
        }
        UNROLL for (int k = 0; k < 4; ++k) {
            const int64_t at = i + k * W;
            if (at < end) part[k] = Op::step(part[k], Map::of(read(p + at * step, end - at), c));
        }
        if (++steps >= FOLD) fold();
    }
    fold();
    return total;
}
template <class T, class Op> ALWAYS_INLINE Total<T> joined(const Total<vector<T>>& total) {
    return {across<T>(total.value, [](auto a, auto b) { return Op::step(a, b); }), across<T>(total.lost, Plus{})};
}

template <class T, class Op, class Map, bool UNIT> NOINLINE bool lines(const ReduceArguments& a) {
    constexpr int L = vec<T>::size;
    T* out = static_cast<T*>(a.kept.data[0]);
    const T *x = static_cast<const T*>(a.kept.data[1]), *center = static_cast<const T*>(a.center), *limit = static_cast<const T*>(a.end);
    int64_t results = 1;
    for (int d = 0; d < a.kept.ndim; ++d) results *= a.kept.shape[d];
    const int64_t n = a.reduced.shape[a.reduced.ndim - 1], runs = count_runs(a.reduced);
    const int64_t cut = n > 2 * GRAIN ? GRAIN : n, parts = pieces(n, cut);                   // of a run
    const int64_t together = larger(1, GRAIN / cut), units = pieces(runs, together) * parts;   // of a result
    const auto reduce = [=, &a](const int64_t (&offset)[2], int64_t unit) {
        const int64_t first = unit / parts * together, from = unit % parts * cut;
        return reduce_runs<T, Op, Map, UNIT>(x + offset[1], a.reduced, first, smaller(together, runs - first), from, smaller(n, from + cut), limit,
                                             Map::centered ? center[offset[0]] : 0);
    };
    if (units == 1) {
        const bool brief = UNIT && runs == 1 && n <= 4 * L * FOLD;
        parallel_for(results, larger(1, GRAIN / (n * runs)), [=, &a](int64_t begin, int64_t stop) {
            Odometer<2> at(a.kept, a.kept.ndim, begin);
            for (int64_t i = begin; i < stop;) {
                if (brief && i + L <= stop) {   // a vector of results
                    vector<T> rows[L];
                    int64_t place[L];
                    for (int l = 0; l < L; ++l, at.next()) {
                        place[l] = at.offset[0];
                        rows[l] = reduce_short<T, Op, Map>(x + at.offset[1], n, limit, Map::centered ? center[at.offset[0]] : 0);
                    }
                    T y[L];
                    store(y, across_rows<T>(rows, [](auto a, auto b) { return Op::step(a, b); }));
                    for (int l = 0; l < L; ++l) out[place[l]] = Op::result(Total<T>{y[l], 0});
                    i += L;
                } else {
                    out[at.offset[0]] = Op::result(joined<T, Op>(reduce(at.offset, 0)));
                    at.next();
                    ++i;
                }
            }
        });
        return true;
    }
    Total<T>* partial = static_cast<Total<T>*>(workspace(0, results * units * sizeof(Total<T>)));
    if (!partial) return false;
    parallel_for(results * units, 1, [=, &a](int64_t begin, int64_t stop) {
        for (int64_t task = begin; task < stop; ++task)
            partial[task] = joined<T, Op>(reduce(Odometer<2>(a.kept, a.kept.ndim, task / units).offset, task % units));
    });
    Odometer<2> at(a.kept, a.kept.ndim, 0);
    for (int64_t i = 0; i < results; ++i, at.next()) {
        Total<T> total = partial[i * units];
        for (int64_t unit = 1; unit < units; ++unit) {
            Op::fold(total, partial[i * units + unit].value);
            total.lost += partial[i * units + unit].lost;
        }
        out[at.offset[0]] = Op::result(total);
    }
    return true;
}

// ---- columns ----------------------------------------------------------------------------------------------------------

constexpr int64_t WIDTH = 1024;   // columns of a task at most: their totals stay in the first cache
constexpr int TOGETHER = 8;       // rows that are read side by side, each a stream from end to end

// Folds `ROWS` rows of `width` columns into the columns' totals. Totals have room for a vector beyond the last column.
template <class T, class Op, class Map, int ROWS>
ALWAYS_INLINE void fold_rows(const T* const* row, int64_t width, const T* limit, const T* center, const T* center_end, T* value, T* lost) {
    constexpr int W = vec<T>::size;
    for (int64_t j = 0; j < width; j += W) {
        const bool whole = j + W <= width;
        vector<T> c{};
        if constexpr (Map::centered) c = whole ? load(center + j) : load_part(center + j, width - j, center_end, T(0));
        vector<T> part = splat<T>(Op::template identity<T>);
        UNROLL for (int r = 0; r < ROWS; ++r) part = Op::step(part, Map::of(whole ? load(row[r] + j) : load_part(row[r] + j, width - j, limit, T(0)), c));
        Total<vector<T>> total = {load(value + j), load(lost + j)};
        Op::fold(total, part);
        store(value + j, total.value);
        store(lost + j, total.lost);
    }
}

// The totals of `width` columns from x on, over `count` rows from `first` on.
template <class T, class Op, class Map>
ALWAYS_INLINE void reduce_rows(const T* x, const Nest<1>& nest, int64_t first, int64_t count, int64_t width, const T* limit, const T* center,
                               const T* center_end, T* value, T* lost) {
    for (int64_t j = 0; j < width + vec<T>::size; ++j) value[j] = Op::template identity<T>, lost[j] = 0;
    const int64_t n = nest.shape[nest.ndim - 1], step = nest.stride[0][nest.ndim - 1];
    int64_t i = first % n;
    Odometer<1> run(nest, nest.ndim - 1, first / n);
    while (count > 0) {
        const int rows = count >= TOGETHER ? TOGETHER : 1;
        const T* row[TOGETHER];
        for (int r = 0; r < rows; ++r) {
            row[r] = x + run.offset[0] + i * step;
            if (++i == n) i = 0, run.next();
        }
        if (rows == TOGETHER) fold_rows<T, Op, Map, TOGETHER>(row, width, limit, center, center_end, value, lost);
        else fold_rows<T, Op, Map, 1>(row, width, limit, center, center_end, value, lost);
        count -= rows;
    }
}

template <class T, class Op, class Map> NOINLINE bool columns(const ReduceArguments& a) {
    constexpr int W = vec<T>::size;
    T* out = static_cast<T*>(a.kept.data[0]);
    const T *x = static_cast<const T*>(a.kept.data[1]), *center = static_cast<const T*>(a.center), *limit = static_cast<const T*>(a.end);
    const int outer = a.kept.ndim - 1;
    int64_t blocks = 1;
    for (int d = 0; d < outer; ++d) blocks *= a.kept.shape[d];
    const int64_t n = a.kept.shape[outer], rows = count_runs(a.reduced) * a.reduced.shape[a.reduced.ndim - 1];
    const int64_t width = smaller(n, WIDTH), parts = pieces(n, width);                                                     // columns of a task
    const int64_t height = larger(larger(8 * TOGETHER, GRAIN / width), pieces(rows, 64)), units = pieces(rows, height);   // rows of a task
    Total<T>* partial = nullptr;
    if (units > 1 && !(partial = static_cast<Total<T>*>(workspace(0, blocks * units * n * sizeof(Total<T>))))) return false;
    parallel_for(blocks * units * parts, larger(1, GRAIN / (width * smaller(rows, height))), [=, &a](int64_t begin, int64_t stop) {
        alignas(64) T value[WIDTH + W], lost[WIDTH + W];
        for (int64_t task = begin; task < stop; ++task) {
            const int64_t block = task / (units * parts), unit = task / parts % units, from = task % parts * width;
            const int64_t first = unit * height, wide = smaller(width, n - from);
            const Odometer<2> at(a.kept, outer, block);
            const auto& offset = at.offset;
            const T* c = Map::centered ? center + offset[0] + from : nullptr;
            reduce_rows<T, Op, Map>(x + offset[1] + from, a.reduced, first, smaller(height, rows - first), wide, limit, c, c + wide, value, lost);
            if (units == 1) for (int64_t j = 0; j < wide; ++j) out[offset[0] + from + j] = Op::result(Total<T>{value[j], lost[j]});
            else for (int64_t j = 0; j < wide; ++j) partial[(block * units + unit) * n + from + j] = {value[j], lost[j]};
        }
    });
    if (units > 1)
        parallel_for(blocks * n, larger(1, GRAIN / units), [=, &a](int64_t begin, int64_t stop) {
            constexpr int64_t SOME = 64;   // results whose totals are read side by side
            for (int64_t i = begin; i < stop;) {
                const int64_t block = i / n, column = i % n, count = smaller(smaller(SOME, stop - i), n - column);
                const Total<T>* from = partial + block * units * n + column;
                Total<T> total[SOME];
                for (int64_t j = 0; j < count; ++j) total[j] = from[j];
                for (int64_t unit = 1; unit < units; ++unit)
                    for (int64_t j = 0; j < count; ++j) {
                        Op::fold(total[j], from[unit * n + j].value);
                        total[j].lost += from[unit * n + j].lost;
                    }
                const Odometer<2> at(a.kept, outer, block);
                for (int64_t j = 0; j < count; ++j) out[at.offset[0] + column + j] = Op::result(total[j]);
                i += count;
            }
        });
    return true;
}

template <class T, class Op, class Map> bool reduction(const ReduceArguments& a) {
    if (a.reduced.stride[0][a.reduced.ndim - 1] == 1) return lines<T, Op, Map, true>(a);
    const int last = a.kept.ndim - 1;
    if (a.kept.stride[1][last] == 1 && a.kept.stride[0][last] == 1) return columns<T, Op, Map>(a);
    return lines<T, Op, Map, false>(a);
}
template <class Op, class Map = Itself<Op>> constexpr Reduce REDUCTION = {reduction<float, Op, Map>, reduction<double, Op, Map>};

// ---- the place of the largest and the smallest --------------------------------------------------------------------------

template <class T, class Op> void arg(const ReduceArguments& a) {
    int64_t results = 1;
    for (int d = 0; d < a.kept.ndim; ++d) results *= a.kept.shape[d];
    const int64_t n = a.reduced.shape[0], step = a.reduced.stride[0][0];
    const T *x = static_cast<const T*>(a.kept.data[1]), *limit = static_cast<const T*>(a.end);
    parallel_for(results, larger(1, GRAIN / n), [=, &a](int64_t begin, int64_t stop) {
        Odometer<2> at_result(a.kept, a.kept.ndim, begin);
        for (int64_t i = begin; i < stop; ++i, at_result.next()) {
            const T* p = x + at_result.offset[1];
            const T best = joined<T, Op>(step == 1 ? reduce_runs<T, Op, Itself<Op>, true>(p, a.reduced, 0, 1, 0, n, limit, 0)
                                                   : reduce_runs<T, Op, Itself<Op>, false>(p, a.reduced, 0, 1, 0, n, limit, 0)).value;
            const auto is_best = [=](int64_t j) { return p[j * step] == best || p[j * step] != p[j * step]; };   // a NaN would be the best
            int64_t at = 0;
            if (step == 1)
                for (int hits = 0; at + CHUNK <= n; at += CHUNK) {   // chunks without it, in vectors
                    for (int64_t j = at; j < at + CHUNK; ++j) hits += (p[j] == best) | (p[j] != p[j]);
                    if (hits) break;
                }
            while (!is_best(at)) ++at;
            static_cast<int64_t*>(a.kept.data[0])[at_result.offset[0]] = at;
        }
    });
}

}  // namespace

constexpr ReduceTable reduce = {
    .sum = REDUCTION<Sum>, .prod = REDUCTION<Product>, .amax = REDUCTION<Largest>, .amin = REDUCTION<Smallest>,
    .squares = REDUCTION<Sum, SquareFrom>, .exps = REDUCTION<Sum, ExpFrom>,
    .argmax = {arg<float, Largest>, arg<double, Largest>}, .argmin = {arg<float, Smallest>, arg<double, Smallest>},
};

}  // namespace minidl::ISA
