"""Launch lines of csrc/matmul.cu: C[i,k] = Σ[j] A[i,j] * B[j,k].

The rungs of MATMUL multiply what they are given. Those of TENSOR_CORES round it, to 10 bits of mantissa (TF32) or 7
(bfloat16), and no verb uses them by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .elementwise import binary
from .launch import MOST_BLOCKS, Array, Device, Matrix, covered, number_type, pieces
from .reduce import sum as total

__all__ = ["MATMUL", "TENSOR_CORES", "VERBS", "by_rung", "by_tensor_cores", "matmul"]


@dataclass(frozen=True)
class Line:
    """A rung's kernel and how it is launched."""

    kernel: str  # with {T} for the type of numbers
    block: tuple[int, ...]  # threads
    tile: tuple[int, int]  # of the result that a block computes: rows, columns
    why: str  # the idea, then what it changes


MATMUL = {
    "naive": Line(
        "matmul::naive<{T}>",
        (32, 8),
        (32, 8),
        """A thread for each number of C. Neighbouring threads read down a column of A, each number from a 32-byte
        sector of its own.""",
    ),
    "coalesced": Line(
        "matmul::coalesced<{T}>",
        (32, 8),
        (8, 32),
        """i and j change places between the threads. What the 32 threads of a warp read of B lies side by side, in
        4 sectors instead of 32; A[i,k] is one number for all of them.""",
    ),
    "tiled": Line(
        "matmul::tiled<{T}, 32>",
        (32, 32),
        (32, 32),
        """A block copies tiles of A and B into shared memory. Each number comes from global memory once for 32
        threads that use it.""",
    ),
    "register_tiles": Line(
        "matmul::register_tiles<{T}>",
        (256,),
        (128, 128),
        """A thread keeps 8 x 8 sums in registers. 16 numbers from shared memory serve 64 multiplications instead of
        one, and the larger tile of C reads A and B fewer times.""",
    ),
    "vectorized": Line(
        "matmul::vectorized<{T}>",
        (256,),
        (128, 128),
        """16 bytes a load, from global and from shared memory. The same bytes take a quarter of the instructions
        (for float64 half).""",
    ),
    "double_buffered": Line(
        "matmul::double_buffered<{T}>",
        (256,),
        (128, 128),
        """The next tile is fetched while this one is used. One barrier a tile instead of two, and the wait for
        global memory passes during the arithmetic; no other count changes.""",
    ),
    "warp_tiled": Line(
        "matmul::warp_tiled<{T}>",
        (256,),
        (128, 128),
        """A warp's sums form a rectangle of 64 x 32. It needs fewer different numbers of A and B, so that shared
        memory is passed over fewer times.""",
    ),
}

TENSOR_CORES = {
    "mma_tf32": Line(
        "matmul::tensor_cores<matmul::Tf32>",
        (256,),
        (128, 128),
        """A warp multiplies 16 x 8 by 8 x 8 numbers in one instruction, of float32 rounded to TF32. A thousand
        multiplications an instruction; each product is off by up to 2**-10 of itself, while sums stay float32.""",
    ),
    "mma_bf16": Line(
        "matmul::tensor_cores<matmul::Bf16>",
        (256,),
        (128, 128),
        """The same with 16 numbers along k, stored as bfloat16. Half the bytes, and twice the multiplications an
        instruction; the products are exact and the sums float32.""",
    ),
}
OPERANDS = {"mma_tf32": ("float32",), "mma_bf16": ("bfloat16", "uint16")}
OLDEST = 80  # compute capability 8.0, the first with TF32 and bfloat16


def by_rung(device: Device, rung: str, a: Array, b: Array) -> Array:
    """C[i,k] = Σ[j] A[i,j] * B[j,k]

    a: (..., M, K), b: (..., K, N), any strides; batches broadcast.
    """
    line = MATMUL[rung]
    return _product(device, rung, line, line.kernel.format(T=number_type(f"matmul.{rung}", a, b)), a, b, a.dtype)


def by_tensor_cores(device: Device, rung: str, a: Array, b: Array) -> Array:
    """C[i,k] = Σ[j] A[i,j] * B[j,k]

    "mma_tf32": of float32 numbers, rounded to TF32. "mma_bf16": of bfloat16 numbers, or their bits as uint16.
    RuntimeError on GPUs before compute capability 8.0 (Ampere).
    """
    kinds = {a.dtype.name, b.dtype.name}
    if len(kinds) > 1 or not kinds <= set(OPERANDS[rung]):
        raise ValueError(f"matmul.{rung}: got {a.dtype} and {b.dtype}; expected both {' or '.join(OPERANDS[rung])}")
    capability = getattr(device, "capability", OLDEST)
    if capability < OLDEST:
        raise RuntimeError(
            f"matmul.{rung}: this GPU has compute capability {capability / 10}, and its tensor cores know no TF32 and "
            "bfloat16 (8.0, Ampere, is the first); use the rung warp_tiled"
        )
    return _product(device, rung, TENSOR_CORES[rung], TENSOR_CORES[rung].kernel, a, b, np.float32)


def _product(device: Device, rung: str, line: Line, kernel: str, a: Array, b: Array, dtype: Any) -> Array:
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul.{rung}: got {a.shape} @ {b.shape}; expected (..., M, K) @ (..., K, N)")
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul.{rung}: the batches of {a.shape} and {b.shape} do not broadcast") from None
    (M, K), N = a.shape[-2:], b.shape[-1]
    c = device.empty((math.prod(batch), M, N), dtype)
    if c.size:
        A, B = (np.broadcast_to(x, batch + x.shape[-2:]).reshape(len(c), *x.shape[-2:]) for x in (a, b))
        for first in range(0, len(c), MOST_BLOCKS[2]):
            some = slice(first, first + MOST_BLOCKS[2])
            operands = {"A": Matrix(A[some]), "B": Matrix(B[some]), "C": Matrix(c[some])}
            grid = (pieces(N, line.tile[1]), pieces(M, line.tile[0]), len(c[some]))
            device.launch(kernel, grid, line.block, {"M": M, "N": N, "K": K, **operands}, writes=["C"])
    return c.reshape(*batch, M, N)


def matmul(device: Device, a: Array, b: Array) -> Array:
    """The rung that ships."""
    return by_rung(device, "warp_tiled", a, b) if covered(a, b) else NotImplemented


def linear(device: Device, x: Array, w: Array, b: Array | None) -> Array:
    """The product of all rows with the weight transposed, then the bias in a launch of its own."""
    if not covered(x, w, b):
        return NotImplemented
    y = matmul(device, x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), w.T).reshape(*x.shape[:-1], w.shape[0])
    return y if b is None else binary(device, "add", y, b)


def linear_gradient(
    device: Device, g: Array, x: Array, w: Array, needed: tuple[bool, bool, bool]
) -> tuple[Array | None, ...]:
    """The gradients G W, Gᵀ X and the sum of G's rows, those that are needed."""
    if not covered(g, x, w):
        return NotImplemented
    n = math.prod(x.shape[:-1])
    rows, inputs = g.reshape(n, g.shape[-1]), x.reshape(n, x.shape[-1])
    return (
        matmul(device, rows, w).reshape(x.shape) if needed[0] else None,
        matmul(device, rows.T, inputs) if needed[1] else None,
        total(device, rows, (0,), False) if needed[2] else None,
    )


VERBS = {"matmul": matmul, "linear": linear, "linear_gradient": linear_gradient}
