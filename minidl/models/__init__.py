"""Ready-made models, each one file, and a register of them by name.

A model's `.config` is a plain dict that rebuilds it: `build(model.config)` has the same layers with new initial values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl import nn
from minidl.models.cnn import CNN
from minidl.models.gpt import GPT
from minidl.models.lenet import LeNet5
from minidl.models.linear import LinearModel
from minidl.models.mlp import MLP
from minidl.models.resnet import ResNet
from minidl.models.sampling import generate

__all__ = ["CNN", "GPT", "MLP", "MODELS", "LeNet5", "LinearModel", "ResNet", "build", "generate"]

MODELS: dict[str, type[nn.Module]] = {
    "linear": LinearModel,
    "mlp": MLP,
    "cnn": CNN,
    "lenet5": LeNet5,
    "resnet": ResNet,
    "gpt": GPT,
}


def build(config: Mapping[str, Any]) -> nn.Module:
    """Make a model from its config: its name in `MODELS` under "name", and the arguments of its class.

    Raises:
        ValueError: no model has that name, or it has no such argument.
    """
    arguments = dict(config)
    name = arguments.pop("name", None)
    if name not in MODELS:
        raise ValueError(f"build: there is no model {name!r}; expected one of {', '.join(MODELS)}")
    try:
        return MODELS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"build: the config of {name!r} does not fit {MODELS[name].__name__}: {error}") from None
