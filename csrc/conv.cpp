// conv2d:        Y[n,o,p,q] = Σ[c,r,s] X[n,c,p*stride+r*dilation-padding,q*...] * W[o,c,r,s] + b[o]      (outside the image X is zero)
// conv2d_input:  ∂X[n,c,h,w] = Σ[o,r,s] G[n,o,p,q] * W[o,c,r,s]           over the p, q, r, s that meet h, w
//
//     for each image, group and band of output rows (all threads):
//         copy the band's planes (windows.h)
//         for each tile of channels, for each pair of vectors of pixels:
//             tile()        A: the filter, a row a channel; B: the planes, row k of it at offset[k]                        tile.h
//
// The gradient for the input is the same correlation on the output's gradient, with the filter turned and its channels swapped. With strides it falls apart into one
// correlation for each phase of the input, that meets only the taps of that phase. conv_weight.cpp holds the gradient for
// the weight.
#include "conv.h"

#include "windows.h"

namespace minidl::ISA {
namespace {

// A correlation with all that its tasks share. Output element (channel, i, j), rows i in [i0, i0 + rows), columns j likewise, goes to
// y[channel * y_channel + (i - i0) * y_row + (j - j0) * y_col].
template <class T> struct Window {
    int64_t k;               // taps: channels of the planes times taps of the filter
    const int64_t* offset;   // k
    const T* filter;         // (groups, channels, k)
    int64_t i0, j0, rows, columns;
    int64_t y_start, y_row, y_col;
};

template <class T> struct Correlation {
    int64_t images, groups, channels;   // channels of the result, in one group
    View source;                        // (images, groups * planes.channels, h, w)
    Planes<T> planes;
    int64_t rows, band;                 // of all windows together; of a band
    Window<T>* window;
    int64_t windows;
    T* y;
    int64_t y_image, y_channel;
    const T* bias;                      // groups * channels numbers, or null
};

// Vectors of pixels: along each output row on its own, or along the plane, over the ends of rows (then what lies between two rows is computed in vain,
// but short rows do not leave vectors half empty), whichever needs clearly fewer.
template <class T> bool runs_over_rows(int64_t rows, int64_t columns, int64_t width) {
    constexpr int64_t L = vec<T>::size;
    return 10 * pieces((rows - 1) * width + columns, L) < 7 * rows * pieces(columns, L);
}

// The valid lanes of a vector that begins at (row, column) of the plane, to their places in y. Up to `end`, what follows a
// row may be overwritten: later rows put it right.
template <class T> void scatter(const T* lanes, int64_t row, int64_t column, const Window<T>& w, int64_t rows, int64_t width, T* y, const T* end) {
    constexpr int64_t L = vec<T>::size;
    for (int64_t l = 0; l < L && row < rows; ++row) {
        const int64_t count = smaller(L - l, w.columns - column);
        if (count > 0) {
            T* to = y + row * w.y_row + column * w.y_col;
            if (w.y_col == 1 && to + L <= end) store(to, load(lanes + l));
            else for (int64_t i = 0; i < count; ++i) to[i * w.y_col] = lanes[l + i];
        }
        l += width - column;
        column = 0;
    }
}

// Rows [begin, end) of one window, from planes whose first row is `first`.
template <class T> void correlate(const Correlation<T>& p, const Window<T>& w, const T* filter, const T* bias, const T* planes, int64_t first,
                                  int64_t begin, int64_t end, T* y) {
    constexpr int L = vec<T>::size;
    const int64_t rows = end - begin, width = p.planes.width;
    const bool over = runs_over_rows<T>(rows, w.columns, width), direct = !over && w.y_col == 1;
    const int64_t vectors = over ? pieces((rows - 1) * width + w.columns, L) : rows * pieces(w.columns, L);
    const T* source = planes + (begin - first) * width + w.j0;
    y += w.y_start + (begin - w.i0) * w.y_row;
    // Where output rows follow each other, a vector may write beyond the end of its row: the next row overwrites it. Not beyond the band.
    const int64_t last = w.y_col == 1 && w.y_row == w.columns ? rows * w.y_row : 0;

    Tile<T> t{};
    t.k = w.k;
    t.a_step = 1;
    t.offset = w.offset;
    t.add = false;
    constexpr int LANES = (WIDEST + 1) * L;   // a vector more, so that scatter may read one beyond
    alignas(64) T lanes[ROWS][LANES];
    const int64_t tiles = pieces(p.channels, ROWS);
    for (int64_t i = 0; i < tiles; ++i) {
        const int64_t channel = part(p.channels, tiles, i);
        const int height = static_cast<int>(part(p.channels, tiles, i + 1) - channel);
        for (int m = 0; m < height; ++m) t.a[m] = filter + (channel + m) * w.k;
        t.row_bias = bias ? bias + channel : nullptr;
        for (int64_t v = 0, next_row = 0, next_column = 0; v < vectors;) {
            const int count = next_vectors(height, vectors - v);
            int64_t row[WIDEST], column[WIDEST];
            for (int n = 0; n < count; ++n) {
                row[n] = next_row, column[n] = next_column;
                next_column += L;
                if (over) while (next_column >= width) next_column -= width, ++next_row;
                else if (next_column >= w.columns) next_column = 0, ++next_row;
                t.b[n] = source + row[n] * width + column[n];
                const int64_t place = row[n] * w.y_row + column[n];
                t.c[n] = direct ? y + channel * p.y_channel + place : lanes[0] + n * L;
                t.width[n] = static_cast<int>(!direct || place + L <= last ? L : smaller(L, w.columns - column[n]));
            }
            v += count;
            t.c_row = direct ? p.y_channel : LANES;
            run_tile<TABLE_B>(height, count, t);
            if (direct) continue;
            for (int m = 0; m < height; ++m) {
                T* plane = y + (channel + m) * p.y_channel;
                const T* stop = over ? plane + last : plane;
                for (int n = 0; n < count; ++n)
                    scatter(lanes[m] + n * L, row[n], column[n], w, over ? rows : row[n] + 1, width, plane, stop);
            }
        }
    }
}

template <class T> bool correlate_all(const Correlation<T>& p) {
    const int64_t bands = pieces(p.rows, p.band), tasks = p.images * p.groups * bands;
    int64_t work = 0;
    for (int64_t i = 0; i < p.windows; ++i) work += p.channels * p.window[i].k * p.window[i].rows * p.window[i].columns;
    work = larger(1, work / larger(1, bands));
    bool fine = true;
    parallel_for(tasks, larger(1, (1 << 19) / work), [&](int64_t task_begin, int64_t task_end) {
        T* room = static_cast<T*>(workspace(1, (p.planes.size() + 4 * vec<T>::size) * sizeof(T)));
        if (!room) return __atomic_store_n(&fine, false, __ATOMIC_RELAXED);
        for (int64_t task = task_begin; task < task_end; ++task) {
            const int64_t first = task % bands * p.band, group = task / bands % p.groups, image = task / bands / p.groups;
            const int64_t* stride = p.source.stride;
            fill_planes(p.planes, room, first, static_cast<const T*>(p.source.data) + image * stride[0] + group * p.planes.channels * stride[1], stride,
                        end_of<T>(p.source));
            for (int64_t i = 0; i < p.windows; ++i) {
                const Window<T>& w = p.window[i];
                const int64_t begin = larger(first, w.i0), end = smaller(first + p.band, w.i0 + w.rows);
                if (begin < end && w.columns > 0)
                    correlate(p, w, w.filter + group * p.channels * w.k, p.bias ? p.bias + group * p.channels : nullptr, room, first, begin, end,
                              p.y + image * p.y_image + group * p.channels * p.y_channel);
            }
        }
    });
    return fine;
}

// The room for offsets, filters, windows and the bias, taken from slot 0 piece by piece; every piece begins on a cache line.
struct Room {
    char* next;
    template <class T> T* take(int64_t count) {
        T* found = reinterpret_cast<T*>(next);
        next += bytes(count * static_cast<int64_t>(sizeof(T)));
        return found;
    }
    static int64_t bytes(int64_t size) { return (size + 63) / 64 * 64; }
};

template <class T> bool conv2d(const ConvArguments& p) {
    Correlation<T> all;
    all.images = p.n, all.groups = p.groups, all.channels = p.o;
    all.source = p.image;
    all.rows = p.p;
    Planes<T>& planes = all.planes;
    planes.y = forward_axis(p.h, p.r, p.stride[0], p.padding[0], p.dilation[0]);
    planes.x = forward_axis(p.w, p.s, p.stride[1], p.padding[1], p.dilation[1]);
    planes.channels = p.c;
    planes.width = p.q + planes.x.reach;
    const int64_t row = p.c * planes.y.phases * planes.x.phases * planes.width * static_cast<int64_t>(sizeof(T));
    all.band = band_rows(p.n * p.groups, p.p, row, p.o * p.c * p.r * p.s * p.q);
    planes.rows = all.band + planes.y.reach;

    const int64_t k = p.c * p.r * p.s, filters = p.groups * p.o;
    const int64_t *stride = p.filter.stride, *shape = p.filter.shape;
    Room room{static_cast<char*>(workspace(0, Room::bytes(k * 8) + Room::bytes((filters * k + filters) * sizeof(T)) + 128))};
    if (!room.next) return false;
    int64_t* offset = room.take<int64_t>(k);
    T *filter = room.take<T>(filters * k + filters), *bias = filter + filters * k, *to = filter;
    forward_offsets(p, planes, offset);
    for (int64_t o = 0; o < shape[0]; ++o)
        for (int64_t c = 0; c < shape[1]; ++c)
            for (int64_t r = 0; r < shape[2]; ++r)
                for (int64_t s = 0; s < shape[3]; ++s)
                    *to++ = static_cast<const T*>(p.filter.data)[o * stride[0] + c * stride[1] + r * stride[2] + s * stride[3]];
    for (int64_t o = 0; p.bias && o < filters; ++o) bias[o] = static_cast<const T*>(p.bias)[o * p.bias_step];

    Window<T> window = {k, offset, filter, 0, 0, p.p, p.q, 0, p.q, 1};
    all.window = &window;
    all.windows = 1;
    all.y = static_cast<T*>(p.output.data);
    all.y_channel = p.p * p.q;
    all.y_image = filters * all.y_channel;
    all.bias = p.bias ? bias : nullptr;
    return correlate_all(all);
}

// Phase f of the input in one direction: element i * stride + f - padding, for i in [first, first + count), meets the taps t with t * dilation = f modulo stride.
struct Phase { int64_t first, count; };
ALWAYS_INLINE Phase input_phase(int64_t f, int64_t size, int64_t stride, int64_t padding) {
    const int64_t first = padding > f ? pieces(padding - f, stride) : 0, end = size + padding > f ? pieces(size + padding - f, stride) : 0;
    return {first, larger(0, end - first)};
}

template <class T> bool conv2d_input(const ConvArguments& p) {
    Correlation<T> all;
    all.images = p.n, all.groups = p.groups, all.channels = p.c;
    all.source = p.output;
    Planes<T>& planes = all.planes;
    // Input element i of a phase meets tap t at output i - shift(t): planes begin `reach` outputs early.
    const int64_t reach_y = (p.r - 1) * p.dilation[0] / p.stride[0], reach_x = (p.s - 1) * p.dilation[1] / p.stride[1];
    planes.y = {p.p, 1, reach_y, reach_y};
    planes.x = {p.q, 1, reach_x, reach_x};
    planes.channels = p.o;
    planes.width = pieces(p.w + p.padding[1], p.stride[1]) + reach_x;
    all.rows = pieces(p.h + p.padding[0], p.stride[0]);
    const int64_t row = p.o * planes.width * static_cast<int64_t>(sizeof(T)), taps = p.r * p.s;
    all.band = band_rows(p.n * p.groups, all.rows, row, p.o * p.c * taps * p.w);
    planes.rows = all.band + reach_y;

    const int64_t windows = p.stride[0] * p.stride[1], filters = p.groups * p.c * p.o * taps;
    Room room{static_cast<char*>(workspace(0, Room::bytes(windows * sizeof(Window<T>)) + Room::bytes(p.o * taps * 8) + Room::bytes(filters * sizeof(T)) + 64))};
    if (!room.next) return false;
    all.window = room.take<Window<T>>(windows);
    all.windows = windows;
    int64_t* offset = room.take<int64_t>(p.o * taps);
    T* filter = room.take<T>(filters);
    const int64_t* stride = p.filter.stride;
    for (int64_t fy = 0, i = 0; fy < p.stride[0]; ++fy)
        for (int64_t fx = 0; fx < p.stride[1]; ++fx, ++i) {
            const Phase y = input_phase(fy, p.h, p.stride[0], p.padding[0]), x = input_phase(fx, p.w, p.stride[1], p.padding[1]);
            Window<T>& w = all.window[i];
            w.offset = offset;
            w.filter = filter;
            w.i0 = y.first, w.rows = y.count, w.j0 = x.first, w.columns = x.count;
            w.y_start = (y.first * p.stride[0] + fy - p.padding[0]) * p.w + x.first * p.stride[1] + fx - p.padding[1];
            w.y_row = p.stride[0] * p.w, w.y_col = p.stride[1];
            w.k = 0;
            for (int64_t r = 0; r < p.r; ++r)
                for (int64_t s = 0; s < p.s; ++s) w.k += p.o * (r * p.dilation[0] % p.stride[0] == fy && s * p.dilation[1] % p.stride[1] == fx);
            int64_t k = 0;
            for (int64_t o = 0; o < p.o; ++o)
                for (int64_t r = 0; r < p.r; ++r)
                    for (int64_t s = 0; s < p.s; ++s) {
                        const int64_t ty = r * p.dilation[0], tx = s * p.dilation[1];
                        if (ty % p.stride[0] != fy || tx % p.stride[1] != fx) continue;
                        offset[k] = tap_offset(planes, o, 0, reach_y - ty / p.stride[0], 0, reach_x - tx / p.stride[1]);
                        for (int64_t g = 0; g < p.groups; ++g)
                            for (int64_t c = 0; c < p.c; ++c)
                                filter[(g * p.c + c) * w.k + k] = static_cast<const T*>(p.filter.data)[(g * p.o + o) * stride[0] + c * stride[1] + r * stride[2] + s * stride[3]];
                        ++k;
                    }
            offset += w.k;
            filter += p.groups * p.c * w.k;
        }
    all.y = static_cast<T*>(p.image.data);
    all.y_channel = p.h * p.w;
    all.y_image = p.groups * p.c * all.y_channel;
    all.bias = nullptr;
    return correlate_all(all);
}

}  // namespace

constexpr ConvTable conv_table = {
    .conv2d = {conv2d<float>, conv2d<double>},
    .conv2d_input = {conv2d_input<float>, conv2d_input<double>},
};

}  // namespace minidl::ISA
