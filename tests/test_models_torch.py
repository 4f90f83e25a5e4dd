"""Weights travel: the same model in PyTorch's layers loads what is saved here, and gives the same outputs; and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import models
from minidl.bench.libraries import transformer

torch = pytest.importorskip("torch", reason="PyTorch is not installed (pip install '.[peers]')")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn, F = torch.nn, torch.nn.functional

TOLERANCE = 1e-5


class Net(nn.Module):
    """Submodules by name, and a function of them."""

    def __init__(self, forward: Callable[[Any, Any], Any], **parts: Any) -> None:
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Any) -> Any:
        return self.run(self, x)


def torch_mlp() -> Any:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.GELU(), nn.Dropout(0.2), nn.Linear(7, 5), nn.GELU(),
                           nn.Dropout(0.2), nn.Linear(5, 3))  # fmt: skip
    return Net(lambda net, x: net.layers(x), layers=layers)


def torch_cnn() -> Any:
    features = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
    )  # fmt: skip
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(6 * 5 * 5, 8), nn.ReLU(), nn.Linear(8, 3))
    return Net(lambda net, x: net.classifier(net.features(x)), features=features, classifier=classifier)


def torch_resnet() -> Any:
    def residual(net: Any, x: Any) -> Any:
        h = F.relu(net.norm_1(net.conv_1(x)))
        stride, new = net.conv_1.stride[0], net.conv_1.out_channels - net.conv_1.in_channels
        short = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, new))
        return F.relu(net.norm_2(net.conv_2(h)) + short)

    def block(channels: int, filters: int) -> Any:
        stride = 1 if channels == filters else 2
        return Net(
            residual, conv_1=nn.Conv2d(channels, filters, 3, stride, 1, bias=False), norm_1=nn.BatchNorm2d(filters),
            conv_2=nn.Conv2d(filters, filters, 3, 1, 1, bias=False), norm_2=nn.BatchNorm2d(filters),
        )  # fmt: skip

    sizes = [(4, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    return Net(
        lambda net, x: net.classifier(net.blocks(F.relu(net.norm(net.conv(x)))).mean((2, 3))),
        conv=nn.Conv2d(3, 4, 3, padding=1, bias=False), norm=nn.BatchNorm2d(4),
        blocks=nn.Sequential(*[block(*each) for each in sizes]), classifier=nn.Linear(16, 5),
    )  # fmt: skip


GPT = {"vocab": 11, "context": 8, "width": 12, "heads": 3, "layers": 2}
TWINS: dict[str, tuple[dict[str, Any], Callable[[], Any], tuple[int, ...]]] = {
    "mlp": ({"sizes": [12, 7, 5, 3], "activation": "gelu", "dropout": 0.2}, torch_mlp, (4, 3, 4)),
    "cnn": (
        {"shape": [2, 10, 10], "classes": 3, "channels": [4, 6], "hidden": 8, "batch_norm": True}, torch_cnn,
        (4, 2, 10, 10),
    ),
    "resnet": ({"shape": [3, 32, 32], "classes": 5, "blocks": 2, "width": 4}, torch_resnet, (3, 3, 32, 32)),
    "gpt": (GPT, lambda: transformer.gpt(GPT), (2, 8)),
    "gpt, untied, with biases": (
        {**GPT, "tied": False, "bias": True}, lambda: transformer.gpt({**GPT, "tied": False, "bias": True}), (2, 8),
    ),
}  # fmt: skip


@pytest.fixture(params=TWINS)
def twins(request: pytest.FixtureRequest) -> tuple[Any, Any, np.ndarray]:
    """The same model twice, both in evaluation mode with weights and statistics of their own, and an input."""
    arguments, build, shape = TWINS[request.param]
    minidl.manual_seed(0)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ours, theirs = models.build({"name": request.param.split(",")[0], **arguments}), build()
    with minidl.no_grad():
        for name, tensor in ours.state_dict().items():
            if "num_batches" not in name:
                tensor.add_(minidl.rand(*tensor.shape) * 0.3)
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            if "num_batches" not in name:
                tensor.add_(torch.rand(tensor.shape) * 0.3)
    x = rng.integers(0, 11, shape) if "gpt" in request.param else rng.standard_normal(shape).astype(np.float32)
    return ours.eval(), theirs.eval(), x


def outputs(ours: Any, theirs: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with minidl.no_grad(), torch.no_grad():
        return ours(minidl.from_numpy(x)).numpy(), theirs(torch.from_numpy(x)).numpy()


def test_the_names_are_the_same(twins: tuple[Any, Any, np.ndarray]) -> None:
    ours, theirs, x = twins
    shapes = [{name: tuple(t.shape) for name, t in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    a, b = outputs(ours, theirs, x)
    assert np.abs(a - b).max() > 0.01, "before the weights travel the models differ"


def test_weights_travel_to_pytorch(twins: tuple[Any, Any, np.ndarray], tmp_path: Path) -> None:
    ours, theirs, x = twins
    minidl.save(ours.state_dict(), tmp_path / "weights.safetensors")
    theirs.load_state_dict(safetensors_torch.load_file(tmp_path / "weights.safetensors"))
    a, b = outputs(ours, theirs, x)
    assert np.abs(a - b).max() <= TOLERANCE * max(1, np.abs(b).max())


def test_weights_travel_from_pytorch(twins: tuple[Any, Any, np.ndarray], tmp_path: Path) -> None:
    ours, theirs, x = twins
    safetensors_torch.save_model(theirs, str(tmp_path / "weights.safetensors"))  # keeps what is shared once
    ours.load_state_dict(minidl.load(tmp_path / "weights.safetensors"))
    a, b = outputs(ours, theirs, x)
    assert np.abs(a - b).max() <= TOLERANCE * max(1, np.abs(b).max())


def test_they_learn_alike_afterwards(twins: tuple[Any, Any, np.ndarray]) -> None:
    """Gradients of every weight, too, so that training can go on there."""
    ours, theirs, x = twins
    theirs.load_state_dict({name: torch.from_numpy(t.numpy().copy()) for name, t in ours.state_dict().items()})
    for library, model in ((minidl, ours), (torch, theirs)):
        y = model(library.from_numpy(x))
        (y * library.from_numpy(np.cos(np.arange(y.numel())).astype(np.float32).reshape(y.shape))).sum().backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = gradients[name].grad.numpy()
        error = np.abs(parameter.grad.numpy() - expected).max()
        assert error <= 1e-4 * max(1.0, np.abs(expected).max()), name


def test_two_weights_do_not_become_one() -> None:
    untied, tied = models.GPT(**GPT, tied=False), models.GPT(**GPT)
    with pytest.raises(RuntimeError, match="tokens.weight and head.weight differ, .* build it with tied=False"):
        tied.load_state_dict(untied.state_dict())
    state = tied.state_dict()
    del state["tokens.weight"]
    tied.load_state_dict(state)
    with pytest.raises(RuntimeError, match="missing tokens.weight"):
        untied.load_state_dict(state)
