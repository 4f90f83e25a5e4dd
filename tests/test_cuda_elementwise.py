"""The elementwise CUDA kernels, on the emulator, compute what the reference does: every verb, layout and type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator, reference
from minidl.kernels.cuda import Backend, elementwise
from minidl.kernels.emulator import Device

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
FLOATS = ["float32", "float64"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.75, 1e-30, 80.0, -80.0, 95.0, -95.0, np.inf, -np.inf, np.nan]
PLAIN_UNARY = [name for name in elementwise.UNARY if name != "gelu_tanh"]
PLAIN_BINARY = [name for name in elementwise.BINARY if not name.startswith("gelu")]


def numbers(shape: tuple[int, ...], kind: str = "float64", seed: int = 0) -> np.ndarray:
    if kind.startswith("float"):
        return np.random.default_rng(seed).normal(size=shape).astype(kind)
    low, high = {"bool": (0, 2), "int64": (-9, 10)}.get(kind, (0, 10))
    return np.random.default_rng(seed).integers(low, high, shape).astype(kind)


def close(got: Any, wanted: Any, least: float | None = None) -> None:
    """Equal to a few roundings; numbers below `least` (the smallest normal one) to as many steps of it."""
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted)
        return
    limits = np.finfo(got.dtype)
    np.testing.assert_allclose(got, wanted, rtol=8 * limits.eps, atol=limits.tiny if least is None else least)


def check(name: str, *args: Any, launches: int = 1, **options: Any) -> Device:
    """The verb through a backend on the emulator, by its kernels, against the reference."""
    device = Device()
    with np.errstate(all="ignore"):
        wanted = np.asarray(getattr(reference, name)(*args))
        got = getattr(Backend(device), name)(*args)
    assert len(device.launches) == launches, f"{name}{[getattr(x, 'dtype', x) for x in args]}"
    close(got, wanted, **options)
    return device


def tolerance(name: str, kind: str) -> dict[str, Any]:
    """Where the reference cancels (1 + erf, 1 - y²), its own error counts."""
    return {"least": 64 * np.finfo(kind).eps} if "gelu" in name else {}


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", PLAIN_UNARY)
def test_unary(name: str, kind: str) -> None:
    check(name, np.concatenate([np.array(SPECIAL, kind), numbers((50,), kind)]), **tolerance(name, kind))


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", PLAIN_BINARY)
def test_binary(name: str, kind: str) -> None:
    special = np.array(SPECIAL, kind)
    check(name, special[:, None], special)
    check(name, numbers((3, 1, 5), kind), numbers((4, 1), kind, 1)[::-1])
    check(name, numbers((6, 4), kind).T, np.array(2.0, kind))
    check(name, numbers((0, 3), kind), numbers((3,), kind), launches=0)


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_its_gradient(approximate: str, kind: str) -> None:
    x = np.concatenate([np.linspace(-12, 12, 97), [0.0, -0.0, np.nan, np.inf, -np.inf]]).astype(kind)
    check("gelu", x, approximate, least=64 * np.finfo(kind).eps)
    check("gelu_gradient", numbers(x.shape, kind), x, approximate, least=64 * np.finfo(kind).eps)
    check("gelu", x, least=64 * np.finfo(kind).eps)


@pytest.mark.parametrize("kind", FLOATS)
def test_signs_of_zero_and_numbers_below_the_normal_ones(kind: str) -> None:
    tiny = np.finfo(kind).smallest_subnormal
    x = np.array([0.0, -0.0, tiny, -tiny, 7 * tiny], kind)
    for name in "neg abs sqrt square floor sin tanh sign expm1 log1p round erf silu".split():
        got, wanted = emulator.unary(name, x), getattr(reference, name)(x)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(wanted), err_msg=name)
        close(got, wanted, least=0)
    for name in ("add", "mul", "sub", "floor_divide", "remainder"):
        for number in (3.0, -3.0):
            got, wanted = getattr(Backend(Device()), name)(x, number), getattr(reference, name)(x, number)
            np.testing.assert_array_equal(np.signbit(got), np.signbit(wanted), err_msg=name)
            close(got, wanted, least=0)
    down = np.array([-100.0, -90.0], "float32")
    close(emulator.unary("sigmoid", down), reference.sigmoid(down), least=float(np.finfo("float32").smallest_subnormal))


@pytest.mark.parametrize("kind", FLOATS)
def test_floor_divide_and_remainder_round_downwards(kind: str) -> None:
    a = np.array([7, -7, 7, -7, 1, -1, 0.1, 0.3, 6, -6, 0.0, -0.0, 1e30], kind)
    b = np.array([2, 2, -2, -2, 0.1, 0.1, -3, 0.1, 3, 3, -2, 5, 7], kind)
    for name in ("floor_divide", "remainder"):
        got, wanted = emulator.binary(name, a, b), getattr(reference, name)(a, b)
        np.testing.assert_array_equal(got, wanted)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(wanted))


@pytest.mark.parametrize("name", sorted(elementwise.INTEGER))
def test_integers_and_bools(name: str) -> None:
    for kind in elementwise.INTEGER[name]:
        a, b = numbers((5, 7), kind), numbers((7,), kind, 1)
        if name in elementwise.UNARY:
            check(name, a)
            continue
        check(name, a, b)
        check(name, a.T[::-1], a.T)
        check(name, a, True if kind == "bool" else 3)
        check(name, 1 if kind != "bool" else False, b)


def test_integers_wrap_around_and_stay_exact() -> None:
    ends = np.array([2**62 + 1, -(2**63), 2**63 - 1, 2**53 + 1, 0, -1], np.int64)
    for name in ("add", "sub", "mul", "maximum", "floor_divide", "remainder", "lt"):
        check(name, ends[:, None], ends)
    check("neg", ends)
    check("add", np.array([250, 3], np.uint8), np.array([10, 4], np.uint8))


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"])
def test_where_takes_any_type(kind: str) -> None:
    c = numbers((4, 1, 9), "bool")
    a, b = numbers((4, 3, 9), kind), numbers((3, 9), kind, 1)
    check("where", c, a, b)
    check("where", c[:, :, ::-1], a[:, ::2], b[:1])
    check("where", c, b, np.array(1, kind))
    check("where", numbers((0, 9), "bool"), b[:1], b[:1], launches=0)
    if kind in FLOATS:
        check("where", c, a, 0.0)
        check("where", c, -1, b)
        check("where", np.array(True), np.array([np.nan, -0.0], kind), b[0, 0])


@pytest.mark.parametrize("kind", [*FLOATS, "int64"])
def test_clamp(kind: str) -> None:
    x = numbers((5, 7), kind).T
    for low, high in [(-1, 1), (None, 1), (0, None), (2, -2), (None, None)]:
        check("clamp", x, low, high)
    if kind in FLOATS:
        check("clamp", np.array(SPECIAL, kind), -0.5, 0.7)
        check("clamp", np.array(SPECIAL, kind), None, np.inf)
        check("clamp", np.array(SPECIAL, kind), float("nan"), 1.0)


@pytest.mark.parametrize("name", [name for name in PLAIN_BINARY if not name.endswith("gradient")])
def test_a_number_is_no_array(name: str) -> None:
    """It comes with the launch: only the other operand is read."""
    x = numbers((4, 300), "float32")
    check(name, x, 2)
    check(name, 1.5, x)
    assert check("add", x, 1e-3).launches[0].counts.sectors == 2 * x.nbytes // 32


LAYOUTS: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda x: x,
    lambda x: x[::-1, :, ::-1],
    lambda x: x.transpose(2, 1, 0),
    lambda x: x[1:, :, 1:],
    lambda x: x[:, ::2, ::3],
    lambda x: np.broadcast_to(x[:, :1], x.shape),
    lambda x: x[..., None, :, :][:, 0],
    lambda x: x[:1, :1, :1],
]


@pytest.mark.parametrize("kind", [*FLOATS, "uint8"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout: Callable[[np.ndarray], np.ndarray], kind: str) -> None:
    x = layout(numbers((3, 16, 24), kind))
    y = layout(numbers((3, 16, 24), kind, 1))
    check("maximum", x, y)
    check("maximum", x, np.ascontiguousarray(y))
    check("maximum", x[..., :1], y)
    check("maximum", x[0, 0], y)
    check("where", x > y, x, y)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1023, 1024, 1025, 2049])
def test_ends_that_fill_no_pack(size: int) -> None:
    for kind in FLOATS:
        x = numbers((size,), kind)
        check("neg", x)
        check("lt", x, numbers((size,), kind, 1))


@pytest.mark.skipif(not emulator.available(checked=False), reason="the quick emulator is not built")
def test_arrays_that_start_at_no_multiple_of_16_bytes() -> None:
    backend: Any = Backend(Device(checked=False))
    x = numbers((4101,), "float32")
    for start in range(5):
        a, b = x[start:4000], x[1 : 4001 - start]
        np.testing.assert_array_equal(backend.add(a, b), a + b)
        np.testing.assert_array_equal(backend.where(a > 0, b, 0.0), np.where(a > 0, b, 0))


def test_a_grid_has_fewer_blocks_than_a_large_array_tiles() -> None:
    """A block that takes a second tile gives the same numbers as one that takes the first."""
    x = numbers((5000,), "float32")
    Y = np.empty_like(x)
    walk = elementwise.walk(x.shape, [(1,)], 4)
    arguments = {"walk": walk, "X": elementwise.Source(x), "Y": Y}
    Device().launch("elementwise::unary<elementwise::Neg, float>", (2,), (256,), arguments, writes=["Y"])
    np.testing.assert_array_equal(Y, -x)


def test_packs_take_a_quarter_of_the_instructions_for_the_same_sectors() -> None:
    """4096 numbers: 1024 packs of 4, 32 for each instruction of a warp. Backwards each number comes alone."""
    a, b = numbers((64, 64), "float32"), numbers((64, 64), "float32", 1)
    packs = check("add", a, b).launches[0].counts
    single = check("add", a, b[:, ::-1]).launches[0].counts
    assert (packs.global_loads, packs.global_stores) == (2 * 4096 // 128, 4096 // 128)
    assert (single.global_loads, single.global_stores) == (2 * 4096 // 32, 4096 // 32)
    assert packs.sectors == single.sectors == 3 * 4096 // 8
    row = check("add", a, b[0]).launches[0].counts  # a row beside each row: packs as well
    assert row.global_loads == packs.global_loads


def test_what_no_kernel_covers_goes_to_the_array_library() -> None:
    x = numbers((3, 4), "float32")
    deep = numbers((2,) * 18, "float64").transpose(*range(0, 18, 2), *range(1, 18, 2))
    for name, args in [
        ("add", (x, x.astype("float64"))),
        ("add", (x.astype("int32"), 1)),
        ("add", (numbers((3,), "int64"), 0.5)),
        ("div", (numbers((3,), "int64"), 2)),
        ("exp", (x.astype("float16"),)),
        ("add", (x.astype(">f4"), x.astype(">f4"))),
        ("clamp", (numbers((3,), "int64"), 0.5, 2)),
        ("where", (numbers((3, 4), "bool"), x, x.astype("float64"))),
        ("neg", (deep,)),
    ]:
        check(name, *args, launches=0)


def test_every_name_has_its_kernels() -> None:
    found = {name for name in emulator.library(True).kernels if name.startswith("elementwise::")}
    assert found == elementwise.KERNELS
