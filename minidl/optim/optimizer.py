"""Optimizer: parameter groups, their state, and what every update rule shares."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minidl._tensor import Tensor
from minidl.autograd import enable_grad
from minidl.kernels import arrays
from minidl.nn.parameter import clear_gradients
from minidl.tape import wrap

Group = dict[str, Any]
SCHEDULED = {"initial_lr", "max_lr", "min_lr"}  # what schedules, PyTorch's and these, keep in a group


class Optimizer:
    """The base: `params` is an iterable of Tensors, of (name, Tensor), or of dicts {"params": [...], option: value},
    one a group.

    An option that a group does not set is the one given to the constructor. `step()` changes the parameters
    in place from their `.grad` and leaves those without a gradient alone; a gradient with NaN makes its
    parameter NaN, nothing is hidden.

    A subclass gives `defaults`, checks a group's options in `check(group)` and moves the parameters in
    `update(group)`.
    """

    capturable = False  # whether a step may be captured in a graph without the option of this name

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if isinstance(params, Tensor):
            raise TypeError(
                f"{name}: params is a Tensor, expected an iterable of them; write [x] or model.parameters()"
            )
        if not isinstance(params, Iterable):
            raise TypeError(
                f"{name}: params is a {type(params).__name__}, expected Tensors; did you mean model.parameters()?"
            )
        given = list(params)
        if not given:
            raise ValueError(
                f"{name}: no parameters to optimize; was the iterator (model.parameters()) used up before?"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Adds parameters with options of their own, in the middle of training too (thawed layers)."""
        name = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f'{name}: a parameter group is {{"params": [...], option: value}}, got {param_group!r:.80}')
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        params = [p[1] if isinstance(p, tuple) and len(p) == 2 else p for p in params]  # named_parameters()
        unknown = sorted(set(param_group) - set(self.defaults) - SCHEDULED - {"params"})
        if unknown:
            raise TypeError(f"{name}: unknown option {unknown[0]!r}; the options are {', '.join(self.defaults)}")
        taken = {id(p) for group in self.param_groups for p in group["params"]}
        for place, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: parameter {place} is a {type(p).__name__}, expected a Tensor")
            if not p.is_floating_point():
                raise TypeError(f"{name}: parameter {place} has dtype {p.dtype}, expected floating point")
            if not p.is_leaf:
                raise ValueError(
                    f"{name}: parameter {place} was computed from other tensors and its change would be lost; "
                    "optimize the tensors it came from, or x.detach().requires_grad_()"
                )
            if id(p) in taken:
                raise ValueError(f"{name}: parameter {place} {tuple(p.shape)} is given twice; give each tensor once")
            taken.add(id(p))
        group = {**self.defaults, **param_group, "params": params}
        require(name, "lr", group["lr"], lambda x: x >= 0, "a number of 0 or more, such as 1e-3")
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: Group) -> None:
        """Raises where an option of the group makes no sense."""

    def update(self, group: Group) -> None:
        """Moves the group's parameters."""
        raise NotImplementedError(f"{type(self).__name__}: no method update(group), which moves the parameters")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets every parameter's gradient; `set_to_none=False` fills it with zeros instead."""
        for group in self.param_groups:
            clear_gradients(group["params"], set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update. `closure` computes the loss with its gradients anew, and its result is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._follow(group["params"])
            if arrays.graph is not None:
                self._capture(group)
            self.update(group)
        return loss

    def _capture(self, group: Group) -> None:
        """A step is recorded as a graph: raises where a replay would repeat numbers that change from step to step."""
        name = type(self).__name__
        if not group.get("capturable", self.capturable):
            raise RuntimeError(
                f"{name}.step: a captured graph would replay this step's learning rate and step count for ever; use"
                " SGD, or Adam or AdamW with capturable=True"
            )
        state, weights = self.state, [(p, p.array) for p in group["params"]]
        frozen = {key: value for key, value in group.items() if key not in SCHEDULED | {"lr", "params"}}

        def look() -> None:
            if self.state is not state or any(p.array is not w for p, w in weights):
                raise RuntimeError(
                    f"replay: {name}'s state or parameters have been replaced (load_state_dict, model.to) since the"
                    " graph was captured; capture it anew"
                )
            for key, value in frozen.items():
                if group[key] != value:
                    raise RuntimeError(
                        f"replay: {name}'s {key} is {group[key]!r}, the graph was captured with {value!r}; of an"
                        " optimizer's options only lr may change between replays: capture the graph anew"
                    )

        arrays.graph.before(look)

    def rate(self, group: Group) -> Any:
        """The learning rate as kernels take it: a number, or one of the device's that each replay reads anew."""
        if arrays.graph is None:
            return group["lr"]
        return arrays.graph.number(np.float64, lambda: group["lr"], group["lr"])

    def _begun(self, p: Tensor) -> None:
        """Raises where p's state would be made in a captured step, and made anew in each replay."""
        if arrays.graph is not None:
            raise RuntimeError(
                f"{type(self).__name__}.step: a parameter of shape {tuple(p.shape)} has no state yet, and a captured"
                " graph would start it anew with each replay; take one step before capturing"
            )

    def _follow(self, params: list[Tensor]) -> None:
        """Brings the state to the device of its parameter, where that was moved (`model.to`)."""
        for p in params:
            for key, value in self.state.get(p, {}).items():
                if isinstance(value, Tensor) and value.array.__class__ is not p.array.__class__:
                    self.state[p][key] = value.to(p.device)

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {...}}, "param_groups": [...]}, parameters as numbers in their order, as
        PyTorch's.
        """
        numbers = {p: i for i, p in enumerate(self._params())}
        groups = [{**g, "params": [numbers[p] for p in g["params"]]} for g in self.param_groups]
        return {"state": {numbers[p]: dict(s) for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over options and state; tensors are copied to their parameter's device and dtype.

        All is checked before anything changes. Raises ValueError where groups or shapes are not those of this
        optimizer.
        """
        name = type(self).__name__
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(
                f"{name}.load_state_dict: expected a dict with 'state' and 'param_groups', as state_dict() gives"
            )
        saved = state_dict["param_groups"]
        here, there = ([len(g["params"]) for g in groups] for groups in (self.param_groups, saved))
        if here != there:
            raise ValueError(
                f"{name}.load_state_dict: saved for groups of {there} parameters, this optimizer has groups of "
                f"{here}; build it for the same model with the same groups"
            )
        by_number = dict(zip((n for g in saved for n in g["params"]), self._params(), strict=True))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            p = by_number.get(number, by_number.get(int(number)))
            if p is None:
                raise ValueError(f"{name}.load_state_dict: state of parameter {number}, which no group has")
            state[p] = {key: _restored(name, number, key, value, p) for key, value in values.items()}
        own = set(self.defaults) | SCHEDULED
        options = [{k: tuple(v) if isinstance(v, list) else v for k, v in g.items() if k in own} for g in saved]
        for group, new in zip(self.param_groups, options, strict=True):
            self.check({**group, **new})
        for group, new in zip(self.param_groups, options, strict=True):
            group.update(new)
        self.state = state

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def gradients_of(params: list[Tensor], maximize: bool) -> list[Any]:
    """The gradients' arrays as kernels take them, C-contiguous; negated to climb."""
    arrays = [p.grad.array for p in params]  # type: ignore[union-attr]
    if maximize:
        arrays = [-g for g in arrays]
    return [g if g.flags.c_contiguous else g.copy() for g in arrays]


def one_way(who: str, **asked: bool) -> None:
    """Raises where one of PyTorch's other ways of computing a step is asked for (foreach and fused choose among equal
    ones)."""
    for option, value in asked.items():
        if value:
            raise NotImplementedError(f"{who}: {option}=True is not supported; leave it False")


def require(who: str, option: str, value: Any, fits: Callable[[Any], bool], expected: str) -> None:
    """Raises unless the option is a finite number that fits."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not fits(value):
        raise ValueError(f"{who}: {option} is {value!r}, expected {expected}")


def _restored(who: str, number: Any, key: str, value: Any, p: Tensor) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    array = value.detach().cpu().array if isinstance(value, Tensor) else np.asarray(value)
    if key == "step":
        return int(array)
    if tuple(array.shape) != tuple(p.shape):
        raise ValueError(
            f"{who}.load_state_dict: {key} of parameter {number} has shape {tuple(array.shape)}, the parameter "
            f"has {tuple(p.shape)}; the state is of another model"
        )
    return wrap(np.array(array, dtype=p.array.dtype, order="C")).to(p.device)


__all__ = ["Optimizer"]
