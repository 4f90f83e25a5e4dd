"""Initial values, written into a tensor in place and returned, under PyTorch's names.

W is the tensor; fan_in is the number of inputs that one output sums over, fan_out the number of outputs that
one input reaches. For a weight (out, in, r, s, ...): fan_in = in * r * s ..., fan_out = out * r * s ...
"""

from __future__ import annotations

import math
import warnings
from statistics import NormalDist
from typing import Any

import numpy as np

from minidl._creation import from_numpy
from minidl._tensor import Tensor
from minidl.autograd import no_grad

Generator = Any


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """W ~ U(a, b)

    Every value in [a, b) is equally likely; the variance is (b - a)² / 12.
    """
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """W ~ N(mean, std ** 2)"""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """W = mean + std * quantile(u)
    u ~ U(Φ((a - mean) / std), Φ((b - mean) / std))

    Normal values between a and b (values, not multiples of std). Φ is the normal distribution function, quantile its
    inverse (Devroye 1986, Non-Uniform Random Variate Generation, section II.2; Wichura 1988, AS 241).
    """
    if not std > 0:
        raise ValueError(f"trunc_normal_: std is {std}, expected a number above 0")
    if not a < b:
        raise ValueError(f"trunc_normal_: a is {a} and b is {b}, expected a < b")
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            f"trunc_normal_: the mean {mean} lies more than 2 std outside [{a}, {b}], where the tail is inaccurate",
            stacklevel=2,
        )
    normal = NormalDist()
    low, high = normal.cdf((a - mean) / std), normal.cdf((b - mean) / std)
    drawn = from_numpy(np.empty(tensor.array.size))  # float64: tails need it
    u = drawn.uniform_(low, high, generator=generator).array
    tiny = np.finfo(u.dtype).tiny
    inverse = np.frompyfunc(normal.inv_cdf, 1, 1)(np.clip(u, tiny, 1 - np.finfo(u.dtype).epsneg))
    values = np.clip(mean + std * inverse.astype(u.dtype), a, b)
    return _fill(tensor, values.reshape(tensor.array.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """W = val"""
    with no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """W = 0"""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """W = 1"""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """W[i,j] = [i == j]

    A linear layer that starts as the identity.
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_: the tensor has shape {tuple(tensor.shape)}, expected 2 dimensions")
    return _fill(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """W ~ U(-bound, bound)
    bound = gain * sqrt(6 / (fan_in + fan_out))

    Keeps the variance of values forward and of gradients backward near 1 (Glorot & Bengio 2010, equation 16).
    """
    fan_in, fan_out = fans(tensor, "xavier_uniform_")
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """W ~ N(0, std ** 2)
    std = gain * sqrt(2 / (fan_in + fan_out))

    Source: Glorot & Bengio 2010, equation 12.
    """
    fan_in, fan_out = fans(tensor, "xavier_normal_")
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """W ~ U(-bound, bound)
    bound = gain * sqrt(3 / fan)
    fan = fan_in if mode == "fan_in" else fan_out

    gain is calculate_gain(nonlinearity, a), where a is leaky ReLU's slope. `mode="fan_in"` keeps the variance forward,
    `"fan_out"` that of the gradients. With a = √5 the bound is 1 / sqrt(fan_in): PyTorch's default for Linear and Conv
    (He et al. 2015, section 2.2).
    """
    if tensor.array.size == 0:
        warnings.warn("kaiming_uniform_: the tensor is empty, nothing to do", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """W ~ N(0, std ** 2)
    std = gain / sqrt(fan)
    fan = fan_in if mode == "fan_in" else fan_out

    gain is calculate_gain(nonlinearity, a). Source: He et al. 2015, equation 10.
    """
    if tensor.array.size == 0:
        warnings.warn("kaiming_normal_: the tensor is empty, nothing to do", stacklevel=2)
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity, "kaiming_normal_"), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """W[i,j] = gain * Q[i,j] * sign(R[j,j])
    A[i,k] = Σ[j] Q[i,j] * R[j,k]
    A[i,k] ~ N(0, 1)

    W Wᵀ = gain² I (or Wᵀ W where W is tall), trailing dimensions flattened into columns: from the QR factors of normal
    values (of their transpose where W is wide), uniform among the orthogonal matrices (Saxe et al. 2014, section 3;
    Mezzadri 2007).
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: the tensor has shape {tuple(tensor.shape)}, expected 2 or more dimensions")
    if tensor.array.size == 0:
        return tensor
    rows, columns = tensor.shape[0], tensor.array.size // tensor.shape[0]
    drawn = from_numpy(np.empty((max(rows, columns), min(rows, columns)))).normal_(0.0, 1.0, generator=generator)
    q, r = np.linalg.qr(drawn.array)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return _fill(tensor, gain * (q.T if rows < columns else q).reshape(tensor.array.shape))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Y = 5 / 3 if nonlinearity == "tanh" else sqrt(2) if nonlinearity == "relu" else
        sqrt(2 / (1 + param ** 2)) if nonlinearity == "leaky_relu" else 3 / 4 if nonlinearity == "selu" else 1

    The factor that makes up for what a nonlinearity takes from the variance (He et al. 2015). 1 for the linear ones,
    convolutions, and sigmoid; param: the slope of leaky_relu, 0.01 by default.
    """
    if nonlinearity in _GAINS:
        return _GAINS[nonlinearity]
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: the negative slope is {slope!r}, expected a number")
        return math.sqrt(2.0 / (1 + slope**2))
    raise ValueError(
        f"calculate_gain: unknown nonlinearity {nonlinearity!r}; use one of {', '.join([*_GAINS, 'leaky_relu'])}"
    )


_LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
)
_GAINS = {**dict.fromkeys(_LINEAR, 1.0), "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75}


def fans(tensor: Tensor, who: str = "fans") -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, r, s, ...)."""
    if tensor.ndim < 2:
        raise ValueError(
            f"{who}: the tensor has shape {tuple(tensor.shape)}, and fan_in and fan_out need 2 or more dimensions; "
            "use uniform_ or zeros_ for a bias"
        )
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str, who: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{who}: mode is {mode!r}, expected 'fan_in' or 'fan_out'")
    fan_in, fan_out = fans(tensor, who)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan_in if mode == "fan_in" else fan_out)


def _fill(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        return tensor.copy_(from_numpy(np.ascontiguousarray(values)))


__all__ = [
    "calculate_gain", "constant_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "orthogonal_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip
