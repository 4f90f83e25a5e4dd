"""Adam and AdamW: step sizes from running means of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minidl._creation import tensor, zeros_like
from minidl._dtypes import float64
from minidl._tensor import Tensor
from minidl.autograd import no_grad
from minidl.kernels import kernel
from minidl.nn.parameter import InPlace
from minidl.optim.optimizer import Group, Optimizer, gradients_of, one_way, require


class Adam(Optimizer):
    """g ← -g if maximize else g
    g ← g + weight_decay * w
    m ← β1 * m + (1 - β1) * g
    v ← β2 * v + (1 - β2) * g**2
    m̂ ← m / (1 - β1**t)
    u ← maximum(u, v) if amsgrad else u
    v̂ ← (u if amsgrad else v) / (1 - β2**t)
    w ← w - lr * m̂ / (sqrt(v̂) + eps)

    w a parameter, g its gradient, m, v and u start at 0, t = 1, 2, ... is the parameter's own count of steps.
    The state keeps them as "exp_avg", "exp_avg_sq", "max_exp_avg_sq" (with amsgrad only) and "step".

    lr            step size, 0 or more: about how far a parameter moves in one step
    betas         (β1, β2), each in [0, 1): how slowly m and v forget
    eps           keeps the division finite, 0 or more
    weight_decay  λ of an L2 penalty; Adam divides its gradient too, which weakens it where gradients are large
    amsgrad       divides by the largest v so far, so that no step size grows again (Reddi, Kale & Kumar 2018,
                  algorithm 2)
    maximize      climbs instead
    capturable    the step may be captured (cuda.CUDAGraph): "step" is a float64 tensor beside the parameter, raised by
                  a kernel, and lr is read anew in each replay

    Source: Kingma & Ba 2015, algorithm 1. `foreach` and `fused` choose among PyTorch's ways of computing the same and
    are accepted; `differentiable` is refused.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        one_way(type(self).__name__, differentiable=differentiable)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize, "capturable": capturable})

    def check(self, group: Group) -> None:
        name = type(self).__name__
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{name}: betas is {betas!r}, expected two numbers, such as (0.9, 0.999)")
        for option, beta in zip(("beta1", "beta2"), betas, strict=True):
            require(name, option, beta, lambda x: 0 <= x < 1, "a number from 0 to below 1")
        require(name, "eps", group["eps"], lambda x: x >= 0, "a number of 0 or more, such as 1e-8")
        require(name, "weight_decay", group["weight_decay"], lambda x: x >= 0, "a number of 0 or more")

    def update(self, group: Group) -> None:
        amsgrad, capturable = group["amsgrad"], group["capturable"]
        names = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"] if amsgrad else ["exp_avg", "exp_avg_sq"]
        ready = [(p, self.state[p]) for p in group["params"] if p.grad is not None]
        for p, state in ready:
            if names[-1] not in state:
                self._begun(p)
                state.setdefault("step", 0)
                for name in names:
                    state.setdefault(name, zeros_like(p.detach()))
        if capturable:
            self._count([p for p, _ in ready])
        # One kernel call takes one dtype and one count of steps.
        together: dict[Any, tuple[list[Tensor], list[dict[str, Any]]]] = {}
        for p, state in ready:
            if not capturable:
                state["step"] = int(state["step"]) + 1
            key = (id(state["step"]) if capturable else state["step"], p.array.__class__, p.array.dtype)
            params, states = together.get(key) or together.setdefault(key, ([], []))
            params.append(p)
            states.append(state)
        beta1, beta2 = group["betas"]
        lr = self.rate(group) if together else group["lr"]
        for params, states in together.values():
            step = states[0]["step"]
            if isinstance(step, Tensor):
                step = int(step.item()) if step.array.__class__ is np.ndarray else step.array
            with InPlace(params) as arrays:
                kernels = kernel(params[0])
                (kernels.amsgrad_step if amsgrad else kernels.adam_step)(
                    arrays,
                    gradients_of(params, group["maximize"]),
                    *([state[name].array for state in states] for name in names),
                    step,
                    lr,
                    beta1,
                    beta2,
                    group["eps"],
                    group["weight_decay"],
                    self.decoupled,
                )

    def _count(self, ready: list[Tensor]) -> None:
        """One step more, on the parameters' own devices: one tensor counts for all that have taken as many steps."""
        new: dict[Any, Tensor] = {}
        for p in ready:
            state = self.state[p]
            if not isinstance(state["step"], Tensor):
                self._begun(p)
                at = (state["step"], p.array.__class__)
                if at not in new:
                    new[at] = tensor(float(state["step"]), dtype=float64).to(p.device)
                state["step"] = new[at]
        resting = {id(p) for p in self.state} - {id(p) for p in ready}
        kept = {id(s["step"]) for p, s in self.state.items() if id(p) in resting}
        apart: dict[int, Tensor] = {}  # those that step now leave the tensor of those that do not
        counts: dict[int, Tensor] = {}
        for p in ready:
            step = self.state[p]["step"]
            if id(step) in kept:
                self._begun(p)
                step = self.state[p]["step"] = apart.setdefault(id(step), step.clone())
            counts[id(step)] = step
        with no_grad():
            for step in counts.values():
                step.add_(1)


class AdamW(Adam):
    """g ← -g if maximize else g
    w ← w - lr * weight_decay * w
    m ← β1 * m + (1 - β1) * g
    v ← β2 * v + (1 - β2) * g**2
    m̂ ← m / (1 - β1**t)
    u ← maximum(u, v) if amsgrad else u
    v̂ ← (u if amsgrad else v) / (1 - β2**t)
    w ← w - lr * m̂ / (sqrt(v̂) + eps)

    Adam whose weight decay goes past m and v: every parameter shrinks by the same share lr * weight_decay a
    step, which a penalty in the loss does not do. Options as Adam's; weight_decay is 0.01 by default.

    Source: Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        ways = {"capturable": capturable, "differentiable": differentiable}
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, **ways)


__all__ = ["Adam", "AdamW"]
