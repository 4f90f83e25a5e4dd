"""A small convolutional network for images of any size."""

from __future__ import annotations

from collections.abc import Sequence

from minidl import Tensor, nn
from minidl.models.linear import size_of

__all__ = ["CNN"]

SMALLEST_TO_POOL = 8  # pixels: below that, halving the image loses more than it saves


class CNN(nn.Module):
    """Blocks of 3x3 convolution, max pooling and ReLU, then one hidden layer.

    For a 28x28 image and channels (16, 32):

        (1, 28, 28) conv (16, 28, 28) pool (16, 14, 14) conv (32, 14, 14) pool (32, 7, 7) linear 128 linear 10

    ReLU comes after the pooling: max(relu(x)) = relu(max(x)), on a quarter of the numbers. Images under 8 pixels are
    not pooled any further.

    Args:
        shape: channels, height and width of one image.
        classes: outputs.
        channels: filters of each block.
        hidden: units of the hidden layer.
        dropout: the share of the hidden layer's inputs and units switched off in each training step.
        batch_norm: normalise after each convolution.

    Raises:
        ValueError: `shape` is not three sizes of at least 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int = 10,
        channels: Sequence[int] = (16, 32),
        hidden: int = 128,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ValueError(
                f"CNN: shape is {tuple(shape)}; expected channels, height and width (a table needs linear or mlp)"
            )
        self.config = {
            "name": "cnn",
            "shape": list(shape),
            "classes": classes,
            "channels": list(channels),
            "hidden": hidden,
            "dropout": dropout,
            "batch_norm": batch_norm,
        }
        depth, height, width = shape
        size_of(shape)
        blocks: list[nn.Module] = []
        for filters in channels:
            blocks.append(nn.Conv2d(depth, filters, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                blocks.append(nn.BatchNorm2d(filters))
            if min(height, width) >= SMALLEST_TO_POOL:
                blocks.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            blocks.append(nn.ReLU())
            depth = filters
        self.features = nn.Sequential(*blocks)
        head: list[nn.Module] = [
            nn.Flatten(),
            nn.Linear(depth * height * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        ]
        if dropout:
            head.insert(1, nn.Dropout(dropout))
            head.insert(4, nn.Dropout(dropout))
        self.classifier = nn.Sequential(*head)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
