"""Indexing and assignment with whole numbers, slices, masks, index arrays, None and ...: what PyTorch does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3)
numbers = st.integers(-4, 3)
few = st.one_of(st.none(), st.integers(-2, 3))
parts = st.one_of(
    numbers,
    st.builds(slice, few, few, st.sampled_from([None, 1, 2])),
    st.sampled_from([slice(None), None, ..., True, False]),
    st.lists(numbers, min_size=1, max_size=3),
    st.lists(numbers, min_size=2, max_size=2).map(np.array),
    st.lists(st.booleans(), min_size=1, max_size=4).map(np.array),
    numbers.map(np.array),
)
indexes = st.lists(parts, min_size=1, max_size=4).filter(lambda found: sum(part is ... for part in found) < 2)
VALUES = ["number", "whole", "row", "ones in front", "integers", "one integer"]


def value_of(m: Any, kind: str, shape: tuple[int, ...]) -> Any:
    if kind == "number":
        return 7.5
    made = {
        "whole": np.full(shape, 3.0),
        "row": np.full(shape[-1:], 4.0),
        "ones in front": np.full((1, 1, *shape), 2.5),
        "integers": np.ones(shape, np.int64),
        "one integer": np.ones(1, np.int64),
    }[kind]
    return m.tensor(made)


def outcome(m: Any, shape: list[int], index: list[Any], value: str | None) -> Any:
    """The values and the gradient of what is indexed, or of the tensor that was assigned to."""
    x = m.tensor(np.arange(np.prod(shape), dtype=np.float64).reshape(shape), requires_grad=True)
    at = tuple(m.tensor(part) if isinstance(part, np.ndarray) else part for part in index)
    at = at[0] if len(at) == 1 else at
    try:
        y = x * 1
        found = y[at]
        if value is None:
            y = found
        else:
            y[at] = value_of(m, value, tuple(found.shape))
        (y * y).sum().backward()
    except (IndexError, ValueError, TypeError, RuntimeError) as error:
        return error
    return y.detach().numpy(), x.grad.numpy()


@settings(max_examples=1500)
@given(sizes, indexes, st.one_of(st.none(), st.sampled_from(VALUES)))
def test_indexing_beside_pytorchs(shape: list[int], index: list[Any], value: str | None) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    wanted, got = outcome(torch, shape, index, value), outcome(minidl, shape, index, value)
    if isinstance(wanted, Exception):
        assert isinstance(got, Exception), f"gives {got}; PyTorch refuses: {wanted}"
        assert str(got).startswith("index"), f"no sentence of minidl's own: {got!r}"
        return
    if isinstance(got, Exception) and 0 in wanted[0].shape:
        return  # PyTorch does not look at the numbers of an index whose result is empty
    if isinstance(got, TypeError) and any(part is True or part is False for part in index):
        assert "does not go into" in str(got)  # x[True] = integers: PyTorch converts here, and not through index arrays
        return
    assert not isinstance(got, Exception), f"refused what PyTorch does: {got}"
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])


def test_whole_numbers_do_not_move_the_arrays_dimensions() -> None:
    """Where NumPy puts an array's dimensions first, since a number stands apart from it, PyTorch does not."""
    x = minidl.arange(24).reshape(2, 3, 4)
    assert x[0, :, [1, 2]].shape == (3, 2)
    assert x[minidl.tensor(1), :, [1, 2]].tolist() == x[1][:, [1, 2]].tolist()
    x[0, :, [1, 2]] = minidl.tensor([[1, 2], [3, 4], [5, 6]])
    assert x[0, :, 1].tolist() == [1, 3, 5]
