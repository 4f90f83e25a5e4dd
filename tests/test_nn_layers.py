"""Layers: shapes, values, initial values, modes, refusals, and the helpers of nn.utils."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.autograd import gradcheck
from minidl.nn import init, utils


def draw(*shape, seed=0):
    return minidl.tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True)


SHAPES = [
    (nn.Linear(3, 5), (2, 7, 3), (2, 7, 5)),
    (nn.Linear(3, 5, bias=False), (3,), (5,)),
    (nn.Linear(0, 2), (4, 0), (4, 2)),
    (nn.Identity(54, unused=True), (2, 3), (2, 3)),
    (nn.Flatten(), (2, 3, 4, 5), (2, 60)),
    (nn.Flatten(0, 1), (2, 3, 4), (6, 4)),
    (nn.Unflatten(1, (3, 4)), (2, 12), (2, 3, 4)),
    (nn.Unflatten(-1, (-1, 4)), (2, 12), (2, 3, 4)),
    (nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 9), (2, 4, 5)),
    (nn.Conv1d(3, 3, 3, groups=3, padding="same"), (2, 3, 9), (2, 3, 9)),
    (nn.Conv2d(1, 4, 3), (2, 1, 8, 8), (2, 4, 6, 6)),
    (
        nn.Conv2d(1, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False),
        (2, 1, 9, 7),
        (2, 4, 5, 5),
    ),
    (nn.Conv2d(4, 6, 4, padding="same", groups=2), (2, 4, 7, 6), (2, 6, 7, 6)),
    (nn.Conv2d(4, 6, 3, padding="valid"), (4, 7, 6), (6, 5, 4)),
    (nn.MaxPool1d(2), (2, 3, 9), (2, 3, 4)),
    (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 3, 8, 7), (2, 3, 5, 4)),
    (nn.MaxPool2d(2, stride=1, dilation=2), (2, 3, 8, 7), (2, 3, 6, 5)),
    (nn.AvgPool1d(3, 1, 1), (2, 3, 9), (2, 3, 9)),
    (nn.AvgPool2d(2, count_include_pad=False), (2, 3, 9, 8), (2, 3, 4, 4)),
    (nn.Dropout(0.3), (5, 5), (5, 5)),
    (nn.BatchNorm1d(3), (4, 3), (4, 3)),
    (nn.BatchNorm1d(3, momentum=None), (4, 3, 5), (4, 3, 5)),
    (nn.BatchNorm2d(3, affine=False), (4, 3, 5, 2), (4, 3, 5, 2)),
    (nn.LayerNorm(6), (2, 4, 6), (2, 4, 6)),
    (nn.LayerNorm([4, 6], bias=False), (2, 4, 6), (2, 4, 6)),
    *[
        (make(), (3, 4), (3, 4))
        for make in (
            nn.ReLU,
            nn.LeakyReLU,
            nn.ELU,
            nn.GELU,
            nn.SiLU,
            nn.Tanh,
            nn.Sigmoid,
            nn.Softplus,
            nn.Hardtanh,
        )
    ],
    (nn.GELU("tanh"), (3, 4), (3, 4)),
    (nn.Softmax(dim=-1), (3, 4), (3, 4)),
    (nn.LogSoftmax(dim=0), (3, 4), (3, 4)),
]


@pytest.mark.parametrize(
    ("layer", "before", "after"), SHAPES, ids=lambda v: repr(v) if isinstance(v, nn.Module) else ""
)
def test_shapes_and_gradients(layer, before, after):
    layer = layer.double()
    x = draw(*before)
    assert tuple(layer(x).shape) == after
    if not isinstance(layer, (nn.Dropout, nn.BatchNorm1d)):
        parameters = dict(layer.named_parameters())

        def run(x, *values):
            layer.__dict__.update(zip(parameters, values, strict=True))
            return layer(x)

        assert x.numel() == 0 or gradcheck(run, (x, *parameters.values()))
        layer.__dict__.update(parameters)
    y = layer.float()(minidl.tensor(np.ones(before, np.float32)))
    assert y.dtype == minidl.float32 and tuple(y.shape) == after


def test_linear_by_hand():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": [[2.0, 3.0]], "bias": [1.0]})
    assert layer(minidl.tensor([[1.0, 10.0]])).tolist() == [[33.0]]


def test_embedding():
    minidl.manual_seed(0)
    layer = nn.Embedding(5, 3, padding_idx=-1)
    assert layer.padding_idx == 4 and (layer.weight.array[4] == 0).all()
    y = layer(minidl.tensor([[0, 4], [1, 0]]))
    assert tuple(y.shape) == (2, 2, 3)
    y.sum().backward()
    assert layer.weight.grad.array[:, 0].tolist() == [2.0, 1.0, 0.0, 0.0, 0.0]
    table = minidl.randn(4, 2)
    frozen = nn.Embedding.from_pretrained(table)
    np.testing.assert_array_equal(frozen(minidl.tensor([3])).array, table.array[3:])
    assert not frozen.weight.requires_grad
    with pytest.raises(ValueError, match="padding_idx is 5"):
        nn.Embedding(5, 3, padding_idx=5)
    with pytest.raises(IndexError):
        layer(minidl.tensor([5]))


def test_dropout_keeps_the_mean_and_rests_in_evaluation():
    minidl.manual_seed(0)
    layer, x = nn.Dropout(0.25), minidl.ones(200, 200)
    y = layer(x).array
    assert set(np.unique(y)) == {np.float32(0.0), np.float32(1 / 0.75)}
    assert y.mean() == pytest.approx(1, abs=0.02)
    assert (layer(x).array != y).any()
    np.testing.assert_array_equal(layer.eval()(x).array, x.array)
    channels = nn.Dropout2d(0.5)(minidl.ones(8, 16, 3, 3)).array
    assert (channels == channels[..., :1, :1]).all() and set(np.unique(channels)) == {0.0, 2.0}
    for p in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            nn.Dropout(p)


def test_batch_norm_statistics():
    """Running mean and unbiased variance, exponential and plain."""
    rng = np.random.default_rng(0)
    batches = [rng.normal(3, 2, size=(6, 2, 5)) for _ in range(4)]
    moving, plain = nn.BatchNorm1d(2, momentum=0.3).double(), nn.BatchNorm1d(2, momentum=None).double()
    mean, var = np.zeros(2), np.ones(2)
    for batch in batches:
        y = moving(minidl.tensor(batch))
        plain(minidl.tensor(batch))
        np.testing.assert_allclose(y.array.mean((0, 2)), 0, atol=1e-12)
        np.testing.assert_allclose(y.array.var((0, 2)), 1, rtol=1e-4)
        mean = 0.7 * mean + 0.3 * batch.mean((0, 2))
        var = 0.7 * var + 0.3 * batch.var((0, 2), ddof=1)
    np.testing.assert_allclose(moving.running_mean.array, mean, rtol=1e-12)
    np.testing.assert_allclose(moving.running_var.array, var, rtol=1e-12)
    np.testing.assert_allclose(plain.running_mean.array, np.mean([b.mean((0, 2)) for b in batches], 0), rtol=1e-12)
    assert moving.num_batches_tracked.item() == 4
    x = minidl.tensor(batches[0])
    expected = (batches[0] - mean[:, None]) / np.sqrt(var[:, None] + 1e-5)
    np.testing.assert_allclose(moving.eval()(x).array, expected, rtol=1e-12)
    assert moving.num_batches_tracked.item() == 4
    moving.reset_running_stats()
    assert moving.running_var.tolist() == [1.0, 1.0] and moving.num_batches_tracked.item() == 0


def test_batch_norm_without_tracking_uses_the_batch_always():
    layer = nn.BatchNorm2d(3, track_running_stats=False)
    assert list(layer.state_dict()) == ["weight", "bias"]
    x = minidl.randn(4, 3, 2, 2)
    np.testing.assert_array_equal(layer(x).array, layer.eval()(x).array)


def test_batch_norm_refuses():
    with pytest.raises(ValueError, match="expected 4 dimensions"):
        nn.BatchNorm2d(3)(minidl.zeros(4, 3))
    with pytest.raises(ValueError, match="2 or 3 dimensions"):
        nn.BatchNorm1d(3)(minidl.zeros(4, 3, 1, 1))
    with pytest.raises(ValueError, match="has 4 channels .* made for 3"):
        nn.BatchNorm1d(3)(minidl.zeros(4, 4))
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(minidl.zeros(1, 3))
    assert layer.num_batches_tracked.item() == 0


def test_layer_norm_by_hand():
    layer = nn.LayerNorm(2, eps=0.0)
    assert layer(minidl.tensor([[1.0, 3.0], [5.0, 1.0]])).tolist() == [[-1.0, 1.0], [1.0, -1.0]]


def test_softmax_needs_a_dimension():
    with pytest.raises(ValueError, match=r"Softmax\(dim=-1\)"):
        nn.Softmax()(minidl.zeros(2, 2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(-1, 2), "in_features is -1"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups is 2"),
        (lambda: nn.Conv2d(3, 4, 0), "kernel_size is 0"),
        (
            lambda: nn.Conv2d(3, 4, (3, 3, 3)),
            "kernel_size is .3, 3, 3., expected an int of 1 or more, or 2 of them",
        ),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), "stride is 0"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), "padding is -1"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), "'same', 'valid'"),
        (lambda: nn.Conv2d(3, 4, 3, padding="same", stride=2), "needs stride 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "padding_mode is 'mirror'"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "padding_mode 'reflect'"),
        (lambda: nn.GroupNorm(3, 8), "num_groups is 3"),
        (lambda: nn.GELU("fast"), "approximate is 'fast'"),
        (lambda: nn.Hardtanh(1, -1), "min_val < max_val"),
    ],
)
def test_layers_refuse(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_losses_as_modules():
    x, y = minidl.randn(4, 3), minidl.tensor([0, 2, 1, 1])
    weight = minidl.tensor([1.0, 2.0, 3.0])
    module = nn.CrossEntropyLoss(weight, label_smoothing=0.1, ignore_index=2)
    expected = nn.functional.cross_entropy(x, y, weight, label_smoothing=0.1, ignore_index=2)
    assert module(x, y).item() == expected.item()
    assert list(module.state_dict()) == ["weight"] and repr(module) == "CrossEntropyLoss()"
    a, b = minidl.rand(4), minidl.rand(4)
    for make, function in [
        (nn.MSELoss, "mse_loss"),
        (nn.L1Loss, "l1_loss"),
        (nn.HuberLoss, "huber_loss"),
        (nn.SmoothL1Loss, "smooth_l1_loss"),
        (nn.BCELoss, "binary_cross_entropy"),
        (nn.KLDivLoss, "kl_div"),
        (nn.BCEWithLogitsLoss, "binary_cross_entropy_with_logits"),
    ]:
        got = make(reduction="sum")(a, b).item()
        assert got == getattr(nn.functional, function)(a, b, reduction="sum").item()
    logp = nn.LogSoftmax(1)(x)
    assert nn.NLLLoss()(logp, y).item() == pytest.approx(nn.functional.cross_entropy(x, y).item(), rel=1e-6)


# Initial values


def many(fill, shape=(300, 200), **options):
    minidl.manual_seed(1)
    w = minidl.empty(*shape)
    assert fill(w, **options) is w and not w.requires_grad
    return w.array.astype(np.float64)


def test_xavier():
    w = many(init.xavier_uniform_, gain=2.0)
    bound = 2 * math.sqrt(6 / 500)
    assert np.abs(w).max() <= bound and np.abs(w).max() > 0.999 * bound
    assert w.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert many(init.xavier_normal_, gain=2.0).std() == pytest.approx(2 * math.sqrt(2 / 500), rel=0.01)


def test_kaiming():
    assert many(init.kaiming_normal_, nonlinearity="relu").std() == pytest.approx(math.sqrt(2 / 200), rel=0.01)
    assert many(init.kaiming_normal_, a=1.0, mode="fan_out").std() == pytest.approx(math.sqrt(1 / 300), rel=0.01)
    w = many(init.kaiming_uniform_, shape=(30, 20, 5, 4), a=math.sqrt(5))
    assert 0.999 / 20 < np.abs(w).max() <= np.float32(1 / 20)


def test_truncated_normal():
    w = many(init.trunc_normal_, mean=0.5, std=2.0, a=-1.0, b=1.5)
    assert w.min() >= -1 and w.max() <= 1.5
    # mean of the truncated distribution: μ + σ (φ(α) - φ(β)) / (Φ(β) - Φ(α)) with α = -0.75, β = 0.5
    density = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    below = lambda z: (1 + math.erf(z / math.sqrt(2))) / 2  # noqa: E731
    expected = 0.5 + 2 * (density(-0.75) - density(0.5)) / (below(0.5) - below(-0.75))
    assert w.mean() == pytest.approx(expected, abs=0.01)


def test_simple_fills():
    assert many(init.constant_, val=3.0).min() == 3 and many(init.zeros_).max() == 0 and many(init.ones_).min() == 1
    np.testing.assert_array_equal(many(init.eye_, shape=(3, 4)), np.eye(3, 4))
    w = many(init.uniform_, a=-2.0, b=4.0)
    assert w.mean() == pytest.approx(1, abs=0.03) and w.min() >= -2 and w.max() < 4
    w = many(init.normal_, mean=3.0, std=0.5)
    assert w.mean() == pytest.approx(3, abs=0.01) and w.std() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (6, 3, 5), (5, 2, 2)])
def test_orthogonal(shape):
    w = many(init.orthogonal_, shape=shape, gain=1.5).reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 2.25 * np.eye(len(product)), atol=1e-5)


def test_generators_decide():
    a, b = minidl.empty(5), minidl.empty(5)
    for fill in (init.uniform_, init.normal_, init.trunc_normal_):
        fill(a, generator=minidl.Generator().manual_seed(3))
        fill(b, generator=minidl.Generator().manual_seed(3))
        np.testing.assert_array_equal(a.array, b.array)


def test_gains():
    assert init.calculate_gain("linear") == init.calculate_gain("conv2d") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == 5 / 3 and init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 1) == 1 and init.calculate_gain("selu") == 0.75


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: init.xavier_uniform_(minidl.zeros(3)), "2 or more dimensions"),
        (lambda: init.kaiming_normal_(minidl.zeros(3, 3), mode="in"), "mode is 'in'"),
        (lambda: init.calculate_gain("gelu2"), "unknown nonlinearity 'gelu2'"),
        (lambda: init.calculate_gain("leaky_relu", "a"), "slope is 'a'"),
        (lambda: init.eye_(minidl.zeros(3)), "expected 2 dimensions"),
        (lambda: init.orthogonal_(minidl.zeros(3)), "2 or more dimensions"),
        (lambda: init.trunc_normal_(minidl.zeros(3), a=1, b=1), "expected a < b"),
        (lambda: init.trunc_normal_(minidl.zeros(3), std=0), "std is 0"),
    ],
)
def test_init_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_default_initial_values():
    """U(±1/√fan_in) for weights and biases of Linear and Conv, N(0, 1) for Embedding, 1 and 0 for norms."""
    minidl.manual_seed(0)
    for layer, fan_in in [
        (nn.Linear(50, 400), 50),
        (nn.Conv2d(8, 200, 3, groups=2), 36),
        (nn.Conv1d(6, 300, 5), 30),
    ]:
        for p in layer.parameters():
            bound = 1 / math.sqrt(fan_in)
            assert 0.95 * bound < np.abs(p.array).max() <= bound * (1 + 1e-6)
            assert p.array.mean() == pytest.approx(0, abs=0.1 * bound)
    assert nn.Embedding(200, 50).weight.array.std() == pytest.approx(1, rel=0.05)
    norm = nn.BatchNorm2d(3)
    assert (
        norm.weight.tolist() == [1.0] * 3 and norm.bias.tolist() == [0.0] * 3 and norm.running_var.tolist() == [1.0] * 3
    )
    minidl.manual_seed(0)
    first = nn.Linear(3, 3).weight.tolist()
    minidl.manual_seed(0)
    assert nn.Linear(3, 3).weight.tolist() == first


# nn.utils


def with_gradients():
    a, b = (
        nn.Parameter(minidl.zeros(2, dtype=minidl.float64)),
        nn.Parameter(minidl.zeros(1, dtype=minidl.float64)),
    )
    a.grad, b.grad = minidl.tensor(np.array([3.0, 0.0])), minidl.tensor(np.array([-4.0]))
    return a, b, nn.Parameter(minidl.zeros(3))


@pytest.mark.parametrize(("p", "norm"), [(2.0, 5.0), (1.0, 7.0), (math.inf, 4.0)])
def test_clip_grad_norm(p, norm):
    parameters = with_gradients()
    assert utils.clip_grad_norm_(parameters, 1.0, p).item() == pytest.approx(norm)
    scale = 1 / (norm + 1e-6)
    np.testing.assert_allclose(parameters[0].grad.array, [3 * scale, 0], rtol=1e-12)
    np.testing.assert_allclose(parameters[1].grad.array, [-4 * scale], rtol=1e-12)
    parameters = with_gradients()
    utils.clip_grad_norm_(parameters, 100.0, p)
    assert parameters[0].grad.tolist() == [3.0, 0.0]


def test_clip_edge_cases():
    assert utils.clip_grad_norm_([], 1.0).item() == 0
    a, _, _ = with_gradients()
    a.grad = minidl.tensor(np.array([math.nan, 1.0]))
    with pytest.raises(RuntimeError, match="norm is nan"):
        utils.clip_grad_norm_(a, 1.0, error_if_nonfinite=True)
    parameters = with_gradients()
    utils.clip_grad_value_(parameters, 3.5)
    assert parameters[1].grad.tolist() == [-3.5] and parameters[0].grad.tolist() == [3.0, 0.0]


def test_parameters_and_vectors():
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    vector = utils.parameters_to_vector(net.parameters())
    assert tuple(vector.shape) == (8,) and vector.requires_grad
    utils.vector_to_parameters(vector, other.parameters())
    np.testing.assert_array_equal(other.weight.array, net.weight.array)
    np.testing.assert_array_equal(other.bias.array, net.bias.array)
    with pytest.raises(ValueError, match=r"expected \(8,\)"):
        utils.vector_to_parameters(vector[:7], other.parameters())
    with pytest.raises(TypeError, match="expected a Tensor"):
        utils.vector_to_parameters([1.0], other.parameters())
