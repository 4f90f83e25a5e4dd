"""LeNet-5.

Source: LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, section II.B.
"""

from __future__ import annotations

from minidl import Tensor, nn

__all__ = ["LeNet5"]


class LeNet5(nn.Module):
    """The network of 1998 as it is usually rendered today.

        (1, 28, 28) padded to (1, 32, 32)
        C1 conv 5x5 (6, 28, 28)   S2 mean (6, 14, 14)    tanh
        C3 conv 5x5 (16, 10, 10)  S4 mean (16, 5, 5)     tanh
        C5 conv 5x5 (120, 1, 1)   F6 linear 84           tanh    output linear 10

    Where it departs from the paper: every map of C3 sees all of S2, S2 and S4 take plain means without a trained scale,
    tanh is not stretched, and the output is linear, for a cross-entropy, instead of distances to drawn prototypes. As
    in the paper, the squashing comes after the subsampling.

    Args:
        classes: outputs.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.config = {"name": "lenet5", "classes": classes}
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.AvgPool2d(2), nn.Tanh(),
            nn.Conv2d(6, 16, 5), nn.AvgPool2d(2), nn.Tanh(),
            nn.Conv2d(16, 120, 5), nn.Tanh(),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
