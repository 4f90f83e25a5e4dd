# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The batch path: from a set of images in memory to one batch, in one pass over the images that it takes.

    Y[b,c,p,q] = (Z[b,c,p,W-1-q if flip[b] else q] - offset[c]) * gain[c]
    Z[b,c,p,q] = X[index[b],c,p-dy[b],q-dx[b]], or 0 beyond the edge

    X (N, C, H, W) uint8, float32 or float64    index dy dx (B,) int64    flip (B,) uint8    offset gain (C,)
    Y (B, C, H, W) float32 or float64

    for each image b of the batch, channel c, row p:
        source row outside: fill the row with what 0 becomes
        else: one pass from the source row to the row, its ends filled, backwards if flipped

`minidl.data.batches.take_images` is the caller and holds the same in NumPy, the specification; the difference is
taken before the product, so that no compiler can fuse the two and both forms round alike.
"""

ctypedef fused pixel:
    unsigned char
    float
    double

ctypedef fused real:
    float
    double

ctypedef long long int64


cdef inline void scale_row(const pixel* x, real* y, Py_ssize_t n, real offset, real gain) noexcept nogil:
    cdef Py_ssize_t q
    for q in range(n):
        y[q] = (<real> x[q] - offset) * gain


cdef inline void scale_row_back(const pixel* x, real* y, Py_ssize_t n, real offset, real gain) noexcept nogil:
    cdef Py_ssize_t q
    for q in range(n):
        y[q] = (<real> x[n - 1 - q] - offset) * gain


cdef inline void fill(real* y, Py_ssize_t n, real value) noexcept nogil:
    cdef Py_ssize_t q
    for q in range(n):
        y[q] = value


cdef void one_image(const pixel* x, real* y, Py_ssize_t H, Py_ssize_t W, int64 dy, int64 dx, bint flip,
                    real offset, real gain) noexcept nogil:
    """One channel of one image."""
    cdef Py_ssize_t p, left, right
    cdef real background = (<real> 0 - offset) * gain
    if dy == 0 and dx == 0 and not flip:
        scale_row(x, y, H * W, offset, gain)
        return
    if dx >= W or dx <= -W or dy >= H or dy <= -H:
        fill(y, H * W, background)
        return
    left, right = max(dx, 0), max(-dx, 0)  # columns of background, before the flip
    for p in range(H):
        if p < dy or p - dy >= H:
            fill(y + p * W, W, background)
        elif flip:
            fill(y + p * W, right, background)
            scale_row_back(x + (p - dy) * W + right, y + p * W + right, W - left - right, offset, gain)
            fill(y + p * W + W - left, left, background)
        else:
            fill(y + p * W, left, background)
            scale_row(x + (p - dy) * W + right, y + p * W + left, W - left - right, offset, gain)
            fill(y + p * W + W - right, right, background)


def take_images(const pixel[:, :, :, ::1] x, const int64[::1] index, const real[::1] offset, const real[::1] gain,
                real[:, :, :, ::1] y, dy=None, dx=None, flip=None):
    """Write the batch into y. dy, dx and flip, or any of them, may be None: no shift, no flip."""
    cdef Py_ssize_t N = x.shape[0], C = x.shape[1], H = x.shape[2], W = x.shape[3], B = index.shape[0], b, c
    cdef const int64[::1] shift_y = dy
    cdef const int64[::1] shift_x = dx
    cdef const unsigned char[::1] flips = flip
    cdef bint down = dy is not None, across = dx is not None, mirror = flip is not None
    if y.shape[0] != B or y.shape[1] != C or y.shape[2] != H or y.shape[3] != W:
        raise ValueError(f"take_images: y has shape {y.shape[0], y.shape[1], y.shape[2], y.shape[3]}; "
                         f"expected {B, C, H, W}")
    if offset.shape[0] != C or gain.shape[0] != C:
        raise ValueError(f"take_images: {offset.shape[0]} offsets and {gain.shape[0]} gains for {C} channels")
    if (down and shift_y.shape[0] != B) or (across and shift_x.shape[0] != B) or (mirror and flips.shape[0] != B):
        raise ValueError(f"take_images: dy, dx and flip need one entry for each of the {B} images")
    for b in range(B):
        if index[b] < 0 or index[b] >= N:
            raise IndexError(f"take_images: index {index[b]} is out of range for {N} images")
    if N == 0 or C == 0 or H == 0 or W == 0 or B == 0:
        return
    with nogil:
        for b in range(B):
            for c in range(C):
                one_image(&x[index[b], c, 0, 0], &y[b, c, 0, 0], H, W, shift_y[b] if down else 0,
                          shift_x[b] if across else 0, mirror and flips[b] != 0, offset[c], gain[c])
