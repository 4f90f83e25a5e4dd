"""Residual networks for small images.

Source: He, Zhang, Ren, Sun 2015, Deep residual learning for image recognition, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from minidl import Tensor, nn
from minidl.models.linear import size_of
from minidl.nn import functional as F

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """The paper's networks for CIFAR-10: 6 n + 2 layers with weights, n = 3 makes ResNet-20.

        (3, 32, 32) conv (16, 32, 32) n blocks (16, 32, 32) n blocks (32, 16, 16) n blocks (64, 8, 8) mean 64 linear 10

    Every convolution is 3x3, without a bias, and followed by batch normalisation. Initial values: convolutions
    N(0, 2 / fan_in) (He et al. 2015, Delving deep into rectifiers, equation 10), the last layer as `nn.Linear`.

    Args:
        shape: channels, height and width of one image.
        classes: outputs.
        blocks: n, the blocks in each of the three stages.
        width: filters of the first stage; the others have twice and four times as many.

    Raises:
        ValueError: `shape` is not three sizes of at least 1, or blocks or width is below 1.
    """

    def __init__(self, shape: Sequence[int] = (3, 32, 32), classes: int = 10, blocks: int = 3, width: int = 16) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ValueError(
                f"ResNet: shape is {tuple(shape)}; expected channels, height and width (a table needs linear or mlp)"
            )
        if blocks < 1 or width < 1:
            raise ValueError(f"ResNet: got blocks={blocks}, width={width}; expected at least 1 of each")
        size_of(shape)
        self.config = {"name": "resnet", "shape": list(shape), "classes": classes, "blocks": blocks, "width": width}
        self.conv = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        channels = width
        for filters in (width, 2 * width, 4 * width):
            for _ in range(blocks):
                stages.append(ResidualBlock(channels, filters, stride=1 if channels == filters else 2))
                channels = filters
        self.blocks = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.conv(x)))
        h = self.blocks(h)  # (N, 4 width, H / 4, W / 4)
        return self.classifier(h.mean((2, 3)))


class ResidualBlock(nn.Module):
    """Y = relu(norm_2(conv_2(relu(norm_1(conv_1(X))))) + shortcut(X))

    (N, channels, H, W) -> (N, filters, H / stride, W / stride). The shortcut has no weights: where sizes differ, it
    takes every second pixel and fills the new channels with 0 (the paper's option A, section 3.3).
    """

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new = stride, filters - channels
        self.conv_1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(filters)
        self.conv_2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm_1(self.conv_1(x)))
        return F.relu(self.norm_2(self.conv_2(h)) + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new)) if self.new else x
