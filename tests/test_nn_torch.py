"""Layers against PyTorch's: text, state_dict keys and shapes, values and gradients with the same weights."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

LAYERS = [
    ("Linear", (3, 5), {}, (2, 3)),
    ("Linear", (3, 5), {"bias": False}, (2, 4, 3)),
    ("Conv1d", (3, 4, 3), {"stride": 2, "padding": 1}, (2, 3, 9)),
    ("Conv1d", (4, 4, 3), {"groups": 2, "padding": "same", "dilation": 2}, (2, 4, 9)),
    ("Conv2d", (1, 4, 3), {}, (2, 1, 8, 8)),
    (
        "Conv2d",
        (4, 6, (3, 2)),
        {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2, "bias": False},
        (2, 4, 9, 7),
    ),
    ("Conv2d", (4, 6, 4), {"padding": "same"}, (2, 4, 7, 6)),
    ("Conv2d", (4, 6, 3), {"padding": "valid"}, (4, 7, 6)),
    ("MaxPool1d", (2,), {}, (2, 3, 9)),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (2, 3, 8)),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (2, 3, 8, 7)),
    ("MaxPool2d", ((2, 3),), {"stride": 1, "dilation": 2}, (3, 8, 7)),
    ("AvgPool1d", (3, 1, 1), {}, (2, 3, 9)),
    ("AvgPool2d", (2,), {}, (2, 3, 8, 9)),
    (
        "AvgPool2d",
        (3,),
        {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
        (2, 3, 8, 7),
    ),
    ("BatchNorm1d", (3,), {}, (4, 3)),
    ("BatchNorm1d", (3,), {"momentum": None}, (4, 3, 5)),
    ("BatchNorm2d", (3,), {"affine": False, "momentum": 0.3, "eps": 1e-3}, (4, 3, 5, 2)),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, (4, 3, 5, 2)),
    ("LayerNorm", (6,), {}, (2, 4, 6)),
    ("LayerNorm", ([4, 6],), {"bias": False}, (2, 4, 6)),
    ("LayerNorm", (6,), {"elementwise_affine": False, "eps": 1e-3}, (2, 4, 6)),
    ("RMSNorm", (6,), {}, (2, 4, 6)),
    ("RMSNorm", ([4, 6],), {"eps": 1e-3}, (2, 4, 6)),
    ("RMSNorm", (6,), {"elementwise_affine": False}, (2, 4, 6)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Unflatten", (1, (2, 3)), {}, (2, 6)),
    ("Identity", (), {}, (2, 6)),
    ("Dropout", (0.0,), {}, (2, 6)),
    ("Dropout2d", (0.0,), {}, (2, 6, 2, 2)),
    ("ReLU", (), {}, (3, 4)),
    ("ReLU", (True,), {}, (3, 4)),
    ("LeakyReLU", (), {}, (3, 4)),
    ("LeakyReLU", (0.2, True), {}, (3, 4)),
    ("ELU", (), {}, (3, 4)),
    ("ELU", (0.5,), {}, (3, 4)),
    ("GELU", (), {}, (3, 4)),
    ("GELU", ("tanh",), {}, (3, 4)),
    ("SiLU", (), {}, (3, 4)),
    ("Tanh", (), {}, (3, 4)),
    ("Sigmoid", (), {}, (3, 4)),
    ("Softplus", (), {}, (3, 4)),
    ("Softplus", (2.0, 3.0), {}, (3, 4)),
    ("Hardtanh", (), {}, (3, 4)),
    ("Hardtanh", (-0.5, 0.25), {}, (3, 4)),
    ("Softmax", (1,), {}, (3, 4)),
    ("LogSoftmax", (-1,), {}, (3, 4)),
]


@pytest.mark.parametrize(("name", "arguments", "options", "shape"), LAYERS)
def test_layer_as_pytorch(name, arguments, options, shape):
    ours = getattr(nn, name)(*arguments, **options)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    assert repr(ours) == repr(theirs)
    state = theirs.state_dict()
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {k: tuple(v.shape) for k, v in state.items()}
    assert list(ours.state_dict()) == list(state)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    ours, theirs = ours.double(), theirs.double()
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(0)
    for mode in (True, True, False):  # twice, so that running statistics move; then in evaluation
        ours.train(mode), theirs.train(mode)
        x = rng.normal(size=shape)
        a, b = minidl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y = ours(a)
        z = theirs(b.clone() if "ReLU" in name or "ELU" in name else b)  # theirs may work in place
        np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-10, atol=1e-12)
        g = rng.normal(size=tuple(y.shape))
        y.backward(minidl.tensor(g))
        z.backward(torch.tensor(g))
        np.testing.assert_allclose(a.grad.array, b.grad.numpy(), rtol=1e-9, atol=1e-11)
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(p.grad.array, q.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=key)
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[key].array, value.numpy(), rtol=1e-10, err_msg=key)


def test_embedding_as_pytorch():
    ours, theirs = (
        nn.Embedding(6, 3, padding_idx=2).double(),
        torch.nn.Embedding(6, 3, padding_idx=2).double(),
    )
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    index = np.array([[0, 2, 5], [5, 5, 1]])
    y, z = ours(minidl.tensor(index)), theirs(torch.tensor(index))
    np.testing.assert_array_equal(y.array, z.detach().numpy())
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(ours.weight.grad.array, theirs.weight.grad.numpy(), rtol=1e-12)


def network(nn):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.ModuleList([nn.Linear(64, 10)])[0], nn.Sequential(nn.Linear(10, 3), nn.Identity()),
    )  # fmt: skip


def test_a_network_learns_as_pytorch_does():
    """The same weights, the same data, twenty steps of Adam: the same losses and weights to rounding."""
    ours, theirs = network(nn).double(), network(torch.nn).double()
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(0)
    a, b = minidl.optim.Adam(ours.parameters(), lr=0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    for _ in range(20):
        x, y = rng.normal(size=(8, 1, 8, 8)), rng.integers(0, 3, 8)
        losses = []
        for model, optimizer, make, functional in (
            (ours, a, minidl.tensor, nn.functional),
            (theirs, b, torch.tensor, torch.nn.functional),
        ):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(make(x)), make(y))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for (key, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        np.testing.assert_allclose(p.array, q.numpy(), rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_as_pytorch(nonlinearity):
    assert nn.init.calculate_gain(nonlinearity) == torch.nn.init.calculate_gain(nonlinearity)


def test_containers_print_as_pytorch():
    def build(nn):
        return nn.ModuleDict(
            {
                "a": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Sequential(nn.ReLU())]),
                "b": nn.Sequential(),
            }
        )

    assert repr(build(nn)) == repr(build(torch.nn))


def test_signatures_of_pytorch_are_kept():
    """Every argument that a layer here takes exists in PyTorch, in its place and with its default."""
    import inspect

    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD
    for name in nn.__all__:
        ours = getattr(nn, name)
        if not inspect.isclass(ours) or name in ("Module", "Parameter", "Sequential", "Identity"):
            continue
        theirs = inspect.signature(getattr(torch.nn, name)).parameters
        for place, (key, parameter) in enumerate(inspect.signature(ours).parameters.items()):
            assert key in theirs, (name, key)
            assert parameter.default == theirs[key].default, (name, key)
            if parameter.kind == kinds:
                assert list(theirs)[place] == key, (name, key)
