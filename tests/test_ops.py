"""Every operation of minidl.ops, by the rows of cases.py: value, formula, gradients, second derivatives, backends."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from cases import SIZES, TABLE, Row, V
from checks import (
    call,
    check_formulas,
    check_gradient,
    check_value,
    described,
    draw,
    gradients,
    letters,
    loss_of,
    same,
    tensors_of,
    weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import autograd, kernels, losses, ops
from minidl.explain import Formula, formulas

CASES = [pytest.param(row, variant, id=f"{row.op}-{variant}") for row in TABLE for variant in row.variants]
SMOOTH = [case for case in CASES if case.values[0].differentiable]
BACKENDS = ["reference", "native"]


@contextmanager
def backend(name: str) -> Iterator[None]:
    if name == "native" and not kernels.native.compiled:
        pytest.skip("the native kernels are not built; type: python setup.py build_ext --inplace")
    with minidl.backend(name):
        yield


# ------------------------------------------------------------------------------------------------ the tests


def test_every_operation_has_a_row() -> None:
    public = {name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))}
    public |= {
        n for n, f in inspect.getmembers(losses, inspect.isfunction) if f.__module__ == losses.__name__ and n[0] != "_"
    }
    rows = [row.op for row in TABLE]
    assert sorted(public - set(rows)) == [], "operations and losses without a row in tests/cases.py"
    assert sorted(set(rows) - public) == [] and len(rows) == len(set(rows))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.op)
def test_every_operation_states_its_formula(row: Row) -> None:
    lines = formulas(row.function())
    targets = {line.target for line in lines}
    assert lines, f"{row.op}: the docstring states no formula"
    assert any(not target.startswith("∂L/∂") for target in targets), f"{row.op}: the value has no formula"
    records = re.search(r"\brecord\w*\(", inspect.getsource(row.function()))
    if records and row.differentiable:  # what is composed of others may leave its derivatives to the tape
        inputs = row.variants[0].inputs
        renamed = row.called([np.zeros(one.shape(SIZES)) for one in inputs])
        stated = {target.removeprefix("∂L/∂").removesuffix(".flat") for target in targets if target.startswith("∂L/∂")}
        names = letters(row.function(), row.variants[0].options)
        names = names[:1] if names[0] in ("TENSORS", "OPERANDS") else names
        for place, (name, one) in enumerate(zip(names, inputs, strict=False)):
            if one.kind == "real" and (row.only is None or place in row.only):
                name = "X_k" if name == "TENSORS" else renamed.get(name, name)
                assert name in stated, f"{row.op}: no formula for ∂L/∂{name}"


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "variant"), CASES)
def test_value(row: Row, variant: V, dtype: Any, name: str) -> None:
    with backend(name):
        check_value(row, variant, draw(variant, SIZES), dtype)


@pytest.mark.parametrize(("row", "variant"), SMOOTH)
def test_gradient(row: Row, variant: V) -> None:
    if variant.numeric:
        with minidl.backend("reference"):
            check_gradient(row, variant, draw(variant, SIZES))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "variant"), SMOOTH)
def test_backends_agree_on_gradients(row: Row, variant: V, dtype: Any) -> None:
    arrays = draw(variant, SIZES)
    with minidl.backend("reference"):
        wanted = gradients(row, variant, arrays)
    for name in BACKENDS:
        with backend(name):
            got = gradients(row, variant, arrays, dtype)
        for place in wanted:
            what = f"{described(row, variant, arrays)}: {name} gradient for input {place}"
            assert got[place].dtype == dtype, f"{what}: received {got[place].dtype}"
            same(what, got[place], wanted[place], 1e-11 if dtype == np.float64 else 1e-4)


@pytest.mark.parametrize(("row", "variant"), SMOOTH)
def test_second_derivatives(row: Row, variant: V) -> None:
    """The gradients' own gradients, for the inputs and for G, against the slope of the gradients."""
    arrays = draw(variant, SIZES)
    random = np.random.default_rng(2)

    def first(values: Sequence[np.ndarray], G: Sequence[np.ndarray] | None, create: bool) -> Any:
        """s = Σ u · ∂L/∂x for fixed random u, and what it depends on."""
        tensors = tensors_of(row, values, grad=True)
        results = call(row, variant, tensors)
        G = weights(results) if G is None else G
        recorded = [minidl.tensor(g, requires_grad=y.array.dtype.kind == "f") for g, y in zip(G, results, strict=True)]
        inputs = [x for x in tensors if x.requires_grad]
        found = autograd.grad(loss_of(results, recorded), inputs, create_graph=create)
        u = np.random.default_rng(3)
        s = sum((g * minidl.tensor(u.normal(size=tuple(g.shape)))).sum() for g in found)
        return s, inputs, [g for g in recorded if g.requires_grad], G

    with minidl.backend("reference"):
        s, inputs, recorded, G = first(arrays, None, True)
        if not s.requires_grad:  # the gradient depends on nothing: a step function
            return
        found = autograd.grad(s, (*inputs, *recorded), allow_unused=True)
        places = [i for i, x in enumerate(tensors_of(row, arrays, grad=True)) if x.requires_grad]
        reals = [k for k, g in enumerate(G) if np.ndim(g) or recorded]
        vx = {i: random.normal(size=arrays[i].shape) for i in places}
        vg = [random.normal(size=g.shape) for g in G]
        along = sum(float((g.numpy() * vx[i]).sum()) for i, g in zip(places, found, strict=False) if g is not None)
        for g, v in zip(found[len(inputs) :], (vg[k] for k in reals[: len(recorded)]), strict=True):
            along += 0.0 if g is None else float((g.numpy() * v).sum())
        h = 1e-5

        def moved(step: float) -> float:
            values = [a + step * vx[i] if i in vx else a for i, a in enumerate(arrays)]
            return first(values, [g + step * v for g, v in zip(G, vg, strict=True)], False)[0].item()

        slope = (moved(h) - moved(-h)) / (2 * h)
    same(f"{described(row, variant, arrays)}: second derivative along a random direction", along, slope, 5e-6)


# ------------------------------------------------------------------------------------------------ formulas


@pytest.mark.parametrize(("row", "variant"), [case for case in CASES if case.values[1].formula])
def test_formula(row: Row, variant: V) -> None:
    with minidl.backend("reference"):
        lines = formulas(row.function())
        compared = check_formulas(row, variant, draw(variant, SIZES), lines)
    assert compared, f"{row.op}: no line of the docstring gives the value"


@pytest.mark.parametrize("row", [row for row in TABLE if row.differentiable], ids=lambda row: row.op)
def test_a_wrong_sign_in_any_formula_is_caught(row: Row) -> None:
    """Every line that is compared, with its right side negated, must fail: the check above can see it."""
    variant = next(variant for variant in row.variants if variant.formula)
    arrays, lines = draw(variant, SIZES), formulas(row.function())
    with minidl.backend("reference"):
        compared = check_formulas(row, variant, arrays, lines)
        for place, line in enumerate(lines):
            if line.target not in compared or line.text.endswith("= 0 * G"):
                continue
            wrong = Formula(line.target, line.indices, "=", ("negate", line.tree), f"-({line.text})", line.where)
            with pytest.raises(AssertionError, match="formula of"):
                check_formulas(row, variant, arrays, [*lines[:place], wrong, *lines[place + 1 :]])


# ------------------------------------------------------------------------------------- sizes and layouts


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.op)
@settings(max_examples=8)
@given(data=st.data())
def test_drawn_sizes(row: Row, data: st.DataObject) -> None:
    """Sizes from 0 up, on every backend that is built: value, gradient along a random direction, agreement."""
    variant = data.draw(st.sampled_from([v for v in row.variants if v.vary]))
    letters = sorted({axis for one in variant.inputs for axis in one.axes if not axis.isdigit()})
    sizes = {
        axis: data.draw(st.integers(row.least.get(axis, 0), max(row.least.get(axis, 0) + 1, 7)), axis)
        for axis in letters
    }
    arrays = draw(variant, sizes, data.draw(st.integers(0, 2**16), "seed"))
    for name in BACKENDS if kernels.native.compiled else BACKENDS[:1]:
        with minidl.backend(name):
            check_value(row, variant, arrays)
            if row.differentiable and variant.numeric:
                check_gradient(row, variant, arrays, each=False)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": lambda a: a.T.copy().T,
    "reversed": lambda a: np.flip(np.flip(a).copy()),
    "every second": lambda a: (
        np.repeat(np.repeat(a, 2, -1), 3, 0)[::3, ..., ::2] if a.ndim > 1 else np.repeat(a, 3)[::3]
    ),
    "ends swapped": lambda a: a.swapaxes(0, -1).copy().swapaxes(0, -1),
}


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("layout", [*LAYOUTS, "repeated"])
@pytest.mark.parametrize("row", [row for row in TABLE if row.op not in ("view", "batch_norm")], ids=lambda row: row.op)
def test_layouts(row: Row, layout: str, name: str) -> None:
    """The memory's order changes no value and no gradient. (view refuses such memory, batch_norm would write to it.)"""

    def run(variant: V, tensors: list[minidl.Tensor]) -> list[np.ndarray]:
        for place, x in enumerate(tensors):
            if x.is_floating_point() and row.differentiable and (row.only is None or place in row.only):
                x.requires_grad_()
        results = call(row, variant, tensors)
        inputs = [x for x in tensors if x.requires_grad]
        grads = autograd.grad(loss_of(results, weights(results)), inputs) if inputs else ()
        return [t.detach().numpy() for t in (*results, *grads)]  # type: ignore[union-attr]

    with backend(name):
        for variant in row.variants[:2]:
            arrays = draw(variant, SIZES)
            if layout == "repeated":
                tensors = [
                    minidl.from_numpy(a[:1].copy()).expand(a.shape) if a.ndim else minidl.tensor(a) for a in arrays
                ]
            else:
                tensors = [minidl.from_numpy(LAYOUTS[layout](a) if a.ndim else a) for a in arrays]
            plain = [minidl.from_numpy(np.array(x.array, order="C")) for x in tensors]
            for right, got in zip(run(variant, plain), run(variant, tensors), strict=True):
                same(f"{described(row, variant, arrays)} {layout}", got, right, 1e-12)
