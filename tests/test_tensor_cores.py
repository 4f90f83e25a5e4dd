"""Products on tensor cores, in the emulator: exactly the products of the rounded operands, summed in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator
from minidl.kernels.cuda.matmul import by_tensor_cores

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes: pip install ml_dtypes")
pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
RUNGS = [name for name, _ in emulator.tensor_cores]
SIZES = [(1, 1, 1), (16, 8, 8), (32, 32, 32), (33, 1, 65), (5, 129, 3), (130, 17, 129), (72, 73, 74), (132, 68, 136)]
BF16 = ml_dtypes.bfloat16


def tf32(x: np.ndarray) -> np.ndarray:
    """To 11 significant bits, ties away from 0 (PTX ISA, cvt.rna.tf32.f32), by arithmetic instead of bits."""
    with np.errstate(invalid="ignore"):
        part, exponent = np.frexp(x.astype(np.float64))
        return np.where(np.isfinite(x), np.ldexp(np.trunc(part * 2**11 + np.copysign(0.5, part)), exponent - 11), x)


def operand(rung: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=shape)
    return x.astype(np.float32 if rung == "mma_tf32" else BF16)


def rounded(x: np.ndarray) -> np.ndarray:
    return tf32(x) if x.dtype == np.float32 else x.astype(np.float64)


def check(rung: str, a: np.ndarray, b: np.ndarray) -> None:
    """Against the product of the rounded numbers in float64; each float32 sum may be off by eps Σ|a||b| K / 2."""
    got = emulator.tensor_cores[rung](a, b)
    left, right = rounded(a), rounded(b)
    bound = np.finfo(np.float32).eps * max(a.shape[-1], 1) * (np.abs(left) @ np.abs(right))
    assert got.dtype == np.float32 and got.flags.c_contiguous and got.shape == (left @ right).shape
    assert np.all(np.abs(got - left @ right) <= bound)


@pytest.mark.parametrize("rung", RUNGS)
def test_the_product_of_the_rounded_numbers(rung: str) -> None:
    for M, K, N in SIZES:
        check(rung, operand(rung, (M, K)), operand(rung, (K, N), 1))
    for a, b in [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((3, 5, 4), (4, 6)), ((2, 1, 5, 4), (3, 4, 6))]:
        check(rung, operand(rung, a), operand(rung, b, 1))


@pytest.mark.parametrize("rung", RUNGS)
def test_any_layout(rung: str) -> None:
    a, b, wide = operand(rung, (40, 48)), operand(rung, (48, 56), 1), operand(rung, (96, 104))
    layouts = [
        (a.T.copy().T, b),
        (a, b.T.copy().T),
        (a.T.copy().T, b.T.copy().T),
        (a[::-1, ::-1], b[:, ::-1]),
        (wide[:80:2, :96:2], b),
        (np.broadcast_to(a[0], a.shape), np.broadcast_to(b[:, :1], b.shape)),
        (wide[1:41, 1:49], b),  # not on a boundary of 16 bytes
    ]
    for left, right in layouts:
        check(rung, left, right)


@pytest.mark.parametrize("rung", RUNGS)
def test_small_integers_are_exact(rung: str) -> None:
    random = np.random.default_rng(2)
    a, b = (random.integers(-8, 9, shape).astype(np.float32) for shape in ((130, 100), (100, 129)))
    kind = np.float32 if rung == "mma_tf32" else BF16
    got = emulator.tensor_cores[rung](a.astype(kind), b.astype(kind))
    np.testing.assert_array_equal(got, a @ b)


def test_rounding_to_tf32() -> None:
    """x * 1 is x rounded: ties away from 0, NaN and infinities as they are, the largest number to infinity."""
    tie = np.float32(1) + np.float32(2.0**-11)
    below = np.nextafter(tie, np.float32(0), dtype=np.float32)
    special = [0, -0.0, 1, tie, -tie, below, np.pi, 1e-20, -3e38, np.inf, -np.inf, np.nan, np.finfo(np.float32).max]
    x = np.concatenate([np.array(special, np.float32), operand("mma_tf32", (50,))])
    with np.errstate(all="ignore"):
        got = emulator.tensor_cores.mma_tf32(x[:, None], np.ones((1, 1), np.float32))[:, 0]
        wanted = tf32(x).astype(np.float32)
    np.testing.assert_array_equal(got, wanted)
    assert got[3] == 1 + 2.0**-10 and got[4] == -got[3] and got[5] == 1


def test_bits_of_bfloat16_are_taken_too() -> None:
    a, b = operand("mma_bf16", (20, 30)), operand("mma_bf16", (30, 40), 1)
    np.testing.assert_array_equal(
        emulator.tensor_cores.mma_bf16(a.view(np.uint16), b.view(np.uint16)), emulator.tensor_cores.mma_bf16(a, b)
    )


def test_arithmetic_is_counted_by_the_tile() -> None:
    """128 x 128 sums whatever the size, over words of k filled up to 16."""
    for rung, per_word in (("mma_tf32", 1), ("mma_bf16", 2)):
        counts = emulator.profile(emulator.tensor_cores[rung], operand(rung, (9, 9)), operand(rung, (9, 9)))
        assert counts.multiply_adds == 128 * 128 * 16 * per_word


class Older(emulator.Device):
    capability = 75


WRONG: list[tuple[str, Any, Any, type[Exception], str]] = [
    ("mma_tf32", np.ones((2, 2)), np.ones((2, 2)), ValueError, "got float64 and float64; expected both float32"),
    ("mma_bf16", np.ones((2, 2), np.float32), np.ones((2, 2), BF16), ValueError, "expected both bfloat16 or uint16"),
    ("mma_tf32", np.ones((2, 3), np.float32), np.ones((2, 3), np.float32), ValueError, r"got \(2, 3\) @ \(2, 3\)"),
    ("mma_bf16", np.ones((2, 2), BF16), np.ones((2, 2), BF16), RuntimeError, r"has compute capability 7\.5"),
]


@pytest.mark.parametrize(("rung", "a", "b", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_wrong_operands(rung: str, a: Any, b: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        by_tensor_cores(Older() if kind is RuntimeError else emulator.Device(), rung, a, b)
