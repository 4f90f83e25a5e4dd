"""RNN, LSTM, GRU and their cells: against PyTorch's, second derivatives, backends, what is refused."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn

OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False, "batch_first": True},
    {"num_layers": 3, "batch_first": True},
    {"bidirectional": True, "batch_first": True},
]
LAYERS = [("RNN", {"nonlinearity": "tanh"}), ("RNN", {"nonlinearity": "relu"}), ("GRU", {}), ("LSTM", {})]
CELLS = [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu", "bias": False}), ("GRUCell", {}), ("LSTMCell", {})]


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")


def flat(values: Any) -> list[Any]:
    """(output, (h, c)) as [output, h, c]."""
    return [x for v in values for x in flat(v)] if isinstance(values, tuple) else [values]


def close(got: Any, wanted: Any, what: str, dtype: str) -> None:
    rtol, atol = (1e-9, 1e-11) if dtype == "float64" else (1e-4, 1e-5)
    assert got.array.dtype == np.dtype(dtype), what
    np.testing.assert_allclose(got.array, wanted.detach().numpy(), rtol=rtol, atol=atol, err_msg=what)


def both(torch: Any, values: Any, dtype: str) -> tuple[Any, Any]:
    """A leaf on either side."""
    array = np.asarray(values, dtype)
    return minidl.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "kind"), LAYERS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_layers_as_pytorch(torch: Any, name: str, kind: Any, options: Any, dtype: str) -> None:
    random = np.random.default_rng(0)
    ours, theirs = getattr(nn, name)(5, 4, **kind, **options), getattr(torch.nn, name)(5, 4, **kind, **options)
    ours, theirs = (ours.double(), theirs.double()) if dtype == "float64" else (ours, theirs)
    assert repr(ours) == repr(theirs)
    state = theirs.state_dict()
    assert [(k, tuple(v.shape)) for k, v in ours.state_dict().items()] == [
        (k, tuple(v.shape)) for k, v in state.items()
    ]
    ours.load_state_dict(state)
    ways = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    for batched, given in itertools.product((True, False), (True, False)):
        shape = (3, 7, 5) if batched else (7, 5)
        batch = shape[0 if options.get("batch_first") else 1]
        inputs = [both(torch, random.normal(size=shape), dtype)]
        if given:
            for _ in range(2 if name == "LSTM" else 1):
                inputs.append(both(torch, random.normal(size=(ways, batch, 4) if batched else (ways, 4)), dtype))
        results = []
        for side, layer in ((0, ours), (1, theirs)):
            x, *states = (pair[side] for pair in inputs)
            layer.zero_grad()
            start = [tuple(states)] if len(states) > 1 else states
            results.append(flat(layer(x, *start)))
        for place, (y, z) in enumerate(zip(*results, strict=True)):
            close(y, z, f"result {place}", dtype)
        G = [random.normal(size=tuple(y.shape)).astype(dtype) for y in results[0]]
        for make, ys in ((minidl.tensor, results[0]), (torch.tensor, results[1])):
            sum((y * make(g)).sum() for y, g in zip(ys, G, strict=True)).backward()
        for place, (a, b) in enumerate(inputs):
            close(a.grad, b.grad, f"gradient for input {place}", dtype)
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            close(p.grad, q.grad, f"gradient for {key}", dtype)


@pytest.mark.parametrize(("name", "options"), CELLS)
def test_cells_as_pytorch(torch: Any, name: str, options: Any) -> None:
    random = np.random.default_rng(0)
    ours, theirs = getattr(nn, name)(5, 4, **options).double(), getattr(torch.nn, name)(5, 4, **options).double()
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for shape in ((3, 5), (5,)):
        a, b = both(torch, random.normal(size=shape), "float64")
        y, z = ours(a), theirs(b)
        y, z = ours(a, y), theirs(b, z)  # a second step from the first one's state
        losses = []
        for got, wanted in zip(flat(y), flat(z), strict=True):
            close(got, wanted, "state", "float64")
            losses.append(((got**3).sum(), (wanted**3).sum()))
        ours.zero_grad(), theirs.zero_grad()
        sum(mine for mine, _ in losses).backward()
        sum(yours for _, yours in losses).backward()
        close(a.grad, b.grad, "gradient", "float64")
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            close(p.grad, q.grad, key, "float64")


@pytest.mark.parametrize(("name", "kind"), LAYERS)
def test_second_derivatives(torch: Any, name: str, kind: Any) -> None:
    random = np.random.default_rng(0)
    ours = getattr(nn, name)(3, 2, bidirectional=True, **kind).double()
    theirs = getattr(torch.nn, name)(3, 2, bidirectional=True, **kind).double()
    ours.load_state_dict(theirs.state_dict())
    a, b = both(torch, random.normal(size=(4, 2, 3)), "float64")
    (g,) = minidl.autograd.grad((ours(a)[0] ** 2).sum(), [a], create_graph=True)
    (h,) = torch.autograd.grad((theirs(b)[0] ** 2).sum(), [b], create_graph=True)
    (g * g).sum().backward()
    (h * h).sum().backward()
    close(a.grad, b.grad, "second derivative", "float64")
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, key, "float64")


@pytest.mark.parametrize(("name", "kind"), LAYERS)
def test_a_sequence_is_its_steps(name: str, kind: Any) -> None:
    """The layer against its cell, one time after the other: outputs and gradients."""
    layer, cell = getattr(nn, name)(3, 4, **kind).double(), getattr(nn, f"{name}Cell")(3, 4, **kind).double()
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in layer.state_dict().items()})
    x = minidl.from_numpy(np.random.default_rng(0).normal(size=(6, 2, 3)))
    state, outputs = None, []
    for t in range(6):
        state = cell(x[t], state)
        outputs.append(state[0] if name == "LSTM" else state)
    whole, _ = layer(x)
    np.testing.assert_allclose(whole.detach().numpy(), minidl.stack(outputs).detach().numpy(), rtol=1e-12)
    (whole**2).sum().backward()
    (minidl.stack(outputs) ** 2).sum().backward()
    for p, q in zip(layer.parameters(), cell.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.array, q.grad.array, rtol=1e-9)


@pytest.mark.parametrize(("name", "kind"), LAYERS)
def test_backends_agree(name: str, kind: Any) -> None:
    if not minidl.kernels.native.compiled:
        pytest.skip("the native kernels are not built; type: python setup.py build_ext --inplace")
    layer = getattr(nn, name)(5, 7, num_layers=2, bidirectional=True, **kind)
    x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    found = []
    for backend in ("reference", "native"):
        with minidl.backend(backend):
            layer.zero_grad()
            y, _ = layer(minidl.tensor(x))
            (y**2).sum().backward()
            found.append([y.detach().numpy(), *(p.grad.numpy() for p in layer.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_dropout_acts_between_layers_in_training_only() -> None:
    minidl.manual_seed(0)
    layer, x = nn.LSTM(3, 8, num_layers=2, dropout=0.5), minidl.randn(5, 2, 3)
    assert not np.array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())
    with pytest.warns(UserWarning, match="num_layers is 1"):
        nn.GRU(3, 4, dropout=0.5)


def test_initial_values_lie_within_their_bound() -> None:
    minidl.manual_seed(0)
    for layer in (nn.RNN(3, 25), nn.GRU(3, 25, bidirectional=True), nn.LSTM(3, 25, num_layers=2), nn.LSTMCell(3, 25)):
        for key, p in layer.named_parameters():
            assert 0.15 < float(p.detach().abs().max()) <= 0.2, key  # 1 / sqrt(25)


def test_what_is_kept_is_not_changed_behind_its_back() -> None:
    layer, x = nn.RNN(2, 3), minidl.randn(4, 1, 2)
    y, _ = layer(x)
    with minidl.no_grad():
        layer.weight_hh_l0.mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.LSTM(0, 4), ValueError, "input_size is 0"),
        (lambda: nn.GRU(4, 4, num_layers=0), ValueError, "num_layers is 0"),
        (lambda: nn.GRU(4, 4, 2, dropout=1.5), ValueError, "dropout is 1.5"),
        (lambda: nn.RNN(4, 4, nonlinearity="gelu"), ValueError, "'tanh' or 'relu'"),
        (lambda: nn.RNN(4, 4, bias=1), TypeError, "bias is 1"),
        (lambda: nn.LSTM(4, 4, proj_size=2), NotImplementedError, "proj_size=2 is not supported"),
        (lambda: nn.LSTM(4, 4)([1.0]), TypeError, "PackedSequence is not supported"),
        (lambda: nn.LSTM(4, 4)(minidl.zeros(3, 2, 5)), ValueError, r"\(3, 2, 5\), expected \(T, N, input_size\)"),
        (lambda: nn.LSTM(4, 4, batch_first=True)(minidl.zeros(3, 2, 5)), ValueError, r"\(N, T, input_size\)"),
        (lambda: nn.GRU(4, 4)(minidl.zeros(0, 2, 4)), ValueError, "no time step"),
        (lambda: nn.GRU(4, 3)(minidl.zeros(5, 2, 4), minidl.zeros(1, 3, 3)), ValueError, r"h_0 is \(1, 3, 3\)"),
        (lambda: nn.LSTM(4, 3)(minidl.zeros(5, 2, 4), minidl.zeros(1, 2, 3)), TypeError, r"the pair \(h, c\)"),
        (lambda: nn.GRUCell(4, 3)(minidl.zeros(2, 5)), ValueError, r"expected \(N, 4\)"),
        (lambda: nn.GRUCell(4, 3)(minidl.zeros(2, 4), minidl.zeros(3, 3)), ValueError, "a state is"),
        (lambda: minidl.ops.lstm_step(*[minidl.zeros(2, 4, 4)] * 2, minidl.zeros(2, 3)), ValueError, "lstm_step"),
    ],
)  # fmt: skip
def test_refusals(call: Any, error: type[Exception], words: str) -> None:
    with warnings.catch_warnings(), pytest.raises(error, match=words):
        warnings.simplefilter("ignore")
        call()
