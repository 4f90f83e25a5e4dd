# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The rung of matmul between Python and C++: the loops of pure Python, with types.

    C[i,j] = Σ[k] A[i,k] * B[k,j]        A (M, K), B (K, N) of any strides, C (M, N), all float32 or all float64

    for i: for j: for k: sum += A[i,k] * B[k,j]

Without types each `+` looks up what to do and makes a new object; with them it is one instruction of the processor.
`minidl.kernels.ladders` is the caller.
"""

ctypedef fused real:
    float
    double


def matmul(const real[:, :] a, const real[:, :] b, real[:, :] c):
    """Write the product of a and b into c."""
    cdef Py_ssize_t M = a.shape[0], K = a.shape[1], N = b.shape[1], i, j, k
    cdef real sum
    if b.shape[0] != K or c.shape[0] != M or c.shape[1] != N:
        raise ValueError(f"matmul.cython: a {M, K}, b {b.shape[0], N} and c {c.shape[0], c.shape[1]} do not fit; "
                         "expected (M, K), (K, N) and (M, N)")
    with nogil:
        for i in range(M):
            for j in range(N):
                sum = 0
                for k in range(K):
                    sum = sum + a[i, k] * b[k, j]
                c[i, j] = sum
