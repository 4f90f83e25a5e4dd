"""Normalization layers: BatchNorm1d, BatchNorm2d, LayerNorm, RMSNorm. The formulas: `minidl.nn.functional.batch_norm`,
`layer_norm`, `rms_norm`.
"""

from __future__ import annotations

from typing import Any

from minidl._creation import empty, ones, tensor, zeros
from minidl._dtypes import int64
from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.module import Module, Parameter


class _BatchNorm(Module):
    """Every channel (dim 1) to mean 0 and variance 1 over all else, then times weight plus bias, both (C).

    In training mean and variance are the batch's (the variance without Bessel's correction), and the running
    statistics follow: `running ← (1 - momentum) * running + momentum * batch`, with the batch's unbiased
    variance; `momentum=None` keeps the plain average over all batches. In evaluation the running statistics
    are used; with `track_running_stats=False` there are none and the batch's are used always. Initial values:
    weight 1, bias 0. Source: Ioffe & Szegedy 2015, Batch Normalization, algorithms 1 and 2.
    """

    ranks: tuple[int, ...]  # the numbers of dimensions that an input may have
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        kind = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty((num_features,), **kind)) if affine else None)
        self.register_parameter("bias", Parameter(empty((num_features,), **kind)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros((num_features,), **kind) if tracked else None)
        self.register_buffer("running_var", ones((num_features,), **kind) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(0, dtype=int64, device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forgets what was tracked: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, running statistics forgotten."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.ranks:
            expected = " or ".join(map(str, self.ranks))
            raise ValueError(
                f"{type(self).__name__}: the input has shape {tuple(input.shape)}, expected {expected} dimensions"
            )
        if input.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}: the input {tuple(input.shape)} has {input.shape[1]} channels "
                f"(dimension 1), the layer was made for {self.num_features}"
            )
        use_batch = self.training or self.running_mean is None
        follow = self.training and self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if follow or not self.training else (None, None)
        seen = self.num_batches_tracked if follow else None
        share = self.momentum
        if share is None:  # the mean of all batches: the new one counts for 1 in as many as there are
            share = 0.0 if seen is None else 1.0 / (seen.item() + 1)
        y = F.batch_norm(input, mean, var, self.weight, self.bias, use_batch, share, self.eps)
        if seen is not None:
            seen.add_(1)
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    __doc__ = f"Batch normalization of (N, C) or (N, C, L).\n\n    {_BatchNorm.__doc__}"
    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = f"Batch normalization of (N, C, H, W).\n\n    {_BatchNorm.__doc__}"
    ranks = (4,)


class LayerNorm(Module):
    """Every sample to mean 0 and variance 1 over its last dimensions, then times weight plus bias.

    The same in training and evaluation; weight and bias have the shape `normalized_shape`. Initial values:
    weight 1, bias 0. Source: Ba, Kiros & Hinton 2016, Layer Normalization, equation 4.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        kind = {"device": device, "dtype": dtype}
        shape = self.normalized_shape
        self.register_parameter("weight", Parameter(empty(shape, **kind)) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(empty(shape, **kind)) if elementwise_affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """(N, C, ...): every sample's groups of C / num_groups channels to mean 0 and variance 1, then times weight plus
    bias.

    The same in training and evaluation; weight and bias have shape (C) and start at 1 and 0. One group is a layer
    norm over all channels and places, C groups an instance norm. Source: Wu & He 2018, Group Normalization, equations
    1 to 7.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups is {num_groups}, expected a positive number that divides num_channels "
                f"{num_channels}"
            )
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        kind = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty((num_channels,), **kind)) if affine else None)
        self.register_parameter("bias", Parameter(empty((num_channels,), **kind)) if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Every sample divided by the root of its mean square over its last dimensions, then times weight.

    The same in training and evaluation; weight has the shape `normalized_shape` and starts at 1. `eps=None` is the
    resolution of the input's dtype. Source: Zhang & Sennrich 2019, Root Mean Square Layer Normalization, equation 4.
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        weight = Parameter(empty(self.normalized_shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm", "RMSNorm"]
