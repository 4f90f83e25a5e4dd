"""Losses: how far predictions are from what they should be, as one number to make small.

Every loss has `reduction`: "mean" (the default), "sum", or "none" for the single terms ℓ. An empty batch has
the mean NaN and the sum 0, as in PyTorch. `minidl.nn` has each as a module, `minidl.nn.functional` as a
function.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import numpy as np

from . import ops
from ._tensor import Tensor
from .kernels import arrays, kernel
from .tape import record, record_fused, wrap

# ------------------------------------------------------------------------------------------------- regression


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """d[...] = INPUT[...] - TARGET[...]
    ℓ[...] = WEIGHT[...] * d[...]**2
    Y = (mean[...] ℓ[...]) / (mean[...] WEIGHT[...]) if reduction == "mean" else
        Σ[...] ℓ[...] if reduction == "sum" else ℓ

    n = numel(ℓ) * (mean[...] WEIGHT[...]) if reduction == "mean" else 1
    ∂L/∂INPUT[...] = G[...] * WEIGHT[...] * 2 * d[...] / n
    ∂L/∂TARGET[...] = -G[...] * WEIGHT[...] * 2 * d[...] / n

    Mean squared error (Legendre 1805). Shapes that differ are broadcast, with a warning. weight: one factor for each
    element, of the input's shape, 1 by default.
    """
    _same_size("mse_loss", input, target)
    _check_reduction("mse_loss", reduction)
    if weight is not None:
        return _weighed("mse_loss", ops.square(input - target), input, weight, reduction)
    x, t = input.array, target.array
    if x.shape != t.shape or x.dtype != t.dtype or not input.is_floating_point():
        return _reduced("mse_loss", ops.square(input - target), reduction)
    kernels = kernel(input)
    d = kernels.sub(x, t)
    Y = kernels.square(d)
    if reduction != "none":
        Y = getattr(kernels, reduction)(Y, tuple(range(d.ndim)), False)
    scale = 2 / max(d.size, 1) if reduction == "mean" else 2

    def gradients(G: Any, needed: tuple[bool, ...]) -> Any:
        g = kernels.mul(d, kernels.mul(G, scale))
        return g, kernels.neg(g) if needed[1] else None

    def composition(input: Tensor, target: Tensor) -> Tensor:
        return _reduced("mse_loss", ops.square(input - target), reduction)

    return record_fused(Y, (input, target), gradients, composition)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """d[...] = INPUT[...] - TARGET[...]
    ℓ[...] = WEIGHT[...] * abs(d[...])
    Y = (mean[...] ℓ[...]) / (mean[...] WEIGHT[...]) if reduction == "mean" else
        Σ[...] ℓ[...] if reduction == "sum" else ℓ

    n = numel(ℓ) * (mean[...] WEIGHT[...]) if reduction == "mean" else 1
    ∂L/∂INPUT[...] = G[...] * WEIGHT[...] * sign(d[...]) / n
    ∂L/∂TARGET[...] = -G[...] * WEIGHT[...] * sign(d[...]) / n

    Mean absolute error (Laplace 1774); its slope at 0 is 0. Shapes that differ are broadcast, with a warning. weight:
    one factor for each element, of the input's shape, 1 by default.
    """
    _same_size("l1_loss", input, target)
    losses = ops.abs(input - target)
    if weight is not None:
        return _weighed("l1_loss", losses, input, weight, reduction)
    return _reduced("l1_loss", losses, reduction)


def huber_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """d[...] = INPUT[...] - TARGET[...]
    ℓ[...] = WEIGHT[...] * (d[...]**2 / 2 if abs(d[...]) < delta else delta * (abs(d[...]) - delta / 2))
    Y = (mean[...] ℓ[...]) / (mean[...] WEIGHT[...]) if reduction == "mean" else
        Σ[...] ℓ[...] if reduction == "sum" else ℓ

    n = numel(ℓ) * (mean[...] WEIGHT[...]) if reduction == "mean" else 1
    ∂L/∂INPUT[...] = G[...] * WEIGHT[...] * clamp(d[...], -delta, delta) / n
    ∂L/∂TARGET[...] = -G[...] * WEIGHT[...] * clamp(d[...], -delta, delta) / n

    A parabola near 0 and straight beyond ±delta, so that outliers pull with a bounded force (Huber 1964,
    equation 2.4). weight: one factor for each element, of the input's shape, 1 by default.
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is {delta}, expected a number above 0")
    _same_size("huber_loss", input, target)
    losses = huber(input - target, delta)
    if weight is not None:
        return _weighed("huber_loss", losses, input, weight, reduction)
    return _reduced("huber_loss", losses, reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d[...] = INPUT[...] - TARGET[...]
    ℓ[...] = d[...]**2 / (2 * beta) if abs(d[...]) < beta else abs(d[...]) - beta / 2
    Y = mean[...] ℓ[...] if reduction == "mean" else Σ[...] ℓ[...] if reduction == "sum" else ℓ

    ∂L/∂INPUT[...] = G[...] * clamp(d[...] / beta, -1, 1) / (numel(ℓ) if reduction == "mean" else 1)
    ∂L/∂TARGET[...] = -G[...] * clamp(d[...] / beta, -1, 1) / (numel(ℓ) if reduction == "mean" else 1)

    The Huber loss divided by beta: slope ±1 beyond ±beta; beta = 0 is the L1 loss (Girshick 2015, Fast R-CNN,
    equation 3).
    """
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta is {beta}, expected 0 or more")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    _same_size("smooth_l1_loss", input, target)
    return _reduced("smooth_l1_loss", huber(input - target, beta) / beta, reduction)


def huber(d: Tensor, delta: float) -> Tensor:
    """Y = where(abs(D) < delta, D**2 / 2, delta * (abs(D) - delta / 2))

    ∂L/∂D = G * clamp(D, -delta, delta)
    """
    near = kernel(d).clamp(d.array, -delta, delta)
    value = near * (d.array - near / 2)  # near is d within ±delta; beyond, this is delta * |d| - delta²/2
    return record(value, d, lambda G: G * ops.clamp(d, -delta, delta))


# --------------------------------------------------------------------------------------------- classification


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """logp[n,c] = INPUT[n,c] - log(Σ[k] exp(INPUT[n,k]))
    kept[n] = [TARGET[n] != ignore_index]
    ℓ[n] = -kept[n] * ((1 - label_smoothing) * WEIGHT[TARGET[n]] * logp[n,TARGET[n]]
        + label_smoothing / size(INPUT, 1) * (Σ[c] WEIGHT[c] * logp[n,c]))
    Y = (Σ[n] ℓ[n]) / (Σ[n] kept[n] * WEIGHT[TARGET[n]]) if reduction == "mean" else
        Σ[n] ℓ[n] if reduction == "sum" else ℓ

    pull[n,c] = (1 - label_smoothing) * WEIGHT[TARGET[n]] * [c == TARGET[n]]
        + label_smoothing / size(INPUT, 1) * WEIGHT[c]
    share[n] = kept[n] / ((Σ[m] kept[m] * WEIGHT[TARGET[m]]) if reduction == "mean" else 1)
    ∂L/∂INPUT[n,c] = G[n] * share[n] * (exp(logp[n,c]) * (Σ[k] pull[n,k]) - pull[n,c])

    The negative log-likelihood of the classes under softmax(input), from logits, stable for any size of them.

    input   (N, C), (C), or (N, C, d1, ...) logits
    target  class indices 0 ... C-1 in the input's shape without C, any integer dtype; or probabilities in the
            input's shape, floating point: ℓ = -Σ[c] weight_c * p_c * logp_c, the mean over all N * d1 * ...
    weight  (C), one factor a class, 1 by default
    ignore_index     positions with this class count for nothing (class indices only)
    label_smoothing  0 ... 1: so much of each target is spread evenly over the classes

    Errors: shapes that do not fit, classes outside 0 ... C-1 (IndexError), an unknown reduction.
    Sources: Good 1952 (section 8); label smoothing: Szegedy et al. 2016, section 7.
    """
    name = "cross_entropy"
    _check_reduction(name, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"{name}: label_smoothing is {label_smoothing}, expected a number between 0 and 1")
    input, target, squeeze = _with_batch(name, input, target)
    _check_weight(name, input, weight)
    if target.is_floating_point():
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing, squeeze)
    t, all_kept = _class_indices(name, input.shape, target, ignore_index)
    if input.ndim == 2 and not (weight is not None and weight.requires_grad):
        losses = _fused_cross_entropy(input, t, weight, ignore_index, label_smoothing, target)
    else:
        losses = _plain_cross_entropy(input, t, weight, ignore_index, label_smoothing)
    return _weighted(losses, t, weight, ignore_index, all_kept, reduction, squeeze)


def _plain_cross_entropy(
    x: Tensor, target: np.ndarray, weight: Tensor | None, ignore_index: int, label_smoothing: float
) -> Tensor:
    """The single terms for x (N, C, d1, ...) and target (N, d1, ...): log-softmax, then the target's."""
    logp = ops.log_softmax(x, 1)
    losses = _picked(logp, target, weight, ignore_index)
    if label_smoothing == 0:
        return losses
    C = x.shape[1]
    spread = logp if weight is None else logp * weight.reshape(_class_axis(x))
    kept = wrap((target != ignore_index).astype(x.array.dtype))
    return (1 - label_smoothing) * losses - label_smoothing / C * (spread.sum(1) * kept)


def _fused_cross_entropy(
    x: Tensor,
    target: np.ndarray,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    given: Tensor | None = None,
) -> Tensor:
    """`_plain_cross_entropy` for x (N, C), a kernel for the value and one for the gradient. given: target's tensor."""
    w = None if weight is None else weight.array.astype(x.array.dtype, copy=False)
    kernels = kernel(x)
    losses, lse = kernels.cross_entropy(x.array, target, w, ignore_index, label_smoothing)

    def gradients(G: Any, needed: tuple[bool, ...]) -> list[Any]:
        return [kernels.cross_entropy_gradient(G, x.array, target, lse, w, ignore_index, label_smoothing)]

    def composition(x: Tensor) -> Tensor:
        return _plain_cross_entropy(x, target, weight, ignore_index, label_smoothing)

    gradients.__qualname__ = "cross_entropy"  # the name that the tape shows
    return record_fused(losses, (x,), gradients, composition, (x, given, weight))


def _soft_cross_entropy(
    x: Tensor, p: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float, squeeze: bool
) -> Tensor:
    """Targets as probabilities."""
    if label_smoothing > 0:
        p = p * (1 - label_smoothing) + label_smoothing / x.shape[1]
    logp = ops.log_softmax(x, 1)
    if weight is not None:
        logp = logp * weight.reshape(_class_axis(x))
    losses = -(logp * p).sum(1)
    return _reduced("cross_entropy", losses.squeeze(0) if squeeze else losses, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """kept[n] = [TARGET[n] != ignore_index]
    ℓ[n] = -kept[n] * WEIGHT[TARGET[n]] * INPUT[n,TARGET[n]]
    Y = (Σ[n] ℓ[n]) / (Σ[n] kept[n] * WEIGHT[TARGET[n]]) if reduction == "mean" else
        Σ[n] ℓ[n] if reduction == "sum" else ℓ

    share[n] = kept[n] / ((Σ[m] kept[m] * WEIGHT[TARGET[m]]) if reduction == "mean" else 1)
    ∂L/∂INPUT[n,c] = -G[n] * share[n] * WEIGHT[TARGET[n]] * [c == TARGET[n]]

    The negative log-likelihood, from log-probabilities (log_softmax's result). Shapes, `weight` and
    `ignore_index` are cross_entropy's; targets are class indices.
    """
    _check_reduction("nll_loss", reduction)
    input, target, squeeze = _with_batch("nll_loss", input, target)
    _check_weight("nll_loss", input, weight)
    if target.is_floating_point():
        raise TypeError(
            f"nll_loss: target has dtype {target.dtype}, expected class indices (int64); cross_entropy "
            "takes probabilities"
        )
    t, all_kept = _class_indices("nll_loss", input.shape, target, ignore_index)
    losses = _picked(input, t, weight, ignore_index)
    return _weighted(losses, t, weight, ignore_index, all_kept, reduction, squeeze)


def _picked(logp: Tensor, target: np.ndarray, weight: Tensor | None, ignore_index: int) -> Tensor:
    """-w[t] * logp[n,t], 0 where t is ignore_index: (N, C, d1, ...) and (N, d1, ...) -> (N, d1, ...)."""
    kept = target != ignore_index
    safe = np.where(kept, target, 0)
    losses = -ops.gather(logp, 1, wrap(safe[:, None])).squeeze(1)
    if weight is not None:
        losses = losses * weight[wrap(safe)]
    return losses if not _captured(kept) and kept.all() else ops.where(wrap(kept), losses, 0.0)


def _weighted(
    losses: Tensor,
    target: np.ndarray,
    weight: Tensor | None,
    ignore_index: int,
    all_kept: bool,
    reduction: str,
    squeeze: bool,
) -> Tensor:
    """PyTorch's reduction over class indices: the mean divides by the sum of the weights that counted."""
    if reduction == "none":
        return losses.squeeze(0) if squeeze else losses
    total = losses.sum()
    if reduction == "sum":
        return total
    if weight is None:
        if _captured(target):
            return total / wrap((target != ignore_index).sum().astype(losses.array.dtype))
        count = target.size if all_kept else int((target != ignore_index).sum())
        return total / count if count else total * math.nan
    kept = target != ignore_index
    counted = weight[wrap(np.where(kept, target, 0))] * wrap(kept.astype(weight.array.dtype))
    return total / counted.sum()


# -------------------------------------------------------------------------- two classes, distributions


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """ℓ[...] = -WEIGHT[...] * (TARGET[...] * max(log(INPUT[...]), -100)
        + (1 - TARGET[...]) * max(log(1 - INPUT[...]), -100))
    Y = mean[...] ℓ[...] if reduction == "mean" else Σ[...] ℓ[...] if reduction == "sum" else ℓ

    share[...] = G[...] * WEIGHT[...] / (numel(ℓ) if reduction == "mean" else 1)
    ∂L/∂INPUT[...] = share[...] * (INPUT[...] - TARGET[...]) / max(INPUT[...] * (1 - INPUT[...]), 1e-12)
    ∂L/∂TARGET[...] = share[...] * (max(log(1 - INPUT[...]), -100) - max(log(INPUT[...]), -100))

    From probabilities in [0, 1]; logarithms end at -100, as in PyTorch, so that 0 and 1 give finite losses.
    `binary_cross_entropy_with_logits` is more precise. Input and target have one shape; `weight` broadcasts
    to it.
    """
    name = "binary_cross_entropy"
    _one_shape(name, input, target)
    x = input.array
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(
            f"{name}: the input has values outside [0, 1] (or NaN), expected probabilities; apply sigmoid "
            "first, or give logits to binary_cross_entropy_with_logits"
        )
    t = target.to(input.dtype)
    kernels = kernel(input)
    with np.errstate(divide="ignore"):  # log 0 is -Inf, and ends at -100
        yes, no = kernels.clamp(kernels.log(x), -100.0, None), kernels.clamp(kernels.log1p(-x), -100.0, None)
    losses = record(
        -(t.array * yes + (1 - t.array) * no),
        input, lambda G: G * (input - t) / ops.clamp(input * (1 - input), 1e-12),
        t, lambda G: G * (ops.clamp(ops.log1p(-input), -100.0) - ops.clamp(ops.log(input), -100.0)),
    )  # fmt: skip
    return _reduced(name, losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """ℓ[...] = -WEIGHT[...] * (POS_WEIGHT[...] * TARGET[...] * log(sigmoid(INPUT[...]))
        + (1 - TARGET[...]) * log(sigmoid(-INPUT[...])))
    Y = mean[...] ℓ[...] if reduction == "mean" else Σ[...] ℓ[...] if reduction == "sum" else ℓ

    share[...] = G[...] * WEIGHT[...] / (numel(ℓ) if reduction == "mean" else 1)
    ∂L/∂INPUT[...] = share[...] * ((1 - TARGET[...]) * sigmoid(INPUT[...])
        - POS_WEIGHT[...] * TARGET[...] * sigmoid(-INPUT[...]))

    Computed from logits as (1 - t) x - (1 + (pos_weight - 1) t) log sigmoid(x), which never overflows.
    Input and target have one shape; `weight` and `pos_weight` (the positive answers' factor) broadcast to it.
    """
    name = "binary_cross_entropy_with_logits"
    _one_shape(name, input, target)
    pull = ops.logsigmoid(input)
    if pos_weight is not None:
        pull = pull * ((pos_weight - 1) * target + 1)
    losses = (1 - target) * input - pull
    return _reduced(name, losses if weight is None else losses * weight, reduction)


def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """ℓ[...] = exp(TARGET[...]) * (TARGET[...] - INPUT[...]) if log_target else
        TARGET[...] * (log(TARGET[...]) - INPUT[...]) if TARGET[...] != 0 else -TARGET[...] * INPUT[...]
    Y = mean[...] ℓ[...] if reduction == "mean" else
        (Σ[...] ℓ[...]) / size(INPUT, 0) if reduction == "batchmean" else
        Σ[...] ℓ[...] if reduction == "sum" else ℓ

    n = numel(ℓ) if reduction == "mean" else size(INPUT, 0) if reduction == "batchmean" else 1
    ∂L/∂INPUT[...] = -G[...] * (exp(TARGET[...]) if log_target else TARGET[...]) / n

    The Kullback-Leibler divergence of `input` (log-probabilities) from `target` (probabilities, or their
    logarithms with `log_target=True`). "mean" is over all elements; "batchmean" divides the sum by N, which
    is the divergence itself (Kullback & Leibler 1951, equation 2.4).
    """
    if reduction != "batchmean":
        _check_reduction("kl_div", reduction, "batchmean")
    if log_target:
        losses = ops.exp(target) * (target - input)
    else:
        some = target != 0  # a negative one is no probability: the logarithm makes it NaN
        entropy = ops.where(some, target * ops.log(ops.where(some, target, 1.0)), 0.0)
        losses = entropy - target * input
    if reduction == "batchmean":
        return losses.sum() / input.shape[0]
    return _reduced("kl_div", losses, reduction)


# ---------------------------------------------------------------------------------------------- checks


def _check_reduction(name: str, reduction: str, *more: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        known = ", ".join(map(repr, ("mean", "sum", "none", *more)))
        raise ValueError(f"{name}: reduction is {reduction!r}, expected one of {known}")


def _reduced(name: str, losses: Tensor, reduction: str) -> Tensor:
    _check_reduction(name, reduction)
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def _weighed(name: str, losses: Tensor, input: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """Each loss times its weight; the mean divides by the weights' sum."""
    if weight.array.shape != input.array.shape:
        raise ValueError(f"{name}: weight has shape {tuple(weight.shape)}, expected the input's {tuple(input.shape)}")
    losses = losses * weight
    _check_reduction(name, reduction)
    return losses.sum() / weight.sum() if reduction == "mean" else _reduced(name, losses, reduction)


def _same_size(name: str, input: Tensor, target: Tensor) -> None:
    """Warns where PyTorch does: (N, 1) against (N) would quietly compare every pair."""
    if input.array.shape != target.array.shape:
        warnings.warn(
            f"{name}: input {tuple(input.shape)} and target {tuple(target.shape)} differ in shape and are "
            "broadcast, which is seldom meant; reshape one to the other's shape",
            stacklevel=3,
        )


def _one_shape(name: str, input: Tensor, target: Tensor) -> None:
    if input.array.shape != target.array.shape:
        raise ValueError(
            f"{name}: input {tuple(input.shape)} and target {tuple(target.shape)} must have the same shape; reshape one"
        )


def _class_axis(x: Tensor) -> tuple[int, ...]:
    """(1, C, 1, ...): the shape in which a weight per class broadcasts against x (N, C, d1, ...)."""
    return (1, -1) + (1,) * (x.ndim - 2)


def _check_weight(name: str, input: Tensor, weight: Tensor | None) -> None:
    if weight is not None and tuple(weight.shape) != (input.shape[1],):
        raise ValueError(
            f"{name}: weight has shape {tuple(weight.shape)}, expected ({input.shape[1]},): one factor for each class"
        )


def _with_batch(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Input as (N, C, ...), target to match, and whether a batch of one was added."""
    if not input.is_floating_point():
        raise TypeError(
            f"{name}: input has dtype {input.dtype}, expected floating point; input comes first, target second"
        )
    if input.ndim == 0:
        raise ValueError(f"{name}: input has no dimensions, expected (C), (N, C) or (N, C, d1, ...)")
    probabilities = target.is_floating_point() and name == "cross_entropy"
    shape = tuple(input.shape)
    expected = shape if probabilities else () if len(shape) == 1 else (shape[0], *shape[2:])
    if tuple(target.shape) != expected:
        kind = "probabilities" if probabilities else "class indices"
        raise ValueError(
            f"{name}: input {shape} and target {tuple(target.shape)} do not fit; {kind} for this input have "
            f"shape {expected}"
        )
    if len(shape) == 1:
        return input.unsqueeze(0), target.unsqueeze(0), True
    return input, target, False


def _captured(x: np.ndarray) -> bool:
    """Whether x lies on a device where a graph is being captured, and the host must not read it."""
    return arrays.graph is not None and x.__class__ is not np.ndarray


def _class_indices(
    name: str, shape: tuple[int, ...], target: Tensor, ignore_index: int
) -> tuple[np.ndarray, bool]:
    """The target as int64, checked for an input of this shape, and whether it is known that no entry is ignored."""
    t, C = target.array, shape[1]
    if t.dtype.kind not in "iu":
        raise TypeError(f"{name}: target has dtype {target.dtype}, expected class indices (int64) or probabilities")
    t = t.astype(np.int64, copy=False)
    if t.size == 0:
        return t, True
    if _captured(t):  # looked at with each replay
        arrays.graph.later(partial(_class_indices, name, shape, target, ignore_index))
        return t, False
    low, high = int(t.min()), int(t.max())
    if low >= 0 and high < C:
        return t, not 0 <= ignore_index < C
    wrong = ((t < 0) | (t >= C)) & (t != ignore_index)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise IndexError(
            f"{name}: target {int(t[index])} at {index if len(index) > 1 else index[0]} is no class: "
            f"the input {tuple(shape)} has classes 0 to {C - 1}"
        )
    return t, False


__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "kl_div",
    "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss",
]  # fmt: skip
