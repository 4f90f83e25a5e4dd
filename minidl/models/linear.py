"""The linear model: one weighted sum an output."""

from __future__ import annotations

from collections.abc import Sequence

from minidl import Tensor, nn

__all__ = ["LinearModel"]


class LinearModel(nn.Module):
    """Y[n,c] = Σ[k] X[n,k] * W[c,k] + B[c]

    With `cross_entropy` this is the softmax classifier (multinomial logistic regression), with `mse_loss` it is linear
    regression. Both objectives are convex: there is one best value, whatever the initial weights.

    Args:
        inputs: the number of inputs, or the shape of one example, such as (1, 28, 28), which is flattened.
        outputs: classes, or quantities to predict.
    """

    def __init__(self, inputs: int | Sequence[int], outputs: int) -> None:
        super().__init__()
        self.config = {
            "name": "linear",
            "inputs": inputs if isinstance(inputs, int) else list(inputs),
            "outputs": outputs,
        }
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(size_of(inputs), outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.flatten(x))


def size_of(inputs: int | Sequence[int]) -> int:
    """The number of entries of one example."""
    total = 1
    for size in [inputs] if isinstance(inputs, int) else inputs:
        if int(size) < 1:
            raise ValueError(f"model: inputs is {inputs!r}; expected sizes of at least 1")
        total *= int(size)
    return total
