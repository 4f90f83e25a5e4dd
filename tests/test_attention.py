"""Attention: the kernels against the NumPy reference, operation and layer against PyTorch, derivatives by slopes."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl import autograd
from minidl.kernels import native, reference

HERE = Path(__file__).parent  # for children: the checkout's root has a minidl folder that is not the installed one
DTYPES = [np.float32, np.float64]
Array = np.ndarray
needs_kernels = pytest.mark.skipif(not native.available, reason="no compiled kernels in this installation")
attention = F.scaled_dot_product_attention


def numbers(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def alone(verb: str, *arguments: Any) -> tuple[Array, ...]:
    """The compiled verb without a reference behind it: what it does not take itself fails the test."""
    from minidl import _native

    def refused(*args: Any) -> None:
        raise AssertionError(f"{verb} went to the reference")

    return _native.verbs({**vars(reference), verb: refused})[verb](*arguments)


def near(got: Array, wanted: Array, dtype: Any, label: object) -> None:
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), label
    tolerance = 2e-5 if dtype == np.float32 else 2e-13
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance, err_msg=str(label))


def check(q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float, g: Array) -> None:
    """Value, log-sum-exp and gradients are the reference's."""
    label = (q.dtype.name, q.shape, k.shape, v.shape, None if mask is None else (mask.shape, mask.dtype.name), causal)
    y, lse = reference.attention(q, k, v, mask, causal, scale)
    for got, wanted in zip(alone("attention", q, k, v, mask, causal, scale), (y, lse), strict=True):
        near(got, wanted, q.dtype, label)
    wanted_all = reference.attention_gradient(g, q, k, v, y, lse, mask, causal, scale)
    got_all = alone("attention_gradient", g, q, k, v, y, lse, mask, causal, scale)
    for name, got, wanted in zip(("gq", "gk", "gv"), got_all, wanted_all, strict=True):
        near(got, wanted, q.dtype, (name, *label))


# L, S, E, Ev
SIZES = [
    *[(1, 1, 1, 1), (1, 5, 7, 7), (5, 1, 64, 3), (2, 3, 1, 72), (64, 64, 32, 32), (65, 33, 72, 72), (100, 200, 16, 40)],
    *[(200, 100, 9, 65), (33, 300, 64, 64), (3, 0, 4, 4), (0, 4, 3, 3), (4, 5, 0, 2), (4, 4, 3, 0), (129, 129, 8, 8)],
]


def masks(batch: tuple[int, ...], L: int, S: int, dtype: Any) -> Iterator[Array | None]:
    random = np.random.default_rng(7)
    yield None
    yield random.random((L, S)) < 0.6
    yield random.random((*batch, 1, S)) < 0.5  # padding; where few keys are left, rows with nothing to attend to
    yield numbers(*(1 for _ in batch), L, S, dtype=dtype)
    yield np.where(random.random((*batch, L, 1)) < 0.5, -np.inf, numbers(*batch, L, S, dtype=dtype)).astype(dtype)
    yield np.asarray(True)


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("L, S, E, Ev", SIZES)
def test_kernels(L: int, S: int, E: int, Ev: int, dtype: Any) -> None:
    for batch in [(), (2, 3), (17,), (0, 2)] if L * S < 5000 else [(), (1, 2)]:
        q, k = numbers(*batch, L, E, dtype=dtype), numbers(*batch, S, E, dtype=dtype, seed=1)
        v, g = numbers(*batch, S, Ev, dtype=dtype, seed=2), numbers(*batch, L, Ev, dtype=dtype, seed=3)
        for mask, causal in itertools.product(masks(batch, L, S, dtype), (False, True)):
            check(q, k, v, mask, causal, 0.4, g)


def layouts(x: Array) -> Iterator[Array]:
    """x (B, H, L, E) in other memory layouts."""
    yield np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2)  # (B, L, H, E), as heads usually lie
    yield np.ascontiguousarray(x.T).T
    yield np.ascontiguousarray(x[:, :, ::-1, ::-1])[:, :, ::-1, ::-1]
    yield np.broadcast_to(x[:, :1, :, :1], x.shape)
    spread = np.full((*x.shape[:2], 2 * x.shape[2], 3 * x.shape[3]), np.nan, x.dtype)
    spread[..., ::2, 1::3] = x
    yield spread[..., ::2, 1::3]


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(dtype: Any) -> None:
    B, H, L, S, E, Ev = 2, 3, 70, 99, 35, 40
    mask = numbers(B, H, L, S, dtype=dtype, seed=4)
    every = zip(
        layouts(numbers(B, H, L, E, dtype=dtype)),
        [*layouts(numbers(B, H, S, E, dtype=dtype, seed=1))][::-1],
        [*layouts(numbers(B, H, S, Ev, dtype=dtype, seed=2))][1:] + [numbers(B, H, S, Ev, dtype=dtype)],
        [*layouts(numbers(B, H, L, Ev, dtype=dtype, seed=3))][2:] + [*layouts(numbers(B, H, L, Ev, dtype=dtype))][:2],
        [mask, *layouts(mask)][:5],
        strict=True,
    )
    for q, k, v, g, m in every:
        check(q, k, v, m, False, 0.2, g)
        check(q, k, v, m > 0, True, 0.2, g)


@needs_kernels
def test_results_lie_as_the_heads_do() -> None:
    """(B, T, H, E) seen as (B, H, T, E): what comes back is (B, T, H, E) in memory, too."""
    q, k, v = (numbers(2, 5, 3, 4, seed=i).swapaxes(1, 2) for i in range(3))
    y, lse = native.attention(q, k, v, None, True, 0.5)
    assert y.swapaxes(1, 2).flags.c_contiguous
    for each in native.attention_gradient(y, q, k, v, y, lse, None, True, 0.5):
        assert each.swapaxes(1, 2).flags.c_contiguous
    plain = native.attention(*map(np.ascontiguousarray, (q, k, v)), None, True, 0.5)[0]
    assert plain.flags.c_contiguous
    np.testing.assert_array_equal(plain, y)


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_go_through_as_in_the_reference(value: float, dtype: Any) -> None:
    L = 150
    for place, (which, causal) in itertools.product((0, 40, L - 1), itertools.product(range(4), (False, True))):
        arrays = [numbers(2, L, 20, dtype=dtype, seed=i) for i in range(4)]
        y, lse = reference.attention(*arrays[:3], None, causal, 0.3)
        arrays[which][1, place, 3] = value
        q, k, v, g = arrays
        if which < 3:
            y, lse = reference.attention(q, k, v, None, causal, 0.3)
            for got, wanted in zip(native.attention(q, k, v, None, causal, 0.3), (y, lse), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
        wanted = reference.attention_gradient(g, q, k, v, y, lse, None, causal, 0.3)
        for got, right in zip(native.attention_gradient(g, q, k, v, y, lse, None, causal, 0.3), wanted, strict=True):
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(right))
            fine = np.isfinite(right)
            np.testing.assert_allclose(got[fine], right[fine], rtol=1e-4, atol=1e-4)


@needs_kernels
def test_large_scores_do_not_overflow() -> None:
    q, k, v = (100 * numbers(3, 40, 16, dtype=np.float32, seed=i) for i in range(3))
    exact = reference.attention(*(x.astype(float) for x in (q, k, v)), None, True, 1.0)
    for got, wanted in zip(native.attention(q, k, v, None, True, 1.0), exact, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=0.3)  # of scores near 1e5, float32 keeps 0.01


def workload() -> list[bytes]:
    found: list[Array] = []
    for dtype, (heads, L, S) in itertools.product(DTYPES, [(20, 70, 70), (1, 300, 700), (3, 33, 1)]):
        q, k = numbers(heads, L, 24, dtype=dtype), numbers(heads, S, 24, dtype=dtype, seed=1)
        v, g = numbers(heads, S, 20, dtype=dtype, seed=2), numbers(heads, L, 20, dtype=dtype, seed=3)
        for mask, causal in [(None, True), (numbers(L, S, dtype=dtype) > 0, False)]:
            y, lse = native.attention(q, k, v, mask, causal, 0.3)
            found += [y, lse, *native.attention_gradient(g, q, k, v, y, lse, mask, causal, 0.3)]
    return [each.tobytes() for each in found]


@needs_kernels
def test_any_number_of_threads_gives_the_same_bits() -> None:
    before = native.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 8):
            native.set_num_threads(threads)
            results.append(workload())
        assert all(each == results[0] for each in results)
    finally:
        native.set_num_threads(before)


@needs_kernels
@pytest.mark.timeout(900)
@pytest.mark.skipif("MINIDL_ISA" in os.environ, reason="this process chose its own instruction set")
def test_other_instruction_sets() -> None:
    """The tests of the kernels once more, on each instruction set that this machine has."""
    of_kernels = "test_kernels or layouts or nan or large or threads"
    from minidl import _native

    for level in set(_native.levels()) - {_native.get_level()}:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", of_kernels]
        environment = {**os.environ, "MINIDL_ISA": level}
        run = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]


@needs_kernels
def test_what_the_kernels_do_not_take_goes_to_the_reference() -> None:
    q = numbers(3, 4, 5)
    half = native.attention(*3 * [q.astype(np.float16)], None, False, 0.4)[0]
    np.testing.assert_allclose(half, native.attention(q, q, q, None, False, 0.4)[0], rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError):
        native.attention(q, q[:, :, :4], q, None, False, 0.4)
    with pytest.raises(ValueError):
        native.attention(q, q, q, np.ones((2, 4), bool), False, 0.4)


# -------------------------------------------------------------------------------------------- the operation


def leaves(*shapes: tuple[int, ...]) -> list[minidl.Tensor]:
    return [minidl.tensor(numbers(*shape, seed=i), requires_grad=True) for i, shape in enumerate(shapes)]


MASKED: list[dict[str, Any]] = [
    {},
    {"is_causal": True},
    {"scale": -0.3},
    {"attn_mask": minidl.tensor(numbers(5, 6) > 0.3)},
    {"attn_mask": minidl.tensor(np.arange(6) < 4)},
    {"attn_mask": minidl.tensor([[True] * 6, [False] * 6] + 3 * [[True] * 6])},  # the second query attends to nothing
    {"attn_mask": minidl.tensor(numbers(2, 1, 5, 6))},
]


@pytest.mark.parametrize("options", MASKED, ids=lambda o: ",".join(o) or "plain")
def test_first_and_second_derivatives(options: dict[str, Any]) -> None:
    q, k, v = leaves((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 2))
    assert autograd.gradcheck(lambda q, k, v: attention(q, k, v, **options), (q, k, v))
    assert autograd.gradgradcheck(lambda q, k, v: attention(q, k, v, **options), (q, k, v))


def test_a_mask_may_require_a_gradient() -> None:
    q, k, v, mask = leaves((2, 5, 4), (2, 6, 4), (2, 6, 2), (5, 6))
    assert autograd.gradcheck(attention, (q, k, v, mask))
    loss = attention(q, k, v, mask).sum()
    np.testing.assert_allclose(loss.item(), attention(q, k, v, mask.detach()).sum().item(), rtol=1e-12)


def test_what_attends_to_nothing_is_0_and_pulls_nothing() -> None:
    q, k, v = leaves((3, 4), (3, 4), (3, 4))
    for mask in (np.array([[True] * 3, [False] * 3, [True] * 3]), np.array([[0.0], [-np.inf], [0.0]])):
        y = attention(q, k, v, minidl.tensor(mask))
        gq, gk, gv = autograd.grad(y.sum(), (q, k, v))
        assert (y.detach().numpy()[1] == 0).all() and (gq.numpy()[1] == 0).all()
        assert all(np.isfinite(g.numpy()).all() for g in (gq, gk, gv))
    assert (attention(q, k[:0], v[:0]).detach().numpy() == 0).all()


def test_dropout() -> None:
    """Each weight is dropped or grows by 1 / (1 - p): with the identity as value, the weights themselves come out."""
    q, k, v = (minidl.tensor(numbers(4, 50, 8, seed=i)) for i in range(3))
    eye = minidl.eye(50, dtype=minidl.float64).expand(4, 50, 50)
    whole, dropped = attention(q, k, eye).numpy(), attention(q, k, eye, dropout_p=0.25).numpy()
    kept = dropped != 0
    assert 0.7 < kept.mean() < 0.8
    np.testing.assert_allclose(dropped[kept], whole[kept] / 0.75, rtol=1e-10)
    assert (attention(q, k, v, dropout_p=1.0).numpy() == 0).all()
    minidl.manual_seed(3)
    first = attention(q, k, v, dropout_p=0.5).numpy()
    minidl.manual_seed(3)
    np.testing.assert_array_equal(attention(q, k, v, dropout_p=0.5).numpy(), first)


@pytest.mark.parametrize("function", [lambda q: attention(q, q, q), lambda q: minidl.softmax(q, -1)])
def test_a_change_of_the_result_in_place_is_noticed(function: Any) -> None:
    (q,) = leaves((3, 4))
    y = function(q)
    y.mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize(
    "arguments, options, error, message",
    [
        (((3, 4), (5, 6), (5, 4)), {}, ValueError, "the last sizes of query and key, 4 and 6, differ"),
        (((3, 4), (5, 4), (6, 4)), {}, ValueError, "there are 5 keys but 6 values"),
        (((4,), (5, 4), (5, 4)), {}, ValueError, "needs at least 2 dimensions"),
        (((2, 3, 4), (3, 3, 4), (3, 4)), {}, ValueError, "do not broadcast"),
        (((3, 4), (3, 4), (3, 4)), {"attn_mask": minidl.ones(3, 3), "is_causal": True}, ValueError, "one of them"),
        (((3, 4), (3, 4), (3, 4)), {"attn_mask": minidl.ones(2, 3)}, ValueError, r"\(2, 3\), which does not broadcast"),
        (((3, 4), (3, 4), (3, 4)), {"attn_mask": minidl.ones(2, 3, 3)}, ValueError, "does not broadcast"),
        (((3, 4), (3, 4), (3, 4)), {"attn_mask": minidl.ones(3, 3).long()}, TypeError, "expected bool or float64"),
        (((3, 4), (3, 4), (3, 4)), {"dropout_p": 1.5}, ValueError, "probability from 0 to 1, got 1.5"),
        (((3, 4), (3, 4), (3, 4)), {"enable_gqa": True}, ValueError, "enable_gqa is not supported"),
    ],
)  # fmt: skip
def test_errors(arguments: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^scaled_dot_product_attention: .*{message}"):
        attention(*leaves(*arguments), **options)


def test_dtypes_must_agree() -> None:
    x = minidl.ones(3, 4)
    for arguments in [(x.long(), x.long(), x.long()), (x, x.double(), x), (x, x, x.double())]:
        with pytest.raises(TypeError, match="expected one floating-point dtype"):
            attention(*arguments)


@pytest.mark.peers
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("L, S, E, Ev", [size for size in SIZES if size[0] and size[2]])
def test_as_pytorch(L: int, S: int, E: int, Ev: int, dtype: Any) -> None:
    """Values and gradients, all kinds of masks, heads as transposed views."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    shapes = [(2, L, 3, E), (2, S, 3, E), (2, S, 3, Ev)]
    arrays = [numbers(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes)]
    g = numbers(2, 3, L, Ev, dtype=dtype)
    for mask, causal in [(None, True), *((m, False) for m in masks((2, 3), L, S, dtype))]:
        ours = [minidl.tensor(a, requires_grad=True) for a in arrays]
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
        m, n = (None, None) if mask is None else (minidl.tensor(mask), torch.tensor(mask))
        if mask is not None and mask.ndim < 2:
            n = n.expand(L, S)
        y = attention(*(x.transpose(1, 2) for x in ours), m, is_causal=causal)
        z = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in theirs), n, is_causal=causal)
        near(y.detach().numpy(), z.detach().numpy(), dtype, (L, S, E, Ev, causal))
        y.backward(minidl.tensor(g))
        z.backward(torch.tensor(g))
        for a, b in zip(ours, theirs, strict=True):
            near(a.grad.numpy(), b.grad.numpy(), dtype, (L, S, E, Ev, causal))  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------ the layer

N, L, S, HEADS, WIDTH = 3, 5, 6, 2, 8
BARRED = numbers(L, S) > 0.5
PADDING = np.arange(S) >= np.array([[6], [4], [2]])
LAYERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"bias": False}, {"attn_mask": BARRED}),
    ({}, {"key_padding_mask": PADDING, "average_attn_weights": False}),
    ({}, {"key_padding_mask": PADDING, "attn_mask": np.arange(S) > np.arange(1, L + 1)[:, None]}),
    ({}, {"attn_mask": numbers(N * HEADS, L, S)}),
    ({}, {"attn_mask": np.triu(np.ones((L, S), bool), 1), "is_causal": True}),
    ({}, {"attn_mask": numbers(L, S), "key_padding_mask": np.where(PADDING, -np.inf, 0.0)}),
    ({"add_bias_kv": True}, {}),
    ({"add_zero_attn": True, "bias": False}, {"key_padding_mask": PADDING}),
    (
        {"add_bias_kv": True, "add_zero_attn": True},
        {"attn_mask": numbers(N * HEADS, L, S), "key_padding_mask": np.where(PADDING, -np.inf, 0.0)},
    ),
    ({"add_zero_attn": True}, {"attn_mask": np.triu(np.ones((L, S), bool), 1)}),
    ({"kdim": 7, "vdim": 9}, {}),
    ({"kdim": 7, "add_bias_kv": True, "bias": False}, {"attn_mask": BARRED}),
]


@pytest.mark.peers
@pytest.mark.parametrize("batch", ["first", "second", "none"])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("made, called", LAYERS, ids=lambda o: ",".join(o) or "plain")
def test_layer_as_pytorch(made: dict[str, Any], called: dict[str, Any], weights: bool, batch: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    ours = minidl.nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch == "first", **made).double()
    theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch == "first", **made).double()
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizable", "")
    assert [(k, tuple(x.shape)) for k, x in ours.state_dict().items()] == [
        (k, tuple(x.shape)) for k, x in theirs.state_dict().items()
    ]
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    ours.load_state_dict(theirs.state_dict())
    widths = WIDTH, made.get("kdim", WIDTH), made.get("vdim", WIDTH)
    arrays = [numbers(N, n, e, seed=i) for i, (n, e) in enumerate(zip((L, S, S), widths, strict=True))]
    masks = {k: a for k, a in called.items() if isinstance(a, np.ndarray)}
    if batch == "second":
        arrays = [a.swapaxes(0, 1) for a in arrays]
    elif batch == "none":
        arrays = [a[1] for a in arrays]
        masks = {k: a[1] if k == "key_padding_mask" else a[:HEADS] if a.ndim == 3 else a for k, a in masks.items()}
    xs = [minidl.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    options = {**called, "need_weights": weights}
    y, w = ours(*xs, **{**options, **{k: minidl.tensor(a) for k, a in masks.items()}})
    z, u = theirs(*ts, **{**options, **{k: torch.tensor(a) for k, a in masks.items()}})
    near(y.detach().numpy(), z.detach().numpy(), np.float64, "y")
    assert (w is None) == (u is None) == (not weights)
    if w is not None:
        near(w.detach().numpy(), u.detach().numpy(), np.float64, "weights")
    g = numbers(*y.shape, seed=5)
    y.backward(minidl.tensor(g))
    z.backward(torch.tensor(g))
    for a, b in zip([*xs, *ours.parameters()], [*ts, *theirs.parameters()], strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11)  # type: ignore[union-attr]


def test_layer() -> None:
    minidl.manual_seed(0)
    layer = minidl.nn.MultiheadAttention(8, 4, dropout=0.5, batch_first=True)
    assert layer.in_proj_weight.array.std() == pytest.approx(math.sqrt(2 / 32), rel=0.2)
    assert not layer.in_proj_bias.array.any() and not layer.out_proj.bias.array.any()
    x = minidl.randn(2, 6, 8)
    layer.requires_grad_(False)
    dropped, _ = layer(x, x, x)
    layer.eval()
    y, w = layer(x, x, x, is_causal=True)
    np.testing.assert_allclose(w.sum(-1).numpy(), 1, rtol=1e-5)
    assert not np.triu(w.numpy(), 1).any() and not np.allclose(dropped.numpy(), y.numpy())
    z, nothing = layer(x, x, x, need_weights=False, is_causal=True)
    assert nothing is None
    np.testing.assert_allclose(y.numpy(), z.numpy(), rtol=1e-4, atol=1e-6)
    whole = minidl.zeros(2, 6) == 0
    np.testing.assert_allclose(layer(x, x, x, whole)[0].numpy(), 0)  # nothing to attend to: out_proj's bias
    for bad, message in [
        (lambda: minidl.nn.MultiheadAttention(8, 3), "embed_dim is 8, num_heads 3"),
        (lambda: minidl.nn.MultiheadAttention(8, 2, 2.0), "dropout is 2.0"),
        (lambda: layer(x[..., :7], x, x), "query has shape"),
        (lambda: layer(x, x, x[:, :5]), "as many values as keys"),
        (lambda: layer(x, x, x, whole[:, :5]), "key_padding_mask has shape"),
        (lambda: layer(x, x, x, attn_mask=whole), "attn_mask has shape"),
    ]:
        with pytest.raises(ValueError, match=f"^MultiheadAttention: .*{message}"):
            bad()
