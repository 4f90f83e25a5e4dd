"""Losses and penalties: values, formulas, gradients, stability, refusals; and PyTorch's values where it is
installed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import minidl
from minidl import losses, nn, penalties
from minidl.autograd import gradcheck
from minidl.nn import functional as F

REGRESSION = [F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss]


def draw(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(size=shape) * scale


@pytest.fixture(params=["reference", "native"])
def backend(request):
    if request.param == "native" and not minidl.kernels.native.compiled:
        pytest.skip("the native kernels were not built here")
    with minidl.backend(request.param):
        yield request.param


def t64(array, grad=False):
    return minidl.tensor(np.asarray(array, dtype=np.float64), requires_grad=grad)


# Values by hand


def test_mse_by_hand():
    assert F.mse_loss(t64([1.0, 2.0]), t64([0.0, 4.0])).item() == 2.5


def test_huber_by_hand():
    got = F.huber_loss(t64([0.5, -3.0]), t64([0.0, 0.0]), reduction="none", delta=2.0)
    assert got.tolist() == [0.125, 2.0 * (3.0 - 1.0)]


def test_smooth_l1_by_hand():
    got = F.smooth_l1_loss(t64([0.5, -3.0]), t64([0.0, 0.0]), reduction="none", beta=2.0)
    assert got.tolist() == [0.0625, 2.0]


def test_cross_entropy_of_equal_logits_is_log_of_the_number_of_classes():
    assert F.cross_entropy(t64(np.zeros((3, 7))), minidl.tensor([0, 3, 6])).item() == pytest.approx(
        math.log(7), rel=1e-14
    )


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    x = t64(draw(4, 5), grad=True)
    y = np.array([0, 4, 2, 2])
    F.cross_entropy(x, minidl.tensor(y)).backward()
    e = np.exp(x.array - x.array.max(1, keepdims=True))
    expected = (e / e.sum(1, keepdims=True) - np.eye(5)[y]) / 4
    np.testing.assert_allclose(x.grad.array, expected, rtol=1e-13, atol=1e-15)


def test_binary_cross_entropy_by_hand():
    assert F.binary_cross_entropy(t64([0.25]), t64([1.0])).item() == pytest.approx(math.log(4), rel=1e-14)


def test_kl_of_a_distribution_with_itself_is_zero():
    p = np.array([[0.0, 0.25, 0.75]])
    with np.errstate(divide="ignore"):
        logp = np.log(np.maximum(p, 1e-300))
    assert F.kl_div(t64(logp), t64(p), reduction="batchmean").item() == pytest.approx(0.0, abs=1e-12)


# Formulas: the docstring's lines against the value and the gradient

FORMULA_CASES = [
    *[(f, (draw(4, 3), draw(4, 3, seed=1)), {"delta": 1.0, "beta": 1.0}, {}) for f in REGRESSION],
    (F.huber_loss, (draw(4, 3), draw(4, 3, seed=1)), {"delta": 0.4}, {}),
    (F.smooth_l1_loss, (draw(4, 3), draw(4, 3, seed=1)), {"beta": 0.3}, {}),
    *[
        (
            F.cross_entropy,
            (draw(5, 4), np.array([0, 3, 1, 2, 1]), w),
            {"ignore_index": ignore, "label_smoothing": eps},
            {},
        )
        for w in (np.ones(4), np.array([1.0, 0.5, 2.0, 3.0]))
        for ignore in (-100, 1)
        for eps in (0.0, 0.3)
    ],
    (
        F.nll_loss,
        (draw(5, 4), np.array([0, 3, 1, 2, 1]), np.array([1.0, 0.5, 2.0, 3.0])),
        {"ignore_index": 1},
        {},
    ),
    (
        F.binary_cross_entropy,
        (np.array([0.1, 0.7, 1.0]), np.array([0.0, 0.4, 1.0]), np.array([1.0, 2.0, 3.0])),
        {},
        {},
    ),
    (
        F.binary_cross_entropy_with_logits,
        (draw(4, 3, scale=3), np.random.default_rng(2).uniform(size=(4, 3)), np.ones(3)),
        {},
        {"pos_weight": np.array([1.0, 2.0, 0.5])},
    ),
    (F.kl_div, (draw(2, 3), np.array([[0.0, 0.2, 0.8], [1.0, 0.0, 0.0]])), {"log_target": False}, {}),
    (F.kl_div, (draw(2, 3), draw(2, 3, seed=1)), {"log_target": True}, {}),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("loss", "arrays", "options", "named"), FORMULA_CASES)
def test_the_docstring_is_what_runs(loss, arrays, options, named, reduction, backend):
    formulas = pytest.importorskip("minidl.explain.evaluator", reason="the formula evaluator is not in this build")
    names = loss.__code__.co_varnames[: loss.__code__.co_argcount]
    known = loss.__code__.co_varnames[: loss.__code__.co_argcount + loss.__code__.co_kwonlyargcount]
    options = {k: v for k, v in options.items() if k in known}
    given = dict(zip(names, arrays, strict=False))
    tensors = {n: minidl.tensor(a, requires_grad=n == "input") for n, a in {**given, **named}.items()}
    y = loss(*[tensors[n] for n in given], **{n: tensors[n] for n in named}, reduction=reduction, **options)
    G = draw(*y.shape, seed=3)
    y.backward(t64(G))
    values = {"WEIGHT": 1.0, **{n.upper(): a for n, a in {**given, **named}.items()}}
    shapes = {"∂L/∂INPUT": arrays[0].shape}
    expected = formulas.evaluate(loss, {**values, **options, "reduction": reduction, "G": G}, shapes)
    np.testing.assert_allclose(y.array, expected["Y"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(tensors["input"].grad.array, expected["∂L/∂INPUT"], rtol=1e-11, atol=1e-14)


# Gradients and second derivatives


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", REGRESSION)
def test_regression_gradients(loss, reduction):
    x, y = t64(draw(3, 2, scale=2), grad=True), t64(draw(3, 2, seed=5), grad=True)
    assert gradcheck(lambda x, y: loss(x, y, reduction=reduction), (x, y))


@pytest.mark.parametrize("eps", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 4, 3), (2, 4, 3, 2)])
def test_cross_entropy_gradients(shape, weighted, eps):
    rng = np.random.default_rng(0)
    target_shape = () if len(shape) == 1 else (shape[0], *shape[2:])
    target = minidl.tensor(rng.integers(0, 4, target_shape))
    weight = t64([1.0, 2.0, 0.5, 0.1]) if weighted else None
    x = t64(rng.normal(size=shape), grad=True)
    assert gradcheck(lambda x: F.cross_entropy(x, target, weight, label_smoothing=eps), (x,))


def test_cross_entropy_second_derivatives():
    """∂²L/∂x² = diag(p) - p pᵀ for one sample, through the fused kernel's composition."""
    x = t64(draw(1, 4), grad=True)
    (g,) = minidl.autograd.grad(F.cross_entropy(x, minidl.tensor([2])), x, create_graph=True)
    rows = [minidl.autograd.grad(g[0, c], x, retain_graph=True)[0].array[0] for c in range(4)]
    p = np.exp(x.array[0]) / np.exp(x.array[0]).sum()
    np.testing.assert_allclose(np.stack(rows), np.diag(p) - np.outer(p, p), rtol=1e-12, atol=1e-15)


def test_fused_and_plain_cross_entropy_agree(backend):
    x, target = t64(draw(6, 4), grad=True), np.array([0, 1, -100, 3, 2, 1])
    weight = t64([1.0, 2.0, 0.5, 0.1])
    for eps in (0.0, 0.4):
        fused = losses._fused_cross_entropy(x, target, weight, -100, eps)
        plain = losses._plain_cross_entropy(x, target, weight, -100, eps)
        np.testing.assert_allclose(fused.array, plain.array, rtol=1e-13)
        G = t64(draw(6, seed=9))
        (a,), (b,) = minidl.autograd.grad(fused, x, G), minidl.autograd.grad(plain, x, G)
        np.testing.assert_allclose(a.array, b.array, rtol=1e-12, atol=1e-15)


def test_cross_entropy_with_a_learned_weight():
    x, w = t64(draw(5, 3), grad=True), t64([1.0, 2.0, 0.5], grad=True)
    target = minidl.tensor([0, 1, 2, 2, 1])
    assert gradcheck(lambda x, w: F.cross_entropy(x, target, w), (x, w))


# Stability


@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64])
def test_cross_entropy_of_huge_logits(dtype, backend):
    x = minidl.tensor([[1e4, 0.0, -1e4]], dtype=dtype, requires_grad=True)
    loss = F.cross_entropy(x, minidl.tensor([1]))
    loss.backward()
    assert loss.item() == 1e4
    assert x.grad.tolist() == [[1.0, -1.0, 0.0]]


@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64])
def test_bce_with_logits_of_huge_logits(dtype):
    x = minidl.tensor([1e4, -1e4, 1e4, -1e4], dtype=dtype, requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, minidl.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype), reduction="none")
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0, 1e4, 1e4]
    assert x.grad.tolist() == [0.0, 0.0, 1.0, -1.0]


def test_bce_at_zero_and_one_is_finite():
    x = minidl.tensor([0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(x, minidl.tensor([1.0, 0.0]), reduction="none")
    assert loss.tolist() == [100.0, 100.0]
    loss.sum().backward()
    assert np.isfinite(x.grad.array).all()


def test_huber_of_an_infinite_error_has_a_finite_gradient():
    x = t64([math.inf, 0.5], grad=True)
    F.huber_loss(x, t64([0.0, 0.0]), reduction="sum").backward()
    assert x.grad.tolist() == [1.0, 0.5]


# Reductions, empty batches, refusals


@pytest.mark.parametrize("loss", REGRESSION)
def test_empty_batch(loss):
    empty = minidl.zeros(0, 3)
    with np.errstate(invalid="ignore"):
        assert math.isnan(loss(empty, empty).item())
    assert loss(empty, empty, reduction="sum").item() == 0.0
    assert tuple(loss(empty, empty, reduction="none").shape) == (0, 3)


def test_empty_classification_batch():
    x, y = minidl.zeros(0, 3), minidl.zeros(0, dtype=minidl.int64)
    assert math.isnan(F.cross_entropy(x, y).item())
    assert F.cross_entropy(x, y, reduction="sum").item() == 0.0


def test_all_ignored_is_nan():
    assert math.isnan(F.cross_entropy(minidl.zeros(2, 3), minidl.tensor([-100, -100])).item())


def test_ignored_positions_get_no_gradient():
    x = t64(draw(3, 4), grad=True)
    F.cross_entropy(x, minidl.tensor([1, -100, 2]), label_smoothing=0.1).backward()
    assert (x.grad.array[1] == 0).all() and (x.grad.array[[0, 2]] != 0).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: F.mse_loss(minidl.zeros(2), minidl.zeros(2), reduction="avg"),
            ValueError,
            "reduction is 'avg'",
        ),
        (lambda: F.huber_loss(minidl.zeros(2), minidl.zeros(2), delta=0), ValueError, "delta is 0"),
        (lambda: F.smooth_l1_loss(minidl.zeros(2), minidl.zeros(2), beta=-1), ValueError, "beta is -1"),
        (
            lambda: F.cross_entropy(minidl.zeros(2, 3), minidl.tensor([0, 3])),
            IndexError,
            "target 3 at 1 .* classes 0 to 2",
        ),
        (lambda: F.cross_entropy(minidl.zeros(2, 3), minidl.tensor([0, -1])), IndexError, "target -1"),
        (
            lambda: F.cross_entropy(minidl.zeros(2, 3), minidl.tensor([0, 1, 2])),
            ValueError,
            r"\(2, 3\) and target \(3,\)",
        ),
        (
            lambda: F.cross_entropy(minidl.zeros(2, 3), minidl.zeros(2, 4)),
            ValueError,
            "probabilities .* shape",
        ),
        (lambda: F.cross_entropy(minidl.tensor([[1, 2]]), minidl.tensor([0])), TypeError, "floating point"),
        (lambda: F.cross_entropy(minidl.zeros(2, 3), minidl.tensor([True, False])), TypeError, "bool"),
        (
            lambda: F.cross_entropy(minidl.zeros(2, 3), minidl.tensor([0, 1]), minidl.ones(2)),
            ValueError,
            "weight has shape",
        ),
        (
            lambda: F.cross_entropy(minidl.zeros(2, 3), minidl.tensor([0, 1]), label_smoothing=2.0),
            ValueError,
            "label_smooth",
        ),
        (lambda: F.nll_loss(minidl.zeros(2, 3), minidl.zeros(2)), TypeError, "class indices"),
        (
            lambda: F.nll_loss(minidl.zeros(2, 3, 4), minidl.zeros(2, 3, dtype=minidl.int64)),
            ValueError,
            r"shape \(2, 4\)",
        ),
        (
            lambda: F.binary_cross_entropy(minidl.tensor([1.5]), minidl.tensor([1.0])),
            ValueError,
            "outside \\[0, 1\\]",
        ),
        (lambda: F.binary_cross_entropy(minidl.tensor([math.nan]), minidl.tensor([1.0])), ValueError, "NaN"),
        (lambda: F.binary_cross_entropy(minidl.zeros(2), minidl.zeros(2, 1)), ValueError, "same shape"),
        (
            lambda: F.binary_cross_entropy_with_logits(minidl.zeros(2), minidl.zeros(3)),
            ValueError,
            "same shape",
        ),
        (lambda: F.kl_div(minidl.zeros(2), minidl.zeros(2), reduction="all"), ValueError, "batchmean"),
        (lambda: nn.CrossEntropyLoss(reduction="all"), ValueError, "CrossEntropyLoss: reduction"),
    ],
)
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("loss", REGRESSION)
def test_shapes_that_differ_warn(loss):
    with pytest.warns(UserWarning, match="differ in shape and are broadcast"):
        loss(minidl.zeros(3, 1), minidl.zeros(3))


# Penalties


def test_penalties_by_hand():
    w = t64([[1.0, -2.0], [0.0, 3.0]], grad=True)
    assert penalties.L1(0.5)(w).item() == 3.0
    assert penalties.L2(0.5)(w).item() == 3.5
    assert penalties.ElasticNet(0.5, 0.25)(w).item() == 3.0 + 1.75
    penalties.ElasticNet(0.5, 0.25)(w).backward()
    assert w.grad.tolist() == [[0.75, -1.0], [0.0, 1.25]]


@pytest.mark.parametrize("penalty", [penalties.L1(0.3), penalties.L2(0.3), penalties.ElasticNet(0.3, 0.7)])
def test_penalty_formulas(penalty):
    formulas = pytest.importorskip("minidl.explain.evaluator", reason="the formula evaluator is not in this build")
    w = draw(3, 4)
    expected = formulas.evaluate(type(penalty), {**vars(penalty), "W": w})["Y"]
    assert penalty(t64(w)).item() == pytest.approx(float(expected), rel=1e-13)
    assert gradcheck(penalty, (t64(w, grad=True),))


def test_a_penalty_takes_tensors_iterables_and_modules():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    penalty = penalties.L2(0.1)
    expected = 0.05 * sum(float((p.array.astype(np.float64) ** 2).sum()) for p in model.parameters())
    assert penalty(model).item() == pytest.approx(expected, rel=1e-6)
    assert penalty(model.parameters()).item() == penalty(model).item()
    assert penalty(p for p in model.parameters() if p.ndim > 1).item() < penalty(model).item()
    assert penalty([]).item() == 0.0


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, "0.1", None])
def test_penalty_strength_is_checked(bad):
    with pytest.raises(ValueError, match="finite number"):
        penalties.L1(bad)


def test_penalty_of_no_tensors():
    with pytest.raises(TypeError, match="expected"):
        penalties.L1(0.1)(3.0)
    with pytest.raises(TypeError, match="among the parameters"):
        penalties.L1(0.1)([3.0])


# Against PyTorch

PAIRS = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("huber_loss", {}),
    ("huber_loss", {"delta": 0.3}),
    ("smooth_l1_loss", {"beta": 0.5}),
    ("smooth_l1_loss", {"beta": 0.0}),
]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")


def both(torch, name, arrays, options, rtol=1e-12, **named):
    """The loss and the gradient of the first input, here and in PyTorch."""
    found = []
    for make, functional in ((minidl.tensor, F), (torch.tensor, torch.nn.functional)):
        tensors = [None if a is None else make(a) for a in arrays]
        tensors[0].requires_grad_()
        y = getattr(functional, name)(*tensors, **{k: make(v) for k, v in named.items()}, **options)
        y.sum().backward()
        found.append((np.asarray(y.detach().numpy()), np.asarray(tensors[0].grad.numpy())))
    (a, da), (b, db) = found
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(da, db, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "options"), PAIRS)
def test_regression_as_pytorch(torch, name, options, reduction):
    both(torch, name, (draw(4, 3), draw(4, 3, seed=1)), {**options, "reduction": reduction})


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize("ignore", [-100, 1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 4, 3), (2, 4, 3, 2)])
def test_cross_entropy_as_pytorch(torch, shape, weighted, ignore, eps, reduction):
    target = np.random.default_rng(4).integers(0, 4, () if len(shape) == 1 else (shape[0], *shape[2:]))
    weight = np.array([1.0, 0.5, 2.0, 3.0]) if weighted else None
    options = {"ignore_index": ignore, "reduction": reduction}
    both(torch, "cross_entropy", (draw(*shape), target, weight), {**options, "label_smoothing": eps})
    both(torch, "nll_loss", (draw(*shape), target, weight), options)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 4, 3)])
def test_cross_entropy_with_probabilities_as_pytorch(torch, shape, weighted, eps, reduction):
    p = np.random.default_rng(4).uniform(size=shape)
    weight = np.array([1.0, 0.5, 2.0, 3.0]) if weighted else None
    both(torch, "cross_entropy", (draw(*shape), p, weight), {"label_smoothing": eps, "reduction": reduction})


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_losses_as_pytorch(torch, reduction):
    x = np.array([[0.0, 0.3, 1.0], [1.0, 0.9, 1e-200]])
    y = np.array([[1.0, 0.3, 1.0], [0.0, 0.1, 1.0]])
    weight = np.array([1.0, 2.0, 0.5])
    options = {"reduction": reduction}
    both(torch, "binary_cross_entropy", (x, y), options, rtol=1e-8)  # its 1e-12 is a float32
    both(torch, "binary_cross_entropy", (x, y, weight), options, rtol=1e-8)
    logits = draw(2, 3, scale=20)
    both(torch, "binary_cross_entropy_with_logits", (logits, y), options)
    both(
        torch,
        "binary_cross_entropy_with_logits",
        (logits, y, weight),
        options,
        pos_weight=np.array([2.0, 0.5, 1.0]),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
def test_kl_as_pytorch(torch, reduction):
    x, p = draw(2, 3), np.array([[0.0, 0.2, 0.8], [1.0, 0.0, 0.0]])
    both(torch, "kl_div", (x, p), {"reduction": reduction})
    both(torch, "kl_div", (x, draw(2, 3, seed=1)), {"reduction": reduction, "log_target": True})
