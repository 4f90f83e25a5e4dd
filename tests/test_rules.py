"""Update rules, schedules and penalties are what their docstrings say: the formulas run beside the code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from checks import same

import minidl
from minidl import optim, penalties
from minidl.explain import Formula, evaluate, formulas, run_updates
from minidl.optim import lr_scheduler

OPTIMIZERS: dict[str, list[dict[str, Any]]] = {
    "GD": [{"lr": 0.3}, {"lr": 0.3, "weight_decay": 0.2}],
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.2},
        {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.2, "maximize": True},
    ],
    "Adam": [{"lr": 0.1}, {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-2, "weight_decay": 0.3, "maximize": True}],
    "AdamW": [{"lr": 0.1}, {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-2, "weight_decay": 0.3, "maximize": True}],
}
OPTIMIZERS["Adam"].append({"lr": 0.1, "betas": (0.7, 0.9), "amsgrad": True})
OPTIMIZERS["AdamW"].append({"lr": 0.1, "betas": (0.7, 0.9), "amsgrad": True, "maximize": True})
DAMPED = {"eps": 0.1, "weight_decay": 0.3, "maximize": True}
OPTIMIZERS["Adagrad"] = [{"lr": 0.1}, {"lr": 0.1, "lr_decay": 0.2, "initial_accumulator_value": 0.4, **DAMPED}]
OPTIMIZERS["RMSprop"] = [{"lr": 0.1}, {"lr": 0.1, "alpha": 0.7, "momentum": 0.8, "centered": True, **DAMPED}]
OPTIMIZERS["Adadelta"] = [{}, {"lr": 0.7, "rho": 0.6, **DAMPED}]
PENALTIES = {"L1": {"λ": 0.3}, "L2": {"λ": 0.3}, "ElasticNet": {"λ1": 0.3, "λ2": 0.7}}
SCHEDULES: dict[str, list[dict[str, Any]]] = {
    "LambdaLR": [{"lr_lambda": lambda t: 1 / (1 + t)}],
    "StepLR": [{"step_size": 3, "gamma": 0.5}],
    "MultiStepLR": [{"milestones": [2, 3, 7], "gamma": 0.5}],
    "ExponentialLR": [{"gamma": 0.8}],
    "LinearLR": [{"start_factor": 0.25, "end_factor": 0.75, "total_iters": 4}],
    "CosineAnnealingLR": [{"T_max": 6, "eta_min": 0.01}],
    "OneCycleLR": [
        {"max_lr": 0.5, "total_steps": 10, "cycle_momentum": False},
        {"max_lr": 0.5, "total_steps": 12, "pct_start": 0.5, "anneal_strategy": "linear", "div_factor": 10.0},
    ],
    "ReduceLROnPlateau": [{"factor": 0.3, "patience": 0, "min_lr": 0.05}],
}
NO_CLOSED_FORM = {"LRScheduler", "SequentialLR"}  # the base, and one schedule after the other


def classes_of(module: Any, base: type) -> set[str]:
    found = inspect.getmembers(
        module, lambda thing: inspect.isclass(thing) and issubclass(thing, base) and thing is not base
    )
    return {name for name, _ in found}


def options_of(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a constructor under the names that formulas use."""
    parameters = inspect.signature(cls).parameters.values()
    known = {p.name: p.default for p in parameters if p.default is not p.empty} | dict(options)
    if "betas" in known:
        known["β1"], known["β2"] = known["betas"]
    return known


def test_every_rule_is_tried() -> None:
    assert classes_of(optim, optim.Optimizer) == set(OPTIMIZERS)
    assert classes_of(penalties, penalties.Penalty) == set(PENALTIES)
    assert classes_of(lr_scheduler, lr_scheduler.LRScheduler) == set(SCHEDULES) | NO_CLOSED_FORM - {"LRScheduler"}


# ----------------------------------------------------------------------------------------------- optimizers


def follow(cls: Any, options: Mapping[str, Any], lines: list[Formula], steps: int = 3) -> None:
    """Some steps of the optimizer and of its rule, on the same gradients."""
    random = np.random.default_rng(4)
    w = minidl.tensor(random.normal(size=(3, 2)), requires_grad=True)
    optimizer = cls([w], **options)
    state = options_of(cls, options) | {"w": w.detach().numpy().copy(), "m": 0.0, "v": 0.0, "b": 0.0, "u": 0.0}
    for t in range(1, steps + 1):
        g = random.normal(size=w.shape)
        w.grad = minidl.tensor(g)
        optimizer.step()
        state = run_updates(lines, state | {"g": g, "t": t})
        same(f"{cls.__name__}({options}) after step {t}", w.detach().numpy(), state["w"], 1e-12)


RULES = [(name, options) for name, several in OPTIMIZERS.items() for options in several]


@pytest.mark.parametrize(("name", "options"), RULES, ids=lambda value: str(value))
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_optimizers_follow_their_rules(name: str, options: dict[str, Any], backend: str) -> None:
    if backend == "native" and not minidl.kernels.native.compiled:
        pytest.skip("the native kernels are not built; type: python setup.py build_ext --inplace")
    cls = getattr(optim, name)
    with minidl.backend(backend):
        follow(cls, options, formulas(cls))


PLANTED: list[tuple[str, Callable[[str], str]]] = [
    ("an epsilon inside the root", lambda text: text.replace("(sqrt(v̂) + eps)", "sqrt(v̂ + eps)")),
    ("no bias correction", lambda text: text.replace("m / (1 - β1**t)", "m")),
    ("no factor 1 - β2", lambda text: text.replace("(1 - β2) * g**2", "g**2")),
    ("a missing minus sign", lambda text: text.replace("w - lr", "w + lr")),
    ("no penalty", lambda text: text.replace("g + weight_decay * w", "g")),
]


@pytest.mark.parametrize(("fault", "plant"), PLANTED, ids=[fault for fault, _ in PLANTED])
def test_a_wrong_rule_is_caught(fault: str, plant: Callable[[str], str]) -> None:
    text = "\n".join(map(str, formulas(optim.Adam)))
    assert plant(text) != text, f"Adam's rule is written otherwise now: plant {fault} anew"
    with pytest.raises(AssertionError, match="Adam"):
        follow(optim.Adam, OPTIMIZERS["Adam"][1], formulas(plant(text)))


# ---------------------------------------------------------------------------------- penalties and schedules


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_are_their_formulas(name: str) -> None:
    cls, options = getattr(penalties, name), PENALTIES[name]
    arrays = [np.random.default_rng(6).normal(size=shape) for shape in ((3, 4), (5,), ())]
    tensors = [minidl.tensor(array, requires_grad=True) for array in arrays]
    value = cls(**options)(tensors)
    wanted = sum(evaluate(cls, {**options, "W": array})["Y"] for array in arrays)
    same(name, value.item(), wanted, 1e-13)
    value.backward()
    for x, array in zip(tensors, arrays, strict=True):
        h = 1e-6
        for place in np.ndindex(array.shape):
            step = np.zeros_like(array)
            step[place] = h
            above, below = (evaluate(cls, {**options, "W": array + s})["Y"] for s in (step, -step))
            assert x.grad is not None
            same(f"{name}: gradient at {place}", x.grad.array[place], (above - below) / (2 * h), 1e-7)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, several in SCHEDULES.items() for options in several], ids=str
)
def test_schedules_are_their_formulas(name: str, options: dict[str, Any]) -> None:
    cls = getattr(lr_scheduler, name)
    lines = formulas(cls)
    assert any(line.target == "lr" for line in lines), f"{name} states no formula for lr"
    optimizer = optim.SGD([minidl.ones(1, requires_grad=True)], lr=0.2)
    schedule = cls(optimizer, **options)
    known = options_of(cls, options) | {"base_lr": 0.2}
    if "milestones" in options:
        known["MILESTONES"] = np.array(options["milestones"])
    lr = 0.2
    for t in range(9):
        if any(line.sign == "←" for line in lines):  # by how it goes, not by t: nothing has improved since the start
            lr = lr if t < 2 else run_updates(lines, known | {"lr": lr})["lr"]
        else:
            factor = {"factor": options["lr_lambda"](t)} if "lr_lambda" in options else {}
            lr = float(evaluate(lines, known | {"t": t} | factor)["lr"])
        got = optimizer.param_groups[0]["lr"]
        same(f"{name}({options}) at t={t}", got, lr, 1e-12)
        schedule.step(*([1.0] if name == "ReduceLROnPlateau" else []))
