"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from minidl import Tensor, nn

__all__ = ["ACTIVATIONS", "MLP", "activation_named"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


def activation_named(name: str) -> nn.Module:
    """A new activation layer by its name in lower case."""
    if name not in ACTIVATIONS:
        raise ValueError(f"model: there is no activation {name!r}; expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class MLP(nn.Module):
    """Linear layers with an activation between them: H ← dropout(activation(linear(H))), and a last linear one.

    Args:
        sizes: inputs, hidden units layer by layer, outputs: (784, 256, 128, 10). An example of any shape is flattened.
        activation: "relu", "tanh", "sigmoid", "gelu", "silu", "elu" or "leaky_relu".
        dropout: the share of hidden units switched off in each training step, 0 to below 1.

    Raises:
        ValueError: fewer than two sizes, a size below 1, or an unknown activation.
    """

    def __init__(self, sizes: Sequence[int], activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"MLP: sizes is {list(sizes)}; expected inputs, hidden units and outputs, each at least 1")
        self.config = {"name": "mlp", "sizes": list(sizes), "activation": activation, "dropout": dropout}
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in zip(sizes[:-2], sizes[1:-1], strict=True):
            layers += [nn.Linear(inputs, outputs), activation_named(activation)]
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
