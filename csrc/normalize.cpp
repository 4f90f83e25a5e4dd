// Layer norm, RMS norm and batch norm, forward and backward.
//
//     x̂ = (x - mean) / sqrt(var + eps)       y = x̂ weight + bias
//     layer norm: mean and var of each row;  RMS norm: mean = 0, var = mean of x²;  batch norm: of each channel
//
//     gx = rstd (u - mean(u) - x̂ mean(u x̂)),  u = g weight       gweight = Σ g x̂       gbias = Σ g
//
// One pass over memory for the statistics: a block of BLOCK numbers stays in the first cache, where its mean, then its squared distances from
// it are summed (what the rounded mean missed is put right: Chan, Golub, LeVeque 1983, eq. 1.7); blocks are joined by their eq. 2.1, in double. So
// of floats mean and var come out to a few roundings (10 ulp tested at mean = 1e5 deviations), of doubles var to about |mean| / deviation ulp at worst,
// and x̂ as if x had been moved by one rounding of the mean. The backward pass sums a row's two means and both parameters' gradients while it reads the
// row, then writes gx from the cache.
#include "normalize.h"

#include "lanes.h"

namespace minidl::ISA {
namespace {

constexpr int64_t GRAIN = 8192;     // elements
constexpr int64_t BLOCK = 4096;     // elements that stay in the first cache
constexpr int64_t PIECE = 16384;    // elements of a row that is cut
constexpr int64_t LONG = 65536;     // fewer than FEW rows longer than this are cut
constexpr int64_t FEW = 16;
constexpr int64_t SHORT = 128;      // rows of which several go side by side
constexpr int64_t COLUMNS = 64;     // of weight and bias, whose sums are added together
constexpr int64_t FOLD = 64;        // rows whose parameters' gradients are summed one after the other

// ---- walking a row ------------------------------------------------------------------------------------------------------

// f(k, i, whole) for the vectors of a row: k takes turns, so that two sums run side by side; the last may be a part.
template <class T, class F> ALWAYS_INLINE void over(int64_t n, const F& f) {
    constexpr int W = vec<T>::size;
    int64_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) f(0, i, true), f(1, i + W, true);
    if (i + W <= n) f(0, i, true), i += W;
    if (i < n) f(1, i, false);
}
template <class T> ALWAYS_INLINE vector<T> read(const T* p, int64_t i, int64_t n, bool whole, const T* end, T fill = 0) {
    return whole ? load(p + i) : load_part(p + i, n - i, end, fill);
}
template <class T> ALWAYS_INLINE void write(T* p, int64_t i, int64_t n, bool whole, const T* end, vector<T> v) {
    if (whole) store(p + i, v);
    else store_part(p + i, n - i, end, v);
}
template <class T> ALWAYS_INLINE double total(const vector<T> (&part)[2]) { return across<T>(part[0] + part[1], Plus{}); }
template <class T> constexpr int64_t padded(int64_t n) { return pieces(n, vec<T>::size) * vec<T>::size; }

// n numbers of `p`, or of `value` where there is none, up to a whole number of vectors
template <class T> ALWAYS_INLINE T* spread(T* to, const void* p, int64_t n, T value) {
    for (int64_t i = 0; i < n; ++i) to[i] = p ? static_cast<const T*>(p)[i] : value;
    for (int64_t i = n; i < padded<T>(n); ++i) to[i] = 0;
    return to;
}

// ---- mean and squared distances -----------------------------------------------------------------------------------------

struct Moments { double count, mean, squares; };   // squares: Σ (x - mean)²

ALWAYS_INLINE void join(Moments& a, const Moments& b) {
    const double count = a.count + b.count, share = b.count / count, gap = b.mean - a.mean;
    a.squares += b.squares + gap * gap * a.count * share;
    a.mean += gap * share;
    a.count = count;
}
// Of at most BLOCK numbers; about 0 unless CENTERED
template <class T, bool CENTERED> ALWAYS_INLINE Moments moments_of_block(const T* x, int64_t n, const T* end) {
    const double inverse = 1 / static_cast<double>(n);
    vector<T> squares[2] = {};
    if constexpr (!CENTERED) {
        over<T>(n, [&](int k, int64_t i, bool whole) __attribute__((always_inline)) {
            const vector<T> v = read(x, i, n, whole, end);
            squares[k] += v * v;
        });
        return {static_cast<double>(n), 0, total<T>(squares)};
    } else {
        vector<T> sum[2] = {}, rest[2] = {};
        over<T>(n, [&](int k, int64_t i, bool whole) __attribute__((always_inline)) { sum[k] += read(x, i, n, whole, end); });
        const T center = static_cast<T>(total<T>(sum) * inverse);
        over<T>(n, [&](int k, int64_t i, bool whole) __attribute__((always_inline)) {
            const vector<T> v = read(x, i, n, whole, end, center) - center;
            rest[k] += v, squares[k] += v * v;
        });
        const double missed = total<T>(rest), shift = missed * inverse, left = total<T>(squares) - missed * shift;
        // Beside an infinity what was missed is NaN, and the mean stays infinite.
        return {static_cast<double>(n), center + (shift - shift == 0 ? shift : 0), left < 0 ? 0 : left};
    }
}
template <class T, bool CENTERED> ALWAYS_INLINE Moments moments(const T* x, int64_t n, const T* end) {
    Moments all = moments_of_block<T, CENTERED>(x, smaller(n, BLOCK), end);
    for (int64_t i = BLOCK; i < n; i += BLOCK) join(all, moments_of_block<T, CENTERED>(x + i, smaller(BLOCK, n - i), end));
    return all;
}
template <class T> ALWAYS_INLINE T rstd_of(const Moments& m, double eps) { return static_cast<T>(1 / square_root(m.squares / m.count + eps)); }

// ---- layer norm and RMS norm, forward -----------------------------------------------------------------------------------

// (x - mean) rstd w + b for n elements; w and b are padded.
template <class T, bool CENTERED>
ALWAYS_INLINE void normalize_row(int64_t n, const T* x, const T* x_end, T* y, const T* y_end, T mean, T rstd, const T* w, const T* b) {
    over<T>(n, [&](int, int64_t i, bool whole) __attribute__((always_inline)) {
        const vector<T> v = read(x, i, n, whole, x_end);
        write<T>(y, i, n, whole, y_end, (CENTERED ? v - mean : v) * rstd * load(w + i) + load(b + i));
    });
}

template <class T, bool CENTERED> bool row_norm(const RowNorm& a) {
    const int64_t rows = a.rows, n = a.n;
    const bool cut = n > LONG && rows < FEW;
    const int64_t units = cut ? pieces(n, PIECE) : 0;
    T* room = static_cast<T*>(workspace(0, 2 * padded<T>(n) * sizeof(T) + rows * units * sizeof(Moments)));
    if (!room) return false;
    const T *w = spread<T>(room, a.weight, n, 1), *b = spread<T>(room + padded<T>(n), a.bias, n, 0);
    const T *x = static_cast<const T*>(a.x), *x_end = x + rows * n;
    T *y = static_cast<T*>(a.y), *means = static_cast<T*>(a.mean), *rstds = static_cast<T*>(a.rstd);
    const auto keep = [=](int64_t row, const Moments& m) {
        if constexpr (CENTERED) means[row] = static_cast<T>(m.mean);
        rstds[row] = rstd_of<T>(m, a.eps);
    };
    if (!cut) {
        parallel_for(rows, even(rows, larger(1, GRAIN / n)), [=](int64_t begin, int64_t stop) {
            for (int64_t row = begin; row < stop; ++row) {
                const T* from = x + row * n;
                keep(row, moments<T, CENTERED>(from, n, x_end));
                normalize_row<T, CENTERED>(n, from, x_end, y + row * n, y + stop * n, CENTERED ? means[row] : 0, rstds[row], w, b);
            }
        });
        return true;
    }
    Moments* part = reinterpret_cast<Moments*>(room + 2 * padded<T>(n));
    parallel_for(rows * units, 1, [=](int64_t begin, int64_t stop) {
        for (int64_t task = begin; task < stop; ++task) {
            const int64_t from = task % units * PIECE;
            part[task] = moments<T, CENTERED>(x + task / units * n + from, smaller(PIECE, n - from), x_end);
        }
    });
    for (int64_t row = 0; row < rows; ++row) {
        Moments all = part[row * units];
        for (int64_t unit = 1; unit < units; ++unit) join(all, part[row * units + unit]);
        keep(row, all);
    }
    parallel_for(rows * units, 1, [=](int64_t begin, int64_t stop) {
        for (int64_t task = begin; task < stop; ++task) {
            const int64_t row = task / units, from = task % units * PIECE, size = smaller(PIECE, n - from);
            T* to = y + row * n + from;
            normalize_row<T, CENTERED>(size, x + row * n + from, x_end, to, to + size, CENTERED ? means[row] : 0, rstds[row], w + from, b + from);
        }
    });
    return true;
}

// ---- layer norm and RMS norm, backward ----------------------------------------------------------------------------------

struct Sums { double u, ux; };   // Σ u, Σ u x̂

template <class T> struct Row {   // what a row's gradient is made of
    const T *g, *g_end, *x, *x_end, *w;
    T mean, rstd;
};
// Of ROWS rows side by side, over their elements first ... last - 1; where WEIGHTS, adds g x̂ to to_w and g to to_b (both padded) on the way.
template <class T, bool CENTERED, bool WEIGHTS, int ROWS>
ALWAYS_INLINE void sums_of_rows(const Row<T> (&r)[ROWS], int64_t first, int64_t last, T* to_w, T* to_b, Sums (&all)[ROWS]) {
    for (auto& each : all) each = {};
    for (int64_t start = first; start < last; start += BLOCK) {
        const int64_t n = smaller(BLOCK, last - start);
        vector<T> u[ROWS][2] = {}, ux[ROWS][2] = {};
        over<T>(n, [&](int turn, int64_t i, bool whole) __attribute__((always_inline)) {
            const int k = ROWS > 1 ? 0 : turn;   // several rows are chains enough
            const vector<T> w = load(r[0].w + start + i);
            vector<T> of_w{}, of_b{};
            UNROLL for (int j = 0; j < ROWS; ++j) {
                const vector<T> g = read(r[j].g + start, i, n, whole, r[j].g_end), x = read(r[j].x + start, i, n, whole, r[j].x_end, r[j].mean);
                const vector<T> hat = (CENTERED ? x - r[j].mean : x) * r[j].rstd;
                if constexpr (CENTERED) u[j][k] += g * w;
                ux[j][k] += g * w * hat;
                if constexpr (WEIGHTS) of_w += g * hat, of_b += g;
            }
            if constexpr (WEIGHTS) {
                store(to_w + start + i, load(to_w + start + i) + of_w);
                if constexpr (CENTERED) store(to_b + start + i, load(to_b + start + i) + of_b);
            }
        });
        UNROLL for (int j = 0; j < ROWS; ++j) {
            if constexpr (CENTERED) all[j].u += total<T>(u[j]);
            all[j].ux += total<T>(ux[j]);
        }
    }
}
template <class T, bool CENTERED> ALWAYS_INLINE void write_gradient(const Row<T>& r, int64_t first, int64_t n, const Sums& sums, double count, T* gx, const T* end) {
    const T mean_u = static_cast<T>(sums.u / count), mean_ux = static_cast<T>(sums.ux / count);
    const T *g = r.g + first, *x = r.x + first, *w = r.w + first;
    over<T>(n, [&](int, int64_t i, bool whole) __attribute__((always_inline)) {
        const vector<T> xs = read(x, i, n, whole, r.x_end), us = read(g, i, n, whole, r.g_end) * load(w + i);
        const vector<T> hat = (CENTERED ? xs - r.mean : xs) * r.rstd, rest = us - hat * mean_ux;
        write<T>(gx + first, i, n, whole, end, (CENTERED ? rest - mean_u : rest) * r.rstd);
    });
}

template <class T, bool CENTERED> ALWAYS_INLINE Row<T> row_of(const RowNorm& a, const T* w, int64_t row) {
    const T *g = static_cast<const T*>(a.g), *x = static_cast<const T*>(a.x);
    return {g + row * a.n, g + a.rows * a.n, x + row * a.n, x + a.rows * a.n, w, CENTERED ? static_cast<const T*>(a.mean)[row] : 0,
            static_cast<const T*>(a.rstd)[row]};
}

// Few long rows: first their sums, piece by piece; then every piece of all rows.
template <class T, bool CENTERED> bool gradient_of_few(const RowNorm& a) {
    const int64_t rows = a.rows, n = a.n, units = pieces(n, PIECE), width = padded<T>(n);
    T* room = static_cast<T*>(workspace(0, 3 * width * sizeof(T) + rows * units * sizeof(Sums)));
    if (!room) return false;
    const T* w = spread<T>(room, a.weight, n, 1);
    T *to_w = room + width, *to_b = to_w + width;
    Sums* part = reinterpret_cast<Sums*>(to_b + width);
    parallel_for(rows * units, 1, [=, &a](int64_t begin, int64_t stop) {
        for (int64_t task = begin; task < stop; ++task) {
            const int64_t from = task % units * PIECE;
            Sums found[1];
            sums_of_rows<T, CENTERED, false, 1>({row_of<T, CENTERED>(a, w, task / units)}, from, smaller(n, from + PIECE), nullptr, nullptr, found);
            part[task] = found[0];
        }
    });
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t unit = 1; unit < units; ++unit)
            part[row * units].u += part[row * units + unit].u, part[row * units].ux += part[row * units + unit].ux;
    parallel_for(units, 1, [=, &a](int64_t begin, int64_t stop) {
        for (int64_t unit = begin; unit < stop; ++unit) {
            const int64_t from = unit * PIECE, size = smaller(PIECE, n - from);
            if (a.gw || a.gb) for (int64_t i = from; i < smaller(width, from + PIECE); ++i) to_w[i] = to_b[i] = 0;
            for (int64_t row = 0; row < rows; ++row) {
                const Row<T> r[1] = {row_of<T, CENTERED>(a, w, row)};
                Sums known[1];
                if (a.gw || a.gb) sums_of_rows<T, CENTERED, true, 1>(r, from, from + size, to_w, to_b, known);
                if (!a.gx) continue;
                T* gx = static_cast<T*>(a.gx) + row * n;
                write_gradient<T, CENTERED>(r[0], from, size, part[row * units], static_cast<double>(n), gx, gx + from + size);
            }
            for (int64_t i = from; a.gw && i < from + size; ++i) static_cast<T*>(a.gw)[i] = to_w[i];
            for (int64_t i = from; a.gb && i < from + size; ++i) static_cast<T*>(a.gb)[i] = to_b[i];
        }
    });
    return true;
}

// Rows row ... row + ROWS - 1, gx up to row `stop` being this task's.
template <class T, bool CENTERED, bool WEIGHTS, int ROWS>
ALWAYS_INLINE void gradient_of_rows(const RowNorm& a, const T* w, int64_t row, T* to_w, T* to_b, int64_t stop) {
    Row<T> r[ROWS];
    Sums found[ROWS];
    for (int j = 0; j < ROWS; ++j) r[j] = row_of<T, CENTERED>(a, w, row + j);
    sums_of_rows<T, CENTERED, WEIGHTS, ROWS>(r, 0, a.n, to_w, to_b, found);
    T* gx = static_cast<T*>(a.gx);
    if (!gx) return;
    for (int j = 0; j < ROWS; ++j)
        write_gradient<T, CENTERED>(r[j], 0, a.n, found[j], static_cast<double>(a.n), gx + (row + j) * a.n, gx + stop * a.n);
}

// Many rows: a task has its own sums for weight and bias, over FOLD rows and over all; tasks' sums are added in order.
template <class T, bool CENTERED, bool WEIGHTS> bool gradient_of_many(const RowNorm& a) {
    const int64_t rows = a.rows, n = a.n, width = padded<T>(n);
    const int64_t most = smaller(128, larger(8, (1 << 18) / n)), grain = even(rows, larger(larger(1, GRAIN / n), pieces(rows, most))), tasks = pieces(rows, grain);
    T* room = static_cast<T*>(workspace(0, (1 + (WEIGHTS ? 4 * tasks : 0)) * width * sizeof(T)));
    if (!room) return false;
    const T* w = spread<T>(room, a.weight, n, 1);
    T* sums = room + width;
    parallel_for(rows, grain, [=, &a](int64_t begin, int64_t stop) {
        T *all = sums + begin / grain * 4 * width, *some = all + 2 * width;
        if constexpr (WEIGHTS) for (int64_t i = 0; i < 4 * width; ++i) all[i] = 0;
        for (int64_t row = begin; row < stop;) {
            if (n <= SHORT && row + 4 <= stop) gradient_of_rows<T, CENTERED, WEIGHTS, 4>(a, w, row, some, some + width, stop), row += 4;
            else if (row + 2 <= stop) gradient_of_rows<T, CENTERED, WEIGHTS, 2>(a, w, row, some, some + width, stop), row += 2;
            else gradient_of_rows<T, CENTERED, WEIGHTS, 1>(a, w, row, some, some + width, stop), row += 1;
            if (WEIGHTS && ((row - begin) % FOLD == 0 || row == stop))
                for (int64_t i = 0; i < 2 * width; ++i) all[i] += some[i], some[i] = 0;
        }
    });
    if constexpr (WEIGHTS)
        parallel_for(pieces(n, COLUMNS), larger(1, GRAIN / (tasks * COLUMNS)), [=, &a](int64_t begin, int64_t stop) {
            for (int64_t i = begin * COLUMNS; i < stop * COLUMNS && i < n; i += COLUMNS) {
                const int64_t count = smaller(COLUMNS, n - i);
                double of_w[COLUMNS] = {}, of_b[COLUMNS] = {};
                for (int64_t task = 0; task < tasks; ++task) {
                    const T *w = sums + task * 4 * width + i, *b = w + width;
                    for (int64_t k = 0; k < count; ++k) of_w[k] += w[k], of_b[k] += b[k];
                }
                for (int64_t k = 0; a.gw && k < count; ++k) static_cast<T*>(a.gw)[i + k] = static_cast<T>(of_w[k]);
                for (int64_t k = 0; a.gb && k < count; ++k) static_cast<T*>(a.gb)[i + k] = static_cast<T>(of_b[k]);
            }
        });
    return true;
}
template <class T, bool CENTERED> bool row_norm_gradient(const RowNorm& a) {
    if (a.n > LONG && a.rows < FEW) return gradient_of_few<T, CENTERED>(a);
    return a.gw || a.gb ? gradient_of_many<T, CENTERED, true>(a) : gradient_of_many<T, CENTERED, false>(a);
}

// ---- batch norm -----------------------------------------------------------------------------------------------------------
//
// Of images, a channel's numbers are lines of `spots`, one an image. Of samples (one spot), channels lie side by side: a line is a sample, and every
// channel has its lane. `of` reads a channel's constant for either.

template <class T, bool LINES> ALWAYS_INLINE vector<T> of(const T* constants, int64_t channel, int64_t i) {
    if constexpr (LINES) return splat<T>(constants[channel]);
    else return load(constants + i);
}
struct Shape {   // `count` lines of n numbers
    int64_t count, n, channels;
    ALWAYS_INLINE explicit Shape(const BatchNorm& a)
        : count(a.spots > 1 ? a.images * a.channels : a.images), n(a.spots > 1 ? a.spots : a.channels), channels(a.channels) {}
    ALWAYS_INLINE int64_t grain() const { return larger(1, 2 * GRAIN / n); }
};

// A unit: some images (samples) of one channel (of all).
template <bool LINES> ALWAYS_INLINE int64_t unit_of(const BatchNorm& a) { return LINES ? larger(1, PIECE / a.spots) : FOLD; }
template <bool LINES> ALWAYS_INLINE int64_t grain_of(const BatchNorm& a, int64_t unit) {
    return larger(1, GRAIN / (smaller(unit, a.images) * (LINES ? a.spots : a.channels)));
}

template <class T> ALWAYS_INLINE void moments_of_lines(const BatchNorm& a, int64_t channel, int64_t first, int64_t last, Moments* out) {
    const T *x = static_cast<const T*>(a.x), *end = x + a.images * a.channels * a.spots;
    const auto line = [=, &a](int64_t image) { return moments<T, true>(x + (image * a.channels + channel) * a.spots, a.spots, end); };
    *out = line(first);
    for (int64_t image = first + 1; image < last; ++image) join(*out, line(image));
}
template <class T> ALWAYS_INLINE void moments_of_columns(const BatchNorm& a, int64_t first, int64_t last, Moments* out) {
    constexpr int W = vec<T>::size;
    const int64_t n = a.channels;
    const T *x = static_cast<const T*>(a.x), *end = x + a.images * n;
    const double count = static_cast<double>(last - first);
    over<T>(n, [&](int, int64_t i, bool whole) {
        vector<T> sum{}, rest{}, squares{};
        for (int64_t row = first; row < last; ++row) sum += read(x + row * n, i, n, whole, end);
        const vector<T> center = sum / static_cast<T>(count);
        for (int64_t row = first; row < last; ++row) {
            const vector<T> v = read(x + row * n, i, n, whole, end) - center;
            rest += v, squares += v * v;
        }
        for (int k = 0; k < W && i + k < n; ++k) {
            const double missed = rest[k], shift = missed / count, left = squares[k] - missed * shift;
            out[i + k] = {count, center[k] + (shift - shift == 0 ? shift : 0), left < 0 ? 0 : left};
        }
    });
}

template <class T, bool LINES> bool statistics(const BatchNorm& a, Moments* found) {
    const int64_t unit = unit_of<LINES>(a), units = pieces(a.images, unit), C = a.channels;
    Moments* part = static_cast<Moments*>(workspace(1, units * C * sizeof(Moments)));
    if (!part) return false;
    parallel_for(LINES ? C * units : units, grain_of<LINES>(a, unit), [=, &a](int64_t begin, int64_t stop) {
        for (int64_t task = begin; task < stop; ++task) {
            const int64_t first = task % units * unit, last = smaller(a.images, first + unit);
            if constexpr (LINES) moments_of_lines<T>(a, task / units, first, last, part + task % units * C + task / units);
            else moments_of_columns<T>(a, first, last, part + task * C);
        }
    });
    for (int64_t c = 0; c < C; ++c) {
        found[c] = part[c];
        for (int64_t k = 1; k < units; ++k) join(found[c], part[k * C + c]);
    }
    return true;
}

template <class T, bool LINES> bool batch_norm_of(const BatchNorm& a) {
    const int64_t C = a.channels, width = padded<T>(C);
    T* room = static_cast<T*>(workspace(0, 4 * width * sizeof(T) + C * sizeof(Moments)));
    if (!room) return false;
    const T *w = spread<T>(room, a.weight, C, 1), *b = spread<T>(room + width, a.bias, C, 0);
    if (a.training) {
        Moments* found = reinterpret_cast<Moments*>(room + 4 * width);
        if (!statistics<T, LINES>(a, found)) return false;
        for (int64_t c = 0; c < C; ++c) {
            static_cast<T*>(a.mean)[c] = static_cast<T>(found[c].mean);
            static_cast<T*>(a.var)[c] = static_cast<T>(found[c].squares / found[c].count);
        }
    }
    const T* mean = spread<T>(room + 2 * width, a.mean, C, 0);
    T* rstd = spread<T>(room + 3 * width, a.var, C, 0);
    for (int64_t c = 0; c < C; ++c) rstd[c] = static_cast<T>(1 / square_root(static_cast<double>(rstd[c]) + a.eps));
    const Shape shape(a);
    parallel_for(shape.count, shape.grain(), [=, &a](int64_t begin, int64_t stop) {
        const int64_t n = shape.n;
        const T *x = static_cast<const T*>(a.x), *x_end = x + shape.count * n;
        T *y = static_cast<T*>(a.y), *y_end = y + stop * n;
        for (int64_t line = begin; line < stop; ++line) {
            const int64_t c = line % C;
            over<T>(n, [&](int, int64_t i, bool whole) __attribute__((always_inline)) {
                const vector<T> hat = (read(x + line * n, i, n, whole, x_end) - of<T, LINES>(mean, c, i)) * of<T, LINES>(rstd, c, i);
                write<T>(y + line * n, i, n, whole, y_end, hat * of<T, LINES>(w, c, i) + of<T, LINES>(b, c, i));
            });
        }
    });
    return true;
}

// Σ g and Σ g x̂ of a unit, one a channel
template <class T> ALWAYS_INLINE void sums_of_lines(const BatchNorm& a, T mean, T rstd, int64_t channel, int64_t first, int64_t last, Sums* out) {
    const T *x = static_cast<const T*>(a.x), *g = static_cast<const T*>(a.g);
    const int64_t size = a.images * a.channels * a.spots;
    *out = {};
    for (int64_t image = first; image < last; ++image)
        for (int64_t start = 0; start < a.spots; start += BLOCK) {
            const int64_t at = (image * a.channels + channel) * a.spots + start, n = smaller(BLOCK, a.spots - start);
            vector<T> u[2] = {}, ux[2] = {};
            over<T>(n, [&](int k, int64_t i, bool whole) __attribute__((always_inline)) {
                const vector<T> gs = read(g + at, i, n, whole, g + size);
                u[k] += gs, ux[k] += gs * ((read(x + at, i, n, whole, x + size, mean) - mean) * rstd);
            });
            out->u += total<T>(u), out->ux += total<T>(ux);
        }
}
template <class T> ALWAYS_INLINE void sums_of_columns(const BatchNorm& a, const T* mean, const T* rstd, int64_t first, int64_t last, Sums* out) {
    const int64_t n = a.channels;
    const T *x = static_cast<const T*>(a.x), *g = static_cast<const T*>(a.g);
    over<T>(n, [&](int, int64_t i, bool whole) {
        vector<T> u{}, ux{};
        for (int64_t row = first; row < last; ++row) {
            const vector<T> gs = read(g + row * n, i, n, whole, g + a.images * n);
            u += gs, ux += gs * ((read(x + row * n, i, n, whole, x + a.images * n) - load(mean + i)) * load(rstd + i));
        }
        for (int k = 0; k < vec<T>::size && i + k < n; ++k) out[i + k] = {u[k], ux[k]};
    });
}

template <class T, bool LINES> bool batch_norm_gradient_of(const BatchNorm& a) {
    const int64_t C = a.channels, width = padded<T>(C), unit = unit_of<LINES>(a), units = pieces(a.images, unit);
    T* room = static_cast<T*>(workspace(0, 5 * width * sizeof(T) + units * C * sizeof(Sums)));
    if (!room) return false;
    const T* mean = spread<T>(room, a.mean, C, 0);
    T *rstd = spread<T>(room + width, a.var, C, 0), *scale = spread<T>(room + 2 * width, a.weight, C, 1);
    T *mean_u = spread<T>(room + 3 * width, nullptr, C, 0), *mean_ux = spread<T>(room + 4 * width, nullptr, C, 0);
    for (int64_t c = 0; c < C; ++c) scale[c] *= rstd[c] = static_cast<T>(1 / square_root(static_cast<double>(rstd[c]) + a.eps));
    if (a.training || a.gw || a.gb) {
        Sums* part = reinterpret_cast<Sums*>(room + 5 * width);
        parallel_for(LINES ? C * units : units, grain_of<LINES>(a, unit), [=, &a](int64_t begin, int64_t stop) {
            for (int64_t task = begin; task < stop; ++task) {
                const int64_t first = task % units * unit, last = smaller(a.images, first + unit), c = task / units;
                if constexpr (LINES) sums_of_lines<T>(a, mean[c], rstd[c], c, first, last, part + task % units * C + c);
                else sums_of_columns<T>(a, mean, rstd, first, last, part + task * C);
            }
        });
        const double count = static_cast<double>(a.images * a.spots);
        for (int64_t c = 0; c < C; ++c) {
            Sums all = part[c];
            for (int64_t k = 1; k < units; ++k) all.u += part[k * C + c].u, all.ux += part[k * C + c].ux;
            if (a.gw) static_cast<T*>(a.gw)[c] = static_cast<T>(all.ux);
            if (a.gb) static_cast<T*>(a.gb)[c] = static_cast<T>(all.u);
            if (a.training) mean_u[c] = static_cast<T>(all.u / count), mean_ux[c] = static_cast<T>(all.ux / count);
        }
    }
    if (!a.gx) return true;
    const Shape shape(a);
    parallel_for(shape.count, shape.grain(), [=, &a](int64_t begin, int64_t stop) {
        const int64_t n = shape.n;
        const T *x = static_cast<const T*>(a.x), *g = static_cast<const T*>(a.g);
        T *gx = static_cast<T*>(a.gx), *end = gx + stop * n;
        for (int64_t line = begin; line < stop; ++line) {
            const int64_t c = line % C;
            const T *gs = g + line * n, *xs = x + line * n;
            over<T>(n, [&](int, int64_t i, bool whole) __attribute__((always_inline)) {
                const vector<T> u = read(gs, i, n, whole, g + shape.count * n) - of<T, LINES>(mean_u, c, i);
                const vector<T> hat = (read(xs, i, n, whole, x + shape.count * n) - of<T, LINES>(mean, c, i)) * of<T, LINES>(rstd, c, i);
                write<T>(gx + line * n, i, n, whole, end, (u - hat * of<T, LINES>(mean_ux, c, i)) * of<T, LINES>(scale, c, i));
            });
        }
    });
    return true;
}

template <class T> bool batch_norm(const BatchNorm& a) { return a.spots > 1 ? batch_norm_of<T, true>(a) : batch_norm_of<T, false>(a); }
template <class T> bool batch_norm_gradient(const BatchNorm& a) {
    return a.spots > 1 ? batch_norm_gradient_of<T, true>(a) : batch_norm_gradient_of<T, false>(a);
}

}  // namespace

constexpr NormalizeTable normalize = {
    .layer_norm = {row_norm<float, true>, row_norm<double, true>},
    .layer_norm_gradient = {row_norm_gradient<float, true>, row_norm_gradient<double, true>},
    .rms_norm = {row_norm<float, false>, row_norm<double, false>},
    .rms_norm_gradient = {row_norm_gradient<float, false>, row_norm_gradient<double, false>},
    .batch_norm = {batch_norm<float>, batch_norm<double>},
    .batch_norm_gradient = {batch_norm_gradient<float>, batch_norm_gradient<double>},
};

}  // namespace minidl::ISA
