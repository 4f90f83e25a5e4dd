"""Optimizer steps of the CUDA backend, on the emulator: the reference's numbers, in one launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator, reference
from minidl.kernels.cuda import Backend, optim

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
plain: Any = reference
TYPES = ["float32", "float64"]
SHAPES = [(1,), (3, 5), (0, 4), (), (1030,), (7, 601)]  # 4207 numbers: more than a piece

Lists = list[list[np.ndarray]]
STEPS: list[tuple[str, int, tuple[Any, ...]]] = [  # verb, lists, the rest of the arguments ("lists" stands for them)
    ("sgd_step", 2, (None, 0.1, 0.0, 0.0, 0.0, False, False)),
    ("sgd_step", 2, (None, 0.1, 0.0, 0.0, 0.03, False, True)),
    ("sgd_step", 3, (0.1, 0.9, 0.2, 0.0, False, False)),
    ("sgd_step", 3, (0.1, 0.9, 0.2, 0.03, True, False)),
    ("sgd_step", 3, (0.1, 0.9, 0.2, 0.03, True, True)),
    ("adam_step", 4, (1, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)),
    ("adam_step", 4, (1000, 1e-3, 0.9, 0.999, 1e-8, 0.03, False)),
    ("adam_step", 4, (3, 1e-3, 0.9, 0.999, 1e-8, 0.03, True)),
    ("amsgrad_step", 5, (3, 1e-3, 0.9, 0.999, 1e-8, 0.03, True)),
    ("adagrad_step", 3, (1e-2, 1e-10, 0.03)),
    ("rmsprop_step", 3, (None, None, 1e-2, 0.99, 1e-8, 0.0, 0.0)),
    ("rmsprop_step", 4, (None, 1e-2, 0.99, 1e-8, 0.03, 0.0)),
    ("rmsprop_step", 5, (1e-2, 0.99, 1e-8, 0.03, 0.9)),
    ("adadelta_step", 4, (1.0, 0.9, 1e-6, 0.03)),
]


def on(device: emulator.Device) -> Any:
    return Backend(device)


def lists(count: int, kind: str, shapes: list[tuple[int, ...]] = SHAPES) -> Lists:
    """Parameters, gradients and state; what stands under a root is positive, and what a variance is taken of fits."""
    random = np.random.default_rng(0)
    given = [[np.asarray(random.normal(size=shape), kind) for shape in shapes] for _ in range(count)]
    if count > 2:
        given[2] = [np.asarray(x * x + 1, kind) for x in given[2]]
    given[3:] = [[np.asarray(np.abs(x) / 8, kind) for x in each] for each in given[3:]]
    return given


def copies(given: Lists) -> Lists:
    return [[x.copy() for x in each] for each in given]


def same(got: Lists, wanted: Lists, ulps: int) -> None:
    for mine, right in zip(got, wanted, strict=True):
        for x, y in zip(mine, right, strict=True):
            eps = np.finfo(y.dtype).eps
            np.testing.assert_allclose(x, y, rtol=ulps * eps, atol=ulps * eps)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("verb", "count", "rest"), STEPS)
def test_steps(verb: str, count: int, rest: tuple[Any, ...], kind: str) -> None:
    device = emulator.Device()
    start = lists(count, kind)
    got, wanted = copies(start), copies(start)
    getattr(on(device), verb)(*got, *rest)
    getattr(plain, verb)(*wanted, *rest)
    same(got, wanted, 4)
    assert not np.array_equal(got[0][1], start[0][1])
    assert all(np.array_equal(x, y) for x, y in zip(got[1], start[1], strict=True))
    (launched,) = device.launches
    assert launched.grid == (sum(-(-w.nbytes // 16384) for w in start[0]),)


def test_special_values_and_the_first_buffer() -> None:
    w = np.array([np.inf, 1.0, np.nan, 1.0, 0.0], np.float32)
    g = np.array([1.0, np.inf, 1.0, np.nan, -0.0], np.float32)
    for decay in (0.0, 0.1):
        for first in (False, True):
            got, wanted = ([[w.copy()], [g.copy()], [np.full(5, np.nan, np.float32)]] for _ in range(2))
            for backend, given in ((on(emulator.Device()), got), (plain, wanted)):
                backend.sgd_step(*given, 0.1, 0.9, 0.0, decay, True, first)
            same(got, wanted, 2)
    got, wanted = ([[w.copy()], [g.copy()], *([np.zeros(5, np.float32)] for _ in range(3))] for _ in range(2))
    for backend, given in ((on(emulator.Device()), got), (plain, wanted)):
        backend.amsgrad_step(*given, 2, 0.1, 0.9, 0.99, 1e-8, 0.1, False)
    same(got, wanted, 2)


def test_of_any_alignment_and_layout() -> None:
    """Arrays that no pack fits, and a transposed gradient."""
    flat = np.arange(600, dtype=np.float32)
    g = np.arange(30, dtype=np.float32).reshape(6, 5).T
    got = [[flat[1:31].reshape(5, 6)], [g], [flat[302:332].reshape(5, 6)]]
    wanted = copies(got)
    on(emulator.Device()).sgd_step(*got, 0.1, 0.9, 0.0, 0.0, False, False)
    plain.sgd_step(*wanted, 0.1, 0.9, 0.0, 0.0, False, False)
    same(got, wanted, 2)


def test_many_parameters_take_as_few_launches_as_their_tables() -> None:
    device = emulator.Device(checked=False) if emulator.available(checked=False) else emulator.Device()
    count = 2 * optim.capacity(4) + 3
    start = lists(4, "float32", [(n % 5,) for n in range(count)])
    got, wanted = copies(start), copies(start)
    on(device).adam_step(*got, 2, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)
    plain.adam_step(*wanted, 2, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)
    same(got, wanted, 4)
    assert len(device.launches) == 2  # a fifth of them is empty
    assert [optim.capacity(lists) for lists in (2, 3, 4, 5)] == [136, 106, 86, 72]


def test_step_and_learning_rate_may_lie_in_memory() -> None:
    """The same launch gives another step when they change: what a captured graph replays."""
    lr, step = np.array(1e-3), np.array([1.0])
    for number in (1, 2, 7):
        lr[()], step[0] = 1e-3 / number, number
        got, wanted = lists(4, "float64"), lists(4, "float64")
        on(emulator.Device()).adam_step(*got, step, lr, 0.9, 0.999, 1e-8, 0.1, True)
        plain.adam_step(*wanted, number, 1e-3 / number, 0.9, 0.999, 1e-8, 0.1, True)
        same(got, wanted, 4)


def test_other_types_are_the_references() -> None:
    device = emulator.Device()
    got, wanted = ([[np.ones(3, np.float16)], [np.full(3, 0.5, np.float16)]] for _ in range(2))
    on(device).sgd_step(*got, None, 0.1, 0.0, 0.0, 0.0, False, False)
    plain.sgd_step(*wanted, None, 0.1, 0.0, 0.0, 0.0, False, False)
    same(got, wanted, 1)
    assert not device.launches
    on(device).sgd_step([], [], None, 0.1, 0.0, 0.0, 0.0, False, False)


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda b: b.sgd_step([np.ones(2)], [], None, 0.1, 0.0, 0.0, 0.0, False, False), "sgd_step: got 1 in w, 0 in g"),
    (lambda b: b.sgd_step([np.ones(2)], [np.ones(3)], None, 0.1, 0.0, 0.0, 0.0, False, False), "different shapes"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_lists_that_do_not_fit_are_refused(call: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(on(emulator.Device()))
