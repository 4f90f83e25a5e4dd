"""Learning rate schedules: each sets its optimizer's lr as a function of t, the number of `scheduler.step()`
calls.

for epoch in range(epochs):
    train(...)
    scheduler.step()
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minidl.optim.optimizer import Optimizer


class LRScheduler:
    """The base. A subclass gives `at(t, base_lr)`, its rate after t steps, in closed form.

    `last_epoch` is t. A rate that somebody else has changed since the last step (a second schedule, the user)
    is not overwritten but scaled by at(t) / at(t - 1), so that schedules combine as PyTorch's do.
    """

    floor = 0.0  # what scaling leaves alone: the rate is floor + (something that is scaled)
    absolute = False  # True: the rate is always at(t), whatever it was

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: optimizer is a {type(optimizer).__name__}, expected an Optimizer")
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{name}: last_epoch is {last_epoch}, but group {number} has no 'initial_lr' to go on from"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def at(self, t: int, base_lr: float) -> float:
        raise NotImplementedError(
            f"{type(self).__name__}: no method at(t, base_lr), which gives the rate after t steps"
        )

    def _rate(self, t: int, place: int) -> float:
        """The closed form for the group in this place."""
        return self.at(t, self.base_lrs[place])

    def step(self) -> None:
        """Goes on to t + 1, and every group's lr with it."""
        self.last_epoch += 1
        t = self.last_epoch
        for place, group in enumerate(self.optimizer.param_groups):
            new = self._rate(t, place)
            if not self.absolute:
                before = self._rate(t - 1, place) if t > 0 else self.base_lrs[place]
                if group["lr"] != before and before != self.floor:
                    new = self.floor + (group["lr"] - self.floor) * ((new - self.floor) / (before - self.floor))
            group["lr"] = new
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def restart(self) -> None:
        """Goes back to t = 0 and to the rate that belongs to it."""
        self.last_epoch = -1
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base_lr
        self.step()

    def get_last_lr(self) -> list[float]:
        """The rate of each group, as the last step set it."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions: plain numbers and lists."""
        return {k: v for k, v in vars(self).items() if k not in ("optimizer", "lr_lambdas")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state_dict(); the optimizer's own carries the rates."""
        unknown = sorted(set(state_dict) ^ set(self.state_dict()))
        if unknown:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: {unknown[0]!r} is in one of the two states only; "
                "the saved one is of another kind of schedule"
            )
        vars(self).update(state_dict)


class LambdaLR(LRScheduler):
    """lr = base_lr * factor

    factor is lr_lambda(t), of one function for all groups or of a list with one for each.
    """

    absolute = True

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"LambdaLR: {len(self.lr_lambdas)} functions for {groups} parameter groups; give one for each"
            )
        super().__init__(optimizer, last_epoch)

    def _rate(self, t: int, place: int) -> float:
        return self.base_lrs[place] * self.lr_lambdas[place](t)


class StepLR(LRScheduler):
    """lr = base_lr * gamma ** (t // step_size)"""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        _require(step_size >= 1, f"StepLR: step_size is {step_size}, expected 1 or more")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def at(self, t: int, base_lr: float) -> float:
        return base_lr * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """lr = base_lr * gamma ** (Σ[i] [MILESTONES[i] <= t])"""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def at(self, t: int, base_lr: float) -> float:
        return base_lr * self.gamma ** bisect_right(self.milestones, t)


class ExponentialLR(LRScheduler):
    """lr = base_lr * gamma ** t"""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def at(self, t: int, base_lr: float) -> float:
        return base_lr * self.gamma**t


class LinearLR(LRScheduler):
    """lr = base_lr * (start_factor + (end_factor - start_factor) * min(t, total_iters) / total_iters)

    A straight line, then constant: the usual warm-up.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        _require(0 < start_factor <= 1, f"LinearLR: start_factor is {start_factor}, expected above 0 and up to 1")
        _require(0 <= end_factor <= 1, f"LinearLR: end_factor is {end_factor}, expected 0 to 1")
        _require(total_iters >= 1, f"LinearLR: total_iters is {total_iters}, expected 1 or more")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def at(self, t: int, base_lr: float) -> float:
        part = min(t, self.total_iters) / self.total_iters
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * part)


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base_lr - eta_min) * (1 + cos(π * t / T_max)) / 2

    Half a cosine wave down over T_max steps, and up again if it goes on (Loshchilov & Hutter 2017, SGDR,
    equation 5).
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        _require(T_max >= 1, f"CosineAnnealingLR: T_max is {T_max}, expected 1 or more")
        self.T_max, self.eta_min = T_max, eta_min
        self.floor = eta_min
        super().__init__(optimizer, last_epoch)

    def at(self, t: int, base_lr: float) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class OneCycleLR(LRScheduler):
    """up = pct_start * total_steps - 1
    s = t / up if t <= up else (t - up) / (total_steps - 1 - up)
    a = (1 + cos(π * s)) / 2 if anneal_strategy == "cos" else 1 - s
    low = max_lr / div_factor
    last = low / final_div_factor
    lr = max_lr + (low - max_lr) * a if t <= up else last + (max_lr - last) * a

    Up from max_lr / div_factor to max_lr over the first part `pct_start`, then down to max_lr / div_factor /
    final_div_factor; stepped after every batch. `three_phase=True` goes down to where it began, as long as it
    went up, and only then to the end. `anneal_strategy` is "cos" or "linear". `cycle_momentum` moves momentum
    (SGD) or β1 (Adam) the other way, between max_momentum and base_momentum. Give total_steps, or epochs and
    steps_per_epoch.

    Source: Smith & Topin 2018, Super-Convergence.
    """

    absolute = True

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            _require(
                epochs is not None and steps_per_epoch is not None,
                "OneCycleLR: no length was given; give total_steps, or epochs and steps_per_epoch",
            )
            total_steps = epochs * steps_per_epoch  # type: ignore[operator]
        _require(total_steps > 0, f"OneCycleLR: total_steps is {total_steps}, expected 1 or more")
        _require(0 <= pct_start <= 1, f"OneCycleLR: pct_start is {pct_start}, expected 0 to 1")
        _require(
            anneal_strategy in ("cos", "linear"),
            f"OneCycleLR: anneal_strategy is {anneal_strategy!r}, expected 'cos' or 'linear'",
        )
        groups = optimizer.param_groups
        rates = list(max_lr) if isinstance(max_lr, (list, tuple)) else [max_lr] * len(groups)
        _require(
            len(rates) == len(groups),
            f"OneCycleLR: {len(rates)} values of max_lr for {len(groups)} parameter groups",
        )
        self._momentum = "momentum" if "momentum" in groups[0] else "betas" if "betas" in groups[0] else ""
        _require(
            not cycle_momentum or self._momentum != "",
            "OneCycleLR: this optimizer has neither momentum nor betas; pass cycle_momentum=False",
        )
        self.total_steps, self.anneal_strategy, self.cycle_momentum = (
            total_steps,
            anneal_strategy,
            cycle_momentum,
        )
        up, last = pct_start * total_steps - 1, float(total_steps - 1)
        # (end of the phase, lr at its end, momentum at its end); the lr as a share of max_lr
        start, end = 1 / div_factor, 1 / div_factor / final_div_factor
        down = [(2 * up, start, max_momentum)] if three_phase else []
        self._phases = [
            (0.0, start, max_momentum),
            (up, 1.0, base_momentum),
            *down,
            (last, end, max_momentum),
        ]
        self.max_lrs = rates
        if last_epoch == -1:
            for group, rate in zip(groups, rates, strict=True):
                group["initial_lr"] = rate * start
        super().__init__(optimizer, last_epoch)

    def _rate(self, t: int, place: int) -> float:
        return self.max_lrs[place] * self._curve(t, 1)

    def _curve(self, t: int, which: int) -> float:
        """Column `which` of the phases, at time t."""
        _require(
            t < self.total_steps,
            f"OneCycleLR: step {t + 1} of a cycle of {self.total_steps}; make total_steps the number of all batches",
        )
        phase = 1
        while t > self._phases[phase][0] and phase < len(self._phases) - 1:
            phase += 1
        begin, end = self._phases[phase - 1], self._phases[phase]
        part = (t - begin[0]) / (end[0] - begin[0]) if end[0] != begin[0] else 1.0
        if self.anneal_strategy == "cos":
            return end[which] + (begin[which] - end[which]) * (1 + math.cos(math.pi * part)) / 2
        return begin[which] + (end[which] - begin[which]) * part

    def step(self) -> None:
        super().step()
        if not self.cycle_momentum:
            return
        momentum = self._curve(self.last_epoch, 2)
        for group in self.optimizer.param_groups:
            group[self._momentum] = (momentum, *group["betas"][1:]) if self._momentum == "betas" else momentum


class SequentialLR(LRScheduler):
    """One schedule after the other: schedulers[i] from step milestones[i-1] on, each beginning with its own t
    = 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        _require(len(schedulers) > 0, "SequentialLR: no schedulers; give one or more")
        _require(
            len(milestones) == len(schedulers) - 1,
            f"SequentialLR: {len(schedulers)} schedulers and {len(milestones)} milestones; one fewer "
            "milestone is needed",
        )
        _require(
            all(s.optimizer is optimizer for s in schedulers),
            "SequentialLR: every scheduler must have this optimizer",
        )
        self.optimizer, self._schedulers, self._milestones = optimizer, list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._schedulers[0].restart()
        self._last_lr = self._schedulers[0].get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        place = bisect_right(self._milestones, self.last_epoch)
        now = self._schedulers[place]
        if place > 0 and self._milestones[place - 1] == self.last_epoch:
            now.restart()
        else:
            now.step()
        self._last_lr = now.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        state = {k: v for k, v in vars(self).items() if k != "optimizer"}
        return {**state, "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        inner = state_dict.get("_schedulers")
        if inner is None or len(inner) != len(self._schedulers):
            raise ValueError("SequentialLR.load_state_dict: the saved state has other schedulers than this one")
        for scheduler, state in zip(self._schedulers, inner, strict=True):
            scheduler.load_state_dict(state)
        vars(self).update({k: v for k, v in state_dict.items() if k != "_schedulers"})


class ReduceLROnPlateau(LRScheduler):
    """lr ← max(factor * lr, min_lr)

    Done when `step(metric)` has seen more than `patience` calls without an improvement.

    mode            "min": smaller is better; "max": larger
    threshold       an improvement is at least this large: relative to the best ("rel") or absolute ("abs")
    cooldown        calls that do not count after a reduction
    eps             a reduction by less than this is left out
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        _require(0 < factor < 1, f"ReduceLROnPlateau: factor is {factor}, expected above 0 and below 1")
        _require(mode in ("min", "max"), f"ReduceLROnPlateau: mode is {mode!r}, expected 'min' or 'max'")
        _require(
            threshold_mode in ("rel", "abs"),
            f"ReduceLROnPlateau: threshold_mode is {threshold_mode!r}, expected 'rel' or 'abs'",
        )
        groups = len(optimizer.param_groups)
        self.optimizer = optimizer
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * groups
        _require(
            len(self.min_lrs) == groups,
            f"ReduceLROnPlateau: {len(self.min_lrs)} values of min_lr for {groups} groups",
        )
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = (
            threshold,
            threshold_mode,
            cooldown,
            eps,
        )
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def is_better(self, metric: float, best: float) -> bool:
        """Whether the metric improves on the best by the threshold; NaN never does."""
        sign = -1.0 if self.mode == "min" else 1.0
        if self.threshold_mode == "abs":
            return sign * metric > sign * best + self.threshold
        return sign * metric > sign * best * (1 + sign * self.threshold)

    def step(self, metrics: Any = None) -> None:
        """Looks at a new value of the metric, a number or a Tensor of one."""
        _require(metrics is not None, "ReduceLROnPlateau.step: no metric; call step(validation_loss)")
        metric = float(metrics)
        self.last_epoch += 1
        if self.is_better(metric, self.best):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lower = max(group["lr"] * self.factor, least)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def _require(fits: bool, sentence: str) -> None:
    if not fits:
        raise ValueError(sentence)


__all__ = [
    "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR",
    "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip
