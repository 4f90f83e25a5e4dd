"""Writing in place, whole tensors and through views: values and gradients are PyTorch's, or a sentence refuses."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from cases import SIZES, TABLE, Row, V
from checks import call, draw, gradients, loss_of, same, tensors_of, weights
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import Tensor, autograd

# --------------------------------------------------------------------------------------- programs beside PyTorch's

PROGRAMS: dict[str, Callable[[Any, Any, Any], Any]] = {}  # of torch or minidl, x recorded and w a leaf


def program(function: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    PROGRAMS[function.__name__] = function
    return function


@program
def a_row_is_added_to(m: Any, x: Any, w: Any) -> Any:
    x[0] += 1
    x[1] += w[1]
    return x * x


@program
def an_element_is_multiplied(m: Any, x: Any, w: Any) -> Any:
    x[1, 2].mul_(w[0, 0])
    return x * x


@program
def a_flat_view_is_assigned_to(m: Any, x: Any, w: Any) -> Any:
    x.view(-1)[3] = 0
    x.view(-1)[5] = w[0, 1]
    return x * w


@program
def a_transposed_view_is_added_to(m: Any, x: Any, w: Any) -> Any:
    x.T.add_(w.T)
    x.T[1:].mul_(w.T[1:])
    return x * x


@program
def a_chain_of_views(m: Any, x: Any, w: Any) -> Any:
    x.view(2, 6).transpose(0, 1)[1:5, 1].unsqueeze(0).mul_(3).add_(w[0])
    return x * x


@program
def an_older_view_sees_the_write(m: Any, x: Any, w: Any) -> Any:
    row, column = x[1], x[:, 2]
    x.mul_(w)
    row.sin_()
    column.add_(1)
    return (row * row).sum() + (column * column * column).sum() + (x * x).sum()


@program
def the_base_sees_a_write_through_a_view_that_outlived_others(m: Any, x: Any, w: Any) -> Any:
    part = x.reshape(-1)[2:7]
    part.square_()
    more = part[1:3]
    part.mul_(w.reshape(-1)[:5])
    return (more * 5).sum() + (x * w).sum()


@program
def a_view_without_its_base(m: Any, x: Any, w: Any) -> Any:
    part, other = (x * 2)[1:], None
    other = part[0]
    part.mul_(w[1:])
    other.tanh_()
    return (part * part).sum() + (other * w[0]).sum()


@program
def a_constant_becomes_recorded_through_its_view(m: Any, x: Any, w: Any) -> Any:
    table = m.zeros(3, 4, dtype=m.float64)
    table[0] = w[0]
    row = table[1]
    row.copy_(w[1] * 2)
    table[2, 1:3] = x[0, 1:3]
    return (table * table).sum() + (row * 3).sum()


@program
def a_mask_and_an_index_array(m: Any, x: Any, w: Any) -> Any:
    x[x > 0] = 0.5
    x[[0, 2]] = w[:2]
    part = x[1:]
    part[part > 0.25] *= 2
    return x * x


@program
def a_loop_over_rows(m: Any, x: Any, w: Any) -> Any:
    for i in range(3):
        x[i] = x[i] * w[i] + (x[i - 1] if i else 0)
    return x * x


@program
def an_expanded_view_of_what_is_written(m: Any, x: Any, w: Any) -> Any:
    row = x[:1]
    wide = row.expand(5, 4)
    row.mul_(w[:1])
    return (wide * wide).sum() + x.sum()


@program
def a_detached_view_writes_behind_the_tape(m: Any, x: Any, w: Any) -> Any:
    x.detach()[0].mul_(2)
    return (x + w).sum() * 1.0


@program
def data_writes_behind_the_tape(m: Any, x: Any, w: Any) -> Any:
    x.data[1] = 7.0
    return x + w


@program
def zeros_and_fills(m: Any, x: Any, w: Any) -> Any:
    x[0].zero_()
    x[:, 1].fill_(2.0)
    x[1:, 2:].clamp_(-0.5, 0.5)
    return x * w


@program
def under_no_grad(m: Any, x: Any, w: Any) -> Any:
    with m.no_grad():
        x[0] = 3.0
        x.T[1].mul_(2)
    return x * x


@program
def scattered(m: Any, x: Any, w: Any) -> Any:
    x[:2].scatter_add_(1, m.tensor([[0, 0, 3], [1, 2, 2]]), w[:2, :3])
    return x * x


@program
def a_saved_view_is_changed_by_its_base(m: Any, x: Any, w: Any) -> Any:
    y = x[0] * w[0]
    x.mul_(2)
    return y.sum() + x.sum()


@program
def a_saved_base_is_changed_by_its_view(m: Any, x: Any, w: Any) -> Any:
    y = x * w
    x[0].mul_(2)
    return y.sum() + x.sum()


@program
def a_leaf_is_assigned_to(m: Any, x: Any, w: Any) -> Any:
    w[0] = 1.0
    return w * x


@program
def a_view_of_a_leaf_is_added_to(m: Any, x: Any, w: Any) -> Any:
    w.T.add_(1)
    return w * x


@program
def a_leaf_is_changed_under_no_grad(m: Any, x: Any, w: Any) -> Any:
    with m.no_grad():
        w[0] *= 2
        w.view(-1).add_(1)
    return w * x


@program
def expanded_memory_is_written_to(m: Any, x: Any, w: Any) -> Any:
    wide = x[0].expand(3, 4)
    wide.add_(1)
    return wide * w


@program
def a_view_made_under_no_grad_gets_a_recorded_value(m: Any, x: Any, w: Any) -> Any:
    with m.no_grad():
        part = x[0]
    part.mul_(w[0])
    return x * x


@program
def a_tensor_multiplied_by_itself(m: Any, x: Any, w: Any) -> Any:
    x *= x[0].clone()
    x -= x.detach()
    return x * w


@program
def a_retained_gradient_moves_with_the_tensor(m: Any, x: Any, w: Any) -> Any:
    x[0].mul_(3)
    return x * w * w


def leaves(m: Any) -> tuple[Any, Any]:
    draw = np.random.default_rng(5)
    return tuple(
        m.tensor(draw.uniform(-1, 1, (3, 4)), dtype=m.float64, requires_grad=True) for _ in range(2)
    )  # type: ignore[return-value]


def outcome(m: Any, function: Callable[[Any, Any, Any], Any]) -> Any:
    """The value and both gradients, or the error that refused."""
    start, w = leaves(m)
    try:
        y = function(m, start * 1, w)
        value = y.detach().numpy().copy()
        y.sum().backward()
    except RuntimeError as error:
        return error
    return [value] + [np.zeros((3, 4)) if t.grad is None else t.grad.numpy() for t in (start, w)]


@pytest.mark.peers
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_beside_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    wanted, got = outcome(torch, PROGRAMS[name]), outcome(minidl, PROGRAMS[name])
    if isinstance(wanted, RuntimeError):
        assert isinstance(got, RuntimeError), f"PyTorch refuses: {wanted}"
        assert ": " in str(got)
        return
    assert not isinstance(got, RuntimeError), f"refused what PyTorch does: {got}"
    for what, a, b in zip(("value", "gradient of the start", "gradient of w"), got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=f"{name}: {what}")


def test_a_retained_gradient_moves_with_the_tensor() -> None:
    x, w = leaves(minidl)
    y = x * 1
    y.retain_grad()
    y[0].mul_(3)
    (y * w).sum().backward()
    assert y.grad is not None
    np.testing.assert_allclose(y.grad.numpy(), w.detach().numpy())


# ------------------------------------------------------------------------------------------------ drawn programs

VIEWS: dict[str, Callable[[Any, int], Any]] = {
    "[k]": lambda t, k: t[k % t.shape[0]],
    "[1:]": lambda t, k: t[1:],
    "[::2]": lambda t, k: t[::2],
    "[..., k]": lambda t, k: t[..., k % t.shape[-1]],
    "T": lambda t, k: t.permute(tuple(range(t.ndim))[::-1]),
    "transpose": lambda t, k: t.transpose(k % t.ndim, (k + 1) % t.ndim),
    "view": lambda t, k: t.reshape(-1) if t.is_contiguous() else t,
    "unsqueeze": lambda t, k: t.unsqueeze(k % (t.ndim + 1)),
    "narrow": lambda t, k: t.narrow(k % t.ndim, 0, 1),
    "unflatten": lambda t, k: t.unflatten(0, (2, -1)) if t.shape[0] % 2 == 0 else t,
    "expand": lambda t, k: t.unsqueeze(0).expand(2, *t.shape),
    "alias": lambda t, k: t,
}
WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "add_ constant": lambda t, w: t.add_(0.5),
    "mul_ constant": lambda t, w: t.mul_(1.5),
    "mul_ w": lambda t, w: t.mul_(w),
    "add_ w": lambda t, w: t.add_(w),
    "sub_ w": lambda t, w: t.sub_(w, alpha=2),
    "div_ w": lambda t, w: t.div_(w + 4),
    "tanh_": lambda t, w: t.tanh_(),
    "sin_": lambda t, w: t.sin_(),
    "square_": lambda t, w: t.square_(),
    "fill_": lambda t, w: t.fill_(0.25),
    "zero_": lambda t, w: t.zero_(),
    "copy_ w": lambda t, w: t.copy_(w.expand(t.shape)),
    "clamp_": lambda t, w: t.clamp_(-0.6, 0.6),
    "t[0] = w": lambda t, w: t.__setitem__(0, w),
    "t[0] += 1": lambda t, w: t.__setitem__(0, t[0].add_(1)),
    "t[mask] = 0": lambda t, w: t.__setitem__(t > 0.3, 0.0),
}

step = st.tuples(
    st.sampled_from(["view", "view", "write", "write", "use"]),
    st.integers(0, 5),  # of which tensor
    st.sampled_from(sorted(VIEWS)),
    st.sampled_from(sorted(WRITES)),
    st.integers(0, 3),
)


def run(m: Any, steps: Sequence[tuple[str, int, str, str, int]]) -> Any:
    """Carry out the steps; what PyTorch (or minidl) refuses to write is left out and noted."""
    start, w = leaves(m)
    tensors, used, refused = [start * 1], [], []
    wide: list[Any] = []  # expanded memory: minidl writes to no part of it, PyTorch to those without repetitions
    for place, (kind, which, view, write, k) in enumerate(steps):
        t = tensors[which % len(tensors)]
        if kind == "view" and t.ndim and t.numel():
            tensors.append(VIEWS[view](t, k))
            if view == "expand" or any(t is known for known in wide):
                wide.append(tensors[-1])
        elif kind == "write" and t.ndim and t.numel() and not any(t is known for known in wide):
            try:
                WRITES[write](t, w[k % 3, k])
            except RuntimeError:
                refused.append(place)
        elif kind == "use":
            used.append((t * t * (k + 1)).sum())
    total = sum((t * t).sum() for t in tensors) + sum(used)
    values = [t.detach().numpy().copy() for t in tensors]
    try:
        total.backward()
    except RuntimeError as error:
        assert "in place" in str(error) or "inplace" in str(error), error
        return values, refused, None
    return values, refused, [np.zeros((3, 4)) if t.grad is None else t.grad.numpy() for t in (start, w)]


@pytest.mark.peers
@settings(max_examples=400)
@given(st.lists(step, min_size=2, max_size=9))
def test_drawn_programs_beside_pytorchs(steps: list[tuple[str, int, str, str, int]]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    values, refused, grads = run(minidl, steps)
    their_values, their_refused, their_grads = run(torch, steps)
    assert refused == their_refused, "one of the two refuses a write that the other does"
    for a, b in zip(values, their_values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert (grads is None) == (their_grads is None) or grads is not None, "refused at backward what PyTorch does"
    if grads is not None and their_grads is not None:
        for a, b in zip(grads, their_grads, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@settings(max_examples=150)
@given(st.lists(step, min_size=2, max_size=7))
def test_drawn_programs_beside_differences(steps: list[tuple[str, int, str, str, int]]) -> None:
    """Where backward runs, its gradients are the slopes of what was computed."""
    if any(write in ("clamp_", "t[mask] = 0") for _, _, _, write, _ in steps):
        return  # their slopes jump

    def total(array: np.ndarray) -> tuple[Any, Any]:
        start = minidl.tensor(array, requires_grad=True)
        w = leaves(minidl)[1].detach()
        tensors, used = [start * 1], []
        for kind, which, view, write, k in steps:
            t = tensors[which % len(tensors)]
            if kind == "view" and t.ndim and t.numel():
                tensors.append(VIEWS[view](t, k))
            elif kind == "write" and t.ndim and t.numel() and t.array.flags.writeable:
                WRITES[write](t, w[k % 3, k])
            elif kind == "use":
                used.append((t * t * (k + 1)).sum())
        return sum((t * t).sum() for t in tensors) + sum(used), start

    array = leaves(minidl)[0].detach().numpy()
    loss, start = total(array)
    try:
        loss.backward()
    except RuntimeError as error:
        assert "in place" in str(error)
        return
    direction = np.random.default_rng(0).normal(size=array.shape)
    h = 1e-6
    slope = (total(array + h * direction)[0].item() - total(array - h * direction)[0].item()) / (2 * h)
    along = float((start.grad.numpy() * direction).sum())
    same("gradient along a random direction", along, slope, 1e-5)


# ----------------------------------------------------------------------------------------- saved values that change

SMOOTH = [
    pytest.param(row, variant, place, id=f"{row.op}-{variant}-input {place}")
    for row in TABLE
    if row.differentiable
    for variant in row.variants
    for place in range(len(variant.inputs))
]


@pytest.mark.parametrize(("row", "variant", "place"), SMOOTH)
def test_a_changed_input_never_gives_a_wrong_gradient(row: Row, variant: V, place: int) -> None:
    """After the operation one of its inputs is overwritten: the gradient is what it was, or a sentence refuses."""
    arrays = draw(variant, SIZES)
    wanted = gradients(row, variant, arrays)
    tensors = tensors_of(row, arrays, grad=True)
    results = call(row, variant, tensors)
    G = weights(results)
    with minidl.no_grad():
        x = tensors[place]
        if x.array.dtype.kind == "b":
            x.copy_(~x)
        else:
            x.mul_(0)
    inputs = {k: t for k, t in enumerate(tensors) if t.requires_grad}
    try:
        found = autograd.grad(loss_of(results, G), tuple(inputs.values()))
    except RuntimeError as error:
        assert "in place" in str(error), error
        return
    for k, g in zip(inputs, found, strict=True):
        same(f"{row.op}: gradient {k} after input {place} was changed", g.numpy(), wanted[k], 1e-12)


@pytest.mark.parametrize(("row", "variant"), [(row, row.variants[0]) for row in TABLE if row.differentiable], ids=str)
def test_a_changed_result_never_gives_a_wrong_gradient(row: Row, variant: V) -> None:
    arrays = draw(variant, SIZES)
    wanted = gradients(row, variant, arrays)
    tensors = tensors_of(row, arrays, grad=True)
    results = call(row, variant, tensors)
    loss = loss_of(results, weights(results))
    views = {id(t.array) for t in tensors}
    with minidl.no_grad():
        for y in results:
            if y.array.flags.writeable and id(y.array) not in views:
                y.mul_(0)
    inputs = {k: t for k, t in enumerate(tensors) if t.requires_grad}
    try:
        found = autograd.grad(loss, tuple(inputs.values()))
    except RuntimeError as error:
        assert "in place" in str(error), error
        return
    for k, g in zip(inputs, found, strict=True):
        same(f"{row.op}: gradient {k} after the result was changed", g.numpy(), wanted[k], 1e-12)


# --------------------------------------------------------------------------------------------------- memory, sentences


def test_views_that_die_are_forgotten_and_leave_no_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        x = minidl.zeros(1000, 2) * 1
        for i in range(5000):
            x[i % 1000]
        assert x.storage is not None and len(minidl.tape.root_of(x).known) < 200
        y = minidl.ones(3, 4, requires_grad=True) * 1
        y[0].mul_(2)
        y.T.add_(1)
        y.sum().backward()
        del x, y
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_view_of_replaced_data_is_refused() -> None:
    y = minidl.ones(3, 4, requires_grad=True) * 1
    part = y[0]
    y.data = minidl.zeros(3, 4)
    with pytest.raises(RuntimeError, match="mul_: this was a view of a tensor whose data has been replaced"):
        part.mul_(2)
    y[1].add_(1)
    y.sum().backward()


def test_a_view_keeps_no_graph_alive_that_only_its_detached_self_names() -> None:
    import weakref

    x = minidl.ones(3, requires_grad=True)
    y = x * 2
    kept, node = y[0].detach(), weakref.ref(y.node)
    del y
    assert node() is None and kept.item() == 2


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda x: x.T.add_(1), "add_: a leaf .* view of the leaf"),
        (lambda x: x.__setitem__(0, 1.0), "index assignment: a leaf .*no_grad"),
        (lambda x: (x * 1)[0].expand(2, 4).add_(1), "add_: several elements .*expand"),
        (lambda x: (x * 1)[0].detach_(), "detach_: a view"),
        (lambda x: (x * 1)[0].mul_(minidl.ones(3, 4)), "mul_: in place, the result's shape"),
        (lambda x: minidl.ones(2, dtype=minidl.int64).div_(2), "div_: a float32 result does not fit"),
    ],
)
def test_refusals_say_why(write: Callable[[Tensor], Any], sentence: str) -> None:
    x = minidl.ones(3, 4, requires_grad=True)
    with pytest.raises((RuntimeError, ValueError, TypeError), match=sentence):
        write(x)
