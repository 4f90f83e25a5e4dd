"""The tape and the Tensor: what reverse mode promises beside the right numbers."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import autograd

draw = np.random.default_rng(3).normal


def leaf(*shape: int, value: float | None = None) -> minidl.Tensor:
    array = draw(size=shape) if value is None else np.full(shape, value)
    return minidl.tensor(array, dtype=minidl.float64, requires_grad=True)


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# ------------------------------------------------------------------------------------------------ gradients


def test_leaf_gradients_accumulate_over_uses_and_over_backward_calls() -> None:
    x = leaf(value=3.0)
    (x * x + x).backward()  # 2 x + 1
    assert x.grad is not None and x.grad.item() == 7.0
    (2 * x).backward()
    assert x.grad.item() == 9.0
    x.grad = None
    (5 * x).backward()
    assert x.grad.item() == 5.0


def test_backward_needs_a_scalar_or_a_gradient_of_the_right_shape() -> None:
    x = leaf(3)
    with pytest.raises(RuntimeError, match=r"(?i)backward.*(scalar|one element|\(3,\))"):
        (x * 2).backward()
    with pytest.raises((RuntimeError, ValueError), match=r"backward"):
        (x * 2).backward(minidl.ones(4, dtype=minidl.float64))
    (x * 2).backward(minidl.tensor([1.0, 10.0, 100.0], dtype=minidl.float64))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.array, [2, 20, 200])


def test_backward_on_a_tensor_without_history_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"backward.*requires_grad"):
        minidl.tensor(1.0).backward()


def test_gradients_keep_shape_and_dtype_of_their_inputs_under_broadcasting_and_promotion() -> None:
    a = minidl.ones(3, 1, requires_grad=True)
    b = leaf(2, 1, 4)
    (a * b).sum().backward()
    assert a.grad is not None and b.grad is not None
    assert a.grad.shape == (3, 1) and a.grad.dtype == minidl.float32
    assert b.grad.shape == (2, 1, 4) and b.grad.dtype == minidl.float64
    np.testing.assert_allclose(a.grad.array[0], b.array.sum(), rtol=1e-6)


def test_only_leaves_and_retained_tensors_keep_a_gradient() -> None:
    x = leaf(2)
    y = x * 2
    z = y * 3
    z.retain_grad()
    z.sum().backward()
    assert y.grad is None and z.grad is not None and x.grad is not None
    np.testing.assert_array_equal(z.grad.array, [1, 1])


def test_hooks_see_and_may_replace_the_gradient() -> None:
    x = leaf(2)
    seen = []
    y = x * 2
    handle = y.register_hook(lambda G: seen.append(G.numpy().copy()) or G * 10)
    y.sum().backward(retain_graph=True)
    assert x.grad is not None
    np.testing.assert_array_equal(seen, [[1, 1]])
    np.testing.assert_array_equal(x.grad.array, [20, 20])
    handle.remove()
    x.grad = None
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.array, [2, 2])  # type: ignore[union-attr]


def test_integer_tensors_cannot_require_gradients() -> None:
    with pytest.raises(RuntimeError, match="float"):
        minidl.tensor([1, 2], requires_grad=True)


def test_autograd_grad_leaves_grad_alone_and_reports_unused_inputs() -> None:
    x, y, unused = leaf(3), leaf(3), leaf(3)
    loss = (x * y).sum()
    gx, gy = autograd.grad(loss, (x, y), retain_graph=True)
    np.testing.assert_array_equal(gx.array, y.array)
    np.testing.assert_array_equal(gy.array, x.array)
    assert x.grad is None and not gx.requires_grad
    with pytest.raises(RuntimeError, match="allow_unused"):
        autograd.grad(loss, (x, unused), retain_graph=True)
    assert autograd.grad(loss, (unused,), allow_unused=True) == (None,)


def test_autograd_grad_reaches_tensors_in_the_middle() -> None:
    x = leaf(3)
    y = x * x
    (gy,) = autograd.grad((y * y).sum(), (y,))
    np.testing.assert_allclose(gy.array, 2 * y.array)


def test_gradients_of_gradients() -> None:
    x = leaf(value=2.0)
    (first,) = autograd.grad(x**4, (x,), create_graph=True)
    (second,) = autograd.grad(first, (x,), create_graph=True)
    (third,) = autograd.grad(second, (x,), create_graph=True)
    assert [first.item(), second.item(), third.item()] == [32.0, 48.0, 48.0]
    third.backward()
    assert x.grad is not None and x.grad.item() == 24.0


def test_a_gradient_penalty_trains_through_backward_with_create_graph() -> None:
    x, w = leaf(4), leaf(4)
    y = (w * x * x).sum()
    y.backward(create_graph=True)
    assert x.grad is not None
    penalty = (x.grad**2).sum()  # Σ (2 w x)²
    (gw,) = autograd.grad(penalty, (w,))
    np.testing.assert_allclose(gw.array, 8 * w.array * x.array**2)


def test_a_hessian_vector_product() -> None:
    A = draw(size=(3, 3))
    x, v = leaf(3), minidl.tensor(draw(size=3), dtype=minidl.float64)
    quadratic = (x @ minidl.tensor(A, dtype=minidl.float64) @ x) / 2
    (g,) = autograd.grad(quadratic, (x,), create_graph=True)
    (hv,) = autograd.grad((g * v).sum(), (x,))
    np.testing.assert_allclose(hv.array, (A + A.T) / 2 @ v.array)


def test_the_gradient_flows_into_every_part_of_an_indexing_and_of_a_concatenation() -> None:
    x = leaf(4)
    minidl.cat([x[:2] * 2, x[1:] * 3]).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.array, [2, 5, 3, 3])


# ------------------------------------------------------------------------------------------------ gradient mode


def test_no_grad_records_nothing_and_is_restored_after_an_error() -> None:
    x = leaf(2)
    with minidl.no_grad():
        assert not minidl.is_grad_enabled() and not (x * 2).requires_grad
        with minidl.enable_grad():
            assert (x * 2).requires_grad
    with pytest.raises(KeyError), minidl.no_grad():
        raise KeyError
    assert minidl.is_grad_enabled()

    @minidl.no_grad()
    def double(t: minidl.Tensor) -> minidl.Tensor:
        return t * 2

    assert not double(x).requires_grad and (x * 2).requires_grad
    with minidl.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    with minidl.inference_mode():
        assert not (x * 2).requires_grad


@pytest.mark.parametrize("mode", [minidl.no_grad, minidl.inference_mode])
def test_a_mode_decorates_with_and_without_parentheses(mode: Any) -> None:
    x = leaf(2)

    def double(t: minidl.Tensor) -> minidl.Tensor:
        return t * 2

    for decorated in (mode(double), mode()(double)):
        assert not decorated(x).requires_grad and decorated.__name__ == "double" and minidl.is_grad_enabled()
    with minidl.no_grad():
        assert minidl.enable_grad(double)(x).requires_grad and not minidl.is_grad_enabled()
        with minidl.inference_mode(mode=False):
            assert double(x).requires_grad
        with minidl.inference_mode(False), minidl.inference_mode(True):
            assert not double(x).requires_grad


def test_grad_takes_pytorchs_options_or_refuses_them() -> None:
    x = leaf(2)
    y = (x * x).sum()
    (g,) = autograd.grad(y, x, None, True, False, True, None, False)
    assert g is not None
    np.testing.assert_array_equal(g.array, 2 * x.array)
    with pytest.raises(ValueError, match="grad: is_grads_batched=True is not supported"):
        autograd.grad(y, x, is_grads_batched=True)
    with pytest.raises(ValueError, match="grad: only_inputs=False is not supported"):
        autograd.grad(y, x, only_inputs=False)


def test_detach_cuts_the_history_and_shares_the_memory() -> None:
    x = leaf(2)
    y = (x * 2).detach()
    assert not y.requires_grad and y.grad is None
    assert np.shares_memory(x.array, x.array)
    loss = (x * x.detach()).sum()
    loss.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.array, x.array)


def test_numpy_of_a_recorded_tensor_asks_for_detach() -> None:
    x = leaf(2)
    with pytest.raises(RuntimeError, match="detach"):
        (x * 2).numpy()


def test_each_thread_has_its_own_gradient_mode() -> None:
    recorded: dict[str, bool] = {}
    entered, done = threading.Event(), threading.Event()

    def without() -> None:
        with minidl.no_grad():
            entered.set()
            done.wait(10)
            recorded["without"] = (leaf(1) * 2).requires_grad

    thread = threading.Thread(target=without)
    thread.start()
    entered.wait(10)
    recorded["main"] = minidl.is_grad_enabled() and (leaf(1) * 2).requires_grad
    done.set()
    thread.join()
    assert recorded == {"main": True, "without": False}


def test_threads_build_and_walk_their_own_graphs() -> None:
    results: list[float] = []

    def work(factor: float) -> None:
        for _ in range(50):
            x = leaf(value=1.0)
            y = x
            for _ in range(20):
                y = y * factor
            y.backward()
            results.append(abs(x.grad.item() / factor**20 - 1))  # type: ignore[union-attr]

    threads = [threading.Thread(target=work, args=(1 + i / 10,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200 and max(results) < 1e-12


# ------------------------------------------------------------------------------------------------ the graph's life


def test_a_freed_graph_says_what_to_do() -> None:
    x = leaf(2)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"freed.*retain_graph=True"):
        loss.backward()
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()  # the second time is the one that frees


def test_a_part_of_the_graph_that_was_freed_says_what_to_do() -> None:
    x = leaf(2)
    shared = x * x
    (shared * 2).sum().backward()
    with pytest.raises(RuntimeError, match=r"freed.*retain_graph=True"):
        (shared * 3).sum().backward()


def test_a_chain_of_100_000_operations_is_built_walked_and_deleted() -> None:
    x = leaf(value=1.0)
    y = x
    for _ in range(100_000):
        y = y + 1e-5
    y.backward()
    assert x.grad is not None and x.grad.item() == 1.0 and abs(y.item() - 2) < 1e-6
    y = x
    for _ in range(100_000):
        y = y * 1.0
    del y  # never walked: its deletion must not recurse either


def test_a_chain_of_100_000_operations_can_be_walked_for_second_derivatives() -> None:
    x = leaf(value=1.0)
    y = x * x
    for _ in range(20_000):
        y = y + 0.0
    (first,) = autograd.grad(y, (x,), create_graph=True)
    (second,) = autograd.grad(first, (x,))
    assert first.item() == 2.0 and second.item() == 2.0


def a_step() -> float:
    x, w, b = leaf(8, 5), leaf(5, 3), leaf(3)
    h = (x @ w + b).relu()
    p = h.softmax(1).log() * minidl.sigmoid(h).exp()
    loss = minidl.cat([p, h.tanh()], 1).reshape(-1)[3:].var() + h.max() + h.amax(1).sum()
    loss.backward()
    (g,) = autograd.grad((x.exp() * x).sum(), (x,), create_graph=True)
    g.sum().backward()
    return loss.item()


def test_a_step_leaves_no_reference_cycle(no_garbage_collector: None) -> None:
    a_step()
    gc.collect()
    for _ in range(3):
        a_step()
    assert gc.collect() == 0


def test_a_step_leaves_no_memory_behind(no_garbage_collector: None) -> None:
    for _ in range(2000):  # Python's own lists of free tuples (2,000 of each length) fill up first
        a_step()
    before = sys.getallocatedblocks()
    for _ in range(100):
        a_step()
    assert sys.getallocatedblocks() - before < 100  # less than one object a step


def test_values_die_with_their_last_name_and_with_the_graph(no_garbage_collector: None) -> None:
    x = leaf(4)
    y = x * 2  # no derivative needs y: only the name keeps it
    z = y + 1
    array = weakref.ref(y.array)
    del y
    assert array() is None
    kept = z.exp()  # its derivative needs the result
    array = weakref.ref(kept.array)
    loss = kept.sum()
    del kept
    assert array() is not None
    loss.backward()
    assert array() is None  # the walk freed it
    loss = z.exp().sum()
    node = weakref.ref(loss.node)
    del loss
    assert node() is None


def test_additions_keep_no_intermediate_values() -> None:
    with minidl.backend("reference"):
        x = minidl.ones(100_000, dtype=minidl.float64, requires_grad=True)
        tracemalloc.start()
        try:
            y = x
            for _ in range(50):
                y = y + x
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 3 * x.array.nbytes  # 50 of them would be kept by a tape that holds tensors
    assert y.requires_grad


# ------------------------------------------------------------------------------------------------ in place


def test_changing_a_tensor_in_place_after_it_was_used_raises() -> None:
    x = leaf(3)
    w = minidl.tensor([1.0, 2.0, 3.0], dtype=minidl.float64)
    loss = (x * w).sum()
    w.mul_(2)
    with pytest.raises(RuntimeError, match=r"mul.*in place"):
        loss.backward()


def test_changing_a_result_that_its_own_derivative_needs_raises() -> None:
    y = leaf(3).exp()
    loss = y.sum()
    with minidl.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match=r"exp.*in place"):
        loss.backward()


@pytest.mark.parametrize("write", ["view", "detached", "base", "item"])
def test_views_share_their_bases_stamp(write: str) -> None:
    x = leaf(4)
    w = minidl.ones(4, dtype=minidl.float64)
    part, cut = w[1:3], w.detach()
    used = part if write == "base" else w
    loss = (x[: len(used)] * used).sum()
    if write == "view":
        part.fill_(5)
    elif write == "detached":
        cut.add_(1)
    elif write == "base":
        w.zero_()
    else:
        w[0] = 7.0
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()


def test_changing_what_no_derivative_needs_is_allowed() -> None:
    x = leaf(3)
    w = minidl.ones(3, dtype=minidl.float64)
    loss = (x + w).sum()
    w.mul_(2)
    loss.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.array, [1, 1, 1])


def test_changing_before_the_use_is_allowed() -> None:
    x = leaf(3)
    w = minidl.ones(3, dtype=minidl.float64)
    w.mul_(2)
    (x * w).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.array, [2, 2, 2])


def test_an_operation_in_place_on_a_recorded_tensor_is_differentiated() -> None:
    x = leaf(3)
    y = x * 1
    y.mul_(3)
    y += x
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.array, [4, 4, 4])


def test_a_leaf_that_requires_gradients_is_changed_only_under_no_grad() -> None:
    x = leaf(3)
    with pytest.raises(RuntimeError, match=r"no_grad"):
        x.add_(1)
    before = x.array.copy()
    with minidl.no_grad():
        x.add_(1)
    np.testing.assert_allclose(x.array, before + 1)
    assert x.requires_grad


def test_assignment_reaches_the_gradient_or_is_refused() -> None:
    x, value = leaf(4), leaf(2)
    y = x * 1
    y[1:3] = value
    (y * y).sum().backward()
    assert x.grad is not None and value.grad is not None
    expected = 2 * x.array
    expected[1:3] = 0
    np.testing.assert_allclose(x.grad.array, expected)
    np.testing.assert_allclose(value.grad.array, 2 * value.array)


def test_writing_through_a_view_of_a_recorded_tensor_is_never_silently_wrong() -> None:
    x = leaf(4)
    y = x * 1
    try:
        y[1:3].mul_(10)
    except RuntimeError as error:
        assert "view" in str(error)
        return
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.array, [1, 10, 10, 1])


# ------------------------------------------------------------------------------------------------ Function, gradcheck


class Cube(autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.scale = scale
        return scale * x * x * x

    @staticmethod
    def backward(ctx, G):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return 3 * ctx.scale * x * x * G, None


class WrongCube(Cube):
    @staticmethod
    def backward(ctx, G):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return 2 * ctx.scale * x * x * G, None


def test_a_function_of_a_students_own() -> None:
    x = leaf(4)
    Cube.apply(x, 2.0).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.array, 6 * x.array**2)
    (g,) = autograd.grad(Cube.apply(x, 2.0).sum(), (x,), create_graph=True)
    (h,) = autograd.grad(g.sum(), (x,))
    np.testing.assert_allclose(h.array, 12 * x.array)


def test_gradcheck_passes_right_gradients_and_names_wrong_ones() -> None:
    x, y = leaf(2, 3), leaf(3)
    assert autograd.gradcheck(lambda a, b: (a * b).tanh().sum(1), (x, y))
    assert autograd.gradcheck(lambda a: Cube.apply(a, 2.0), (x,))
    with pytest.raises(RuntimeError, match=r"(?s)gradcheck.*input 0"):
        autograd.gradcheck(lambda a: WrongCube.apply(a, 2.0), (x,))
    assert not autograd.gradcheck(lambda a: WrongCube.apply(a, 2.0), (x,), raise_exception=False)


def test_gradcheck_wants_float64() -> None:
    x = minidl.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="float64"):
        autograd.gradcheck(lambda a: a * 2, (x,))


# ------------------------------------------------------------------------------------------------ anomalies


def test_detect_anomaly_names_the_operation_forward() -> None:
    x = minidl.tensor([1.0, -1.0], requires_grad=True)
    with autograd.detect_anomaly(), pytest.raises(FloatingPointError, match=r"log.*NaN"):
        x.log().sum()
    assert not np.isfinite(x.detach().log().numpy()).all()  # outside nothing is said


def test_detect_anomaly_names_the_operation_backward() -> None:
    x = minidl.tensor([0.0, 1.0], requires_grad=True)
    with autograd.detect_anomaly(), pytest.raises(FloatingPointError, match=r"(?i)sqrt.*(inf|nan)"):
        x.sqrt().sum().backward()


def test_detect_anomaly_names_the_module() -> None:
    from minidl import nn

    class Logarithm(nn.Module):
        def forward(self, x: minidl.Tensor) -> minidl.Tensor:
            return x.log()

    class Root(nn.Module):
        def forward(self, x: minidl.Tensor) -> minidl.Tensor:
            return x.sqrt()

    x = minidl.tensor([[0.0, -1.0]], requires_grad=True)
    with autograd.detect_anomaly(), pytest.raises(FloatingPointError, match=r"log.*Sequential\.1"):
        nn.Sequential(nn.Identity(), Logarithm())(x)
    x = minidl.tensor([[0.0, 1.0]], requires_grad=True)
    with autograd.detect_anomaly(), pytest.raises(FloatingPointError, match=r"sqrt.*Sequential\.1"):
        nn.Sequential(nn.Identity(), Root())(x).sum().backward()


# ------------------------------------------------------------------------------------------------ repr


def test_repr_shows_values_shape_dtype_and_what_made_it() -> None:
    x = minidl.tensor([[1.0, 2.0], [3.0, 4.5]], requires_grad=True)
    assert "4.5" in repr(x) and "requires_grad=True" in repr(x) and "(2, 2)" in repr(x) and "float32" in repr(x)
    made = repr(x * 2)
    assert "mul" in made and "9" in made
    assert "exp" in repr(x.exp()) and "int64" in repr(minidl.tensor([1, 2]))
    large = repr(minidl.zeros(1000, 1000))
    assert "..." in large and len(large) < 2000 and "(1000, 1000)" in large
