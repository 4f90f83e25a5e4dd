"""Optimizers that scale every element's step by the gradients it has seen: Adagrad, RMSprop, Adadelta."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minidl._creation import full_like, zeros_like
from minidl._tensor import Tensor
from minidl.kernels import kernel
from minidl.nn.parameter import InPlace
from minidl.optim.optimizer import Group, Optimizer, gradients_of, one_way, require


class _Adaptive(Optimizer):
    """What the three share: buffers of the parameter's shape, and one kernel call for parameters of one age."""

    def buffers(self, group: Group, p: Tensor) -> dict[str, Tensor]:
        """The state that a parameter starts with."""
        raise NotImplementedError

    def move(self, kernels: Any, group: Group, params: list[Any], grads: list[Any], state: Any, step: int) -> None:
        """Calls the kernel; `state(key)` are the buffers of all parameters, None where the group has none such."""
        raise NotImplementedError

    def update(self, group: Group) -> None:
        together: dict[Any, list[Tensor]] = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, **self.buffers(group, p))
            state["step"] += 1
            together.setdefault((state["step"], p.array.__class__, p.array.dtype), []).append(p)
        for (step, *_), params in together.items():

            def state_of(key: str, params: list[Tensor] = params) -> list[Any] | None:
                return [self.state[p][key].array for p in params] if key in self.state[params[0]] else None

            with InPlace(params) as arrays:
                gradients = gradients_of(params, group["maximize"])
                self.move(kernel(params[0]), group, arrays, gradients, state_of, step)


class Adagrad(_Adaptive):
    """g ← -g if maximize else g
    g ← g + weight_decay * w
    v ← (initial_accumulator_value if t == 1 else v) + g**2
    w ← w - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(v) + eps)

    w a parameter, g its gradient, v the sum of all squares so far (state "sum"), t = 1, 2, ... the step. The more an
    element has been moved, the shorter its next steps: rare features learn as much as frequent ones.

    lr            step size, 0 or more
    lr_decay      how fast the step size falls with t, 0 or more
    weight_decay  λ of the L2 penalty λ/2 Σ w²
    initial_accumulator_value   where v starts, 0 or more
    eps           keeps the division finite, 0 or more
    maximize      climbs instead

    Source: Duchi, Hazan & Singer 2011, Adaptive Subgradient Methods, section 1.3.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        one_way("Adagrad", differentiable=differentiable)
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        options["initial_accumulator_value"] = initial_accumulator_value
        super().__init__(params, {**options, "maximize": maximize})

    def check(self, group: Group) -> None:
        for option in ("lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            require("Adagrad", option, group[option], lambda x: x >= 0, "a number of 0 or more")

    def buffers(self, group: Group, p: Tensor) -> dict[str, Tensor]:
        return {"sum": full_like(p.detach(), group["initial_accumulator_value"])}

    def move(self, kernels: Any, group: Group, params: list[Any], grads: list[Any], state: Any, step: int) -> None:
        rate = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        kernels.adagrad_step(params, grads, state("sum"), rate, group["eps"], group["weight_decay"])


class RMSprop(_Adaptive):
    """g ← -g if maximize else g
    g ← g + weight_decay * w
    v ← alpha * v + (1 - alpha) * g**2
    m ← alpha * m + (1 - alpha) * g if centered else m
    d ← g / (sqrt(v - m**2 if centered else v) + eps)
    b ← momentum * b + d
    w ← w - lr * b

    w a parameter, g its gradient, v a running mean of the squares, m of the gradients, b the momentum; all start at 0
    (state "square_avg", "grad_avg", "momentum_buffer"). Adagrad that forgets, so that steps do not die out.

    lr            step size, 0 or more
    alpha         how slowly v forgets, 0 or more
    eps           keeps the division finite, 0 or more
    weight_decay  λ of the L2 penalty λ/2 Σ w²
    momentum      how much of the last direction goes on, 0 or more
    centered      divides by the standard deviation, from v - m², instead of the root of the mean square (Graves 2013,
                  equation 38)
    maximize      climbs instead

    Source: Tieleman & Hinton 2012, Neural Networks for Machine Learning, lecture 6.5; eps outside the root, as in
    PyTorch.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        one_way("RMSprop", capturable=capturable, differentiable=differentiable)
        options = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        super().__init__(params, {**options, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, group: Group) -> None:
        for option in ("alpha", "eps", "weight_decay", "momentum"):
            require("RMSprop", option, group[option], lambda x: x >= 0, "a number of 0 or more")

    def buffers(self, group: Group, p: Tensor) -> dict[str, Tensor]:
        names = ["square_avg"]
        names += ["momentum_buffer"] if group["momentum"] > 0 else []
        names += ["grad_avg"] if group["centered"] else []
        return {name: zeros_like(p.detach()) for name in names}

    def move(self, kernels: Any, group: Group, params: list[Any], grads: list[Any], state: Any, step: int) -> None:
        kernels.rmsprop_step(
            params,
            grads,
            state("square_avg"),
            state("grad_avg"),
            state("momentum_buffer"),
            group["lr"],
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
        )


class Adadelta(_Adaptive):
    """g ← -g if maximize else g
    g ← g + weight_decay * w
    v ← rho * v + (1 - rho) * g**2
    d ← sqrt(m + eps) / sqrt(v + eps) * g
    m ← rho * m + (1 - rho) * d**2
    w ← w - lr * d

    w a parameter, g its gradient, v a running mean of the gradients' squares, m of the steps'; both start at 0 (state
    "square_avg", "acc_delta"). The steps have the parameter's unit, and no step size needs to be found.

    lr            factor of the steps, 0 or more
    rho           how slowly v and m forget, 0 to 1
    eps           where the first steps come from, 0 or more
    weight_decay  λ of the L2 penalty λ/2 Σ w²
    maximize      climbs instead

    Source: Zeiler 2012, ADADELTA, algorithm 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        one_way("Adadelta", capturable=capturable, differentiable=differentiable)
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def check(self, group: Group) -> None:
        require("Adadelta", "rho", group["rho"], lambda x: 0 <= x <= 1, "a number from 0 to 1")
        for option in ("eps", "weight_decay"):
            require("Adadelta", option, group[option], lambda x: x >= 0, "a number of 0 or more")

    def buffers(self, group: Group, p: Tensor) -> dict[str, Tensor]:
        return {"square_avg": zeros_like(p.detach()), "acc_delta": zeros_like(p.detach())}

    def move(self, kernels: Any, group: Group, params: list[Any], grads: list[Any], state: Any, step: int) -> None:
        options = group["lr"], group["rho"], group["eps"], group["weight_decay"]
        kernels.adadelta_step(params, grads, state("square_avg"), state("acc_delta"), *options)


__all__ = ["Adadelta", "Adagrad", "RMSprop"]
