"""Dropout and Dropout2d."""

from __future__ import annotations

from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn.module import Module


class Dropout(Module):
    """In training every value is 0 with probability p, else divided by 1 - p; in evaluation nothing happens.

    The division keeps the expected value. The formula: `minidl.nn.functional.dropout`. `inplace=True`
    writes the result into the input. Source: Srivastava et al. 2014, Dropout.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p is {p}, expected a probability between 0 and 1")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout2d(Dropout):
    """As Dropout, for whole channels of (N, C, H, W) at a time (Tompson et al. 2015)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training, self.inplace)


__all__ = ["Dropout", "Dropout2d"]
