"""The CUDA kernels on the emulator compute what the reference does: awkward sizes, any layout, both types; launches and
bad input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator
from minidl.kernels.cuda import FAMILIES
from minidl.kernels.cuda.matmul import MATMUL, TENSOR_CORES
from minidl.kernels.emulator import Device

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
SIZES = [(1, 1, 1), (32, 32, 32), (33, 1, 65), (5, 129, 3), (130, 17, 129), (72, 73, 74), (132, 68, 36)]
MULTIPLY = [name for name, _ in emulator.matmul]
TYPES = ["float32", "float64"]


def numbers(shape: tuple[int, ...], kind: str = "float64", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(kind)


def close(got: np.ndarray, wanted: np.ndarray, size: int) -> None:
    assert got.shape == wanted.shape and got.dtype == wanted.dtype and got.flags.c_contiguous
    np.testing.assert_allclose(got, wanted, rtol=0, atol=4 * np.finfo(got.dtype).eps * max(size, 4))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("rung", MULTIPLY)
def test_matmul(rung: str, kind: str) -> None:
    for M, K, N in SIZES:
        a, b = numbers((M, K), kind), numbers((K, N), kind, 1)
        close(emulator.matmul[rung](a, b), a @ b, K)


@pytest.mark.parametrize("rung", MULTIPLY)
def test_matmul_of_any_layout(rung: str) -> None:
    a, b = numbers((40, 36), "float32"), numbers((36, 44), "float32", 1)
    wide = numbers((80, 72), "float32")
    layouts = [
        (a.T.copy().T, b),
        (a, b.T.copy().T),
        (a[::-1, ::-1], b[:, ::-1]),
        (wide[::2, ::2], b),
        (np.broadcast_to(a[0], a.shape), np.broadcast_to(b[:, :1], b.shape)),
        (wide[1:41, 1:37], b),  # not on a boundary of 16 bytes
    ]
    for left, right in layouts:
        close(emulator.matmul[rung](left, right), left @ right, 36)


@pytest.mark.parametrize("rung", MULTIPLY)
def test_matmul_of_batches(rung: str) -> None:
    for left, right in [((3, 5, 4), (4, 6)), ((2, 1, 5, 4), (3, 4, 6)), ((5, 4), (2, 4, 6)), ((0, 5, 4), (4, 6))]:
        a, b = numbers(left), numbers(right, seed=1)
        close(emulator.matmul[rung](a, b), a @ b, 4)
    for left, right in [((0, 3), (3, 2)), ((2, 0), (0, 3))]:
        close(emulator.matmul[rung](numbers(left), numbers(right)), numbers(left) @ numbers(right), 1)


@pytest.mark.parametrize("rung", MULTIPLY)
def test_the_quick_build_gives_the_same_numbers(rung: str) -> None:
    if not emulator.available(checked=False):
        pytest.skip("the quick emulator is not built; type: python setup.py build_ext --inplace")
    a, b = numbers((65, 70), "float32"), numbers((70, 33), "float32", 1)
    quick = emulator.matmul[rung](a, b, device=Device(checked=False))
    np.testing.assert_allclose(quick, emulator.matmul[rung](a, b), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------------- launches


def test_launches_are_recorded() -> None:
    device = Device()
    emulator.matmul.tiled(numbers((70, 10), "float32"), numbers((10, 40), "float32"), device=device)
    (launched,) = device.launches
    assert (launched.kernel, launched.grid, launched.block) == ("matmul::tiled<float, 32>", (2, 3, 1), (32, 32))


def test_every_kernel_has_a_launch_line() -> None:
    lines = {line.kernel.format(T=T) for line in MATMUL.values() for T in ("float", "double")}
    lines |= {kernel for family in FAMILIES for kernel in getattr(family, "KERNELS", ())}
    own_tests = ("softmax::", "normalize::")
    lines |= {name for name in emulator.library(True).kernels if name.startswith(own_tests)}
    lines |= {line.kernel for line in TENSOR_CORES.values()}
    assert set(emulator.library(True).kernels) == set(emulator.library(False).kernels) == lines


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: emulator.matmul.tiled(numbers((2, 3)), numbers((4, 5))), r"matmul\.tiled: got \(2, 3\) @ \(4, 5\)"),
    (lambda: emulator.matmul.tiled(numbers((2, 2)), numbers((2, 2), "float32")), "all float32 or all float64"),
    (lambda: emulator.matmul.tiled(numbers((2, 3, 3)), numbers((4, 3, 3))), "do not broadcast"),
    (lambda: emulator.sum.tree(numbers((2, 3)), (0, 0), False), r"axes \(0, 0\)"),
    (lambda: emulator.unary("exp", np.ones(3, np.int32)), "no kernel for int32"),
    (lambda: emulator.unary("gamma", numbers((2,))), "'gamma' is unknown"),
    (lambda: emulator.binary("add", numbers((2,)), numbers((3,))), r"shapes \(2,\) and \(3,\) do not broadcast"),
    (lambda: Device().launch("no::kernel", (1,), (1,), {}, []), "no such kernel"),
    (lambda: Device().launch("reduce::tree<float>", (1,), (2048,), {}, []), "1024 in all"),
    (lambda: Device().launch("reduce::tree<float>", (1, 70_000), (32,), {}, []), "CUDA allows"),
    (lambda: Device().launch("reduce::tree<float>", (1,), (32,), {"N": 1}, []), "got 1 arguments"),
    (lambda: Device().launch("reduce::tree<float>", (1,), (32,), {"N": np.int32(1), "X": 0, "Y": 0}, []), "N has 4"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_bad_input_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
