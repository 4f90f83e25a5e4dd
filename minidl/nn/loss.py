"""The losses as modules: options at construction, `loss(input, target)` to compute. Formulas:
`minidl.losses`.
"""

from __future__ import annotations

from typing import Any

from minidl import losses
from minidl._tensor import Tensor
from minidl.nn.module import Module


class _Loss(Module):
    """Keeps the options under their names (tensors as buffers: they move along) and passes them on."""

    function: Any

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = tuple(options)
        for name, value in options.items():
            if name.endswith("weight"):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        losses._check_reduction(
            type(self).__name__, self.reduction, *(("batchmean",) if isinstance(self, KLDivLoss) else ())
        )

    reduction: str

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return type(self).function(input, target, **{name: getattr(self, name) for name in self._options})


class MSELoss(_Loss):
    """Mean squared error; the formula: `minidl.losses.mse_loss`."""

    function = staticmethod(losses.mse_loss)

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class L1Loss(_Loss):
    """Mean absolute error; the formula: `minidl.losses.l1_loss`."""

    function = staticmethod(losses.l1_loss)

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class HuberLoss(_Loss):
    """Square near 0, straight beyond ±delta; the formula: `minidl.losses.huber_loss`."""

    function = staticmethod(losses.huber_loss)

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction, delta=delta)


class SmoothL1Loss(_Loss):
    """Square near 0, slope ±1 beyond ±beta; the formula: `minidl.losses.smooth_l1_loss`."""

    function = staticmethod(losses.smooth_l1_loss)

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction, beta=beta)


class CrossEntropyLoss(_Loss):
    """From logits (N, C, ...), class indices or probabilities; the formula: `minidl.losses.cross_entropy`."""

    function = staticmethod(losses.cross_entropy)

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)


class NLLLoss(_Loss):
    """From log-probabilities (N, C, ...) and class indices; the formula: `minidl.losses.nll_loss`."""

    function = staticmethod(losses.nll_loss)

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)


class BCELoss(_Loss):
    """From probabilities; the formula: `minidl.losses.binary_cross_entropy`."""

    function = staticmethod(losses.binary_cross_entropy)

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(weight=weight, reduction=reduction)


class BCEWithLogitsLoss(_Loss):
    """From logits; the formula: `minidl.losses.binary_cross_entropy_with_logits`."""

    function = staticmethod(losses.binary_cross_entropy_with_logits)

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)


class KLDivLoss(_Loss):
    """From log-probabilities and probabilities; the formula: `minidl.losses.kl_div`."""

    function = staticmethod(losses.kl_div)

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction=reduction, log_target=log_target)


__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss",
    "NLLLoss", "SmoothL1Loss",
]  # fmt: skip
