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
    ("Conv1d", (3, 4, 3), {"padding": 2, "padding_mode": "circular"}, (2, 3, 9)),
    ("Conv2d", (3, 4, (3, 2)), {"padding": (1, 2), "padding_mode": "reflect", "stride": 2}, (2, 3, 7, 6)),
    ("Conv2d", (3, 4, 4), {"padding": "same", "padding_mode": "replicate"}, (3, 7, 6)),
    ("ConvTranspose2d", (3, 4, 3), {}, (2, 3, 5, 4)),
    ("ConvTranspose2d", (3, 4, 4), {"stride": 2, "padding": 1, "bias": False}, (2, 3, 5, 4)),
    (
        "ConvTranspose2d",
        (4, 6, (3, 2)),
        {"stride": (3, 2), "padding": (1, 0), "output_padding": (2, 1), "groups": 2, "dilation": (1, 2)},
        (4, 5, 3),
    ),
    ("AdaptiveAvgPool2d", (1,), {}, (2, 3, 7, 5)),
    ("AdaptiveAvgPool2d", ((3, 2),), {}, (2, 3, 7, 5)),
    ("AdaptiveAvgPool2d", ((None, 7),), {}, (3, 4, 5)),
    ("PixelShuffle", (2,), {}, (2, 8, 3, 5)),
    ("GroupNorm", (3, 6), {}, (2, 6, 4, 5)),
    ("GroupNorm", (2, 6), {"affine": False, "eps": 1e-3}, (3, 6)),
    ("GroupNorm", (1, 6), {"bias": False}, (2, 6, 4)),
    ("TransformerEncoderLayer", (8, 2, 12), {"dropout": 0.0}, (5, 3, 8)),
    (
        "TransformerEncoderLayer",
        (8, 4, 12, 0.0, "gelu"),
        {"batch_first": True, "norm_first": True, "layer_norm_eps": 1e-3, "bias": False},
        (3, 5, 8),
    ),
    ("TransformerEncoderLayer", (6, 3, 4, 0.0), {}, (5, 6)),
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
RECURRENT = ("RNN", "LSTM", "GRU")


@pytest.mark.parametrize(("name", "arguments", "options", "shape"), LAYERS)
def test_layer_as_pytorch(name, arguments, options, shape):
    ours = getattr(nn, name)(*arguments, **options)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizable", "")
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


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_encoder_as_pytorch(batch_first, norm_first):
    """Masks of both kinds, bool and number, and a norm at the end; the keys of every layer."""

    def build(nn):
        layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=batch_first, norm_first=norm_first)
        return nn.TransformerEncoder(layer, 3, nn.LayerNorm(8), enable_nested_tensor=False)

    ours, theirs = build(nn).double(), build(torch.nn).double()
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizable", "")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(
        np.array_equal(a, b) for a, b in zip(*(layer.linear1.weight.array for layer in ours.layers[:2]), strict=True)
    )
    assert ours.layers[0].linear1.weight is not ours.layers[1].linear1.weight
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 5, 8) if batch_first else (5, 4, 8))
    barred = np.triu(np.ones((5, 5), bool), 1)
    padding = np.arange(5) >= np.array([[5], [4], [3], [5]])
    for mask in (None, barred, np.where(barred, -np.inf, 0.0)):
        for pad in (None, padding):
            a, b = minidl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
            y = ours(a, *(None if m is None else minidl.tensor(m) for m in (mask, pad)))
            z = theirs(b, *(None if m is None else torch.tensor(m) for m in (mask, pad)))
            np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-9, atol=1e-11)
            (y**2).sum().backward()
            (z**2).sum().backward()
            np.testing.assert_allclose(a.grad.array, b.grad.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"max_norm": 0.5},
        {"max_norm": 1.0, "norm_type": 1.0},
        {"scale_grad_by_freq": True},
        {"padding_idx": -1, "max_norm": 2.0},
    ],
    ids=str,
)
def test_embedding_options_as_pytorch(options):
    ours, theirs = nn.Embedding(6, 3, **options).double(), torch.nn.Embedding(6, 3, **options).double()
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    index = np.array([[0, 2, 5], [5, 5, 1]])
    y, z = ours(minidl.tensor(index)), theirs(torch.tensor(index))
    np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-12)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(ours.weight.array, theirs.weight.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.weight.grad.array, theirs.weight.grad.numpy(), rtol=1e-12)
    with pytest.raises(NotImplementedError, match="sparse=True"):
        nn.Embedding(6, 3, sparse=True)


def test_where_the_largest_stood_as_pytorch():
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6))
    for name, array in (("MaxPool2d", x), ("MaxPool1d", x[0])):
        ours, theirs = (getattr(module, name)(2, 2, return_indices=True) for module in (nn, torch.nn))
        for y, z in zip(ours(minidl.tensor(array)), theirs(torch.tensor(array)), strict=True):
            np.testing.assert_array_equal(y.array, z.numpy())


def test_the_size_of_a_transposed_convolution_as_pytorch():
    ours, theirs = (module.ConvTranspose2d(2, 3, 3, stride=2, padding=1) for module in (nn, torch.nn))
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 5)).astype(np.float32)
    for size in ((7, 9), (8, 10), (7, 10)):
        y, z = ours(minidl.tensor(x), size), theirs(torch.tensor(x), size)
        np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected from \(7, 9\) to \(8, 10\)"):
        ours(minidl.tensor(x), (9, 9))


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
        if not inspect.isclass(ours) or name in ("Module", "Parameter", "Sequential", "Identity", *RECURRENT):
            continue  # the last take *args in PyTorch; test_recurrent.py calls them with every argument
        theirs = inspect.signature(getattr(torch.nn, name)).parameters
        for place, (key, parameter) in enumerate(inspect.signature(ours).parameters.items()):
            assert key in theirs, (name, key)
            default = theirs[key].default
            assert parameter.default == (nn.functional.relu if default is torch.nn.functional.relu else default), (
                name,
                key,
            )
            if parameter.kind == kinds:
                assert list(theirs)[place] == key, (name, key)


ABSENT = {  # PyTorch's arguments that do not exist here
    *("size_average", "reduce"),  # old names of reduction
    *("_weight", "_freeze", "min_value", "max_value", "args", "kwargs"),  # internal, or never meant to be given
}


def test_what_pytorch_takes_is_taken():
    import inspect

    for name in nn.__all__:
        ours = getattr(nn, name)
        if inspect.isclass(ours) and name not in ("Module", "Parameter", "Sequential", "Identity", *RECURRENT):
            theirs = inspect.signature(getattr(torch.nn, name)).parameters
            assert set(theirs) - set(inspect.signature(ours).parameters) <= ABSENT, name
    for name in nn.init.__all__:
        a, b = (inspect.signature(getattr(module, name)).parameters for module in (nn.init, torch.nn.init))
        assert list(a) == list(b), name
        assert [p.default for p in a.values()] == [p.default for p in b.values()], name
