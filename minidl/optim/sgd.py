"""Gradient descent: GD with all data at once, SGD with batches and momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl._creation import zeros_like
from minidl._tensor import Tensor
from minidl.kernels import kernel
from minidl.nn.parameter import InPlace
from minidl.optim.optimizer import Group, Optimizer, gradients_of, one_way, require


class GD(Optimizer):
    """g ← g + weight_decay * w
    w ← w - lr * g

    Gradient descent with g the gradient over all of the data: one step a pass. The rule is SGD's without
    momentum; what differs is what `g` holds, so `train.fit` adds up the batches' gradients and steps once an
    epoch.

    lr            step size, 0 or more
    weight_decay  λ of the L2 penalty λ/2 Σ w²

    Source: Cauchy 1847, Méthode générale pour la résolution des systèmes d'équations simultanées.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def check(self, group: Group) -> None:
        require("GD", "weight_decay", group["weight_decay"], lambda x: x >= 0, "a number of 0 or more")

    def update(self, group: Group) -> None:
        for params in _alike([p for p in group["params"] if p.grad is not None]):
            with InPlace(params) as arrays:
                kernel(params[0]).sgd_step(
                    arrays,
                    gradients_of(params, False),
                    None,
                    group["lr"],
                    0.0,
                    0.0,
                    group["weight_decay"],
                    False,
                    False,
                )


class SGD(Optimizer):
    """g ← -g if maximize else g
    g ← g + weight_decay * w
    b ← g if t == 1 else momentum * b + (1 - dampening) * g
    g ← g if momentum == 0 else g + momentum * b if nesterov else b
    w ← w - lr * g

    Stochastic gradient descent: w a parameter, g its gradient, b the momentum buffer, t = 1, 2, ... the step.

    lr            step size, 0 or more
    momentum      how much of the last direction goes on, 0 or more (Polyak 1964)
    dampening     how much the new gradient is held back in b
    weight_decay  λ of the L2 penalty λ/2 Σ w², which it equals
    nesterov      looks ahead along b; needs momentum and no dampening (Nesterov 1983; Sutskever et al. 2013,
                  equation 3)
    maximize      climbs instead

    A step may be captured (cuda.CUDAGraph); each replay reads lr anew.

    Sources: Robbins & Monro 1951; the buffer as in PyTorch, where lr multiplies b when it is used, not when
    it is stored.
    """

    capturable = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        one_way("SGD", differentiable=differentiable)
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def check(self, group: Group) -> None:
        require("SGD", "momentum", group["momentum"], lambda x: x >= 0, "a number of 0 or more, such as 0.9")
        require("SGD", "dampening", group["dampening"], lambda x: True, "a number")
        require("SGD", "weight_decay", group["weight_decay"], lambda x: x >= 0, "a number of 0 or more")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov with momentum {group['momentum']} and dampening {group['dampening']}; "
                "it needs momentum above 0 and dampening 0"
            )

    def update(self, group: Group) -> None:
        ready = [p for p in group["params"] if p.grad is not None]
        if group["momentum"] == 0:
            for params in _alike(ready):
                self._move(group, params, None, False)
            return
        new = [p for p in ready if self.state[p].get("momentum_buffer") is None]
        for p in new:
            self._begun(p)
            self.state[p]["momentum_buffer"] = zeros_like(p.detach())
        starting = set(map(id, new))
        for first, some in ((True, new), (False, [p for p in ready if id(p) not in starting])):
            for params in _alike(some):
                self._move(group, params, [self.state[p]["momentum_buffer"].array for p in params], first)

    def _move(self, group: Group, params: list[Tensor], buffers: list[Any] | None, first: bool) -> None:
        with InPlace(params) as arrays:
            kernel(params[0]).sgd_step(
                arrays,
                gradients_of(params, group["maximize"]),
                buffers,
                self.rate(group),
                group["momentum"],
                group["dampening"],
                group["weight_decay"],
                group["nesterov"],
                first,
            )


def _alike(params: list[Tensor]) -> list[list[Tensor]]:
    """Parameters of one kind of array and one dtype together: what one kernel call can take."""
    kinds: dict[Any, list[Tensor]] = {}
    for p in params:
        kinds.setdefault((p.array.__class__, p.array.dtype), []).append(p)
    return list(kinds.values())


__all__ = ["GD", "SGD"]
